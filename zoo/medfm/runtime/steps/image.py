"""Steps on pictures: Pillow images until `to-tensor`, float tensors (channels, height, width) after it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medfm.catalog import image_steps as described
from medfm.errors import InputError, MissingExtraError
from medfm.runtime.images import Picture
from medfm.runtime.state import Context, Function, State

_WHOLE: Mapping[str, Callable[[float], int]] = {"round": round, "floor": int, "ceil": math.ceil}


def begin(picture: Picture) -> State:
    """Return the state after the first step."""
    value: Any = picture.pixels
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.ascontiguousarray(value))[None]
    return State(value, notes=list(picture.notes))


def size_of(value: Any) -> tuple[int, int]:
    """Return height and width of a picture or a tensor."""
    if isinstance(value, Tensor):
        return int(value.shape[-2]), int(value.shape[-1])
    return int(value.height), int(value.width)


def _resize(step: described.ResizeImage, state: State, context: Context) -> None:  # noqa: ARG001
    height, width = resized(step, *size_of(state.value))
    if step.engine == "pillow":
        from PIL import Image

        if isinstance(state.value, Tensor):
            raise InputError("the contract resizes a tensor with pillow: use engine torch, or resize before to-tensor")
        names = {
            "nearest": "NEAREST",
            "bilinear": "BILINEAR",
            "bicubic": "BICUBIC",
            "lanczos": "LANCZOS",
            "area": "BOX",
        }
        filter = getattr(Image.Resampling, names[step.interpolation])
        state.value = state.value.resize((width, height), filter)
        return
    if step.engine in ("torch", "torch-antialias"):
        x = state.value if isinstance(state.value, Tensor) else _pixels(state.value)
        state.value = _resize_tensor(x, (height, width), step)
        return
    if isinstance(state.value, Tensor) and state.value.ndim == 4:
        frames = [_resize_array(frame.permute(1, 2, 0).numpy(), height, width, step) for frame in state.value.unbind(1)]
        state.value = torch.stack(frames, dim=1)
        return
    array = state.value.numpy().transpose(1, 2, 0) if isinstance(state.value, Tensor) else np.asarray(state.value)
    state.value = _resize_array(array, height, width, step)


def _resize_array(array: np.ndarray[Any, Any], height: int, width: int, step: described.ResizeImage) -> Tensor:
    """Resize (height, width) or (height, width, channels) to a tensor with its channels in front."""
    opencv = step.engine == "opencv"
    array = _opencv(array, height, width, step.interpolation) if opencv else _skimage(array, height, width, step)
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1) if array.ndim == 3 else array[None]))


def resized(step: described.ResizeImage, height: int, width: int) -> tuple[int, int]:
    """Return the height and width that a picture has after a step."""
    if not isinstance(step.size, int):
        return step.size
    reference = min(height, width) if step.fit == "shorter" else max(height, width)
    if step.rounding == "half-up":  # as the authors of SAM compute it, to the last bit
        scale = step.size * 1.0 / reference
        return int(height * scale + 0.5), int(width * scale + 0.5)
    whole = int if step.rounding == "truncate" else round
    if reference == height:
        return step.size, max(1, whole(step.size * width / height))
    return max(1, whole(step.size * height / width)), step.size


def _pixels(image: Any) -> Tensor:
    """Return (channels, height, width) uint8 of a picture."""
    array = np.array(image)  # a copy: torch warns of arrays that cannot be written to
    return torch.from_numpy(array if array.ndim == 3 else array[..., None]).permute(2, 0, 1)


def _resize_tensor(x: Tensor, size: tuple[int, int], step: described.ResizeImage) -> Tensor:
    """Interpolate as torch and torchvision do: bytes stay bytes where torch computes in them."""
    if step.interpolation not in ("nearest", "bilinear", "bicubic", "area"):
        raise InputError(f"torch has no {step.interpolation} interpolation")
    smooth = step.interpolation in ("bilinear", "bicubic")
    options: dict[str, Any] = {"align_corners": False, "antialias": step.engine == "torch-antialias"} if smooth else {}
    bytes_in = x.dtype == torch.uint8
    direct = bytes_in and smooth and step.engine == "torch-antialias"
    y = x if direct else x.float()
    y = y if x.ndim == 4 else y[None]  # of a video every channel is a batch of frames
    y = functional.interpolate(y, size, mode=step.interpolation, **options)
    y = y if x.ndim == 4 else y[0]
    return y.round().clamp(0, 255).to(torch.uint8) if bytes_in and not direct else y


def _opencv(array: np.ndarray[Any, Any], height: int, width: int, interpolation: str) -> np.ndarray[Any, Any]:
    try:
        import cv2
    except ImportError:
        raise MissingExtraError("opencv-python-headless", "vision", why="resizing as this model's authors do") from None
    names = {"nearest": cv2.INTER_NEAREST, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC,
             "lanczos": cv2.INTER_LANCZOS4, "area": cv2.INTER_AREA}  # fmt: skip
    return np.asarray(cv2.resize(array, (width, height), interpolation=names[interpolation]))


def _skimage(array: np.ndarray[Any, Any], height: int, width: int, step: described.ResizeImage) -> np.ndarray[Any, Any]:
    try:
        from skimage import transform
    except ImportError:
        raise MissingExtraError("scikit-image", "vision", why="resizing as this model's authors do") from None
    order = {"nearest": 0, "bilinear": 1, "bicubic": 3}[step.interpolation]
    values = transform.resize(  # type: ignore[no-untyped-call]
        array, (height, width), order=order, mode=step.edge, preserve_range=True
    )
    return np.asarray(np.trunc(values) if step.whole else values, dtype=np.float32)


def _crop(step: described.CropImage, state: State, context: Context) -> None:  # noqa: ARG001
    given_height, given_width = size_of(state.value)
    height, width = step.size if step.size != "square" else (min(given_height, given_width),) * 2
    if given_height < height or given_width < width:
        missing = max(height - given_height, 0), max(width - given_width, 0)
        before, after = [n // 2 for n in missing], [n - n // 2 for n in missing]
        state.value = _padded(state.value, before[1], before[0], after[1], after[0], 0.0)
        given_height, given_width = size_of(state.value)
    if step.offset == "halves":
        top, left = given_height // 2 - height // 2, given_width // 2 - width // 2
    else:
        whole = _WHOLE[step.offset]
        top, left = whole((given_height - height) / 2), whole((given_width - width) / 2)
    if isinstance(state.value, Tensor):
        state.value = state.value[..., top : top + height, left : left + width]
    else:
        state.value = state.value.crop((left, top, left + width, top + height))


def _crop_middle(step: described.CropMiddle, state: State, context: Context) -> None:  # noqa: ARG001
    height, width = size_of(state.value)
    left, top = round(max(width - height, 0) / 2), round(max(height - width, 0) / 2)
    height, width = height - 2 * top, width - 2 * left
    right, bottom = left + width - int(width * step.margin), top + height - int(height * step.margin)
    left, top = left + int(width * step.margin), top + int(height * step.margin)
    if isinstance(state.value, Tensor):
        state.value = state.value[..., top:bottom, left:right]
    else:
        state.value = state.value.crop((left, top, right, bottom))


def _stretch(step: described.Stretch, state: State, context: Context) -> None:  # noqa: ARG001
    from PIL import Image

    if isinstance(state.value, Tensor):
        raise InputError("the contract stretches a tensor: stretch before to-tensor")
    values = np.asarray(state.value, dtype=np.float64)
    values = values - values.min()
    if not values.max() > 0:
        raise InputError("the picture is constant: there is nothing to see")
    state.value = Image.fromarray((values / values.max() * 255).astype(np.uint8))


def _pad(step: described.PadImage, state: State, context: Context) -> None:  # noqa: ARG001
    given_height, given_width = size_of(state.value)
    height, width = step.size if step.size != "square" else (max(given_height, given_width, step.least),) * 2
    down, right = height - given_height, width - given_width
    if down < 0 or right < 0:
        raise InputError(
            f"{given_height} x {given_width} pixels are more than the {height} x {width} that are padded to"
        )
    top, left = (down // 2, right // 2) if step.where == "both" else (0, 0)
    state.value = _padded(state.value, left, top, right - left, down - top, step.value)


def _padded(value: Any, left: int, top: int, right: int, bottom: int, fill: float) -> Any:
    if isinstance(value, Tensor):
        return functional.pad(value, (left, right, top, bottom), value=fill)
    from PIL import ImageOps

    if fill != int(fill):
        raise InputError(f"a picture of whole numbers cannot be padded with {fill:g}")
    bands = len(value.getbands())
    color = (int(fill),) * bands if bands > 1 else int(fill)
    return ImageOps.expand(value, (left, top, right, bottom), fill=color)


def _to_tensor(step: described.ToTensor, state: State, context: Context) -> None:  # noqa: ARG001
    x = state.value if isinstance(state.value, Tensor) else _pixels(state.value)
    if step.channels == "BGR":
        if x.shape[0] != 3:
            raise InputError(f"the contract turns the order of 3 channels, but the input has {x.shape[0]}")
        x = x.flip(0)
    own = x.dtype != torch.float32  # then the conversion makes a tensor that nobody else looks at
    x = x.contiguous().to(torch.float32)
    if step.divide != 1:
        x = x.div_(step.divide) if own else x / step.divide
    state.value = x


def _repeat(step: described.Repeat, state: State, context: Context) -> None:  # noqa: ARG001
    state.value = state.value.expand(step.count, *state.value.shape[1:]).contiguous()


def _normalize(step: described.Normalize, state: State, context: Context) -> None:  # noqa: ARG001
    x = state.value
    if len(step.mean) not in (1, x.shape[0]) or len(step.std) != len(step.mean):
        raise InputError(f"the contract normalizes {len(step.mean)} channels, but the input has {x.shape[0]}")
    shape = (-1,) + (1,) * (x.ndim - 1)
    # the subtraction makes a new tensor, since the step before may still be looked at; the division works in it
    state.value = (x - torch.tensor(step.mean).reshape(shape)).div_(torch.tensor(step.std).reshape(shape))


def _rescale(step: described.Rescale, state: State, context: Context) -> None:  # noqa: ARG001
    x = state.value.float()
    low, high = (float(x.min()), float(x.max())) if step.source == "range" else step.source
    if not high > low:
        raise InputError("the input is constant: there is nothing to see")
    bottom, top = step.target
    x = (x - low) / (high - low) * (top - bottom) + bottom
    state.value = x.clamp(min(bottom, top), max(bottom, top)) if step.clip else x


STEPS: dict[type, Function] = {
    described.ResizeImage: _resize,
    described.CropImage: _crop,
    described.CropMiddle: _crop_middle,
    described.Stretch: _stretch,
    described.PadImage: _pad,
    described.ToTensor: _to_tensor,
    described.Repeat: _repeat,
    described.Normalize: _normalize,
    described.Rescale: _rescale,
}
