"""The contrastive towers of a CoCa (Yu et al. 2022): CONCH.

timm builds the image encoder; attentional pooling and the text transformer are open_clip's. The captioning decoder is not built:
authors do not publish it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medfm.errors import MissingExtraError
from medfm.runtime import checkpoint

if TYPE_CHECKING:
    from medfm.catalog.weights import Coca as Description
    from medfm.runtime.capabilities import Batch


def build(weights: Description, files: Mapping[str, Path], device: torch.device, dtype: torch.dtype) -> Coca:
    """Build both towers from a verified checkpoint."""
    sha256 = weights.origin.files["weights"].sha256
    network = checkpoint.load(lambda: Towers(weights), files["weights"], keys=weights.keys, sha256=sha256)
    return Coca(network.to(device=device, dtype=dtype))


class Towers(nn.Module):
    """An image encoder with attentional pooling, and a text transformer with a class token behind the text."""

    def __init__(self, weights: Description) -> None:
        super().__init__()
        try:
            import timm
            from open_clip.transformer import AttentionalPooler, TextTransformer
        except ImportError:
            raise MissingExtraError("open_clip_torch", "clip", why="building this model") from None
        arguments: dict[str, Any] = dict(weights.arguments)
        self.trunk: Any = timm.create_model(weights.trunk, pretrained=False, num_classes=0, **arguments)
        self.pool = AttentionalPooler(weights.width, self.trunk.num_features, n_head=weights.heads, n_queries=1)
        self.norm = nn.LayerNorm(weights.width)
        self.projection = nn.Parameter(torch.zeros(weights.width, weights.width))
        self.text = TextTransformer(embed_cls=True, output_dim=weights.width, **weights.text)
        self.logit_scale = nn.Parameter(torch.zeros(()))

    def encode_image(self, x: Tensor) -> Tensor:
        """Return (n, width) vectors of pictures."""
        pooled: Tensor = self.norm(self.pool(self.trunk.forward_features(x)))[:, 0]
        return pooled @ self.projection

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Return (n, width) vectors of texts; the last place is the class token's."""
        vectors: Tensor = self.text(tokens[:, :-1])
        return vectors


class Coca:
    """A Matcher: pictures (n, 3, height, width) and token numbers (n, length) become vectors (n, width)."""

    def __init__(self, network: Towers) -> None:
        self._network = network

    def encode(self, batch: Batch) -> Tensor:
        """Return the vectors of pictures, not normalized, float32."""
        scale = self._network.logit_scale
        with torch.inference_mode():
            vectors = self._network.encode_image(batch["image"].to(scale.device, scale.dtype))
        return vectors.float().cpu()

    def encode_text(self, batch: Batch) -> Tensor:
        """Return the vectors of texts, not normalized, float32."""
        with torch.inference_mode():
            vectors = self._network.encode_text(batch["tokens"].to(self._network.logit_scale.device))
        return vectors.float().cpu()

    def compare(self, images: Tensor, texts: Tensor) -> Tensor:
        """Return cosines times the temperature that was learned."""
        return self._network.logit_scale.detach().float().cpu().exp() * images @ texts.mT

    def modules(self) -> Mapping[str, nn.Module]:
        """Return the networks by name."""
        return {"main": self._network}
