"""The columns of the tables: for each kind of record, what can be shown, in which order, and how its values read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from medfm.catalog.completeness import completeness
from medfm.catalog.facets import value_at
from medfm.errors import UsageError, did_you_mean, near_misses

Plain = Mapping[str, Any]
"""A record as JSON values, as `medfm.catalog.index` and `model_dump(mode="json")` give it."""

Form = Literal["text", "word", "record", "license", "count", "number", "large", "year", "percent", "yes", "interval"]
"""How values read: `word` is one of the taxonomy, `record` an id, `large` a number such as 681 M."""


@dataclass(frozen=True)
class Column:
    """One column: where its values lie in a record, and how they read."""

    key: str
    label: str
    path: str
    """Dotted path in the record's JSON; `*` collects over a list."""
    form: Form = "text"
    facet: str = ""
    """For words: the facet of the taxonomy. For records: their kind."""
    shown: bool = True
    """Whether tables show it unless they are told otherwise."""
    optional: bool = False
    """An absent value is no gap: the cell stays empty instead of saying "not looked up"."""

    @property
    def numeric(self) -> bool:
        """Whether values are numbers, which sort by size and stand at the right."""
        return self.form in ("count", "number", "large", "year", "percent")

    def values(self, record: Plain) -> tuple[Any, ...]:
        """Return the column's values of one record; () where it has none."""
        value = _COMPUTED[self.path](record) if self.path in _COMPUTED else value_at(record, self.path)
        if value is None or value == "":
            return ()
        return tuple(value) if isinstance(value, list | tuple) else (value,)


_COLUMNS: dict[str, tuple[Column, ...]] = {
    "model": (
        Column("name", "Model", "id", "record", "model"),
        Column("category", "Class", "category", "word", "category"),
        Column("status", "Weights", "release.status"),
        Column("year", "Year", "release.year", "year"),
        Column("modalities", "Modalities", "modalities", "word", "modality"),
        Column("tasks", "Tasks", "tasks", "word", "task"),
        Column("architecture", "Architecture", "(architecture)", "word", "architecture"),
        Column("parameters", "Parameters", "parameters", "large"),
        Column("license", "License", "license.weights", "license"),
        Column("loadable", "Runs here", "loadable", "yes"),
        Column("completeness", "Looked up", "(model completeness)", "percent"),
        Column("organizations", "Made by", "organizations", shown=False),
        Column("anatomy", "Anatomy", "anatomy", "word", "anatomy", shown=False, optional=True),
        Column("dimensions", "Dimensions", "dimensions", "word", "dimension", shown=False),
        Column("embedding-dim", "Embedding", "embedding_dim", "count", shown=False, optional=True),
        Column("context", "Context (tokens)", "context", "count", shown=False, optional=True),
        Column("methods", "Training methods", "training.methods", "word", "method", shown=False),
        Column("objectives", "Objectives", "training.objectives", "word", "objective", shown=False),
        Column("training-data", "Trained on", "training.data.*.dataset", "record", "dataset", shown=False),
        Column("derived-from", "Made from", "derived_from.*.model", "record", "model", shown=False, optional=True),
        Column("code-license", "License of the code", "license.code", "license", shown=False),
        Column("gate", "Gate", "license.gate", shown=False),
        Column("parity", "Parity", "parity.status", shown=False),
        Column("domain", "Domain", "domain", shown=False),
    ),
    "dataset": (
        Column("name", "Dataset", "id", "record", "dataset"),
        Column("data-category", "Kind of data", "data_category", "word", "data-category"),
        Column("access", "Access", "access.status"),
        Column("year", "Year", "year", "year"),
        Column("modalities", "Modalities", "modalities", "word", "modality"),
        Column("tasks", "Tasks", "tasks", "word", "task"),
        Column("size", "Size", "(size)"),
        Column("license", "License", "access.license", "license"),
        Column("completeness", "Looked up", "(dataset completeness)", "percent"),
        Column("organizations", "Published by", "organizations", shown=False),
        Column("anatomy", "Anatomy", "anatomy", "word", "anatomy", shown=False, optional=True),
        Column("dimensions", "Dimensions", "dimensions", "word", "dimension", shown=False),
        Column("patients", "Patients", "size.patients", "count", shown=False, optional=True),
        Column("countries", "Countries", "collected.countries", shown=False),
        Column("label-count", "Classes", "(labels)", "count", shown=False, optional=True),
        Column("derived-from", "Made from", "derived_from.*.dataset", "record", "dataset", shown=False, optional=True),
    ),
    "metric": (
        Column("name", "Metric", "id", "record", "metric"),
        Column("tasks", "Tasks", "tasks", "word", "task"),
        Column("range", "Range", "range", "interval"),
        Column("direction", "Better", "direction"),
        Column("aggregation", "Aggregation", "aggregation", shown=False),
        Column("implementation", "Implementations", "implementation"),
    ),
    "challenge": (
        Column("name", "Challenge", "id", "record", "challenge"),
        Column("number", "No.", "number", "year"),
        Column("question", "Question", "question"),
        Column("named-by", "Named by", "named_by"),
    ),
    "competition": (
        Column("name", "Competition", "id", "record", "competition"),
        Column("year", "Year", "year", "year"),
        Column("series", "Series", "series", optional=True),
        Column("modalities", "Modalities", "modalities", "word", "modality"),
        Column("tasks", "Tasks", "tasks", "word", "task"),
        Column("datasets", "Datasets", "datasets", "record", "dataset"),
        Column("metrics", "Metrics", "metrics", "record", "metric"),
        Column("participants", "Ranked teams", "participants", "count"),
        Column("organizers", "Organizers", "organizers", shown=False),
        Column("anatomy", "Anatomy", "anatomy", "word", "anatomy", shown=False, optional=True),
    ),
    "results": (
        Column("model", "Model", "model", "record", "model"),
        Column("dataset", "Dataset", "dataset", "record", "dataset"),
        Column("split", "Split", "split", optional=True),
        Column("task", "Task", "task", "word", "task"),
        Column("setting", "Setting", "setting", "word", "setting"),
        Column("metric", "Metric", "metric", "record", "metric"),
        Column("value", "Value", "value", "number"),
        Column("unit", "Unit", "unit"),
        Column("interval", "95 % interval", "ci", "interval", optional=True, shown=False),
        Column("n", "Cases", "n", "count", optional=True, shown=False),
        Column("reported-by", "Reported by", "reported_by"),
        Column("source", "Source", "source", "record", "results"),
        Column("locator", "Where", "locator"),
        Column("details", "Details", "details", optional=True, shown=False),
    ),
    "sample": (
        Column("name", "Sample", "id", "record", "sample"),
        Column("modalities", "Modalities", "modalities", "word", "modality"),
        Column("anatomy", "Anatomy", "anatomy", "word", "anatomy"),
        Column("shows", "Shows", "shows"),
        Column("license", "License", "license", "license"),
        Column("models", "Suits", "models", "record", "model", optional=True),
    ),
}


def columns(kind: str, keys: Iterable[str] | None = None) -> tuple[Column, ...]:
    """Return the columns of one kind: all of them, or the named ones in the order named.

    Results have one row a score; see `medfm.publishing.tables.scores`.

    Raises:
        UsageError: there is no such column; it offers near misses.

    >>> [column.label for column in columns("model", ["name", "parameters"])]
    ['Model', 'Parameters']
    """
    known = {column.key: column for column in _COLUMNS[kind]}
    chosen = []
    for key in known if keys is None else keys:
        if key not in known:
            offer = did_you_mean(near_misses(key, known)) or f"; one of {', '.join(known)}"
            raise UsageError(f"tables of {kind} records have no column {key!r}{offer}")
        chosen.append(known[key])
    return tuple(chosen)


def size_text(size: Plain | None) -> str | None:
    """Return counts as a reader says them, the largest units first as the record has them.

    >>> size_text({"patients": 1204, "hours": 2.5, "qualifier": "approximate"})
    'about 1,204 patients, 2.5 hours'
    """
    if not size:
        return None
    counts = [f"{value:,} {unit}" for unit, value in size.items() if isinstance(value, int | float)]
    before = {"approximate": "about ", "at-least": "at least ", "up-to": "up to "}.get(size.get("qualifier") or "", "")
    return before + ", ".join(counts) if counts else None


def _architecture(record: Plain) -> object:
    network = record.get("architecture") or {}
    return network.get("backbone") or network.get("family")


# Columns whose value is computed from several fields; the names in brackets are no paths.
_COMPUTED: dict[str, Callable[[Plain], object]] = {
    "(architecture)": _architecture,
    "(model completeness)": lambda record: completeness(record, "model").percent,
    "(dataset completeness)": lambda record: completeness(record, "dataset").percent,
    "(size)": lambda record: size_text(record.get("size")),
    "(labels)": lambda record: record.get("label_count") or len(record.get("labels") or ()) or None,
}

# Which field's state a computed column has when it has no value.
FIELD_OF = {"(architecture)": "architecture", "(size)": "size", "(labels)": "labels"}
