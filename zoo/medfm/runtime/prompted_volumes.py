"""From prompts to masks in volumes: the network looks at the box around each object's prompts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from medfm.runtime import contract as engine
from medfm.runtime import restoring
from medfm.runtime.inputs import Volume
from medfm.runtime.masks import PromptedSegmentation
from medfm.runtime.prompting import answers, rounded
from medfm.runtime.runner import Run
from medfm.runtime.targets import Target, targets

if TYPE_CHECKING:
    from medfm.catalog.contracts import PromptsOutput
    from medfm.runtime.runner import Runner
    from medfm.runtime.state import Frame


@dataclass(frozen=True)
class VolumePlacement:
    """Where a volume lies on the network's input.

    Attributes:
        frame: the way from the file's grid to the prepared one.
    """

    frame: Frame

    def places(self, xyz: NDArray[np.float64], described: PromptsOutput) -> NDArray[np.float64]:
        """Return where places in voxels of the file (..., 3) lie on the network's input."""
        assert described.coordinates == "each-axis", "places in volumes follow from the affines"
        back = np.linalg.solve(self.frame.affine, self.frame.volume.affine)  # voxels of the file to those of the input
        return rounded(xyz @ back[:3, :3].T + back[:3, 3], described)


@dataclass(frozen=True)
class Look:
    """What the network saw of one box.

    Attributes:
        seen: the embedding.
        where: of the box.
        grid: voxels of the network's input.
        notes: what was done beyond the contract.
    """

    seen: Any
    where: VolumePlacement
    grid: tuple[int, ...]
    notes: tuple[str, ...]


class VolumeSession:
    """One volume, of which each box around prompts is looked at once; see `Runner.open`.

    Attributes:
        volume: what was read.
    """

    def __init__(self, runner: Runner, source: object, **options: Any) -> None:
        runner.needs("segment")
        self._runner, self._described = runner, runner.output("prompts")
        self._context = runner.context(options)
        (item,) = engine.read(runner.record.input, source, self._context.options)
        assert isinstance(item, Volume)
        self.volume = item
        self._looks: dict[bytes, Look] = {}

    def segment(
        self, *, boxes: Any = None, points: Any = None, labels: Any = None, masks: Any = None
    ) -> PromptedSegmentation:
        """Outline objects in the volume; for the prompts see `Runner.segment`.

        Raises:
            UsageError: no prompt, or one that this model does not take.
            InputError: a prompt lies outside the volume.
        """
        run = Run(names=[self.volume.name])
        described, shape = self._described, self.volume.data.shape
        wanted = targets(boxes, points, labels, masks, extent=shape, described=described, name=self.volume.name)
        layers, scores = [], []
        for target in wanted:
            look = self.look(target)
            logits, overlaps = answers(self._runner, look.seen, [target], look.where, described)
            inside = surface(logits[0], look.grid, described) > described.threshold
            layers.append(restoring.returned(inside.numpy(), look.where.frame))
            scores.append(overlaps)
            run.notes |= set(look.notes)
        mask = np.zeros(shape, dtype=np.uint8 if len(layers) < 256 else np.uint16)
        for value, layer in enumerate(layers, start=1):
            mask[layer] = value
        return PromptedSegmentation(
            self._runner.provenance(run),
            mask,
            {value: f"object {value}" for value in range(1, len(layers) + 1)},
            self.volume,
            np.stack(layers) if len(layers) > 1 else None,
            torch.cat(scores).numpy(),
            tuple(target.described() for target in wanted),
        )

    def look(self, target: Target) -> Look:
        """Return what the network sees around an object's prompts; the same box is not looked at twice."""
        voxels = target.points if target.box is None else np.reshape(target.box, (2, 3))
        affine = self.volume.affine
        around = voxels @ affine[:3, :3].T + affine[:3, 3]
        key = np.stack([around.min(axis=0), around.max(axis=0)]).tobytes()
        if key not in self._looks:
            steps = self._runner.record.input
            prepared = engine.prepare(steps, [self.volume], replace(self._context, around=around))
            (frame,) = prepared.frames
            assert frame is not None
            seen = self._runner.network.look(prepared.batch)
            grid = tuple(prepared.batch["image"].shape[2:])
            self._looks[key] = Look(seen, VolumePlacement(frame), grid, prepared.notes)
        return self._looks[key]


def surface(logits: Tensor, grid: tuple[int, ...], described: PromptsOutput) -> Tensor:
    """Return logits or probabilities (x, y, z) on the network's input, to be compared with the threshold.

    Args:
        logits: (x, y, z) on the network's own grid.
        grid: voxels of the network's input.
        described: what is compared.
    """
    x = (logits.sigmoid() if described.values == "probabilities" else logits)[None, None]
    assert described.through_input, "volumes find their way back from the network's input"
    assert x.shape[2:] != grid, "the logits have the size of the network's input already"
    return functional.interpolate(x, grid, mode="trilinear", align_corners=False)[0, 0]
