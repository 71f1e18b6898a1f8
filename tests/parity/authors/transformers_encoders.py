"""Encoders that their authors run with transformers, as their model cards and READMEs say.

Image processors are those that compute with Pillow: what `AutoImageProcessor` meant when the cards were written, and what the
authors' own package of RAD-DINO asks for. Files are written by `save_pretrained`, whose names are those of the hub's files.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2
from transformers import BitImageProcessorPil, ViTImageProcessorPil

from tests.parity.harness import Author
from tests.parity.pipelines import BICUBIC, HALF, IMAGENET, transformed, uncropped

HIBOU = ((0.7068, 0.5755, 0.722), (0.195, 0.2316, 0.1816))
RAD_DINO = ((0.5307,) * 3, (0.2583,) * 3)

BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
GIANT = {"hidden_size": 1536, "num_hidden_layers": 40, "num_attention_heads": 24, "use_swiglu_ffn": True}


class Pretrained:
    """A network of transformers that writes itself as its `save_pretrained` does."""

    def __init__(self, name: str, config: dict[str, Any], **options: Any) -> None:
        self._name, self._config, self._options = name, config, options
        self._built: Callable[[], Any] = lambda: None

    def build(self) -> nn.Module:
        """Return the network; only a weak hold of it is kept, as a billion parameters are to go when they are no longer used."""
        config = getattr(transformers, f"{self._name}Config")(**self._config)
        network: nn.Module = getattr(transformers, f"{self._name}Model")(config, **self._options)
        self._built = weakref.ref(network)
        return network

    def store(self, state: dict[str, Tensor], file: Path) -> None:
        """Write the network's file, under the names that the library's files have had since its fourth version."""
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            self._built().save_pretrained(folder, max_shard_size="20GB")
            (Path(folder) / "model.safetensors").rename(file)


def processed(processor: Any) -> Callable[[Path], Tensor]:
    """Return a function from a file to a batch of one."""

    def prepare(file: Path) -> Tensor:
        found: Tensor = processor(Image.open(file).convert("RGB"), return_tensors="pt")["pixel_values"]
        return found

    return prepare


def class_token(network: Any, x: Tensor) -> dict[str, Tensor]:
    """Return the first token of the last hidden states."""
    return {"embedding": network(pixel_values=x).last_hidden_state[:, 0]}


def pooled(network: Any, x: Tensor) -> dict[str, Tensor]:
    """Return what the network calls its pooled output."""
    return {"embedding": network(pixel_values=x).pooler_output}


def class_and_patches(network: Any, x: Tensor) -> dict[str, Tensor]:
    """Return the class token beside the mean of the patches (README of Midnight)."""
    hidden = network(x).last_hidden_state
    return {"embedding": torch.cat([hidden[:, 0, :], hidden[:, 1:, :].mean(1)], dim=-1)}


def author(pretrained: Pretrained, prepare: Any, outputs: Any, **more: Any) -> Author:
    """Return an author who uses transformers."""
    return Author(pretrained.build, prepare, outputs, ("transformers", "torch"), store=pretrained.store, **more)


def bit(side: int, mean_std: tuple[tuple[float, ...], tuple[float, ...]]) -> Callable[[Path], Tensor]:
    """Return the image processor of DINOv2 with other sides and statistics."""
    return processed(
        BitImageProcessorPil(
            size={"shortest_edge": side},
            crop_size={"height": side, "width": side},
            resample=3,
            image_mean=list(mean_std[0]),
            image_std=list(mean_std[1]),
        )
    )


def rad_dino() -> Author:
    """Return the encoder of chest radiographs and its preprocessor_config.json."""
    return author(Pretrained("Dinov2", {**BASE, "image_size": 518, "patch_size": 14}), bit(518, RAD_DINO), pooled)


def hibou(size: dict[str, Any]) -> Author:
    """Return the encoder with registers and the transform of example.ipynb."""
    config = {**size, "image_size": 224, "patch_size": 14, "use_swiglu_ffn": True, "num_register_tokens": 4}
    return author(
        Pretrained("Dinov2WithRegisters", config), uncropped(HIBOU, resize=(224, 224), interpolation=BICUBIC), pooled
    )


AUTHORS: dict[str, Author] = {
    # https://github.com/owkin/HistoSSLscaling README
    "phikon": author(
        Pretrained("ViT", {}, add_pooling_layer=False),
        processed(
            ViTImageProcessorPil(
                size={"height": 224, "width": 224}, image_mean=list(IMAGENET[0]), image_std=list(IMAGENET[1])
            )
        ),
        class_token,
    ),
    # the model card of owkin/phikon-v2
    "phikon-v2": author(
        Pretrained("Dinov2", {**LARGE, "image_size": 224, "patch_size": 16}),
        bit(224, IMAGENET),
        class_token,
        options={"um_per_px": 0.5},
    ),
    # https://pypi.org/project/rad-dino, and the model card
    "rad-dino": rad_dino(),
    "rad-dino-maira-2": rad_dino(),
    # https://github.com/kaiko-ai/Midnight README
    "midnight-12k": author(
        Pretrained("Dinov2", {**GIANT, "image_size": 518, "patch_size": 14}),
        transformed(
            v2.Resize(224),
            v2.CenterCrop(224),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(*HALF),
        ),
        class_and_patches,
    ),
    # https://github.com/HistAI/hibou example.ipynb
    "hibou-b": hibou(BASE),
    "hibou-l": hibou(LARGE),
}
