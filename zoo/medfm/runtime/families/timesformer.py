"""Vision transformers whose attention is divided over time and space.

Written from the paper (Bertasius et al. 2021, TimeSformer, section 3, divided space-time attention) and the key names of the
checkpoint of Endo-FM, which are names of this module too.
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
    from medfm.catalog.weights import TimeSformer as Description
    from medfm.runtime.capabilities import Batch

_EPSILON = 1e-6


def build(weights: Description, files: Mapping[str, Path], device: torch.device, dtype: torch.dtype) -> TimeSformer:
    """Build the network from a verified checkpoint."""
    sha256 = weights.origin.files["weights"].sha256
    network = checkpoint.load(lambda: Network(weights), files["weights"], keys=weights.keys, sha256=sha256)
    return TimeSformer(network.to(device=device, dtype=dtype))


class Attention(nn.Module):
    """Multi-head self-attention over the next to last axis."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., tokens, width)."""
        q, k, v = self.qkv(x).reshape(*x.shape[:-1], 3, self.heads, -1).movedim(-3, 0).transpose(-2, -3)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.proj(mixed.transpose(-2, -3).flatten(-2))
        return projected


class Perceptron(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., width)."""
        out: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """Attention of every place over time, then of every frame over space with the class token, then a perceptron."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_EPSILON)
        self.attn = Attention(width, heads)
        self.temporal_norm1 = nn.LayerNorm(width, eps=_EPSILON)
        self.temporal_attn = Attention(width, heads)
        self.temporal_fc = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=_EPSILON)
        self.mlp = Perceptron(width)

    def forward(self, token: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Return the class token (n, width) and the patches (n, frames, places, width)."""
        over_time = self.temporal_attn(self.temporal_norm1(patches.transpose(1, 2))).transpose(1, 2)
        patches = patches + self.temporal_fc(over_time)
        # one class token for the clip attends to each frame by itself; what it learns there is averaged
        tokens = token[:, None, None].expand(-1, patches.shape[1], -1, -1)
        over_space = self.attn(self.norm1(torch.cat([tokens, patches], dim=2)))
        token = token + over_space[:, :, 0].mean(1)
        patches = patches + over_space[:, :, 1:]
        return token + self.mlp(self.norm2(token)), patches + self.mlp(self.norm2(patches))


class Embedding(nn.Module):
    """Cuts frames into patches."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, clips: Tensor) -> Tensor:
        """Return (n, frames, places, width)."""
        maps: Tensor = self.proj(clips.transpose(1, 2).flatten(0, 1))
        return maps.flatten(2).transpose(1, 2).reshape(clips.shape[0], clips.shape[2], -1, maps.shape[1])


class Network(nn.Module):
    """Clips (n, 3, frames, height, width) become the class token and the patches, all normalized."""

    def __init__(self, weights: Description) -> None:
        super().__init__()
        places = (weights.size // weights.patch) ** 2
        self.patch_embed = Embedding(weights.patch, weights.width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, weights.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + places, weights.width))
        self.time_embed = nn.Parameter(torch.zeros(1, weights.frames, weights.width))
        self.blocks = nn.ModuleList(Block(weights.width, weights.heads) for _ in range(weights.layers))
        self.norm = nn.LayerNorm(weights.width, eps=_EPSILON)

    def forward(self, clips: Tensor) -> Tensor:
        """Return (n, 1 + places * frames, width), the class token first."""
        patches = self.patch_embed(clips) + self.pos_embed[:, None, 1:] + self.time_embed[:, :, None]
        token = (self.cls_token + self.pos_embed[:, :1])[:, 0].expand(len(clips), -1)
        for block in self.blocks:
            token, patches = block(token, patches)
        hidden: Tensor = self.norm(torch.cat([token[:, None], patches.transpose(1, 2).flatten(1, 2)], dim=1))
        return hidden


class TimeSformer:
    """An Encoder of clips."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def encode(self, batch: Batch) -> Tensor:
        """Return the hidden states, float32."""
        parameter = next(self._network.parameters())
        with torch.inference_mode():
            hidden: Tensor = self._network(batch["image"].to(parameter.device, parameter.dtype))
        return hidden.float().cpu()

    def modules(self) -> Mapping[str, nn.Module]:
        """Return the networks by name."""
        return {"main": self._network}
