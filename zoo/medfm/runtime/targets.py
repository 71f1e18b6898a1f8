"""What points at objects: boxes, points and earlier answers, as a caller gives them, checked against the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medfm.errors import InputError, UsageError
from medfm.runtime.masks import Masks

if TYPE_CHECKING:
    from medfm.catalog.contracts import PromptsOutput

Extent = Sequence[int]
"""Width and height of a picture; or voxels along each axis of a volume."""

_BOX = {2: "x0, y0, x1, y1", 3: "x0, y0, z0, x1, y1, z1"}
_POINT = {2: "x, y", 3: "x, y, z"}
_KINDS = {"box": "boxes", "point": "points", "mask": "masks"}


@dataclass(frozen=True)
class Target:
    """What points at one object.

    Attributes:
        box: the lowest corner and the highest, or None.
        points: (k, axes); k may be 0.
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


def targets(
    boxes: Any, points: Any, labels: Any, masks: Any, *, extent: Extent, described: PromptsOutput, name: str = ""
) -> list[Target]:
    """Return what points at each object.

    Args:
        boxes: one box an object, its lowest corner and its highest; one box alone may stand without a list around it.
        points: points of one object, each x, y (z) or x, y (z), label; or one list of points an object.
        labels: 1 inside and 0 outside, in the same nesting as points without (default: 1).
        masks: an earlier `Masks`, or its logits, one an object.
        extent: of the image.
        described: which prompts the network takes.
        name: of the image's file.

    Raises:
        UsageError: nothing is given, a kind that the network was not trained on, or numbers that do not fit together.
        InputError: a prompt lies outside the image.
    """
    given = {"box": boxes, "point": points, "mask": masks}
    takes = " and ".join(_KINDS[kind] for kind in described.prompts)
    if all(value is None for value in given.values()):
        raise UsageError(f"nothing points at an object: this model takes {takes}")
    for kind, value in given.items():
        if value is not None and kind not in described.prompts:
            raise UsageError(f"this model was not trained on {kind} prompts; it takes {takes}")
    if labels is not None and points is None:
        raise UsageError("labels belong to points, and there are none")
    found_boxes = None if boxes is None else _boxes(boxes, extent, name)
    found_points = None if points is None else _points(points, labels, extent, name)
    logits = None if masks is None else _logits(masks, len(extent))
    counts = {"boxes": found_boxes, "lists of points": found_points, "masks": logits}
    several = {kind: len(value) for kind, value in counts.items() if value is not None}
    if len(set(several.values())) > 1:
        listed = ", ".join(f"{count} {kind}" for kind, count in several.items())
        raise UsageError(f"every object needs the same prompts, but there are {listed}")
    nothing = (np.zeros((0, len(extent))), np.zeros(0, dtype=np.int64))
    return [
        Target(
            found_boxes[i] if found_boxes else None,
            *(found_points[i] if found_points else nothing),
            None if logits is None else logits[i],
        )
        for i in range(next(iter(several.values())))
    ]


def _numbers(values: Any, what: str) -> NDArray[np.float64]:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"{what} are numbers in pixels or voxels of the file, not {values!r}") from None
    if not np.isfinite(array).all():
        raise UsageError(f"{what} are numbers in pixels or voxels of the file; one is NaN or infinite")
    return array


def _boxes(boxes: Any, extent: Extent, name: str) -> list[tuple[float, ...]]:
    axes = len(extent)
    array = _numbers(boxes, "boxes")
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[1] != 2 * axes or not len(array):
        raise UsageError(f"a box is {_BOX[axes]}; found numbers of shape {array.shape}")
    for number, box in enumerate(array, start=1):
        low, high = box[:axes], box[axes:]
        shown = f"box {number} ({', '.join(f'{value:g}' for value in box)})"
        # a box on one slice of a volume is as thin as that slice
        if not (low[:2] < high[:2]).all() or (low > high).any():
            raise UsageError(f"{shown} is empty: a box is {_BOX[axes]} with x0 < x1 and y0 < y1")
        if (low < 0).any() or (high > extent).any():
            raise InputError(f"{shown} {_outside(high, extent)}", path=name)
    return [tuple(map(float, box)) for box in array]


def _points(points: Any, labels: Any, extent: Extent, name: str) -> list[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    if not len(points):
        raise UsageError("there is no point: the list is empty")
    nested = np.ndim(points[0]) == 2
    lists = list(points) if nested else [points]
    inside = [None] * len(lists) if labels is None else (list(labels) if nested else [labels])
    if len(inside) != len(lists):
        raise UsageError(f"there are {len(lists)} lists of points but {len(inside)} of labels")
    return [_object_points(*pair, extent, name) for pair in zip(lists, inside, strict=True)]


def _object_points(
    points: Any, labels: Any, extent: Extent, name: str
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    axes = len(extent)
    array = _numbers(points, "points")
    if array.ndim != 2 or array.shape[1] not in (axes, axes + 1) or not len(array):
        raise UsageError(f"a point is {_POINT[axes]} or {_POINT[axes]}, label; found numbers of shape {array.shape}")
    labeled = array.shape[1] > axes
    if labeled and labels is not None:
        raise UsageError("labels are given twice: with the points and apart")
    kinds = array[:, axes] if labeled else np.ones(len(array)) if labels is None else _numbers(labels, "labels")
    if kinds.shape != (len(array),) or not np.isin(kinds, (0, 1)).all():
        raise UsageError("every point has one label: 1 inside the object, 0 outside")
    for number, place in enumerate(array[:, :axes], start=1):
        if (place < 0).any() or (place > extent).any():
            shown = ", ".join(f"{value:g}" for value in place)
            raise InputError(f"point {number} ({shown}) {_outside(place, extent)}", path=name)
    return array[:, :axes], kinds.astype(np.int64)


def _outside(place: NDArray[np.float64], extent: Extent) -> str:
    if len(extent) == 3:
        return f"lies outside the volume, which has {' x '.join(map(str, extent))} voxels along x, y and z"
    hint = "; are x and y exchanged?" if (place >= 0).all() and (place[::-1] <= extent).all() else ""
    return f"lies outside the picture, which is {extent[0]} pixels wide and {extent[1]} high{hint}"


def _logits(masks: Any, axes: int) -> NDArray[np.float32]:
    array = np.asarray(masks.logits if isinstance(masks, Masks) else masks)
    array = array[None] if array.ndim == axes else array
    if array.ndim != axes + 1 or array.dtype.kind != "f" or not np.isfinite(array).all():
        raise UsageError("masks are the result of an earlier call, or its logits (objects, rows, columns)")
    return array.astype(np.float32)
