"""TinyViT as the image encoder of small SAM relatives.

Written from the paper (Wu et al. 2022, TinyViT) and the key names of LiteMedSAM's checkpoint. Against the classifier of the
paper, the first convolutions and the last merging keep the resolution, so that 256 pixels give an embedding of 64 x 64.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medfm.runtime.sam import join, neck, partition


class TinyViT(nn.Module):
    """Convolutions, then three stages of attention in windows.

    Args:
        channels: of the input.
        widths, depths, heads, windows: of the four stages; the first has neither heads nor windows.
        out: channels of the embedding.
    """

    def __init__(
        self, *, channels: int, widths: Sequence[int], depths: Sequence[int], heads: Sequence[int],
        windows: Sequence[int], out: int,
    ) -> None:  # fmt: skip
        super().__init__()
        first = widths[0]
        self.patch_embed = nn.ModuleDict(
            {"seq": nn.Sequential(_Conv(channels, first // 2), nn.GELU(), _Conv(first // 2, first))}
        )
        stages = []
        for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            blocks = (_Inverted(width) if i == 0 else _Block(width, heads[i], windows[i]) for _ in range(depth))
            last = i == len(widths) - 1
            merging = None if last else _Merging(width, widths[i + 1], stride=2 if i < len(widths) - 2 else 1)
            stages.append(_Stage(blocks, merging))
        self.layers = nn.ModuleList(stages)
        self.neck = neck(2, widths[-1], out)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, out, height / 4, width / 4) for (n, channels, height, width)."""
        x = self.patch_embed["seq"](x)
        for stage in self.layers:
            x = stage(x)
        y: Tensor = self.neck(x)
        return y


class _Conv(nn.Sequential):
    """A convolution and its batch normalization, named c and bn."""

    def __init__(self, width: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.add_module("c", nn.Conv2d(width, out, kernel, stride, kernel // 2, groups=groups, bias=False))
        self.add_module("bn", nn.BatchNorm2d(out))


class _Stage(nn.Module):
    def __init__(self, blocks: Iterable[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks, self.downsample = nn.ModuleList(blocks), downsample

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        if self.downsample is not None:
            x = self.downsample(x)
        return x


class _Inverted(nn.Module):
    """An inverted bottleneck of four times the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = _Conv(width, 4 * width), _Conv(4 * width, 4 * width, 3, groups=4 * width)
        self.conv3 = _Conv(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv3(functional.gelu(self.conv2(functional.gelu(self.conv1(x)))))
        return functional.gelu(x + y)


class _Merging(nn.Module):
    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = _Conv(width, out), _Conv(out, out, 3, stride, groups=out), _Conv(out, out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv3(functional.gelu(self.conv2(functional.gelu(self.conv1(x)))))
        return y


class _Block(nn.Module):
    """Attention in windows, a convolution of each channel, a perceptron."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn, self.mlp = _Attention(width, heads, window), _Mlp(width)
        self.local_conv = _Conv(width, width, 3, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        grid = x.movedim(1, -1)
        windows, padded = partition(grid, self.window)
        x = x + join(self.attn(windows), padded, grid.shape[1:-1]).movedim(-1, 1)
        x = self.local_conv(x)
        added: Tensor = self.mlp(x.movedim(1, -1)).movedim(-1, 1)
        return x + added


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.fc1, self.fc2 = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(functional.gelu(self.fc1(self.norm(x))))
        return y


class _Attention(nn.Module):
    """Self-attention in one window, with a learned bias for the distance in rows and columns."""

    distances: Tensor

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.qkv, self.proj = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        rows, columns = (axis.flatten() for axis in torch.meshgrid(*(torch.arange(window),) * 2, indexing="ij"))
        apart = [(axis[:, None] - axis[None]).abs() for axis in (rows, columns)]
        self.register_buffer("distances", apart[0] * window + apart[1], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        n, rows, columns, width = x.shape
        qkv = self.qkv(self.norm(x)).reshape(n, rows * columns, self.heads, 3, -1)
        q, k, v = qkv.permute(3, 0, 2, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=self.attention_biases[:, self.distances])
        projected: Tensor = self.proj(y.transpose(1, 2).reshape(n, rows, columns, width))
        return projected
