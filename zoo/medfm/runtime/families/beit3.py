"""BEiT-3 as an image and a text encoder (Wang et al. 2023, with the normalization of Magneto, Wang et al. 2022): MUSK.

In BEiT-3 every layer has weights for images and weights for texts. A picture alone and a text alone pass only their own, so the
network falls into two transformers, and these are what is built.
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
    from medfm.catalog.weights import Beit3 as Description
    from medfm.runtime.capabilities import Batch

_FIRST = 2
"""Positions are counted from here, as in fairseq."""


def build(weights: Description, files: Mapping[str, Path], device: torch.device, dtype: torch.dtype) -> Beit3:
    """Build both encoders from a verified checkpoint."""
    sha256 = weights.origin.files["weights"].sha256
    network = checkpoint.load(lambda: Encoders(weights), files["weights"], keys=weights.keys, sha256=sha256)
    return Beit3(network.to(device=device, dtype=dtype))


class Layer(nn.Module):
    """Attention and perceptron, normalized before and inside (Magneto's Sub-LN)."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.inner1 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norm2, self.inner2 = nn.LayerNorm(width), nn.LayerNorm(feedforward)
        self.fc1, self.fc2 = nn.Linear(width, feedforward), nn.Linear(feedforward, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return the hidden states (n, tokens, width); `mask` (n, 1, 1, tokens) is True where attention may look."""
        y = self.norm1(x)
        query, key, value = (
            part(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = x + self.out(self.inner1(attended.transpose(1, 2).flatten(2)))
        found: Tensor = x + self.fc2(self.inner2(functional.gelu(self.fc1(self.norm2(x)))))
        return found


class Encoder(nn.Module):
    """Positions, layers, a last normalization, and the projection of the first token."""

    def __init__(self, weights: Description, positions: int) -> None:
        super().__init__()
        self.positions = nn.Embedding(positions, weights.width)
        self.layers = nn.ModuleList(
            Layer(weights.width, weights.heads, weights.feedforward) for _ in range(weights.layers)
        )
        self.norm = nn.LayerNorm(weights.width)
        self.head = nn.Linear(weights.width, weights.width, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return (n, width) vectors."""
        x = x + self.positions.weight[_FIRST : _FIRST + x.shape[1]]
        if mask is not None:
            x = x * mask[:, 0, 0, :, None]
        for layer in self.layers:
            x = layer(x, mask)
        vectors: Tensor = self.head(self.norm(x)[:, 0])
        return vectors


class Encoders(nn.Module):
    """The two encoders and what their inputs are turned into."""

    def __init__(self, weights: Description) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, weights.width, weights.patch, stride=weights.patch)
        self.first = nn.Parameter(torch.zeros(1, 1, weights.width))
        self.words = nn.Embedding(weights.vocabulary, weights.width)
        self.image = Encoder(weights, (weights.side // weights.patch) ** 2 + 1 + _FIRST)
        self.text = Encoder(weights, weights.positions)
        self.logit_scale = nn.Parameter(torch.zeros(()))

    def encode_image(self, x: Tensor) -> Tensor:
        """Return (n, width) vectors of pictures."""
        patches = self.patches(x).flatten(2).transpose(1, 2)
        vectors: Tensor = self.image(torch.cat([self.first.expand(len(x), -1, -1), patches], dim=1))
        return vectors

    def encode_text(self, tokens: Tensor, attention: Tensor) -> Tensor:
        """Return (n, width) vectors of texts."""
        vectors: Tensor = self.text(self.words(tokens), attention.bool()[:, None, None])
        return vectors


class Beit3:
    """A Matcher: pictures (n, 3, height, width) and token numbers (n, length) become vectors (n, width)."""

    def __init__(self, network: Encoders) -> None:
        self._network = network

    def encode(self, batch: Batch) -> Tensor:
        """Return the vectors of pictures, not normalized, float32."""
        scale = self._network.logit_scale
        with torch.inference_mode():
            vectors = self._network.encode_image(batch["image"].to(scale.device, scale.dtype))
        return vectors.float().cpu()

    def encode_text(self, batch: Batch) -> Tensor:
        """Return the vectors of texts, not normalized, float32."""
        device = self._network.logit_scale.device
        with torch.inference_mode():
            vectors = self._network.encode_text(batch["tokens"].to(device), batch["attention"].to(device))
        return vectors.float().cpu()

    def compare(self, images: Tensor, texts: Tensor) -> Tensor:
        """Return cosines times the temperature that was learned."""
        return self._network.logit_scale.detach().float().cpu().exp() * images @ texts.mT

    def modules(self) -> Mapping[str, nn.Module]:
        """Return the networks by name."""
        return {"main": self._network}
