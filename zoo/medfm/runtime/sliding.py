"""The sliding window: a network sees a large volume window by window, and the outputs are blended.

Windows and weights are those of `monai.inferers.sliding_window_inference`, or of nnU-Net. The output of a whole volume is never
held: windows come in the order of the first axis, so the part that no later window reaches is handed on and forgotten.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medfm.catalog.contracts import SlidingWindow

Predict = Callable[[Tensor], Tensor]
"""From one window (1, channels, *window) to the network's output (1, classes, *window), float32."""

Block = tuple[int, Tensor]
"""Where a finished part begins on the first axis, and the part: (classes, n, *other axes)."""


def slide(
    predict: Predict,
    x: Tensor,
    window: SlidingWindow,
    *,
    shown: Callable[[Iterable[Any], int], Iterable[Any]] = lambda windows, _: windows,
) -> Iterator[Block]:
    """Give the blended output of a volume in finished parts, along its first axis.

    Args:
        predict: the network.
        x: (1, channels, x, y, z) float32.
        window: size, overlap, and how outputs are blended.
        shown: wraps the windows, of which there are so many, in a progress bar.
    """
    size, grid = window.size, tuple(x.shape[2:])
    missing = [max(w - n, 0) for w, n in zip(size, grid, strict=True)]
    if any(missing):
        margins = [m for n in reversed(missing) for m in (n // 2, n - n // 2)]
        constant = {"value": window.value} if window.padding == "constant" else {}
        x = functional.pad(x, margins, mode=window.padding, **constant)
    first, *others = (slice(m // 2, m // 2 + n) for m, n in zip(missing, grid, strict=True))
    starts = [_starts(n, w, window) for n, w in zip(x.shape[2:], size, strict=True)]
    weight = weights(window)
    places = list(itertools.product(*starts))
    known: dict[float, Tensor] = {}
    joined: _Joined | None = None
    for place in shown(places, len(places)):
        a, b, c = (slice(s, s + w) for s, w in zip(place, size, strict=True))
        seen = x[:, :, a, b, c]
        found = _predict_once(predict, seen, window, known)
        if joined is None:
            joined = _Joined(found.shape[1], tuple(x.shape[2:]), size, weight)
        yield from _inside(joined.until(place[0]), first, others)
        joined.add(found[0], place)
    assert joined is not None, "there is at least one window"
    yield from _inside(joined.until(x.shape[2]), first, others)


def _predict_once(predict: Predict, seen: Tensor, window: SlidingWindow, known: dict[float, Tensor]) -> Tensor:
    """Run the network, but only once on windows that hold nothing but one and the same value (air, padding)."""
    low, high = torch.aminmax(seen)
    if low != high:
        return _mirrored(predict, seen) if window.mirror else predict(seen)
    value = float(low)
    if value not in known:
        known[value] = _mirrored(predict, seen) if window.mirror else predict(seen)
    return known[value]


def _mirrored(predict: Predict, seen: Tensor) -> Tensor:
    """Return the mean output over all mirrored forms of a window."""
    axes = [axes for n in range(4) for axes in itertools.combinations((2, 3, 4), n)]
    total: Tensor | None = None
    for flipped in axes:
        found = predict(seen.flip(flipped)).flip(flipped) / len(axes)
        total = found if total is None else total + found
    assert total is not None
    return total


def _inside(blocks: Iterable[Block], first: slice, others: list[slice]) -> Iterator[Block]:
    """Give the parts without the padding."""
    for start, block in blocks:
        low, high = max(first.start - start, 0), min(first.stop - start, block.shape[1])
        if low < high:
            yield start + low - first.start, block[(slice(None), slice(low, high), *others)]


class _Joined:
    """Sums of weighted outputs and of weights, over as many slices of the first axis as one window has.

    Classes are the innermost axis in memory, as networks give them whose convolutions run over channels last.
    """

    def __init__(self, classes: int, grid: tuple[int, ...], size: tuple[int, ...], weight: Tensor) -> None:
        self._sum = torch.zeros((size[0], *grid[1:], classes)).permute(3, 0, 1, 2)
        self._weights = torch.zeros((size[0], *grid[1:]))
        self._weight, self._size, self._start = weight, size, 0

    def add(self, output: Tensor, place: tuple[int, ...]) -> None:
        """Add one window's output, (classes, *window)."""
        _, y, z = place
        _, height, width = self._size
        region = (slice(None), slice(y, y + height), slice(z, z + width))
        self._sum[(slice(None), *region)].addcmul_(output, self._weight[None])
        self._weights[region] += self._weight

    def until(self, stop: int) -> Iterator[Block]:
        """Give the finished slices in front of `stop`, and move on to it."""
        count = min(stop - self._start, self._size[0])
        if count > 0:
            yield self._start, self._sum[:, :count] / self._weights[:count]
            self._sum[:, : self._size[0] - count] = self._sum[:, count:].clone()
            self._sum[:, self._size[0] - count :] = 0
            self._weights = torch.cat([self._weights[count:], torch.zeros_like(self._weights[:count])])
            self._start += count


def _starts(length: int, size: int, window: SlidingWindow) -> list[int]:
    """Return where windows begin along one axis that is at least as long as a window."""
    if length == size:
        return [0]
    if window.rule == "nnunet":
        steps = math.ceil((length - size) / (size * (1 - window.overlap))) + 1
        return [round((length - size) / (steps - 1) * i) for i in range(steps)]
    step = max(int(size * (1 - window.overlap)), 1)
    return [min(start, length - size) for start in range(0, length - size + step, step)]


def weights(window: SlidingWindow) -> Tensor:
    """Return the weight of each voxel of a window, float32."""
    if window.blend == "constant":
        return torch.ones(window.size)
    if window.rule == "nnunet":
        return _filtered_bell(window)
    bell = torch.ones(())
    for n in window.size:
        at = torch.arange(-(n - 1) / 2.0, (n - 1) / 2.0 + 1, dtype=torch.float32)
        bell = bell[..., None] * torch.exp(at**2 / (-2 * (n * window.sigma_scale) ** 2))
    return bell.clamp(min=max(float(bell.min()), 1e-3))


def _filtered_bell(window: SlidingWindow) -> Tensor:
    """Return nnU-Net's bell: a Gaussian filter's answer to one voxel in the middle, which it cuts off at four sigma."""
    from scipy import ndimage

    point = np.zeros(window.size)
    point[tuple(n // 2 for n in window.size)] = 1
    bell = ndimage.gaussian_filter(point, [n * window.sigma_scale for n in window.size], mode="constant")
    bell = (bell / bell.max()).astype(np.float32)
    bell[bell == 0] = bell[bell != 0].min()
    return torch.from_numpy(bell)
