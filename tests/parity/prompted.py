"""Comparing promptable models: the same boxes, points and earlier answers, from the file to the masks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from medfm.catalog.records import Model
from medfm.runtime.prompted_volumes import VolumeSession
from medfm.runtime.prompted_volumes import surface as volume_surface
from medfm.runtime.prompting import Session, answers, surface
from medfm.runtime.runner import Runner
from medfm.runtime.targets import targets
from tests.parity.harness import Case

Call = dict[str, Any]


def calls(kinds: Sequence[str], size: tuple[int, int]) -> list[Call]:
    """Return what is asked of a picture (height, width): arguments of `segment`; `again` gives the logits of the call before.

    Whole numbers, since some authors' scripts read nothing else; places at which rounding and scaling show.
    """
    height, width = size

    def at(x: float, y: float) -> list[int]:
        return [round(x * width), round(y * height)]

    first, second = [*at(0.13, 0.21), *at(0.62, 0.71)], [*at(0.37, 0.08), *at(0.91, 0.55)]
    found: list[Call] = []
    if "box" in kinds:
        found.append({"boxes": [first, second]})
    if "point" in kinds:
        found.append({"points": [[*at(0.41, 0.37), 1]]})
        found.append({"points": [[*at(0.71, 0.23), 1], [*at(0.29, 0.83), 0], [*at(0.55, 0.61), 1]]})
    if "box" in kinds and "point" in kinds:
        found.append({"boxes": [second], "points": [[*at(0.67, 0.31), 0]]})
    if "mask" in kinds:
        found.append({"boxes": [second], "again": True} if "box" in kinds else {**found[-1], "again": True})
    return found


class Read(dict[str, Tensor]):
    """A prepared picture that remembers its size (height, width)."""

    def __init__(self, image: Tensor, size: tuple[int, int]) -> None:
        super().__init__(image=image)
        self.size = size


def pixels(file: Path) -> np.ndarray[Any, Any]:
    """Return (height, width, 3) uint8; gray pictures are repeated."""
    array = np.asarray(Image.open(file))
    return np.repeat(array[:, :, None], 3, axis=-1) if array.ndim == 2 else array


def compared(surfaces: Sequence[Tensor], masks: Sequence[Tensor], overlaps: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return an author's outputs: of each answer what is compared with the threshold, the mask, the expected overlap."""
    areas = [mask.float().mean((1, 2)) for mask in masks]
    return {"surface": torch.cat(list(surfaces)), "areas": torch.cat(areas), "overlaps": torch.cat(list(overlaps))}


def sampled(outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return outputs that are small enough to be recorded."""
    found = {name: tensor for name, tensor in outputs.items() if name != "surface"}
    return found | {"surface points": outputs["surface"][..., ::13, ::17].contiguous()}


def picture(name: str, width: int, height: int) -> Any:
    """Return a function that writes one picture more, for rounding that the others do not show."""

    def write(folder: Path) -> list[Path]:
        y, x = np.mgrid[0:height, 0:width]
        waves = [127 + 60 * np.sin(x / (9 + c)) + 50 * np.cos(y / (13 - c)) for c in range(3)]
        Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8)).save(folder / name)
        return [folder / name]

    return write


class Remembered:
    """A network of ours that looks at each picture once."""

    def __init__(self, network: Any, seen: dict[Path, Tensor], file: Path) -> None:
        self._network, self._seen, self._file = network, seen, file

    def look(self, batch: Mapping[str, Tensor]) -> Any:
        if self._file not in self._seen:
            self._seen[self._file] = self._network.look(batch)
        return self._seen[self._file]

    def outline(self, seen: Any, prompts: Any) -> tuple[Tensor, Tensor]:
        logits, overlaps = self._network.outline(seen, prompts)
        return logits, overlaps


def outlined(case: Case, record: Model, file: Path, what: str) -> Tensor:
    """Return one kind of output of all calls after each other.

    Args:
        case: the model.
        record: with the contract that is followed.
        file: the picture.
        what: "surface" (what is compared with the threshold, on the file's pixels), "surface points" (some of it), "areas"
            (share of the picture inside each mask) or "overlaps" (that the network expects).
    """
    assert record.output is not None
    described = record.output.prompts
    assert described is not None
    network = Remembered(case.runner.network, case.hidden, file)
    runner = Runner(record, network, case.runner.files, device="cpu", dtype="float32", progress=False)
    session = runner.open(file, **case.author.options)
    assert isinstance(session, Session)
    found: list[Tensor] = []
    before = None
    for call in calls(case.record.output.prompts.prompts, session.size):  # type: ignore[union-attr]
        again = {"masks": before} if call.pop("again", False) else {}
        result = session.segment(**call, **again)
        before = result.logits[-1:]
        if what.startswith("surface"):
            whole = surface(torch.from_numpy(result.logits), session.where, described)
            found.append(whole if what == "surface" else whole[..., ::13, ::17])
        elif what == "areas":
            found.append(torch.from_numpy(result.masks).float().mean((1, 2)))
        else:
            found.append(torch.from_numpy(result.scores))
    return torch.cat(found)


# ---------------------------------------------------------------- volumes


def volumes(folder: Path) -> list[Path]:
    """Write volumes that differ in all that matters: order and direction of axes, tilt, spacing, whole numbers, size."""
    import nibabel

    paths = []
    for name, shape, spacing, axes, angle, whole in (
        # Where values are cut to whole numbers, the last digit of a position decides: these spacings have an end in base 2, and
        # no voxel of the file lies midway between two of the network, where rounding would decide.
        ("whole.nii.gz", (60, 70, 42), (1.25, 0.75, 2.25), "LSA", 0.0, True),
        ("large.nii.gz", (112, 99, 70), (2.1, 2.3, 3.1), "RAS", 0.0, False),
        ("oblique.nii.gz", (58, 44, 73), (1.1, 2.9, 0.9), "PIR", 0.2, False),
    ):
        grids = np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, spacing, strict=True)), indexing="ij")
        waves = sum(np.sin(g / (7.0 + 3 * i) + i) for i, g in enumerate(grids))
        data = 180 * waves + 25 * np.cos(grids[0] * grids[1] / 90) + 40
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        ornt = nibabel.orientations.axcodes2ornt(tuple(axes))
        matrix = np.zeros((3, 3))
        for axis, (to, flip) in enumerate(ornt):
            matrix[int(to), axis] = flip
        affine = np.eye(4)
        affine[:3, :3] = turn @ matrix @ np.diag(spacing)
        affine[:3, 3] = (-31.5, 12.25, 40.0)
        image = nibabel.Nifti1Image(data.astype(np.int16 if whole else np.float32), affine)
        nibabel.save(image, folder / name)
        paths.append(folder / name)
    return paths


def clicks(extent: Sequence[int]) -> list[Call]:
    """Return what is asked of a volume (x, y, z voxels): arguments of `segment`."""

    def at(x: float, y: float, z: float) -> list[int]:
        return [round(place * size) for place, size in zip((x, y, z), extent, strict=True)]

    return [
        {"points": [[*at(0.42, 0.37, 0.55), 1], [*at(0.61, 0.28, 0.41), 0], [*at(0.33, 0.52, 0.62), 1]]},
        {"points": [[*at(0.58, 0.61, 0.47), 1]]},
    ]


def first_clicks(volume: Any) -> np.ndarray[Any, Any]:
    """Return the places in mm of what is asked first of a volume that we have read."""
    points = np.array(clicks(volume.data.shape)[0]["points"])[:, :3]
    return np.asarray(points @ volume.affine[:3, :3].T + volume.affine[:3, 3])


def middle(mask: Tensor) -> Tensor:
    """Return where the middle of a mask lies, as a share of the grid along each axis."""
    inside = mask.double()
    places = [
        (inside.sum([other for other in range(3) if other != axis]) * torch.arange(size)).sum() / inside.sum() / size
        for axis, size in enumerate(mask.shape)
    ]
    return torch.stack(places)


def in_volume(case: Case, record: Model, file: Path, what: str) -> Tensor:
    """Return one kind of output of all calls after each other.

    Args:
        case: the model.
        record: with the contract that is followed.
        file: the volume.
        what: "inside" (what is compared with the threshold, on the network's input), "shares" (of the file's voxels inside each
            mask), "middles" (of the masks) or "expected" (overlaps).
    """
    assert record.output is not None
    described = record.output.prompts
    assert described is not None
    seen: dict[bytes, Any] = case.remembered

    class Once:
        """Our network, which looks at each box once."""

        def look(self, batch: Mapping[str, Tensor]) -> Any:
            key = hashlib.blake2b(batch["image"].numpy().tobytes()).digest()
            if key not in seen:
                seen[key] = case.runner.network.look(batch)
            return seen[key]

        def outline(self, embedding: Any, prompts: Any) -> tuple[Tensor, Tensor]:
            logits, overlaps = case.runner.network.outline(embedding, prompts)
            return logits, overlaps

    runner = Runner(record, Once(), case.runner.files, device="cpu", dtype="float32", progress=False)
    session = runner.open(file)
    assert isinstance(session, VolumeSession)
    found = []
    for call in clicks(session.volume.data.shape):
        result = session.segment(**call)
        mask = torch.from_numpy(result.mask > 0)
        if what == "inside":
            (target,) = targets(None, call["points"], None, None, extent=mask.shape, described=described)
            look = session.look(target)
            logits, _ = answers(runner, look.seen, [target], look.where, described)
            found.append(volume_surface(logits[0], look.grid, described)[::3, ::5, ::2])
        elif what == "shares":
            found.append(mask.float().mean()[None])
        elif what == "middles":
            found.append(middle(mask))
        else:
            found.append(torch.from_numpy(result.scores))
    return torch.cat(found)
