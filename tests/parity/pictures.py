"""Pictures on which our input is compared with the authors': sizes and contents that no planted error survives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from medfm.runtime.parity import values

# Sizes (width, height): wide and tall, larger and smaller than the networks' inputs. The first two were searched for: for every
# usual pair of resize and crop (224, 256 to 224, 336, 384, 448, 518, ...) one of them shows how sizes and margins are rounded.
SIZES = {
    "wide.png": (558, 406),
    "wider.png": (642, 257),
    "tall.jpg": (317, 498),
    "small.png": (150, 97),
    "gray.png": (333, 527),
    # half a pixel of margin that is rounded to even goes down here, and up in the first ones
    "double.png": (401, 200),
    "narrow.png": (107, 180),
}


SQUARES = {"square.png": (331, 331), "small-square.png": (97, 97)}


def squares(folder: Path) -> list[Path]:
    """Write square pictures, for networks that take no others."""
    return write(folder, SQUARES)


def write(folder: Path, sizes: Mapping[str, tuple[int, int]] = SIZES) -> list[Path]:
    """Write pictures into a folder: smooth structures with fine noise on top, three different channels."""
    paths = []
    for name, (width, height) in sizes.items():
        y, x = np.mgrid[0:height, 0:width]
        waves = [np.sin(x / (9 + c) + c) + np.cos(y / (13 - c)) for c in range(3)]
        noise = values(name, (height, width, 3)).numpy() * np.sqrt(width * 3 / 3.0)
        pixels = 127 + 45 * np.stack(waves, axis=-1) + 12 * noise + np.array([20, 0, -25])
        image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        if name.startswith("gray"):
            image = image.convert("L")
        image.save(folder / name, quality=92) if name.endswith("jpg") else image.save(folder / name)
        paths.append(folder / name)
    return paths
