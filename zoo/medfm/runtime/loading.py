"""`medfm.load`: from a model's id to something that runs."""

from __future__ import annotations

import datetime
import importlib
import platform
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medfm import __version__
from medfm.catalog.records import Model
from medfm.catalog.store import read_one
from medfm.catalog.weights import HubOrigin, LocalOrigin, PackageOrigin, WeightFile
from medfm.errors import CapabilityError, CatalogError, MissingExtraError, UnknownIdError, UsageError, near_misses

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from medfm.runtime import contract as engine
    from medfm.runtime.inputs import Signal, Volume
    from medfm.runtime.outputs import Embedding, Events, Provenance, Scores, Segmentation, Text

# Extra of the package that a family needs, named when a library is missing.
EXTRAS = {
    "linknet3d": "volumes",
    "onnx_detector": "signals",
    "receptor_transformer": "sequences",
    "bert_sequence": "sequences",
}
_LIBRARIES = (
    "torch",
    "numpy",
    "nibabel",
    "scipy",
    "onnxruntime",
    "PyWavelets",
    "transformers",
    "tidytcells",
    "safetensors",
)


def load(
    id: str | Model,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    weights: Mapping[str, str | Path] | None = None,
    offline: bool = False,
    accept_unpinned: bool = False,
    progress: bool = True,
) -> Runner:
    """Load a model by the id of its record, ready to run.

    Args:
        id: such as "deepbet"; or a `Model` record.
        device: "cpu", "cuda", "cuda:1" or "mps".
        dtype: "float32", or "bfloat16" where the device computes in it.
        weights: role -> local file, instead of fetching; the record's sha256 still holds.
        offline: never open a socket; the files must be in the cache.
        accept_unpinned: use files whose sha256 the record does not know.
        progress: show progress bars on a terminal.

    Raises:
        UnknownIdError: no such model; it offers near misses.
        CapabilityError: the record has no weights that medfm can build.
        MissingExtraError: a library is missing; it names the command that installs it.
        SourceError, IntegrityError, GateError: the weights cannot be had, or are not the promised ones.
        CheckpointError, UnsafeFileError: the weights do not fit, or could run code.
        UsageError: there is no such device or dtype.

    >>> import medfm
    >>> medfm.load("sceptr").embed([{"CDR3A": "CAVSGGSYIPTF", "CDR3B": "CASSIRSSYEQYF"}]).vectors.shape
    (1, 64)
    """
    record = id if isinstance(id, Model) else find(id)
    if not record.loadable or record.weights is None:
        raise CapabilityError(record.id, "be loaded" + _why_not(record), ())
    try:
        import torch
    except ImportError:
        extra = EXTRAS.get(record.weights.family, "run")
        raise MissingExtraError("torch", extra, why=f"running {record.id}") from None
    from medfm.runtime import hub, sources

    where = _device(device)
    kind = {"float32": torch.float32, "bfloat16": torch.bfloat16}.get(dtype)
    if kind is None:
        hint = "; float16 is 4 to 14 times slower on a CPU" if dtype == "float16" else ""
        raise UsageError(f"dtype is float32 or bfloat16, not {dtype!r}{hint}")
    origin = record.weights.origin
    if weights is not None:
        unknown = sorted(weights.keys() ^ origin.files.keys())
        if unknown:
            raise UsageError(
                f"{record.id} needs local files for the roles {', '.join(origin.files)}; not {', '.join(weights)}"
            )
        origin = LocalOrigin(
            files={role: WeightFile(path=str(path), sha256=origin.files[role].sha256) for role, path in weights.items()}
        )
    files = sources.fetch(
        origin, offline=offline, accept_unpinned=accept_unpinned, progress=progress, gate=hub.gate(record)
    )
    family = importlib.import_module(f"medfm.runtime.families.{record.weights.family}")
    network = family.build(record.weights, files, where, kind)
    return Runner(record, network, files, device=str(where), dtype=dtype, progress=progress)


def find(id: str) -> Model:
    """Return one model's record, reading its own file only.

    Raises:
        UnknownIdError: there is none; it offers near misses.
        CatalogError: the record cannot be read.
    """
    from medfm import content

    folder = content.root() / "catalog" / Model.folder
    path = folder / f"{id}.yaml"
    if "/" in id or not path.is_file():
        from medfm.catalog.index import Index

        with Index.open() as index:  # aliases and names work too
            values = index.record(id)
        if values["kind"] != "model":
            raise UnknownIdError("model", id, near_misses(id, (p.stem for p in folder.glob("*.yaml"))))
        path = folder / f"{values['id']}.yaml"
    record, problems = read_one(path, f"catalog/{Model.folder}/{path.name}")
    if not isinstance(record, Model):
        raise CatalogError(problems)
    return record


def _why_not(record: Model) -> str:
    status = record.release.status if record.release else None
    if status in ("closed", "withdrawn"):
        return f": its weights are {status}"
    where = record.links.get("weights") or record.links.get("code")
    return f" yet: medfm has no family for it{f'; its weights are at {where}' if where else ''}"


def _device(name: str) -> torch.device:
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"{name!r} is no device; use cpu, cuda, cuda:0 or mps") from None
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device.type, False):
        raise UsageError(f"this machine has no {device.type} device that torch can use; use device='cpu'")
    return device


class Runner:
    """A loaded model. Which methods it has depends on the network: see `can`.

    Attributes:
        record: what the catalog knows of it.
        can: names of the methods that work, such as ("embed", "classify").
    """

    def __init__(
        self, record: Model, network: Any, files: Mapping[str, Path], *, device: str, dtype: str, progress: bool = True
    ) -> None:
        from medfm.runtime.capabilities import methods

        self.record, self.network = record, network
        self.can = methods(network)
        self._files, self._device, self._dtype, self._progress = dict(files), device, dtype, progress

    def __repr__(self) -> str:
        return f"<{self.record.id}: can {', '.join(self.can)}; contract {self.record.contract}; {self._device}>"

    def embed(self, source: object, *, tokens: bool = False, batch_size: int = 64, **options: Any) -> Embedding:
        """Return one vector for each input.

        Args:
            source: what the model's contract reads: a path, or objects in memory, one or many.
            tokens: keep the hidden states of every token too.
            batch_size: inputs that run at once.
            **options: see `medfm.runtime.contract.Options`.

        Raises:
            CapabilityError: the model gives no vectors.
            InputError: an input cannot be used.
        """
        import numpy as np
        import torch

        from medfm.runtime.outputs import Embedding
        from medfm.runtime.pooling import pool

        self._needs("embed")
        described = self._output("embedding")
        started = time.perf_counter()
        items = self._read(source, options)
        vectors, kept, notes = [], [], set[str]()
        for chunk, prepared in self._batches(items, batch_size, options):
            hidden = self.network.encode(prepared.batch)
            lengths = _lengths(prepared.batch, len(chunk))
            vectors.append(pool(hidden, lengths, described))
            if tokens:
                kept += [hidden[i, :length].numpy() for i, length in enumerate(lengths)]
            notes |= set(prepared.notes)
        names = tuple(_name(item, i) for i, item in enumerate(items, start=1))
        provenance = self._provenance(started, names, notes)
        stacked = torch.cat(vectors).numpy().astype(np.float32)
        return Embedding(provenance, stacked, names, described.distance, tuple(kept))

    def classify(self, source: object, *, batch_size: int = 64, **options: Any) -> Scores:
        """Return probabilities for the model's own labels.

        Args:
            source: what the model's contract reads, one or many.
            batch_size: inputs that run at once.
            **options: see `medfm.runtime.contract.Options`.
        """
        import torch

        from medfm.runtime.outputs import Scores

        self._needs("classify")
        described = self._output("scores")
        started = time.perf_counter()
        items = self._read(source, options)
        found: dict[str, list[Tensor]] = {group: [] for group in described.groups}
        notes: set[str] = set()
        for _, prepared in self._batches(items, batch_size, options):
            logits = self.network.score(prepared.batch)
            for group in found:
                x = logits[group]
                found[group].append(x.softmax(-1) if described.activation == "softmax" else x.sigmoid())
            notes |= set(prepared.notes)
        names = tuple(_name(item, i) for i, item in enumerate(items, start=1))
        values = {group: torch.cat(parts).numpy() for group, parts in found.items()}
        return Scores(self._provenance(started, names, notes), described.groups, values, names)

    def segment(self, source: object, **options: Any) -> Segmentation:
        """Return a mask of one volume, on its own grid.

        Args:
            source: a path or an image in memory.
            **options: see `medfm.runtime.contract.Options`.
        """
        from medfm.runtime import contract as engine
        from medfm.runtime.outputs import Segmentation

        self._needs("segment")
        described = self._output("segmentation")
        started = time.perf_counter()
        (item,) = self._read(source, options)
        volume: Volume = item
        prepared = engine.prepare(self.record.input, [item], self._context(options))
        probability = self.network.segment(prepared.batch)[0]
        (frame,) = prepared.frames
        assert frame is not None
        mask = engine.restore(probability, frame, described)
        return Segmentation(self._provenance(started, (volume.name,), prepared.notes), mask, described.labels, volume)

    def detect(self, source: object, **options: Any) -> Events:
        """Return the events in one recording, which is read in consecutive windows.

        Args:
            source: a path, or an array (samples,) or (channels, samples).
            **options: see `medfm.runtime.contract.Options`; `sampling_rate` in Hz for files that do not say.
        """
        import numpy as np

        from medfm.runtime import contract as engine
        from medfm.runtime.events import decode
        from medfm.runtime.inputs import read_signal
        from medfm.runtime.outputs import Events

        self._needs("detect")
        described = self._output("events")
        started = time.perf_counter()
        windows: list[Signal] = self._read(source, options)
        rate = windows[0].sampling_rate
        assert rate is not None
        length = windows[0].data.shape[-1] / rate
        events, notes = [], set[str]()
        left = engine.tail(self.record.input, read_signal(source))  # type: ignore[arg-type]  # it was read a moment ago
        if left:
            notes.add(f"the last {left} samples ({left / rate:.3g} s) fill no window and were not analyzed")
        for i, window in enumerate(self._shown(windows)):
            prepared = engine.prepare(self.record.input, [window], self._context(options))
            cells = self.network.detect(prepared.batch)[0].numpy()
            events += decode(cells, described, seconds=length, offset=i * length)
            notes |= set(prepared.notes)
        signal = np.concatenate([window.data for window in windows], axis=-1)
        provenance = self._provenance(started, (windows[0].name,), notes)
        return Events(provenance, tuple(sorted(events, key=lambda e: e.start)), signal, rate)

    def generate(self, source: object, *, batch_size: int = 64, **options: Any) -> Text:
        """Return the inputs with what is missing filled in.

        Args:
            source: sequences in which the contract's letter for unknown residues marks the gaps.
            batch_size: inputs that run at once.
            **options: see `medfm.runtime.contract.Options`.
        """
        from medfm.runtime.outputs import Text

        self._needs("generate")
        started = time.perf_counter()
        items = self._read(source, options)
        written: list[str] = []
        notes: set[str] = set()
        words = self._words()
        for chunk, prepared in self._batches(items, batch_size, options):
            completed = self.network.complete(prepared.batch)
            for row, (_, letters) in zip(completed.tolist(), chunk, strict=True):
                written.append("".join(words[number] for number in row[1 : 1 + len(letters)]))
            notes |= set(prepared.notes)
        names = tuple(_name(item, i) for i, item in enumerate(items, start=1))
        return Text(self._provenance(started, names, notes), tuple(written), names)

    # ------------------------------------------------------------ the parts

    def _needs(self, method: str) -> None:
        if method not in self.can:
            raise CapabilityError(self.record.id, method, self.can)

    def _output(self, name: str) -> Any:
        described = getattr(self.record.output, name)
        assert described is not None, "a contract test holds records to what their networks can do"
        return described

    def _options(self, options: Mapping[str, Any]) -> engine.Options:
        from medfm.runtime import contract as engine

        known = engine.Options.__dataclass_fields__
        for name in options:
            if name not in known:
                raise UsageError(f"there is no option {name!r}; the options are {', '.join(known)}")
        return engine.Options(**options)

    def _read(self, source: object, options: Mapping[str, Any]) -> list[Any]:
        from medfm.runtime import contract as engine

        return engine.read(self.record.input, source, self._options(options))

    def _context(self, options: Mapping[str, Any]) -> engine.Context:
        from medfm.runtime import contract as engine
        from medfm.runtime.capabilities import Localizer

        localizer = self.network if isinstance(self.network, Localizer) else None
        return engine.Context(self._options(options), localizer, self._files)

    def _batches(
        self, items: Sequence[Any], size: int, options: Mapping[str, Any]
    ) -> Iterator[tuple[Sequence[Any], engine.Prepared]]:
        from medfm.runtime import contract as engine

        if size < 1:
            raise UsageError(f"batch_size is at least 1, not {size}")
        context = self._context(options)
        for start in self._shown(range(0, len(items), size)):
            chunk = items[start : start + size]
            yield chunk, engine.prepare(self.record.input, chunk, context)

    def _shown(self, steps: Sequence[Any] | range) -> Iterable[Any]:
        if not self._progress or len(steps) < 2:
            return steps
        from tqdm import tqdm

        shown: Iterable[Any] = tqdm(steps, desc=self.record.id, disable=None, leave=False)
        return shown

    def _words(self) -> list[str]:
        from medfm.catalog.contracts import Tokenize

        step = next(step for step in self.record.input if isinstance(step, Tokenize))
        return [line.strip() for line in self._files[step.vocabulary].read_text(encoding="utf-8").splitlines()]

    def _provenance(self, started: float, names: Sequence[str], notes: Iterable[str]) -> Provenance:
        from medfm.runtime.outputs import Provenance

        assert self.record.weights is not None
        origin = self.record.weights.origin
        source: str = origin.kind
        if isinstance(origin, PackageOrigin):
            source = f"{origin.distribution}=={origin.version}"
        elif isinstance(origin, HubOrigin):
            source = f"{origin.repository}@{origin.revision or 'main'}"
        return Provenance(
            model=self.record.id,
            source=source,
            sha256={role: file.sha256 for role, file in origin.files.items()},
            contract=self.record.contract or "",
            versions=versions(),
            device=self._device,
            dtype=self._dtype,
            seconds=round(time.perf_counter() - started, 3),
            inputs=tuple(name for name in names if name),
            notes=tuple(sorted(notes)),
            time=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )


def versions() -> dict[str, str]:
    """Return the versions of medfm, Python and the libraries that compute, as far as they are installed."""
    found = {"medfm": __version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


def _lengths(batch: Mapping[str, Tensor], count: int) -> list[int]:
    """Return how many tokens of each input are no padding."""
    if "attention" in batch:
        return [int(n) for n in batch["attention"].sum(-1)]
    if "tokens" in batch:
        tokens = batch["tokens"]
        return [int(n) for n in ((tokens if tokens.ndim == 2 else tokens[..., 0]) != 0).sum(-1)]
    return [1] * count


def _name(item: object, number: int) -> str:
    name = item[0] if isinstance(item, tuple) else getattr(item, "name", "")
    return str(name) or str(number)


__all__ = ["Runner", "find", "load", "versions"]
