"""How fast the sliding window is beside MONAI's, at equal settings and on the same network.

    python scripts/bench_sliding.py [--runs 5] [--size 256 256 128]

Both label a volume with a U-Net of 14 classes (windows of 96 voxels a side, overlap 0.5, Gaussian). The two take turns in one
process, so that other work on the machine slows both alike; peak memory is measured in processes of their own.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import torch

from medfm.catalog.contracts import SegmentationOutput, SlidingWindow
from medfm.runtime import restoring, sliding

CLASSES = 14
WINDOW = SlidingWindow(size=(96, 96, 96), overlap=0.5, blend="gaussian")
OUTPUT = SegmentationOutput(
    labels={i: f"label {i}" for i in range(1, CLASSES)},
    decision="argmax",
    window=WINDOW,
    restored="labels",
    interpolation="nearest",
)


def network() -> torch.nn.Module:
    """Return the U-Net with fixed weights."""
    from monai.networks.nets import UNet

    torch.manual_seed(0)
    return UNet(3, 1, CLASSES, (16, 32, 64, 128), (2, 2, 2), num_res_units=1, norm="instance").eval()


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


def ours(net: torch.nn.Module, x: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Label the volume as `Runner.segment` does."""
    labels = torch.zeros(x.shape[2:], dtype=torch.uint8)

    def predict(window: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = net(window.to(dtype, memory_format=torch.channels_last_3d)).float()
        return found

    with torch.inference_mode():
        for start, block in sliding.slide(predict, x, WINDOW):
            labels[start : start + block.shape[1]] = torch.from_numpy(
                restoring.decide(block, OUTPUT)[0].astype("uint8")
            )
    return labels


def last(net: torch.nn.Module) -> Any:
    """Return the network with channels last, as families build it."""
    return net.to(memory_format=torch.channels_last_3d)


def peak(which: str, size: tuple[int, ...]) -> None:
    """Print how much memory labeling takes on top of network and volume, in MB."""
    net, x = network(), volume(size)
    small = x[..., :96, :96, :96]
    run: Any = monai if which == "monai" else ours
    if which != "monai":
        net = last(net)
    run(net, small)  # what libraries keep for themselves counts for both
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(net, x)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


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
    plain, net, half = network(), last(network()), last(network().to(torch.bfloat16))
    has_bf16 = "avx512_bf16" in cpu_flags()
    times: dict[str, list[float]] = {"monai": [], "ours": [], "ours, bf16": []}
    labels: dict[str, torch.Tensor] = {}
    for _ in range(arguments.runs):
        jobs: dict[str, Any] = {"monai": lambda: monai(plain, x), "ours": lambda: ours(net, x)}
        if has_bf16:
            jobs["ours, bf16"] = lambda: ours(half, x, torch.bfloat16)
        for name, job in jobs.items():
            start = time.perf_counter()
            labels[name] = job()
            times[name].append(time.perf_counter() - start)
    base = statistics.median(times["monai"])
    for name, seconds in times.items():
        if seconds:
            equal = float((labels[name] == labels["monai"]).float().mean())
            print(
                f"{name:12} {statistics.median(seconds):7.2f} s  {base / statistics.median(seconds):5.2f} x  labels equal {equal:.7f}"
            )
    memory = {}
    for which in ("monai", "ours"):
        done = subprocess.run(
            [sys.executable, __file__, "--peak", which, "--size", *map(str, size)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        memory[which] = float(done.stdout)
    print(
        f"extra memory {memory['monai']:.0f} MB, ours {memory['ours']:.0f} MB: {memory['ours'] / memory['monai']:.2f}"
    )


def cpu_flags() -> str:
    """Return what the processor can do, as far as Linux says."""
    try:
        with open("/proc/cpuinfo") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return ""


if __name__ == "__main__":
    main()
