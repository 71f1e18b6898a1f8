"""OpenVINO as another backend for image encoders on CPUs: the same network, compiled once for each size of picture."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from medfm.errors import MissingExtraError, UsageError


@runtime_checkable
class Computes(Protocol):
    """A network whose computing can be taken over."""

    compute: Callable[[Tensor], Tensor]

    def modules(self) -> Any:
        """Return the networks by name."""


def take_over(network: object, id: str, dtype: str) -> None:
    """Let OpenVINO compute what a network makes of images.

    Args:
        network: what a family built, on the CPU in float32.
        id: of the model, for messages.
        dtype: "float32", or "bfloat16" where the processor has it.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        UsageError: the family has no such backend.
    """
    try:
        import openvino
    except ImportError:
        raise MissingExtraError("openvino", "openvino", why="this backend") from None
    if not isinstance(network, Computes):
        raise UsageError(f"the backend openvino serves image encoders; {id} is run by torch alone")
    (module,) = network.modules().values()
    network.compute = _Compiled(openvino, module, network.compute, dtype)


class _Compiled:
    """Runs a compiled graph; compiles it when a size of picture first comes."""

    def __init__(self, openvino: Any, module: nn.Module, compute: Callable[[Tensor], Tensor], dtype: str) -> None:
        self._openvino, self._graph, self._dtype = openvino, _Graph(module, compute), dtype
        self._compiled: dict[tuple[int, ...], Any] = {}

    def __call__(self, images: Tensor) -> Tensor:
        size = tuple(images.shape[1:])
        if size not in self._compiled:
            self._compiled[size] = self._compile(images)
        (found,) = self._compiled[size](images.contiguous().numpy()).values()
        return torch.from_numpy(found)

    def _compile(self, images: Tensor) -> Any:
        example = images[:1].clone()
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # tracing warns of every Python number; the size of pictures is fixed on purpose
            model = self._openvino.convert_model(self._graph, example_input=example, input=[-1, *images.shape[1:]])
        precision = "bf16" if self._dtype == "bfloat16" else "f32"
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision,
                   "INFERENCE_NUM_THREADS": torch.get_num_threads()}  # fmt: skip
        return self._openvino.Core().compile_model(model, "CPU", options)


class _Graph(nn.Module):
    """What OpenVINO converts: a module whose forward is the family's computing."""

    def __init__(self, module: nn.Module, compute: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.module, self._compute = module, compute

    def forward(self, images: Tensor) -> Tensor:
        """Return what the family computes."""
        return self._compute(images)
