"""A convolutional network that sees every frame, a transformer over the frames, and a linear head for each question (PanEcho).

Written from the paper (Holste et al. 2025, Methods), the model page and the key names of the checkpoint; the places of frames are
the sines and cosines of Vaswani et al. 2017, section 3.5, added to what the frames give.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medfm.errors import MissingExtraError
from medfm.runtime import checkpoint

if TYPE_CHECKING:
    from medfm.catalog.weights import FrameTransformer as Description
    from medfm.runtime.capabilities import Batch


def build(
    weights: Description, files: Mapping[str, Path], device: torch.device, dtype: torch.dtype
) -> FrameTransformer:
    """Build the network from a verified checkpoint."""
    sha256 = weights.origin.files["weights"].sha256
    network = checkpoint.load(lambda: Network(weights), files["weights"], keys=weights.keys, sha256=sha256)
    return FrameTransformer(network.to(device=device, dtype=dtype))


class Network(nn.Module):
    """Clips (n, 3, frames, height, width) become vectors (n, width), and these the outputs of every head."""

    places: Tensor

    def __init__(self, weights: Description) -> None:
        super().__init__()
        try:
            from torchvision import models
        except ImportError:
            raise MissingExtraError("torchvision", "video", why="building this model") from None
        self.frames: Any = getattr(models, weights.architecture)(weights=None)
        width = self.frames.classifier[-1].in_features
        self.frames.classifier[-1] = nn.Identity()
        layer = nn.TransformerEncoderLayer(width, weights.heads, width, dropout=0.0, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, weights.layers, enable_nested_tensor=False)
        self.heads = nn.ModuleDict({name: nn.Linear(width, count) for name, count in weights.scored.items()})
        self.register_buffer("places", _waves(weights.frames, width), persistent=False)

    def forward(self, clips: Tensor) -> Tensor:
        """Return one vector a clip."""
        count, frames = clips.shape[0], clips.shape[2]
        # Not the frames in their colors, but three planes in a row of (channels, frames): so the network was trained, since the
        # authors' code reshapes without exchanging the axes.
        seen: Tensor = self.frames(clips.reshape(count * frames, *clips.shape[1:2], *clips.shape[3:]))
        places = self.places[:frames].to(seen.dtype)
        hidden: Tensor = self.transformer(seen.reshape(count, frames, -1) + places)
        return hidden.mean(1)


def _waves(count: int, width: int) -> Tensor:
    """Return (count, width): sines in even and cosines in odd columns, of wave lengths from 2 pi to 20,000 pi."""
    frequency = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    angle = torch.arange(count)[:, None] * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


class FrameTransformer:
    """An Encoder and Classifier of clips."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def encode(self, batch: Batch) -> Tensor:
        """Return (n, width) float32."""
        with torch.inference_mode():
            return self._vectors(batch).float().cpu()

    def score(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the outputs of every head, float32."""
        with torch.inference_mode():
            vectors = self._vectors(batch)
            return {name: head(vectors).float().cpu() for name, head in self._network.heads.items()}

    def _vectors(self, batch: Batch) -> Tensor:
        parameter = next(self._network.parameters())
        vectors: Tensor = self._network(batch["image"].to(parameter.device, parameter.dtype))
        return vectors

    def modules(self) -> Mapping[str, nn.Module]:
        """Return the networks by name."""
        return {"main": self._network}
