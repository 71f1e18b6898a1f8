"""The grid of a volume on its way to the network and back, the sliding window, and decisions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel import orientations
from pydantic import ValidationError
from torch import Tensor

from medfm.catalog import contracts
from medfm.catalog.contracts import SegmentationOutput, SlidingWindow
from medfm.errors import InputError
from medfm.runtime import contract as engine
from medfm.runtime import grids, restoring, sliding

ALL_48 = [
    "".join(letters)
    for order in itertools.permutations([("R", "L"), ("A", "P"), ("S", "I")])
    for letters in itertools.product(*order)
]
CT = (
    contracts.ReadVolume(modality="ct"),
    contracts.Orient(axes="RAS"),
    contracts.Spacing(spacing=(1.5, 1.5, 1.5), rule="monai"),
    contracts.CropForeground(margin=2),
    contracts.Window(low=-100, high=400),
)
LABELS = SegmentationOutput(
    labels={1: "left", 2: "bright"}, decision="argmax", restored="labels", interpolation="nearest"
)
SMOOTH = SegmentationOutput(labels={1: "left", 2: "bright"}, decision="argmax", interpolation="linear")


@pytest.fixture(scope="module")
def image() -> nibabel.Nifti1Image:
    """Smooth and asymmetric, with thick slices and air around it; its sides are no multiples of the target's spacing."""
    x, y, z = np.meshgrid(np.arange(31), np.arange(37), np.arange(14), indexing="ij")
    body = ((x - 14) / 12) ** 2 + ((y - 17) / 15) ** 2 + ((z - 6) / 5) ** 2 < 1
    data = np.where(body, 150 + 120 * np.sin(x / 4) + 90 * np.cos(y / 5) + 60 * np.sin(z / 2), -1000)
    affine = nibabel.affines.from_matvec(np.diag([1.1, 0.9, 4.3]), [-10, -20, 5])
    return nibabel.Nifti1Image(data.astype(np.float32), affine)


def turned(image: nibabel.Nifti1Image, axes: str) -> nibabel.Nifti1Image:
    turn = orientations.ornt_transform(orientations.io_orientation(image.affine), orientations.axcodes2ornt(axes))
    return image.as_reoriented(turn)


def network(x: Tensor) -> Tensor:
    """Three channels that know left from right."""
    ramp = torch.linspace(-1, 1, x.shape[2])[:, None, None].expand(x.shape[2:])
    return torch.stack([torch.full(x.shape[2:], 0.35), -ramp * (x[0, 0] > 0.2), x[0, 0] - 0.2])[None]


def segmented(steps: Sequence[contracts.Step], source: object, output: SegmentationOutput) -> np.ndarray:
    items = engine.read(steps, source)
    prepared = engine.prepare(steps, items)
    (frame,) = prepared.frames
    assert frame is not None
    return restoring.restore(network(prepared.batch["image"])[0], frame, output)


@pytest.mark.parametrize("output", [LABELS, SMOOTH], ids=["labels", "probabilities"])
def test_a_volume_stored_in_any_of_the_48_orders_has_the_same_mask_in_world_space(
    output: SegmentationOutput, image: nibabel.Nifti1Image
) -> None:
    expected = segmented(CT, image, output)
    assert {0, 1, 2} == set(np.unique(expected))
    for axes in ALL_48:
        stored = turned(image, axes)
        mask = segmented(CT, stored, output)
        assert mask.shape == stored.shape
        back = turned(nibabel.Nifti1Image(mask, stored.affine), "".join(orientations.aff2axcodes(image.affine)))
        assert np.array_equal(back.get_fdata(), expected), axes


@settings(max_examples=25, deadline=None)
@given(
    st.permutations([0, 1, 2]),
    st.tuples(*[st.floats(0.6, 3)] * 3),
    st.integers(0, 3),
    st.sampled_from(["monai", "nnunet"]),
    st.sampled_from(ALL_48),
)
def test_whatever_the_steps_every_voxel_finds_its_place_again(
    order: list[int], spacing: tuple[float, float, float], margin: int, rule: str, axes: str
) -> None:
    x, y, z = np.meshgrid(np.arange(23), np.arange(19), np.arange(21), indexing="ij")
    data = ((x - 9) ** 2 + (y - 8) ** 2 + (z - 12) ** 2 < 36).astype(np.float32)
    image = nibabel.Nifti1Image(data, np.diag([1.0, 1.3, 1.1, 1.0]))
    steps: list[contracts.Step] = [
        contracts.ReadVolume(modality="ct"),
        contracts.Spacing(spacing=spacing, rule=rule),
        contracts.CropForeground(margin=margin),
        contracts.Orient(axes=axes),
        contracts.PadVolume(multiple=8),
    ]
    if order != [0, 1, 2]:
        steps.insert(3, contracts.Permute(order=tuple(order)))
    (item,) = engine.read(steps, image)
    prepared = engine.prepare(steps, [item])
    (frame,) = prepared.frames
    assert frame is not None
    assert frame.shape == tuple(prepared.batch["image"].shape[2:])
    output = SegmentationOutput(labels={1: "ball"}, channel=0, threshold=0.5, interpolation="linear")
    mask = restoring.restore(prepared.batch["image"][0], frame, output)
    wrong = (mask != data).sum()
    assert wrong < 0.35 * data.sum()  # the border of a ball of 900 voxels, at voxels of up to 3 mm
    middle = nibabel.affines.apply_affine(frame.affine, np.array(frame.shape) / 2 - 0.5)
    inside = nibabel.affines.apply_affine(np.linalg.inv(image.affine), middle)
    assert (np.abs(inside - np.array([9, 8, 12])) < 12).all()


@pytest.mark.parametrize("angles", [(0, 0, 0), (0.2, -0.1, 0.15)], ids=["straight", "oblique"])
@pytest.mark.parametrize("spacing", [(1.5, 1.5, 1.5), (3.0, 1.0, 1.0), (0.8, 2.7, 1.1)])
def test_spacing_is_monais(
    angles: tuple[float, float, float], spacing: tuple[float, float, float], image: nibabel.Nifti1Image, tmp_path: Path
) -> None:
    from monai.data import MetaTensor
    from monai.transforms import Spacing

    matrix = nibabel.eulerangles.euler2mat(*angles) @ image.affine[:3, :3]
    stored = nibabel.Nifti1Image(image.dataobj, nibabel.affines.from_matvec(matrix, [3, 4, 5]))
    nibabel.save(stored, tmp_path / "v.nii.gz")  # headers hold 32 bits, and MONAI looks at what rounding leaves
    steps = (contracts.ReadVolume(modality="ct"), contracts.Spacing(spacing=spacing, rule="monai"))
    (item,) = engine.read(steps, tmp_path / "v.nii.gz")
    prepared = engine.prepare(steps, [item])
    theirs = Spacing(spacing)(MetaTensor(torch.from_numpy(item.data)[None], affine=torch.from_numpy(item.affine)))
    ours = prepared.batch["image"][0]
    assert ours.shape == theirs.shape
    assert torch.allclose(ours, theirs.as_tensor(), atol=1e-3)  # of values up to 1,000
    (frame,) = prepared.frames
    assert frame is not None
    assert np.allclose(frame.affine, theirs.affine.numpy(), atol=1e-6)


def test_a_sheared_volume_is_refused(image: nibabel.Nifti1Image) -> None:
    matrix = image.affine.copy()
    matrix[1, 2] = 1.5  # gantry tilt
    tilted = nibabel.Nifti1Image(image.dataobj, matrix)
    steps = (contracts.ReadVolume(modality="ct"), contracts.Spacing(spacing=(1, 1, 1), rule="monai"))
    with pytest.raises(InputError, match="not at right angles"):
        engine.prepare(steps, engine.read(steps, tilted))


def test_a_volume_of_background_alone_is_refused(image: nibabel.Nifti1Image) -> None:
    empty = nibabel.Nifti1Image(np.full(image.shape, -1000, dtype=np.float32), image.affine)
    with pytest.raises(InputError, match="nothing but background"):
        engine.prepare(CT, engine.read(CT, empty))


def test_a_volume_smaller_than_a_voxel_of_the_model_is_refused(image: nibabel.Nifti1Image) -> None:
    steps = (contracts.ReadVolume(modality="ct"), contracts.Spacing(spacing=(900, 1, 1), rule="nnunet"))
    with pytest.raises(InputError, match="less than one voxel"):
        engine.prepare(steps, engine.read(steps, image))


def test_fitting_pads_and_crops_the_middle(image: nibabel.Nifti1Image) -> None:
    from monai.transforms import CenterSpatialCrop, SpatialPad

    steps = (contracts.ReadVolume(modality="ct"), contracts.FitVolume(size=(20, 40, 15), value=-7.0))
    ours = engine.prepare(steps, engine.read(steps, image)).batch["image"][0]
    x = torch.from_numpy(image.get_fdata(dtype=np.float32))[None]
    theirs = CenterSpatialCrop((20, 40, 15))(SpatialPad((20, 40, 15), value=-7.0)(x))
    assert torch.equal(ours, theirs.as_tensor())


# ---------------------------------------------------------------- windows


def convolution() -> torch.nn.Module:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv3d(1, 6, 5, padding=2), torch.nn.ReLU(), torch.nn.Conv3d(6, 4, 3, padding=1))
    return net.eval()


@pytest.mark.parametrize("blend", ["gaussian", "constant"])
@pytest.mark.parametrize("overlap", [0, 0.25, 0.6])
@pytest.mark.parametrize("grid", [(40, 33, 20), (24, 20, 40), (11, 41, 16)])
def test_windows_are_joined_as_monai_joins_them(grid: tuple[int, int, int], overlap: float, blend: str) -> None:
    from monai.inferers import sliding_window_inference

    net, x = convolution(), torch.randn(1, 1, *grid)
    window = SlidingWindow(size=(24, 20, 16), overlap=overlap, blend=blend)
    with torch.inference_mode():
        theirs = sliding_window_inference(x, window.size, 1, net, overlap=overlap, mode=blend)[0]
        ours = torch.full_like(theirs, torch.nan)
        for start, block in sliding.slide(net, x, window):
            ours[:, start : start + block.shape[1]] = block
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_windows_of_air_are_computed_once() -> None:
    x = torch.zeros(1, 1, 60, 16, 16)
    x[:, :, 52:] = 1
    x[:, :, 52:, ::2] = 2
    calls = 0

    def predict(window: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return window.clone()

    window = SlidingWindow(size=(16, 16, 16), overlap=0.5, blend="gaussian")
    joined = torch.cat([block for _, block in sliding.slide(predict, x, window)], dim=1)
    assert torch.allclose(joined, x[0], atol=1e-6)
    assert calls == 3  # one of air, and the two that hold anything else


def test_mirrored_windows_average_all_directions() -> None:
    x = torch.randn(1, 1, 8, 8, 8)
    ramp = torch.linspace(-1, 1, 8)[:, None, None].expand(8, 8, 8)[None, None]
    window = SlidingWindow(size=(8, 8, 8), overlap=0.5, blend="constant", mirror=True)
    ((_, block),) = sliding.slide(lambda w: w + ramp, x, window)
    assert torch.allclose(block, x[0], atol=1e-6)  # what depends on the direction cancels out


@settings(max_examples=50, deadline=None)
@given(st.integers(8, 90), st.integers(4, 8), st.floats(0, 0.9), st.sampled_from(["monai", "nnunet"]))
def test_windows_cover_every_voxel_and_leave_nothing_out(length: int, size: int, overlap: float, rule: str) -> None:
    window = SlidingWindow(size=(size, 4, 4), overlap=overlap, rule=rule, blend="constant")
    seen = torch.zeros(length)
    starts = sliding._starts(length, size, window)
    for start in starts:
        assert 0 <= start <= length - size
        seen[start : start + size] += 1
    assert bool((seen > 0).all())
    # nnU-Net rounds the places of its windows, so that very dense ones may come twice
    assert starts == (sorted(starts) if rule == "nnunet" else sorted(set(starts)))


# ---------------------------------------------------------------- decisions


def described(**values: object) -> SegmentationOutput:
    return SegmentationOutput.model_validate({"labels": {1: "a", 5: "b"}, "interpolation": "nearest", **values})


def test_decisions_say_what_they_mean() -> None:
    block = torch.tensor([[0.1, 0.9, 0.6, 0.2], [0.2, 0.7, 0.9, 0.3]]).reshape(2, 1, 1, 4)
    largest, none = restoring.decide(block, described(decision="largest", threshold=0.5))
    assert largest.ravel().tolist() == [0, 1, 5, 0]
    assert none is None
    each, layers = restoring.decide(block, described(decision="each", threshold=(0.65, 0.25)))
    assert each.ravel().tolist() == [0, 5, 5, 5]  # furthest above its own threshold
    assert layers is not None
    assert layers.reshape(2, 4).tolist() == [[False, True, False, False], [False, True, True, True]]
    highest, _ = restoring.decide(torch.cat([torch.full_like(block[:1], 0.5), block]), described(decision="argmax"))
    assert highest.ravel().tolist() == [0, 1, 0, 0]  # channel 2 has no label


def test_classes_side_by_side_in_memory_give_the_same_labels() -> None:
    block = torch.randn(7, 3, 4, 5)
    output = described(decision="argmax", labels={i: str(i) for i in range(1, 7)})
    other = block.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
    assert np.array_equal(restoring.decide(block, output)[0], restoring.decide(other, output)[0])


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"decision": "argmax", "threshold": 0.5}, "every decision but argmax"),
        ({"decision": "each"}, "every decision but argmax"),
        ({"decision": "each", "threshold": (0.5,)}, "1 thresholds for 2 labels"),
        ({"decision": "largest", "threshold": 0.5, "channel": 1}, "channel belongs"),
        ({"labels": {0: "background"}, "decision": "argmax"}, "1 to 65535"),
        ({"decision": "argmax", "restored": "labels", "interpolation": "linear"}, "not interpolated"),
        ({"decision": "argmax", "activation": "softmax", "activated": "windows"}, "no output of windows"),
    ],
)
def test_outputs_that_mean_nothing_are_refused(values: dict[str, object], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        described(**values)


def test_taps_of_two_changes_are_those_of_one_after_the_other() -> None:
    x = torch.randn(9, 2)
    first = grids.linear(np.linspace(-1, 9, 14), 9)
    second = grids.linear(np.linspace(0, 13, 30), 14)
    both = second.after(first)
    assert torch.allclose(grids.apply(x, 0, both), grids.apply(grids.apply(x, 0, first), 0, second), atol=1e-6)
    flipped = grids.apply(x, 0, first.reversed())
    assert torch.equal(flipped, grids.apply(x, 0, first).flip(0))
