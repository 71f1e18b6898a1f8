"""How the code of repositories on videos is run for a recording; it is imported only there, from a checkout."""

from __future__ import annotations

import contextlib
import importlib
import io
import shutil
import sys
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import av
import numpy as np
import pandas as pd
import torch
import torchvision
from torch import Tensor, nn

from tests.parity import videos
from tests.parity.harness import Author


@cache
def checkout(file: str) -> Path:
    """Return the folder of the checkout, which `record` has put on the path, by a file that only it has."""
    for entry in (Path(p) for p in sys.path):
        if (entry / file).is_file():
            return entry
    raise AssertionError(f"no checkout with {file} is on the path")


def stand_in(*names: str) -> None:
    """Put empty modules in the place of libraries that the code imports without needing them here."""
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
            continue
        sys.modules[name] = mock.MagicMock()


# ---------------------------------------------------------------- EchoPrime


def echoprime() -> Author:
    """Return how EchoPrime's `process_mp4s` reads clips, and its encoder as `load_for_finetuning.py` builds it."""

    @cache
    def package() -> Any:
        folder = checkout("load_for_finetuning.py")
        sys.path.insert(0, str(folder / "utils"))
        sys.modules.pop("utils", None)
        stand_in("sklearn", "sklearn.metrics")
        with contextlib.chdir(folder):
            return importlib.import_module("echo_prime.model")

    def network() -> nn.Module:
        encoder = torchvision.models.video.mvit_v2_s()
        encoder.head[-1] = nn.Linear(encoder.head[-1].in_features, 512)
        return encoder

    def read_video(path: str) -> tuple[Tensor, None, dict[str, float]]:
        """What torchvision.io.read_video gave until it was removed: all frames, converted by PyAV."""
        with av.open(path) as container:
            frames = [frame.to_rgb().to_ndarray() for frame in container.decode(video=0)]
            return (
                torch.from_numpy(np.stack(frames)),
                None,
                {"video_fps": float(container.streams.video[0].average_rate)},
            )

    def prepare(file: Path) -> Tensor:
        own = SimpleNamespace(
            frames_to_take=32,
            frame_stride=2,
            video_size=224,
            mean=torch.tensor([29.110628, 28.076836, 29.096405]).reshape(3, 1, 1, 1),
            std=torch.tensor([47.989223, 46.456997, 47.20083]).reshape(3, 1, 1, 1),
        )
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(package().torchvision, "io") as video:
            video.read_video = read_video
            shutil.copy(file, Path(folder) / "clip.mp4")
            clips: Tensor = package().EchoPrime.process_mp4s(own, folder)
        return clips

    def store(state: dict[str, Tensor], path: Path) -> None:
        inside = io.BytesIO()
        torch.save(state, inside)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("model_data/weights/view_classifier.pt", b"another network")
            archive.writestr("model_data/weights/echo_prime_encoder.pt", inside.getvalue())

    return Author(
        network, prepare, lambda network, x: {"embedding": network(x)},
        libraries=("torchvision", "opencv-python-headless", "av", "torch"), store=store, instead=videos.write,
    )  # fmt: skip


# ---------------------------------------------------------------- PanEcho

# content/tasks.md: the questions with classes in the order of the network's heads; the names of classes that it writes with |
TASKS = {
    "pericardial-effusion": ("mild_mod_severe",),
    "LVSize": ("Mildly Increased", "Moderately|Severely Increased", "Normal"),
    "LVWallThickness-increased-any": ("Increased",),
    "LVWallThickness-increased-modsev": ("Moderately|severely increased",),
    "LVSystolicFunction": ("Mildly Decreased", "Moderately|Severely Decreased", "Normal|Hyperdynamic"),
    "LVWallMotionAbnormalities": ("Present",),
    "LVDiastolicFunction": ("Mild|Indeterminate", "Moderate|Severe", "Normal"),
    "RVSize": ("Mildly Increased", "Moderately|Severely Increased", "Normal"),
    "RVSystolicFunction": ("Decreased",),
    "LASize": ("Mildly Dilated", "Moderately|Severely Dilated", "Normal"),
    "RASize": ("Dilated",),
    "AVStructure": ("Bicuspid",),
    "AVStenosis": ("Mild|Moderate", "None", "Severe"),
    "AVRegurg": ("Mild", "Moderate|Severe", "None|Trace"),
    "LVOT20mmHg": ("Present",),
    "MVStenosis": ("Mild|Moderate|Severe",),
    "MVRegurgitation": ("Mild", "Moderate|Severe", "None|Trace"),
    "TVRegurgitation": ("Mild", "Moderate|Severe", "None|Trace"),
    "RAP-8-or-higher": ("Present",),
}


def panecho() -> Author:
    """Return how PanEcho's hubconf builds it and its data loader reads clips, the first of those that it draws from."""

    @cache
    def places() -> Tensor:
        found: Tensor = importlib.import_module("src.models").PositionalEncoding(768, max_len=16).pe
        return found.detach().clone()

    def network() -> nn.Module:
        folder = checkout("hubconf.py")
        tasks = pd.read_pickle(folder / "content" / "tasks.pkl")
        hub = importlib.import_module("hubconf")
        plain = torchvision.models.convnext_tiny
        with (
            mock.patch.object(hub.pd, "read_pickle", return_value=tasks),
            mock.patch.object(torchvision.models, "convnext_tiny", side_effect=lambda *_, **__: plain()),
        ):
            built: nn.Module = hub.PanEcho(pretrained=False)
        return built

    @cache
    def loader() -> Any:
        sys.path.insert(0, str(checkout("hubconf.py") / "src"))
        stand_in("sklearn", "sklearn.metrics", "seaborn")
        dataset = importlib.import_module("src.dataset")
        return dataset.EchoDataset("", pd.DataFrame(), [], "test", num_clips=1, normalization="imagenet")

    def prepare(file: Path) -> Tensor:
        with mock.patch.object(np.random, "randint", return_value=np.zeros(1, dtype=int)):
            clip = loader()._load_clip(str(file))
        clip = loader().transform(clip)
        return torch.permute(clip, (1, 0, 2, 3)).as_subclass(Tensor)[None].float()

    def outputs(network: Any, x: Tensor) -> dict[str, Tensor]:
        network.encoder.time_encoder.pe.copy_(places())  # fixed: hubconf does not load it either
        found = network(x)
        return {
            "embedding": network.forward_features(x),
            "scores": torch.cat([found[name] for name in TASKS], dim=1),
        }

    return Author(
        network, prepare, outputs,
        libraries=("torchvision", "opencv-python-headless", "torch"),
        store=lambda state, path: torch.save({"weights": state}, path),
        labels=tuple(f"{group}: {label}" for group, labels in TASKS.items() for label in labels),
        instead=videos.write,
    )  # fmt: skip


# ---------------------------------------------------------------- Endo-FM


def endo_fm() -> Author:
    """Return how Endo-FM's `eval_finetune.py` reads clips (its class UCF101 in mode val) and builds the encoder."""

    @cache
    def part(name: str) -> Any:
        stand_in("kornia", "fvcore", "fvcore.common", "fvcore.common.file_io")
        return importlib.import_module(name)

    def network() -> nn.Module:
        cfg = SimpleNamespace(
            DATA=SimpleNamespace(TRAIN_CROP_SIZE=224, NUM_FRAMES=8),
            MODEL=SimpleNamespace(NUM_CLASSES=400),
            TIMESFORMER=SimpleNamespace(ATTENTION_TYPE="divided_space_time", PRETRAINED_MODEL=""),
        )
        built: nn.Module = part("models.timesformer").get_vit_base_patch16_224(cfg, no_head=True)
        return built

    def prepare(file: Path) -> Tensor:
        frames = part("datasets.decoder").decode(
            container=part("datasets.video_container").get_video_container(str(file), False, "pyav"),
            sampling_rate=32,
            num_frames=8,
            clip_idx=0,
            num_clips=1,
            video_meta={},
            target_fps=30,
            backend="pyav",
            max_spatial_scale=256,
        )
        frames = part("datasets.data_utils").tensor_normalize(frames, [0.45] * 3, [0.225] * 3).permute(3, 0, 1, 2)
        clip: Tensor = part("datasets.data_utils").spatial_sampling(
            frames, spatial_idx=1, min_scale=256, max_scale=256, crop_size=224
        )
        return clip[None]

    def store(state: dict[str, Tensor], path: Path) -> None:
        wrapped = {f"backbone.{key}": tensor for key, tensor in state.items()}
        torch.save({"teacher": wrapped | {"head.mlp.0.weight": torch.ones(2, 2)}, "epoch": 30}, path)

    return Author(
        network, prepare, lambda network, x: {"embedding": network(x)}, libraries=("av", "torch"), store=store,
        instead=videos.write,
    )  # fmt: skip


AUTHORS: dict[str, Author] = {"echoprime": echoprime(), "panecho": panecho(), "endo-fm": endo_fm()}

REPOSITORIES = {
    "echoprime": "https://github.com/echonet/EchoPrime",
    "panecho": "https://github.com/CarDS-Yale/PanEcho",
    "endo-fm": "https://github.com/med-air/Endo-FM",
}
