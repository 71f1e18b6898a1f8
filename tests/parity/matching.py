"""Comparing how pictures are classified by labels in words, from the file to the probabilities."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medfm.catalog.records import Model
from medfm.runtime.runner import Runner
from tests.parity.harness import Case


class Remembering:
    """A network of ours that computes the same input only once."""

    def __init__(self, case: Case) -> None:
        self._network: Any = case.runner.network
        self._remembered = case.remembered

    def encode(self, batch: Mapping[str, Tensor]) -> Tensor:
        return self._once(self._network.encode, batch)

    def encode_text(self, batch: Mapping[str, Tensor]) -> Tensor:
        return self._once(self._network.encode_text, batch)

    def compare(self, images: Tensor, texts: Tensor) -> Tensor:
        found: Tensor = self._network.compare(images, texts)
        return found

    def _once(self, compute: Any, batch: Mapping[str, Tensor]) -> Tensor:
        key = hashlib.sha256()
        for name, tensor in sorted(batch.items()):
            key.update(name.encode() + tensor.contiguous().numpy().tobytes())
        if key.digest() not in self._remembered:
            self._remembered[key.digest()] = compute(batch)
        return self._remembered[key.digest()]


def probabilities(case: Case, record: Model, file: Path) -> Tensor:
    """Return the probabilities of the author's labels, (1, labels)."""
    runner = Runner(record, Remembering(case), case.runner.files, device="cpu", dtype="float32", progress=False)
    scores = runner.classify(file, labels=case.author.labels, **case.author.options)
    return torch.from_numpy(scores.values["label"])
