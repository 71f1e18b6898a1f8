"""Image encoders that timm builds: vision transformers and their relatives.

A record gives timm's name of the architecture and the arguments that its authors pass; layers that are Python classes are
given by name. Keys that the authors' checkpoint writes otherwise are renamed by the record's rules, or by timm's own
conversion for the architecture.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medfm.errors import CheckpointError, InputError, MissingExtraError
from medfm.runtime import checkpoint
from medfm.runtime.stem import ConvStem

if TYPE_CHECKING:
    from medfm.catalog.weights import TimmVision as Description
    from medfm.runtime.capabilities import Batch


def build(weights: Description, files: Mapping[str, Path], device: torch.device, dtype: torch.dtype) -> TimmVision:
    """Build the encoder from a verified checkpoint."""
    path, sha256 = files["weights"], weights.origin.files["weights"].sha256
    if weights.convert is None:
        network = checkpoint.load(lambda: create(weights), path, keys=weights.keys, sha256=sha256)
    else:
        with checkpoint.empty_parameters():
            network = create(weights)
        state = checkpoint.read(path, unwrap=weights.keys.unwrap, sha256=sha256)
        checkpoint.fill(network, _converted(state, network, path.name), where=path.name, keys=weights.keys)
        network = network.eval()
    return TimmVision(network.to(device=device, dtype=dtype), weights)


def create(weights: Description) -> nn.Module:
    """Return timm's network without weights."""
    try:
        import timm
    except ImportError:
        raise MissingExtraError("timm", "vision", why="building this model") from None
    arguments: dict[str, Any] = {**weights.arguments, **{name: _layer(word) for name, word in weights.layers.items()}}
    network: nn.Module = timm.create_model(weights.architecture, pretrained=False, num_classes=0, **arguments)
    return network


def _layer(word: str) -> Any:
    """Return the class that a record names: one of timm's layers, of torch's, or the stem that timm does not have."""
    from timm import layers

    if word == "ConvStem":
        return ConvStem
    return getattr(layers, word, None) or getattr(nn, word)


def _converted(state: Mapping[str, Tensor], network: nn.Module, where: str) -> dict[str, Tensor]:
    """Let timm turn the keys of the authors' own code into its own (its `checkpoint_filter_fn` of the architecture)."""
    import importlib

    module = importlib.import_module(type(network).__module__)
    convert = getattr(module, "checkpoint_filter_fn", None)
    if convert is None:
        raise CheckpointError(where, extra=["timm has no conversion for this architecture"])
    converted: dict[str, Tensor] = convert(dict(state), network)
    return converted


class TimmVision:
    """An Encoder of pictures: (n, 3, height, width) in; tokens (n, tokens, width) or pooled vectors (n, width) out."""

    def __init__(self, network: nn.Module, weights: Description) -> None:
        self._network, self._features = network, weights.features

    def encode(self, batch: Batch) -> Tensor:
        """Return float32 tokens with the class token and registers in front, or what timm's own head pools.

        Raises:
            InputError: the pictures' size is not one that the network takes.
        """
        _check_size(self._network, int(batch["image"].shape[-2]), int(batch["image"].shape[-1]))
        parameter = next(self._network.parameters())
        with torch.inference_mode():
            hidden = self.compute(batch["image"].to(parameter.device, parameter.dtype))
        return hidden.float().cpu()

    def compute(self, images: Tensor) -> Tensor:
        """Return what the network makes of images; the part of `encode` that another backend can take over."""
        network: Any = self._network
        hidden: Tensor = network.forward_features(images)
        if self._features == "pooled":
            hidden = network.forward_head(hidden, pre_logits=True)
        return hidden

    def modules(self) -> Mapping[str, nn.Module]:
        """Return the networks by name."""
        return {"main": self._network}


def _check_size(network: nn.Module, height: int, width: int) -> None:
    """Refuse pictures that the patch embedding would refuse with an assertion: contracts without a crop keep their shape."""
    embedding: Any = getattr(network, "patch_embed", None)
    wanted = getattr(embedding, "img_size", None)
    if wanted is None:
        return
    if getattr(embedding, "strict_img_size", True):
        if (height, width) != tuple(wanted):
            raise InputError(
                f"this model takes {wanted[0]} x {wanted[1]} pixels, but the contract's steps leave {height} x {width} of "
                "this picture: cut it square first"
            )
    elif height % embedding.patch_size[0] or width % embedding.patch_size[1]:
        raise InputError(
            f"this model takes sides that are multiples of {embedding.patch_size[0]} pixels, but the contract's steps leave "
            f"{height} x {width} of this picture: cut it square first"
        )
