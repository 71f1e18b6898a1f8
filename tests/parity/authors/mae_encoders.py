"""Encoders of radiology and the retina that their authors run with timm; most learned to predict what was masked."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from tests.parity.harness import Author
from tests.parity.pipelines import BICUBIC, ENDOVIT, EVA_X, build, embedding, inside, standard, uncropped

# ---------------------------------------------------------------- RETFound: MAE's encoder


def retfound() -> nn.Module:
    """Return the encoder of models_vit.py: ViT-L/16 whose last normalization comes after the mean of the patches."""
    return VisionTransformer(
        patch_size=16, embed_dim=1024, depth=24, num_heads=16, mlp_ratio=4, qkv_bias=True, num_classes=0,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )  # fmt: skip


def retfound_embedding(network: Any, x: Tensor) -> dict[str, Tensor]:
    """Return the mean of the patches, normalized as the new layer `fc_norm` does before it has learned anything."""
    x = network.patch_embed(x)
    x = torch.cat([network.cls_token.expand(len(x), -1, -1), x], dim=1) + network.pos_embed
    for block in network.blocks:
        x = block(x)
    return {"embedding": functional.layer_norm(x[:, 1:].mean(1), (1024,), eps=1e-6)}


# What an MAE checkpoint holds beside the encoder.
MAE_DECODER = {
    "mask_token": (1, 1, 512),
    "decoder_pos_embed": (1, 197, 512),
    "decoder_embed.weight": (512, 1024),
    "decoder_blocks.0.norm1.weight": (512,),
    "decoder_pred.bias": (768,),
}


def retfound_mae() -> Author:
    """Return the encoder of models_vit.py and the transform of the fine-tuned classifiers' evaluation."""
    return Author(
        retfound,
        standard(resize=256, interpolation=BICUBIC),
        retfound_embedding,
        store=inside("model", extra=MAE_DECODER),
    )


# ---------------------------------------------------------------- EVA-X: the names of EVA-02's pretraining

EVA_X_EXTRA = {"mask_token": (1, 1, 192), "lm_head.weight": (8, 192), "lm_head.bias": (8,), "rope.freqs_cos": (196, 64)}


def eva_name(key: str) -> str:
    """Return EVA-02's name for one of timm's; the names with one layer for both gates come before those with two."""
    names = {"fc_norm.": "norm.", "mlp.fc1_g.": "mlp.w1.", "mlp.fc1_x.": "mlp.w2.", "mlp.fc1.": "mlp.w12.", "mlp.fc2.": "mlp.w3.",
             "mlp.norm.": "mlp.ffn_ln.", "attn.q_proj.bias": "attn.q_bias", "attn.v_proj.bias": "attn.v_bias"}  # fmt: skip
    for ours, theirs in names.items():
        key = key.replace(ours, theirs)
    return key


def eva_x(width: int, heads: int, **more: Any) -> Author:
    """Return the encoder of eva_x.py and the transform of the fine-tuned classifiers' evaluation."""
    return Author(
        lambda: Eva(
            img_size=224, patch_size=16, embed_dim=width, depth=12, num_heads=heads, mlp_ratio=4 * 2 / 3, swiglu_mlp=True,
            use_rot_pos_emb=True, ref_feat_shape=(14, 14), num_classes=0, **more,
        ),
        standard(EVA_X, resize=256, interpolation=BICUBIC),
        embedding,
        store=inside("module", extra=EVA_X_EXTRA, rename=eva_name),
    )  # fmt: skip


AUTHORS: dict[str, Author] = {
    # https://github.com/rmaphoh/RETFound models_vit.py, main_finetune.py, util/datasets.py
    "retfound-mae-cfp": retfound_mae(),
    "retfound-mae-oct": retfound_mae(),
    "retfound-mae-meh": retfound_mae(),
    "retfound-dinov2-meh": Author(
        build("vit_large_patch14_dinov2.lvd142m", img_size=224, num_classes=0),
        standard(resize=256, interpolation=BICUBIC),
        embedding,
        store=inside(
            "teacher",
            prefix="backbone.",
            extra={"backbone.mask_token": (1, 1024), "dino_head.last_layer.weight_g": (8, 1)},
        ),
    ),
    # https://github.com/Snarci/Radio-DINO README
    "radiodino-s16": Author(build("vit_small_patch16_224", num_classes=0), uncropped(resize=(224, 224)), embedding),
    # https://github.com/DominikBatic/EndoViT endovit_demo.py gives all tokens
    "endovit": Author(
        lambda: VisionTransformer(
            patch_size=16,
            embed_dim=768,
            depth=12,
            num_heads=12,
            mlp_ratio=4,
            qkv_bias=True,
            num_classes=0,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
        ),
        uncropped(ENDOVIT, resize=(224, 224)),
        lambda network, x: {"embedding": network.forward_features(x)[:, 1:].mean(1)},
        store=inside("model", extra=MAE_DECODER),
    ),
    # https://github.com/hustvl/EVA-X eva_x.py, classification/utils/datasets.py
    "eva-x-ti": eva_x(192, 3),
    "eva-x-s": eva_x(384, 6),
    "eva-x-b": eva_x(768, 12, qkv_fused=False, scale_mlp=True),
}
