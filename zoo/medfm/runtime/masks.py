"""Masks of prompted objects on a picture, and the formats that they are saved in."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfm.errors import UsageError
from medfm.runtime.inputs import PathLike
from medfm.runtime.outputs import Result, Segmentation


@dataclass(frozen=True)
class Masks(Result):
    """One mask for each prompted object, on the picture's own pixels.

    Attributes:
        masks: (objects, height, width) uint8, 1 inside.
        scores: (objects,) float32, the overlap (intersection over union) that the network expects of each mask.
        logits: (objects, rows, columns) float32, the network's own answer: give it back as `masks=` to refine it.
        prompts: what pointed at each object, in pixels of the picture.
        picture: (height, width, 3) uint8, for drawing.
        name: of the picture's file, or "".
    """

    masks: NDArray[np.uint8]
    scores: NDArray[np.float32]
    logits: NDArray[np.float32]
    prompts: tuple[Mapping[str, Any], ...]
    picture: NDArray[np.uint8]
    name: str = ""

    def labels(self) -> NDArray[np.uint8]:
        """Return (height, width): the number of the object at each pixel, from 1; 0 outside; later objects lie on top.

        Raises:
            UsageError: there are more objects than a byte can number.
        """
        if len(self.masks) > 255:
            raise UsageError(f"{len(self.masks)} objects are too many for one picture of labels; save .npy or .json")
        found = np.zeros(self.masks.shape[1:], dtype=np.uint8)
        for number, mask in enumerate(self.masks, start=1):
            found[mask > 0] = number
        return found

    def overlay(self, path: PathLike, *, overwrite: bool = False, title: str = "") -> Path:
        """Draw the picture with the outlines and the prompts as PNG (needs matplotlib)."""
        return self.write(path, lambda temporary: self._draw(temporary, title), overwrite=overwrite)

    def _draw(self, path: Path, title: str) -> None:
        from medfm.runtime.pictures import prompted

        prompted(self, path, title)

    def _writers(self) -> Mapping[str, Callable[[Path], object]]:
        return {".png": self._png, ".npy": self._npy, ".json": self._json}

    def _png(self, path: Path) -> None:
        """Write the labels as a picture with a palette: numbers for programs, colors for people."""
        from PIL import Image

        image = Image.fromarray(self.labels())  # gray, turned into one with a palette
        image.putpalette([value for color in palette(len(self.masks) + 1) for value in color])
        image.save(path, format="PNG")

    def _npy(self, path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, self.masks, allow_pickle=False)

    def _json(self, path: Path) -> None:
        height, width = (int(n) for n in self.masks.shape[1:])
        objects = [
            {
                "prompt": dict(prompt),
                "score": float(score),
                "area": int(mask.sum()),
                "bbox": _bounds(mask),
                "segmentation": {"size": [height, width], "counts": run_lengths(mask)},
            }
            for mask, score, prompt in zip(self.masks, self.scores, self.prompts, strict=True)
        ]
        text = json.dumps({"image": self.name, "objects": objects}, indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")


@dataclass(frozen=True)
class PromptedSegmentation(Segmentation):
    """The mask of prompted objects in a volume: object 1 has the value 1, and so on; later objects lie on top.

    Attributes:
        scores: (objects,) float32, the overlap (intersection over union) that the network expects of each mask.
        prompts: what pointed at each object, in voxels of the file.
    """

    scores: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    prompts: tuple[Mapping[str, Any], ...] = ()


def run_lengths(mask: NDArray[np.uint8]) -> list[int]:
    """Return COCO's uncompressed run lengths: column by column, beginning with zeros.

    >>> run_lengths(np.array([[0, 1], [1, 1]], dtype=np.uint8))
    [1, 3]
    """
    flat = mask.ravel(order="F") > 0
    edges = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff([0, *edges, len(flat)]).tolist()
    return [0, *lengths] if len(flat) and flat[0] else lengths


def palette(count: int) -> list[tuple[int, int, int]]:
    """Return black and then colors that are easy to tell apart, around the circle by the golden angle."""
    import colorsys

    shades = [colorsys.hsv_to_rgb((0.97 + 0.381966 * i) % 1, 0.65, 0.95) for i in range(count - 1)]
    return [(0, 0, 0), *((round(r * 255), round(g * 255), round(b * 255)) for r, g, b in shades)]


def _bounds(mask: NDArray[np.uint8]) -> list[int]:
    """Return COCO's box: x, y, width, height; zeros where the mask is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return [0, 0, 0, 0]
    x, y = int(columns[0]), int(rows[0])
    return [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1]
