"""From prompts to masks: an image is looked at once, then boxes, points and earlier answers outline objects on it.

Prompts are given in pixels of the file, x to the right and y down. Where they lie on the network's input follows from the
contract's own steps; what becomes of the network's answer is in the record's `output.prompts`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from medfm.catalog import contracts
from medfm.errors import InputError, UsageError
from medfm.runtime import contract as engine
from medfm.runtime.capabilities import Prompts
from medfm.runtime.images import Picture
from medfm.runtime.masks import Masks
from medfm.runtime.runner import Run
from medfm.runtime.steps.image import resized, size_of

if TYPE_CHECKING:
    from medfm.catalog.contracts import PromptsOutput, Step
    from medfm.runtime.runner import Runner

AT_ONCE = 16
"""Objects that are outlined in one go."""


@dataclass(frozen=True)
class Target:
    """What points at one object.

    Attributes:
        box: x0, y0, x1, y1, or None.
        points: (k, 2) x and y; k may be 0.
        labels: (k,) 1 inside, 0 outside.
        logits: (rows, columns), an earlier answer, or None.
    """

    box: tuple[float, ...] | None
    points: NDArray[np.float64]
    labels: NDArray[np.int64]
    logits: NDArray[np.float32] | None = None

    def described(self) -> dict[str, Any]:
        """Return what was given, for files."""
        found: dict[str, Any] = {"box": list(self.box)} if self.box else {}
        if len(self.points):
            found["points"] = [[*map(float, p), int(n)] for p, n in zip(self.points, self.labels, strict=True)]
        return found | ({"refined": True} if self.logits is not None else {})


# ---------------------------------------------------------------- where a place lies on the network's input


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
        found: NDArray[np.float64] = xy * scale
        return np.asarray(np.trunc(found)) if described.whole else found


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


# ---------------------------------------------------------------- what a caller may give


def targets(
    boxes: Any, points: Any, labels: Any, masks: Any, *, size: tuple[int, int], described: PromptsOutput, name: str = ""
) -> list[Target]:
    """Return what points at each object.

    Args:
        boxes: one box an object: x0, y0, x1, y1; one box alone may stand without a list around it.
        points: points of one object, each x, y or x, y, label; or one list of points an object.
        labels: 1 inside and 0 outside, in the same nesting as points that are only x, y (default: 1).
        masks: an earlier `Masks`, or its logits, one an object.
        size: height and width of the picture.
        described: which prompts the network takes.
        name: of the picture's file.

    Raises:
        UsageError: nothing is given, a kind that the network was not trained on, or numbers that do not fit together.
        InputError: a prompt lies outside the picture.
    """
    given = {"box": boxes, "point": points, "mask": masks}
    takes = " and ".join({"box": "boxes", "point": "points", "mask": "masks"}[kind] for kind in described.prompts)
    if all(value is None for value in given.values()):
        raise UsageError(f"nothing points at an object: this model takes {takes}")
    for kind, value in given.items():
        if value is not None and kind not in described.prompts:
            raise UsageError(f"this model was not trained on {kind} prompts; it takes {takes}")
    if labels is not None and points is None:
        raise UsageError("labels belong to points, and there are none")
    found_boxes = None if boxes is None else _boxes(boxes, size, name)
    found_points = None if points is None else _points(points, labels, size, name)
    logits = None if masks is None else _logits(masks)
    counts = {"boxes": found_boxes, "lists of points": found_points, "masks": logits}
    several = {kind: len(value) for kind, value in counts.items() if value is not None}
    if len(set(several.values())) > 1:
        listed = ", ".join(f"{count} {kind}" for kind, count in several.items())
        raise UsageError(f"every object needs the same prompts, but there are {listed}")
    count = next(iter(several.values()))
    nothing = (np.zeros((0, 2)), np.zeros(0, dtype=np.int64))
    return [
        Target(
            found_boxes[i] if found_boxes else None,
            *(found_points[i] if found_points else nothing),
            None if logits is None else logits[i],
        )
        for i in range(count)
    ]


def _numbers(values: Any, what: str) -> NDArray[np.float64]:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"{what} are numbers in pixels of the file, not {values!r}") from None
    if not np.isfinite(array).all():
        raise UsageError(f"{what} are numbers in pixels of the file; one is NaN or infinite")
    return array


def _boxes(boxes: Any, size: tuple[int, int], name: str) -> list[tuple[float, ...]]:
    array = _numbers(boxes, "boxes")
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[1] != 4 or not len(array):
        raise UsageError(f"a box is x0, y0, x1, y1; found numbers of shape {array.shape}")
    height, width = size
    for number, (x0, y0, x1, y1) in enumerate(array, start=1):
        shown = f"box {number} ({x0:g}, {y0:g}, {x1:g}, {y1:g})"
        if not (x0 < x1 and y0 < y1):
            raise UsageError(f"{shown} is empty: a box is x0, y0, x1, y1 with x0 < x1 and y0 < y1")
        if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
            raise InputError(f"{shown} {_outside(x1, y1, size)}", path=name)
    return [tuple(map(float, box)) for box in array]


def _points(
    points: Any, labels: Any, size: tuple[int, int], name: str
) -> list[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    if not len(points):
        raise UsageError("there is no point: the list is empty")
    nested = np.ndim(points[0]) == 2
    lists = list(points) if nested else [points]
    inside = [None] * len(lists) if labels is None else (list(labels) if nested else [labels])
    if len(inside) != len(lists):
        raise UsageError(f"there are {len(lists)} lists of points but {len(inside)} of labels")
    return [_object_points(*pair, size, name) for pair in zip(lists, inside, strict=True)]


def _object_points(
    points: Any, labels: Any, size: tuple[int, int], name: str
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    array = _numbers(points, "points")
    if array.ndim != 2 or array.shape[1] not in (2, 3) or not len(array):
        raise UsageError(f"a point is x, y or x, y, label; found numbers of shape {array.shape}")
    if array.shape[1] == 3 and labels is not None:
        raise UsageError("labels are given twice: with the points and apart")
    kinds = array[:, 2] if array.shape[1] == 3 else np.ones(len(array))
    if labels is not None:
        kinds = _numbers(labels, "labels")
    if kinds.shape != (len(array),) or not np.isin(kinds, (0, 1)).all():
        raise UsageError("every point has one label: 1 inside the object, 0 outside")
    height, width = size
    for number, (x, y) in enumerate(array[:, :2], start=1):
        if not (0 <= x <= width and 0 <= y <= height):
            raise InputError(f"point {number} ({x:g}, {y:g}) {_outside(x, y, size)}", path=name)
    return array[:, :2], kinds.astype(np.int64)


def _outside(x: float, y: float, size: tuple[int, int]) -> str:
    height, width = size
    hint = "; are x and y exchanged?" if 0 <= x <= height and 0 <= y <= width else ""
    return f"lies outside the picture, which is {width} pixels wide and {height} high{hint}"


def _logits(masks: Any) -> NDArray[np.float32]:
    array = np.asarray(masks.logits if isinstance(masks, Masks) else masks)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or array.dtype.kind != "f" or not np.isfinite(array).all():
        raise UsageError("masks are the result of an earlier call, or its logits (objects, rows, columns)")
    return array.astype(np.float32)


# ---------------------------------------------------------------- from prompts to masks


def answers(
    runner: Runner, seen: Any, wanted: Sequence[Target], where: Placement, described: PromptsOutput
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
    runner: Runner, seen: Any, group: Sequence[Target], where: Placement, described: PromptsOutput
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
        wanted = targets(boxes, points, labels, masks, size=self.size, described=described, name=self.picture.name)
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
