"""Reading inputs: volumes with their geometry, signals with their sampling rate, sequences with their names.

Every reader refuses what it cannot read faithfully, with one sentence that says what was wrong and what to do.
"""

from __future__ import annotations

import csv
import gzip
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medfm.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Volume:
    """A 3D image with its place in space.

    Attributes:
        data: (x, y, z) float32, intensities after the file's scaling.
        affine: (4, 4) float64, voxel indices to millimeters in RAS+ world space.
        name: the file's path, or "" for arrays.
        header: the NIfTI header of the file, kept for saving results on the same grid.
        notes: what was done beyond the contract while reading.
    """

    data: NDArray[np.float32]
    affine: NDArray[np.float64]
    name: str = ""
    header: Any = None
    notes: tuple[str, ...] = ()

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along each axis."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(x), float(y), float(z)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in mL."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000


@dataclass(frozen=True)
class Signal:
    """A recording.

    Attributes:
        data: (channels, samples) float64.
        sampling_rate: Hz, or None where neither the file nor the caller says.
        name: the file's path, or "" for arrays.
    """

    data: NDArray[np.float64]
    sampling_rate: float | None
    name: str = ""


@dataclass(frozen=True)
class Sequences:
    """Residue sequences with their names."""

    names: tuple[str, ...]
    letters: tuple[str, ...]


@dataclass(frozen=True)
class Receptor:
    """One T-cell receptor; None for what is not known.

    Attributes:
        trav, trbv: V genes in IMGT nomenclature, with or without allele.
        cdr3a, cdr3b: CDR3 with its conserved C and F/W, as IMGT's junction.
    """

    name: str
    trav: str | None = None
    cdr3a: str | None = None
    trbv: str | None = None
    cdr3b: str | None = None


# ---------------------------------------------------------------- volumes


def read_volume(source: PathLike | Nifti1Image | Volume, frames: str = "refuse") -> Volume:
    """Read a NIfTI file (or take an image that is in memory).

    Args:
        source: a path to .nii or .nii.gz, a nibabel image, or a `Volume`.
        frames: what to do with a fourth axis that has more than one frame: "refuse", or "first".

    Raises:
        InputError: no NIfTI, cut off, no affine, no voxels, not three-dimensional, more than one channel.
    """
    if isinstance(source, Volume):
        return source
    try:
        import nibabel
        from nibabel.filebasedimages import ImageFileError
    except ImportError:
        raise MissingExtraError("nibabel", "volumes", why="reading NIfTI") from None
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else ""
    image: Any = source
    if name:
        if not Path(name).is_file():
            raise InputError("there is no such file", path=name)
        try:
            image = nibabel.load(name)
        except (ImageFileError, OSError, EOFError, zlib.error) as error:
            raise InputError(
                f"not a readable NIfTI volume ({_short(error)}); this model needs .nii or .nii.gz", path=name
            ) from None
    if not hasattr(image, "affine") or not hasattr(image, "get_fdata"):
        raise InputError(f"expected a NIfTI volume, found {type(source).__name__}", path=name)
    shape = tuple(image.shape)
    if 0 in shape:
        raise InputError(f"the volume has no voxels: its shape is {_shape(shape)}", path=name)
    if len(shape) > 3 and any(n > 1 for n in shape[4:]):
        raise InputError(f"the volume has more than one channel: its shape is {_shape(shape)}", path=name)
    if len(shape) > 3 and shape[3] > 1 and frames == "refuse":
        raise InputError(f"the file holds {shape[3]} frames; give one 3D volume", path=name)
    if len(shape) < 3 or min(shape[:3]) < 2:
        raise InputError(f"a 2D image was given to a 3D model: its shape is {_shape(shape)}", path=name)
    affine = image.affine
    header = image.header
    coded = int(header["qform_code"]) + int(header["sform_code"]) if "qform_code" in header else 1
    if affine is None or not coded:
        raise InputError(
            "the file says nothing of orientation (qform and sform codes are 0), so left and right could be swapped; "
            "set its affine, or pass --assume-affine if the voxel order is known to be RAS with the header's spacing",
            path=name,
            flag="assume_affine",
        )
    affine = np.asarray(affine, dtype=np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise InputError(
            "the affine cannot be inverted, so voxels have no place in space; repair the header", path=name
        )
    try:
        data = np.asarray(image.dataobj, dtype=np.float32)
    except (OSError, EOFError, ValueError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"the file is cut off or damaged ({_short(error)}); copy it again", path=name) from None
    while data.ndim > 3:
        data = data[..., 0]
    return Volume(data, affine, name, header)


def with_assumed_affine(path: PathLike) -> Nifti1Image:
    """Read a NIfTI file whose header gives no orientation, taking voxel order RAS and the header's spacing."""
    import nibabel

    image = nibabel.load(os.fspath(path))
    zooms = image.header.get_zooms()[:3]
    header = image.header.copy()
    affine = np.diag([*map(float, zooms), 1.0])
    header.set_sform(affine, code=1)
    return nibabel.Nifti1Image(image.dataobj, affine, header)


# ---------------------------------------------------------------- signals


def read_signal(source: PathLike | NDArray[Any] | Signal, sampling_rate: float | None = None) -> Signal:
    """Read a recording: text with one number a line, CSV with one column a channel, or .npy (channels, samples).

    Args:
        source: a path, an array of shape (samples,) or (channels, samples), or a `Signal`.
        sampling_rate: Hz; these file types do not say.

    Raises:
        InputError: no such file, not numbers, no samples, not finite.
    """
    if isinstance(source, Signal):
        return Signal(source.data, sampling_rate or source.sampling_rate, source.name)
    name = ""
    if isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        data = _numbers(Path(name))
    else:
        data = np.asarray(source, dtype=np.float64)
    if data.ndim == 1:
        data = data[None]
    if data.ndim != 2 or data.size == 0:
        raise InputError(f"expected (channels, samples), found shape {_shape(data.shape)}", path=name)
    if not np.isfinite(data).all():
        raise InputError(
            f"{int((~np.isfinite(data)).sum())} samples are NaN or infinite; fill or cut the gaps first", path=name
        )
    return Signal(data, sampling_rate, name)


def _numbers(path: Path) -> NDArray[np.float64]:
    if not path.is_file():
        raise InputError("there is no such file", path=str(path))
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
        rows = [line.replace(",", " ").split() for line in path.read_text().splitlines() if line.strip()]
        return np.asarray(rows, dtype=np.float64).T if rows else np.empty((0, 0))
    except (ValueError, UnicodeDecodeError, EOFError) as error:
        raise InputError(f"not a table of numbers ({_short(error)})", path=str(path)) from None


# ---------------------------------------------------------------- sequences


def read_sequences(source: PathLike | Sequence[str] | Sequences) -> Sequences:
    """Read sequences: a FASTA file, a text file with one a line, one sequence, or a list of sequences.

    A string is taken as a path when such a file exists or when it has a dot or a slash, else as a sequence.

    Raises:
        InputError: no such file, or no sequence in it.
    """
    if isinstance(source, Sequences):
        return source
    if isinstance(source, str | os.PathLike):
        text = os.fspath(source)
        if not (isinstance(source, os.PathLike) or Path(text).is_file() or "." in text or "/" in text):
            return Sequences(("1",), (text,))
        path = Path(text)
        if not path.is_file():
            raise InputError("there is no such file", path=text)
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            raise InputError("not a text file; expected FASTA or one sequence a line", path=text) from None
        found = list(_fasta(lines)) if any(line.startswith(">") for line in lines) else list(_lines(lines))
        if not found:
            raise InputError("there is no sequence in the file", path=text)
        return Sequences(tuple(name for name, _ in found), tuple(letters for _, letters in found))
    letters = tuple(source)
    if not letters:
        raise InputError("no sequence was given")
    return Sequences(tuple(str(i) for i in range(1, len(letters) + 1)), letters)


def _fasta(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    name, letters = "", ""
    for line in lines:
        if line.startswith(">"):
            if letters:
                yield name, letters
            name, letters = (line[1:].split() or [""])[0], ""
        else:
            letters += line.strip()
    if letters:
        yield name, letters


def _lines(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield str(number), line.strip()


# ---------------------------------------------------------------- receptors

_COLUMNS = {"trav": "trav", "cdr3a": "cdr3a", "trbv": "trbv", "cdr3b": "cdr3b"}


def read_receptors(source: PathLike | Sequence[Mapping[str, str | None]] | Sequence[Receptor]) -> list[Receptor]:
    """Read T-cell receptors: a CSV or TSV file, or rows, with the columns TRAV, CDR3A, TRBV, CDR3B (any case).

    A column `name` or `id` names the rows; other columns are left alone.

    Raises:
        InputError: no such file, none of the columns, or a row without any receptor.
    """
    name = ""
    rows: Sequence[Any]
    if isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        path = Path(name)
        if not path.is_file():
            raise InputError("there is no such file", path=name)
        try:
            with path.open(newline="") as file:
                rows = list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"not a table ({_short(error)})", path=name) from None
    else:
        rows = list(source)
    if rows and all(isinstance(row, Receptor) for row in rows):
        return list(rows)
    receptors = []
    for number, row in enumerate(rows, start=1):
        lowered = {str(key).strip().lower(): value for key, value in row.items() if key is not None}
        if not _COLUMNS.keys() & lowered.keys():
            raise InputError(
                f"expected the columns TRAV, CDR3A, TRBV, CDR3B; found {', '.join(row) or 'none'}", path=name
            )
        values = {field_: (lowered.get(column) or None) for column, field_ in _COLUMNS.items()}
        if not any(values.values()):
            raise InputError(f"row {number} names no receptor", path=name)
        receptors.append(Receptor(str(lowered.get("name") or lowered.get("id") or number), **values))
    if not receptors:
        raise InputError("there is no receptor in the input", path=name)
    return receptors


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) < 120 else text[:117] + "..."


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(str(n) for n in shape) or "none"


__all__ = [
    "PathLike",
    "Receptor",
    "Sequences",
    "Signal",
    "Volume",
    "read_receptors",
    "read_sequences",
    "read_signal",
    "read_volume",
    "with_assumed_affine",
]
