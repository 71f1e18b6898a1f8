"""Compares a model of ours with its authors' code, from the file to the output, on filled weights; and plants errors.

An `Author` says how the authors build, feed and read their network: written from their documentation, with the libraries that
they use, without anything of medfm. The harness fills their network, stores it as they store it, loads that file through
`medfm.load`, and compares what both make of the same files. Then every value of the contract is changed, one at a time: a
changed contract that still agrees would mean that the comparison cannot see this error.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor, nn

from medfm.catalog.records import Model
from medfm.catalog.weights import WeightFile
from medfm.errors import InputError, MedfmError
from medfm.runtime import contract as engine
from medfm.runtime import parity
from medfm.runtime.loading import load
from medfm.runtime.pooling import pool
from medfm.runtime.runner import Runner, lengths

INPUT_TOLERANCE = 2e-6
"""Of prepared tensors, as a share of their largest value where that is above 1; the authors' libraries and ours do the same
arithmetic."""

BATCHES = (slice(None), slice(2))
"""Which of the texts are tokenized together: how they are filled up can depend on the longest."""

FORWARDS = 2
"""On how many of the files the whole network runs; preparing is compared on all of them."""


@dataclass(frozen=True)
class Author:
    """How the authors run their model.

    Attributes:
        network: builds their network, with random weights.
        prepare: from a file to the network's input, a batch of one.
        outputs: from network and input to named outputs, such as {"embedding": (1, width)}.
        libraries: distributions whose versions the record shall tell, the reference first.
        store: writes a state as the authors' file; default by suffix: safetensors, or torch.save.
        files: further files by role -> function that writes them (vocabularies and the like).
        tokens: from texts to the network's text input.
        text_outputs: from network and tokens to named outputs, such as {"text_embedding": (n, width)}.
        texts: what is tokenized.
        refused: texts that they refuse.
        labels: what pictures are classified by, where `outputs` gives "probabilities" with the authors' own sentences; or the
            names of the authors' own labels in the order of their "scores".
        options: what a caller must supply for the files, such as um_per_px.
        adjust: changes filled values in place, where outputs would lie so far out that their activation hides every difference.
        instead: writes what is compared instead of pictures, such as videos.
        pictures: writes further pictures, put in front of the others: for networks that take square ones alone.
        around: from what we read to the places (n, 3), in mm, that prompts point at.
    """

    network: Callable[[], nn.Module]
    prepare: Callable[[Path], Any]
    outputs: Callable[[Any, Any], Mapping[str, Tensor]]
    libraries: tuple[str, ...] = ("timm", "torch")
    store: Callable[[dict[str, Tensor], Path], None] | None = None
    files: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)
    tokens: Callable[[Sequence[str]], Any] | None = None
    text_outputs: Callable[[Any, Any], Mapping[str, Tensor]] | None = None
    texts: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    labels: Sequence[str] | Mapping[str, Sequence[str]] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    adjust: Callable[[nn.Module], None] | None = None
    instead: Callable[[Path], list[Path]] | None = None
    pictures: Callable[[Path], list[Path]] | None = None
    around: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class Sample:
    """Every so manieth value of a prepared input that was recorded.

    Attributes:
        values: in the order of the flattened tensor.
        shape: of the whole tensor.
        stride: how many values one stands for.
    """

    values: Tensor
    shape: tuple[int, ...]
    stride: int


@dataclass
class Case:
    """A model of ours beside what its authors' code gave.

    Attributes:
        runner: our model, loaded from the file that the authors' network was stored in.
        files: the inputs.
        inputs: file -> the authors' prepared input.
        outputs: file -> the authors' outputs, for the first files.
        hidden: file -> what our network gave for the input that we prepared.
        logits: file -> the logits of our classifier for that input, by group.
        remembered: what our network gave for other inputs, by a digest of theirs.
    """

    author: Author
    runner: Runner
    files: list[Path]
    inputs: dict[Path, Any]
    outputs: dict[Path, dict[str, Tensor]]
    tokens: list[Any] = field(default_factory=list)
    text_outputs: dict[str, Tensor] = field(default_factory=dict)
    hidden: dict[Path, Tensor] = field(default_factory=dict)
    logits: dict[Path, dict[str, Tensor]] = field(default_factory=dict)
    text_hidden: Tensor | None = None
    remembered: dict[bytes, Tensor] = field(default_factory=dict)

    @property
    def record(self) -> Model:
        return self.runner.record


@contextmanager
def no_initialization() -> Iterator[None]:
    """Build networks without drawing random numbers: every value is filled afterwards."""
    names = [name for name in dir(nn.init) if name.endswith("_") and not name.startswith("_")]
    originals = {name: getattr(nn.init, name) for name in names}
    try:
        for name in names:
            setattr(nn.init, name, lambda tensor, *_, **__: tensor)
        yield
    finally:
        for name, original in originals.items():
            setattr(nn.init, name, original)


def fill(network: nn.Module) -> dict[str, Tensor]:
    """Fill every floating-point parameter and persistent buffer in place, by its name; return the state."""
    state = network.state_dict()
    with torch.no_grad():
        for name, tensor in state.items():
            if tensor.is_floating_point():
                tensor.copy_(parity.values(name, tensor.shape))
    return state


def store(state: dict[str, Tensor], path: Path) -> None:
    """Write a state as safetensors or as a torch checkpoint, as the suffix says."""
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file({key: tensor.contiguous() for key, tensor in state.items()}, path)
    else:
        torch.save(state, path)


def local(record: Model) -> Model:
    """Return the record without hashes: the weights are ours, not the authors'."""
    assert record.weights is not None
    origin = record.weights.origin
    files = {role: WeightFile(path=file.path, member=file.member) for role, file in origin.files.items()}
    weights = record.weights.model_copy(update={"origin": origin.model_copy(update={"files": files})})
    return record.model_copy(update={"weights": weights})


def sources(author: Author, files: list[Path], folder: Path) -> list[Path]:
    """Return the files that an author's code is run on."""
    if author.instead:
        return author.instead(folder)
    return [*(author.pictures(folder) if author.pictures else ()), *files]


def compare(record: Model, author: Author, files: list[Path], folder: Path) -> Case:
    """Run the authors' code, then load the same weights into ours."""
    assert record.weights is not None
    with no_initialization():
        theirs = author.network()
    theirs.eval().requires_grad_(False)
    state = fill(theirs)
    if author.adjust:
        author.adjust(theirs)
    weights = folder / Path(record.weights.origin.files["weights"].path).name
    (author.store or store)(state, weights)
    files = sources(author, files, folder)
    inputs = {file: author.prepare(file) for file in files}
    with torch.inference_mode():
        outputs = {file: dict(author.outputs(theirs, inputs[file])) for file in files[:FORWARDS]}
        tokens = [author.tokens(author.texts[batch]) for batch in BATCHES] if author.tokens else []
        text_outputs = dict(author.text_outputs(theirs, tokens[0])) if author.text_outputs else {}
    del theirs, state
    gc.collect()
    roles: dict[str, str | Path] = {"weights": weights}
    for role, write in author.files.items():
        roles[role] = folder / Path(record.weights.origin.files[role].path).name
        write(Path(roles[role]))
    runner = load(local(record), weights=roles, progress=False)
    return Case(author, runner, files, inputs, outputs, tokens, text_outputs)


# ---------------------------------------------------------------- agreement


def prepared(case: Case, record: Model, file: Path) -> dict[str, Tensor]:
    """Return what a contract makes of a file."""
    context = case.runner.context(case.author.options)
    items = engine.read(record.input, file, context.options)
    if case.author.around:
        context = replace(context, around=case.author.around(items[0]))
    return engine.prepare(record.input, items, context).batch


def prepared_texts(case: Case, record: Model, batch: slice = BATCHES[0]) -> dict[str, Tensor]:
    """Return what a contract makes of the texts."""
    items = engine.read(record.text_input, list(case.author.texts[batch]))
    return engine.prepare(record.text_input, items, case.runner.context({})).batch


def difference(ours: Mapping[str, Tensor], theirs: Any) -> float:
    """Return the largest difference between prepared inputs: a tensor (ours is named image), or tensors by name."""
    named = theirs if isinstance(theirs, Mapping) else {"image": theirs}
    worst = 0.0
    for name, tensor in named.items():
        found = ours[name]
        if isinstance(tensor, Sample):
            if tuple(found.shape) != tensor.shape:
                raise ValueError(f"the inputs have different shapes: {tuple(found.shape)} and {tensor.shape}")
            found, tensor = found.flatten()[:: tensor.stride], tensor.values
        worst = max(worst, parity.largest_difference(found, tensor) / _order(tensor))
    return worst


def _order(tensor: Tensor) -> float:
    """Return what a difference is measured by: the largest value, at least 1; token numbers are equal or not."""
    return max(1.0, float(tensor.abs().max())) if tensor.is_floating_point() else 1.0


def text_difference(case: Case, record: Model) -> float:
    """Return the largest difference between the tokens of a contract and those of the authors."""
    for text in case.author.refused:
        with suppress(InputError):
            engine.prepare(record.text_input, engine.read(record.text_input, text), case.runner.context({}))
            return float("inf")
    return max(
        difference(prepared_texts(case, record, batch), theirs)
        for batch, theirs in zip(BATCHES, case.tokens, strict=True)
    )


def hidden(case: Case, file: Path) -> Tensor:
    """Return what our network makes of the input that our contract prepared; computed once."""
    if file not in case.hidden:
        case.hidden[file] = case.runner.network.encode(prepared(case, case.record, file))
    return case.hidden[file]


def vectors(case: Case, record: Model, file: Path) -> Tensor:
    """Return the pooled vectors as a contract's output says."""
    assert record.output is not None
    assert record.output.embedding is not None
    found = pool(hidden(case, file), None, record.output.embedding)
    assert found.shape[-1] == record.output.embedding.dimension, "the record's dimension is not the network's"
    return found


def text_vectors(case: Case, record: Model) -> Tensor:
    """Return the pooled vectors of the texts."""
    assert record.output is not None
    assert record.output.text_embedding is not None
    batch = prepared_texts(case, case.record)
    if case.text_hidden is None:
        case.text_hidden = case.runner.network.encode_text(batch)
    found = pool(case.text_hidden, lengths(batch), record.output.text_embedding)
    assert found.shape[-1] == record.output.text_embedding.dimension, "the record's dimension is not the network's"
    return found


def agrees(case: Case, record: Model, *, inputs: bool = True, outputs: bool = True) -> tuple[float, float]:
    """Return the largest differences of prepared inputs and of outputs; either may be left out.

    Other kinds of output add their own comparison to `OUTPUTS`.
    """
    worst_input = worst_output = 0.0
    if inputs:
        worst_input = max(difference(prepared(case, record, file), case.inputs[file]) for file in case.files)
        if case.tokens:
            worst_input = max(worst_input, text_difference(case, record))
    if outputs:
        for file, theirs in case.outputs.items():
            for name, tensor in theirs.items():
                ours = OUTPUTS[name](case, record, file)
                differ = DIFFERENCES.get(name, parity.largest_difference)
                worst_output = max(worst_output, differ(ours, tensor))
        for tensor in case.text_outputs.values():
            worst_output = max(worst_output, parity.largest_difference(text_vectors(case, record), tensor))
    return worst_input, worst_output


def probabilities(case: Case, record: Model, file: Path) -> Tensor:
    """Return the probabilities of the author's labels in words."""
    from tests.parity import matching

    return matching.probabilities(case, record, file)


def scores(case: Case, record: Model, file: Path) -> Tensor:
    """Return the probabilities of the model's own labels."""
    from tests.parity import scoring

    return scoring.scores(case, record, file)


PROMPTED = ("surface", "surface points", "areas", "overlaps", "inside", "shares", "middles", "expected")


def outlined(what: str) -> Callable[[Case, Model, Path], Tensor]:
    """Return a function that gives one kind of output for prompts."""

    def found(case: Case, record: Model, file: Path) -> Tensor:
        from tests.parity import prompted

        compute = prompted.in_volume if what in ("inside", "shares", "middles", "expected") else prompted.outlined
        return compute(case, record, file, what)

    return found


OUTPUTS: dict[str, Callable[[Case, Model, Path], Tensor]] = {
    "embedding": vectors,
    **{what: outlined(what) for what in PROMPTED},
    "probabilities": probabilities,
    "scores": scores,
}
"""Name of an output -> how we compute it, given a record whose output may be changed."""

DIFFERENCES: dict[str, Callable[[Tensor, Tensor], float]] = {}
"""Name of an output -> how far ours is from the authors', where that is not the largest absolute difference."""


# ---------------------------------------------------------------- planted errors


@dataclass(frozen=True)
class Mutant:
    """A contract with one changed value.

    Attributes:
        what: the change, in words.
        record: with the changed contract.
        part: where the change lies; only this part needs to be compared again.
    """

    what: str
    record: Model
    part: str


# Values that change no number of an accepted file: what a thing is called, the distance that a user is offered, and which
# resolutions are accepted, how far off (tested with the reading of pictures); what becomes of a fourth axis, of NaN and of an
# image without contrast (refused in strict mode; tested with the reading of volumes and the single steps).
UNSEEN = {"step", "modality", "distance", "templates", "um_per_px", "um_tolerance", "frames", "non_finite", "constant"}


def mutants(record: Model) -> Iterator[Mutant]:
    """Give every contract that differs in one value, or lacks one step."""
    assert record.output is not None
    for part in ("input", "text_input"):
        steps = getattr(record, part)
        for i, step in enumerate(steps):
            for what, changed in changes(step):
                new = (*steps[:i], changed, *steps[i + 1 :])
                yield Mutant(f"{step.step}: {what}", record.model_copy(update={part: new}), part)
            if i:
                yield Mutant(
                    f"{step.step}: left out", record.model_copy(update={part: (*steps[:i], *steps[i + 1 :])}), part
                )
    for name in type(record.output).model_fields:
        described = getattr(record.output, name)
        if described is None:
            continue
        for what, changed in [*changes(described), *(wordings(described) if name == "zero_shot" else ())]:
            output = record.output.model_copy(update={name: changed})
            yield Mutant(f"output {name}: {what}", record.model_copy(update={"output": output}), "output")


def changes(part: BaseModel) -> Iterator[tuple[str, BaseModel]]:
    """Give copies of a description that differ in one value and are still valid."""
    values = part.model_dump()
    for name, info in type(part).model_fields.items():
        if name in UNSEEN:
            continue
        for other in others(values[name], info.annotation):
            try:
                changed = type(part).model_validate({**values, name: other})
            except ValidationError:
                continue
            if changed != part:
                yield f"{name} {values[name]!r} becomes {other!r}", changed


def wordings(described: Any) -> Iterator[tuple[str, BaseModel]]:
    """Give copies of how labels are put into words with one sentence changed, or left out."""
    templates = described.templates
    for i, template in enumerate(templates):
        for other in ((f"no {template}",), *(((),) if len(templates) > 1 else ())):
            changed = described.model_copy(update={"templates": (*templates[:i], *other, *templates[i + 1 :])})
            yield f"template {template!r} becomes {other!r}", changed


def others(value: Any, annotation: Any) -> list[Any]:
    """Return values near a value: the other words of a literal, numbers a little off, tuples with one element changed."""
    words = [word for argument in _literals(annotation) for word in argument if word != value]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, str):
        return words
    if isinstance(value, int):
        return [value + 1, *([value - 1] if value > 0 else []), *words]
    if isinstance(value, float):
        return [value * 1.02 if value else 0.01, *words]
    if isinstance(value, dict):
        words = annotation if any(isinstance(item, str) for item in value.values()) else None
        return [{**value, key: other} for key, item in value.items() for other in others(item, words)]
    if isinstance(value, tuple | list):
        found: list[Any] = []
        for i, item in enumerate(value):
            found += [(*value[:i], other, *value[i + 1 :]) for other in others(item, None)]
        if len(set(map(str, value))) > 1:
            found.append(tuple(reversed(value)))
        return found
    return []


def _literals(annotation: Any) -> list[tuple[Any, ...]]:
    if annotation is None:
        return []
    arguments = get_args(annotation)
    if arguments and all(isinstance(a, str | int) for a in arguments):
        return [arguments]
    return [found for a in arguments for found in _literals(a)]


def survives(case: Case, mutant: Mutant, tolerance: float) -> bool:
    """Return whether a changed contract still agrees with the authors' code."""
    try:
        if mutant.part == "output":
            return agrees(case, mutant.record, inputs=False)[1] <= tolerance
        if mutant.part == "text_input":
            return text_difference(case, mutant.record) <= INPUT_TOLERANCE
        return not any(
            difference(prepared(case, mutant.record, file), case.inputs[file]) > INPUT_TOLERANCE for file in case.files
        )
    except (MedfmError, AssertionError, ValueError, TypeError, RuntimeError, IndexError, KeyError, AttributeError):
        return False


# ---------------------------------------------------------------- the report


REPORT: dict[str, dict[str, Any]] = {}
"""Model -> what this run measured; printed at the end, and written to the file that MEDFM_PARITY_REPORT names."""


def note(id: str, **values: Any) -> None:
    """Remember what was measured of a model."""
    REPORT.setdefault(id, {}).update(values)
    if path := os.environ.get("MEDFM_PARITY_REPORT"):
        known = json.loads(Path(path).read_text()) if Path(path).exists() else {}
        known.setdefault(id, {}).update(values)
        Path(path).write_text(json.dumps(known, indent=1, sort_keys=True))


def versions(author: Author) -> dict[str, str]:
    """Return the versions of the authors' libraries: of those that are installed, or as they are named (`name==version`)."""
    pairs = (library.partition("==") for library in author.libraries)
    return {name: version or metadata.version(name) for name, _, version in pairs}


__all__ = [
    "Author",
    "Case",
    "Mutant",
    "agrees",
    "compare",
    "difference",
    "mutants",
    "note",
    "np",
    "survives",
    "versions",
]
