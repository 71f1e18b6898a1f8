"""The engine that executes a contract, from a file to tensors.

One function runs one type of step; `STEPS` joins those of all kinds of input. Steps are described in `medfm.catalog.contracts`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medfm.catalog import contracts
from medfm.errors import InputError
from medfm.runtime import images, videos
from medfm.runtime.images import Picture
from medfm.runtime.inputs import Receptor, Signal, Volume
from medfm.runtime.restoring import restore
from medfm.runtime.state import Context, Frame, Function, Options, State
from medfm.runtime.steps import grid, image, sequence, signal, text, video, volume
from medfm.runtime.steps.grid import resample
from medfm.runtime.steps.volume import largest_component
from medfm.runtime.videos import Video

Item = Any
"""One input as it was read: a Picture, a Video, a Volume, a window of a Signal, a named sequence, or a Receptor."""

STEPS: Mapping[type, Function] = {
    **image.STEPS,
    **video.STEPS,
    **volume.STEPS,
    **grid.STEPS,
    **signal.STEPS,
    **sequence.STEPS,
    **text.STEPS,
}

DEFAULT = Options()
NOTHING = Context()

Watcher = Callable[[contracts.Step, State], None]


def split(steps: Sequence[contracts.Step], source: object) -> list[Any]:
    """Return the single sources that a source holds, unread: many pictures or volumes are read one by one, when needed.

    Args:
        steps: the contract.
        source: a path or an object in memory, or a list of them; a tuple of DICOM files is one series.
    """
    if isinstance(steps[0], contracts.ReadImage | contracts.ReadVolume | contracts.ReadVideo) and isinstance(
        source, list
    ):
        return list(source)
    return [source]


def read(steps: Sequence[contracts.Step], source: object, options: Options = DEFAULT) -> list[Item]:
    """Read a source into single inputs, as the contract's first step says.

    Args:
        steps: the contract.
        source: a path, an object in memory, or for sequences and receptors many at once.
        options: what the caller supplies.

    Raises:
        InputError: the source cannot be read, or is of another kind than the model needs.
    """
    first = steps[0]
    if isinstance(first, contracts.ReadImage):
        return [images.read(first, source, options)]
    if isinstance(first, contracts.ReadVolume):
        return [volume.read(first, source, options)]
    if isinstance(first, contracts.ReadVideo):
        return [videos.read(first, source, options)]
    if isinstance(first, contracts.ReadSignal):
        return [*signal.read(first, source, options)]
    if isinstance(first, contracts.ReadText):
        return [*text.read(source)]
    if isinstance(first, contracts.ReadSequence):
        return [*sequence.read_sequences(first, source)]
    if isinstance(first, contracts.ReadReceptor):
        return [*sequence.read_receptors(first, source)]
    raise InputError(f"a contract cannot begin with the step {first.step!r}")


def tail(steps: Sequence[contracts.Step], source: Signal) -> int:
    """Return how many samples at the end of a recording do not fill a window and are not analyzed."""
    first = steps[0]
    assert isinstance(first, contracts.ReadSignal)
    return int(source.data.shape[-1] % first.samples)


@dataclass(frozen=True)
class Prepared:
    """A batch for the network and, for each input, the way back."""

    batch: dict[str, Tensor]
    frames: tuple[Frame | None, ...]
    notes: tuple[str, ...]


def prepare(
    steps: Sequence[contracts.Step], items: Sequence[Item], context: Context = NOTHING, watch: Watcher | None = None
) -> Prepared:
    """Run all steps after the first on inputs that were read, and join the results into one batch.

    Args:
        steps: the contract.
        items: inputs as `read` gave them.
        context: options, the network that finds regions, the files that come with the weights.
        watch: called after every step with its result, for `explain`.

    Raises:
        InputError: a step cannot be done on an input.
    """
    states = []
    for item in items:
        state = _begin(item)
        if watch:
            watch(steps[0], state)
        for step in steps[1:]:
            STEPS[type(step)](step, state, context)
            if watch:
                watch(step, state)
        states.append(state)
    outputs = [state.outputs or {"image": _with_channels(state)} for state in states]
    batch = {name: _join([out[name] for out in outputs]) for name in outputs[0]}
    notes = tuple(dict.fromkeys(note for state in states for note in state.notes))
    return Prepared(batch, tuple(state.frame for state in states), notes)


def join(parts: Sequence[Prepared]) -> Prepared:
    """Return one batch made of several."""
    names = parts[0].batch if parts else ()
    batch = {name: _join([row for part in parts for row in part.batch[name]]) for name in names}
    notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
    return Prepared(batch, tuple(frame for part in parts for frame in part.frames), notes)


def _begin(item: Item) -> State:
    if isinstance(item, Picture):
        return image.begin(item)
    if isinstance(item, Video):
        return video.begin(item)
    if isinstance(item, Volume):
        data = torch.from_numpy(np.ascontiguousarray(item.data))
        return State(data, frame=Frame(item, tuple(item.data.shape), item.affine), notes=list(item.notes))
    if isinstance(item, Signal):
        return State(torch.from_numpy(np.array(item.data)))
    return State(item)


def _with_channels(state: State) -> Tensor:
    """Return (channels, *grid): volumes have no axis for channels until now."""
    if not isinstance(state.value, Tensor):
        raise InputError("the contract ends before its step to-tensor")
    return state.value[None] if state.frame is not None else state.value


def _join(tensors: Sequence[Tensor]) -> Tensor:
    """Stack tensors; those that differ in length are padded with zeros at the end (token number 0 is padding)."""
    shapes = {tuple(t.shape) for t in tensors}
    if len(shapes) == 1:
        return torch.stack(list(tensors))
    if any(len(shape) > 2 for shape in shapes):
        sizes = ", ".join(" x ".join(map(str, shape)) for shape in sorted(shapes))
        raise InputError(f"the inputs have different sizes after the contract's steps: {sizes}")
    return torch.nn.utils.rnn.pad_sequence(list(tensors), batch_first=True, padding_value=0)


__all__ = [
    "STEPS",
    "Context",
    "Frame",
    "Item",
    "Options",
    "Picture",
    "Prepared",
    "Receptor",
    "State",
    "join",
    "largest_component",
    "prepare",
    "read",
    "resample",
    "restore",
    "split",
    "tail",
]
