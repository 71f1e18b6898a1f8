"""Grids of voxels: how one is made from another, axis by axis, and how to find the way back.

Turning, cropping, padding and resampling along the axes have one thing in common: a new voxel is a weighted sum of old ones, and
the weights are products of one factor an axis. `Taps` holds the factors of one axis; any sequence of such changes is again one
`Taps` an axis and an order of axes, whatever the sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from medfm.errors import MissingExtraError

Shape = tuple[int, ...]
Interpolation = Literal["nearest", "nearest-exact", "linear", "nnunet"]

# MONAI takes spacings as equal that differ by less (in mm).
CLOSE = 1e-3
# nnU-Net calls a volume anisotropic whose voxels are longer along one axis by more than this factor.
ANISOTROPIC = 3
# Voxels that a sheared grid may be off at its far end before it is refused.
_SHEAR = 0.01


@dataclass(frozen=True)
class Taps:
    """One axis of a change of grids: for each new position, old positions and their weights.

    Attributes:
        index: (new, taps) int64, positions on the old axis.
        weight: (new, taps) float32; a row of zeros is a position outside the old axis.
    """

    index: Tensor
    weight: Tensor

    @property
    def plain(self) -> bool:
        """Whether every new position is one old one, or outside."""
        return self.index.shape[1] == 1

    def reversed(self) -> Taps:
        """Return the taps of the mirrored new axis."""
        return Taps(self.index.flip(0), self.weight.flip(0))

    def after(self, first: Taps) -> Taps:
        """Return the taps that do `first`, and then this."""
        index = first.index[self.index].flatten(1)
        weight = (first.weight[self.index] * self.weight[:, :, None]).flatten(1)
        if self.plain or first.plain:
            return Taps(index, weight)
        most = max(int((weight != 0).sum(1).max()), 1)
        kept = weight.abs().topk(most, dim=1).indices
        return Taps(index.gather(1, kept), weight.gather(1, kept))


def apply(x: Tensor, axis: int, taps: Taps) -> Tensor:
    """Return a tensor with one axis changed, float32 unless all taps are plain and inside."""
    parts = [x.index_select(axis, taps.index[:, k]) for k in range(taps.index.shape[1])]
    shape = [-1 if i == axis else 1 for i in range(x.ndim)]
    whole = taps.weight.sum(1)
    inside = bool(((whole - 1).abs() < 1e-6).all())
    if len(parts) == 1:
        return parts[0] if inside else parts[0] * taps.weight[:, 0].reshape(shape).to(x.dtype)
    if len(parts) == 2 and inside:  # in this form, equal neighbors give exactly their value
        return torch.lerp(parts[0], parts[1], taps.weight[:, 1].reshape(shape).to(x.dtype))
    return sum((part * taps.weight[:, k].reshape(shape).to(x.dtype) for k, part in enumerate(parts)), torch.zeros(()))


def linear(positions: NDArray[Any], length: int) -> Taps:
    """Return taps that interpolate at positions of an axis; beyond its ends stands the last value."""
    at = np.clip(positions, 0, length - 1)
    low = np.minimum(np.floor(at), max(length - 2, 0)).astype(np.int64)
    share = at - low
    index = np.stack([low, np.minimum(low + 1, length - 1)], axis=1)
    return Taps(torch.from_numpy(index), torch.from_numpy(np.stack([1 - share, share], axis=1).astype(np.float32)))


def picked(positions: NDArray[Any], length: int) -> Taps:
    """Return taps that take whole positions of an axis; those beyond its ends are outside."""
    inside = (positions >= 0) & (positions < length)
    index = np.clip(positions, 0, length - 1)[:, None]
    return Taps(torch.from_numpy(index), torch.from_numpy(inside[:, None].astype(np.float32)))


# ---------------------------------------------------------------- changes of the grid


@dataclass(frozen=True)
class Turned:
    """Axes that changed their order and direction.

    Attributes:
        turn: (3, 2), for each old axis the number of the new one, and -1 where it was mirrored (nibabel's form).
    """

    before: Shape
    turn: NDArray[Any]

    @property
    def affine(self) -> NDArray[np.float64]:
        """Indices on the new grid to indices on the old one, (4, 4)."""
        from nibabel.orientations import inv_ornt_aff

        return np.asarray(inv_ornt_aff(self.turn, self.before), dtype=np.float64)

    def back(self, interpolation: Interpolation) -> list[Taps | None]:  # noqa: ARG002
        """Return the taps from the new grid to the old one, by old axis; None where nothing changes."""
        return [
            picked(np.arange(n)[::-1].copy(), n) if flip < 0 else None
            for n, (_, flip) in zip(self.before, self.turn, strict=True)
        ]


@dataclass(frozen=True)
class Moved:
    """A box that was cut out of a grid; it may reach beyond it (padding).

    Attributes:
        start: the box's first voxel, negative where it was padded.
        after: the box's size.
    """

    before: Shape
    start: Shape
    after: Shape

    @property
    def affine(self) -> NDArray[np.float64]:
        """Indices on the new grid to indices on the old one, (4, 4)."""
        matrix = np.eye(4)
        matrix[:3, 3] = self.start
        return matrix

    def back(self, interpolation: Interpolation) -> list[Taps | None]:  # noqa: ARG002
        """Return the taps from the new grid to the old one, by axis."""
        return [
            None if (s, n) == (0, m) else picked(np.arange(n) - s, m)
            for n, s, m in zip(self.before, self.start, self.after, strict=True)
        ]


@dataclass(frozen=True)
class Resampled:
    """A grid whose voxels changed their size: voxel i of the new axis lies at `ratio * i + offset` on the old one.

    Attributes:
        thick: the axis along which nnU-Net takes slices as they are, if there is one.
        borders: whether the volume's borders stayed in place (what torch and nnU-Net do).
    """

    before: Shape
    after: Shape
    ratio: tuple[float, ...]
    offset: tuple[float, ...]
    borders: bool = False
    thick: int | None = None

    @classmethod
    def inside(cls, before: Sequence[int], after: Sequence[int], thick: int | None = None) -> Resampled:
        """Return the change to another number of voxels between the same borders."""
        ratio = tuple(n / m for n, m in zip(before, after, strict=True))
        return cls(tuple(before), tuple(after), ratio, tuple(r / 2 - 0.5 for r in ratio), True, thick)

    @property
    def affine(self) -> NDArray[np.float64]:
        """Indices on the new grid to indices on the old one, (4, 4)."""
        matrix = np.diag([*self.ratio, 1.0])
        matrix[:3, 3] = self.offset
        return matrix

    def back(self, interpolation: Interpolation) -> list[Taps | None]:
        """Return the taps from the new grid to the old one, by axis."""
        return [self._axis(i, interpolation) for i in range(len(self.before))]

    def _axis(self, axis: int, interpolation: Interpolation) -> Taps | None:
        n, m, ratio, offset = self.before[axis], self.after[axis], self.ratio[axis], self.offset[axis]
        if (n, ratio, offset) == (m, 1, 0):
            return None
        if interpolation == "linear" or (interpolation == "nnunet" and axis != self.thick):
            return linear((np.arange(n, dtype=np.float64) - offset) / ratio, m)
        if not self.borders:
            at = np.rint((np.arange(n) - offset) / ratio)
        elif interpolation == "nnunet":
            at = np.floor((np.arange(n) + 0.5) / ratio)
        else:
            numbers = torch.arange(m, dtype=torch.float32)[None, None]
            at = functional.interpolate(numbers, n, mode=interpolation)[0, 0].numpy()
        return picked(np.clip(at, 0, m - 1).astype(np.int64), m)


Change = Turned | Moved | Resampled


# ---------------------------------------------------------------- the way back


@dataclass(frozen=True)
class WayBack:
    """From the prepared grid to the file's: taps by prepared axis, then an order of axes.

    Attributes:
        taps: by prepared axis; None where nothing changes.
        order: for each of the file's axes, the prepared one.
        shape: of the file's grid.
    """

    taps: tuple[Taps | None, ...]
    order: tuple[int, ...]
    shape: Shape

    @property
    def inner(self) -> Shape:
        """The file's shape in the order of the prepared axes."""
        sizes = dict(zip(self.order, self.shape, strict=True))
        return tuple(sizes[i] for i in range(len(self.shape)))


def way_back(shape: Shape, changes: Sequence[Change], interpolation: Interpolation) -> WayBack:
    """Join changes into the way from the last grid to the first.

    Args:
        shape: of the first grid.
        changes: in the order in which they were made.
        interpolation: between voxels where they were resampled.
    """
    taps: list[Taps | None] = [None] * len(shape)
    order = list(range(len(shape)))  # current axis -> prepared axis
    for change in reversed(changes):
        if isinstance(change, Turned):
            order = [order[int(new)] for new, _ in change.turn]
        for axis, step in enumerate(change.back(interpolation)):
            if step is not None:
                known = taps[order[axis]]
                taps[order[axis]] = step if known is None else step.after(known)
    return WayBack(tuple(taps), tuple(order), tuple(shape))


# ---------------------------------------------------------------- resampling to a spacing


def to_spacing(
    x: Tensor, affine: NDArray[np.float64], spacing: Sequence[float], rule: str, *, whole: bool = False
) -> tuple[Tensor, Resampled | None]:
    """Resample a volume to voxels of another size.

    Args:
        x: (x, y, z) float32.
        affine: (4, 4), its indices to millimeters.
        spacing: millimeters along each axis, wanted.
        rule: "monai", "nnunet" or "torchio", see `medfm.catalog.contracts.Spacing`.
        whole: whether the file holds whole numbers.

    Returns:
        The volume and what was done, or None where nothing was.

    Raises:
        ValueError: the axes are not at right angles.
    """
    old = [float(s) for s in np.sqrt((affine[:3, :3] ** 2).sum(axis=0))]
    if rule == "torchio":
        return _torchio(x, affine, old, spacing, whole)
    return _monai(x, affine, old, spacing) if rule == "monai" else _nnunet(x, old, spacing)


def _monai(
    x: Tensor, affine: NDArray[np.float64], old: Sequence[float], new: Sequence[float]
) -> tuple[Tensor, Resampled | None]:
    before = tuple(x.shape)
    wanted = [o if abs(o - n) <= CLOSE else n for o, n in zip(old, new, strict=True)]
    # MONAI takes rotation and zoom apart; what rounding leaves of a shear decides where it puts the new grid
    zoom = np.linalg.cholesky(affine[:3, :3].T @ affine[:3, :3]).T
    turned = affine[:3, :3] @ np.linalg.inv(zoom) @ np.diag(np.sign(np.diag(zoom)) * wanted)
    step = np.linalg.solve(affine[:3, :3], turned)  # new indices to old ones
    ratio = np.diag(step)
    if (np.abs(step - np.diag(ratio)) * before).max() > _SHEAR:
        raise ValueError("the axes are not at right angles")
    corners = np.stack(np.meshgrid(*[(0.0, n - 1.0) for n in before], indexing="ij")).reshape(3, -1)
    seen = np.linalg.solve(step, corners)
    after = tuple(int(n) for n in np.round(np.ptp(seen, axis=1) + 1.0))
    if after == before and np.allclose(step, np.eye(3), atol=CLOSE):
        return x, None
    offset = np.zeros(3)
    if not np.allclose((seen - seen[:, :1]).min(axis=1), 0.0):  # no corner comes first on all axes
        offset = np.array(before) / 2 - step @ (np.array(after) / 2)
    for axis, (n, m) in enumerate(zip(before, after, strict=True)):
        if (n, ratio[axis], offset[axis]) != (m, 1, 0):
            x = apply(x, axis, linear(np.arange(m) * ratio[axis] + offset[axis], n))
    return x, Resampled(before, after, tuple(map(float, ratio)), tuple(map(float, offset)))


def _torchio(
    x: Tensor, affine: NDArray[np.float64], old: Sequence[float], new: Sequence[float], whole: bool
) -> tuple[Tensor, Resampled]:
    """Resample by SimpleITK itself: where values are cut to whole numbers, its last digit decides."""
    try:
        import SimpleITK
    except ImportError:
        raise MissingExtraError("SimpleITK", "volumes", why="resampling as this model's authors do") from None
    sitk: Any = SimpleITK  # it has no types
    before = tuple(x.shape)
    to_lps = np.diag([-1.0, -1.0, 1.0])
    direction = to_lps @ (affine[:3, :3] / np.array(old))
    if not np.allclose(direction.T @ direction, np.eye(3), atol=1e-4):
        raise ValueError("the axes are not at right angles")
    image = sitk.GetImageFromArray(np.ascontiguousarray(x.numpy().T.astype(np.int32 if whole else np.float32)))
    image.SetOrigin((to_lps @ affine[:3, 3]).tolist())
    image.SetSpacing(list(old))
    image.SetDirection(direction.flatten().tolist())
    after = np.maximum(np.floor(np.array(before) * np.array(old) / np.array(new)), 1)
    last = np.array(image.TransformIndexToPhysicalPoint([n - 1 for n in before]))
    middle = (last + np.array(image.GetOrigin())) / 2
    resampler = sitk.ResampleImageFilter()
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetOutputDirection(image.GetDirection())
    resampler.SetOutputSpacing([float(n) for n in new])
    resampler.SetOutputOrigin((middle - direction @ ((after - 1) / 2 * np.array(new))).tolist())
    resampler.SetSize([int(n) for n in after])
    values = sitk.GetArrayFromImage(resampler.Execute(image)).T.astype(np.float32)
    ratio = [n / o for n, o in zip(new, old, strict=True)]
    offset = [(n - 1) / 2 - (m - 1) / 2 * r for n, m, r in zip(before, after, ratio, strict=True)]
    shape = tuple(int(n) for n in after)
    return torch.from_numpy(np.ascontiguousarray(values)), Resampled(before, shape, tuple(ratio), tuple(offset))


def _nnunet(x: Tensor, old: Sequence[float], new: Sequence[float]) -> tuple[Tensor, Resampled | None]:
    from scipy import ndimage

    before = tuple(x.shape)
    after = tuple(int(np.round(o / n * size)) for o, n, size in zip(old, new, before, strict=True))
    thick = _thick(old) if _anisotropic(old) else _thick(new) if _anisotropic(new) else None
    if after == before:
        return x, None
    values: NDArray[np.float64] = x.numpy().astype(np.float64)

    def zoomed(array: NDArray[np.float64], size: Sequence[int]) -> NDArray[np.float64]:
        factors = [m / n for m, n in zip(size, array.shape, strict=True)]
        cubic = ndimage.zoom(array, factors, order=3, mode="nearest", grid_mode=True)
        return np.clip(cubic, array.min(), array.max())

    if thick is None:
        values = zoomed(values, after)
    else:
        inner = [m for i, m in enumerate(after) if i != thick]
        slices = [zoomed(one, inner) for one in np.moveaxis(values, thick, 0)]
        n, m = before[thick], after[thick]
        nearest = np.clip(np.floor((np.arange(m) + 0.5) * (n / m)), 0, n - 1).astype(np.int64)
        values = np.moveaxis(np.stack(slices)[nearest], 0, thick)
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)), Resampled.inside(before, after, thick)


def _anisotropic(spacing: Sequence[float]) -> bool:
    return max(spacing) / min(spacing) > ANISOTROPIC


def _thick(spacing: Sequence[float]) -> int | None:
    longest = [i for i, s in enumerate(spacing) if s == max(spacing)]
    return longest[0] if len(longest) == 1 else None
