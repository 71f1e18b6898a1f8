"""Image-text models whose two towers come from different libraries: a CNN or transformer for images, a BERT for texts.

MedCLIP, FLAIR, KEEP and DermLIP with PanDerm differ in the towers, in what is pooled and in the linear layers behind them, all of
which a record says; the network is written here once.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from medfm.errors import MissingExtraError
from medfm.runtime import bert, checkpoint

if TYPE_CHECKING:
    from medfm.catalog.weights import Head, ImageTower
    from medfm.catalog.weights import TwoTower as Description
    from medfm.runtime.capabilities import Batch


def build(weights: Description, files: Mapping[str, Path], device: torch.device, dtype: torch.dtype) -> TwoTower:
    """Build both towers from a verified checkpoint."""
    sha256 = weights.origin.files["weights"].sha256
    network = checkpoint.load(lambda: Towers(weights), files["weights"], keys=weights.keys, sha256=sha256)
    return TwoTower(network.to(device=device, dtype=dtype), weights)


class Towers(nn.Module):
    """Both towers and the layers behind them."""

    def __init__(self, weights: Description) -> None:
        super().__init__()
        self.image, self.image_head = _image(weights.image), _head(weights.image.head)
        self.text, self.text_head = bert.encoder(weights.text.bert), _head(weights.text.head)
        self.logit_scale = nn.Parameter(torch.zeros(()))
        self._image_tower, self._text_tower = weights.image, weights.text

    def encode_image(self, x: Tensor) -> Tensor:
        """Return (n, width) vectors of pictures."""
        network: Any = self.image
        if self._image_tower.pooling == "patches":
            patches = network.forward_features(x)[:, network.num_prefix_tokens :]
            vectors = network.norm(patches.mean(dim=1))
        else:
            vectors = network(x)
            vectors = vectors if isinstance(vectors, Tensor) else vectors.pooler_output
        return self._through(self.image_head, self._image_tower.head, vectors)

    def encode_text(self, tokens: Tensor, attention: Tensor) -> Tensor:
        """Return (n, width) vectors of texts."""
        pooling = self._text_tower.pooling
        found = self.text(input_ids=tokens, attention_mask=attention, output_hidden_states=pooling == "layers")
        if pooling == "pooler":
            vectors = found.pooler_output
        elif pooling == "mean":
            mask = attention[..., None].to(found.last_hidden_state.dtype)
            vectors = (found.last_hidden_state * mask).sum(dim=1) / mask.sum(dim=1)
        else:
            layers = [found.hidden_states[i] for i in (1, 2, -1)]
            vectors = torch.stack(layers, dim=1).mean(dim=2).mean(dim=1)
        return self._through(self.text_head, self._text_tower.head, vectors)

    @staticmethod
    def _through(layers: nn.Module, head: Head | None, vectors: Tensor) -> Tensor:
        found: Tensor = layers(functional.normalize(vectors, dim=-1) if head and head.normalized else vectors)
        return found


def _image(tower: ImageTower) -> nn.Module:
    arguments: dict[str, Any] = dict(tower.arguments)
    if tower.library == "timm":
        try:
            import timm
        except ImportError:
            raise MissingExtraError("timm", "clip", why="building this model's image tower") from None
        network: nn.Module = timm.create_model(tower.architecture, pretrained=False, num_classes=0, **arguments)
        return network
    if tower.library == "torchvision":
        try:
            from torchvision import models
        except ImportError:
            raise MissingExtraError("torchvision", "clip", why="building this model's image tower") from None
        network = models.get_model(tower.architecture, weights=None, **arguments)
        network.fc = nn.Identity()
        return network
    try:
        import transformers
    except ImportError:
        raise MissingExtraError("transformers", "clip", why="building this model's image tower") from None
    auto: Any = transformers.AutoModel
    made: nn.Module = auto.from_config(transformers.AutoConfig.for_model(tower.architecture, **arguments))
    return made


def _head(head: Head | None) -> nn.Sequential:
    layers: list[nn.Module] = []
    widths = head.widths if head else ()
    for given, wanted in pairwise(widths):
        layers += [nn.Linear(given, wanted, bias=bool(head and head.bias)), nn.GELU()]
    return nn.Sequential(*layers[:-1])


class TwoTower:
    """A Matcher: pictures (n, 3, height, width) and token numbers (n, length) become vectors (n, width)."""

    def __init__(self, network: Towers, weights: Description) -> None:
        self._network, self._limits = network, weights.scale

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
        """Return cosines times the temperature that was learned, kept in its limits."""
        scale = self._network.logit_scale.detach().float().cpu()
        if self._limits:
            scale = scale.clamp(*self._limits)
        return scale.exp() * images @ texts.mT

    def modules(self) -> Mapping[str, nn.Module]:
        """Return the networks by name."""
        return {"main": self._network}
