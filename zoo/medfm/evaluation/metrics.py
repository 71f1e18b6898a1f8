"""Metrics on arrays. Where a library computes a metric well, it is used; overlaps of masks are simple counts."""

from __future__ import annotations

from typing import Any

import numpy as np

from medfm.errors import InputError

Mask = np.ndarray[Any, np.dtype[Any]]


def dice(prediction: Mask, reference: Mask) -> float:
    """Return the Dice similarity coefficient 2|A ∩ B| / (|A| + |B|) of two masks; 1.0 where both are empty.

    Args:
        prediction: any shape; nonzero is foreground.
        reference: of the same shape.

    Raises:
        InputError: the shapes differ.

    Source: Dice 1945; Taha and Hanbury 2015, eq. 6.

    >>> dice(np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0]))
    0.6666666666666666
    """
    common, a, b = _counts(prediction, reference)
    return 1.0 if a + b == 0 else 2 * common / (a + b)


def intersection_over_union(prediction: Mask, reference: Mask) -> float:
    """Return the intersection over union (Jaccard index) |A ∩ B| / |A ∪ B| of two masks; 1.0 where both are empty.

    Args:
        prediction: any shape; nonzero is foreground.
        reference: of the same shape.

    Raises:
        InputError: the shapes differ.

    >>> intersection_over_union(np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0]))
    0.5
    """
    common, a, b = _counts(prediction, reference)
    return 1.0 if a + b == 0 else common / (a + b - common)


def _counts(prediction: Mask, reference: Mask) -> tuple[int, int, int]:
    if prediction.shape != reference.shape:
        raise InputError(f"the masks have different shapes: {prediction.shape} and {reference.shape}")
    a, b = prediction != 0, reference != 0
    return int((a & b).sum()), int(a.sum()), int(b.sum())
