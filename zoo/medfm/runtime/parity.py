"""Weights for comparing two implementations when no weights can be had: made from parameter names and shapes alone.

The authors' network and ours, filled alike, must give the same output. No library's random numbers are used, so the values
stay the same whatever is installed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn


def values(name: str, shape: Sequence[int]) -> Tensor:
    """Return the values of one parameter: float32, the same for the same name and shape on every machine.

    Matrices and kernels are uniform with variance 1 / fan-in, so that activations neither vanish nor explode; vectors that are
    scales (`weight`, `running_var`) lie near 1, all others near 0.

    >>> [round(float(v), 4) for v in values("layer.weight", (3,))]
    [1.0296, 1.0617, 0.9174]
    """
    count = int(np.prod(shape)) if len(shape) else 1
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    scale, shift = 0.1, 0.0
    if len(shape) > 1:
        scale = float(np.sqrt(3.0 / (count // shape[0])))
    elif name.endswith(("weight", "running_var", "gamma")):
        shift = 1.0
    filled = np.empty(count, dtype=np.float32)
    for start in range(0, count, _CHUNK):  # chunks that stay in the processor's cache: networks have a billion weights
        stop = min(start + _CHUNK, count)
        filled[start:stop] = shift + scale * _uniform(seed, start, stop)
    return torch.from_numpy(filled).reshape(tuple(shape))


_CHUNK = 1 << 15


def _uniform(seed: int, start: int, stop: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return numbers in [-1, 1): splitmix64 (Steele et al. 2014) of a counter."""
    with np.errstate(over="ignore"):
        z = np.arange(start + 1, stop + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) / 2**52 - 1.0


def state(shapes: Mapping[str, Sequence[int]], keep: Iterable[str] = ()) -> dict[str, Tensor]:
    """Return a state of filled values for parameters of the given names and shapes, without those in `keep`."""
    kept = set(keep)
    return {name: values(name, shape) for name, shape in shapes.items() if name not in kept}


def fill(network: nn.Module) -> None:
    """Fill every floating-point parameter of a network in place, by its name."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(values(name, parameter.shape))


def fingerprint(network: nn.Module) -> str:
    """Return 16 hex digits that name a network's parameters and persistent buffers: their names and shapes, in any order.

    >>> fingerprint(nn.Linear(2, 3)) == fingerprint(nn.Linear(2, 3)) != fingerprint(nn.Linear(3, 2))
    True
    """
    lines = sorted(f"{name} {list(tensor.shape)}" for name, tensor in network.state_dict().items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def largest_difference(ours: Tensor | np.ndarray, theirs: Tensor | np.ndarray) -> float:
    """Return the largest absolute difference between two outputs.

    Raises:
        ValueError: the shapes differ.
    """
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"the outputs have different shapes: {a.shape} and {b.shape}")
    return float(np.abs(a - b).max(initial=0.0))
