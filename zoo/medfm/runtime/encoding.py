"""From inputs to vectors: images, sequences and texts, and how well images and texts go together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from medfm.errors import UsageError
from medfm.runtime.outputs import Embedding, Similarity
from medfm.runtime.pooling import pool
from medfm.runtime.runner import Run, lengths

if TYPE_CHECKING:
    from torch import Tensor

    from medfm.runtime.runner import Runner


def embed(
    runner: Runner, source: object, *, tokens: bool, batch_size: int | None, workers: int, **options: Any
) -> Embedding:
    """Return one vector for each input; see `Runner.embed`."""
    runner.needs("embed")
    run = Run()
    vectors, kept = _vectors(runner, source, run, tokens, batch_size, workers, options)
    described = runner.output("embedding")
    return Embedding(runner.provenance(run), vectors.numpy(), tuple(run.names), described.distance, tuple(kept))


def _vectors(
    runner: Runner,
    source: object,
    run: Run,
    tokens: bool,
    batch_size: int | None,
    workers: int,
    options: dict[str, Any],
) -> tuple[Tensor, list[np.ndarray[Any, Any]]]:
    found, kept = [], []
    for hidden, counts, vectors in _stream(runner, source, run, options, batch_size=batch_size, workers=workers):
        found.append(vectors)
        if tokens:
            whole = counts or [hidden.shape[1]] * len(hidden)
            kept += [hidden[i, :length].numpy() for i, length in enumerate(whole)]
    return torch.cat(found), kept


def _stream(
    runner: Runner, source: object, run: Run, options: dict[str, Any], **how: Any
) -> Iterator[tuple[Tensor, list[int] | None, Tensor]]:
    described = runner.output("embedding")
    for _, prepared in runner.batches(source, run, options, **how):
        hidden = runner.network.encode(prepared.batch)
        counts = lengths(prepared.batch)
        yield hidden, counts, pool(hidden, counts, described).to(torch.float32)


def stream(runner: Runner, source: object, run: Run, options: dict[str, Any], **how: Any) -> Iterator[Tensor]:
    """Give the vectors of many inputs batch by batch; `run.names` grows beside them.

    Args:
        runner: an encoder.
        source: many inputs.
        run: takes names and notes.
        options: see `medfm.runtime.state.Options`.
        **how: see `Runner.batches`.
    """
    runner.needs("embed")
    yield from (vectors for _, _, vectors in _stream(runner, source, run, options, **how))


def embed_text(runner: Runner, texts: str | Sequence[str], *, batch_size: int) -> Embedding:
    """Return one vector for each text; see `Runner.embed_text`."""
    runner.needs("embed_text")
    run = Run()
    vectors = text_vectors(runner, [texts] if isinstance(texts, str) else list(texts), run, batch_size)
    return Embedding(
        runner.provenance(run), vectors.numpy(), tuple(run.names), runner.output("text_embedding").distance
    )


def text_vectors(runner: Runner, texts: Sequence[str], run: Run, batch_size: int = 64) -> Tensor:
    """Return (texts, dimension) float32."""
    if not texts:
        raise UsageError("there is no text: the list is empty")
    described = runner.output("text_embedding")
    vectors = []
    steps = runner.record.text_input
    for _, prepared in runner.batches(texts, run, {}, batch_size=batch_size, workers=0, steps=steps):
        hidden = runner.network.encode_text(prepared.batch)
        vectors.append(pool(hidden, lengths(prepared.batch), described))
    return torch.cat(vectors).to(torch.float32)


def retrieve(
    runner: Runner, source: object, texts: Sequence[str], *, batch_size: int | None, workers: int, **options: Any
) -> Similarity:
    """Return the cosine similarity of each image and each text; see `Runner.retrieve`."""
    runner.needs("retrieve")
    run = Run()
    written = text_vectors(runner, list(texts), Run())
    seen, _ = _vectors(runner, source, run, False, batch_size, workers, options)
    values = functional.normalize(seen, dim=-1) @ functional.normalize(written, dim=-1).mT
    return Similarity(runner.provenance(run), values.numpy(), tuple(run.names), tuple(texts))


def image_vectors(
    runner: Runner, source: object, run: Run, batch_size: int | None, workers: int, options: dict[str, Any]
) -> Tensor:
    """Return (images, dimension) float32."""
    return _vectors(runner, source, run, False, batch_size, workers, options)[0]
