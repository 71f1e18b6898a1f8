"""Reading DICOM series as volumes: slices in any file order, their place in space from the headers alone.

A volume is only made where the slices form a regular grid: same orientation, size and spacing, nothing missing, nothing twice,
no tilted gantry. Otherwise the sentence says which files are wrong.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfm.errors import InputError, MissingExtraError
from medfm.runtime.images import is_dicom
from medfm.runtime.inputs import Volume
from medfm.runtime.state import Options

_PARALLEL = 1e-3  # deviation of direction cosines that rounding in headers explains
_EVEN = 0.02  # relative deviation of the distance between slices


@dataclass(frozen=True)
class Slice:
    """One slice of a series.

    Attributes:
        file: where it lies.
        position: mm in DICOM's LPS world, the center of the first pixel.
        row, column: directions in which the column and the row number grow.
        spacing: mm between rows, and between columns.
        shape: rows and columns.
        slope, intercept: from stored values to intensities; None where the file does not say.
        modality: such as CT.
        pixels: reads the stored values (rows, columns).
    """

    file: Path
    position: NDArray[np.float64]
    row: NDArray[np.float64]
    column: NDArray[np.float64]
    spacing: tuple[float, float]
    shape: tuple[int, int]
    slope: float | None
    intercept: float | None
    modality: str
    pixels: Callable[[], NDArray[Any]]

    @property
    def height(self) -> float:
        """Place along the normal of the slices, in mm."""
        return float(self.position @ np.cross(self.row, self.column))


def holds_dicom(source: object) -> bool:
    """Return whether a source is a DICOM file, a folder that holds some, or a list of DICOM files."""
    if isinstance(source, list | tuple):
        return bool(source) and all(isinstance(item, str | os.PathLike) and is_file(Path(item)) for item in source)
    if not isinstance(source, str | os.PathLike):
        return False
    path = Path(source)
    return any(is_file(file) for file in path.iterdir()) if path.is_dir() else is_file(path)


def is_file(path: Path) -> bool:
    """Return whether a path is a DICOM file."""
    return path.is_file() and is_dicom(path)


def read(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], options: Options
) -> tuple[Volume, list[str]]:
    """Read one series.

    Args:
        source: a folder with one series, its files in any order, or one multi-frame file.
        options: what the caller supplies: rescale; `strict=False` keeps going where slices are missing or doubled.

    Returns:
        The volume, (columns, rows, slices) in RAS+ world space, and notes on what was done beyond the contract.

    Raises:
        InputError: no series, several, or no regular grid.
    """
    paths = _files(source)
    name = str(source) if isinstance(source, str | os.PathLike) else str(paths[0])
    slices, notes = _one_series(paths, name), list[str]()
    slices.sort(key=lambda s: s.height)
    _same_grid(slices, name)
    slices = _no_doubles(slices, name, options, notes)
    if len(slices) < 2:
        raise InputError("holds a single slice; this model needs a volume", path=name)
    step = _even_steps(slices, name, options, notes)
    return Volume(_intensities(slices, name, options, notes), _affine(slices[0], step), name), notes


def groups(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Return DICOM files by series, in the order in which the series first appear."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        header = _header(path)
        if "PixelData" in header or "Rows" in header:
            found.setdefault(str(header.get("SeriesInstanceUID", path.parent)), []).append(path)
    return found


def _files(source: Any) -> list[Path]:
    if isinstance(source, list | tuple):
        return [Path(item) for item in source]
    path = Path(source)
    files = sorted(p for p in path.iterdir() if is_file(p)) if path.is_dir() else [path]
    if not files:
        raise InputError("holds no DICOM file", path=str(path))
    return files


def _header(path: Path) -> Any:
    try:
        import pydicom
        from pydicom.errors import InvalidDicomError
    except ImportError:
        raise MissingExtraError("pydicom", "volumes", why="reading DICOM") from None
    try:
        return pydicom.dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, OSError, EOFError, ValueError, KeyError, NotImplementedError) as error:
        raise InputError(f"is no DICOM file that can be read ({error})", path=str(path)) from None


def _one_series(paths: Sequence[Path], name: str) -> list[Slice]:
    found = groups(paths)
    if not found:
        raise InputError("holds no DICOM file with pixels", path=name)
    if len(found) > 1:
        listed = ", ".join(f"{uid} ({len(files)} files)" for uid, files in list(found.items())[:4])
        raise InputError(f"holds {len(found)} series ({listed}); give the files of one", path=name)
    (files,) = found.values()
    return [slice for path in files for slice in _slices(path)]


def _slices(path: Path) -> Iterator[Slice]:
    header = _header(path)
    frames = int(header.get("NumberOfFrames", 1) or 1)
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    own = header.get("PerFrameFunctionalGroupsSequence") or [None] * frames
    for number in range(frames):
        yield _slice(path, header, shared, own[number] if number < len(own) else None, number)


def _slice(path: Path, header: Any, shared: Any, own: Any, number: int) -> Slice:
    def value(keyword: str, group: str) -> Any:
        for part in (own, shared):
            if part is not None and group in part and keyword in part[group].value[0]:
                return part[group].value[0].get(keyword)
        return header.get(keyword)

    position, orientation = (
        value("ImagePositionPatient", "PlanePositionSequence"),
        value("ImageOrientationPatient", "PlaneOrientationSequence"),
    )
    spacing = value("PixelSpacing", "PixelMeasuresSequence")
    missing = [
        word
        for word, found in (("position", position), ("orientation", orientation), ("pixel spacing", spacing))
        if not found
    ]
    if missing:
        raise InputError(f"a slice without {' and '.join(missing)} has no place in space", path=str(path))
    if float(header.get("GantryDetectorTilt", 0) or 0) != 0:
        raise InputError(
            f"the gantry was tilted by {float(header.GantryDetectorTilt):g} degrees, so the slices form no rectangular grid; "
            "resample the series first",
            path=str(path),
        )
    directions = np.array([float(v) for v in orientation])
    slope, intercept = (
        value("RescaleSlope", "PixelValueTransformationSequence"),
        value("RescaleIntercept", "PixelValueTransformationSequence"),
    )
    return Slice(
        path,
        np.array([float(v) for v in position]),
        directions[:3],
        directions[3:],
        (float(spacing[0]), float(spacing[1])),
        (int(header.Rows), int(header.Columns)),
        None if slope is None else float(slope),
        None if intercept is None else float(intercept),
        str(header.get("Modality", "")),
        _Pixels(path, number),
    )


@dataclass(frozen=True)
class _Pixels:
    """Reads one frame, when it is needed."""

    path: Path
    number: int

    def __call__(self) -> NDArray[Any]:
        from pydicom.pixels.utils import pixel_array

        try:
            found: NDArray[Any] = pixel_array(self.path, index=self.number)
        except (RuntimeError, ValueError, AttributeError, NotImplementedError, KeyError, EOFError, OSError) as error:
            raise InputError(
                f"its pixels cannot be decoded ({' '.join(str(error).split())[:120]})", path=str(self.path)
            ) from None
        if found.ndim != 2:
            raise InputError("is a color picture, no slice of a volume", path=str(self.path))
        return found


def _same_grid(slices: Sequence[Slice], name: str) -> None:
    first = slices[0]
    normal = np.cross(first.row, first.column)
    if abs(float(np.linalg.norm(normal)) - 1) > _PARALLEL * 10:
        raise InputError("the directions of rows and columns are not perpendicular", path=str(first.file))
    for other in slices[1:]:
        if other.shape != first.shape or not np.allclose(other.spacing, first.spacing, rtol=1e-4):
            raise InputError(
                f"{other.file.name} has {_grid(other)}, but {first.file.name} has {_grid(first)}", path=name
            )
        if np.abs(other.row - first.row).max() > _PARALLEL or np.abs(other.column - first.column).max() > _PARALLEL:
            raise InputError(
                f"{other.file.name} is oriented otherwise than {first.file.name}; is one of them a localizer?",
                path=name,
            )


def _grid(one: Slice) -> str:
    return f"{one.shape[0]} x {one.shape[1]} pixels of {one.spacing[0]:g} x {one.spacing[1]:g} mm"


def _no_doubles(slices: list[Slice], name: str, options: Options, notes: list[str]) -> list[Slice]:
    kept = [slices[0]]
    for one in slices[1:]:
        if one.height - kept[-1].height > 1e-3:
            kept.append(one)
            continue
        what = f"{kept[-1].file.name} and {one.file.name} lie at the same place ({one.height:.3f} mm)"
        if options.strict:
            raise InputError(f"{what}: the series holds slices twice; remove the doubles", path=name)
        notes.append(f"{what}: the first was taken")
    return kept


def _even_steps(slices: Sequence[Slice], name: str, options: Options, notes: list[str]) -> NDArray[np.float64]:
    """Return the step from slice to slice in mm, where it is the same everywhere and goes along the normal."""
    heights = np.array([one.height for one in slices])
    gaps = np.diff(heights)
    usual = float(np.median(gaps))
    wide = np.flatnonzero(np.abs(gaps - usual) > _EVEN * usual)
    if len(wide):
        i = int(wide[0])
        missing = round(float(gaps[i]) / usual) - 1
        what = (
            f"between {slices[i].file.name} and {slices[i + 1].file.name} lie {gaps[i]:.3f} mm instead of {usual:.3f} mm: "
            f"{missing if missing > 0 else 'no'} slice{'s are' if missing > 1 else ' is'} missing"
        )
        more = f"; {len(wide) - 1} more such places" if len(wide) > 1 else ""
        if options.strict:
            raise InputError(f"{what}{more}", path=name)
        notes.append(f"{what}{more}; taken as evenly spaced")
    step = (slices[-1].position - slices[0].position) / (len(slices) - 1)
    normal = np.cross(slices[0].row, slices[0].column)
    sheared = float(np.linalg.norm(np.cross(step, normal)) / np.linalg.norm(step))
    if sheared > 5e-3:
        degrees = float(np.degrees(np.arcsin(np.clip(sheared, 0, 1))))
        raise InputError(
            f"the slices are shifted against each other by {degrees:.1f} degrees (a tilted gantry), so they form no rectangular "
            "grid; resample the series first",
            path=name,
        )
    return np.asarray(step, dtype=np.float64)


def _intensities(slices: Sequence[Slice], name: str, options: Options, notes: list[str]) -> NDArray[np.float32]:
    data = np.empty((slices[0].shape[1], slices[0].shape[0], len(slices)), dtype=np.float32)
    for i, one in enumerate(slices):
        slope, intercept = one.slope, one.intercept
        if slope is None or intercept is None:
            if options.rescale is not None:
                slope, intercept = options.rescale
                notes.append(f"rescaled with slope {slope:g} and intercept {intercept:g} as given")
            elif one.modality == "CT" and options.strict:
                raise InputError(
                    f"{one.file.name} is CT without rescale slope and intercept, so its values are no Hounsfield units; "
                    "pass --rescale SLOPE INTERCEPT",
                    path=name,
                    flag="rescale",
                )
            else:
                slope, intercept = 1.0, 0.0
        stored: NDArray[np.float64] = one.pixels().T.astype(np.float64)
        data[:, :, i] = stored * slope + intercept
    return data


def _affine(first: Slice, step: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return voxel indices (column, row, slice) to millimeters in RAS+; DICOM's world is LPS."""
    affine = np.eye(4)
    affine[:3, 0] = first.row * first.spacing[1]
    affine[:3, 1] = first.column * first.spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = first.position
    affine[:2] *= -1
    return np.asarray(affine, dtype=np.float64)
