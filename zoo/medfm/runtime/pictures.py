"""Pictures of results: masks over slices, events over recordings (matplotlib, drawn without a display)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medfm.errors import MissingExtraError

if TYPE_CHECKING:
    from medfm.runtime.masks import Masks
    from medfm.runtime.outputs import Events, Segmentation

_MARK = "#d1495b"
_INK = "#22303c"


def overlay(result: Segmentation, path: Path, title: str) -> None:
    """Draw the three middle slices of the mask, in radiological convention, at the voxels' true proportions."""
    from nibabel import orientations

    figure = _figure(12, 4.6)
    turn = orientations.io_orientation(result.volume.affine)
    image = orientations.apply_orientation(result.volume.data, turn)
    mask = orientations.apply_orientation(result.mask, turn) > 0
    spacing = [result.volume.spacing[int(axis)] for axis in np.argsort(turn[:, 0])]
    low, high = np.percentile(image, [1, 99.5])
    where = np.argwhere(mask)
    center = where.mean(axis=0).astype(int) if len(where) else np.array(image.shape) // 2
    # plane, axis that is cut, and the letters at left, right and bottom
    for i, (plane, axis, letters) in enumerate((("axial", 2, "RLP"), ("coronal", 1, "RLI"), ("sagittal", 0, "APS"))):
        axes = figure.add_subplot(1, 3, i + 1)
        across, up = [a for a in range(3) if a != axis]
        piece = [np.take(volume, center[axis], axis).T for volume in (image, mask)]
        # RAS axes grow to the right, front and top; radiologists look from the feet and from the front
        piece = [p[:, ::-1] for p in piece]
        left, right = (letters[0], letters[1]) if axis else ("A", "P")
        axes.imshow(piece[0], cmap="gray", vmin=low, vmax=high, origin="lower", aspect=spacing[up] / spacing[across])
        if piece[1].any():
            axes.contour(piece[1], levels=[0.5], colors=_MARK, linewidths=1.4)
        axes.text(0.02, 0.5, left, transform=axes.transAxes, color="white", fontsize=9)
        axes.text(0.98, 0.5, right, transform=axes.transAxes, color="white", fontsize=9, ha="right")
        axes.set_title(plane, fontsize=10, color=_INK)
        axes.set_axis_off()
    volumes = ", ".join(f"{name} {ml:,.0f} mL" for name, ml in result.volumes_ml().items())
    figure.suptitle(f"{title or result.provenance.model}: {volumes}", fontsize=12, color=_INK)
    figure.text(0.5, 0.01, _foot(result.provenance.model), ha="center", fontsize=8, color=_INK)
    figure.tight_layout(rect=(0, 0.03, 1, 0.97))
    figure.savefig(path, dpi=110, format="png")


def recording(result: Events, path: Path, title: str) -> None:
    """Draw the recording in rows of ten seconds with the events shaded."""
    rate, signal = result.sampling_rate, result.signal[0]
    seconds = len(signal) / rate
    rows = int(np.ceil(seconds / 10))
    figure = _figure(12, 1.5 + 1.7 * rows)
    limit = float(np.percentile(np.abs(signal), 99.8)) * 1.3 or 1.0
    times = np.arange(len(signal)) / rate
    for row in range(rows):
        axes = figure.add_subplot(rows, 1, row + 1)
        start, end = 10.0 * row, 10.0 * (row + 1)
        part = (times >= start) & (times < end)
        axes.plot(times[part], signal[part], color=_INK, linewidth=0.6)
        for event in result.events:
            if event.end > start and event.start < end:
                axes.axvspan(max(event.start, start), min(event.end, end), color=_MARK, alpha=0.3, linewidth=0)
                axes.text(
                    max(event.start, start),
                    limit * 0.82,
                    f"{event.label} {event.confidence:.2f}",
                    fontsize=8,
                    color=_MARK,
                )
        axes.set_xlim(start, end)
        axes.set_ylim(-limit, limit)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    axes.set_xlabel("seconds", fontsize=9)
    count = len(result.events)
    figure.suptitle(
        f"{title or result.provenance.model}: {count} event{'s' if count != 1 else ''} in {seconds:.0f} s",
        fontsize=12,
        color=_INK,
    )
    figure.text(0.5, 0.005, _foot(result.provenance.model), ha="center", fontsize=8, color=_INK)
    figure.tight_layout(rect=(0, 0.02, 1, 0.98))
    figure.savefig(path, dpi=110, format="png")


def heatmap(values: Any, names: tuple[str, ...], path: Path, title: str) -> None:
    """Draw a matrix of distances with the numbers in it."""
    figure = _figure(1.2 + 0.62 * len(names) + 2, 1.2 + 0.55 * len(names))
    axes = figure.add_subplot(1, 1, 1)
    axes.imshow(values, cmap="viridis_r")
    for i in range(len(names)):
        for j in range(len(names)):
            shade = "white" if values[i][j] > np.max(values) / 2 else _INK
            axes.text(j, i, f"{values[i][j]:.2f}", ha="center", va="center", fontsize=8, color=shade)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_title(title, fontsize=11, color=_INK)
    figure.tight_layout()
    figure.savefig(path, dpi=110, format="png")


def prompted(result: Masks, path: Path, title: str) -> None:
    """Draw a picture with the outline of every object and the prompts that point at it."""
    from medfm.runtime.masks import palette

    height, width = result.masks.shape[1:]
    scale = 8 / max(height, width)
    figure = _figure(max(3.0, width * scale), max(2.0, height * scale) + 0.9)
    axes = figure.add_subplot(1, 1, 1)
    axes.imshow(result.picture)
    shades = [tuple(value / 255 for value in color) for color in palette(len(result.masks) + 1)[1:]]
    for mask, shade, prompt in zip(result.masks, shades, result.prompts, strict=True):
        if mask.any() and not mask.all():
            axes.contourf(mask, levels=[0.5, 1.5], colors=[shade], alpha=0.25)
            axes.contour(mask, levels=[0.5], colors=[shade], linewidths=1.4)
        if "box" in prompt:
            x0, y0, x1, y1 = prompt["box"]
            axes.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color=shade, linewidth=1, linestyle="--")
        for x, y, label in prompt.get("points", ()):
            axes.plot(x, y, marker="o" if label else "x", color=shade, markersize=6)
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    axes.set_axis_off()
    scores = ", ".join(f"{score:.2f}" for score in result.scores[:6]) + (", ..." if len(result.scores) > 6 else "")
    name = title or result.provenance.model
    figure.suptitle(f"{name}: {len(result.masks)} masks, expected overlap {scores}", fontsize=10, color=_INK)
    figure.text(0.5, 0.01, _foot(result.provenance.model), ha="center", fontsize=8, color=_INK)
    figure.tight_layout(rect=(0, 0.03, 1, 0.97))
    figure.savefig(path, dpi=110, format="png")


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "pictures", why="drawing a picture") from None
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _foot(model: str) -> str:
    return f"{model}, run by medfm. For research use only."
