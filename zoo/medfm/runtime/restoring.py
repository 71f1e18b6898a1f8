"""The way back: from a network's output on the prepared grid to labels on the grid of the input file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medfm.catalog import contracts
from medfm.runtime.grids import Taps, WayBack, apply, way_back
from medfm.runtime.sliding import Block
from medfm.runtime.state import Frame
from medfm.runtime.steps.volume import largest_component

Mask = NDArray[np.uint8] | NDArray[np.uint16]

# Slices of the file's grid that are computed at once.
_SLICES = 8


def restore(output: Tensor, frame: Frame, described: contracts.SegmentationOutput) -> Mask:
    """Turn a network's output into a mask on the input's own grid; see `restored`.

    Args:
        output: (channels, *prepared grid) float32.
        frame: the way back.
        described: how labels are decided, and what is done to the mask.

    Returns:
        (x, y, z) in the file's own axis order.
    """
    return restored([(0, output)], frame, described)[0]


def restored(
    blocks: Iterable[Block], frame: Frame, described: contracts.SegmentationOutput
) -> tuple[Mask, NDArray[np.bool_] | None]:
    """Turn a network's output, given part by part, into labels on the input's own grid.

    Args:
        blocks: parts along the first axis of the prepared grid, in order; see `medfm.runtime.sliding`.
        frame: the way back.
        described: how labels are decided, and what is done to the mask.

    Returns:
        The mask (x, y, z) in the file's own axis order, and where labels may overlap, each of them: (labels, x, y, z).
    """
    back = way_back(tuple(frame.volume.data.shape), frame.changes, described.interpolation)
    layers = len(described.labels) if described.decision == "each" else 0
    kind = np.uint8 if max(described.labels) < 256 else np.uint16
    direct = described.restored == "labels"
    if not direct:
        blocks = _returned(blocks, back)
    shape = frame.shape if direct else back.inner
    values = np.zeros(shape, dtype=kind)
    overlapping = np.zeros((layers, *shape), dtype=bool)
    for start, block in blocks:
        part = slice(start, start + block.shape[1])
        values[part], found = decide(block, described)
        if layers:
            overlapping[:, part] = found
    if direct:
        values = _picked(values, back)
        if layers:
            overlapping = np.stack([_picked(layer, back) for layer in overlapping])
    mask = _cleaned(np.ascontiguousarray(values.transpose(back.order)), described)
    if not layers:
        return mask, None
    return mask, np.ascontiguousarray(overlapping.transpose(0, *(1 + axis for axis in back.order)))


# ---------------------------------------------------------------- which label


def decide(block: Tensor, described: contracts.SegmentationOutput) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return the value of each voxel, and each label's own voxels where labels may overlap.

    Args:
        block: (channels, *part of a grid), the network's output.
        described: how labels are decided.
    """
    if described.activated == "whole" and described.activation != "none":
        block = activated(block, described)
    values = list(described.labels)
    if described.decision == "threshold":
        assert described.channel is not None
        assert isinstance(described.threshold, float)
        above = block[described.channel] > described.threshold
        return above.numpy() * np.uint16(values[0]), None
    if described.decision == "argmax":
        table = np.array([c if c in described.labels else 0 for c in range(block.shape[0])], dtype=np.uint16)
        return table[_highest(block)[0].numpy()], None
    thresholds = described.threshold if isinstance(described.threshold, tuple) else (described.threshold,) * len(values)
    assert len(values) == block.shape[0], "the contract has a label for every channel"
    margins = block - torch.tensor(thresholds).reshape(-1, *(1,) * (block.ndim - 1))
    highest, margin = _highest(margins)
    found = np.array(values, dtype=np.uint16)[highest.numpy()] * (margin > 0).numpy()
    return found, (margins > 0).numpy() if described.decision == "each" else None


def activated(x: Tensor, described: contracts.SegmentationOutput) -> Tensor:
    """Return what the contract's activation makes of (channels, *grid)."""
    return x.softmax(0) if described.activation == "softmax" else x.sigmoid()


def _highest(block: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first channel with the highest value, int16 or int64, and that value."""
    if block.stride(0) == 1:  # classes lie side by side
        score, channel = block.max(0)
        return channel, score
    score = block[0].clone()
    best = torch.zeros(score.shape, dtype=torch.int16)
    for number in range(1, block.shape[0]):
        best.masked_fill_(block[number] > score, number)
        torch.maximum(score, block[number], out=score)
    return best, score


def _cleaned(mask: NDArray[Any], described: contracts.SegmentationOutput) -> NDArray[Any]:
    """Keep the largest component of each label, and fill holes, where the authors do."""
    if described.component == "all" and not described.fill_holes:
        return mask
    from scipy import ndimage

    cleaned = np.zeros_like(mask)
    for value in described.labels:
        one = mask == value
        if described.component == "largest":
            one = largest_component(one)
        if described.fill_holes:
            one = ndimage.binary_fill_holes(one)
        cleaned[one] = value
    return cleaned


# ---------------------------------------------------------------- onto the file's grid


def returned(values: NDArray[Any], frame: Frame) -> NDArray[Any]:
    """Return labels on the prepared grid (x, y, z) as they lie on the file's grid; outside is 0."""
    back = way_back(tuple(frame.volume.data.shape), frame.changes, "nearest")
    return np.ascontiguousarray(_picked(values, back).transpose(back.order))


def _picked(values: NDArray[Any], back: WayBack) -> NDArray[Any]:
    """Return labels on the file's grid, with the prepared order of axes; outside is 0."""
    for axis, taps in enumerate(back.taps):
        if taps is not None:
            outside = (taps.weight[:, 0] == 0).numpy()
            values = np.take(values, taps.index[:, 0].numpy(), axis=axis)
            if outside.any():
                values[(slice(None),) * axis + (outside,)] = 0
    return values


def _returned(blocks: Iterable[Block], back: WayBack) -> Iterator[Block]:
    """Give the parts of an output on the file's grid, with the prepared order of axes.

    A slice of the file's grid is made as soon as the slices are there that it is made of; the others are kept no longer than
    they are needed.
    """
    first, *others = back.taps
    if first is None:
        for start, block in blocks:
            yield start, _across(block, others)
        return
    used = first.weight != 0
    low = torch.where(used, first.index, torch.iinfo(torch.int64).max).amin(1)
    high = torch.where(used, first.index, -1).amax(1)
    waiting = torch.arange(len(high))
    kept: Tensor | None = None
    begin = 0
    for start, block in blocks:
        kept = block if kept is None else torch.cat([kept, block], dim=1)
        end = start + block.shape[1]
        ready = waiting[high[waiting] < end]
        waiting = waiting[high[waiting] >= end]
        for rows in _runs(ready):
            taps = Taps((first.index[rows] - begin).clamp(0, end - begin - 1), first.weight[rows])
            yield int(rows[0]), _across(apply(kept, 1, taps), others)
        needed = min(int(low[waiting].min()), end) if len(waiting) else end
        kept, begin = kept[:, needed - begin :].clone(), needed


def _runs(rows: Tensor) -> Iterator[Tensor]:
    """Give rows in pieces that follow each other without a gap, none longer than is computed at once."""
    if len(rows):
        gaps = (torch.where(rows.diff() != 1)[0] + 1).tolist()
        for run in torch.tensor_split(rows, gaps):
            yield from torch.split(run, _SLICES)


def _across(block: Tensor, others: list[Taps | None]) -> Tensor:
    for axis, taps in enumerate(others, start=2):
        if taps is not None:
            block = apply(block, axis, taps)
    return block
