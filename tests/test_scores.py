"""From outputs to probabilities of labels, and pictures as a share of what their bits can hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medfm.catalog.image_steps import ReadImage
from medfm.catalog.outputs import ScoresOutput
from medfm.errors import InputError
from medfm.runtime import images
from medfm.runtime.classifying import probabilities
from medfm.runtime.state import Options
from tests.dicoms import dicom, save

SHARE = ReadImage(modality="chest-x-ray", mode="share")


def test_an_operating_point_becomes_one_half_and_the_ends_stay() -> None:
    described = ScoresOutput(groups={"x": ("a", "b")}, activation="sigmoid", operating_points={"x": (0.1, 0.8)})
    for values, wanted in (
        ((0.1, 0.8), (0.5, 0.5)),
        ((0.05, 0.4), (0.25, 0.25)),
        ((0.55, 0.9), (0.75, 0.75)),
        ((1e-9, 1 - 1e-9), (0.0, 1.0)),
    ):
        logits = torch.tensor([values], dtype=torch.float64).logit()
        found = probabilities({"x": logits}, described)["x"]
        torch.testing.assert_close(found, torch.tensor([wanted], dtype=torch.float64), atol=1e-6, rtol=0)


def test_outputs_that_were_never_trained_are_left_out() -> None:
    described = ScoresOutput(groups={"x": ("a", "", "b")}, activation="sigmoid", operating_points={"x": (0.5, 0.25)})
    assert described.labels() == {"x": ("a", "b")}
    found = probabilities({"x": torch.tensor([[0.0, 9.0, 0.0]])}, described)["x"]
    torch.testing.assert_close(found, torch.tensor([[0.5, 1 - 0.5 / 1.5]]))


def test_every_group_has_its_own_activation() -> None:
    described = ScoresOutput(
        groups={"a": ("x", "y"), "b": ("x",), "c": ("x",)},
        activation={"a": "softmax", "b": "sigmoid", "c": "negated-sigmoid"},
    )
    found = probabilities({"a": torch.zeros(1, 2), "b": torch.ones(1, 1), "c": torch.ones(1, 1)}, described)
    assert found["a"].tolist() == [[0.5, 0.5]]
    assert float(found["b"] + found["c"]) == pytest.approx(1)
    assert float(found["b"]) > 0.7


@pytest.mark.parametrize(
    "changed",
    [
        {"operating_points": {"x": (0.5,)}},
        {"operating_points": {"y": (0.5, 0.5)}},
        {"operating_points": {"x": (0.0, 1.0)}},
        {"activation": {"y": "sigmoid"}},
        {"activation": "tanh"},
    ],
)
def test_a_description_that_does_not_fit_its_labels_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"operating_points|activation"):
        ScoresOutput.model_validate({"groups": {"x": ("a", "b")}, "activation": "sigmoid", **changed})


def test_pictures_are_a_share_of_what_their_bits_can_hold(tmp_path: Path) -> None:
    gray = np.arange(60, dtype=np.uint8).reshape(6, 10)
    Image.fromarray(gray).save(tmp_path / "gray.png")
    Image.fromarray(np.stack([gray] * 3, axis=-1)).save(tmp_path / "same.png")
    Image.fromarray(np.stack([gray, gray + 9, gray], axis=-1)).save(tmp_path / "colors.png")
    for name in ("gray", "same", "colors"):
        picture = images.read(SHARE, tmp_path / f"{name}.png", Options())
        np.testing.assert_array_equal(picture.pixels, gray.astype(np.float32) / np.float32(255))
        assert bool(picture.notes) == (name == "colors")


def test_dicom_is_a_share_of_its_stored_bits_whatever_its_window(tmp_path: Path) -> None:
    stored = np.array([[0, 1000], [2000, 4095]], dtype=np.uint16)
    tags = {
        "BitsStored": 12,
        "HighBit": 11,
        "WindowCenter": 10,
        "WindowWidth": 5,
        "RescaleSlope": 3,
        "RescaleIntercept": 1,
    }
    for name, inverted in (("MONOCHROME2", False), ("MONOCHROME1", True)):
        file = save(dicom(stored, PhotometricInterpretation=name, **tags), tmp_path / f"{name}.dcm")
        wanted = (4095 - stored if inverted else stored).astype(np.float32) / np.float32(4095)
        np.testing.assert_array_equal(images.read(SHARE, file, Options()).pixels, wanted)


def test_what_has_no_share_is_refused(tmp_path: Path) -> None:
    signed = save(dicom(np.array([[-5, 7]], dtype=np.int16)), tmp_path / "signed.dcm")
    with pytest.raises(InputError, match="from -5 to 7, beyond 0 to 65535"):
        images.read(SHARE, signed, Options())
    colors = save(dicom(np.zeros((4, 5, 3), dtype=np.uint8)), tmp_path / "colors.dcm")
    with pytest.raises(InputError, match="color picture"):
        images.read(SHARE, colors, Options())
    Image.fromarray(np.array([[0, 40_000]], dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(InputError, match="--intensity-range"):
        images.read(SHARE, tmp_path / "deep.png", Options())
    deep = images.read(SHARE, tmp_path / "deep.png", Options(intensity_range=(0, 40_000)))
    assert np.asarray(deep.pixels).tolist() == [[0.0, 1.0]]
