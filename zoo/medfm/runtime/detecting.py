"""From a recording to the events in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from medfm.runtime import contract as engine
from medfm.runtime.events import decode
from medfm.runtime.inputs import Signal, read_signal
from medfm.runtime.outputs import Events
from medfm.runtime.runner import Run

if TYPE_CHECKING:
    from medfm.runtime.runner import Runner


def detect(runner: Runner, source: Any, **options: Any) -> Events:
    """Return the events in one recording; see `Runner.detect`."""
    runner.needs("detect")
    described = runner.output("events")
    run = Run()
    steps, context = runner.record.input, runner.context(options)
    windows: list[Signal] = engine.read(steps, source, context.options)
    rate = windows[0].sampling_rate
    assert rate is not None
    length = windows[0].data.shape[-1] / rate
    left = engine.tail(steps, read_signal(source))
    if left:
        run.notes.add(f"the last {left} samples ({left / rate:.3g} s) fill no window and were not analyzed")
    events = []
    for i, window in enumerate(runner.shown(windows, len(windows))):
        prepared = engine.prepare(steps, [window], context)
        cells = runner.network.detect(prepared.batch)[0].numpy()
        events += decode(cells, described, seconds=length, offset=i * length)
        run.notes |= set(prepared.notes)
    run.names = [windows[0].name]
    signal = np.concatenate([window.data for window in windows], axis=-1)
    return Events(runner.provenance(run), tuple(sorted(events, key=lambda e: e.start)), signal, rate)
