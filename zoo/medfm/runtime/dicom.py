"""Reading single DICOM pictures: modality rescaling, window, photometric interpretation, frames, compressed syntaxes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medfm.errors import InputError, MissingExtraError
from medfm.runtime.images import LARGEST_PICTURE, Picture, eight_bits
from medfm.runtime.state import Options


def read_picture(path: Path, mode: Literal["RGB", "L", "intensity", "share"], options: Options) -> Picture:
    """Read one DICOM picture.

    Gray pictures become intensities by the file's rescale slope and intercept; for 8-bit models the file's window then maps
    them to 0..255, and MONOCHROME1 is inverted so that high values are bright.

    Args:
        path: the file.
        mode: what the contract asks for.
        options: what the caller supplies: frame, intensity range, rescale.

    Raises:
        InputError: no pixels, several frames, a compression that cannot be read, no window, no rescale slope in CT.
    """
    from PIL import Image

    name = str(path)
    dataset = _dataset(path)
    pixels, notes = _pixels(dataset, name, options)
    um = _spacing(dataset)
    if pixels.ndim == 3:
        if mode in ("intensity", "share"):
            raise InputError("is a color picture, but this model needs one channel of intensities", path=name)
        if pixels.dtype != np.uint8:
            raise InputError(f"has {pixels.dtype} colors; 8 bits a channel are needed", path=name)
        return Picture(Image.fromarray(pixels).convert(mode), name, um, tuple(notes))
    if mode == "share":
        return Picture(_share(dataset, pixels, name, notes), name, um, tuple(notes))
    values = _rescaled(dataset, pixels.astype(np.float64), name, options, notes)
    inverted = str(dataset.get("PhotometricInterpretation", "")) == "MONOCHROME1"
    if mode == "intensity":
        if inverted:
            values = values.max() + values.min() - values
            notes.append("MONOCHROME1 inverted")
        return Picture(values.astype(np.float32), name, um, tuple(notes))
    low, high, how = _window(dataset, values, name, options)
    gray = eight_bits(values, low, high)
    notes.append(how)
    if inverted:
        gray = 255 - gray
        notes.append("MONOCHROME1 inverted")
    return Picture(Image.fromarray(gray).convert(mode), name, um, tuple(notes))


def read_frames(path: Path) -> tuple[float | None, Iterator[NDArray[np.uint8]]]:
    """Return frames per second, where the file says, and the frames: (height, width) or, in RGB, (height, width, 3) uint8.

    Raises:
        InputError: no pixels, more than 8 bits, or a compression that cannot be read.
    """
    dataset = _dataset(path)
    if int(dataset.get("BitsStored", 8)) > 8:
        raise InputError(f"has frames of {dataset.BitsStored} bits; 8 bits a channel are needed", path=str(path))
    time, cine = dataset.get("FrameTime"), dataset.get("CineRate") or dataset.get("RecommendedDisplayFrameRate")
    rate = 1000 / float(time) if time else (float(cine) if cine else None)
    count = int(dataset.get("NumberOfFrames", 1) or 1)
    return rate, (_shown(dataset, number, str(path)) for number in range(count))


def _shown(dataset: Any, number: int, name: str) -> NDArray[np.uint8]:
    """Return one frame, bright where values are high."""
    pixels, _ = _pixels(dataset, name, Options(frame=number))
    inverted = str(dataset.get("PhotometricInterpretation", "")) == "MONOCHROME1"
    return (2 ** int(dataset.BitsStored) - 1 - pixels if inverted else pixels).astype(np.uint8)


def _share(dataset: Any, pixels: NDArray[Any], name: str, notes: list[str]) -> NDArray[np.float32]:
    """Return stored values as share of the largest that the file's bits can hold; MONOCHROME1 is inverted."""
    largest = 2 ** int(dataset.BitsStored) - 1
    values = pixels.astype(np.int64)
    if values.min() < 0 or values.max() > largest:
        raise InputError(f"has stored values from {values.min()} to {values.max()}, beyond 0 to {largest}", path=name)
    if str(dataset.get("PhotometricInterpretation", "")) == "MONOCHROME1":
        values = largest - values
        notes.append("MONOCHROME1 inverted")
    return values.astype(np.float32) / np.float32(largest)


def _dataset(path: Path) -> Any:
    try:
        import pydicom
        from pydicom.errors import InvalidDicomError
    except ImportError:
        raise MissingExtraError("pydicom", "vision", why="reading DICOM") from None
    try:
        dataset = pydicom.dcmread(path)
    except (InvalidDicomError, OSError, EOFError, ValueError, KeyError, NotImplementedError) as error:
        raise InputError(f"is no DICOM file that can be read ({_short(error)})", path=str(path)) from None
    if "PixelData" not in dataset:
        kind = dataset.get("Modality", "without pixels")
        raise InputError(f"holds no picture (it is {kind})", path=str(path))
    if int(dataset.get("Rows", 0)) * int(dataset.get("Columns", 0)) > LARGEST_PICTURE:
        raise InputError("claims more pixels than one picture may have", path=str(path))
    return dataset


def _pixels(dataset: Any, name: str, options: Options) -> tuple[NDArray[Any], list[str]]:
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    notes: list[str] = []
    number = 0
    if frames > 1:
        if options.frame is None and options.strict:
            raise InputError(f"holds {frames} frames; pass --frame with a number from 0", path=name, flag="frame")
        number = options.frame or 0
        if not 0 <= number < frames:
            raise InputError(f"has no frame {number}: it holds {frames}", path=name)
        notes.append(f"frame {number} of {frames}")
    try:
        found = pixel_array(dataset, index=number)  # colors come as RGB
        if str(dataset.PhotometricInterpretation) == "PALETTE COLOR":
            found = apply_color_lut(found, dataset)
            if found.dtype == np.uint16:
                found = (found >> 8).astype(np.uint8)
    except (RuntimeError, ValueError, AttributeError, NotImplementedError, KeyError, EOFError) as error:
        syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
        compressed = f" ({syntax.name})" if syntax is not None and syntax.is_compressed else ""
        raise InputError(f"its pixels{compressed} cannot be decoded ({_short(error)})", path=name) from None
    if found.ndim not in (2, 3) or found.size == 0:
        raise InputError(f"has pixels of shape {found.shape}", path=name)
    return found, notes


def _rescaled(
    dataset: Any, values: NDArray[np.float64], name: str, options: Options, notes: list[str]
) -> NDArray[np.float64]:
    """Apply the modality's slope and intercept; CT without them has no Hounsfield units."""
    if "ModalityLUTSequence" in dataset:
        from pydicom.pixels.processing import apply_modality_lut

        return np.asarray(apply_modality_lut(values.astype(np.int64), dataset), dtype=np.float64)
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if slope is None or intercept is None:
        if options.rescale is not None:
            slope, intercept = options.rescale
            notes.append(f"rescaled with slope {slope:g} and intercept {intercept:g} as given")
        elif str(dataset.get("Modality", "")) == "CT":
            if options.strict:
                raise InputError(
                    "is CT without rescale slope and intercept, so its values are no Hounsfield units; "
                    "pass --rescale SLOPE INTERCEPT",
                    path=name,
                    flag="rescale",
                )
            notes.append("CT without rescale slope: stored values taken as they are")
            return values
        else:
            return values
    return values * float(slope) + float(intercept)


def _window(dataset: Any, values: NDArray[np.float64], name: str, options: Options) -> tuple[float, float, str]:
    """Return what becomes black and what white."""
    if options.intensity_range is not None:
        low, high = options.intensity_range
        return low, high, f"intensities {low:g} to {high:g} mapped to 0 to 255"
    center, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    if center is not None and width is not None and width > 1:
        exact = str(dataset.get("VOILUTFunction", "LINEAR")) == "LINEAR_EXACT"
        # PS3.3 C.11.2.1.2: LINEAR maps (center - 0.5) +- (width - 1) / 2, LINEAR_EXACT center +- width / 2
        middle, half = (center, width / 2) if exact else (center - 0.5, (width - 1) / 2)
        return middle - half, middle + half, f"the file's window, center {center:g} and width {width:g}"
    stored = int(dataset.get("BitsStored", 16))
    if stored <= 8 and int(dataset.get("PixelRepresentation", 0)) == 0 and "RescaleSlope" not in dataset:
        return 0.0, float(2**stored - 1), f"all {stored} stored bits"
    if options.strict:
        raise InputError(
            f"has no window, and its intensities ({values.min():g} to {values.max():g}) do not fit 8 bits; "
            "pass --intensity-range LOW HIGH for what shall become black and white",
            path=name,
            flag="intensity_range",
        )
    return float(values.min()), float(values.max()), "no window: lowest and highest intensity mapped to 0 and 255"


def _first(value: Any) -> float | None:
    """Return a number, or the first of several windows."""
    if value is None or value == "":
        return None
    return float(value[0]) if isinstance(value, list | tuple) or hasattr(value, "__iter__") else float(value)


def _spacing(dataset: Any) -> float | None:
    """Return micrometers per pixel."""
    spacing = dataset.get("PixelSpacing") or dataset.get("ImagerPixelSpacing")
    return float(spacing[0]) * 1000 if spacing else None


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) < 120 else text[:117] + "..."
