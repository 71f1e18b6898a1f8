"""DICOM series become volumes at their place in space, or are refused with the files that are wrong."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nibabel import orientations

from medfm.catalog import contracts
from medfm.errors import InputError
from medfm.runtime import contract as engine
from medfm.runtime import series
from medfm.runtime.state import Options
from tests import dicoms

ALL_48 = [
    "".join(letters)
    for order in itertools.permutations([("R", "L"), ("A", "P"), ("S", "I")])
    for letters in itertools.product(*order)
]
LENIENT = Options(strict=False)


@pytest.fixture
def volume() -> np.ndarray:
    x, y, z = np.meshgrid(np.arange(11), np.arange(9), np.arange(7), indexing="ij")
    return (10.0 * x + 3 * y + 100 * z - 500).round()


@pytest.fixture
def affine() -> np.ndarray:
    """Anisotropic and oblique."""
    turn = nibabel.eulerangles.euler2mat(0.1, 0.05, 0.02)
    return nibabel.affines.from_matvec(turn @ np.diag([0.7, 0.9, 2.5]), [-10, -20, 5])


def at(volume: np.ndarray, affine: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Value by place in the world, sorted by the voxel of a reference grid that lies there."""
    world = nibabel.affines.apply_affine(affine, np.argwhere(np.ones(volume.shape)))
    places = nibabel.affines.apply_affine(np.linalg.inv(grid), world)
    assert np.abs(places - places.round()).max() < 1e-3
    return np.array(
        sorted((*place, value) for place, value in zip(places.round().astype(int), volume.ravel(), strict=True))
    )


@pytest.mark.parametrize("axes", ALL_48)
def test_slices_in_any_direction_and_file_order_lie_where_the_headers_say(
    axes: str, volume: np.ndarray, affine: np.ndarray, tmp_path: Path
) -> None:
    image = nibabel.Nifti1Image(volume, affine)
    turn = orientations.ornt_transform(orientations.io_orientation(affine), orientations.axcodes2ornt(tuple(axes)))
    stored = image.as_reoriented(turn)
    dicoms.series(tmp_path / "s", stored.get_fdata(), stored.affine, seed=len(axes))
    found, notes = series.read(tmp_path / "s", Options())
    assert np.array_equal(at(found.data, found.affine, affine), at(volume, affine, affine))
    assert notes == []
    steps = (contracts.ReadVolume(modality="ct"), contracts.Orient(axes="RAS"))
    prepared = engine.prepare(steps, engine.read(steps, tmp_path / "s"))
    assert np.array_equal(
        prepared.batch["image"][0, 0].numpy(), nibabel.as_closest_canonical(image).get_fdata(dtype=np.float32)
    )


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31))
def test_the_order_of_files_does_not_matter(
    seed: int, volume: np.ndarray, affine: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("series")
    dicoms.series(folder, volume, affine, seed=seed)
    found, _ = series.read(folder, Options())
    assert np.array_equal(at(found.data, found.affine, affine), at(volume, affine, affine))


def test_a_multi_frame_file_is_the_same_volume(volume: np.ndarray, affine: np.ndarray, tmp_path: Path) -> None:
    path = dicoms.save(dicoms.enhanced(volume, affine), tmp_path / "enhanced.dcm")
    found, _ = series.read(path, Options())
    assert np.array_equal(at(found.data, found.affine, affine), at(volume, affine, affine))


def test_a_missing_slice_is_told_with_its_neighbors(volume: np.ndarray, affine: np.ndarray, tmp_path: Path) -> None:
    paths = dicoms.series(tmp_path, volume, affine)
    paths[3].unlink()
    with pytest.raises(InputError, match="1 slice is missing") as caught:
        series.read(tmp_path, Options())
    assert paths[2].name in str(caught.value)
    assert paths[4].name in str(caught.value)
    _, notes = series.read(tmp_path, LENIENT)
    assert "1 slice is missing" in notes[0]


def test_a_doubled_slice_is_told(volume: np.ndarray, affine: np.ndarray, tmp_path: Path) -> None:
    paths = dicoms.series(tmp_path, volume, affine)
    (tmp_path / "again.dcm").write_bytes(paths[2].read_bytes())
    with pytest.raises(InputError, match=r"lie at the same place .* remove the doubles"):
        series.read(tmp_path, Options())
    found, notes = series.read(tmp_path, LENIENT)
    assert found.data.shape == volume.shape
    assert "the first was taken" in notes[0]


def test_a_tilted_gantry_is_refused_whether_the_header_says_it_or_not(volume: np.ndarray, tmp_path: Path) -> None:
    straight = np.diag([1.0, 1.0, 2.0, 1.0])
    dicoms.series(tmp_path / "said", volume, straight, GantryDetectorTilt="12")
    with pytest.raises(InputError, match="gantry was tilted by 12 degrees"):
        series.read(tmp_path / "said", Options())
    sheared = straight.copy()
    sheared[1, 2] = 0.5  # each slice half a millimeter further, as a tilt of 14 degrees makes it
    dicoms.series(tmp_path / "seen", volume, sheared)
    with pytest.raises(InputError, match=r"shifted against each other by 14\.0 degrees"):
        series.read(tmp_path / "seen", Options())
    with pytest.raises(InputError, match="tilted gantry"):
        series.read(tmp_path / "seen", LENIENT)  # a wrong geometry is never let through


def test_a_localizer_among_the_slices_is_told(volume: np.ndarray, affine: np.ndarray, tmp_path: Path) -> None:
    dicoms.series(tmp_path, volume, affine)
    dataset = dicoms.pydicom.dcmread(next(tmp_path.iterdir()))
    row, column = dataset.ImageOrientationPatient[:3], dataset.ImageOrientationPatient[3:]
    dataset.ImageOrientationPatient = [*column, *row]
    dicoms.save(dataset, tmp_path / "localizer.dcm")
    with pytest.raises(InputError, match="is one of them a localizer"):
        series.read(tmp_path, Options())


def test_two_series_in_a_folder_are_listed(volume: np.ndarray, affine: np.ndarray, tmp_path: Path) -> None:
    dicoms.series(tmp_path, volume, affine)
    for path in dicoms.series(tmp_path / "second", volume, affine, SeriesInstanceUID="9.9"):
        path.rename(tmp_path / f"b{path.name}")
    with pytest.raises(InputError, match=r"holds 2 series \(1\.2\.3 \(7 files\), 9\.9 \(7 files\)\)"):
        series.read(tmp_path, Options())
    chosen = tuple(p for p in tmp_path.iterdir() if p.name.startswith("b"))
    steps = (contracts.ReadVolume(modality="ct"),)
    (only,) = engine.split(steps, chosen)  # a tuple is one series, a list would be many volumes
    assert engine.read(steps, only)[0].data.shape == volume.shape


def test_ct_without_rescale_is_no_hounsfield(volume: np.ndarray, affine: np.ndarray, tmp_path: Path) -> None:
    for path in dicoms.series(tmp_path, volume, affine):
        dataset = dicoms.pydicom.dcmread(path)
        del dataset.RescaleSlope
        dicoms.save(dataset, path)
    with pytest.raises(InputError, match="pass --rescale SLOPE INTERCEPT") as caught:
        series.read(tmp_path, Options())
    assert caught.value.flag == "rescale"
    found, notes = series.read(tmp_path, Options(rescale=(1.0, -1024.0)))
    assert np.array_equal(at(found.data, found.affine, affine), at(volume, affine, affine))
    assert "as given" in notes[0]


def test_a_slice_without_position_is_refused(volume: np.ndarray, affine: np.ndarray, tmp_path: Path) -> None:
    paths = dicoms.series(tmp_path, volume, affine)
    dataset = dicoms.pydicom.dcmread(paths[1])
    del dataset.ImagePositionPatient
    dicoms.save(dataset, paths[1])
    with pytest.raises(InputError, match="a slice without position has no place in space"):
        series.read(tmp_path, Options())


def test_one_slice_and_an_empty_folder_are_no_volume(volume: np.ndarray, affine: np.ndarray, tmp_path: Path) -> None:
    paths = dicoms.series(tmp_path / "s", volume, affine)
    with pytest.raises(InputError, match="single slice"):
        series.read(paths[0], Options())
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no DICOM file"):
        series.read(tmp_path / "empty", Options())
    assert not series.holds_dicom(tmp_path / "empty")
