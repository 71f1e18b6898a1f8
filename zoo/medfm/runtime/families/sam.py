"""Segment Anything and its medical relatives: an image encoder, and a light decoder that turns prompts into masks.

The networks stand in `medfm.runtime.sam` and `medfm.runtime.tiny_vit`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from medfm.catalog.weights import SamVit
from medfm.runtime import checkpoint
from medfm.runtime.sam import ImageEncoder, MaskDecoder, PromptEncoder
from medfm.runtime.tiny_vit import TinyViT

if TYPE_CHECKING:
    from medfm.catalog.weights import Sam as Description
    from medfm.runtime.capabilities import Batch, Prompts


def build(weights: Description, files: Mapping[str, Path], device: torch.device, dtype: torch.dtype) -> Sam | Encoder:
    """Build the network from a verified checkpoint; a file without decoder gives an encoder alone."""
    path, sha256 = files["weights"], weights.origin.files["weights"].sha256
    network = checkpoint.load(lambda: create(weights), path, keys=weights.keys, sha256=sha256)
    network = network.to(device=device, dtype=dtype)
    return Sam(network) if weights.decoder else Encoder(network)


class Network(nn.Module):
    """The parts, named as in the checkpoints; an encoder alone has no other part."""

    image_encoder: ImageEncoder | TinyViT
    prompt_encoder: PromptEncoder
    mask_decoder: MaskDecoder


def create(weights: Description) -> Network:
    """Return the network without weights."""
    network = Network()
    shape = weights.encoder
    if isinstance(shape, SamVit):
        grid = weights.side // 16
        network.image_encoder = ImageEncoder(
            dimensions=weights.dimensions,
            side=weights.side,
            channels=weights.channels,
            patch=16,
            width=shape.width,
            depth=shape.depth,
            heads=shape.heads,
            window=shape.window,
            everywhere=shape.everywhere,
            out=weights.width if shape.neck else None,
            adapters=shape.adapters,
            positions=shape.positions,
        )
    else:
        grid = weights.side // 4
        network.image_encoder = TinyViT(
            channels=weights.channels,
            widths=shape.widths,
            depths=shape.depths,
            heads=shape.heads,
            windows=shape.windows,
            out=weights.width,
        )
    if weights.decoder:
        network.prompt_encoder = PromptEncoder(
            dimensions=weights.dimensions, side=weights.side, grid=grid, width=weights.width
        )
        network.mask_decoder = MaskDecoder(dimensions=weights.dimensions, width=weights.width)
    return network


class Sam:
    """A PromptSegmenter of pictures (1, channels, height, width) or volumes (1, channels, x, y, z)."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def look(self, batch: Batch) -> Tensor:
        """Return the image's embedding (1, width, *grid)."""
        return _encoded(self._network, batch)

    def outline(self, seen: Tensor, prompts: Prompts) -> tuple[Tensor, Tensor]:
        """Return logits (n, 4, *4 grid) and predicted overlaps (n, 4), float32."""
        network = self._network
        places = [None if x is None else x.to(seen.device) for x in (prompts.points, prompts.labels, prompts.boxes)]
        masks = None if prompts.masks is None else prompts.masks.to(seen.device, seen.dtype)
        with torch.inference_mode():
            sparse, dense = network.prompt_encoder(*places, masks)
            logits, overlaps = network.mask_decoder(seen, network.prompt_encoder.positions(), sparse, dense)
        return logits.float().cpu(), overlaps.float().cpu()

    def modules(self) -> Mapping[str, nn.Module]:
        """Return the networks by name."""
        return {"main": self._network}


class Encoder:
    """An Encoder whose tokens are the places of the image embedding."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def encode(self, batch: Batch) -> Tensor:
        """Return (n, places, width) float32."""
        return _encoded(self._network, batch).flatten(2).transpose(1, 2).float().cpu()

    def modules(self) -> Mapping[str, nn.Module]:
        """Return the networks by name."""
        return {"main": self._network}


def _encoded(network: Network, batch: Batch) -> Tensor:
    parameter = next(network.parameters())
    with torch.inference_mode():
        embedding: Tensor = network.image_encoder(batch["image"].to(parameter.device, parameter.dtype))
    return embedding
