"""What networks for volumes share: vectors that are averages over the grid, and labels of voxels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from medfm.runtime.capabilities import Batch


def wrap(network: nn.Module, vectors: Sequence[str], *, segments: bool) -> VolumeNetwork:
    """Return an object that does what the network can: give vectors, label voxels, or both.

    Args:
        network: takes (n, channels, x, y, z).
        vectors: parts whose averaged outputs are the vector; `output` is what the network itself gives.
        segments: whether the network's output labels voxels.
    """
    if not vectors:
        return Segments(network)
    return EncodesAndSegments(network, vectors) if segments else Encodes(network, vectors)


class VolumeNetwork:
    """A network for volumes.

    Attributes:
        compute: from (n, channels, x, y, z) to what the network is for; another backend may take it over.
    """

    def __init__(self, network: nn.Module, vectors: Sequence[str] = ()) -> None:
        self._network, self._vectors = network, tuple(vectors)
        self.compute: Callable[[Tensor], Tensor] = self._compute

    def _compute(self, x: Tensor) -> Tensor:
        found: Tensor = self._network(x)
        return found

    def modules(self) -> Mapping[str, nn.Module]:
        """Return the networks by name."""
        return {"main": self._network}

    def _input(self, batch: Batch) -> Tensor:
        parameter = next(self._network.parameters())
        return batch["image"].to(parameter.device, parameter.dtype)


class Encodes(VolumeNetwork):
    """An Encoder of volumes."""

    def encode(self, batch: Batch) -> Tensor:
        """Return (n, width) float32."""
        with torch.inference_mode():
            return self._encode(self._input(batch)).float().cpu()

    def _encode(self, x: Tensor) -> Tensor:
        return torch.cat([mean(found) for found in outputs(self._network, x, self._vectors)], dim=1)


class Segments(VolumeNetwork):
    """A Segmenter of volumes."""

    def segment(self, batch: Batch) -> Tensor:
        """Return (n, channels, x, y, z) float32."""
        with torch.inference_mode():
            found = self.compute(self._input(batch))
        return found.float().cpu()


class EncodesAndSegments(Encodes, Segments):
    """An Encoder that is a Segmenter, too."""


def mean(x: Any) -> Tensor:
    """Return (n, channels): the average over the grid of a part's output, the last one of a list."""
    tensor: Tensor = x if isinstance(x, Tensor) else x[-1]
    return tensor.flatten(2).mean(-1) if tensor.ndim > 2 else tensor


class _Seen(Exception):  # no error: it ends a computation whose rest is not needed
    """All outputs that were asked for are there."""


def outputs(network: nn.Module, x: Tensor, names: Sequence[str]) -> list[Any]:
    """Return what named parts of a network give for an input; the network is run no further than needed.

    Args:
        network: takes `x`.
        x: a batch.
        names: of its modules; `output` stands for the network itself.
    """
    if tuple(names) == ("output",):
        return [network(x)]
    found: dict[str, Any] = {}

    def keep(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            found[name] = output
            if len(found) == len(names):
                raise _Seen

        return hook

    hooks = [network.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        network(x)
    except _Seen:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    return [found[name] for name in names]
