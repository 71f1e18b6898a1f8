"""From hidden states to one vector an input, as the record's output says."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from medfm.catalog.contracts import EmbeddingOutput


def pool(hidden: Tensor, lengths: Sequence[int] | None, output: EmbeddingOutput) -> Tensor:
    """Return one vector for each input.

    Args:
        hidden: (n, tokens, width) hidden states, or (n, width) where the network pools by itself.
        lengths: tokens of each input that are no padding; None where nothing is padded.
        output: pooling, tokens to skip, normalization.

    Returns:
        (n, dimension) float32.
    """
    if hidden.ndim == 3 and lengths is None:
        lengths = [hidden.shape[1]] * len(hidden)
    if output.pooling == "none":
        vectors = hidden
    elif output.pooling == "cls":
        vectors = hidden[:, 0]
    else:
        assert lengths is not None, "tokens are pooled, so there are tokens"
        means = torch.stack(
            [x[output.skip : length - output.skip_last].mean(0) for x, length in zip(hidden, lengths, strict=True)]
        )
        vectors = torch.cat([hidden[:, 0], means], dim=-1) if output.pooling == "cls+mean" else means
    return functional.normalize(vectors, dim=-1) if output.normalized else vectors
