"""Steps on signals."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from medfm.catalog import contracts
from medfm.errors import InputError, MissingExtraError
from medfm.runtime import inputs
from medfm.runtime.inputs import Signal
from medfm.runtime.state import Context, Function, Options, State
from medfm.runtime.steps.volume import STEPS as VOLUME_STEPS


def read(step: contracts.ReadSignal, source: Any, options: Options) -> list[Signal]:
    """Return the consecutive windows of a recording that has the contract's rate and channels."""
    signal = inputs.read_signal(source, options.sampling_rate)
    rate = signal.sampling_rate
    if rate is None:
        if options.strict:
            raise InputError(
                f"the file does not say its sampling rate; pass --sampling-rate (this model needs {step.sampling_rate:g} Hz)",
                path=signal.name,
                flag="sampling_rate",
            )
        rate = step.sampling_rate
    if abs(rate - step.sampling_rate) > 1e-6 * step.sampling_rate:
        raise InputError(
            f"recorded at {rate:g} Hz, but this model needs {step.sampling_rate:g} Hz; "
            f"resample it first (scipy.signal.resample_poly)",
            path=signal.name,
        )
    channels, samples = signal.data.shape
    if channels != step.channels:
        raise InputError(f"has {channels} channels, but this model takes {step.channels}; choose one", path=signal.name)
    if samples < step.samples:
        seconds = step.samples / step.sampling_rate
        raise InputError(
            f"is {samples / rate:.3g} s long ({samples} samples), but this model needs windows of {seconds:g} s "
            f"({step.samples} samples)",
            path=signal.name,
        )
    count = samples // step.samples
    parts = [signal.data[:, i * step.samples : (i + 1) * step.samples] for i in range(count)]
    return [Signal(part, rate, signal.name) for part in parts]


def _scalogram(step: contracts.Scalogram, state: State, context: Context) -> None:  # noqa: ARG001
    try:
        import pywt
    except ImportError:
        raise MissingExtraError("PyWavelets", "signals", why="the contract's step `scalogram`") from None
    space = np.geomspace if step.spacing == "geometric" else np.linspace
    scales = space(step.lowest, step.highest, num=step.count)
    coefficients, _ = pywt.cwt(state.value[0].numpy(), scales, step.wavelet)
    state.value = torch.from_numpy(np.abs(coefficients))


def _branch(step: contracts.Branch, state: State, context: Context) -> None:
    for name, path in step.paths.items():
        branch = State(state.value, frame=state.frame)
        for inner in path:
            {**VOLUME_STEPS, **STEPS}[type(inner)](inner, branch, context)
        state.outputs[name] = branch.value.to(torch.float32)


STEPS: dict[type, Function] = {contracts.Scalogram: _scalogram, contracts.Branch: _branch}
