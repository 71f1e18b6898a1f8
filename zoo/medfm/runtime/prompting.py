"""From prompts to masks: an image is looked at once, then boxes, points and earlier answers outline objects on it.

Prompts are given in pixels of the file, x to the right and y down. Where they lie on the network's input follows from the
contract's own steps; what becomes of the network's answer is in the record's `output.prompts`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from medfm.catalog import contracts
from medfm.errors import UsageError
from medfm.runtime import contract as engine
from medfm.runtime.capabilities import Prompts
from medfm.runtime.images import Picture
from medfm.runtime.masks import Masks
from medfm.runtime.runner import Run
from medfm.runtime.steps.grid import nearest
from medfm.runtime.steps.image import resized, size_of
from medfm.runtime.targets import Target, targets

if TYPE_CHECKING:
    from medfm.catalog.contracts import PromptsOutput, Step
    from medfm.runtime.runner import Runner

AT_ONCE = 16
"""Objects that are outlined in one go."""


# ---------------------------------------------------------------- where a place lies on the network's input


class Place(Protocol):
    """Where an image lies on the network's input."""

    def places(self, xy: NDArray[np.float64], described: PromptsOutput) -> NDArray[np.float64]:
        """Return where places in the file (..., axes) lie on the network's input."""


@dataclass(frozen=True)
class Placement:
    """Where a picture lies on the network's input.

    Attributes:
        size: height and width of the file.
        inside: height and width of the whole picture on the network's input, from its upper left corner.
        grid: height and width of the network's input.
    """

    size: tuple[int, int]
    inside: tuple[int, int]
    grid: tuple[int, int]

    def places(self, xy: NDArray[np.float64], described: PromptsOutput) -> NDArray[np.float64]:
        """Return where places in the file (..., 2) lie on the network's input."""
        if described.coordinates == "longest-side":
            scale = np.array(max(self.grid) / max(self.size))
        else:
            scale = np.array([self.inside[1] / self.size[1], self.inside[0] / self.size[0]])
        return rounded(xy * scale, described)


def rounded(places: NDArray[np.float64], described: PromptsOutput) -> NDArray[np.float64]:
    """Return places on the network's input in whole pixels or voxels, where the authors round them."""
    if described.rounding == "none":
        return places
    return np.asarray(np.trunc(places)) if described.rounding == "truncate" else nearest(places)


def placement(steps: Sequence[Step], size: tuple[int, int]) -> Placement:
    """Return where the steps of a contract put a picture of a given height and width."""
    inside = grid = size
    for step in steps:
        if isinstance(step, contracts.ResizeImage):
            assert inside == grid, "a padded picture is not resized: its prompts would have to be moved, too"
            inside = grid = resized(step, *inside)
        elif isinstance(step, contracts.PadImage):
            assert step.where == "end", "a picture for prompts stays in its corner"
            grid = step.size if step.size != "square" else (max(grid),) * 2
        else:
            assert not isinstance(step, contracts.CropImage), "a picture for prompts is not cropped"
    return Placement(size, inside, grid)


# ---------------------------------------------------------------- from prompts to masks


def answers(
    runner: Runner, seen: Any, wanted: Sequence[Target], where: Place, described: PromptsOutput
) -> tuple[Tensor, Tensor]:
    """Return logits on the network's own grid (objects, rows, columns) and predicted overlaps (objects,).

    Raises:
        UsageError: an earlier answer has another size than this network's.
    """
    logits, overlaps = [], []
    for group in _alike(wanted):
        found = _outlined(runner, seen, group, where, described)
        logits.append(found[0])
        overlaps.append(found[1])
    return torch.cat(logits), torch.cat(overlaps)


def _alike(wanted: Sequence[Target]) -> Iterator[list[Target]]:
    """Give objects that follow each other and have prompts of the same kinds, not too many at once."""

    def kinds(target: Target) -> tuple[bool, int, bool]:
        return target.box is not None, len(target.points), target.logits is not None

    for _, group in itertools.groupby(wanted, kinds):
        members = list(group)
        yield from (members[i : i + AT_ONCE] for i in range(0, len(members), AT_ONCE))


def _outlined(
    runner: Runner, seen: Any, group: Sequence[Target], where: Place, described: PromptsOutput
) -> tuple[Tensor, Tensor]:
    first = group[0]
    boxes = points = labels = masks = None
    if first.box is not None:
        corners = np.array([t.box for t in group]).reshape(-1, 2, 2)
        boxes = torch.from_numpy(where.places(corners, described)).float().reshape(-1, 4)
    if len(first.points):
        points = torch.from_numpy(where.places(np.stack([t.points for t in group]), described)).float()
        labels = torch.from_numpy(np.stack([t.labels for t in group]))
    if first.logits is not None:
        masks = torch.from_numpy(np.stack([t.logits for t in group if t.logits is not None]))[:, None]
    prompts = Prompts(boxes, points, labels, masks)
    if described.clicks == "together" or points is None or labels is None:
        return _chosen(*_asked(runner, seen, prompts), prompts, described)
    for count in range(1, points.shape[1] + 1):  # each click sees the answer to those before it
        if prompts.masks is None:
            empty = _asked(runner, seen, replace(prompts, points=points[:, :1], labels=labels[:, :1]))[0][:, :1]
            prompts = replace(prompts, masks=torch.zeros_like(empty))
        prompts = replace(prompts, points=points[:, :count], labels=labels[:, :count])
        logits, overlaps = _chosen(*_asked(runner, seen, prompts), prompts, described)
        prompts = replace(prompts, masks=logits[:, None])
    return logits, overlaps


def _asked(runner: Runner, seen: Any, prompts: Prompts) -> tuple[Tensor, Tensor]:
    try:
        logits, overlaps = runner.network.outline(seen, prompts)
    except RuntimeError:
        if prompts.masks is None:
            raise
        shape = " x ".join(map(str, prompts.masks.shape[2:]))
        raise UsageError(f"masks of {shape} do not fit this model: give the logits of one of its own results") from None
    return logits, overlaps


def _chosen(logits: Tensor, overlaps: Tensor, prompts: Prompts, described: PromptsOutput) -> tuple[Tensor, Tensor]:
    """Take one of the network's candidates for each object."""
    alone = prompts.boxes is None and prompts.points is not None and prompts.points.shape[1] == 1
    several = described.candidates == "best-of-three" or (
        described.candidates == "best-of-three-for-one-point" and alone
    )
    best = overlaps[:, 1:].argmax(1) + 1 if several else torch.zeros(len(overlaps), dtype=torch.int64)
    rows = torch.arange(len(best))
    return logits[rows, best], overlaps[rows, best]


def surface(logits: Tensor, where: Placement, described: PromptsOutput) -> Tensor:
    """Return logits or probabilities (objects, height, width) on the file's own pixels, to be compared with the threshold.

    Args:
        logits: (objects, rows, columns) on the network's own grid.
        where: where the picture lies on the network's input.
        described: what is brought to the file's size, and how.
    """
    x = (logits.sigmoid() if described.values == "probabilities" else logits)[:, None]
    if described.through_input:
        assert x.shape[-2:] != where.grid, "the logits have the size of the network's input already"
        x = _interpolated(x, where.grid)
    if where.inside != where.grid:
        assert x.shape[-2:] == where.grid, "what is padded is cut off on the network's input"
        x = x[..., : where.inside[0], : where.inside[1]]
    return _interpolated(x, where.size)[:, 0]


def _interpolated(x: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(x, size, mode="bilinear", align_corners=False)


class Session:
    """One picture that the network has looked at; see `Runner.open`.

    Attributes:
        picture: what was read.
        size: its height and width.
        where: where it lies on the network's input.
    """

    def __init__(self, runner: Runner, source: object, **options: Any) -> None:
        runner.needs("segment")
        self._runner, self._described = runner, runner.output("prompts")
        context = runner.context(options)
        (item,) = engine.read(runner.record.input, source, context.options)
        assert isinstance(item, Picture)
        self.picture = item
        prepared = engine.prepare(runner.record.input, [item], context)
        self._seen = runner.network.look(prepared.batch)
        self._notes = set(prepared.notes)
        shape = item.pixels.shape if isinstance(item.pixels, np.ndarray) else size_of(item.pixels)
        self.size = (int(shape[0]), int(shape[1]))
        self.where = placement(runner.record.input, self.size)

    def segment(self, *, boxes: Any = None, points: Any = None, labels: Any = None, masks: Any = None) -> Masks:
        """Outline objects on the picture, without looking at it again; for the prompts see `Runner.segment`.

        Raises:
            UsageError: no prompt, or one that this model does not take.
            InputError: a prompt lies outside the picture.
        """
        run = Run(names=[self.picture.name], notes=self._notes)
        described = self._described
        wanted = targets(
            boxes, points, labels, masks, extent=self.size[::-1], described=described, name=self.picture.name
        )
        logits, overlaps = answers(self._runner, self._seen, wanted, self.where, described)
        found = [surface(one[None], self.where, described)[0] > described.threshold for one in logits]
        return Masks(
            self._runner.provenance(run),
            torch.stack(found).to(torch.uint8).numpy(),
            overlaps.numpy(),
            logits.numpy(),
            tuple(target.described() for target in wanted),
            _visible(self.picture),
            self.picture.name,
        )


def _visible(picture: Picture) -> NDArray[np.uint8]:
    """Return (height, width, 3) uint8."""
    if not isinstance(picture.pixels, np.ndarray):
        return np.array(picture.pixels.convert("RGB"))
    low, high = float(picture.pixels.min()), float(picture.pixels.max())
    gray = np.rint((picture.pixels - low) / (high - low or 1.0) * 255).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=2)
