"""From inputs to probabilities: of a model's own labels, or of labels that are given in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from medfm.errors import CapabilityError, UsageError
from medfm.runtime.encoding import image_vectors, text_vectors
from medfm.runtime.outputs import Scores
from medfm.runtime.runner import Run

if TYPE_CHECKING:
    from medfm.catalog.outputs import ScoresOutput
    from medfm.runtime.runner import Runner


def classify(runner: Runner, source: object, *, batch_size: int | None, workers: int, **options: Any) -> Scores:
    """Return probabilities for the model's own labels; see `Runner.classify`."""
    runner.needs("classify")
    if runner.record.output is None or runner.record.output.scores is None:
        raise CapabilityError(
            runner.record.id, "classify without labels (it has none of its own: pass labels=[...])", runner.can
        )
    described = runner.output("scores")
    run = Run()
    found = list(stream(runner, source, run, options, batch_size=batch_size, workers=workers))
    labels = described.labels()
    values = {group: torch.cat([part[group] for part in found]).numpy() for group in labels}
    return Scores(runner.provenance(run), labels, values, tuple(run.names))


def stream(
    runner: Runner, source: object, run: Run, options: dict[str, Any], **how: Any
) -> Iterator[dict[str, Tensor]]:
    """Give the probabilities of many inputs batch by batch, by group; `run.names` grows beside them.

    Args:
        runner: a classifier with labels of its own.
        source: many inputs.
        run: takes names and notes.
        options: see `medfm.runtime.state.Options`.
        **how: see `Runner.batches`.
    """
    described = runner.output("scores")
    for _, prepared in runner.batches(source, run, options, **how):
        yield probabilities(runner.network.score(prepared.batch), described)


_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda x: x.softmax(-1),
    "sigmoid": torch.sigmoid,
    "negated-sigmoid": lambda x: 1 - x.sigmoid(),
}


def probabilities(logits: Mapping[str, Tensor], described: ScoresOutput) -> dict[str, Tensor]:
    """Return the probabilities of the labels that were trained, by group: (n, labels).

    Args:
        logits: of every output, by group.
        described: labels, activation and operating points.
    """
    found = {}
    for group, labels in described.groups.items():
        x = _ACTIVATIONS[described.activation_of(group)](logits[group])
        x = x[:, [i for i, label in enumerate(labels) if label]]
        if group in described.operating_points:
            point = torch.tensor(described.operating_points[group], dtype=x.dtype)
            x = torch.where(x < point, x / (point * 2), 1 - (1 - x) / ((1 - point) * 2))
        found[group] = x
    return found


def classify_zero_shot(
    runner: Runner,
    source: object,
    *,
    labels: Sequence[str] | Mapping[str, Sequence[str]],
    templates: Sequence[str] | None,
    batch_size: int | None,
    workers: int,
    **options: Any,
) -> Scores:
    """Return probabilities for labels that are given in words; see `Runner.classify`."""
    runner.needs("retrieve")
    described = runner.output("zero_shot")
    alone = described.activation == "sigmoid" or bool(described.against)
    if isinstance(labels, str) or len(labels) < (1 if alone else 2):
        raise UsageError("labels is a list of at least two names: one alone would always have probability 1")
    names = tuple(labels)
    run = Run()
    seen = functional.normalize(image_vectors(runner, source, run, batch_size, workers, options), dim=-1)
    logits = _logits(runner, seen, prompts(labels, templates or described.templates))
    if described.against:
        values = torch.stack([logits, _logits(runner, seen, prompts(labels, described.against))]).softmax(0)[0]
    else:
        values = logits.softmax(-1) if described.activation == "softmax" else logits.sigmoid()
    return Scores(runner.provenance(run), {"label": names}, {"label": values.float().numpy()}, tuple(run.names))


def _logits(runner: Runner, seen: Tensor, sentences: Sequence[Sequence[str]]) -> Tensor:
    """Return how well each image fits the sentences of each label: (images, labels).

    Vectors of sentences are averaged as Radford et al. (2021, section 3.1.4) do, where the contract does not say otherwise.
    """
    described = runner.output("zero_shot")
    columns = []
    for some in sentences:
        vectors = functional.normalize(text_vectors(runner, some, Run()), dim=-1)
        if described.average == "vectors":
            vectors = functional.normalize(vectors.mean(0, keepdim=True), dim=-1)
        learned = described.temperature == "learned"
        fits = runner.network.compare(seen, vectors) if learned else described.temperature * seen @ vectors.mT
        columns.append(fits.mean(-1))
    return torch.stack(columns, dim=-1)


def prompts(labels: Sequence[str] | Mapping[str, Sequence[str]], templates: Sequence[str]) -> list[list[str]]:
    """Return the sentences that stand for each label.

    >>> prompts(["edema"], ["a chest x-ray of {}"])
    [['a chest x-ray of edema']]
    >>> prompts({"edema": ["swollen lung", "fluid in the lung"]}, ["{}"])
    [['swollen lung', 'fluid in the lung']]
    """
    if isinstance(labels, Mapping):
        return [
            [template.replace("{}", s) for s in sentences for template in templates] for sentences in labels.values()
        ]
    return [[template.replace("{}", label) for template in templates] for label in labels]
