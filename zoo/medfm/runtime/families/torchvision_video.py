"""Video transformers that torchvision builds, with a last layer that gives vectors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medfm.errors import MissingExtraError
from medfm.runtime import checkpoint

if TYPE_CHECKING:
    from medfm.catalog.weights import TorchvisionVideo as Description
    from medfm.runtime.capabilities import Batch


def build(weights: Description, files: Mapping[str, Path], device: torch.device, dtype: torch.dtype) -> VideoEncoder:
    """Build the network from a verified checkpoint."""
    sha256 = weights.origin.files["weights"].sha256
    network = checkpoint.load(lambda: create(weights), files["weights"], keys=weights.keys, sha256=sha256)
    return VideoEncoder(network.to(device=device, dtype=dtype))


def create(weights: Description) -> nn.Module:
    """Return torchvision's network without weights, its last layer exchanged.

    Raises:
        MissingExtraError: torchvision is not installed.
    """
    try:
        from torchvision.models import video
    except ImportError:
        raise MissingExtraError("torchvision", "video", why="building this model") from None
    network: Any = getattr(video, weights.architecture)(weights=None)
    network.head[-1] = nn.Linear(network.head[-1].in_features, weights.width)
    result: nn.Module = network
    return result


class VideoEncoder:
    """An Encoder of clips: (n, 3, frames, height, width) becomes one vector a clip, (n, width)."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def encode(self, batch: Batch) -> Tensor:
        """Return float32 vectors."""
        parameter = next(self._network.parameters())
        with torch.inference_mode():
            vectors: Tensor = self._network(batch["image"].to(parameter.device, parameter.dtype))
        return vectors.float().cpu()

    def modules(self) -> Mapping[str, nn.Module]:
        """Return the networks by name."""
        return {"main": self._network}
