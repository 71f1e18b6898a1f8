"""Image and text towers that open_clip builds, from the values of its configuration files.

open_clip asks a hub for the configuration of a BERT tower; a record holds these sizes, and they are handed over as a local
folder, so nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medfm.errors import MissingExtraError
from medfm.runtime import bert, checkpoint

if TYPE_CHECKING:
    from medfm.catalog.weights import OpenClip as Description
    from medfm.runtime.capabilities import Batch


def build(weights: Description, files: Mapping[str, Path], device: torch.device, dtype: torch.dtype) -> OpenClip:
    """Build both towers from a verified checkpoint."""
    sha256 = weights.origin.files["weights"].sha256
    network = checkpoint.load(lambda: create(weights), files["weights"], keys=weights.keys, sha256=sha256)
    return OpenClip(network.to(device=device, dtype=dtype))


def create(weights: Description) -> nn.Module:
    """Return open_clip's network without weights.

    Raises:
        MissingExtraError: open_clip is not installed.
    """
    try:
        from open_clip.model import CLIP, CustomTextCLIP
    except ImportError:
        raise MissingExtraError("open_clip_torch", "clip", why="building this model") from None
    arguments: dict[str, Any] = {"embed_dim": weights.width, "quick_gelu": weights.quick_gelu}
    image = {"timm_model_pretrained": False, **weights.image} if "timm_model_name" in weights.image else weights.image
    if weights.bert is None:
        network: nn.Module = CLIP(vision_cfg=dict(image), text_cfg=dict(weights.text), **arguments)
    else:
        with TemporaryDirectory(prefix="medfm-") as folder:
            bert.configuration(weights.bert).save_pretrained(folder)
            text = {**weights.text, "hf_model_name": folder, "hf_model_pretrained": False}
            network = CustomTextCLIP(vision_cfg=dict(image), text_cfg=text, **arguments)
    return network


class OpenClip:
    """A Matcher: pictures (n, 3, height, width) and token numbers (n, length) become vectors (n, width)."""

    def __init__(self, network: nn.Module) -> None:
        self._network: Any = network

    def encode(self, batch: Batch) -> Tensor:
        """Return the vectors of pictures, not normalized, float32."""
        scale = self._network.logit_scale
        with torch.inference_mode():
            vectors: Tensor = self._network.encode_image(batch["image"].to(scale.device, scale.dtype))
        return vectors.float().cpu()

    def encode_text(self, batch: Batch) -> Tensor:
        """Return the vectors of texts, not normalized, float32."""
        with torch.inference_mode():
            vectors: Tensor = self._network.encode_text(batch["tokens"].to(self._network.logit_scale.device))
        return vectors.float().cpu()

    def compare(self, images: Tensor, texts: Tensor) -> Tensor:
        """Return cosines times the temperature that was learned."""
        scale: Tensor = self._network.logit_scale.detach().float().cpu()
        return scale.exp() * images @ texts.mT

    def modules(self) -> Mapping[str, nn.Module]:
        """Return the networks by name."""
        return {"main": self._network}
