"""Steps of contracts that read volumes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from medfm.catalog.parts import Part

Interpolation = Literal["nearest", "nearest-exact", "linear", "cubic", "area"]
Axis = Literal[0, 1, 2]
Side = Annotated[int, Field(gt=0)]
Millimeters = Annotated[float, Field(gt=0)]
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


class Permute(Part):
    """Change the order of a volume's axes, wherever they point (SimpleITK's arrays have the order z, y, x)."""

    step: Literal["permute-axes"] = "permute-axes"
    order: tuple[Axis, Axis, Axis]
    """For each new axis, the number of the old one."""

    @model_validator(mode="after")
    def _uses_every_axis(self) -> Permute:
        if sorted(self.order) != [0, 1, 2] or self.order == (0, 1, 2):
            raise ValueError(f"order {self.order} does not change the order of three axes")
        return self


class Spacing(Part):
    """Resample to voxels of a fixed size, whatever their number."""

    step: Literal["spacing"] = "spacing"
    spacing: tuple[Millimeters, Millimeters, Millimeters]
    """Millimeters along each axis, in the order that the axes have at this point."""
    rule: Literal["monai", "nnunet", "torchio"]
    """monai: linear, on the grid that MONAI's Spacing chooses; nnunet: cubic between the same borders, but slices that are over
    three times as thick as the voxels are wide are taken as they are; torchio: linear, around the same middle and not beyond the
    borders, by SimpleITK, which cuts the values of a file of whole numbers to whole numbers."""


class CropForeground(Part):
    """Cut a volume to the box that holds all its values above 0."""

    step: Literal["crop-foreground"] = "crop-foreground"
    margin: Annotated[int, Field(ge=0)] = 0
    """Voxels that are added on each side, as far as the volume goes."""


class CropNonzero(Part):
    """Cut a volume to the box that holds all its values but 0."""

    step: Literal["crop-nonzero"] = "crop-nonzero"


class FitVolume(Part):
    """Pad a volume to a size and cut out the middle."""

    step: Literal["fit-volume"] = "fit-volume"
    size: tuple[Side, Side, Side]
    value: float = 0.0
    """What is padded with, half on each side, the odd voxel at the end."""


class CropAround(Part):
    """Cut out a box around the prompts; where it reaches beyond the volume, that is padded."""

    step: Literal["crop-around-prompts"] = "crop-around-prompts"
    size: tuple[Side, Side, Side]
    value: float = 0.0
    """What is padded with."""


class PadVolume(Part):
    """Fill a volume up to a least size, or to sides divisible by a number: half on each side, the odd voxel at the end."""

    step: Literal["pad-volume"] = "pad-volume"
    least: tuple[Side, Side, Side] | None = None
    multiple: Annotated[int, Field(gt=1)] | None = None
    value: float = 0.0

    @model_validator(mode="after")
    def _says_how_far(self) -> PadVolume:
        if (self.least is None) == (self.multiple is None):
            raise ValueError("a volume is padded to a least size, or to a multiple")
        return self


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
    over: Literal["all", "nonzero", "positive"] = "all"
    """nonzero: only what is not 0 is measured and changed; positive: what is above 0 is measured, and all is changed."""
    correction: Literal[0, 1] = 0
    """Bessel's correction: 1 divides by n - 1."""
    scale: float = 1.0
    shift: float = 0.0
    constant: Literal["refuse", "zero"] = "refuse"
    """What becomes of an input without variance."""

    @model_validator(mode="after")
    def _measures_the_whole_or_lines(self) -> Standardize:
        if self.over != "all" and self.axis != "all":
            raise ValueError(f"{self.over} values are measured over the whole input: axis is all")
        return self


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
