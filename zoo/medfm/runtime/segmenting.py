"""From a volume to a mask on its own grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medfm.runtime import contract as engine
from medfm.runtime.outputs import Segmentation
from medfm.runtime.runner import Run

if TYPE_CHECKING:
    from medfm.runtime.inputs import Volume
    from medfm.runtime.runner import Runner


def segment(runner: Runner, source: object, **options: Any) -> Segmentation:
    """Return a mask of one volume; see `Runner.segment`."""
    runner.needs("segment")
    described = runner.output("segmentation")
    run = Run()
    context = runner.context(options)
    (item,) = engine.read(runner.record.input, source, context.options)
    volume: Volume = item
    prepared = engine.prepare(runner.record.input, [item], context)
    probability = runner.network.segment(prepared.batch)[0]
    (frame,) = prepared.frames
    assert frame is not None
    mask = engine.restore(probability, frame, described)
    run.names, run.notes = [volume.name], set(prepared.notes)
    return Segmentation(runner.provenance(run), mask, described.labels, volume)
