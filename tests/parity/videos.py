"""Videos on which our input is compared with the authors': wide and tall, long and too short, without loss and with."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from medfm.runtime.parity import values

# name -> width, height, frames, frames per second, codec, pixel format
VIDEOS = {
    "wide.avi": (333, 291, 230, 25, "ffv1", "bgr0"),
    "tall.avi": (187, 301, 21, 30, "ffv1", "bgr0"),
    "brief.avi": (240, 250, 11, 30, "ffv1", "bgr0"),
    "gray.mp4": (300, 248, 70, 50, "mpeg4", "yuv420p"),
}


def write(folder: Path) -> list[Path]:
    """Write videos into a folder: structures that move, with fine noise, of three colors but for the gray one."""
    return [_write(folder / name, *values) for name, values in VIDEOS.items()]


def _write(path: Path, width: int, height: int, count: int, rate: int, codec: str, form: str) -> Path:
    y, x = np.mgrid[0:height, 0:width]
    noise = 14 * values(path.name, (height, width, 3)).numpy() * np.sqrt(width)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, form
        if codec == "mpeg4":
            stream.bit_rate = 4_000_000
        for number in range(count):
            waves = [
                np.sin((x + 3 * number) / (9 + c) + c) + np.cos((y - number * (c + 1)) / (13 - c)) for c in range(3)
            ]
            pixels = 120 + 45 * np.stack(waves, axis=-1) + np.roll(noise, number, axis=1) + np.array([15, 0, -25])
            frame = pixels.clip(0, 255).astype(np.uint8)
            if path.stem == "gray":
                frame = np.repeat(frame[..., :1], 3, axis=-1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path
