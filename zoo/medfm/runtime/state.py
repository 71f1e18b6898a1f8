"""What the engine hands from step to step, and what callers may supply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

if TYPE_CHECKING:
    from medfm.runtime.capabilities import Localizer
    from medfm.runtime.inputs import Volume


@dataclass(frozen=True)
class Options:
    """What the caller supplies where a file lacks something.

    Attributes:
        strict: refuse a file that lacks what the contract needs; False follows the authors' code and keeps a note.
        sampling_rate: Hz, for signals in files that do not say.
        assume_affine: take a NIfTI without orientation to be stored in RAS order.
        fill_nan: replace NaN by zero where the authors' code does.
        um_per_px: micrometers per pixel, for pictures whose file does not say.
        frame: which frame of a file that holds several, from 0.
        intensity_range: intensities that become black and white, for pictures of more than 8 bits.
        rescale: slope and intercept, for CT whose file lacks them.
        drop_alpha: use the colors of transparent pixels.
        convert_colors: convert CMYK and the like with Pillow's default profile.
        exif: "apply" turns a photograph as its EXIF data say, "ignore" leaves it as it is stored.
    """

    strict: bool = True
    sampling_rate: float | None = None
    assume_affine: bool = False
    fill_nan: bool = False
    um_per_px: float | None = None
    frame: int | None = None
    intensity_range: tuple[float, float] | None = None
    rescale: tuple[float, float] | None = None
    drop_alpha: bool = False
    convert_colors: bool = False
    exif: Literal["apply", "ignore"] | None = None


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


Function = Callable[[Any, State, Context], None]
"""What runs one type of step: the step's description, the state that it changes, and what else it may need."""


def frame_of(state: State) -> Frame:
    """Return the way back of a volume."""
    assert state.frame is not None, "the step needs a volume"
    return state.frame
