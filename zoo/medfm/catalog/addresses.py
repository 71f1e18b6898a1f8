"""Which web addresses does the catalog name, and where? Links, sources and terms of the records, and the papers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urldefrag

from pydantic import BaseModel

if TYPE_CHECKING:
    from medfm.catalog.records import Record
    from medfm.catalog.store import Catalog

_ADDRESS = re.compile(r"https?://\S+", re.IGNORECASE)


def addresses(catalog: Catalog) -> dict[str, list[str]]:
    """Return every http(s) address by name, each with the sorted list of places ("record: field") that use it.

    What follows a `#` is left out: servers never see it. Papers are those of the bibliography, at the place "key: paper".
    """
    places: dict[str, set[str]] = {}
    for record in catalog.all():
        for field, address in addresses_of(record):
            places.setdefault(urldefrag(address).url, set()).add(f"{record.id}: {field}")
    for entry in catalog.bibliography.values():
        if entry.url and _ADDRESS.fullmatch(entry.url):
            places.setdefault(urldefrag(entry.url).url, set()).add(f"{entry.key}: paper")
    return {address: sorted(places[address]) for address in sorted(places)}


def addresses_of(record: Record) -> Iterator[tuple[str, str]]:
    """Give field path and address of every field of a record that holds an http(s) address and nothing else."""
    return _walk("", record)


def _walk(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        if _ADDRESS.fullmatch(value):
            yield path, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _walk(f"{path}.{name}" if path else name, getattr(value, name))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(f"{path}.{key}", item)
    elif isinstance(value, tuple):
        for i, item in enumerate(value):
            yield from _walk(f"{path}[{i}]", item)
