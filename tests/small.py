"""A small image encoder on filled weights, for tests of what does not depend on the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from medfm.catalog.records import Model
from medfm.runtime import parity
from medfm.runtime.families import timm_vision
from medfm.runtime.loading import find, load
from medfm.runtime.runner import Runner
from tests.parity import harness


def record() -> Model:
    """UNI's contract with a network of 5.5 million weights."""
    uni = harness.local(find("uni"))
    assert uni.weights is not None
    assert uni.output is not None
    assert uni.output.embedding is not None
    weights = uni.weights.model_copy(update={"architecture": "vit_tiny_patch16_224"})
    output = uni.output.model_copy(update={"embedding": uni.output.embedding.model_copy(update={"dimension": 192})})
    return uni.model_copy(update={"weights": weights, "output": output})


def weights(folder: Path) -> Path:
    """Write filled weights."""
    from safetensors.torch import save_file

    network = timm_vision.create(record().weights)  # type: ignore[arg-type]
    path = folder / "tiny.safetensors"
    save_file(parity.state({key: tensor.shape for key, tensor in network.state_dict().items()}), path)
    return path


def runner(path: Path) -> Runner:
    """Load the encoder from its weights."""
    return load(record(), weights={"weights": path}, progress=False)


def pictures(folder: Path, count: int) -> list[Path]:
    """Write pictures into nested folders."""
    paths = []
    for i in range(count):
        path = folder / f"case{i % 7}" / f"tile{i:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(path)
        paths.append(path)
    return paths
