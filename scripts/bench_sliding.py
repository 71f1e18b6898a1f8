"""How fast the sliding window is beside MONAI's, at equal settings and on the same network.

    python scripts/bench_sliding.py [--runs 5] [--size 256 256 128]

Both label a volume with a U-Net of nnU-Net's kind with 14 classes (windows of 96 voxels a side, overlap 0.5, Gaussian). They take
turns in one process, so that other work on the machine slows all alike; peak memory is measured in processes of their own.
"""

from __future__ import annotations

import argparse
import functools
import gc
import statistics
import subprocess
import sys
import time
from typing import Any

import torch

from medfm.catalog.contracts import SegmentationOutput, SlidingWindow
from medfm.runtime import restoring, sliding
from medfm.runtime.loading import computes_in_bfloat16
from medfm.runtime.volume_networks import Segments

CLASSES = 14
FILTERS = (16, 32, 64, 128)
WINDOW = SlidingWindow(size=(96, 96, 96), overlap=0.5, blend="gaussian")
OUTPUT = SegmentationOutput(
    labels={i: f"label {i}" for i in range(1, CLASSES)},
    decision="argmax",
    window=WINDOW,
    restored="labels",
    interpolation="nearest",
)


def network() -> torch.nn.Module:
    """Return a U-Net as nnU-Net builds them, with fixed weights."""
    from monai.networks.nets import DynUNet

    torch.manual_seed(0)
    steps = [2] * (len(FILTERS) - 1)
    return DynUNet(3, 1, CLASSES, [3] * len(FILTERS), [1, *steps], steps, filters=FILTERS).eval()


def volume(size: tuple[int, ...]) -> torch.Tensor:
    """Return a volume with structures of several sizes and air around them."""
    torch.manual_seed(1)
    x = torch.zeros(1, 1, *size)
    for grain in (4, 16):
        noise = torch.randn(1, 1, *(max(n // grain, 2) for n in size))
        x += torch.nn.functional.interpolate(noise, size, mode="trilinear")
    x[..., : size[-1] // 8] = 0
    return x


def monai(net: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Label the volume as MONAI's users do."""
    from monai.inferers import sliding_window_inference

    with torch.inference_mode():
        return sliding_window_inference(x, WINDOW.size, 1, net, overlap=WINDOW.overlap, mode="gaussian").argmax(1)[0]


def ours(segments: Segments, x: torch.Tensor) -> torch.Tensor:
    """Label the volume as `Runner.segment` does."""
    labels = torch.zeros(x.shape[2:], dtype=torch.uint8)
    for start, block in sliding.slide(lambda window: segments.segment({"image": window}), x, WINDOW):
        labels[start : start + block.shape[1]] = torch.from_numpy(restoring.decide(block, OUTPUT)[0].astype("uint8"))
    return labels


def segmenter(dtype: torch.dtype = torch.float32, backend: str = "torch") -> Segments:
    """Return the network as `medfm.load` gives it."""
    found = Segments(network().to(torch.float32 if backend == "openvino" else dtype))
    if backend == "openvino":
        from medfm.runtime.openvino import take_over

        take_over(found, "the benchmark's network", str(dtype).removeprefix("torch."))
    return found


def peak(which: str, size: tuple[int, ...]) -> None:
    """Print how much memory labeling takes on top of network and volume, in MB."""
    x = volume(size)
    run: Any = monai if which == "monai" else ours
    net: Any = network() if which == "monai" else segmenter()
    run(net, x[..., :96, :96, :96])  # what libraries keep for themselves counts for neither
    gc.collect()
    with open("/proc/self/clear_refs", "w") as file:  # noqa: PTH123
        file.write("5")  # the peak begins anew
    before = memory("VmRSS")
    run(net, x)
    print(memory("VmHWM") - before)


def memory(what: str) -> float:
    """Return memory of this process in MB, as Linux tells it."""
    with open("/proc/self/status") as file:  # noqa: PTH123
        line = next(line for line in file if line.startswith(what))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Print ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--size", type=int, nargs=3, default=(256, 256, 128))
    parser.add_argument("--peak", choices=("monai", "ours"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    size = tuple(arguments.size)
    if arguments.peak:
        peak(arguments.peak, size)
        return
    torch.set_num_threads(2)
    x = volume(size)
    plain = network()
    nets = {"ours": segmenter(), "ours, OpenVINO": segmenter(backend="openvino")}
    if computes_in_bfloat16():
        nets["ours, bf16"] = segmenter(torch.bfloat16)
        nets["ours, OpenVINO bf16"] = segmenter(torch.bfloat16, "openvino")
    times: dict[str, list[float]] = {"monai": [], **{name: [] for name in nets}}
    labels: dict[str, torch.Tensor] = {}
    jobs: dict[str, Any] = {"monai": lambda: monai(plain, x)}
    jobs |= {name: functools.partial(ours, net, x) for name, net in nets.items()}
    for _ in range(arguments.runs):
        for name, job in jobs.items():
            start = time.perf_counter()
            labels[name] = job()
            times[name].append(time.perf_counter() - start)
    base = statistics.median(times["monai"])
    for name, seconds in times.items():
        if seconds:
            equal = float((labels[name] == labels["monai"]).float().mean())
            median = statistics.median(seconds)
            print(f"{name:20} {median:7.2f} s  {base / median:5.2f} x  labels equal {equal:.7f}", flush=True)
    peaks = {}
    for which in ("monai", "ours"):
        done = subprocess.run(
            [sys.executable, __file__, "--peak", which, "--size", *map(str, size)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        peaks[which] = float(done.stdout)
    print(
        f"extra memory {memory['monai']:.0f} MB, ours {memory['ours']:.0f} MB: {memory['ours'] / memory['monai']:.2f}"
    )


if __name__ == "__main__":
    main()
