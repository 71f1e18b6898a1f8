"""A loaded model: one method for each thing that networks can do, the same for every model that can do it."""

from __future__ import annotations

import datetime
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medfm import __version__
from medfm.catalog.contracts import ReadImage, ReadVideo, ReadVolume, Step
from medfm.catalog.records import Model
from medfm.catalog.weights import HubOrigin, PackageOrigin
from medfm.errors import CapabilityError, UsageError
from medfm.runtime import contract as engine
from medfm.runtime.capabilities import Localizer, PromptSegmenter, methods

if TYPE_CHECKING:
    from torch import Tensor

    from medfm.runtime.masks import Masks
    from medfm.runtime.outputs import Embedding, Events, Provenance, Scores, Segmentation, Similarity, Text
    from medfm.runtime.prompted_volumes import VolumeSession
    from medfm.runtime.prompting import Session

_LIBRARIES = (
    "torch",
    "numpy",
    "timm",
    "torchvision",
    "transformers",
    "open_clip_torch",
    "monai",
    "pillow",
    "pydicom",
    "av",
    "opencv-python-headless",
    "nibabel",
    "scipy",
    "scikit-image",
    "onnxruntime",
    "PyWavelets",
    "tidytcells",
    "safetensors",
)


_AT_ONCE: dict[type, int] = {ReadImage: 8, ReadVideo: 2}

Failed = Callable[[Any, Exception], None]
"""Is told of a source that could not be used, and why."""


@dataclass
class Run:
    """One call: when it began, and what will stand in the provenance.

    Attributes:
        started: `time.perf_counter()` at the beginning.
        names: of the inputs.
        notes: what was done beyond the contract.
    """

    started: float = field(default_factory=time.perf_counter)
    names: list[str] = field(default_factory=list)
    notes: set[str] = field(default_factory=set)


class Runner:
    """A loaded model. Which methods it has depends on the network: see `can`.

    Attributes:
        record: what the catalog knows of it.
        network: what its family built.
        files: its weights and vocabularies by role.
        can: names of the methods that work, such as ("embed", "classify").
    """

    def __init__(
        self, record: Model, network: Any, files: Mapping[str, Path], *, device: str, dtype: str, progress: bool = True
    ) -> None:
        self.record, self.network, self.files = record, network, dict(files)
        self.can = methods(network)
        self._device, self._dtype, self._progress = device, dtype, progress

    def __repr__(self) -> str:
        return f"<{self.record.id}: can {', '.join(self.can)}; contract {self.record.contract}; {self._device}>"

    def embed(
        self, source: object, *, tokens: bool = False, batch_size: int | None = None, workers: int = 2, **options: Any
    ) -> Embedding:
        """Return one vector for each input.

        Args:
            source: what the model's contract reads: a path, or objects in memory, one or many.
            tokens: keep the hidden states of every token too.
            batch_size: inputs that run at once (default: 8 pictures, 2 videos, 64 sequences, 1 volume).
            workers: threads that read and prepare inputs while the network computes.
            **options: see `medfm.runtime.state.Options`.

        Raises:
            CapabilityError: the model gives no vectors.
            InputError: an input cannot be used.
        """
        from medfm.runtime.encoding import embed

        return embed(self, source, tokens=tokens, batch_size=batch_size, workers=workers, **options)

    def embed_text(self, texts: str | Sequence[str], *, batch_size: int = 64) -> Embedding:
        """Return one vector for each text, in the space of the model's image vectors.

        Args:
            texts: one or many.
            batch_size: texts that run at once.

        Raises:
            CapabilityError: the model reads no text.
            InputError: a text is empty or too long.
        """
        from medfm.runtime.encoding import embed_text

        return embed_text(self, texts, batch_size=batch_size)

    def classify(
        self,
        source: object,
        *,
        labels: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        templates: Sequence[str] | None = None,
        batch_size: int | None = None,
        workers: int = 2,
        **options: Any,
    ) -> Scores:
        """Return probabilities for the model's own labels, or for labels that are given in words (zero-shot).

        Args:
            source: what the model's contract reads, one or many.
            labels: for zero-shot classification: names, or name -> sentences that describe it.
            templates: sentences with {} for the label (default: those of the authors).
            batch_size: inputs that run at once.
            workers: threads that read and prepare inputs while the network computes.
            **options: see `medfm.runtime.state.Options`.

        Raises:
            CapabilityError: the model has no labels of its own, or cannot compare images with text.
            InputError: an input cannot be used.
        """
        from medfm.runtime.classifying import classify, classify_zero_shot

        if labels is None:
            return classify(self, source, batch_size=batch_size, workers=workers, **options)
        return classify_zero_shot(
            self, source, labels=labels, templates=templates, batch_size=batch_size, workers=workers, **options
        )

    def retrieve(
        self, source: object, texts: Sequence[str], *, batch_size: int | None = None, workers: int = 2, **options: Any
    ) -> Similarity:
        """Return how well each image and each text go together, as cosine similarity.

        Args:
            source: images, one or many.
            texts: sentences.
            batch_size: inputs that run at once.
            workers: threads that read and prepare inputs while the network computes.
            **options: see `medfm.runtime.state.Options`.
        """
        from medfm.runtime.encoding import retrieve

        return retrieve(self, source, texts, batch_size=batch_size, workers=workers, **options)

    def segment(
        self,
        source: object,
        *,
        boxes: Any = None,
        points: Any = None,
        labels: Any = None,
        masks: Any = None,
        **options: Any,
    ) -> Segmentation | Masks:
        """Return a mask on the input's own grid: of all that the model knows, or of what prompts point at.

        Prompts are in pixels or voxels of the file: x to the right and y down in pictures; x, y and z along the axes as they are
        stored in volumes. For many calls on one image see `open`.

        Args:
            source: a path or an image in memory.
            boxes: one box an object: x0, y0, x1, y1.
            points: points of one object, each x, y or x, y, label; or one list of points an object.
            labels: 1 inside the object and 0 outside, for points without (default: 1).
            masks: an earlier result, to refine it.
            **options: see `medfm.runtime.state.Options`.

        Raises:
            CapabilityError: the model gives no masks.
            UsageError: prompts that are missing, or that this model does not take.
            InputError: the input cannot be used, or a prompt lies outside it.
        """
        prompts = {"boxes": boxes, "points": points, "labels": labels, "masks": masks}
        if isinstance(self.network, PromptSegmenter):
            return self.open(source, **options).segment(**prompts)
        if given := [name for name, value in prompts.items() if value is not None]:
            raise UsageError(f"{self.record.id} takes no {' and '.join(given)}: it needs no prompts")
        from medfm.runtime.segmenting import segment

        return segment(self, source, **options)

    def open(self, source: object, **options: Any) -> Session | VolumeSession:
        """Look at one image, so that many prompts can be answered at once: `open("ct.png").segment(boxes=...)`.

        Args:
            source: a path or an image in memory.
            **options: see `medfm.runtime.state.Options`.

        Raises:
            CapabilityError: the model takes no prompts.
            InputError: the input cannot be used.
        """
        if not isinstance(self.network, PromptSegmenter):
            raise CapabilityError(self.record.id, "be prompted", self.can)
        if isinstance(self.record.input[0], ReadVolume):
            from medfm.runtime.prompted_volumes import VolumeSession

            return VolumeSession(self, source, **options)
        from medfm.runtime.prompting import Session

        return Session(self, source, **options)

    def detect(self, source: object, **options: Any) -> Events:
        """Return the events in one recording, which is read in consecutive windows.

        Args:
            source: a path, or an array (samples,) or (channels, samples).
            **options: see `medfm.runtime.state.Options`; `sampling_rate` in Hz for files that do not say.
        """
        from medfm.runtime.detecting import detect

        return detect(self, source, **options)

    def generate(self, source: object, *, batch_size: int = 64, **options: Any) -> Text:
        """Return the inputs with what is missing filled in.

        Args:
            source: sequences in which the contract's letter for unknown residues marks the gaps.
            batch_size: inputs that run at once.
            **options: see `medfm.runtime.state.Options`.
        """
        from medfm.runtime.generating import generate

        return generate(self, source, batch_size=batch_size, **options)

    # ------------------------------------------------------------ what the methods share

    def needs(self, method: str) -> None:
        """Raise where the network cannot do something.

        Raises:
            CapabilityError: it cannot; the message lists what it can.
        """
        if method not in self.can:
            raise CapabilityError(self.record.id, method, self.can)

    def output(self, name: str) -> Any:
        """Return the record's description of one kind of output."""
        described = getattr(self.record.output, name)
        assert described is not None, "a contract test holds records to what their networks can do"
        return described

    def context(self, options: Mapping[str, Any]) -> engine.Context:
        """Return what the contract's steps need besides their own values.

        Raises:
            UsageError: there is no such option.
        """
        known = engine.Options.__dataclass_fields__
        for name in options:
            if name not in known:
                raise UsageError(f"there is no option {name!r}; the options are {', '.join(known)}")
        localizer = self.network if isinstance(self.network, Localizer) else None
        return engine.Context(engine.Options(**options), localizer, self.files)

    def batches(
        self,
        source: object,
        run: Run,
        options: Mapping[str, Any],
        *,
        batch_size: int | None = None,
        workers: int = 2,
        steps: tuple[Step, ...] | None = None,
        failed: Failed | None = None,
    ) -> Iterator[tuple[list[Any], engine.Prepared]]:
        """Give inputs and what the contract made of them, batch by batch; threads prepare the next while one is computed.

        Args:
            source: one or many inputs.
            run: takes names and notes.
            options: see `medfm.runtime.state.Options`.
            batch_size: inputs at once.
            workers: threads; 0 prepares in the calling thread.
            steps: the contract (default: the record's input).
            failed: is told of every source that cannot be used, and the others go on; without it the first one raises.
        """
        steps = steps or self.record.input
        size = batch_size if batch_size is not None else _AT_ONCE.get(type(steps[0]), 64)
        if size < 1:
            raise UsageError(f"batch_size is at least 1, not {size}")
        context = self.context(options)
        sources = engine.split(steps, source)
        if not sources:
            raise UsageError("there is no input: the list is empty")
        jobs: list[Callable[[], tuple[list[Any], engine.Prepared]]]
        if len(sources) == 1 and failed is None:
            items = engine.read(steps, sources[0], context.options)
            chunks = [items[i : i + size] for i in range(0, len(items), size)]
            jobs = [_Job(steps, context, chunk) for chunk in chunks]
        else:
            parts = [sources[i : i + size] for i in range(0, len(sources), size)]
            jobs = [_Job(steps, context, part, read=True, failed=failed) for part in parts]
        for items, prepared in self.shown(_ahead(jobs, workers), len(jobs)):
            run.names += [_name(item, len(run.names) + i) for i, item in enumerate(items, start=1)]
            run.notes |= set(prepared.notes)
            if items:
                yield items, prepared

    def shown(self, steps: Iterable[Any], count: int) -> Iterable[Any]:
        """Return steps with a progress bar, where there are many."""
        if not self._progress or count < 2:
            return steps
        from tqdm import tqdm

        shown: Iterable[Any] = tqdm(steps, desc=self.record.id, total=count, disable=None, leave=False)
        return shown

    def provenance(self, run: Run) -> Provenance:
        """Return what is needed to make a result again."""
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
            seconds=round(time.perf_counter() - run.started, 3),
            inputs=tuple(name for name in run.names if name),
            notes=tuple(sorted(run.notes)),
            time=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )


@dataclass(frozen=True)
class _Job:
    """One batch to be read and prepared, in whatever thread."""

    steps: tuple[Step, ...]
    context: engine.Context
    items: Sequence[Any]
    read: bool = False
    failed: Failed | None = None

    def __call__(self) -> tuple[list[Any], engine.Prepared]:
        if self.failed is not None:
            return self._with_failures(self.failed)
        items = list(self.items)
        if self.read:
            items = [item for source in items for item in engine.read(self.steps, source, self.context.options)]
        return items, engine.prepare(self.steps, items, self.context)

    def _with_failures(self, failed: Failed) -> tuple[list[Any], engine.Prepared]:
        """Prepare each source by itself, so that one that cannot be used takes no other with it."""
        items, prepared = list[Any](), list[engine.Prepared]()
        for source in self.items:
            try:
                found = engine.read(self.steps, source, self.context.options)
                prepared.append(engine.prepare(self.steps, found, self.context))
                items += found
            except Exception as error:  # whatever a decoder does to one file, a thousand others wait
                failed(source, error)
        return items, engine.join(prepared)


def _ahead(jobs: Sequence[Callable[[], Any]], workers: int) -> Iterator[Any]:
    """Give the results of jobs in order, while threads work ahead by as many jobs as there are threads."""
    if workers < 1 or len(jobs) < 2:
        yield from (job() for job in jobs)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="medfm") as pool:
        waiting = [pool.submit(job) for job in jobs[:workers]]
        following = iter(jobs[workers:])
        try:
            while waiting:
                result = waiting.pop(0).result()
                if (job := next(following, None)) is not None:
                    waiting.append(pool.submit(job))
                yield result
        finally:
            for future in waiting:
                future.cancel()


def versions() -> dict[str, str]:
    """Return the versions of medfm, Python and the libraries that compute, as far as they are installed."""
    found = {"medfm": __version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


def lengths(batch: Mapping[str, Tensor]) -> list[int] | None:
    """Return how many tokens of each input are no padding; None where nothing is padded."""
    if "attention" in batch:
        return [int(n) for n in batch["attention"].sum(-1)]
    if "tokens" in batch:
        tokens = batch["tokens"]
        return [int(n) for n in ((tokens if tokens.ndim == 2 else tokens[..., 0]) != 0).sum(-1)]
    return None


def _name(item: object, number: int) -> str:
    name = item[0] if isinstance(item, tuple) else getattr(item, "name", "")
    return str(name) or str(number)
