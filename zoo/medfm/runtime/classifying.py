"""From inputs to probabilities: of a model's own labels, or of labels that are given in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from medfm.errors import CapabilityError, UsageError
from medfm.runtime.encoding import image_vectors, text_vectors
from medfm.runtime.outputs import Scores
from medfm.runtime.runner import Run

if TYPE_CHECKING:
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
    found: dict[str, list[Tensor]] = {group: [] for group in described.groups}
    for _, prepared in runner.batches(source, run, options, batch_size=batch_size, workers=workers):
        logits = runner.network.score(prepared.batch)
        for group in found:
            x = logits[group]
            found[group].append(x.softmax(-1) if described.activation == "softmax" else x.sigmoid())
    values = {group: torch.cat(parts).numpy() for group, parts in found.items()}
    return Scores(runner.provenance(run), described.groups, values, tuple(run.names))


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
    if isinstance(labels, str) or len(labels) < (2 if described.activation == "softmax" else 1):
        raise UsageError("labels is a list of at least two names: one alone would always have probability 1")
    names = tuple(labels)
    run = Run()
    written = torch.stack(
        [_prototype(runner, sentences) for sentences in prompts(labels, templates or described.templates)]
    )
    seen = image_vectors(runner, source, run, batch_size, workers, options)
    logits = runner.network.compare(functional.normalize(seen, dim=-1), written)
    values = logits.softmax(-1) if described.activation == "softmax" else logits.sigmoid()
    return Scores(runner.provenance(run), {"label": names}, {"label": values.float().numpy()}, tuple(run.names))


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


def _prototype(runner: Runner, sentences: Sequence[str]) -> Tensor:
    """Return the normalized mean of the sentences' normalized vectors (Radford et al. 2021, section 3.1.4)."""
    vectors = functional.normalize(text_vectors(runner, sentences, Run()), dim=-1)
    return functional.normalize(vectors.mean(0), dim=0)
