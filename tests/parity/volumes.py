"""Volumes on which our way from a file to a mask is compared with the authors', and the comparison itself.

The whole network is compared on one part of a prepared volume. Windows, blending, decisions and the way back are compared with a
stand-in in the network's place, a function that both sides call: it depends on the intensities, on the place in the window and on
the direction of every axis, so that no error there can hide.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from torch import Tensor, nn

from medfm.catalog.contracts import Output, digest
from medfm.catalog.records import Model
from medfm.runtime.parity import values
from medfm.runtime.pooling import pool
from tests.parity import harness
from tests.parity.harness import Case

# Name -> voxels, millimeters, directions of the axes, rotation about three axes. The first is the one whose mask is compared: so
# long along one axis that windows of 96 and of 128 voxels of 1.5 mm come to lie elsewhere as soon as their overlap changes.
VOLUMES: dict[str, tuple[tuple[int, int, int], tuple[float, float, float], str, tuple[float, float, float]]] = {
    "large.nii.gz": ((219, 26, 66), (1.8, 5.4, 1.7), "SPL", (0, 0, 0)),
    "thick.nii.gz": ((60, 53, 22), (1.1, 0.9, 4.6), "LAS", (0, 0, 0)),
    "cube.nii.gz": ((36, 31, 33), (1.5, 1.5, 1.5), "LPS", (0, 0, 0)),
    "oblique.nii.gz": ((44, 38, 40), (2.1, 1.9, 1.3), "RPI", (0.2, -0.1, 0.15)),
}

MASKED = "large.nii.gz"


def write(folder: Path, kind: str = "ct") -> list[Path]:
    """Write the volumes: a body with organs and fine noise, with air around it (CT), or a head with nothing around it (MRI)."""
    return [_write(folder / name, *how, kind) for name, how in VOLUMES.items()]


def write_small(folder: Path) -> list[Path]:
    """Write volumes for networks that see the whole of them at once."""
    small = {"wide.nii.gz": ((31, 47, 23), (2.4, 1.2, 4.1), "ASL", (0, 0, 0))} | dict(list(VOLUMES.items())[1:])
    return [_write(folder / name, *how, "ct") for name, how in small.items()]


def write_mri(folder: Path) -> list[Path]:
    """Write volumes of a head without skull, as MRI."""
    return write(folder, "mri")


def _write(
    path: Path,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    axes: str,
    angles: tuple[float, float, float],
    kind: str,
) -> Path:
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).astype(float)
    middle = (np.array(shape) - 1) / 2
    x, y, z = np.moveaxis((index - middle) * spacing, -1, 0)
    size = np.array(shape) * spacing / 2
    body = (x / size[0]) ** 2 + (y / size[1]) ** 2 + (z / size[2]) ** 2 < 0.8
    waves = 170 * np.sin(x / 11 + 1) + 140 * np.cos(y / 9) + 120 * np.sin(z / 13 + y / 23) + 40
    noise = values(path.name, shape).numpy() * np.sqrt(np.prod(shape[1:]) / 3) * 60
    if kind == "ct":
        data = np.where(body, waves + noise, -1000 + noise / 9)
        data[: shape[0] // 12] = -1024  # nothing was measured there
        data = np.clip(np.round(data), -1024, 3000)
        inner = tuple(slice(n // 3, n // 2) for n in shape)
        data[inner] = 0  # a cyst, and what is 0 is no background
        if shape[0] > 100:
            data[-6:] = 0  # filled up by a program that takes 0 for nothing
    else:
        data = np.where(body, np.round(np.abs(waves + noise) + 20), 0)
    matrix = _axes(axes) @ np.diag(spacing)
    affine = nibabel.affines.from_matvec(nibabel.eulerangles.euler2mat(*angles) @ matrix, [11, -7, 5])
    nibabel.save(nibabel.Nifti1Image(data.astype(np.int16), affine), path)
    return path


def _axes(letters: str) -> np.ndarray:
    matrix = np.zeros((3, 3))
    for column, letter in enumerate(letters):
        row = next(i for i, pair in enumerate(("RL", "AP", "SI")) if letter in pair)
        matrix[row, column] = 1 if letter in "RAS" else -1
    return matrix


# ---------------------------------------------------------------- the stand-in


class StandIn(nn.Module):
    """(n, 1, x, y, z) to (n, channels, x, y, z): cheap, and different everywhere."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        ramps = [torch.linspace(-1, 1, n) * a for n, a in zip(x.shape[2:], (0.5, -0.8, 0.3), strict=True)]
        place = ramps[0][:, None, None] + ramps[1][:, None] + ramps[2]
        seen = x[:, 0].clamp(-4, 4)
        for axis in (1, 2, 3):  # a voxel's neighbors count, too
            seen = seen + 0.5 * seen.roll(9, axis)
        found = x.new_empty(len(x), self.channels, *x.shape[2:])
        for k in range(self.channels):
            torch.add(seen * (1.1 + 0.13 * k), place, alpha=1 + k % 3, out=found[:, k])
            found[:, k].add_(2.4 * k).sin_().mul_(2)
        return found

    def segment(self, batch: Mapping[str, Tensor]) -> Tensor:
        """As our runner calls its networks."""
        with torch.inference_mode():
            found: Tensor = self(batch["image"])
        return found


def part(x: Tensor, side: int) -> Tensor:
    """Return the middle of a prepared volume as plain tensor, padded with its lowest value to `side` where it is smaller."""
    x = torch.as_tensor(np.asarray(x))
    for axis in range(2, 5):
        missing = side - x.shape[axis]
        if missing > 0:
            pads = [0] * 6
            pads[2 * (4 - axis)], pads[2 * (4 - axis) + 1] = missing // 2, missing - missing // 2
            x = nn.functional.pad(x, pads, value=float(x.min()))
        start = (x.shape[axis] - side) // 2
        x = x.narrow(axis, start, side)
    return x.contiguous()


def logits(case: Case, record: Model, file: Path) -> Tensor:
    """Return what our network makes of the part that the authors' network was given; computed once."""
    key = f"logits {file.name}".encode()
    if key not in case.remembered:
        side = case.outputs[file]["logits"].shape[-1]
        x = harness.prepared(case, case.record, file)["image"]
        case.remembered[key] = case.runner.network.segment({"image": part(x, side)})
    return case.remembered[key]


def part_vectors(case: Case, record: Model, file: Path) -> Tensor:
    """Return the vector of the part that the authors' network was given."""
    assert record.output is not None
    assert record.output.embedding is not None
    key = f"vectors {file.name}".encode()
    if key not in case.remembered:
        side = case.outputs[file]["logits"].shape[-1]
        x = harness.prepared(case, case.record, file)["image"]
        case.remembered[key] = case.runner.network.encode({"image": part(x, side)})
    found = pool(case.remembered[key], None, record.output.embedding)
    assert found.shape[-1] == record.output.embedding.dimension, "the record's dimension is not the network's"
    return found


_KNOWN: dict[tuple[str, str], Any] = {}


def stood_in(case: Case, record: Model, file: Path) -> Any:
    """Return the segmentation of a file with the stand-in as network, as a record's contract says.

    Computed once for models that share a contract: their own networks have no part in it.
    """
    assert record.output is not None
    described = record.output.segmentation
    assert described is not None
    key = digest(record.input, Output(segmentation=described)), file.name
    if key not in _KNOWN:
        runner = copy.copy(case.runner)
        runner.network, runner.record = StandIn(channels(described)), record
        _KNOWN[key] = runner.segment(file, **case.author.options)
    return _KNOWN[key]


def channels(output: Any) -> int:
    """Return how many channels the stand-in has for an output: one a label where each is decided by itself, else a few."""
    return len(output.labels) if output.decision in ("each", "largest") else 3


def mask(case: Case, record: Model, file: Path) -> Tensor:
    """Return the mask of a file."""
    return torch.from_numpy(stood_in(case, record, file).mask.astype(np.int32))


def layers(case: Case, record: Model, file: Path) -> Tensor:
    """Return the masks of all labels, where they may overlap."""
    found = stood_in(case, record, file).layers
    assert found is not None, "the contract's labels do not overlap"
    return torch.from_numpy(found)


def percent(ours: Tensor, theirs: Tensor) -> float:
    """Return how many voxels in a hundred have another label."""
    assert ours.shape == theirs.shape, f"the masks have different shapes: {ours.shape} and {theirs.shape}"
    return 100 * float((ours != theirs).float().mean())


harness.OUTPUTS |= {"logits": logits, "part embedding": part_vectors, "mask": mask, "layers": layers}
harness.DIFFERENCES |= {"mask": percent, "layers": percent}


def monai(image: Tensor, data: Tensor) -> Any:
    """Return `data` as MONAI's transforms want to have it: with the history of the prepared image."""
    from monai.data.meta_tensor import MetaTensor

    source: Any = image
    return MetaTensor(data, meta=source.meta, applied_operations=source.applied_operations)
