"""The engine that executes a contract: from a file to tensors, and from the network's output back to the file's grid.

One function runs one type of step; `_STEPS` joins them. Steps are described in `medfm.catalog.contracts`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medfm.catalog import contracts
from medfm.errors import InputError, MissingExtraError
from medfm.runtime import inputs
from medfm.runtime.inputs import Receptor, Signal, Volume

if TYPE_CHECKING:
    from medfm.runtime.capabilities import Localizer

# A small array must not be allowed to ask for terabytes (a header can claim any size).
LARGEST_VOLUME = 2**31

Item = Any
"""One input as it was read: a Volume, a window of a Signal, a named sequence, or a Receptor."""


@dataclass(frozen=True)
class Options:
    """What the caller supplies where a file lacks something.

    Attributes:
        strict: refuse a file that lacks what the contract needs; False follows the authors' code and keeps a note.
        sampling_rate: Hz, for signals in files that do not say.
        assume_affine: take a NIfTI without orientation to be stored in RAS order.
        fill_nan: replace NaN by zero where the authors' code does.
    """

    strict: bool = True
    sampling_rate: float | None = None
    assume_affine: bool = False
    fill_nan: bool = False


@dataclass
class State:
    """What the steps hand on.

    Attributes:
        value: the input at this point, a tensor, or letters or a receptor before tokenization.
        outputs: named tensors, once the steps have branched or tokenized.
        frame: how to find the way back to the input's own grid.
        notes: what was done beyond the contract, for the provenance.
    """

    value: Any
    outputs: dict[str, Tensor] = field(default_factory=dict)
    frame: Frame | None = None
    notes: list[str] = field(default_factory=list)


@dataclass
class Frame:
    """The way back from the prepared grid to the file's grid.

    Attributes:
        volume: the input as it was read.
        shape: of the whole oriented volume.
        orientation: nibabel orientation that was applied to the file's axes.
        box: the part of the oriented volume that was cropped.
        range: intensities that the step `locate` measured.
    """

    volume: Volume
    shape: tuple[int, ...] = ()
    orientation: Any = None
    box: tuple[slice, ...] | None = None
    range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Context:
    """What steps may need besides their own values."""

    options: Options = Options()
    localizer: Localizer | None = None
    files: Mapping[str, Path] = field(default_factory=dict)


# ---------------------------------------------------------------- reading


def read(steps: Sequence[contracts.Step], source: object, options: Options = Options()) -> list[Item]:
    """Read a source into single inputs, as the contract's first step says.

    Args:
        steps: the contract.
        source: a path, an object in memory, or for sequences and receptors many at once.
        options: what the caller supplies.

    Raises:
        InputError: the source cannot be read, or is of another kind than the model needs.
    """
    first = steps[0]
    if isinstance(first, contracts.ReadVolume):
        return [_volume(first, source, options)]
    if isinstance(first, contracts.ReadSignal):
        return _windows(first, source, options)
    if isinstance(first, contracts.ReadSequence):
        return _sequences(first, source)
    if isinstance(first, contracts.ReadReceptor):
        return _receptors(first, source)
    raise InputError(f"a contract cannot begin with the step {first.step!r}")


def _volume(step: contracts.ReadVolume, source: Any, options: Options) -> Volume:
    if options.assume_affine and isinstance(source, str | Path):
        source = inputs.with_assumed_affine(source)
    frames = step.frames if not options.strict else "refuse"
    volume = inputs.read_volume(source, frames=frames)
    if volume.data.size > LARGEST_VOLUME:
        raise InputError(f"{volume.data.size:,} voxels are more than this model can hold", path=volume.name)
    bad = int((~np.isfinite(volume.data)).sum())
    if bad:
        if step.non_finite == "refuse":
            raise InputError(f"{bad:,} voxels are NaN or infinite; repair the file first", path=volume.name)
        if options.strict and not options.fill_nan:
            raise InputError(
                f"{bad:,} voxels are NaN or infinite; pass --fill-nan to count them as 0, as the authors' code does",
                path=volume.name,
                flag="fill_nan",
            )
        volume = replace(volume, data=np.nan_to_num(volume.data))
    return volume


def _windows(step: contracts.ReadSignal, source: Any, options: Options) -> list[Signal]:
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


def _sequences(step: contracts.ReadSequence, source: Any) -> list[tuple[str, str]]:
    found = inputs.read_sequences(source)
    allowed = set(step.alphabet + step.unknown)
    items = []
    for name, letters in zip(found.names, found.letters, strict=True):
        letters = letters.strip().upper()
        strange = sorted({c for c in letters if c not in allowed})
        if not letters:
            raise InputError(f"sequence {name} is empty")
        if strange:
            place = next(i for i, c in enumerate(letters) if c == strange[0]) + 1
            hint = f"; write {step.unknown} for an unknown residue" if step.unknown else ""
            raise InputError(
                f"sequence {name} has {', '.join(repr(c) for c in strange)} (first at position {place}), "
                f"which is outside the alphabet {step.alphabet}{hint}"
            )
        if len(letters) > step.longest:
            raise InputError(f"sequence {name} has {len(letters)} residues; this model takes at most {step.longest}")
        items.append((name, letters))
    return items


def _receptors(step: contracts.ReadReceptor, source: Any) -> list[Receptor]:
    receptors = inputs.read_receptors(source)
    allowed = set(step.alphabet)
    for receptor in receptors:
        for loop, letters in (("CDR3A", receptor.cdr3a), ("CDR3B", receptor.cdr3b)):
            strange = sorted(set(letters or "") - allowed)
            if strange:
                raise InputError(
                    f"receptor {receptor.name}: {loop} has {', '.join(map(repr, strange))}, outside the alphabet {step.alphabet}"
                )
    return receptors


def tail(steps: Sequence[contracts.Step], source: Signal) -> int:
    """Return how many samples at the end of a recording do not fill a window and are not analyzed."""
    first = steps[0]
    assert isinstance(first, contracts.ReadSignal)
    return int(source.data.shape[-1] % first.samples)


# ---------------------------------------------------------------- running


@dataclass(frozen=True)
class Prepared:
    """A batch for the network and, for each input, the way back."""

    batch: dict[str, Tensor]
    frames: tuple[Frame | None, ...]
    notes: tuple[str, ...]


Watcher = Callable[[contracts.Step, State], None]


def prepare(
    steps: Sequence[contracts.Step], items: Sequence[Item], context: Context = Context(), watch: Watcher | None = None
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
            _STEPS[type(step)](step, state, context)
            if watch:
                watch(step, state)
        states.append(state)
    outputs = [state.outputs or {"image": state.value[None]} for state in states]
    batch = {name: _join([out[name] for out in outputs]) for name in outputs[0]}
    notes = tuple(dict.fromkeys(note for state in states for note in state.notes))
    return Prepared(batch, tuple(state.frame for state in states), notes)


def _begin(item: Item) -> State:
    if isinstance(item, Volume):
        return State(torch.from_numpy(np.ascontiguousarray(item.data)), frame=Frame(item, tuple(item.data.shape)))
    if isinstance(item, Signal):
        return State(torch.from_numpy(np.array(item.data)))
    return State(item)


def _join(tensors: Sequence[Tensor]) -> Tensor:
    """Stack tensors; those that differ in length are padded with zeros at the end (token number 0 is padding)."""
    if len({tuple(t.shape) for t in tensors}) == 1:
        return torch.stack(list(tensors))
    return torch.nn.utils.rnn.pad_sequence(list(tensors), batch_first=True, padding_value=0)


# ---------------------------------------------------------------- one function a step


def _orient(step: contracts.Orient, state: State, context: Context) -> None:  # noqa: ARG001
    from nibabel import orientations

    frame = _frame(state)
    wanted = orientations.axcodes2ornt(tuple(step.axes))
    state_of_file = orientations.io_orientation(frame.volume.affine)
    frame.orientation = orientations.ornt_transform(state_of_file, wanted)
    turned = orientations.apply_orientation(state.value.numpy(), frame.orientation)
    state.value = torch.from_numpy(np.ascontiguousarray(turned))
    frame.shape = tuple(state.value.shape)


def _resize(step: contracts.Resize, state: State, context: Context) -> None:  # noqa: ARG001
    state.value = resample(state.value, step.size, step.interpolation)


def _window(step: contracts.Window, state: State, context: Context) -> None:  # noqa: ARG001
    if step.measured_on == "located":
        measured = _frame(state).range
        assert measured is not None, "the step `locate` comes first"
        low, high = measured
    elif step.quantiles:
        low, high = (float(state.value.quantile(q)) for q in step.quantiles)
        if state.frame is not None:
            state.frame.range = (low, high)
    else:
        assert step.low is not None
        assert step.high is not None
        low, high = step.low, step.high
    if not high > low:
        name = state.frame.volume.name if state.frame else ""
        raise InputError(
            "the image is constant (its low and high quantiles are equal): there is nothing to see", path=name
        )
    state.value = ((state.value - low) / (high - low)).clamp(min=0, max=1)


def _standardize(step: contracts.Standardize, state: State, context: Context) -> None:  # noqa: ARG001
    x = state.value
    if step.axis == "all":
        mean, deviation = x.mean(), x.std(correction=step.correction)
    else:
        mean, deviation = x.mean(-1, keepdim=True), x.std(-1, keepdim=True, correction=step.correction)
    if step.constant == "refuse" and not bool((deviation > 0).all()):
        raise InputError("the input is constant: its standard deviation is 0")
    x = (x - mean) / deviation
    if step.constant == "zero":
        x = torch.nan_to_num(x, nan=0.0)
    state.value = step.scale * x + step.shift


def _locate(step: contracts.Locate, state: State, context: Context) -> None:
    assert context.localizer is not None, "the family must implement Localizer"
    frame = _frame(state)
    view = State(state.value, frame=frame)
    for inner in step.input:
        _STEPS[type(inner)](inner, view, context)
    found = context.localizer.locate(step.network, view.value)[step.channel] > step.threshold
    mask = torch.from_numpy(largest_component(found.numpy())) if step.component == "largest" else found
    frame.box = _box(mask.float(), frame.shape, step, frame.volume.name)
    state.value = state.value[frame.box]


def _box(mask: Tensor, shape: Sequence[int], step: contracts.Locate, name: str) -> tuple[slice, ...]:
    """Return the region that holds a coarse mask, with its margin, on the grid of the full volume."""
    occupied = [torch.where(mask.mean(axes) > step.occupied)[0] for axes in ((1, 2), (0, 2), (0, 1))]
    if any(len(slices) == 0 for slices in occupied):
        raise InputError(
            f"the first network ({step.network}) found nothing to crop to: is this the right kind of image?", path=name
        )
    scale = torch.tensor(shape) / torch.tensor(mask.shape)
    center = scale * torch.tensor([float(s.max() + 1 + s.min()) / 2 for s in occupied])
    size = (1 + 2 * torch.tensor(step.margin)) * (scale * torch.tensor([int(s.max() + 1 - s.min()) for s in occupied]))
    edges = [(int(c - s / 2), int(c + s / 2)) for c, s in zip(center.round(), size.round(), strict=True)]
    return tuple(slice(max(0, low), min(full, high)) for (low, high), full in zip(edges, shape, strict=True))


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
            _STEPS[type(inner)](inner, branch, context)
        state.outputs[name] = branch.value.to(torch.float32)


def _tokenize(step: contracts.Tokenize, state: State, context: Context) -> None:
    vocabulary = _vocabulary(context.files[step.vocabulary])
    _, letters = state.value
    words = [step.begin, *(step.mask if c == "_" else c for c in letters), step.end]
    numbers = torch.tensor([vocabulary[word] for word in words])
    assert vocabulary[step.pad] == 0, "batches are padded with 0"
    state.outputs = {"tokens": numbers, "attention": torch.ones_like(numbers)}


def _vocabulary(path: Path) -> dict[str, int]:
    return {line.strip(): i for i, line in enumerate(path.read_text(encoding="utf-8").splitlines()) if line.strip()}


def _tokenize_receptor(step: contracts.TokenizeReceptor, state: State, context: Context) -> None:  # noqa: ARG001
    from medfm.runtime.receptors import loops

    found = loops(state.value, step.loops)
    rows = [(2, 0, 0, 0)]  # the class token; 0 is padding and 1 the mask
    for number, letters in enumerate(found, start=1):
        rows += [(3 + step.alphabet.index(c), i, len(letters), number) for i, c in enumerate(letters, start=1)]
    state.outputs = {"tokens": torch.tensor(rows)}


_STEPS: dict[type, Callable[[Any, State, Context], None]] = {
    contracts.Orient: _orient,
    contracts.Resize: _resize,
    contracts.Window: _window,
    contracts.Standardize: _standardize,
    contracts.Locate: _locate,
    contracts.Scalogram: _scalogram,
    contracts.Branch: _branch,
    contracts.Tokenize: _tokenize,
    contracts.TokenizeReceptor: _tokenize_receptor,
}


def _frame(state: State) -> Frame:
    assert state.frame is not None, "the step needs a volume"
    return state.frame


# ---------------------------------------------------------------- the way back


def restore(
    probability: Tensor, frame: Frame, output: contracts.SegmentationOutput
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Turn the network's probabilities into a mask on the input's own grid.

    Args:
        probability: (channels, *prepared grid) float32.
        frame: the way back.
        output: channel, threshold and what is done to the mask.

    Returns:
        (x, y, z) uint8 in the file's own axis order.
    """
    from nibabel import orientations

    box = frame.box or tuple(slice(0, n) for n in frame.shape)
    inside = tuple(s.stop - s.start for s in box)
    mask = (resample(probability[output.channel], inside, output.interpolation) > output.threshold).numpy()
    if output.component == "largest":
        mask = largest_component(mask)
    if output.fill_holes:
        from scipy import ndimage

        mask = ndimage.binary_fill_holes(mask)
    whole = np.zeros(frame.shape, dtype=np.uint8)
    whole[box] = mask
    if frame.orientation is None:
        return whole
    back = orientations.ornt_transform(
        orientations.axcodes2ornt(("R", "A", "S")), orientations.io_orientation(frame.volume.affine)
    )
    return np.ascontiguousarray(orientations.apply_orientation(whole, back))


def resample(x: Tensor, size: Sequence[int], interpolation: str) -> Tensor:
    """Resample a tensor without channels to `size`, voxel corners aligned with voxel corners (torch's convention)."""
    modes = {"nearest": "nearest", "nearest-exact": "nearest-exact", "area": "area"}
    modes |= {"linear": {1: "linear", 2: "bilinear", 3: "trilinear"}[x.ndim], "cubic": "bicubic"}
    return functional.interpolate(x[None, None], tuple(size), mode=modes[interpolation])[0, 0]


def largest_component(mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the largest connected component (corners connect), as bool; an empty mask stays empty."""
    from scipy import ndimage

    labels, count = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
    if count == 0:
        return np.zeros(mask.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    return np.asarray(labels == sizes[1:].argmax() + 1)
