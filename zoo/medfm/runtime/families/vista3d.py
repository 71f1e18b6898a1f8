"""VISTA3D (He et al. 2025): a 3D segmentation network that is asked for classes by their number; MONAI builds it.

The features of a window are computed once; each class is then a product with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medfm.errors import MissingExtraError
from medfm.runtime import checkpoint
from medfm.runtime.volume_networks import VolumeNetwork

if TYPE_CHECKING:
    from medfm.catalog.weights import Vista3d as Description
    from medfm.runtime.capabilities import Batch


def build(weights: Description, files: Mapping[str, Path], device: torch.device, dtype: torch.dtype) -> Vista3d:
    """Build the network from a verified checkpoint."""
    path, sha256 = files["weights"], weights.origin.files["weights"].sha256
    network = checkpoint.load(create, path, keys=weights.keys, sha256=sha256)
    return Vista3d(network.to(device=device, dtype=dtype), weights.classes)


def create() -> nn.Module:
    """Return MONAI's network without weights."""
    try:
        from monai.networks.nets import vista3d132
    except ImportError:
        raise MissingExtraError("monai", "volumes", why="building this model") from None
    network: nn.Module = vista3d132(in_channels=1)
    return network


class Vista3d(VolumeNetwork):
    """A Segmenter: one channel for each class that it is asked for."""

    def __init__(self, network: nn.Module, classes: Sequence[int]) -> None:
        super().__init__(network)
        self._classes = torch.tensor(classes)[:, None]

    def segment(self, batch: Batch) -> Tensor:
        """Return logits (n, classes, x, y, z) float32."""
        with torch.inference_mode():
            found = [self.compute(volume) for volume in torch.split(self._input(batch), 1)]
        return torch.cat(found).float().cpu()

    def _compute(self, x: Tensor) -> Tensor:
        network = self._network
        assert isinstance(network.image_encoder, nn.Module)
        assert isinstance(network.class_head, nn.Module)
        features: Any = network.image_encoder(x, with_point=False, with_label=True)[1]
        logits: Tensor = network.class_head(features, self._classes.to(x.device))[0]
        return logits.transpose(0, 1)
