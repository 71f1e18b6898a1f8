"""Encoders that their authors run with timm, as their model cards and READMEs say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from tests.parity.harness import Author

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
BIOPTIMUS = ((0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517))


def transformed(*steps: Any) -> Any:
    """Return a function from a file to a batch of one, through torchvision's transforms."""
    pipeline = transforms.Compose(steps)

    def prepare(file: Path) -> Tensor:
        tensor: Tensor = pipeline(Image.open(file).convert("RGB"))
        return tensor[None]

    return prepare


def standard(mean_std: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET, *, resize: int = 224, crop: int = 224,
             interpolation: transforms.InterpolationMode = transforms.InterpolationMode.BILINEAR) -> Any:  # fmt: skip
    """Return the usual pipeline: shorter side, center, tensor, normalization."""
    return transformed(
        transforms.Resize(resize, interpolation=interpolation),
        transforms.CenterCrop(crop),
        transforms.ToTensor(),
        transforms.Normalize(*mean_std),
    )


def embedding(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Return what calling the network gives."""
    return {"embedding": network(x)}


def class_and_patches(first_patch: int) -> Any:
    """Return the class token beside the mean of the patch tokens (Virchow, Virchow2)."""

    def outputs(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
        tokens = network(x)
        return {"embedding": torch.cat([tokens[:, 0], tokens[:, first_patch:].mean(1)], dim=-1)}

    return outputs


def build(architecture: str, **arguments: Any) -> Any:
    """Return a function that builds timm's network."""
    return lambda: timm.create_model(architecture, pretrained=False, **arguments)


def virchow_transform(config: dict[str, Any]) -> Any:
    """Return timm's own pipeline for a configuration, as the model cards of Paige build it."""
    from timm.data import create_transform, resolve_data_config

    return transformed(create_transform(**resolve_data_config(config)))


AUTHORS: dict[str, Author] = {
    # https://github.com/mahmoodlab/UNI README: timm arguments, Resize 224, ToTensor, Normalize
    "uni": Author(
        build(
            "vit_large_patch16_224", img_size=224, patch_size=16, init_values=1e-5, num_classes=0, dynamic_img_size=True
        ),
        standard(),
        embedding,
    ),
    "uni2-h": Author(
        build(
            "vit_giant_patch14_224",
            img_size=224,
            patch_size=14,
            depth=24,
            num_heads=24,
            init_values=1e-5,
            embed_dim=1536,
            mlp_ratio=2.66667 * 2,
            num_classes=0,
            no_embed_class=True,
            mlp_layer=timm.layers.SwiGLUPacked,
            act_layer=nn.SiLU,
            reg_tokens=8,
            dynamic_img_size=True,
        ),
        standard(),
        embedding,
    ),
}
