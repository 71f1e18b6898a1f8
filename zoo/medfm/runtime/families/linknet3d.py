"""3D LinkNets for brain extraction: one finds the box, the other segments inside it.

The architecture follows LinkNet (Chaurasia and Culurciello 2017) in 3D with instance normalization, as used by deepbet
(Fisch et al. 2024); layer sizes were taken from the checkpoint's key names and shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from medfm.runtime import checkpoint

if TYPE_CHECKING:
    from medfm.catalog.weights import LinkNet3d as Description
    from medfm.runtime.capabilities import Batch


def build(weights: Description, files: Mapping[str, Path], device: torch.device, dtype: torch.dtype) -> Networks:
    """Build the networks that the description names, from verified files."""
    sha = {role: file.sha256 for role, file in weights.origin.files.items()}
    networks = {
        name: checkpoint.load(LinkNet3d, files[role], sha256=sha.get(role)).to(device=device, dtype=dtype)
        for name, role in weights.networks.items()
    }
    return Networks(networks)


class Networks:
    """The pair: a Segmenter whose box is found by its Localizer."""

    def __init__(self, networks: Mapping[str, LinkNet3d]) -> None:
        self._networks = networks

    def locate(self, network: str, view: Tensor) -> Tensor:
        """Return (2, *grid) probabilities of background and brain for one volume (*grid)."""
        return self._run(network, view[None, None])[0]

    def segment(self, batch: Batch) -> Tensor:
        """Return (n, 2, *grid) probabilities of background and brain."""
        return self._run("main", batch["image"])

    def modules(self) -> Mapping[str, nn.Module]:
        """Return the networks by name."""
        return self._networks

    def _run(self, name: str, x: Tensor) -> Tensor:
        parameter = next(self._networks[name].parameters())
        with torch.inference_mode():
            result: Tensor = self._networks[name](x.to(parameter.device, parameter.dtype))
        return result.float().cpu()


class LinkNet3d(nn.Module):
    """A LinkNet with 3D convolutions: (n, 1, x, y, z) in, (n, 2, x, y, z) softmax probabilities out."""

    def __init__(self) -> None:
        super().__init__()
        self.init = nn.Sequential(nn.Conv3d(1, 16, 7, stride=2, padding=3, bias=False))
        self.down0, self.down1 = _Down(16, 16, 1), _Down(16, 32, 2)
        self.down2, self.down3 = _Down(32, 64, 2), _Down(64, 128, 2)
        self.up0, self.up1, self.up2 = _Up(128, 64, 2), _Up(64, 32, 2), _Up(32, 16, 2)
        self.up3 = _Up(16, 16, 1)
        self.tp_conv1 = nn.Sequential(nn.ConvTranspose3d(16, 8, 3, stride=2, padding=1, output_padding=1))
        self.conv = nn.Sequential(nn.Conv3d(8, 8, 3, padding=1))
        self.tp_conv2 = nn.ConvTranspose3d(8, 2, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Return softmax probabilities on the input's grid, whose sides must be multiples of 32."""
        x = functional.max_pool3d(_activate(self.init(x)), 3, stride=2, padding=1)
        d0 = self.down0(x)
        d1 = self.down1(d0)
        d2 = self.down2(d1)
        y = self.up0(self.down3(d2)) + d2
        y = self.up1(y) + d1
        y = self.up2(y) + d0
        y = self.up3(y) + x
        y = _activate(self.conv(_activate(self.tp_conv1(y))))
        return torch.softmax(self.tp_conv2(y), dim=1)


class _Block(nn.Module):
    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        # numbered as in the checkpoint, where normalization and activation stand between the two convolutions
        self.double_conv = nn.ModuleDict(
            {
                "0": nn.Conv3d(width, out, 3, stride=stride, padding=1, bias=False),
                "3": nn.Conv3d(out, out, 3, padding=1, bias=False),
            }
        )
        self.downsample = nn.Sequential(nn.Conv3d(width, out, 1, stride=stride, bias=False)) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = functional.instance_norm(self.double_conv["3"](_activate(self.double_conv["0"](x))))
        shortcut = x if self.downsample is None else functional.instance_norm(self.downsample(x))
        return functional.relu_(y + shortcut)


class _Down(nn.Module):
    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.block1, self.block2 = _Block(width, out, stride), _Block(out, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block2(self.block1(x))
        return y


class _Up(nn.Module):
    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        inner = width // 4
        self.conv1 = nn.Sequential(nn.Conv3d(width, inner, 1, bias=False))
        self.tp_conv = nn.Sequential(
            nn.ConvTranspose3d(inner, inner, 3, stride=stride, padding=1, output_padding=stride - 1, bias=False)
        )
        self.conv2 = nn.Sequential(nn.Conv3d(inner, out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return _activate(self.conv2(_activate(self.tp_conv(_activate(self.conv1(x))))))


def _activate(x: Tensor) -> Tensor:
    return functional.relu_(functional.instance_norm(x))
