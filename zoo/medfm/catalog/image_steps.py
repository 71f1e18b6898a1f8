"""Steps of contracts that read pictures: 2D images of 8 bits a channel, or of one channel of real intensities."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from medfm.catalog.parts import Part

Side = Annotated[int, Field(gt=0)]


class ReadImage(Part):
    """Read one picture (PNG, JPEG, TIFF, BMP, DICOM).

    Pictures with more than the model's bits, with transparency, with a rotation that only EXIF tells, or in CMYK are refused
    in strict mode, each with the flag that says what to do; `strict=False` does what the authors' code does.
    """

    step: Literal["image"] = "image"
    modality: str
    """What the picture must show, in the taxonomy's words."""
    mode: Literal["RGB", "L", "intensity", "share"] = "RGB"
    """RGB and L: 8 bits a channel, converted as Pillow does; intensity: one channel of real values (HU, or the file's own);
    share: one channel as share of the largest value that the file's bits can hold, of colors the first (torchxrayvision)."""
    um_per_px: tuple[Annotated[float, Field(gt=0)], ...] = ()
    """Resolutions at which the authors say that the model works, in micrometers per pixel; () where they name none."""
    um_tolerance: float = 0.1
    """Relative deviation from `um_per_px` that is let through."""


class ResizeImage(Part):
    """Resample a picture; sizes as in torchvision."""

    step: Literal["resize-image"] = "resize-image"
    size: Side | tuple[Side, Side]
    """One side (see `fit`), or (height, width)."""
    fit: Literal["shorter", "longer", "exact"] = "exact"
    """Which side becomes `size` while the proportions stay; exact: both sides are given."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos", "area"]
    engine: Literal["pillow", "torch", "torch-antialias", "opencv", "skimage"] = "pillow"
    """Which library's arithmetic: pillow antialiases and rounds to 8 bits; torch interpolates tensors without antialiasing."""
    rounding: Literal["truncate", "round", "half-up"] = "truncate"
    """How the other side is made an integer; `round` gives the even one of two that are equally near."""
    edge: Literal["constant", "reflect"] = "constant"
    """What skimage sees beyond the picture: zeros, or the picture mirrored."""
    whole: bool = False
    """Whether the values that skimage gives are cut to whole numbers (NumPy's astype(uint8))."""

    @model_validator(mode="after")
    def _says_what_the_size_is(self) -> ResizeImage:
        if isinstance(self.size, int) == (self.fit == "exact"):
            raise ValueError("one side needs fit: shorter or longer; (height, width) is exact")
        if self.interpolation == "nearest" and self.engine == "skimage":
            raise ValueError("nearest neighbors are the same in skimage and pillow: write engine pillow")
        if self.fit == "exact" and self.rounding != "truncate":
            raise ValueError("an exact size is not rounded")
        if self.engine != "skimage" and (self.edge != "constant" or self.whole):
            raise ValueError(f"edge and whole have no meaning for the engine {self.engine}")
        if self.engine == "torch-antialias" and self.interpolation not in ("bilinear", "bicubic"):
            raise ValueError(f"{self.interpolation} is never antialiased: the engine is torch")
        return self


class CropImage(Part):
    """Cut out the middle; where the picture is smaller, it is padded with zeros first (torchvision's CenterCrop)."""

    step: Literal["center-crop"] = "center-crop"
    size: tuple[Side, Side] | Literal["square"]
    """Height and width; square: the shorter side."""
    offset: Literal["round", "floor", "ceil", "halves"] = "round"
    """Where the window starts when the margin is odd: torchvision rounds half to even; halves: half the side less half the
    window's, each rounded down (torchxrayvision)."""

    @model_validator(mode="after")
    def _halves_differ_from_floor(self) -> CropImage:
        if self.offset == "halves" and self.size != "square" and not any(side % 2 for side in self.size):
            raise ValueError("halves and floor are the same for even sizes: write floor")
        return self


class CropMiddle(Part):
    """Cut out the largest square in the middle, then a margin on every side (EchoCLIP)."""

    step: Literal["crop-middle"] = "crop-middle"
    margin: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Part of the square's side that is cut off on each side."""


class Stretch(Part):
    """Map the picture's own lowest and highest value to 0 and 255, cut to whole numbers (BioViL)."""

    step: Literal["stretch"] = "stretch"


class PadImage(Part):
    """Fill up a picture or a tensor to a size, or to a square."""

    step: Literal["pad-image"] = "pad-image"
    size: tuple[Side, Side] | Literal["square"]
    """Height and width; square: the longer side."""
    where: Literal["end", "both"]
    """end: at the right and the bottom; both: half on each side, the odd pixel at the end."""
    value: float = 0.0
    least: Annotated[int, Field(ge=0)] = 0
    """A square has at least this side."""

    @model_validator(mode="after")
    def _only_squares_have_a_least_side(self) -> PadImage:
        if self.least and self.size != "square":
            raise ValueError("least has no meaning where the size is given")
        return self


class ToTensor(Part):
    """Turn the picture into a float tensor (channels, height, width), divided by a number."""

    step: Literal["to-tensor"] = "to-tensor"
    divide: float = 255.0
    channels: Literal["RGB", "BGR"] = "RGB"
    """Order of the channels."""


class Repeat(Part):
    """Repeat the only channel."""

    step: Literal["repeat-channels"] = "repeat-channels"
    count: Annotated[int, Field(gt=1)] = 3


class Normalize(Part):
    """Subtract a fixed mean and divide by a fixed deviation, channel by channel."""

    step: Literal["normalize"] = "normalize"
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]


class Rescale(Part):
    """Map an interval linearly to another one, clipped or not."""

    step: Literal["rescale"] = "rescale"
    source: tuple[float, float] | Literal["range"]
    """The interval that is mapped; range: the input's own lowest and highest value."""
    target: tuple[float, float] = (0.0, 1.0)
    clip: bool = False

    @model_validator(mode="after")
    def _clips_what_can_lie_outside(self) -> Rescale:
        if self.source == "range" and self.clip:
            raise ValueError("nothing lies outside the input's own range: clip has no meaning")
        return self


ImageStep = (
    ReadImage | ResizeImage | CropImage | CropMiddle | Stretch | PadImage | ToTensor | Repeat | Normalize | Rescale
)
