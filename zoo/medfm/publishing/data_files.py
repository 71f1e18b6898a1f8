"""The machine-readable side of the site: JSON for each record and kind, tables as CSV, references as BibTeX."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from medfm.catalog.completeness import completeness
from medfm.catalog.facets import KIND_NAMES
from medfm.publishing.columns import columns
from medfm.publishing.explorer import plain_records
from medfm.publishing.site import Site, rendered
from medfm.publishing.tables import csv, rows


def data_files(site: Site) -> Iterator[tuple[str, str]]:
    """Give every data file of the site: path and text."""
    index = []
    for kind in site.catalog.records:
        name = KIND_NAMES[kind]
        records = site.all(kind)
        for record in records:
            index.append(
                {"id": record.id, "kind": kind, "name": record.name, "page": rendered(site.page(record.id))}
                | {"json": f"api/{name}/{record.id}.json"}
            )
            yield f"api/{name}/{record.id}.json", _dump(_record(site, record.id))
        yield f"api/{name}.json", _dump([_record(site, record.id) for record in records])
        chosen = columns(kind)
        yield f"downloads/{name}.csv", csv(rows(plain_records(site, kind), chosen), chosen)
    yield (
        "api/catalog.json",
        _dump(
            {
                "license": "CC-BY-4.0",
                "counts": {KIND_NAMES[kind]: len(records) for kind, records in site.catalog.records.items()},
                "records": index,
            }
        ),
    )
    entries = sorted(site.catalog.bibliography.values(), key=lambda entry: entry.key)
    yield "downloads/references.bib", "\n".join(entry.bibtex() for entry in entries)


def _record(site: Site, id: str) -> dict[str, Any]:
    """Return a record as the index of the command line has it, with the state of its core fields."""
    plain = site.plain[id]
    found = completeness(plain, plain["kind"])
    return plain | {"completeness": {"percent": found.percent, "states": dict(found.states)}}


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"
