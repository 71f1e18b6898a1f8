"""STU-Net (Huang et al. 2023): a residual 3D U-Net in nnU-Net's form, from 15 million to 1.5 billion parameters.

Written from the paper and the checkpoint's key names and shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from medfm.runtime import checkpoint
from medfm.runtime.volume_networks import Segments

if TYPE_CHECKING:
    from medfm.catalog.weights import StuNet as Description

_FACTORS = (1, 2, 4, 8, 16, 16)
# The last step halves the last axis alone, as the published plans say.
_STRIDES = ((2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (1, 1, 2))


def build(weights: Description, files: Mapping[str, Path], device: torch.device, dtype: torch.dtype) -> Segments:
    """Build the network from a verified checkpoint."""
    path, sha256 = files["weights"], weights.origin.files["weights"].sha256
    network = checkpoint.load(lambda: create(weights), path, keys=weights.keys, sha256=sha256)
    return Segments(network.to(device=device, dtype=dtype))


def create(weights: Description) -> StuNet:
    """Return the network without weights."""
    return StuNet([weights.depth] * len(_FACTORS), [weights.width * f for f in _FACTORS], weights.classes)


class StuNet(nn.Module):
    """(n, 1, x, y, z) in, sides divisible by 16 and the last by 32; logits (n, classes, x, y, z) out."""

    def __init__(self, depths: list[int], widths: list[int], classes: int) -> None:
        super().__init__()
        inputs = [1, *widths[:-1]]
        strides = [(1, 1, 1), *_STRIDES]
        self.conv_blocks_context = nn.ModuleList(
            _stage(a, b, depth, stride) for a, b, depth, stride in zip(inputs, widths, depths, strides, strict=True)
        )
        rising = list(pairwise(reversed(widths)))
        self.upsample_layers = nn.ModuleList(
            _Up(low, high, stride) for (low, high), stride in zip(rising, reversed(_STRIDES), strict=True)
        )
        self.conv_blocks_localization = nn.ModuleList(
            _stage(2 * high, high, depth) for (_, high), depth in zip(rising, depths[-2::-1], strict=True)
        )
        # one for each resolution, of which only the finest is used once training is over
        self.seg_outputs = nn.ModuleList(nn.Conv3d(high, classes, 1) for _, high in rising)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits on the input's grid."""
        seen = []
        for stage in self.conv_blocks_context:
            x = stage(x)
            seen.append(x)
        seen.pop()
        for up, stage in zip(self.upsample_layers, self.conv_blocks_localization, strict=True):
            x = stage(torch.cat([up(x), seen.pop()], dim=1))
        logits: Tensor = self.seg_outputs[-1](x)
        return logits


def _stage(inputs: int, outputs: int, depth: int, stride: tuple[int, int, int] = (1, 1, 1)) -> nn.Sequential:
    first = _Block(inputs, outputs, stride, projected=True)
    return nn.Sequential(first, *(_Block(outputs, outputs) for _ in range(depth - 1)))


class _Block(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, stride: tuple[int, int, int] = (1, 1, 1), *, projected: bool = False
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1)
        self.norm1 = nn.InstanceNorm3d(outputs, affine=True)
        self.conv2 = nn.Conv3d(outputs, outputs, 3, padding=1)
        self.norm2 = nn.InstanceNorm3d(outputs, affine=True)
        self.conv3 = nn.Conv3d(inputs, outputs, 1, stride=stride) if projected else None

    def forward(self, x: Tensor) -> Tensor:
        y = functional.leaky_relu(self.norm1(self.conv1(x)), 0.01, inplace=True)
        shortcut = x if self.conv3 is None else self.conv3(x)
        return functional.leaky_relu(self.norm2(self.conv2(y)) + shortcut, 0.01, inplace=True)


class _Up(nn.Module):
    def __init__(self, inputs: int, outputs: int, factor: tuple[int, int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 1)
        self._factor = [float(n) for n in factor]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(functional.interpolate(x, scale_factor=self._factor))
        return y
