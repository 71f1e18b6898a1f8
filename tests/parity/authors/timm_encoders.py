"""Tile encoders that their authors run with timm, as their model cards and READMEs say."""

from __future__ import annotations

from typing import Any

import timm
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from tests.parity import pictures
from tests.parity.harness import Author
from tests.parity.pipelines import (
    BICUBIC,
    BIOPTIMUS,
    HALF,
    LUNIT,
    build,
    class_and_patches,
    class_token,
    configured,
    embedding,
    resized_as_tensor,
    standard,
    uncropped,
)


def kaiko(architecture: str) -> Author:
    """Return what hubconf.py builds and the transform of the README."""
    return Author(build(architecture, dynamic_img_size=True, num_classes=0), resized_as_tensor(HALF), embedding)


def lunit(patch: int) -> Author:
    """Return the trunk that the README builds."""
    return Author(
        lambda: VisionTransformer(img_size=224, patch_size=patch, embed_dim=384, num_heads=6, num_classes=0),
        standard(LUNIT, interpolation=BICUBIC),
        embedding,
    )


VIRCHOW: dict[str, Any] = {
    "img_size": 224, "init_values": 1e-5, "num_classes": 0, "mlp_ratio": 5.3375, "global_pool": "", "dynamic_img_size": True,
    "mlp_layer": timm.layers.SwiGLUPacked, "act_layer": nn.SiLU,
}  # fmt: skip
AT_HALF_A_MICROMETER = {"um_per_px": 0.5}


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
    # the model cards of paige-ai/Virchow and paige-ai/Virchow2: timm's transform of the hub's configuration
    "virchow": Author(
        build("vit_huge_patch14_224", **VIRCHOW), configured(), class_and_patches(1), options=AT_HALF_A_MICROMETER
    ),
    "virchow2": Author(
        build("vit_huge_patch14_224", reg_tokens=4, **VIRCHOW),
        configured(),
        class_and_patches(5),
        options=AT_HALF_A_MICROMETER,
    ),
    # https://github.com/prov-gigapath/prov-gigapath README, tile encoder
    "prov-gigapath-tile": Author(
        build(
            "vit_giant_patch14_dinov2",
            img_size=224,
            patch_size=16,
            embed_dim=1536,
            depth=40,
            num_heads=24,
            init_values=1e-5,
            mlp_ratio=5.33334,
            num_classes=0,
        ),
        standard(resize=256, interpolation=BICUBIC),
        embedding,
        options=AT_HALF_A_MICROMETER,
    ),
    # plism-benchmark of Owkin and Bioptimus; resampling after the configuration beside the weights
    "h-optimus-0": Author(
        build("vit_giant_patch14_reg4_dinov2", img_size=224, init_values=1e-5, dynamic_img_size=False, num_classes=0),
        configured(BIOPTIMUS),
        embedding,
        options=AT_HALF_A_MICROMETER,
    ),
    "h-optimus-1": Author(
        build("vit_giant_patch14_reg4_dinov2", img_size=224, init_values=1e-5, dynamic_img_size=False, num_classes=0),
        configured(BIOPTIMUS),
        embedding,
        options=AT_HALF_A_MICROMETER,
    ),
    "h0-mini": Author(
        build(
            "vit_base_patch14_reg4_dinov2",
            img_size=224,
            init_values=1e-5,
            num_classes=0,
            reg_tokens=4,
            mlp_ratio=5.33334,
            global_pool="",
            dynamic_img_size=True,
            mlp_layer=timm.layers.SwiGLUPacked,
            act_layer=nn.SiLU,
        ),
        configured(BIOPTIMUS),
        class_token,
    ),
    # https://github.com/birkhoffkiki/GPFM models/dinov2/__init__.py
    "gpfm": Author(
        build("vit_large_patch14_dinov2.lvd142m", img_size=224, init_values=1e-5, num_classes=0),
        uncropped(resize=(224, 224), interpolation=BICUBIC),
        embedding,
    ),
    # https://github.com/Innse/mSTAR README: no crop, so tiles are square
    "mstar": Author(
        build(
            "vit_large_patch16_224", img_size=224, patch_size=16, init_values=1e-5, num_classes=0, dynamic_img_size=True
        ),
        uncropped(),
        embedding,
        pictures=pictures.squares,
    ),
    # https://github.com/kaiko-ai/towards_large_pathology_fms hubconf.py and README
    "kaiko-vit-s-16": kaiko("vit_small_patch16_224"),
    "kaiko-vit-s-8": kaiko("vit_small_patch8_224"),
    "kaiko-vit-b-16": kaiko("vit_base_patch16_224"),
    "kaiko-vit-b-8": kaiko("vit_base_patch8_224"),
    "kaiko-vit-l-14": kaiko("vit_large_patch14_reg4_dinov2"),
    # https://github.com/lunit-io/benchmark-ssl-pathology README
    "lunit-dino-vit-s-16": lunit(16),
    "lunit-dino-vit-s-8": lunit(8),
}
