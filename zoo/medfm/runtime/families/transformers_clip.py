"""CLIP and SigLIP models that transformers builds, from the values of their config.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medfm.errors import MissingExtraError
from medfm.runtime import checkpoint

if TYPE_CHECKING:
    from medfm.catalog.weights import TransformersClip as Description
    from medfm.runtime.capabilities import Batch


def build(
    weights: Description, files: Mapping[str, Path], device: torch.device, dtype: torch.dtype
) -> TransformersClip:
    """Build both towers from a verified checkpoint."""
    sha256 = weights.origin.files["weights"].sha256
    network = checkpoint.load(lambda: create(weights), files["weights"], keys=weights.keys, sha256=sha256)
    return TransformersClip(network.to(device=device, dtype=dtype))


def create(weights: Description) -> nn.Module:
    """Return the network without weights.

    Raises:
        MissingExtraError: transformers is not installed.
    """
    try:
        import transformers
    except ImportError:
        raise MissingExtraError("transformers", "clip", why="building this model") from None
    towers: dict[str, Any] = {"vision_config": dict(weights.image), "text_config": dict(weights.text)}
    if weights.architecture == "clip":
        network: nn.Module = transformers.CLIPModel(transformers.CLIPConfig(projection_dim=weights.width, **towers))
    else:
        network = transformers.SiglipModel(transformers.SiglipConfig(**towers))
    return network


class TransformersClip:
    """A Matcher: pictures (n, 3, height, width) and token numbers (n, length) become vectors (n, width)."""

    def __init__(self, network: nn.Module) -> None:
        self._network: Any = network

    def encode(self, batch: Batch) -> Tensor:
        """Return the vectors of pictures, not normalized, float32."""
        scale = self._network.logit_scale
        with torch.inference_mode():
            found = self._network.get_image_features(pixel_values=batch["image"].to(scale.device, scale.dtype))
        return _vectors(found)

    def encode_text(self, batch: Batch) -> Tensor:
        """Return the vectors of texts, not normalized, float32."""
        with torch.inference_mode():
            found = self._network.get_text_features(input_ids=batch["tokens"].to(self._network.logit_scale.device))
        return _vectors(found)

    def compare(self, images: Tensor, texts: Tensor) -> Tensor:
        """Return cosines times the temperature that was learned, plus SigLIP's bias."""
        scale: Tensor = self._network.logit_scale.detach().float().cpu()
        bias: Tensor | None = getattr(self._network, "logit_bias", None)
        logits = scale.exp() * images @ texts.mT
        return logits if bias is None else logits + bias.detach().float().cpu()

    def modules(self) -> Mapping[str, nn.Module]:
        """Return the networks by name."""
        return {"main": self._network}


def _vectors(found: Any) -> Tensor:
    """Return what `get_image_features` gives: a tensor before transformers 5, an output with `pooler_output` since."""
    vectors: Tensor = found if isinstance(found, Tensor) else found.pooler_output
    return vectors.float().cpu()
