"""The catalog in other forms: JSON, CSV, SQLite, BibTeX, JSON Schema, pandas."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medfm.catalog.facets import kind_named
from medfm.catalog.indexing import build, to_json
from medfm.catalog.records import KINDS
from medfm.catalog.vocabulary import Taxonomy
from medfm.errors import MissingExtraError, SourceError, UsageError
from medfm.files import writing

if TYPE_CHECKING:
    import pandas

    from medfm.catalog.store import Catalog


def schemas() -> dict[str, str]:
    """Return the JSON Schema of every kind of record and of the taxonomy, as text."""
    found = {}
    for name, cls in [(cls.kind, cls) for cls in KINDS] + [("taxonomy", Taxonomy)]:
        schema = cls.model_json_schema()
        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
        if name != "taxonomy":  # the id is the file's name; the file must not repeat it
            schema["properties"].pop("id")
            schema["required"].remove("id")
        found[name] = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    return found


def rows(catalog: Catalog, kind: str) -> Iterator[dict[str, Any]]:
    """Give one flat row a record: dotted names for nested fields, JSON text for lists of parts."""
    for record in sorted(catalog.records[kind].values(), key=lambda record: record.id):
        yield dict(_flat(to_json(record, catalog.files[record.id]), ""))


def _flat(values: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and name not in ("evidence", "sources", "derived", "links", "splits", "symbols"):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | dict):
            simple = isinstance(value, list) and all(isinstance(item, str) for item in value)
            yield prefix + name, "; ".join(value) if simple else json.dumps(value, ensure_ascii=False)
        else:
            yield prefix + name, value


def to_pandas(catalog: Catalog, kind: str = "model") -> pandas.DataFrame:
    """Return one row a record, indexed by id, its fields in columns with dotted names."""
    try:
        import pandas
    except ImportError:
        raise MissingExtraError("pandas", "tables", why="making a DataFrame") from None
    frame = pandas.DataFrame(list(rows(catalog, kind_named(kind))))
    return frame.set_index("id") if len(frame) else frame


def export(catalog: Catalog, path: Path, *, kind: str | None = None, overwrite: bool = False) -> Path:
    """Write the catalog, or one kind, to a file whose suffix chooses the format.

    Raises:
        UsageError: the suffix is none of .json, .csv, .sqlite, .bib; or CSV without a kind.
        OutputExistsError: the file exists and `overwrite` is not set.
    """
    writers: dict[str, Callable[[Catalog, str | None], str | bytes]] = {
        ".json": _json,
        ".csv": _csv,
        ".sqlite": _sqlite,
        ".bib": _bib,
    }
    if path.suffix not in writers:
        raise UsageError(f"{path.name}: the catalog is exported as {', '.join(writers)}")
    return write(path, writers[path.suffix](catalog, kind), overwrite=overwrite)


def _json(catalog: Catalog, kind: str | None) -> str:
    kinds = [kind] if kind else list(catalog.records)
    values = {k: [to_json(r, catalog.files[r.id]) for r in catalog.records[k].values()] for k in kinds}
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def _csv(catalog: Catalog, kind: str | None) -> str:
    if kind is None:
        raise UsageError("a CSV file holds one kind of record; name it with --kind")
    found = list(rows(catalog, kind))
    columns = list(dict.fromkeys(name for row in found for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue()


def _sqlite(catalog: Catalog, kind: str | None) -> bytes:
    if kind is not None:
        raise UsageError("the SQLite file always holds the whole catalog; leave --kind out")
    connection = sqlite3.connect(":memory:")
    try:
        build(catalog, connection)
        return connection.serialize()
    finally:
        connection.close()


def _bib(catalog: Catalog, kind: str | None) -> str:
    entries = catalog.bibliography
    keys = dict.fromkeys(key for record in catalog.records[kind].values() for key in record.papers) if kind else entries
    return "\n".join(entries[key].bibtex() for key in keys)


def write(path: Path, data: str | bytes, *, overwrite: bool = False) -> Path:
    """Write a file, and the folder that it lies in, whole or not at all; see `medfm.files.writing` for the errors."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(f"{path.parent}: {(error.strerror or str(error)).lower()}; nothing was written") from None
    with writing(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)
    return path
