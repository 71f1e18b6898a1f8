"""Printing look-ups: tables for people, JSON and CSV for programs. Only the standard library."""

from __future__ import annotations

import os
import sys

from medfm.catalog.facets import as_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


def rows(found: Sequence[Mapping[str, Any]], columns: Sequence[str], form: str | None) -> None:
    """Print records as a table, as JSON or as CSV."""
    if form == "json":
        print(as_json(list(found)))
    elif form == "csv":
        import csv

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([as_text(row.get(column), ";") for column in columns] for row in found)
    else:
        table([[as_text(row.get(column)) for column in columns] for row in found], columns)


def table(cells: Sequence[Sequence[str]], columns: Sequence[str]) -> None:
    """Print a table that fits the terminal: the widest columns are cut first."""
    if not cells:
        return
    titles = [column.upper() for column in columns]
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    if sys.stdout.isatty():
        room = os.get_terminal_size().columns - 2 * (len(widths) - 1)
        while sum(widths) > room and max(widths) > 12:
            widths[widths.index(max(widths))] -= 1
        cells = [[c if len(c) <= w else c[: w - 1] + "…" for c, w in zip(row, widths, strict=True)] for row in cells]
    form = "  ".join(f"%-{width}s" for width in widths)
    print("\n".join((form % tuple(row)).rstrip() for row in (titles, *cells)))


def as_json(value: object) -> str:
    """Return a value as JSON for people and programs."""
    import json  # it costs look-ups that print tables a millisecond

    return json.dumps(value, indent=2, ensure_ascii=False)
