"""Comparing the scores of a model's own labels, label by label in the authors' order."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from medfm.catalog.records import Model
from medfm.runtime.classifying import probabilities
from tests.parity.harness import Case, prepared


def scores(case: Case, record: Model, file: Path) -> Tensor:
    """Return the probabilities of the author's labels, (1, labels): no more and no fewer than a record names."""
    assert record.output is not None
    described = record.output.scores
    assert described is not None
    logits = _logits(case, file)
    widths = {group: len(labels) for group, labels in described.groups.items()}
    assert widths == {group: logits[group].shape[1] for group in widths}, "the labels are not the outputs"
    found = probabilities(logits, described)
    several = len(described.groups) > 1
    named = {
        f"{group}: {label}" if several else label: found[group][:, i]
        for group, labels in described.labels().items()
        for i, label in enumerate(labels)
    }
    assert named.keys() == set(case.author.labels)
    return torch.stack([named[label] for label in case.author.labels], dim=1)


def _logits(case: Case, file: Path) -> dict[str, Tensor]:
    """Return what our network makes of the input that our contract prepared; computed once."""
    if file not in case.logits:
        case.logits[file] = dict(case.runner.network.score(prepared(case, case.record, file)))
    return case.logits[file]
