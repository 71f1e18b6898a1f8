"""Prompts in volumes: boxes that are cut around clicks, and masks that return to the file's grid, on a small network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from nibabel import orientations

from medfm.catalog.contracts import CropAround
from medfm.catalog.records import Model
from medfm.catalog.weights import Sam as Description
from medfm.catalog.weights import SamVit
from medfm.errors import InputError, UsageError
from medfm.runtime import parity
from medfm.runtime.explaining import explain
from medfm.runtime.families import sam
from medfm.runtime.loading import find, load
from medfm.runtime.masks import PromptedSegmentation
from medfm.runtime.runner import Runner
from tests.parity import harness

POINT = [13, 22, 9]


def small() -> Model:
    """SAM-Med3D's contract with a network of two blocks on 64 voxels a side."""
    record = harness.local(find("sam-med3d-turbo"))
    assert record.weights is not None
    weights = Description(
        origin=record.weights.origin,
        keys=record.weights.keys,  # type: ignore[union-attr]
        dimensions=3,
        side=64,
        channels=1,
        width=48,
        encoder=SamVit(width=32, depth=2, heads=2, everywhere=(1,), window=3),
    )
    steps = [CropAround(size=(64, 64, 64)) if isinstance(step, CropAround) else step for step in record.input]
    return record.model_copy(update={"weights": weights, "input": tuple(steps)})


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    record = small()
    network = sam.create(record.weights)  # type: ignore[arg-type]
    path = tmp_path_factory.mktemp("weights") / "small.pth"
    state = parity.state({key: tensor.shape for key, tensor in network.state_dict().items()})
    torch.save({"model_state_dict": state}, path)
    return load(record, weights={"weights": path}, progress=False)


@pytest.fixture(scope="module")
def image() -> nibabel.Nifti1Image:
    grids = np.meshgrid(np.arange(41) * 1.29, np.arange(53) * 1.13, np.arange(28) * 2.37, indexing="ij")
    data = 60 * sum(np.sin(g / (5.0 + 2 * i)) for i, g in enumerate(grids)) + 30
    affine = np.diag([1.29, 1.13, 2.37, 1.0])  # no voxel of the file lies midway between two of the network
    affine[:3, 3] = (-20, 15, 7)
    return nibabel.Nifti1Image(data.astype(np.float32), affine)


def segment(runner: Runner, image: Any, **prompts: Any) -> PromptedSegmentation:
    result = runner.segment(image, **prompts)
    assert isinstance(result, PromptedSegmentation)
    return result


def test_every_object_has_a_value_on_the_files_own_grid(
    runner: Runner, image: nibabel.Nifti1Image, tmp_path: Path
) -> None:
    result = segment(runner, image, points=[[POINT], [[30, 11, 14], [20, 40, 20]]], labels=[[1], [1, 0]])
    assert result.mask.shape == image.shape
    assert result.labels == {1: "object 1", 2: "object 2"}
    assert result.scores.shape == (2,)
    assert result.layers is not None
    assert np.array_equal(result.layer("object 2"), result.mask == 2)
    assert result.prompts[1]["points"] == [[30.0, 11.0, 14.0, 1], [20.0, 40.0, 20.0, 0]]
    stored = nibabel.load(result.save(tmp_path / "objects.nii.gz"))
    assert np.array_equal(np.asarray(stored.dataobj), result.mask)
    assert np.allclose(stored.affine, image.affine)


def test_however_the_axes_are_stored_the_same_place_gives_the_same_mask(
    runner: Runner, image: nibabel.Nifti1Image
) -> None:
    expected = segment(runner, image, points=[POINT]).mask
    assert 0 < expected.mean() < 1
    for axes in ("RAS", "LPS", "SAL", "PIR", "ASL", "IRP"):
        turn = orientations.ornt_transform(
            orientations.axcodes2ornt(("R", "A", "S")), orientations.axcodes2ornt(tuple(axes))
        )
        turned = image.as_reoriented(turn)
        world = image.affine @ [*POINT, 1]
        point = np.linalg.solve(turned.affine, world)[:3]
        found = segment(runner, turned, points=[point]).mask
        assert (orientations.apply_orientation(expected, turn) != found).mean() < 1e-3, axes


def test_the_same_box_is_looked_at_once(
    runner: Runner, image: nibabel.Nifti1Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    look = runner.network.look
    monkeypatch.setattr(runner.network, "look", lambda batch: seen.append(1) or look(batch))
    session = runner.open(image)
    session.segment(points=[POINT])
    session.segment(points=[POINT], labels=[0])
    assert len(seen) == 1
    session.segment(points=[[30, 11, 14]])
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("prompts", "error", "sentence"),
    [
        ({}, UsageError, "nothing points at an object: this model takes points"),
        ({"boxes": [[1, 1, 1, 9, 9, 9]]}, UsageError, "was not trained on box prompts"),
        ({"points": [[3, 4]]}, UsageError, "a point is x, y, z or x, y, z, label"),
        ({"points": [[3, 4, 60]]}, InputError, "outside the volume, which has 41 x 53 x 28 voxels along x, y and z"),
    ],
)
def test_prompts_that_have_no_meaning_are_refused(
    prompts: dict[str, Any], error: type[Exception], sentence: str, runner: Runner, image: nibabel.Nifti1Image
) -> None:
    with pytest.raises(error, match=sentence):
        runner.segment(image, **prompts)


def test_explaining_cuts_the_box_in_the_middle(runner: Runner, image: nibabel.Nifti1Image, tmp_path: Path) -> None:
    nibabel.save(image, tmp_path / "t1.nii.gz")
    lines = explain(runner, tmp_path / "t1.nii.gz")
    assert [line["step"] for line in lines] == [step.step for step in runner.record.input]
    assert "64 x 64 x 64" in lines[-1]["shape"]
