"""What a run gives: typed results that carry units, geometry and provenance, and save themselves in the field's formats.

`save` writes to a temporary name first and then renames, refuses to replace a file unless told to, and puts the provenance
beside the result as `<file>.provenance.json`.
"""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfm.errors import UsageError
from medfm.files import writing
from medfm.runtime.inputs import PathLike, Volume


@dataclass(frozen=True)
class Provenance:
    """Where a result comes from: enough to make it again.

    Attributes:
        model: id of the record.
        source: distribution and version, or repository and revision.
        sha256: of each weight file, by role.
        contract: hash of the input and output contract.
        versions: of medfm, Python and the libraries that computed.
        device: such as "cpu".
        dtype: such as "float32".
        seconds: of computing, without loading the model.
        inputs: names of the inputs, as far as they have any.
        notes: what was done beyond the contract.
        time: UTC, ISO 8601.
    """

    model: str
    source: str
    sha256: Mapping[str, str | None]
    contract: str
    versions: Mapping[str, str]
    device: str
    dtype: str
    seconds: float
    inputs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    time: str = ""
    disclaimer: str = "For research use only; not a medical device."

    def to_json(self) -> str:
        """Return the provenance as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class Result:
    """What every result has."""

    provenance: Provenance

    def save(self, path: PathLike, *, overwrite: bool = False) -> Path:
        """Write the result and its provenance; the suffix chooses the format.

        Raises:
            OutputExistsError: the file exists and `overwrite` is not set.
            UsageError: the suffix is none of the formats of this kind of result.
            SourceError: the file cannot be written (no such folder, no rights, a full disk); nothing half-written stays.
        """
        target = Path(path)
        writers = self._writers()
        suffix = next((s for s in writers if target.name.lower().endswith(s)), None)
        if suffix is None:
            raise UsageError(f"{target.name}: {type(self).__name__} is saved as {', '.join(writers)}")
        return self.write(target, writers[suffix], overwrite=overwrite)

    def write(self, path: PathLike, writer: Callable[[Path], object], *, overwrite: bool = False) -> Path:
        """Let `writer` write something made from this result, a picture or a table, and put the provenance beside it."""
        target = Path(path)
        with writing(target, overwrite=overwrite) as temporary:
            writer(temporary)
        with writing(target.with_name(target.name + ".provenance.json"), overwrite=True) as temporary:
            temporary.write_text(self.provenance.to_json(), encoding="utf-8")
        return target

    def _writers(self) -> Mapping[str, Callable[[Path], object]]:
        raise NotImplementedError  # every kind of result below says what it can be saved as


@dataclass(frozen=True)
class Embedding(Result):
    """Vectors, one an input.

    Attributes:
        vectors: (n, dimension) float32.
        names: of the inputs.
        distance: "euclidean" or "cosine", the one that the authors use.
        tokens: hidden states of each input (length, dimension) float32, when they were asked for.
    """

    vectors: NDArray[np.float32]
    names: tuple[str, ...]
    distance: str = "cosine"
    tokens: tuple[NDArray[np.float32], ...] = ()

    def distances(self) -> NDArray[np.float64]:
        """Return the (n, n) distances between all inputs."""
        x = self.vectors.astype(np.float64)
        if self.distance == "cosine":
            x = x / np.linalg.norm(x, axis=1, keepdims=True)
            found = 1 - x @ x.T
        else:
            square = (x**2).sum(1)
            found = np.sqrt(np.clip(square[:, None] + square[None] - 2 * x @ x.T, 0, None))
        np.fill_diagonal(found, 0.0)  # rounding would leave 1e-8 there
        return np.asarray(found)

    def _writers(self) -> Mapping[str, Callable[[Path], object]]:
        return {".csv": self._csv, ".npy": self._npy, ".safetensors": self._safetensors, ".parquet": self._parquet}

    def _csv(self, path: Path) -> None:
        columns = [f"d{i}" for i in range(self.vectors.shape[1])]
        table(
            path,
            ["name", *columns],
            ([n, *map(repr, map(float, v))] for n, v in zip(self.names, self.vectors, strict=True)),
        )

    def _npy(self, path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, self.vectors, allow_pickle=False)

    def _safetensors(self, path: Path) -> None:
        from safetensors.numpy import save_file

        save_file({"vectors": self.vectors}, path, metadata={"names": json.dumps(self.names)})

    def _parquet(self, path: Path) -> None:
        from medfm.runtime.parquet import vectors, write

        write(path, vectors(self.names, self.vectors), {"medfm": self.provenance.to_json()})


@dataclass(frozen=True)
class Similarity(Result):
    """How well images and texts go together.

    Attributes:
        values: (images, texts) float32, cosine similarity in [-1, 1].
        names: of the images.
        texts: the texts.
    """

    values: NDArray[np.float32]
    names: tuple[str, ...]
    texts: tuple[str, ...]

    def best(self, count: int = 1) -> list[list[str]]:
        """Return the texts that go best with each image, best first."""
        order = np.argsort(-self.values, axis=1, kind="stable")[:, :count]
        return [[self.texts[j] for j in row] for row in order]

    def _writers(self) -> Mapping[str, Callable[[Path], object]]:
        return {".csv": self._csv}

    def _csv(self, path: Path) -> None:
        rows = (
            (name, text, float(value))
            for name, line in zip(self.names, self.values, strict=True)
            for text, value in zip(self.texts, line, strict=True)
        )
        table(path, ["name", "text", "similarity"], rows)


@dataclass(frozen=True)
class Scores(Result):
    """Probabilities for named labels.

    Attributes:
        groups: group -> labels.
        values: group -> (n, labels) float32, probabilities.
        names: of the inputs.
    """

    groups: Mapping[str, tuple[str, ...]]
    values: Mapping[str, NDArray[np.float32]]
    names: tuple[str, ...]

    def best(self) -> list[dict[str, str]]:
        """Return the likeliest label of each group, for each input."""
        return [
            {group: labels[int(self.values[group][i].argmax())] for group, labels in self.groups.items()}
            for i in range(len(self.names))
        ]

    def _writers(self) -> Mapping[str, Callable[[Path], object]]:
        return {".csv": self._csv, ".json": self._json}

    def _rows(self) -> Iterator[tuple[str, str, str, float]]:
        for i, name in enumerate(self.names):
            for group, labels in self.groups.items():
                for label, value in zip(labels, self.values[group][i], strict=True):
                    yield name, group, label, float(value)

    def _csv(self, path: Path) -> None:
        table(path, ["name", "group", "label", "probability"], self._rows())

    def _json(self, path: Path) -> None:
        keys = ("name", "group", "label", "probability")
        rows = [dict(zip(keys, row, strict=True)) for row in self._rows()]
        path.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Segmentation(Result):
    """A mask on the input's own grid.

    Attributes:
        mask: (x, y, z) uint8, or uint16 where there are more than 255 labels, in the axis order of the input file.
        labels: value in the mask -> what it marks.
        volume: the input, with its affine and header.
        layers: (labels, x, y, z) bool where labels may overlap, in the order of `labels`; None where they cannot.
    """

    mask: NDArray[np.uint8] | NDArray[np.uint16]
    labels: Mapping[int, str]
    volume: Volume
    layers: NDArray[np.bool_] | None = None

    def layer(self, label: str) -> NDArray[np.bool_]:
        """Return the voxels of one label, those that it shares with others included.

        Raises:
            UsageError: there is no such label.
        """
        names = list(self.labels.values())
        if label not in names:
            raise UsageError(f"there is no label {label!r}; the labels are {', '.join(names)}")
        if self.layers is not None:
            return np.asarray(self.layers[names.index(label)])
        return np.asarray(self.mask == list(self.labels)[names.index(label)])

    def volumes_ml(self) -> dict[str, float]:
        """Return the volume of each label in mL."""
        if self.layers is not None:
            counts = [int(layer.sum()) for layer in self.layers]
        else:
            found = np.bincount(self.mask.ravel(), minlength=max(self.labels, default=0) + 1)
            counts = [int(found[value]) for value in self.labels]
        return {name: n * self.volume.voxel_ml for name, n in zip(self.labels.values(), counts, strict=True)}

    def overlay(self, path: PathLike, *, overwrite: bool = False, title: str = "") -> Path:
        """Draw three slices of the input with the mask's contour as PNG (needs matplotlib)."""
        return self.write(path, lambda temporary: self._draw(temporary, title), overwrite=overwrite)

    def _draw(self, path: Path, title: str = "") -> None:
        from medfm.runtime.pictures import overlay

        overlay(self, path, title)

    def _writers(self) -> Mapping[str, Callable[[Path], object]]:
        return {".nii.gz": self._nifti, ".nii": self._nifti, ".png": self._draw}

    def _nifti(self, path: Path) -> None:
        import nibabel

        header = self.volume.header.copy() if isinstance(self.volume.header, nibabel.Nifti1Header) else None
        if header is not None:
            header.set_data_dtype(self.mask.dtype)
            header["scl_slope"], header["scl_inter"], header["cal_min"], header["cal_max"] = 1, 0, 0, 0
        image = nibabel.Nifti1Image(self.mask, self.volume.affine, header)
        nibabel.save(image, path)


@dataclass(frozen=True)
class Event:
    """Something that happens in time.

    Attributes:
        start, end: seconds from the start of the recording.
        confidence: in [0, 1].
    """

    label: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Events(Result):
    """Events of one recording, in the order of time.

    Attributes:
        events: what was found.
        signal: (channels, samples) of the input.
        sampling_rate: Hz.
    """

    events: tuple[Event, ...]
    signal: NDArray[np.float64]
    sampling_rate: float

    def plot(self, path: PathLike, *, overwrite: bool = False, title: str = "") -> Path:
        """Draw the recording with the events marked as PNG (needs matplotlib)."""
        return self.write(path, lambda temporary: self._draw(temporary, title), overwrite=overwrite)

    def _draw(self, path: Path, title: str = "") -> None:
        from medfm.runtime.pictures import recording

        recording(self, path, title)

    def _writers(self) -> Mapping[str, Callable[[Path], object]]:
        return {".csv": self._csv, ".json": self._json, ".png": self._draw}

    def _csv(self, path: Path) -> None:
        rows = ((e.label, f"{e.start:.4f}", f"{e.end:.4f}", f"{e.confidence:.6f}") for e in self.events)
        table(path, ["label", "start_s", "end_s", "confidence"], rows)

    def _json(self, path: Path) -> None:
        rows = [dataclasses.asdict(event) for event in self.events]
        path.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Text(Result):
    """Text or sequences that a model wrote, one an input."""

    texts: tuple[str, ...]
    names: tuple[str, ...]

    def _writers(self) -> Mapping[str, Callable[[Path], object]]:
        return {".csv": self._csv, ".fasta": self._fasta, ".txt": self._lines}

    def _csv(self, path: Path) -> None:
        table(path, ["name", "text"], zip(self.names, self.texts, strict=True))

    def _fasta(self, path: Path) -> None:
        lines = (f">{name}\n{text}\n" for name, text in zip(self.names, self.texts, strict=True))
        path.write_text("".join(lines), encoding="utf-8")

    def _lines(self, path: Path) -> None:
        path.write_text("".join(f"{text}\n" for text in self.texts), encoding="utf-8")


def table(path: Path, columns: Sequence[str], rows: Any) -> None:
    """Write rows as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


__all__ = [
    "Embedding",
    "Event",
    "Events",
    "Provenance",
    "Result",
    "Scores",
    "Segmentation",
    "Similarity",
    "Text",
    "table",
]
