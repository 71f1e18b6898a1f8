"""Reading videos: MP4, AVI and their like through PyAV, and multi-frame DICOM; only frames that the contract takes are kept."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medfm.catalog.video_steps import ReadVideo
from medfm.errors import InputError, MissingExtraError
from medfm.runtime.images import LARGEST_PICTURE, is_dicom
from medfm.runtime.state import Options

SUFFIXES = (".mp4", ".m4v", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv")


@dataclass(frozen=True)
class Video:
    """Some frames of a video.

    Attributes:
        frames: (frames, height, width, 3) uint8, RGB.
        name: the file's path, or "" for videos in memory.
        notes: what was done beyond the contract.
    """

    frames: NDArray[np.uint8]
    name: str = ""
    notes: tuple[str, ...] = ()


def read(step: ReadVideo, source: object, options: Options) -> Video:
    """Read the frames that a contract takes.

    Args:
        step: which frames.
        source: a path, or a uint8 array (frames, height, width) or (frames, height, width, 3) in RGB.
        options: what the caller supplies: `sampling_rate` is the number of frames per second.

    Raises:
        InputError: no such file, no video, damaged, turned, or without the frame rate that the contract counts in.
    """
    if isinstance(source, np.ndarray):
        return _chosen(step, _array(source), None, "", options)
    if not isinstance(source, str | os.PathLike):
        raise InputError(f"expected a video's path or a uint8 array, found {type(source).__name__}")
    path = Path(source)
    if not path.is_file():
        raise InputError("there is no such file", path=str(path))
    if is_dicom(path):
        from medfm.runtime import dicom

        rate, frames = dicom.read_frames(path)
        return _chosen(step, frames, rate, str(path), options)
    return _file(step, path, options)


def numbers(step: ReadVideo, rate: float | None) -> list[int]:
    """Return the numbers of the frames that a contract takes from a video that never ends.

    Args:
        step: the contract's first step.
        rate: frames per second of the video.

    >>> numbers(ReadVideo(modality="endoscopy", frames=4, stride=2, short="repeat"), None)
    [0, 2, 4, 6]
    >>> numbers(ReadVideo(modality="endoscopy", frames=4, stride=2, rate=30, short="repeat", spread="ends"), 60)
    [0, 5, 10, 15]
    """
    scale = rate / step.rate if rate and step.rate else 1.0
    if step.spread == "stride":
        return [int(i * step.stride * scale) for i in range(step.frames)]
    found: list[int] = (
        torch.linspace(0, step.frames * step.stride * scale - 1, step.frames).long().clamp(min=0).tolist()
    )
    return found


def _chosen(step: ReadVideo, frames: Any, rate: float | None, name: str, options: Options) -> Video:
    """Take the frames that the contract names from something that gives them one by one or all at once."""
    wanted, notes = _wanted(step, rate, name, options)
    kept: dict[int, NDArray[np.uint8]] = {}
    needed, count = set(wanted), 0
    for number, frame in enumerate(frames):
        count, last = number + 1, frame
        if number in needed:
            kept[number] = _three(frame)
        if number >= wanted[-1]:
            break
    if not count:
        raise InputError("the video has no frames", path=name)
    if count <= wanted[-1]:
        lacking = sum(number >= count for number in wanted)
        done = "the last frame repeated" if step.short == "repeat" else "filled up later"
        notes.append(f"the video ends {lacking} of {len(wanted)} frames too early: {done}")
        kept.setdefault(count - 1, _three(last))
        wanted = [min(n, count - 1) for n in wanted if n < count or step.short == "repeat"]
    return Video(np.stack([kept[number] for number in wanted]), name, tuple(notes))


def _wanted(step: ReadVideo, rate: float | None, name: str, options: Options) -> tuple[list[int], list[str]]:
    notes = []
    if step.rate is not None:
        rate = options.sampling_rate or rate
        if rate is None and options.strict:
            raise InputError(
                f"does not say its frames per second, and this model counts in frames of {step.rate:g} per second; "
                "pass --sampling-rate",
                path=name,
                flag="sampling_rate",
            )
        if rate is None:
            notes.append(f"frame rate unknown: {step.rate:g} frames per second assumed")
    return numbers(step, rate), notes


def _three(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(frame[..., None], 3, axis=-1) if frame.ndim == 2 else frame


def _array(array: NDArray[Any]) -> Sequence[NDArray[np.uint8]]:
    color = array.ndim == 4 and array.shape[3] == 3
    if array.dtype != np.uint8 or not (array.ndim == 3 or color) or array.size == 0:
        raise InputError(
            "expected uint8 of shape (frames, height, width) or (frames, height, width, 3), "
            f"found {array.dtype} of shape {array.shape}"
        )
    return list(array)


def _file(step: ReadVideo, path: Path, options: Options) -> Video:
    try:
        import av
        from av.error import FFmpegError
    except ImportError:
        raise MissingExtraError("av", "video", why="reading videos") from None
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError("holds no video", path=str(path))
            stream = container.streams.video[0]
            if stream.width * stream.height > LARGEST_PICTURE:
                raise InputError("claims more pixels than one frame may have", path=str(path))
            rate = float(stream.average_rate) if stream.average_rate else None
            return _chosen(step, _decoded(container, path, options), rate, str(path), options)
    except FFmpegError as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"is no video that can be read, or is damaged ({reason})", path=str(path)) from None


def _decoded(container: Any, path: Path, options: Options) -> Iterator[NDArray[np.uint8]]:
    for frame in container.decode(video=0):
        if frame.rotation and options.exif != "ignore" and options.strict:
            raise InputError(
                f"is stored turned by {frame.rotation} degrees, which the authors' code does not see; "
                "turn it upright first, or pass --exif ignore",
                path=str(path),
                flag="exif",
            )
        yield frame.to_ndarray(format="rgb24")
