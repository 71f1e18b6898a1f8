"""Networks for volumes that MONAI builds: encoders, U-Nets and Swin transformers.

A record gives MONAI's name of the network and the arguments that its authors pass. Vectors are averages over the grid of what
named parts of the network give; the rest of the network is then not computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from medfm.errors import MissingExtraError
from medfm.runtime import checkpoint
from medfm.runtime.volume_networks import VolumeNetwork, wrap

if TYPE_CHECKING:
    from medfm.catalog.weights import MonaiNetwork as Description


def build(weights: Description, files: Mapping[str, Path], device: torch.device, dtype: torch.dtype) -> VolumeNetwork:
    """Build the network from a verified checkpoint."""
    path, sha256 = files["weights"], weights.origin.files["weights"].sha256
    network = checkpoint.load(lambda: create(weights), path, keys=weights.keys, sha256=sha256)
    return wrap(network.to(device=device, dtype=dtype), weights.vectors, segments=weights.segments)


def create(weights: Description) -> nn.Module:
    """Return MONAI's network without weights, and without the parts that the record leaves out."""
    try:
        from monai.networks import nets
        from monai.networks.nets import segresnet_ds, swin_unetr
    except ImportError:
        raise MissingExtraError("monai", "volumes", why="building this model") from None
    makers = {
        "SwinUNETR": nets.SwinUNETR,
        "SwinTransformer": swin_unetr.SwinTransformer,
        "SegResNet": nets.SegResNet,
        "SegResEncoder": segresnet_ds.SegResEncoder,
        "resnet50": nets.resnet50,
    }
    network: nn.Module = makers[weights.network](**weights.arguments)
    for name in weights.without:
        owner, _, own = name.rpartition(".")
        setattr(network.get_submodule(owner), own, nn.Identity())
    return network
