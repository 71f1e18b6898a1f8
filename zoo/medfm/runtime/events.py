"""From a detector's cells to events in seconds."""

from __future__ import annotations

from typing import Any

import numpy as np

from medfm.catalog.contracts import EventsOutput
from medfm.runtime.outputs import Event


def decode(cells: np.ndarray[Any, Any], output: EventsOutput, *, seconds: float, offset: float = 0.0) -> list[Event]:
    """Turn one window's cells into events, overlapping ones thinned out.

    Args:
        cells: (cells, 3) with confidence, place of the center in its cell and duration, each in [0, 1].
        output: thresholds and what a duration of 1 means.
        seconds: length of the window.
        offset: seconds from the start of the recording to the start of the window.

    Returns:
        Events, the most confident first. As in the authors' code (openspindlenet 0.1.1, evaluator), an event that is cut by
        the window's start is not reported.
    """
    width = seconds / len(cells)
    found = []
    for i, (confidence, place, duration) in enumerate(cells):
        if confidence < output.confidence:
            continue
        center, half = (i + float(place)) * width, float(duration) * output.longest / 2
        start, end = max(center - half, 0.0), min(center + half, seconds)
        if start > 0:
            found.append(Event(output.label, start, end, float(confidence)))
    kept: list[Event] = []
    for event in sorted(found, key=lambda e: -e.confidence):
        if all(_overlap(event, other) < output.overlap for other in kept):
            kept.append(event)
    return [Event(e.label, e.start + offset, e.end + offset, e.confidence) for e in kept]


def _overlap(a: Event, b: Event) -> float:
    """Return the intersection over union of two events."""
    common = max(0.0, min(a.end, b.end) - max(a.start, b.start))
    return common / ((a.end - a.start) + (b.end - b.start) - common)
