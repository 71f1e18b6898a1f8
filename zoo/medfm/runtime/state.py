"""What the engine hands from step to step, and what callers may supply."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medfm.runtime.grids import Change, Moved

if TYPE_CHECKING:
    from medfm.runtime.capabilities import Localizer
    from medfm.runtime.inputs import Volume


@dataclass(frozen=True)
class Options:
    """What the caller supplies where a file lacks something.

    Attributes:
        strict: refuse a file that lacks what the contract needs; False follows the authors' code and keeps a note.
        sampling_rate: Hz, for signals in files that do not say; frames per second, for videos.
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
    """A volume's grid at this point, and the way back to the file's grid.

    Attributes:
        volume: the input as it was read.
        shape: of the grid now.
        affine: (4, 4), from its indices to millimeters in RAS+ world space.
        changes: what was done to the grid, in this order.
        range: intensities that the step `locate` measured.
    """

    volume: Volume
    shape: tuple[int, ...] = ()
    affine: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    changes: list[Change] = field(default_factory=list)
    range: tuple[float, float] | None = None

    @property
    def spacing(self) -> tuple[float, ...]:
        """Millimeters along each axis of the grid now."""
        return tuple(float(s) for s in np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0)))

    @property
    def box(self) -> tuple[slice, ...] | None:
        """The last box that was cut out, or None."""
        boxes = [c for c in self.changes if isinstance(c, Moved)]
        return tuple(slice(s, s + n) for s, n in zip(boxes[-1].start, boxes[-1].after, strict=True)) if boxes else None

    def change(self, change: Change, shape: Sequence[int]) -> None:
        """Remember a change that led to a grid of the given shape."""
        self.changes.append(change)
        self.affine = self.affine @ change.affine
        self.shape = tuple(shape)


@dataclass(frozen=True)
class Context:
    """What steps may need besides their own values.

    Attributes:
        options: what the caller supplies.
        localizer: the network that finds regions.
        files: those that come with the weights, by role.
        around: (n, 3) places in millimeters that prompts point at.
    """

    options: Options = Options()
    localizer: Localizer | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    around: NDArray[np.float64] | None = None


Function = Callable[[Any, State, Context], None]
"""What runs one type of step: the step's description, the state that it changes, and what else it may need."""


def frame_of(state: State) -> Frame:
    """Return the way back of a volume."""
    assert state.frame is not None, "the step needs a volume"
    return state.frame
