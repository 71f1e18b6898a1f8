"""Convolutional networks of pictures that torchvision builds: encoders, and classifiers with labels of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medfm.errors import MissingExtraError
from medfm.runtime import checkpoint

if TYPE_CHECKING:
    from medfm.catalog.weights import TorchvisionCnn as Description
    from medfm.runtime.capabilities import Batch

_KERAS_EPSILON = 1.001e-5


def build(weights: Description, files: Mapping[str, Path], device: torch.device, dtype: torch.dtype) -> CnnEncoder:
    """Build the network from a verified checkpoint."""
    sha256 = weights.origin.files["weights"].sha256
    network = checkpoint.load(lambda: create(weights), files["weights"], keys=weights.keys, sha256=sha256)
    network = network.to(device=device, dtype=dtype)
    return CnnClassifier(network, weights) if weights.scored else CnnEncoder(network, weights)


def create(weights: Description) -> nn.Module:
    """Return torchvision's network without weights.

    Raises:
        MissingExtraError: torchvision is not installed.
    """
    try:
        from torchvision import models
    except ImportError:
        raise MissingExtraError("torchvision", "vision", why="building this model") from None
    network: Any = getattr(models, weights.architecture)(weights=None, num_classes=sum(weights.scored.values()) or 1)
    if weights.channels != 3:
        owner, name = (network, "conv1") if weights.architecture == "resnet50" else (network.features, "conv0")
        setattr(owner, name, _convolution(getattr(owner, name), in_channels=weights.channels))
    if not weights.scored:
        setattr(network, _last(weights), nn.Identity())
    if weights.keras:
        _as_in_keras(network)
    result: nn.Module = network
    return result


def _last(weights: Description) -> str:
    """Return what torchvision calls the last layer."""
    return "fc" if weights.architecture == "resnet50" else "classifier"


def _convolution(like: nn.Conv2d, **changed: Any) -> nn.Conv2d:
    """Return a convolution like another one, but for what is changed."""
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding")
    values = {name: getattr(like, name) for name in names} | {"bias": like.bias is not None}
    return nn.Conv2d(**(values | changed))


def _as_in_keras(network: nn.Module) -> None:
    """Turn torchvision's ResNet into the one of `keras.applications`, whose stages shrink in their first 1x1 convolution."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Conv2d):
                stride = {"conv1": getattr(module, "stride", None), "conv2": 1}.get(name) or child.stride
                setattr(module, name, _convolution(child, bias=True, stride=stride))
            elif isinstance(child, nn.BatchNorm2d):
                child.eps = _KERAS_EPSILON


class CnnEncoder:
    """An Encoder of pictures: (n, channels, height, width) becomes the mean of the last maps, (n, width)."""

    def __init__(self, network: nn.Module, weights: Description) -> None:
        self._network = network
        children = dict(network.named_children())
        if weights.architecture == "resnet50":
            del children["avgpool"], children["fc"]
            self._trunk = nn.Sequential(*children.values())
        else:
            self._trunk = nn.Sequential(children["features"], nn.ReLU())

    def encode(self, batch: Batch) -> Tensor:
        """Return float32 vectors."""
        with torch.inference_mode():
            vectors = self._vectors(batch)
        return vectors.float().cpu()

    def _vectors(self, batch: Batch) -> Tensor:
        parameter = next(self._network.parameters())
        maps: Tensor = self._trunk(batch["image"].to(parameter.device, parameter.dtype))
        return nn.functional.adaptive_avg_pool2d(maps, 1).flatten(1)

    def modules(self) -> Mapping[str, nn.Module]:
        """Return the networks by name."""
        return {"main": self._network}


class CnnClassifier(CnnEncoder):
    """An Encoder that is a Classifier too."""

    def __init__(self, network: nn.Module, weights: Description) -> None:
        super().__init__(network, weights)
        self._last: nn.Module = getattr(network, _last(weights))
        self._scored = weights.scored

    def score(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return logits by group, float32."""
        with torch.inference_mode():
            logits: Tensor = self._last(self._vectors(batch)).float().cpu()
        groups = torch.split(logits, list(self._scored.values()), dim=1)
        return dict(zip(self._scored, groups, strict=True))
