"""Networks for volumes that their authors run with MONAI, as their repositories and cards say."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import monai.transforms as mt
import torch
from monai.apps.vista3d.transforms import VistaPostTransformd
from monai.inferers import SlidingWindowInfererAdapt, sliding_window_inference
from monai.networks import nets
from torch import Tensor, nn

from tests.parity import volumes
from tests.parity.harness import Author


def through(*steps: Any) -> Callable[[Path], Tensor]:
    """Return a function from a file to a batch of one, through MONAI's dictionary transforms; its history stays with it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # readers whose libraries are not installed
        pipeline = mt.Compose([mt.LoadImaged("image"), mt.EnsureChannelFirstd("image"), *steps])

    def prepare(file: Path) -> Tensor:
        found = pipeline({"image": str(file)})["image"]
        tensor: Any = plain(found)[None]
        tensor.history = found, pipeline, file  # for the way back
        return tensor  # type: ignore[no-any-return]

    return prepare


def pooled(*tensors: Tensor) -> dict[str, Tensor]:
    """Return averages over the grid, side by side."""
    parts = [nn.functional.adaptive_avg_pool3d(x, 1).flatten(1) for x in tensors]
    return {"embedding": torch.cat(parts, dim=1)}


def plain(x: Any) -> Tensor:
    """Return a tensor without MONAI's history."""
    found: Tensor = x.as_tensor() if hasattr(x, "as_tensor") else x
    return found


def returned(x: Any, labels: Tensor) -> Tensor:
    """Return labels (channels, *grid) on the file's grid, as MONAI's Invertd brings them there."""
    image, pipeline, _ = x.history
    data = {"image": image, "pred": volumes.monai(image, labels.float())}
    back = mt.Invertd("pred", transform=pipeline, orig_keys="image", nearest_interp=True, to_tensor=True)(data)
    return plain(back["pred"]).round().to(torch.int32)


# ---------------------------------------------------------------- CT at 1.5 mm, as VoCo and others read it

SOFT = mt.ScaleIntensityRanged("image", a_min=-175, a_max=250, b_min=0, b_max=1, clip=True)
RAS = mt.Orientationd("image", axcodes="RAS")
MM = mt.Spacingd("image", pixdim=(1.5, 1.5, 1.5), mode="bilinear")
FOREGROUND = mt.CropForegroundd("image", source_key="image", allow_smaller=True)


# ---------------------------------------------------------------- Swin UNETR, self-supervised


class Swin(nn.Module):
    """The encoder of MONAI's Swin UNETR, by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.swinViT = nets.SwinUNETR(in_channels=1, out_channels=14, feature_size=48).swinViT

    def forward(self, x: Tensor) -> Any:
        return self.swinViT(x)


def store_swin(state: dict[str, Tensor], path: Path) -> None:
    """Store as NVIDIA's pretraining does, and see that MONAI's own `load_from` reads it."""
    older = {
        "module." + key.removeprefix("swinViT.").replace("mlp.linear", "mlp.fc"): value for key, value in state.items()
    }
    heads = {"module.rotation_head.weight": torch.ones(4, 768), "module.contrastive_head.bias": torch.ones(512)}
    torch.save({"state_dict": older | heads, "epoch": 1}, path)
    network = nets.SwinUNETR(in_channels=1, out_channels=14, feature_size=48)
    network.load_from({"state_dict": older})
    read = network.swinViT.state_dict()
    assert all(torch.equal(value, read[key.removeprefix("swinViT.")]) for key, value in state.items())


# ---------------------------------------------------------------- VoCo


class Voco(nn.Module):
    """The parts of MONAI's Swin UNETR v2 that VoCo trains without labels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        whole = nets.SwinUNETR(in_channels=1, out_channels=21, feature_size=width, use_v2=True)
        for name in ("swinViT", "encoder1", "encoder2", "encoder3", "encoder4", "encoder10"):
            setattr(self, name, getattr(whole, name))

    def forward(self, x: Tensor) -> list[Tensor]:
        h = self.swinViT(x)
        return [self.encoder1(x), self.encoder2(h[0]), self.encoder3(h[1]), self.encoder4(h[2]), self.encoder10(h[4])]


VOCO_INPUT = through(RAS, MM, SOFT, FOREGROUND, mt.DivisiblePadd("image", 32))


def voco(width: int) -> Author:
    """VoCo's encoder: averages of five stages side by side."""
    return Author(
        lambda: Voco(width),
        VOCO_INPUT,
        lambda network, x: pooled(*network(x)) if width < 192 or x.history[2].name.startswith("wide") else {},
        libraries=("monai", "torch"),
        instead=volumes.write_small,
    )


def windows(
    *, size: int, overlap: float, side: int, decide: Callable[[Tensor], Tensor], channels: int = 3,
    name: str = "mask",
) -> Callable[[Any, Any], Mapping[str, Tensor]]:  # fmt: skip
    """Return a function that runs the whole network on one part, and the whole way to the mask with the stand-in."""

    def outputs(network: Any, x: Any) -> Mapping[str, Tensor]:
        found = {"logits": network(volumes.part(x, side))}
        if x.history[2].name != volumes.MASKED:
            return found
        joined = sliding_window_inference(x, (size,) * 3, 1, volumes.StandIn(channels), overlap, mode="gaussian")
        masks = returned(x, decide(joined[0]))
        return found | {name: masks[0] if name == "mask" else masks > 0}

    return outputs


def highest(logits: Tensor) -> Tensor:
    """Return labels (1, *grid) of the highest channel."""
    return logits.argmax(0, keepdim=True)


def vocomni(width: int) -> Author:
    """VoComni: MONAI's Swin UNETR v2 with 21 outputs."""
    segment = windows(size=96, overlap=0.75, side=64, decide=highest)

    def outputs(network: Any, x: Any) -> Mapping[str, Tensor]:
        seen: list[Tensor] = []
        hook = network.encoder10.register_forward_hook(lambda _, __, output: seen.append(output))
        found = segment(network, x)
        hook.remove()
        return {**found, "part embedding": pooled(seen[0])["embedding"]}

    return Author(
        lambda: nets.SwinUNETR(in_channels=1, out_channels=21, feature_size=width, use_v2=True),
        VOCO_INPUT,
        outputs,
        libraries=("monai", "torch"),
        instead=volumes.write,
    )


# ---------------------------------------------------------------- CT-FM


def ct_fm() -> nn.Module:
    """The class that the card names, with the values of its config.json."""
    from tests.parity import packages

    wrappers: Any = packages.module("lighter-zoo==0.1.3", "lighter_zoo.wrappers")
    made: nn.Module = wrappers.SegResEncoder(blocks_down=(1, 2, 2, 4, 4))
    return made


def whole(network: Any, x: Any) -> dict[str, Tensor]:
    """Return the averaged last output."""
    found = network(plain(x))
    return pooled(found[-1]) if isinstance(found, Sequence) else {"embedding": found}


# ---------------------------------------------------------------- VISTA3D

# NV-Segment-CT/configs/inference.json: everything_labels
EVERYTHING = sorted(set(range(1, 133)) - {2, 16, 18, 20, 21, 23, 24, 25, 26, 27, 128, 129, 130, 131, 132})


def vista(network: Any, x: Any) -> Mapping[str, Tensor]:
    """Ask for all classes at once, as the bundle does without prompts."""
    prompts = torch.tensor(EVERYTHING)[:, None]
    found: dict[str, Tensor] = {"logits": network(volumes.part(x, 64), class_vector=prompts, transpose=True)}
    if x.history[2].name != volumes.MASKED:
        return found
    inferer = SlidingWindowInfererAdapt(roi_size=(128,) * 3, sw_batch_size=1, padding_mode="replicate")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        joined = inferer(x, volumes.StandIn(len(EVERYTHING)))
        data = {"pred": joined[0].clone(), "label_prompt": prompts}
        labels = VistaPostTransformd("pred")(data)["pred"]
    return found | {"mask": returned(x, labels)[0]}


AUTHORS: dict[str, Author] = {
    # research-contributions, SwinUNETR/Pretrain: utils/data_utils.py and models/ssl_head.py
    "swinunetr-ssl": Author(
        Swin,
        through(
            RAS,
            mt.ScaleIntensityRanged("image", a_min=-1000, a_max=1000, b_min=0, b_max=1, clip=True),
            mt.SpatialPadd("image", (96, 96, 96)),
            FOREGROUND,
            mt.DivisiblePadd("image", 32),
        ),
        lambda network, x: pooled(network(plain(x))[4]),
        libraries=("monai", "torch"),
        store=store_swin,
        instead=volumes.write_small,
    ),
    # Large-Scale-Medical: Self-supervised/models/voco_head.py and utils/data_trans.py, README
    "voco-b": voco(48),
    # the card of project-lighter/ct_fm_feature_extractor
    "ct-fm": Author(
        ct_fm,
        through(
            mt.Orientationd("image", axcodes="SPL"),
            mt.ScaleIntensityRanged("image", a_min=-1024, a_max=2048, b_min=0, b_max=1, clip=True),
            FOREGROUND,
        ),
        whole,
        libraries=("monai", "torch"),
        instead=volumes.write,
    ),
}

UNMEASURED: dict[str, Author] = {
    "voco-omni-b": vocomni(48),
    # NV-Segment-CTMR: NV-Segment-CT/configs/inference.json and scripts/inferer.py
    "vista3d": Author(
        lambda: nets.vista3d132(in_channels=1),
        through(
            MM,
            mt.CropForegroundd("image", source_key="image", margin=10, allow_smaller=True),
            mt.ScaleIntensityRanged(
                "image", a_min=-963.8247715525971, a_max=1053.678477684517, b_min=0, b_max=1, clip=True
            ),
            RAS,
        ),
        vista,
        libraries=("monai", "torch"),
        instead=volumes.write,
    ),
    "voco-l": voco(96),
    "voco-h": voco(192),
    "voco-omni-l": vocomni(96),
    "voco-omni-h": vocomni(192),
}
"""Larger sizes, whose comparison takes up to an hour and has not been run to its end; their records say so."""
