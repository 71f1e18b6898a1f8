"""`medfm compare`: records of one kind side by side."""

from __future__ import annotations

from typing import Any

from medfm.cli import printing
from medfm.publishing import tables


def compare(records: list[dict[str, Any]], columns: str | None, form: str | None) -> int:
    """Print the comparison: for people one column a record, for programs and papers one row a record.

    Raises:
        UsageError: there is no such column.
    """
    kind = records[0]["kind"]
    chosen = tables.columns(kind, columns.split(",") if columns else None)
    made = tables.rows(records, chosen)
    if form is None:
        lines = [[column.label, *(tables.text(row.cells[column.key], column) for row in made)] for column in chosen]
        printing.table(lines[1:] if chosen[0].key == "name" else lines, ["", *(row.id for row in made)])
        return 0
    write = {"json": tables.json, "csv": tables.csv, "markdown": tables.markdown, "latex": tables.latex}[form]
    print(write(made, chosen).rstrip("\n"))
    return 0
