"""From sequences with gaps to whole ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medfm.catalog.contracts import Tokenize
from medfm.runtime.outputs import Text
from medfm.runtime.runner import Run

if TYPE_CHECKING:
    from medfm.runtime.runner import Runner


def generate(runner: Runner, source: object, *, batch_size: int, **options: Any) -> Text:
    """Return the inputs with what is missing filled in; see `Runner.generate`."""
    runner.needs("generate")
    run = Run()
    written: list[str] = []
    words = _words(runner)
    for chunk, prepared in runner.batches(source, run, options, batch_size=batch_size):
        completed = runner.network.complete(prepared.batch)
        for row, (_, letters) in zip(completed.tolist(), chunk, strict=True):
            written.append("".join(words[number] for number in row[1 : 1 + len(letters)]))
    return Text(runner.provenance(run), tuple(written), tuple(run.names))


def _words(runner: Runner) -> list[str]:
    step = next(step for step in runner.record.input if isinstance(step, Tokenize))
    return [line.strip() for line in runner.files[step.vocabulary].read_text(encoding="utf-8").splitlines()]
