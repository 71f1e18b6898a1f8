"""Comparison tables of records: plain data, and as Markdown, CSV, JSON or LaTeX.

Records come in as JSON values (`medfm.catalog.index`, or `model_dump(mode="json")`), so that the command line can make
tables without importing pydantic. A cell without a value says why: undisclosed, not applicable or not looked up.

>>> chosen = columns("model", ["parameters", "license"])
>>> made = rows([{"id": "a", "parameters": 681000000, "undisclosed": ["license"]}], chosen)
>>> print(markdown(made, chosen))
| Parameters | License |
| ---: | --- |
| 681 M | undisclosed |
"""

from __future__ import annotations

import csv as csv_format
import io
import json as json_format
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from medfm.catalog.completeness import State, state
from medfm.publishing.columns import FIELD_OF, Column, Plain, columns, size_text
from medfm.publishing.prose import cell as markdown_cell
from medfm.publishing.prose import escape

Show = Callable[[Column, Any], str]
"""Turns one value of a column into the text of the output format."""


@dataclass(frozen=True)
class Cell:
    """The values of one record in one column, and what their absence means."""

    values: tuple[Any, ...]
    state: State


@dataclass(frozen=True)
class Row:
    """One record's cells by column."""

    id: str
    cells: dict[str, Cell]


def rows(records: Iterable[Plain], chosen: Sequence[Column]) -> list[Row]:
    """Return one row a record, in the order given; records of results give one row a score."""
    return [
        Row(str(entry["id"]), {column.key: _cell(entry, column) for column in chosen}) for entry in entries(records)
    ]


def entries(records: Iterable[Plain]) -> Iterator[Plain]:
    """Give what the rows of a table are made of: the records or, for results, their scores."""
    for record in records:
        if "tables" in record:
            yield from scores(record)
        else:
            yield record


def scores(results: Plain) -> Iterator[dict[str, Any]]:
    """Give the scores of a results record one by one, each with its protocol, as `columns("results")` reads them."""
    for i, table in enumerate(results["tables"]):
        protocol = table["protocol"]
        shared = {key: protocol.get(key) for key in ("dataset", "split", "task", "setting")}
        shared |= {key: table.get(key) for key in ("metric", "unit", "reported_by", "locator")}
        for j, score in enumerate(table["scores"]):
            details = "; ".join(filter(None, (protocol.get("details"), score.get("details"))))
            yield {
                "id": f"{results['id']}-{i + 1}-{j + 1}",
                "source": results["id"],
                "table": i + 1,
                **shared,
                **{key: score.get(key) for key in ("model", "value", "ci", "sd", "n")},
                "details": details or None,
            }


def plain_text(column: Column, value: Any) -> str:
    """Return one value as a reader sees it without links: numbers grouped, ids and words as they are.

    >>> plain_text(Column("p", "Parameters", "parameters", "large"), 1_457_330_000)
    '1.46 B'
    """
    if column.form == "large":
        return large(value)
    if column.form == "count":
        return f"{value:,}"
    if column.form == "percent":
        return f"{value} %"
    if column.form == "yes" or isinstance(value, bool):
        return "yes" if value else "no"
    if column.form == "interval":
        return "unbounded" if value is None else f"{value:g}"
    return str(value)


def large(number: float) -> str:
    """Return a large number with three digits and the letter of its magnitude.

    >>> [large(n) for n in (950, 14_600_000, 681_000_000, 7_000_000_000)]
    ['950', '14.6 M', '681 M', '7 B']
    """
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= size * 0.9995:
            return f"{number / size:.3g} {letter}"
    return f"{number:g}"


def text(cell: Cell, column: Column, show: Show = plain_text, absent: Callable[[State], str] = str) -> str:
    """Return a cell as text; without a value it says why, unless the column is optional."""
    if cell.values:
        parts = [show(column, value) for value in cell.values]
        return " to ".join(parts) if column.form == "interval" else ", ".join(parts)
    if cell.state == "not looked up" and column.optional:
        return ""
    return absent(cell.state)


def markdown(
    made: Sequence[Row], chosen: Sequence[Column], show: Show | None = None, absent: Callable[[State], str] = str
) -> str:
    """Return a Markdown table.

    Args:
        made: the rows.
        chosen: the columns.
        show: gives the Markdown of one value, such as a link.
        absent: gives the Markdown of a cell without a value.
    """
    show = show or (lambda column, value: escape(plain_text(column, value)))
    lines = [
        _line(escape(column.label) for column in chosen),
        _line("---:" if column.numeric else "---" for column in chosen),
        *(_line(markdown_cell(text(row.cells[c.key], c, show, absent)) for c in chosen) for row in made),
    ]
    return "\n".join(lines)


def csv(made: Sequence[Row], chosen: Sequence[Column]) -> str:
    """Return CSV with one header line: ids and raw numbers, several values joined by "; "."""
    out = io.StringIO()
    writer = csv_format.writer(out, lineterminator="\n")
    writer.writerow(["id", *(column.key for column in chosen)])
    for row in made:
        writer.writerow([row.id, *(_raw_text(row.cells[column.key], column) for column in chosen)])
    return out.getvalue()


def json(made: Sequence[Row], chosen: Sequence[Column]) -> str:
    """Return a JSON list of objects with raw values; `states` names the fields without one and why."""
    found = []
    for row in made:
        values: dict[str, Any] = {"id": row.id}
        for column in chosen:
            cell = row.cells[column.key]
            values[column.key] = list(cell.values) if len(cell.values) > 1 else next(iter(cell.values), None)
        states = {c.key: row.cells[c.key].state for c in chosen if not row.cells[c.key].values}
        found.append(values | {"states": states})
    return json_format.dumps(found, ensure_ascii=False, indent=2) + "\n"


def latex(made: Sequence[Row], chosen: Sequence[Column], show: Show = plain_text) -> str:
    r"""Return a LaTeX table for the package booktabs.

    >>> chosen = columns("model", ["license"])
    >>> print(latex(rows([{"id": "a", "license": {"weights": "A&B"}}], chosen), chosen))
    \begin{tabular}{l}
    \toprule
    License \\
    \midrule
    A\&B \\
    \bottomrule
    \end{tabular}
    """

    def line(cells: Iterable[str]) -> str:
        return " & ".join(_latex_escape(cell) for cell in cells) + r" \\"

    return "\n".join(
        [
            rf"\begin{{tabular}}{{{''.join('r' if column.numeric else 'l' for column in chosen)}}}",
            r"\toprule",
            line(column.label for column in chosen),
            r"\midrule",
            *(line(text(row.cells[c.key], c, show) for c in chosen) for row in made),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def sort_value(cell: Cell, column: Column) -> float | str | None:
    """Return what a cell sorts by: a number, a text in lower case, or None, which comes last."""
    if not cell.values:
        return None
    first = cell.values[0]
    if column.numeric:
        return float(first)
    return None if first is None else str(first).lower()


def _cell(record: Plain, column: Column) -> Cell:
    values = column.values(record)
    if values:
        return Cell(values, "value")
    absent = state(record, FIELD_OF.get(column.path, column.path.partition(".*")[0]))
    # a field may hold parts without this one ("training" without data): that is a gap all the same
    return Cell((), "not looked up" if absent == "value" else absent)


def _raw_text(cell: Cell, column: Column) -> str:
    if column.form == "interval":
        return " to ".join("" if value is None else f"{value:g}" for value in cell.values)
    if cell.values:
        return "; ".join({True: "yes", False: "no"}[v] if isinstance(v, bool) else str(v) for v in cell.values)
    return "" if cell.state == "not looked up" else str(cell.state)


_LATEX = str.maketrans(
    {c: "\\" + c for c in "&%$#_{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "<": r"\textless{}"}
    | {">": r"\textgreater{}"}
)


def _latex_escape(text: str) -> str:
    return text.translate(_LATEX)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


__all__ = [
    "Cell",
    "Column",
    "Row",
    "columns",
    "csv",
    "json",
    "large",
    "latex",
    "markdown",
    "plain_text",
    "rows",
    "scores",
    "size_text",
    "sort_value",
    "text",
]
