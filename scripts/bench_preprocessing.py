"""Time what contracts do to pictures against the authors' transforms: from the file to the tensor, one thread.

    python scripts/bench_preprocessing.py [--runs 5] [--pictures 48]

Both ways open the same JPEG files; they take turns, and medians and ratios are printed (above 1: medfm is faster).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from medfm.catalog.contracts import Step
from medfm.runtime import contract as engine
from medfm.runtime.loading import find

BICUBIC = transforms.InterpolationMode.BICUBIC
IMAGENET = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
BIOPTIMUS = transforms.Normalize((0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517))

# What the models' cards and READMEs show.
AUTHORS: dict[str, list[Any]] = {
    "uni": [transforms.Resize(224), transforms.CenterCrop(224), transforms.ToTensor(), IMAGENET],
    "prov-gigapath-tile": [
        transforms.Resize(256, BICUBIC), transforms.CenterCrop(224), transforms.ToTensor(), IMAGENET,
    ],
    "h-optimus-0": [transforms.ToTensor(), BIOPTIMUS],
}  # fmt: skip


def pictures(folder: Path, count: int, side: int) -> list[Path]:
    """Write JPEG files."""
    paths = []
    for i in range(count):
        rough = np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        paths.append(folder / f"{side}-{i:03d}.jpg")
        Image.fromarray(rough).resize((side, side), Image.Resampling.BICUBIC).save(paths[-1], quality=90)
    return paths


def ours(steps: tuple[Step, ...], paths: list[Path], options: engine.Options) -> torch.Tensor:
    """Return what the contract makes of the files."""
    items = [item for path in paths for item in engine.read(steps, path, options)]
    return engine.prepare(steps, items, engine.Context(options)).batch["image"]


def theirs(transform: Callable[[Any], torch.Tensor], paths: list[Path]) -> torch.Tensor:
    """Return what the authors' transform makes of the files."""
    return torch.stack([transform(Image.open(path).convert("RGB")) for path in paths])


def main() -> None:
    """Print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=48)
    given = parser.parse_args()
    torch.set_num_threads(1)
    options = engine.Options(um_per_px=0.5)
    with tempfile.TemporaryDirectory() as folder:
        for id, steps in AUTHORS.items():
            paths = pictures(Path(folder), given.pictures, 224 if id == "h-optimus-0" else 512)
            transform, contract = transforms.Compose(steps), find(id).input
            assert torch.allclose(ours(contract, paths, options), theirs(transform, paths), atol=2e-6)
            ways = (partial(ours, contract, paths, options), partial(theirs, transform, paths))
            seconds: tuple[list[float], list[float]] = ([], [])
            for _ in range(given.runs):
                for times, way in zip(seconds, ways, strict=True):
                    began = time.perf_counter()
                    way()
                    times.append(time.perf_counter() - began)
            ratio = statistics.median(b / a for a, b in zip(*seconds, strict=True))
            medians = [statistics.median(times) / len(paths) * 1000 for times in seconds]
            print(f"{id:<20} medfm {medians[0]:6.2f} ms, authors {medians[1]:6.2f} ms a picture   {ratio:5.2f} x")


if __name__ == "__main__":
    main()
