"""How the authors of image encoders prepare pictures and read out their networks, in the words of their libraries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms
from torchvision.transforms import v2

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
LUNIT = ((0.70322989, 0.53606487, 0.66096631), (0.21716536, 0.26081574, 0.20723464))
ENDOVIT = ((0.3464, 0.2280, 0.2228), (0.2520, 0.2128, 0.2093))
EVA_X = ((0.49185243,) * 3, (0.28509309,) * 3)
BICUBIC = transforms.InterpolationMode.BICUBIC
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


def uncropped(mean_std: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET, *, resize: Any = 224,
              interpolation: transforms.InterpolationMode = transforms.InterpolationMode.BILINEAR) -> Any:  # fmt: skip
    """Return a pipeline without a crop: one side of `resize` keeps the picture's shape, two sides do not."""
    return transformed(
        transforms.Resize(resize, interpolation=interpolation), transforms.ToTensor(), transforms.Normalize(*mean_std)
    )


def resized_as_tensor(mean_std: tuple[tuple[float, ...], tuple[float, ...]]) -> Any:
    """Return the pipeline of torchvision's second version, which resizes tensors of bytes."""
    return transformed(
        v2.ToImage(),
        v2.Resize(224),
        v2.CenterCrop(224),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(*mean_std),
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


def class_token(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Return the class token of a network that gives all tokens."""
    return {"embedding": network(x)[:, 0]}


def build(architecture: str, **arguments: Any) -> Any:
    """Return a function that builds timm's network."""
    return lambda: timm.create_model(architecture, pretrained=False, **arguments)


def configured(mean_std: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET) -> Any:
    """Return timm's own pipeline for the configuration beside the weights: 224 pixels, bicubic, nothing cut off a square."""
    from timm.data import create_transform, resolve_data_config

    config = {
        "input_size": (3, 224, 224),
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "mean": mean_std[0],
        "std": mean_std[1],
    }
    return transformed(create_transform(**resolve_data_config(pretrained_cfg=config)))


def inside(*path: str, prefix: str = "", extra: dict[str, tuple[int, ...]] | None = None, without: tuple[str, ...] = (),
           rename: Callable[[str], str] = str) -> Callable[[dict[str, Tensor], Path], None]:  # fmt: skip
    """Return a function that writes a state as training scripts do: inside other entries, with other names and with more."""

    def store(state: dict[str, Tensor], file: Path) -> None:
        found: dict[str, Any] = {prefix + rename(key): tensor for key, tensor in state.items() if key not in without}
        found |= {key: torch.zeros(shape) for key, shape in (extra or {}).items()}
        for entry in reversed(path):
            found = {entry: found}
        torch.save(found, file)

    return store
