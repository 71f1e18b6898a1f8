"""Steps that change the grid of a volume; each one tells the volume's `Frame`, so that results find the way back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from medfm.catalog import contracts
from medfm.errors import InputError
from medfm.runtime.grids import Moved, Resampled, Turned, to_spacing
from medfm.runtime.inputs import Volume
from medfm.runtime.state import Context, Function, State, frame_of


def _orient(step: contracts.Orient, state: State, context: Context) -> None:  # noqa: ARG001
    from nibabel import orientations

    frame = frame_of(state)
    now = orientations.io_orientation(frame.affine)
    turn = orientations.ornt_transform(now, orientations.axcodes2ornt(tuple(step.axes)))
    turned = orientations.apply_orientation(state.value.numpy(), turn)
    state.value = torch.from_numpy(np.ascontiguousarray(turned))
    frame.change(Turned(frame.shape, turn), state.value.shape)


def _permute(step: contracts.Permute, state: State, context: Context) -> None:  # noqa: ARG001
    frame = frame_of(state)
    state.value = state.value.permute(step.order).contiguous()
    turn = np.array([[step.order.index(old), 1] for old in range(3)])
    frame.change(Turned(frame.shape, turn), state.value.shape)


def _space(step: contracts.Spacing, state: State, context: Context) -> None:  # noqa: ARG001
    frame = frame_of(state)
    if min(n * o / s for n, o, s in zip(frame.shape, frame.spacing, step.spacing, strict=True)) < 0.5:
        size = " x ".join(f"{n * o:.3g}" for n, o in zip(frame.shape, frame.spacing, strict=True))
        raise InputError(f"the volume measures {size} mm, less than one voxel of this model", path=frame.volume.name)
    try:
        whole = step.rule == "torchio" and holds_whole_numbers(frame.volume)
        state.value, change = to_spacing(state.value, frame.affine, step.spacing, step.rule, whole=whole)
    except ValueError as error:
        raise InputError(
            f"{error} (gantry tilt?); resample the volume to a straight grid first", path=frame.volume.name
        ) from None
    if change is not None:
        frame.change(change, state.value.shape)


def _crop_foreground(step: contracts.CropForeground, state: State, context: Context) -> None:  # noqa: ARG001
    _crop_to(state.value > 0, state, step.margin)


def _crop_nonzero(step: contracts.CropNonzero, state: State, context: Context) -> None:  # noqa: ARG001
    _crop_to(state.value != 0, state)


def _crop_to(found: Tensor, state: State, margin: int = 0) -> None:
    frame = frame_of(state)
    start, size = [], []
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        lines = torch.where(found.any(dim=others[1]).any(dim=others[0]))[0]
        if len(lines) == 0:
            raise InputError("there is nothing but background in the volume", path=frame.volume.name)
        low = max(int(lines[0]) - margin, 0)
        start.append(low)
        size.append(min(int(lines[-1]) + 1 + margin, frame.shape[axis]) - low)
    cut(state, start, size)


def _crop_around(step: contracts.CropAround, state: State, context: Context) -> None:
    frame = frame_of(state)
    assert context.around is not None, "prompts come with the call"
    places = np.linalg.solve(frame.affine, np.c_[context.around, np.ones(len(context.around))].T)[:3]
    voxels = nearest(places).astype(np.int64)
    start = []
    for low, high, size in zip(voxels.min(axis=1), voxels.max(axis=1) + 1, step.size, strict=True):
        middle = (low + high) / 2
        if (size % 2 == 0) != (middle % 1 == 0):
            middle -= 0.5  # where the middle cannot be met, half a voxel lower (TorchIO's CropOrPad)
        start.append(int(middle - size / 2))
    cut(state, start, step.size, step.value)


def nearest(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nearest whole places; the lower one where two are equally near, whatever the last digit says."""
    return np.asarray(np.ceil(places - 0.5 - 1e-6))


def holds_whole_numbers(volume: Volume) -> bool:
    """Return whether a file stores whole numbers and does not scale them; arrays and series are judged by their values."""
    header = volume.header
    if header is not None and "scl_slope" in header:
        slope, intercept = header.get_slope_inter()
        return header.get_data_dtype().kind in "iu" and slope in (None, 1) and intercept in (None, 0)
    return bool((volume.data == np.rint(volume.data)).all())


def _fit(step: contracts.FitVolume, state: State, context: Context) -> None:  # noqa: ARG001
    frame = frame_of(state)
    start, larger = [], []
    for n, wanted in zip(frame.shape, step.size, strict=True):
        missing = max(wanted - n, 0)
        start.append(-(missing // 2))
        larger.append(n + missing)
    cut(state, start, larger, step.value)
    middle = [max(n // 2 - wanted // 2, 0) for n, wanted in zip(frame.shape, step.size, strict=True)]
    cut(state, middle, step.size)


def _pad(step: contracts.PadVolume, state: State, context: Context) -> None:  # noqa: ARG001
    frame = frame_of(state)
    if step.least is not None:
        wanted = [max(n, least) for n, least in zip(frame.shape, step.least, strict=True)]
    else:
        assert step.multiple is not None
        wanted = [-(-n // step.multiple) * step.multiple for n in frame.shape]
    cut(state, [-((w - n) // 2) for w, n in zip(wanted, frame.shape, strict=True)], wanted, step.value)


def cut(state: State, start: Sequence[int], size: Sequence[int], value: float = 0.0) -> None:
    """Cut a box out of a volume; where it reaches beyond the volume, that is padded."""
    frame = frame_of(state)
    before = frame.shape
    if tuple(start) == (0, 0, 0) and tuple(size) == before:
        return
    ends = [s + n for s, n in zip(start, size, strict=True)]
    inside = tuple(slice(max(s, 0), min(e, n)) for s, e, n in zip(start, ends, before, strict=True))
    margins = [m for s, e, n in zip(start, ends, before, strict=True) for m in (max(-s, 0), max(e - n, 0))]
    x = state.value[inside]
    if any(margins):
        flat = [m for pair in reversed(list(zip(margins[::2], margins[1::2], strict=True))) for m in pair]
        x = functional.pad(x, flat, value=value)
    state.value = x.contiguous()
    frame.change(Moved(before, tuple(start), tuple(size)), size)


def resize(step: contracts.Resize, state: State, context: Context) -> None:  # noqa: ARG001
    """Resample to a fixed number of voxels, or of pixels."""
    before = tuple(state.value.shape)
    state.value = resample(state.value, step.size, step.interpolation)
    if state.frame is not None and state.frame.shape:
        state.frame.change(Resampled.inside(before, step.size), step.size)


def resample(x: Tensor, size: Sequence[int], interpolation: str) -> Tensor:
    """Resample a tensor without channels to `size`, voxel corners aligned with voxel corners (torch's convention)."""
    modes = {"nearest": "nearest", "nearest-exact": "nearest-exact", "area": "area"}
    modes |= {"linear": {1: "linear", 2: "bilinear", 3: "trilinear"}[x.ndim], "cubic": "bicubic"}
    return functional.interpolate(x[None, None], tuple(size), mode=modes[interpolation])[0, 0]


STEPS: dict[type, Function] = {
    contracts.Orient: _orient,
    contracts.Permute: _permute,
    contracts.Spacing: _space,
    contracts.CropForeground: _crop_foreground,
    contracts.CropNonzero: _crop_nonzero,
    contracts.CropAround: _crop_around,
    contracts.FitVolume: _fit,
    contracts.PadVolume: _pad,
    contracts.Resize: resize,
}
