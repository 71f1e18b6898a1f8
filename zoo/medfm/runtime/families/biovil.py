"""BioViL and BioViL-T (Boecking et al. 2022, Bannur et al. 2023): chest radiographs and sentences of their reports.

BioViL-T's image encoder puts what it finds in a prior image behind the channels of the current one. Without a prior image, a
learned vector stands there, and the transformer that compares the two is not passed; only this case is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from medfm.errors import MissingExtraError
from medfm.runtime import bert, checkpoint

if TYPE_CHECKING:
    from medfm.catalog.weights import Biovil as Description
    from medfm.runtime.capabilities import Batch

_PATCH = 2048
"""Channels that a ResNet-50 gives."""


def build(weights: Description, files: Mapping[str, Path], device: torch.device, dtype: torch.dtype) -> Biovil:
    """Build both towers from two verified checkpoints."""
    with checkpoint.empty_parameters():
        network = nn.ModuleDict({"image": Image(weights), "text": Text(weights)})
    for name, role, keys in (("image", "weights", weights.keys), ("text", "text", weights.text_keys)):
        path, sha256 = files[role], weights.origin.files[role].sha256
        state = checkpoint.read(path, unwrap=keys.unwrap, sha256=sha256)
        checkpoint.fill(network[name], state, where=path.name, keys=keys)
    return Biovil(network.eval().to(device=device, dtype=dtype))


class Image(nn.Module):
    """Patches of a ResNet-50, what stands for the prior image, and two 1x1 convolutions to the common width."""

    def __init__(self, weights: Description) -> None:
        super().__init__()
        try:
            from torchvision.models import resnet50
        except ImportError:
            raise MissingExtraError("torchvision", "clip", why="building this model's image tower") from None
        layers = list(resnet50(weights=None).named_children())[:-2]  # without pooling and classifier
        self.backbone = nn.Sequential()
        for name, layer in layers:
            self.backbone.add_module(name, layer)
        self.reduce = nn.Conv2d(_PATCH, weights.static, 1, bias=False)
        self.missing = nn.Parameter(torch.zeros(1, weights.static, 1, 1))
        self.projector = nn.Sequential(
            nn.Conv2d(2 * weights.static, weights.width, 1, bias=False),
            nn.BatchNorm2d(weights.width),
            nn.ReLU(),
            nn.Conv2d(weights.width, weights.width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, width): the mean of the projected patches."""
        patches = self.reduce(self.backbone(x))
        both = torch.cat([patches, self.missing.expand_as(patches)], dim=1)
        vectors: Tensor = self.projector(both).mean(dim=(2, 3))
        return vectors


class Text(nn.Module):
    """A BERT and the projection of its first token."""

    def __init__(self, weights: Description) -> None:
        super().__init__()
        self.bert = bert.encoder(weights.bert)
        self.hidden = nn.Linear(weights.bert.width, weights.width)
        self.norm = nn.LayerNorm(weights.width, eps=1e-12)
        self.output = nn.Linear(weights.width, weights.width)

    def forward(self, tokens: Tensor, attention: Tensor) -> Tensor:
        """Return (n, width)."""
        first = self.bert(input_ids=tokens, attention_mask=attention).last_hidden_state[:, 0]
        vectors: Tensor = self.output(self.norm(functional.gelu(self.hidden(first))))
        return vectors


class Biovil:
    """A Matcher: pictures (n, 3, height, width) and token numbers (n, length) become vectors (n, width)."""

    def __init__(self, network: nn.ModuleDict) -> None:
        self._network = network

    def encode(self, batch: Batch) -> Tensor:
        """Return the vectors of pictures, not normalized, float32."""
        parameter = next(self._network.parameters())
        with torch.inference_mode():
            vectors: Tensor = self._network["image"](batch["image"].to(parameter.device, parameter.dtype))
        return vectors.float().cpu()

    def encode_text(self, batch: Batch) -> Tensor:
        """Return the vectors of texts, not normalized, float32."""
        device = next(self._network.parameters()).device
        with torch.inference_mode():
            vectors: Tensor = self._network["text"](batch["tokens"].to(device), batch["attention"].to(device))
        return vectors.float().cpu()

    def compare(self, images: Tensor, texts: Tensor) -> Tensor:
        """Return cosines: no temperature is published."""
        return images @ texts.mT

    def modules(self) -> Mapping[str, nn.Module]:
        """Return the networks by name."""
        return {"main": self._network}
