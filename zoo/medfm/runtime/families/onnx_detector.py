"""Event detectors that are stored as an ONNX graph, run by ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from medfm.errors import CheckpointError, MissingExtraError, UsageError

if TYPE_CHECKING:
    from medfm.catalog.weights import OnnxDetector as Description
    from medfm.runtime.capabilities import Batch


def build(weights: Description, files: Mapping[str, Path], device: torch.device, dtype: torch.dtype) -> Detector:
    """Open the graph; its inputs and outputs must be those of the description.

    Raises:
        UsageError: another device than the CPU, or another dtype than float32, was asked for.
    """
    if device.type != "cpu" or dtype != torch.float32:
        raise UsageError(f"this model is an ONNX graph that runs on the CPU in float32, not on {device} in {dtype}")
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("onnxruntime", "signals", why="running an ONNX graph") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: warnings about unused initializers help nobody here
    path = files["graph"]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own exceptions share no base class
        raise CheckpointError(
            f"{path.name} ({' '.join(str(error).split())[:120]})", missing=["a sound ONNX graph"]
        ) from None
    inputs = {node.name for node in session.get_inputs()}
    outputs = {node.name for node in session.get_outputs()}
    if inputs != set(weights.inputs) or not set(weights.outputs) <= outputs:
        wanted = set(weights.inputs) | set(weights.outputs)
        found = inputs | outputs
        raise CheckpointError(path.name, missing=wanted - found, extra=inputs - set(weights.inputs))
    return Detector(session, weights.outputs)


class Detector:
    """An EventDetector around an ONNX Runtime session."""

    def __init__(self, session: Any, outputs: Mapping[str, str]) -> None:
        self._session = session
        self._events = next(name for name, holds in outputs.items() if holds == "events")

    def detect(self, batch: Batch) -> Tensor:
        """Return (n, cells, 3): confidence, place of the center in its cell, duration; each in [0, 1]."""
        count = len(next(iter(batch.values())))
        found = []
        for i in range(count):  # the graph was exported for single recordings
            feed = {name: tensor[i : i + 1].numpy() for name, tensor in batch.items()}
            (logits,) = self._session.run([self._events], feed)
            found.append(torch.from_numpy(logits).sigmoid())
        return torch.cat(found)
