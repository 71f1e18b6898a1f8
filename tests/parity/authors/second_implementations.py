"""Encoders whose authors' code is no package: the same network as another library builds it, under the names of their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.parity import pictures
from tests.parity.harness import Author
from tests.parity.pipelines import IMAGENET, embedding, resized_as_tensor, uncropped

# ---------------------------------------------------------------- CTransPath: Swin-T with convolutions in front


def ctranspath() -> nn.Module:
    """Return torchvision's Swin-T with the stem of ctran.py: an implementation that shares nothing with timm's."""
    from torchvision.models import swin_t

    network = swin_t()
    network.features[0] = nn.Sequential(
        nn.Conv2d(3, 12, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU(),
        nn.Conv2d(12, 24, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU(),
        nn.Conv2d(24, 96, 1), _ChannelsLast(), nn.LayerNorm(96),
    )  # fmt: skip
    network.head = nn.Identity()
    return network


class _ChannelsLast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)


def swin_name(key: str) -> str:
    """Return timm's name for one of torchvision's: stages and the merging before them share a layer."""
    parts = key.split(".")
    if parts[0] != "features":
        return key
    stage, rest = int(parts[1]), ".".join(parts[2:])
    if stage == 0:
        return "patch_embed.norm." + parts[3] if parts[2] == "8" else "patch_embed.proj." + rest
    if stage % 2 == 0:
        return f"layers.{stage // 2}.downsample.{rest}"
    return f"layers.{stage // 2}.blocks.{rest}".replace("mlp.0", "mlp.fc1").replace("mlp.3", "mlp.fc2")


def store_swin(state: dict[str, Tensor], file: Path) -> None:
    """Write the state under timm's names."""
    from safetensors.torch import save_file

    kept = {
        swin_name(key): tensor.contiguous() for key, tensor in state.items() if "relative_position_index" not in key
    }
    save_file(kept, file)


# ---------------------------------------------------------------- OpenMidnight: DINOv2's own layout


def giant() -> nn.Module:
    """Return DINOv2's ViT-g/14 with registers as transformers builds it: a second implementation of torch.hub's network."""
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    config = Dinov2WithRegistersConfig(
        hidden_size=1536,
        num_hidden_layers=40,
        num_attention_heads=24,
        use_swiglu_ffn=True,
        image_size=224,
        patch_size=14,
    )
    return Dinov2WithRegistersModel(config)


def giant_embedding(network: Any, x: Tensor) -> dict[str, Tensor]:
    """Return the class token."""
    return {"embedding": network(x).last_hidden_state[:, 0]}


DINOV2_NAMES = {
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.": "",
    "encoder.layer": "blocks",
    "layernorm.": "norm.",
    "attention.o_proj": "attn.proj",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
    "mlp.down_proj": "mlp.w3",
}


def store_dinov2(state: dict[str, Tensor], file: Path) -> None:
    """Write the state under the names of facebookresearch/dinov2: one layer for query, key and value, and one for both gates."""
    found: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = key
        for theirs, original in DINOV2_NAMES.items():
            name = name.replace(theirs, original)
        joined = {"attention.q_proj": ("attention", "attn.qkv", ("q_proj", "k_proj", "v_proj")),
                  "mlp.gate_proj": ("mlp", "mlp.w12", ("gate_proj", "up_proj"))}  # fmt: skip
        for first, (part, original, names) in joined.items():
            if first in key:
                tensor = torch.cat([state[key.replace(first, f"{part}.{other}")] for other in names])
                name = name.replace(first, original)
        if not any(word in name for word in ("k_proj", "v_proj", "up_proj")):
            found[name] = tensor
    torch.save(found, file)


AUTHORS: dict[str, Author] = {
    # https://github.com/MedARC-AI/OpenMidnight eval_configs: torch.hub's network and eva's ResizeAndCrop
    "openmidnight": Author(
        giant, resized_as_tensor(IMAGENET), giant_embedding, ("transformers", "torch"), store=store_dinov2
    ),
    # https://github.com/Xiyue-Wang/TransPath get_features_CTransPath.py: no crop, so tiles are square
    "ctranspath": Author(
        ctranspath, uncropped(), embedding, ("torchvision", "torch"), store=store_swin, pictures=pictures.squares
    ),
}
