"""Reading pictures: PNG, JPEG, TIFF, BMP and DICOM become what a contract's first step asks for, or are refused with a reason.

Pillow opens many files in ways that silently lose something: 16 bits are clipped to 8, transparency is dropped, a rotation in
EXIF is ignored. In strict mode each of these is refused with the flag that says what to do.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medfm.catalog.image_steps import ReadImage
from medfm.errors import InputError, MissingExtraError
from medfm.runtime.state import Options

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST_PICTURE = 2**29  # pixels; a header can claim any size
_ROTATED = 0x0112  # the EXIF tag that tells how a camera was held
_RESOLUTION_OF_SCREENS = 40.0  # µm a pixel; printers' and screens' resolutions are no microscope's


@dataclass(frozen=True)
class Picture:
    """One picture as it was read.

    Attributes:
        pixels: a Pillow image of 8 bits a channel, or (height, width) float32 intensities.
        name: the file's path, or "" for pictures in memory.
        um_per_px: micrometers per pixel, where the file or the caller says.
        notes: what was done beyond the contract.
    """

    pixels: Image | NDArray[np.float32]
    name: str = ""
    um_per_px: float | None = None
    notes: tuple[str, ...] = ()


def read(step: ReadImage, source: object, options: Options) -> Picture:
    """Read one picture as the contract's first step says.

    Args:
        step: mode and resolution.
        source: a path, a Pillow image, a uint8 array (height, width) or (height, width, 3), or a `Picture`.
        options: what the caller supplies.

    Raises:
        InputError: no such file, no picture, more than one frame, or something that would be lost (see `ReadImage`).
    """
    picture = _open(step, source, options)
    known = options.um_per_px or picture.um_per_px
    if step.um_per_px:
        wanted = " or ".join(f"{value:g}" for value in step.um_per_px)
        if known is None and options.strict:
            raise InputError(
                f"the file does not say its resolution; pass --um-per-px (this model needs {wanted} micrometers per pixel)",
                path=picture.name,
                flag="um_per_px",
            )
        near = known is None or any(abs(known / value - 1) <= step.um_tolerance for value in step.um_per_px)
        if not near and options.strict:
            raise InputError(
                f"has {known:g} micrometers per pixel, but this model needs {wanted}; resample it first",
                path=picture.name,
            )
        if known is None or not near:
            found = "unknown" if known is None else f"{known:g}"
            notes = (*picture.notes, f"resolution {found}, the model was made for {wanted} micrometers per pixel")
            picture = replace(picture, notes=notes)
    return replace(picture, um_per_px=known)


def _open(step: ReadImage, source: object, options: Options) -> Picture:
    if isinstance(source, Picture):
        return source
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise MissingExtraError("Pillow", "vision", why="reading pictures") from None
    if isinstance(source, Image.Image):
        return _from_pillow(step, source, "", options)
    if isinstance(source, np.ndarray):
        return _from_array(step, source, options)
    if not isinstance(source, str | os.PathLike):
        raise InputError(f"expected a picture's path, a Pillow image or a uint8 array, found {type(source).__name__}")
    path = Path(source)
    if not path.is_file():
        raise InputError("there is no such file", path=str(path))
    if path.suffix.lower() == ".npy":
        return replace(_from_array(step, _array_file(path), options), name=str(path))
    if is_dicom(path):
        from medfm.runtime import dicom

        return dicom.read_picture(path, step.mode, options)
    try:
        with Image.open(path) as image:
            if image.width * image.height > LARGEST_PICTURE:
                raise InputError(
                    f"{image.width} x {image.height} pixels are more than one picture may have", path=str(path)
                )
            return _from_pillow(step, image, str(path), options)
    except UnidentifiedImageError:
        raise InputError("is no picture that can be read: PNG, JPEG, TIFF, BMP and DICOM can", path=str(path)) from None
    except Image.DecompressionBombError as error:
        raise InputError(f"is too large ({error})", path=str(path)) from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"the file is cut off or damaged ({reason}); copy it again", path=str(path)) from None


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM, by the magic bytes after its preamble or by its suffix."""
    with path.open("rb") as file:
        start = file.read(132)
    return start[128:132] == b"DICM" or path.suffix.lower() in (".dcm", ".dicom")


def _array_file(path: Path) -> NDArray[Any]:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"is no array of numbers ({' '.join(str(error).split())[:120]})", path=str(path)) from None


def _from_array(step: ReadImage, array: NDArray[Any], options: Options) -> Picture:
    from PIL import Image

    if step.mode == "intensity":
        if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "iuf":
            raise InputError(f"expected (height, width) numbers, found {array.dtype} of shape {array.shape}")
        if not np.isfinite(array).all():
            raise InputError("the picture has values that are NaN or infinite")
        return Picture(array.astype(np.float32))
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)) or array.size == 0:
        raise InputError(
            f"expected uint8 of shape (height, width) or (height, width, 3), found {array.dtype} of shape {array.shape}"
        )
    return _from_pillow(step, Image.fromarray(array), "", options)


def _from_pillow(step: ReadImage, image: Image, name: str, options: Options) -> Picture:
    notes: list[str] = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        if options.frame is None and options.strict:
            raise InputError(f"holds {frames} frames; pass --frame with a number from 0", path=name, flag="frame")
        number = options.frame or 0
        if not 0 <= number < frames:
            raise InputError(f"has no frame {number}: it holds {frames}", path=name)
        image.seek(number)
        notes.append(f"frame {number} of {frames}")
    image, turned = _upright(image, name, options)
    notes += turned
    um = _resolution(image)
    if step.mode == "intensity":
        if len(image.getbands()) != 1 or image.mode == "P":
            raise InputError(
                f"has the channels {image.mode}, but this model needs one channel of intensities", path=name
            )
        return Picture(np.asarray(image, dtype=np.float32), name, um, tuple(notes))
    if image.mode not in (
        "1",
        "L",
        "P",
        "RGB",
        "RGBA",
        "LA",
        "PA",
        "CMYK",
        "YCbCr",
        "LAB",
        "HSV",
        "RGBX",
        "RGBa",
        "La",
    ):
        image, how = _to_eight_bits(image, name, options)
        notes.append(how)
    elif image.mode in ("CMYK", "LAB", "HSV"):
        if options.strict and not options.convert_colors:
            raise InputError(
                f"has {image.mode} colors, whose conversion to RGB depends on a profile; pass --convert-colors to use Pillow's",
                path=name,
                flag="convert_colors",
            )
        notes.append(f"{image.mode} converted to RGB by Pillow")
    elif _transparent(image):
        if options.strict and not options.drop_alpha:
            raise InputError(
                "has transparent pixels, whose colors are not to be seen; pass --drop-alpha to use them all the same, as the "
                "authors' code does",
                path=name,
                flag="drop_alpha",
            )
        notes.append("transparency dropped")
    if step.mode == "share":
        return Picture(_share(image, notes), name, um, tuple(notes))
    image.load()
    pixels = image if image.mode == step.mode else image.convert(step.mode)  # converting to the same mode copies
    return Picture(pixels, name, um, tuple(notes))


def _share(image: Image, notes: list[str]) -> NDArray[np.float32]:
    """Return the first channel of 8 bits as numbers from 0 to 1."""
    if image.mode in ("1", "L", "LA", "La"):
        first = np.asarray(image.convert("L"))
    else:
        colors = np.asarray(image.convert("RGB"))
        first = colors[..., 0]
        if (colors != first[..., None]).any():
            notes.append("the picture has colors: of them the first was taken, as the authors' code does")
    return first.astype(np.float32) / np.float32(255)


def _upright(image: Image, name: str, options: Options) -> tuple[Image, list[str]]:
    """Turn a photograph as its EXIF data say, where the caller wants that."""
    orientation = image.getexif().get(_ROTATED, 1)
    if orientation in (0, 1):
        return image, []
    if options.exif is None and options.strict:
        raise InputError(
            f"is stored turned (EXIF orientation {orientation}), which the authors' code does not see; "
            "pass --exif apply to turn it upright, or --exif ignore",
            path=name,
            flag="exif",
        )
    if options.exif == "apply":
        from PIL import ImageOps

        return ImageOps.exif_transpose(image), [f"turned upright (EXIF orientation {orientation})"]
    return image, [f"EXIF orientation {orientation} ignored"]


def _to_eight_bits(image: Image, name: str, options: Options) -> tuple[Image, str]:
    """Map intensities of more than 8 bits to 0..255 over the range that the caller gives."""
    from PIL import Image as Pictures

    values = np.asarray(image, dtype=np.float64)
    if options.intensity_range is None and options.strict:
        raise InputError(
            f"has intensities of more than 8 bits ({image.mode}, {values.min():g} to {values.max():g}), but this model needs 8; "
            "pass --intensity-range LOW HIGH for what shall become black and white",
            path=name,
            flag="intensity_range",
        )
    low, high = options.intensity_range or (float(values.min()), float(values.max()))
    return Pictures.fromarray(eight_bits(values, low, high)), f"intensities {low:g} to {high:g} mapped to 0 to 255"


def eight_bits(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.uint8]:
    """Map a range of intensities linearly to 0..255, clipped and rounded."""
    if not high > low:
        raise InputError(f"the intensity range {low:g} to {high:g} is empty")
    return np.asarray(np.rint((values.clip(low, high) - low) / (high - low) * 255), dtype=np.uint8)


def _transparent(image: Image) -> bool:
    if "transparency" in image.info and image.mode in ("P", "RGB", "L", "1"):
        return bool(np.asarray(image.convert("RGBA"))[..., 3].min() < 255)
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") and bool(
        np.asarray(image.convert("RGBA"))[..., 3].min() < 255
    )


def _resolution(image: Image) -> float | None:
    """Return micrometers per pixel where the file says so in a way that no screen or printer would."""
    dots = image.info.get("dpi")
    if not dots or not dots[0]:
        return None
    um = 25400.0 / float(dots[0])
    return um if um < _RESOLUTION_OF_SCREENS else None
