"""The convolutional stem of CTransPath, in the form in which timm's Swin takes a patch embedding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class ConvStem(nn.Module):
    """Three convolutions in place of one: pictures (n, channels, 4 h, 4 w) become patches (n, h, w, width).

    Two 3 x 3 convolutions halve the sides, each with batch normalization and ReLU, and a 1 x 1 convolution gives the width.

    Attributes:
        img_size: height and width of the pictures.
        patch_size: height and width of a patch, in pixels.
        grid_size: patches down and across.
        num_patches: patches of a picture.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        patch_size: int | tuple[int, int] = 4,
        in_chans: int = 3,
        embed_dim: int = 96,
        norm_layer: Callable[[int], nn.Module] | None = None,
        **_: Any,
    ) -> None:
        """Build the stem with the arguments that timm passes; options of timm's own embedding have no meaning here."""
        super().__init__()
        self.img_size, self.patch_size = _pair(img_size), _pair(patch_size)
        self.grid_size = self.img_size[0] // self.patch_size[0], self.img_size[1] // self.patch_size[1]
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        narrow, middle = embed_dim // 8, embed_dim // 4
        self.proj = nn.Sequential(
            *_halving(in_chans, narrow), *_halving(narrow, middle), nn.Conv2d(middle, embed_dim, kernel_size=1)
        )
        self.norm = norm_layer(embed_dim) if norm_layer else nn.Identity()

    def forward(self, pictures: Tensor) -> Tensor:
        """Return (n, h, w, width)."""
        patches: Tensor = self.norm(self.proj(pictures).permute(0, 2, 3, 1))
        return patches


def _halving(given: int, width: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(given, width, kernel_size=3, stride=2, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(width), nn.ReLU()


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])
