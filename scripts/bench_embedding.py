"""Time embedding 64 picture files, from the file to the vector: the loop that users write, and medfm.

    python scripts/bench_embedding.py [--runs 5] [--pictures 64]

The network is a ViT-B/16 on filled weights with UNI's contract (resize, crop, normalize), two threads. The ways take turns,
run by run, so that a machine that slows down slows them all; medians and ratios to the loop are printed. bfloat16 is left out
where the processor does not compute in it, OpenVINO where it is not installed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from medfm.catalog.records import Model
from medfm.errors import MedfmError
from medfm.runtime import parity
from medfm.runtime.families import timm_vision
from medfm.runtime.loading import find, load


def record() -> Model:
    """Return UNI's record with a ViT-B/16 whose weights need not be the authors'."""
    uni = find("uni")
    assert uni.weights is not None
    assert uni.output is not None
    assert uni.output.embedding is not None
    origin = uni.weights.origin.model_copy(
        update={"files": {r: f.model_copy(update={"sha256": None}) for r, f in uni.weights.origin.files.items()}}
    )
    weights = uni.weights.model_copy(update={"architecture": "vit_base_patch16_224", "origin": origin})
    output = uni.output.model_copy(update={"embedding": uni.output.embedding.model_copy(update={"dimension": 768})})
    return uni.model_copy(update={"weights": weights, "output": output})


def pictures(folder: Path, count: int) -> list[Path]:
    """Write JPEG files of 512 x 512 pixels."""
    paths = []
    for i in range(count):
        rough = np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        paths.append(folder / f"{i:03d}.jpg")
        Image.fromarray(rough).resize((512, 512), Image.Resampling.BICUBIC).save(paths[-1], quality=90)
    return paths


def users_loop(network: torch.nn.Module, paths: list[Path]) -> np.ndarray:
    """Embed one picture after the other, as model cards show it."""
    steps = [transforms.Resize(224), transforms.CenterCrop(224), transforms.ToTensor()]
    transform = transforms.Compose([*steps, transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
    with torch.inference_mode():
        found = [network(transform(Image.open(path).convert("RGB"))[None]) for path in paths]
    return torch.cat(found).numpy()


def main() -> None:
    """Print medians, ratios and the smallest cosine to the loop's vectors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=64)
    given = parser.parse_args()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        paths = pictures(Path(folder), given.pictures)
        described = record()
        network = timm_vision.create(described.weights).eval()  # type: ignore[arg-type]
        network.load_state_dict(parity.state({k: v.shape for k, v in network.state_dict().items()}))
        file = Path(folder) / "weights.safetensors"
        from safetensors.torch import save_file

        save_file(network.state_dict(), file)
        ways: dict[str, Callable[[], np.ndarray]] = {"loop of a user": lambda: users_loop(network, paths)}
        for name, options in (
            ("medfm float32", {}),
            ("medfm bfloat16", {"dtype": "bfloat16"}),
            ("medfm OpenVINO", {"backend": "openvino"}),
            ("medfm OpenVINO bfloat16", {"backend": "openvino", "dtype": "bfloat16"}),
        ):
            try:
                runner = load(described, weights={"weights": file}, progress=False, **options)  # type: ignore[arg-type]
            except MedfmError as error:
                print(f"{name}: left out ({error})")
                continue
            ways[name] = lambda runner=runner: runner.embed(paths).vectors  # type: ignore[misc]
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        vectors = {name: way() for name, way in ways.items()}  # warms up, too
        for _ in range(given.runs):
            for name, way in ways.items():
                began = time.perf_counter()
                way()
                seconds[name].append(time.perf_counter() - began)
    slow = "loop of a user"
    for name in ways:
        a, b = vectors[slow], vectors[name]
        cosine = ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min()
        ratio = statistics.median(s / f for s, f in zip(seconds[slow], seconds[name], strict=True))
        print(f"{name:<24} {statistics.median(seconds[name]) / len(paths) * 1000:7.1f} ms a picture   {ratio:5.2f} x   "
              f"1 - cosine {1 - cosine:.1e}")  # fmt: skip


if __name__ == "__main__":
    main()
