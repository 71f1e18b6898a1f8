"""Pictures of every kind are read faithfully, or refused with the one flag that says what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, RLELossless

from medfm.catalog import contracts
from medfm.catalog.image_steps import CropImage, Normalize, PadImage, ReadImage, Repeat, Rescale, ResizeImage, ToTensor
from medfm.errors import InputError
from medfm.runtime import contract as engine
from medfm.runtime.images import read
from medfm.runtime.state import Context, Options, State
from medfm.runtime.steps import image as steps
from tests import dicoms

RGB, L, INTENSITY = (
    ReadImage(modality="he"),
    ReadImage(modality="he", mode="L"),
    ReadImage(modality="ct", mode="intensity"),
)
STRICT, LENIENT = Options(), Options(strict=False)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)


def refused(step: ReadImage, source: object, flag: str, **given: object) -> None:
    """Strict mode names the flag; with the flag the picture is read."""
    with pytest.raises(InputError) as caught:
        read(step, source, STRICT)
    assert caught.value.flag == flag
    assert "--" + flag.replace("_", "-") in str(caught.value)
    assert read(step, source, Options(**given)).pixels is not None  # type: ignore[arg-type]
    assert read(step, source, LENIENT).notes  # what was done instead stands in the notes


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_lossless_formats_give_their_pixels(suffix: str, pixels: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path)
    assert np.array_equal(np.asarray(read(RGB, path, STRICT).pixels), pixels)
    assert np.array_equal(np.asarray(read(RGB, pixels, STRICT).pixels), pixels)
    assert np.array_equal(np.asarray(read(RGB, Image.fromarray(pixels), STRICT).pixels), pixels)


def test_a_palette_is_looked_up(pixels: np.ndarray, tmp_path: Path) -> None:
    few = Image.fromarray(pixels).quantize(16)
    few.save(tmp_path / "p.png")
    assert np.array_equal(np.asarray(read(RGB, tmp_path / "p.png", STRICT).pixels), np.asarray(few.convert("RGB")))


def test_transparent_pixels_are_refused_and_opaque_ones_are_not(pixels: np.ndarray, tmp_path: Path) -> None:
    alpha = np.full(pixels.shape[:2], 255, dtype=np.uint8)
    Image.fromarray(np.dstack([pixels, alpha])).save(tmp_path / "opaque.png")
    assert np.array_equal(np.asarray(read(RGB, tmp_path / "opaque.png", STRICT).pixels), pixels)
    alpha[3, 4] = 0
    Image.fromarray(np.dstack([pixels, alpha])).save(tmp_path / "holes.png")
    refused(RGB, tmp_path / "holes.png", "drop_alpha", drop_alpha=True)


def test_cmyk_needs_a_word(pixels: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "print.jpg")
    refused(RGB, tmp_path / "print.jpg", "convert_colors", convert_colors=True)


@pytest.mark.parametrize("orientation", [2, 3, 4, 5, 6, 7, 8])
def test_a_rotation_that_only_exif_tells_needs_a_word(orientation: int, pixels: np.ndarray, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    refused(RGB, tmp_path / "turned.png", "exif", exif="apply")
    upright = read(RGB, tmp_path / "turned.png", Options(exif="apply"))
    assert np.asarray(upright.pixels).shape == ((53, 37, 3) if orientation > 4 else (37, 53, 3))
    assert np.array_equal(np.asarray(read(RGB, tmp_path / "turned.png", Options(exif="ignore")).pixels), pixels)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_more_than_8_bits_need_a_range(dtype: type, tmp_path: Path) -> None:
    values = (np.arange(256).reshape(16, 16) * 17).astype(dtype)
    Image.fromarray(values).save(tmp_path / "deep.tif")
    refused(RGB, tmp_path / "deep.tif", "intensity_range", intensity_range=(0, 4335))
    gray = np.asarray(read(L, tmp_path / "deep.tif", Options(intensity_range=(0, 4335))).pixels)
    assert np.array_equal(gray, np.arange(256, dtype=np.uint8).reshape(16, 16))
    assert np.array_equal(read(INTENSITY, tmp_path / "deep.tif", STRICT).pixels, values.astype(np.float32))


def test_a_file_with_frames_needs_a_number(pixels: np.ndarray, tmp_path: Path) -> None:
    first, second = Image.fromarray(pixels), Image.fromarray(255 - pixels)
    first.save(tmp_path / "two.tif", save_all=True, append_images=[second])
    refused(RGB, tmp_path / "two.tif", "frame", frame=1)
    assert np.array_equal(np.asarray(read(RGB, tmp_path / "two.tif", Options(frame=1)).pixels), 255 - pixels)
    with pytest.raises(InputError, match="no frame 2: it holds 2"):
        read(RGB, tmp_path / "two.tif", Options(frame=2))


def test_a_resolution_that_the_model_needs_is_asked_for(pixels: np.ndarray, tmp_path: Path) -> None:
    step = ReadImage(modality="he", um_per_px=(0.5,))
    Image.fromarray(pixels).save(tmp_path / "a.png")
    refused(step, tmp_path / "a.png", "um_per_px", um_per_px=0.5)
    assert read(step, pixels, Options(um_per_px=0.5 * 1.099)).notes == ()
    with pytest.raises(InputError, match=r"has 0\.555 micrometers per pixel, but this model needs 0\.5"):
        read(step, pixels, Options(um_per_px=0.555))
    Image.fromarray(pixels).save(tmp_path / "scanner.tif", dpi=(25400 / 0.5, 25400 / 0.5))
    assert read(step, tmp_path / "scanner.tif", STRICT).um_per_px == pytest.approx(0.5, rel=1e-3)
    Image.fromarray(pixels).save(tmp_path / "screen.png", dpi=(96, 96))
    assert read(RGB, tmp_path / "screen.png", STRICT).um_per_px is None  # a screen's resolution says nothing


def test_what_is_no_picture_is_told(pixels: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read(RGB, tmp_path / "none.png", STRICT)
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(InputError, match="no picture that can be read"):
        read(RGB, tmp_path / "text.png", STRICT)
    Image.fromarray(pixels).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:1500])
    with pytest.raises(InputError, match="cut off or damaged"):
        read(RGB, tmp_path / "cut.png", STRICT)
    for wrong in (pixels.astype(np.float64), pixels[..., :2], np.zeros((0, 3), np.uint8)):
        with pytest.raises(InputError, match="expected uint8"):
            read(RGB, wrong, STRICT)
    with pytest.raises(InputError, match="expected a picture's path"):
        read(RGB, 7, STRICT)


# ---------------------------------------------------------------- DICOM


def test_the_files_window_makes_8_bits(tmp_path: Path) -> None:
    stored = np.linspace(0, 4095, 64, dtype=np.int16).reshape(8, 8)
    path = dicoms.save(
        dicoms.dicom(
            stored, Modality="CT", RescaleSlope="1", RescaleIntercept="-1024", WindowCenter="40", WindowWidth="400"
        ),
        tmp_path / "ct.dcm",
    )
    gray = np.asarray(read(L, path, STRICT).pixels).astype(float)
    hu = stored.astype(float) - 1024
    expected = np.clip(((hu - 39.5) / 399 + 0.5) * 255, 0, 255)  # PS3.3 C.11.2.1.2.1
    assert np.abs(gray - expected).max() <= 0.5
    assert np.array_equal(read(INTENSITY, path, STRICT).pixels, hu.astype(np.float32))


def test_monochrome1_is_inverted() -> None:
    from tempfile import TemporaryDirectory

    stored = np.arange(256, dtype=np.uint8).reshape(16, 16)
    with TemporaryDirectory() as folder:
        normal = dicoms.save(dicoms.dicom(stored, Modality="DX"), Path(folder) / "2.dcm")
        inverse = dicoms.save(
            dicoms.dicom(255 - stored, Modality="DX", PhotometricInterpretation="MONOCHROME1"), Path(folder) / "1.dcm"
        )
        one, two = read(L, inverse, STRICT), read(L, normal, STRICT)
    assert np.array_equal(np.asarray(one.pixels), np.asarray(two.pixels))
    assert "MONOCHROME1 inverted" in one.notes


def test_deep_dicom_without_window_needs_a_range(tmp_path: Path) -> None:
    stored = np.arange(256, dtype=np.uint16).reshape(16, 16) * 200
    path = dicoms.save(dicoms.dicom(stored, Modality="DX"), tmp_path / "dx.dcm")
    refused(L, path, "intensity_range", intensity_range=(0, 51000))


def test_ct_without_rescale_slope_is_refused(tmp_path: Path) -> None:
    path = dicoms.save(dicoms.dicom(np.ones((8, 8), np.int16), Modality="CT"), tmp_path / "ct.dcm")
    refused(INTENSITY, path, "rescale", rescale=(1.0, -1024.0))
    assert (read(INTENSITY, path, Options(rescale=(1.0, -1024.0))).pixels == -1023).all()


def test_frames_of_a_multi_frame_dicom(tmp_path: Path) -> None:
    stored = np.stack([np.full((6, 5), v, np.uint8) for v in (10, 20, 30)])
    path = dicoms.save(dicoms.dicom(stored, Modality="US"), tmp_path / "us.dcm")
    refused(L, path, "frame", frame=2)
    assert (np.asarray(read(L, path, Options(frame=2)).pixels) == 30).all()


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless], ids=["RLE", "JPEG 2000"])
def test_compressed_pixels_are_the_same(syntax: str, tmp_path: Path) -> None:
    stored = np.random.default_rng(1).integers(0, 4096, (32, 48)).astype(np.uint16)
    dataset = dicoms.dicom(stored, Modality="MR", BitsStored=12, HighBit=11)
    dataset.compress(syntax, generate_instance_uid=False)
    path = dicoms.save(dataset, tmp_path / "c.dcm")
    assert np.array_equal(read(INTENSITY, path, STRICT).pixels, stored.astype(np.float32))


def test_pixels_that_cannot_be_decoded_are_told_with_their_syntax(tmp_path: Path) -> None:
    from pydicom.encaps import encapsulate

    dataset = dicoms.dicom(np.zeros((8, 8), np.uint8))
    dataset.PixelData = encapsulate([b"no jpeg at all"])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    path = dicoms.save(dataset, tmp_path / "bad.dcm")
    with pytest.raises(InputError, match=r"JPEG Lossless.* cannot be decoded"):
        read(L, path, STRICT)


def test_color_and_palette_dicom(pixels: np.ndarray, tmp_path: Path) -> None:
    path = dicoms.save(dicoms.dicom(pixels, Modality="ES"), tmp_path / "es.dcm")
    assert np.array_equal(np.asarray(read(RGB, path, STRICT).pixels), pixels)
    with pytest.raises(InputError, match="is a color picture"):
        read(INTENSITY, path, STRICT)
    numbers = np.arange(64, dtype=np.uint8).reshape(8, 8)
    table = (np.arange(256, dtype=np.uint16) * 257).tobytes()
    palette = dicoms.dicom(numbers, Modality="US", PhotometricInterpretation="PALETTE COLOR")
    for color in ("Red", "Green", "Blue"):
        setattr(palette, f"{color}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(palette, f"{color}PaletteColorLookupTableData", table)
    path = dicoms.save(palette, tmp_path / "us.dcm")
    assert np.array_equal(np.asarray(read(L, path, STRICT).pixels), numbers)


def test_dicom_without_pixels_is_told(tmp_path: Path) -> None:
    dataset = dicoms.dicom(np.zeros((4, 4), np.uint8), Modality="SR")
    del dataset.PixelData
    with pytest.raises(InputError, match="holds no picture"):
        read(L, dicoms.save(dataset, tmp_path / "sr.dcm"), STRICT)


# ---------------------------------------------------------------- steps


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(8, 90), width=st.integers(8, 90), size=st.integers(8, 64),
    fit=st.sampled_from(["shorter", "longer"]), engine_=st.sampled_from(["pillow", "torch", "torch-antialias"]),
)  # fmt: skip
def test_resizing_keeps_the_proportions(height: int, width: int, size: int, fit: str, engine_: str) -> None:
    picture = Image.fromarray(np.zeros((height, width, 3), np.uint8))
    state = State(picture)
    step = ResizeImage(size=size, fit=fit, interpolation="bilinear", engine=engine_)  # type: ignore[arg-type]
    steps.STEPS[ResizeImage](step, state, Context())
    found = steps.size_of(state.value)
    assert (min if fit == "shorter" else max)(found) == size
    assert abs(found[0] / found[1] - height / width) <= 1 / min(found) * max(1, height / width) * 1.5


@settings(deadline=None, max_examples=60)
@given(height=st.integers(5, 40), width=st.integers(5, 40), size=st.tuples(st.integers(4, 45), st.integers(4, 45)))
def test_cropping_is_torchvisions(height: int, width: int, size: tuple[int, int]) -> None:
    from torchvision.transforms import CenterCrop

    array = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = np.asarray(CenterCrop(size)(Image.fromarray(array)))
    for value in (Image.fromarray(array), torch.from_numpy(array).permute(2, 0, 1)):
        state = State(value)
        steps.STEPS[CropImage](CropImage(size=size), state, Context())
        found = (
            np.asarray(state.value)
            if not isinstance(state.value, torch.Tensor)
            else state.value.permute(1, 2, 0).numpy()
        )
        assert np.array_equal(found, expected)


def test_padding_goes_where_it_says() -> None:
    for value in (Image.fromarray(np.full((2, 3), 9, np.uint8)), torch.full((1, 2, 3), 9.0)):
        for where, place in (("end", (0, 0)), ("both", (1, 1))):
            state = State(value)
            steps.STEPS[PadImage](PadImage(size=(5, 6), where=where, value=1), state, Context())  # type: ignore[arg-type]
            found = np.asarray(state.value).squeeze()
            assert found.shape == (5, 6)
            assert (found[place[0] : place[0] + 2, place[1] : place[1] + 3] == 9).all()
            assert found.sum() == 9 * 6 + 24
    with pytest.raises(InputError, match="more than the 1 x 1"):
        steps.STEPS[PadImage](PadImage(size=(1, 1), where="end"), State(torch.zeros(1, 2, 3)), Context())


def test_tensors_are_scaled_normalized_and_repeated() -> None:
    state = State(Image.fromarray(np.array([[[255, 0, 51]]], np.uint8)))
    steps.STEPS[ToTensor](ToTensor(channels="BGR"), state, Context())
    assert state.value.flatten().tolist() == pytest.approx([0.2, 0.0, 1.0])
    steps.STEPS[Normalize](Normalize(mean=(0.2, 0.0, 0.5), std=(1, 1, 0.5)), state, Context())
    assert state.value.flatten().tolist() == pytest.approx([0, 0, 1], abs=1e-7)
    with pytest.raises(InputError, match="normalizes 2 channels, but the input has 3"):
        steps.STEPS[Normalize](Normalize(mean=(0, 0), std=(1, 1)), state, Context())
    state = State(torch.tensor([[[0.0, 5.0, 20.0]]]))
    steps.STEPS[Rescale](Rescale(source=(0, 10), target=(-1, 1), clip=True), state, Context())
    assert state.value.flatten().tolist() == [-1, 0, 1]
    steps.STEPS[Repeat](Repeat(count=3), state, Context())
    assert state.value.shape == (3, 1, 3)
    with pytest.raises(InputError, match="constant"):
        steps.STEPS[Rescale](Rescale(source="range"), State(torch.ones(1, 2, 2)), Context())


def test_pictures_of_different_sizes_need_a_step_that_makes_them_equal() -> None:
    contract = (RGB, ToTensor())
    items = [engine.read(contract, np.zeros((n, 4, 3), np.uint8))[0] for n in (4, 5)]
    with pytest.raises(InputError, match="different sizes after the contract's steps: 3 x 4 x 4, 3 x 5 x 4"):
        engine.prepare(contract, items)


def test_the_hash_changes_with_values_and_not_with_names() -> None:
    output = contracts.Output(embedding=contracts.EmbeddingOutput(dimension=4, pooling="cls"))
    one = contracts.digest((RGB, ToTensor()), output)
    assert one == contracts.digest((ReadImage(modality="chest-x-ray"), ToTensor()), output)
    assert one == contracts.digest((RGB, ToTensor(divide=255)), output)
    different = {
        contracts.digest(steps, out)
        for steps, out in (
            ((L, ToTensor()), output),
            ((RGB, ToTensor(divide=256)), output),
            ((RGB, ToTensor(), Repeat()), output),
            ((RGB, ToTensor()), contracts.Output(embedding=contracts.EmbeddingOutput(dimension=4, pooling="mean"))),
        )
    }
    assert len({one} | different) == 5
