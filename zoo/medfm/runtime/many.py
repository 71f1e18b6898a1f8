"""Many files: a folder is searched, run through a model, and every result kept at once, so that a run can be stopped and resumed.

Vectors and probabilities go into one Parquet file, by way of parts that lie beside it until the run is through; masks and events
go into one file each. What is there already is not computed again; a file that cannot be used is listed and stops nothing.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medfm.catalog.contracts import ReadImage, ReadVideo, ReadVolume
from medfm.errors import InputError, MedfmError, OutputExistsError, UsageError
from medfm.files import writing
from medfm.runtime import classifying, encoding, parquet, series
from medfm.runtime.runner import Run
from medfm.runtime.videos import SUFFIXES

if TYPE_CHECKING:
    from medfm.runtime.runner import Runner

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm")
VOLUMES = (".nii", ".nii.gz")
_ROWS, _SECONDS = 512, 20.0  # a part is written at the latest after this many rows or seconds


@dataclass
class Report:
    """What became of many files.

    Attributes:
        done: how many were computed now.
        there: how many were there from an earlier run.
        failed: name -> why it could not be used.
        target: where the results lie.
    """

    target: Path
    done: int = 0
    there: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def find(runner: Runner, folders: Sequence[Path]) -> dict[str, Any]:
    """Return what a model can read in folders and all below them: name, relative to its folder -> source.

    Files of DICOM are grouped by series where the model reads volumes; hidden files are passed over.

    Raises:
        InputError: there is nothing that the model reads, or two folders hold the same name.
    """
    first = runner.record.input[0]
    found: dict[str, Any] = {}
    for folder in folders:
        files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
        if isinstance(first, ReadVolume):
            sources = {str(p.relative_to(folder)): p for p in files if p.name.lower().endswith(VOLUMES)}
            sources |= _series(folder, [p for p in files if series.is_file(p)])
        elif isinstance(first, ReadImage):
            sources = {
                str(p.relative_to(folder)): p for p in files if p.suffix.lower() in PICTURES or series.is_file(p)
            }
        elif isinstance(first, ReadVideo):
            sources = {
                str(p.relative_to(folder)): p for p in files if p.suffix.lower() in SUFFIXES or series.is_file(p)
            }
        else:
            sources = {str(p.relative_to(folder)): p for p in files}
        if twice := found.keys() & sources.keys():
            raise InputError(f"{min(twice)} stands in two of the folders; run them one by one", path=str(folder))
        found |= sources
    if not found:
        raise InputError("holds no file that this model reads", path=", ".join(map(str, folders)))
    return found


def _series(folder: Path, files: Sequence[Path]) -> dict[str, Any]:
    """Return every series by the folder that it lies in, numbered where that holds several."""
    found: dict[str, Any] = {}
    for paths in series.groups(files).values():
        name = str(paths[0].parent.relative_to(folder))
        name = folder.name if name == "." else name
        number = sum(1 for known in found if known.split("#")[0] == name)
        found[f"{name}#{number + 1}" if number else name] = tuple(paths)
    return found


def table(
    runner: Runner,
    sources: Mapping[str, Any],
    target: Path,
    *,
    method: str,
    options: Mapping[str, Any],
    batch_size: int | None = None,
    workers: int = 2,
    overwrite: bool = False,
) -> Report:
    """Embed or classify many files into one Parquet file.

    Args:
        runner: the model.
        sources: name -> source, as `find` gives them.
        target: the Parquet file.
        method: "embed" or "classify".
        options: see `medfm.runtime.state.Options`.
        batch_size: inputs at once.
        workers: threads that read ahead.
        overwrite: replace a finished file.

    Raises:
        OutputExistsError: the file is there already.
        UsageError: the parts that lie there belong to another run.
    """
    parquet.library()
    if target.exists() and not overwrite:
        raise OutputExistsError(str(target))
    parts = target.with_name(target.name + ".parts")
    _same_run(parts, {"model": runner.record.id, "contract": runner.record.contract, "method": method,
                      "options": {k: v for k, v in options.items() if v not in (None, False)}})  # fmt: skip
    there = {name for part in _parts(parts) for name in parquet.names_in(part)}
    left = {name: source for name, source in sources.items() if name not in there}
    report = Report(target, there=len(sources) - len(left))
    run = Run()
    if left:
        for names, rows in _rows(runner, left, run, report, method, options, batch_size, workers):
            with writing(parts / f"part-{len(_parts(parts)):06d}.parquet", overwrite=False) as temporary:
                parquet.write(temporary, rows, {})
            report.done += len(names)
    finished = _parts(parts)
    if not finished:
        raise InputError(f"none of {len(sources)} files could be used; the first: {next(iter(report.failed.values()))}")
    run.names = []  # a million names belong into the table, not into its metadata
    provenance = runner.provenance(run).to_json()
    with writing(target, overwrite=overwrite) as temporary:
        parquet.merge(finished, temporary, {"medfm": provenance})
    with writing(target.with_name(target.name + ".provenance.json"), overwrite=True) as temporary:
        temporary.write_text(provenance, encoding="utf-8")
    shutil.rmtree(parts)
    return report


def _same_run(parts: Path, identity: Mapping[str, Any]) -> None:
    """Make the folder of parts, or make sure that the parts in it were made in the same way."""
    parts.mkdir(parents=True, exist_ok=True)
    note = parts / "run.json"
    if note.exists():
        if json.loads(note.read_text(encoding="utf-8")) != json.loads(json.dumps(identity)):
            raise UsageError(
                f"{parts} holds the parts of another run (other model, contract or options); delete it or choose another output"
            )
        return
    with writing(note, overwrite=False) as temporary:
        temporary.write_text(json.dumps(identity, indent=2), encoding="utf-8")


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))


def _rows(
    runner: Runner, left: Mapping[str, Any], run: Run, report: Report, method: str, options: Mapping[str, Any],
    batch_size: int | None, workers: int,
) -> Iterator[tuple[list[str], Any]]:  # fmt: skip
    """Give tables of some hundred rows, with the names in them."""
    names = {_key(source): name for name, source in left.items()}

    def failed(source: Any, error: Exception) -> None:
        report.failed[names[_key(source)]] = (
            str(error) if isinstance(error, MedfmError) else f"{type(error).__name__}: {error}"
        )

    stream: Iterator[Any] = encoding.stream(
        runner, list(left.values()), run, dict(options), batch_size=batch_size, workers=workers, failed=failed
    ) if method == "embed" else classifying.stream(
        runner, list(left.values()), run, dict(options), batch_size=batch_size, workers=workers, failed=failed
    )  # fmt: skip
    waiting: list[Any] = []
    given, began = 0, time.monotonic()
    for found in stream:
        waiting.append(found)
        if len(run.names) - given >= _ROWS or time.monotonic() - began > _SECONDS:
            ready = [names[name] for name in run.names[given:]]
            yield ready, _table(runner, ready, waiting, method)
            waiting, given, began = [], len(run.names), time.monotonic()
    if waiting:
        ready = [names[name] for name in run.names[given:]]
        yield ready, _table(runner, ready, waiting, method)


def _key(source: Any) -> str:
    """Return the name that a runner gives to what it read from a source."""
    return str(source[0]) if isinstance(source, tuple) else str(source)


def _table(runner: Runner, names: list[str], found: list[Any], method: str) -> Any:
    if method == "embed":
        return parquet.vectors(names, np.concatenate([part.numpy() for part in found]))
    groups = runner.output("scores").labels()
    values = {group: np.concatenate([part[group].numpy() for part in found]) for group in groups}
    return parquet.scores(names, values, groups)


def files(
    runner: Runner, sources: Mapping[str, Any], folder: Path, *, method: str, suffix: str, options: Mapping[str, Any],
    overwrite: bool = False,
) -> Report:  # fmt: skip
    """Run many files into one result each, below `folder` as they lie below theirs.

    A result counts as done when its provenance, which is written last, names this model and contract.

    Args:
        runner: the model.
        sources: name -> source, as `find` gives them.
        folder: where the results go.
        method: such as "segment".
        suffix: of the results, such as ".nii.gz".
        options: what the method takes.
        overwrite: compute again what is there.
    """
    report = Report(folder)
    for name, source in runner.shown(list(sources.items()), len(sources)):
        target = folder / f"{_stem(name)}.{method}{suffix}"
        if not overwrite and _finished(runner, target):
            report.there += 1
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            getattr(runner, method)(source, **options).save(target, overwrite=True)
            report.done += 1
        except Exception as error:  # one bad file must not end a night's run
            report.failed[name] = str(error) if isinstance(error, MedfmError) else f"{type(error).__name__}: {error}"
    return report


def _stem(name: str) -> str:
    for suffix in (".nii.gz", ".nii"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return str(Path(name).with_suffix(""))


def _finished(runner: Runner, target: Path) -> bool:
    note = target.with_name(target.name + ".provenance.json")
    if not (target.exists() and note.exists()):
        return False
    known = json.loads(note.read_text(encoding="utf-8"))
    return bool(known["model"] == runner.record.id and known["contract"] == runner.record.contract)
