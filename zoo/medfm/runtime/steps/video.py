"""Steps on videos: tensors (channels, frames, height, width)."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from medfm.catalog import video_steps as described
from medfm.errors import InputError
from medfm.runtime.state import Context, Function, State
from medfm.runtime.videos import Video


def begin(video: Video) -> State:
    """Return the state after the first step."""
    frames = np.ascontiguousarray(video.frames.transpose(3, 0, 1, 2))
    return State(torch.from_numpy(frames), notes=list(video.notes))


def _pad(step: described.PadFrames, state: State, context: Context) -> None:  # noqa: ARG001
    missing = step.frames - state.value.shape[1]
    if missing < 0:
        raise InputError(
            f"the clip has {state.value.shape[1]} frames, more than the {step.frames} that it is filled up to"
        )
    state.value = functional.pad(state.value, (0, 0, 0, 0, 0, missing), value=step.value)


STEPS: dict[type, Function] = {described.PadFrames: _pad}
