"""From a volume to a mask on its own grid."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from medfm.runtime import contract as engine
from medfm.runtime import restoring, sliding
from medfm.runtime.outputs import Segmentation
from medfm.runtime.runner import Run

if TYPE_CHECKING:
    from torch import Tensor

    from medfm.catalog.contracts import SegmentationOutput
    from medfm.runtime.inputs import Volume
    from medfm.runtime.runner import Runner


def segment(runner: Runner, source: object, **options: Any) -> Segmentation:
    """Return a mask of one volume; see `Runner.segment`."""
    runner.needs("segment")
    described: SegmentationOutput = runner.output("segmentation")
    run = Run()
    context = runner.context(options)
    (item,) = engine.read(runner.record.input, source, context.options)
    volume: Volume = item
    prepared = engine.prepare(runner.record.input, [item], context)
    (frame,) = prepared.frames
    assert frame is not None
    mask, layers = restoring.restored(blocks(runner, prepared.batch["image"], described), frame, described)
    run.names, run.notes = [volume.name], set(prepared.notes)
    return Segmentation(runner.provenance(run), mask, described.labels, volume, layers)


def blocks(runner: Runner, x: Tensor, described: SegmentationOutput) -> Iterable[sliding.Block]:
    """Return the network's output on the prepared grid, in parts along its first axis.

    Args:
        runner: a loaded model.
        x: (1, channels, x, y, z), the prepared volume.
        described: how it is cut into windows, and what is done to the output of each.
    """
    if described.window is None:
        return [(0, runner.network.segment({"image": x})[0])]

    def predict(window: Tensor) -> Tensor:
        found: Tensor = runner.network.segment({"image": window})
        return restoring.activated(found[0], described)[None] if described.activated == "windows" else found

    return sliding.slide(predict, x, described.window, shown=runner.shown)
