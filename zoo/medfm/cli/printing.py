"""Printing look-ups: tables for people, JSON and CSV for programs. Only the standard library."""

from __future__ import annotations

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


def rows(found: Sequence[Mapping[str, Any]], columns: Sequence[str], form: str | None) -> None:
    """Print records as a table, as JSON or as CSV."""
    if form == "json":
        print(json.dumps(list(found), indent=2, ensure_ascii=False))
    elif form == "csv":
        import csv

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([plain(row.get(column), ";") for column in columns] for row in found)
    else:
        table([[plain(row.get(column)) for column in columns] for row in found], columns)


def table(cells: Sequence[Sequence[str]], columns: Sequence[str]) -> None:
    """Print a table that fits the terminal: the widest columns are cut first."""
    if not cells:
        return
    widths = [max(len(str(row[i])) for row in [columns, *cells]) for i in range(len(columns))]
    if sys.stdout.isatty():
        room = os.get_terminal_size().columns - 2 * (len(widths) - 1)
        while sum(widths) > room and max(widths) > 12:
            widths[widths.index(max(widths))] -= 1
    lines = []
    for row in [[column.upper() for column in columns], *cells]:
        shown = [
            cell if len(cell) <= width else cell[: width - 1] + "…" for cell, width in zip(row, widths, strict=True)
        ]
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(shown, widths, strict=True)).rstrip())
    print("\n".join(lines))


def plain(value: object, joint: str = ", ") -> str:
    """Return a JSON value as text; "" for what is absent."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return joint.join(plain(item) for item in value)
    if isinstance(value, dict):
        return joint.join(f"{key} {plain(item)}" for key, item in value.items() if item is not None)
    if isinstance(value, int) and abs(value) >= 100_000:
        return f"{value:,}" if joint == ", " else str(value)
    return str(value)
