"""Steps that read volumes and change their intensities; those that change their grid stand in `medfm.runtime.steps.grid`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medfm.catalog import contracts
from medfm.errors import InputError
from medfm.runtime import inputs, series
from medfm.runtime.inputs import Volume
from medfm.runtime.state import Context, Frame, Function, Options, State, frame_of
from medfm.runtime.steps.grid import cut, resize

# A small array must not be allowed to ask for terabytes (a header can claim any size).
LARGEST_VOLUME = 2**31


def read(step: contracts.ReadVolume, source: Any, options: Options) -> Volume:
    """Return one volume, finite and with a place in space."""
    if options.assume_affine and isinstance(source, str | Path):
        source = inputs.with_assumed_affine(source)
    frames = step.frames if not options.strict else "refuse"
    if series.holds_dicom(source):
        volume, notes = series.read(source, options)
        volume = replace(volume, notes=tuple(dict.fromkeys(notes)))
    else:
        volume = inputs.read_volume(source, frames=frames)
    if volume.data.size > LARGEST_VOLUME:
        raise InputError(f"{volume.data.size:,} voxels are more than this model can hold", path=volume.name)
    bad = int((~np.isfinite(volume.data)).sum())
    if bad:
        if step.non_finite == "refuse":
            raise InputError(f"{bad:,} voxels are NaN or infinite; repair the file first", path=volume.name)
        if options.strict and not options.fill_nan:
            raise InputError(
                f"{bad:,} voxels are NaN or infinite; pass --fill-nan to count them as 0, as the authors' code does",
                path=volume.name,
                flag="fill_nan",
            )
        volume = replace(volume, data=np.nan_to_num(volume.data))
    return volume


def _window(step: contracts.Window, state: State, context: Context) -> None:  # noqa: ARG001
    if step.measured_on == "located":
        measured = frame_of(state).range
        assert measured is not None, "the step `locate` comes first"
        low, high = measured
    elif step.quantiles:
        low, high = (_quantile(state.value, q) for q in step.quantiles)
        if state.frame is not None:
            state.frame.range = (low, high)
    else:
        assert step.low is not None
        assert step.high is not None
        low, high = step.low, step.high
    if not high > low:
        name = state.frame.volume.name if state.frame else ""
        raise InputError(
            "the image is constant (its low and high quantiles are equal): there is nothing to see", path=name
        )
    state.value = ((state.value - low) / (high - low)).clamp(min=0, max=1)


def _quantile(x: Tensor, q: float) -> float:
    # torch sorts no more than 2 ** 24 values
    return float(x.quantile(q)) if x.numel() <= 1 << 24 else float(np.quantile(x.numpy(), q))


def _standardize(step: contracts.Standardize, state: State, context: Context) -> None:  # noqa: ARG001
    x = state.value
    if step.over == "nonzero":
        state.value = _standardized_where(x != 0, step, x)
        return
    if step.axis == "all":
        values = x[x > 0] if step.over == "positive" else x
        if not len(values):
            raise InputError("nothing in the input is above 0")
        mean, deviation = values.mean(), values.std(correction=step.correction)
    else:
        mean, deviation = x.mean(-1, keepdim=True), x.std(-1, keepdim=True, correction=step.correction)
    if step.constant == "refuse" and not bool((deviation > 0).all()):
        raise InputError("the input is constant: its standard deviation is 0")
    x = (x - mean) / deviation
    if step.constant == "zero":
        x = torch.nan_to_num(x, nan=0.0)
    state.value = step.scale * x + step.shift


def _standardized_where(measured: Tensor, step: contracts.Standardize, x: Tensor) -> Tensor:
    """Standardize the values that are measured and leave the others as they are."""
    values = x[measured]
    deviation = values.std(correction=step.correction) if len(values) else torch.zeros(())
    if not float(deviation) > 0:
        raise InputError("the input is constant where it is not 0: its standard deviation is 0")
    changed = x.clone()
    changed[measured] = step.scale * (values - values.mean()) / deviation + step.shift
    return changed


def _locate(step: contracts.Locate, state: State, context: Context) -> None:
    assert context.localizer is not None, "the family must implement Localizer"
    frame = frame_of(state)
    view = State(state.value, frame=Frame(frame.volume))
    for inner in step.input:
        _VIEW[type(inner)](inner, view, context)
    found = context.localizer.locate(step.network, view.value)[step.channel] > step.threshold
    mask = torch.from_numpy(largest_component(found.numpy())) if step.component == "largest" else found
    assert view.frame is not None
    frame.range = view.frame.range
    box = _box(mask.float(), frame.shape, step, frame.volume.name)
    cut(state, [s.start for s in box], [s.stop - s.start for s in box])


def _box(mask: Tensor, shape: Sequence[int], step: contracts.Locate, name: str) -> tuple[slice, ...]:
    """Return the region that holds a coarse mask, with its margin, on the grid of the full volume."""
    occupied = [torch.where(mask.mean(axes) > step.occupied)[0] for axes in ((1, 2), (0, 2), (0, 1))]
    if any(len(slices) == 0 for slices in occupied):
        raise InputError(
            f"the first network ({step.network}) found nothing to crop to: is this the right kind of image?", path=name
        )
    scale = torch.tensor(shape) / torch.tensor(mask.shape)
    center = scale * torch.tensor([float(s.max() + 1 + s.min()) / 2 for s in occupied])
    size = (1 + 2 * torch.tensor(step.margin)) * (scale * torch.tensor([int(s.max() + 1 - s.min()) for s in occupied]))
    edges = [(int(c - s / 2), int(c + s / 2)) for c, s in zip(center.round(), size.round(), strict=True)]
    return tuple(slice(max(0, low), min(full, high)) for (low, high), full in zip(edges, shape, strict=True))


def largest_component(mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the largest connected component (corners connect), as bool; an empty mask stays empty."""
    from scipy import ndimage

    labels, count = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
    if count == 0:
        return np.zeros(mask.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    return np.asarray(labels == sizes[1:].argmax() + 1)


_VIEW: dict[type, Function] = {contracts.Window: _window, contracts.Standardize: _standardize, contracts.Resize: resize}
"""Steps that prepare the view of a first network."""

STEPS: dict[type, Function] = {
    contracts.Window: _window,
    contracts.Standardize: _standardize,
    contracts.Locate: _locate,
}
