"""Steps on sequences of residues and on receptors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from medfm.catalog import contracts
from medfm.errors import InputError
from medfm.runtime import inputs
from medfm.runtime.inputs import Receptor
from medfm.runtime.state import Context, Function, State


def read_sequences(step: contracts.ReadSequence, source: Any) -> list[tuple[str, str]]:
    """Return (name, letters) of every sequence, all letters inside the contract's alphabet."""
    found = inputs.read_sequences(source)
    allowed = set(step.alphabet + step.unknown)
    items = []
    for name, letters in zip(found.names, found.letters, strict=True):
        letters = letters.strip().upper()
        strange = sorted({c for c in letters if c not in allowed})
        if not letters:
            raise InputError(f"sequence {name} is empty")
        if strange:
            place = next(i for i, c in enumerate(letters) if c == strange[0]) + 1
            hint = f"; write {step.unknown} for an unknown residue" if step.unknown else ""
            raise InputError(
                f"sequence {name} has {', '.join(repr(c) for c in strange)} (first at position {place}), "
                f"which is outside the alphabet {step.alphabet}{hint}"
            )
        if len(letters) > step.longest:
            raise InputError(f"sequence {name} has {len(letters)} residues; this model takes at most {step.longest}")
        items.append((name, letters))
    return items


def read_receptors(step: contracts.ReadReceptor, source: Any) -> list[Receptor]:
    """Return receptors whose loops lie inside the contract's alphabet."""
    receptors = inputs.read_receptors(source)
    allowed = set(step.alphabet)
    for receptor in receptors:
        for loop, letters in (("CDR3A", receptor.cdr3a), ("CDR3B", receptor.cdr3b)):
            strange = sorted(set(letters or "") - allowed)
            if strange:
                raise InputError(
                    f"receptor {receptor.name}: {loop} has {', '.join(map(repr, strange))}, outside the alphabet {step.alphabet}"
                )
    return receptors


def _tokenize(step: contracts.Tokenize, state: State, context: Context) -> None:
    vocabulary = _vocabulary(context.files[step.vocabulary])
    _, letters = state.value
    words = [step.begin, *(step.mask if c == "_" else c for c in letters), step.end]
    numbers = torch.tensor([vocabulary[word] for word in words])
    assert vocabulary[step.pad] == 0, "batches are padded with 0"
    state.outputs = {"tokens": numbers, "attention": torch.ones_like(numbers)}


def _vocabulary(path: Path) -> dict[str, int]:
    return {line.strip(): i for i, line in enumerate(path.read_text(encoding="utf-8").splitlines()) if line.strip()}


def _tokenize_receptor(step: contracts.TokenizeReceptor, state: State, context: Context) -> None:  # noqa: ARG001
    from medfm.runtime.receptors import loops

    found = loops(state.value, step.loops)
    rows = [(2, 0, 0, 0)]  # the class token; 0 is padding and 1 the mask
    for number, letters in enumerate(found, start=1):
        rows += [(3 + step.alphabet.index(c), i, len(letters), number) for i, c in enumerate(letters, start=1)]
    state.outputs = {"tokens": torch.tensor(rows)}


STEPS: dict[type, Function] = {contracts.Tokenize: _tokenize, contracts.TokenizeReceptor: _tokenize_receptor}
