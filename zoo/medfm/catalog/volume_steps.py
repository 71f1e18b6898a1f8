"""Steps of contracts that read volumes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medfm.catalog.parts import Part

Interpolation = Literal["nearest", "nearest-exact", "linear", "cubic", "area"]
Axes = Annotated[
    str, Field(pattern=r"^[RL][AP][SI]$|^[RL][SI][AP]$|^[AP][RL][SI]$|^[AP][SI][RL]$|^[SI][RL][AP]$|^[SI][AP][RL]$")
]


class ReadVolume(Part):
    """Read one 3D volume with its affine (NIfTI)."""

    step: Literal["volume"] = "volume"
    modality: str
    """What the volume must show, in the taxonomy's words."""
    frames: Literal["refuse", "first"] = "refuse"
    """What to do with a fourth axis: refuse it, or take the first frame as the authors' code does."""
    non_finite: Literal["refuse", "zero"] = "refuse"
    """What the authors' code does with NaN: `zero` is applied only when the caller allows it (strict mode refuses)."""


class Orient(Part):
    """Flip and permute the axes of a volume so that they point as named (nibabel's closest canonical for RAS)."""

    step: Literal["orient"] = "orient"
    axes: Axes = "RAS"


class Resize(Part):
    """Resample to a fixed number of voxels or pixels, whatever the spacing."""

    step: Literal["resize"] = "resize"
    size: tuple[int, ...]
    interpolation: Interpolation


class Window(Part):
    """Map an intensity range to [0, 1] and clip; the range is fixed, or measured as quantiles of the input."""

    step: Literal["window"] = "window"
    low: float | None = None
    high: float | None = None
    quantiles: tuple[float, float] | None = None
    measured_on: Literal["input", "located"] = "input"
    """`located`: use the quantiles that the step `locate` measured on its own view of the volume."""


class Standardize(Part):
    """Subtract the mean and divide by the standard deviation of the input itself, then scale and shift."""

    step: Literal["standardize"] = "standardize"
    axis: Literal["all", "last"] = "all"
    correction: Literal[0, 1] = 0
    """Bessel's correction: 1 divides by n - 1."""
    scale: float = 1.0
    shift: float = 0.0
    constant: Literal["refuse", "zero"] = "refuse"
    """What becomes of an input without variance."""


class Locate(Part):
    """Find the region of interest with a first network and crop the volume to it."""

    step: Literal["locate"] = "locate"
    network: str
    """Name of the network, one of `weights.networks`."""
    input: tuple[Annotated[Resize | Window | Standardize, Field(discriminator="step")], ...]
    """Steps that prepare the first network's view."""
    channel: int
    threshold: float
    component: Literal["largest", "all"]
    occupied: float
    """A slice counts as inside when more than this share of it is foreground."""
    margin: float
    """Share of the box's size that is added on each side."""
