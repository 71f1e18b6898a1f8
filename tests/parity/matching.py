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
        """Compute the rows of a batch that were not computed before."""
        rows = len(next(iter(batch.values())))
        keys = [self._key(compute.__name__, {name: tensor[i] for name, tensor in batch.items()}) for i in range(rows)]
        missing = [i for i, key in enumerate(keys) if key not in self._remembered]
        if missing:
            found = compute({name: tensor[missing] for name, tensor in batch.items()})
            self._remembered |= {keys[i]: row for i, row in zip(missing, found, strict=True)}
        return torch.stack([self._remembered[key] for key in keys])

    @staticmethod
    def _key(kind: str, row: Mapping[str, Tensor]) -> bytes:
        key = hashlib.sha256(kind.encode())
        for name, tensor in sorted(row.items()):
            key.update(name.encode() + tensor.contiguous().numpy().tobytes())
        return key.digest()


def probabilities(case: Case, record: Model, file: Path) -> Tensor:
    """Return the probabilities of the author's labels, (1, labels)."""
    runner = Runner(record, Remembering(case), case.runner.files, device="cpu", dtype="float32", progress=False)
    scores = runner.classify(file, labels=case.author.labels, **case.author.options)
    return torch.from_numpy(scores.values["label"])
