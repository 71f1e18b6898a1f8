"""Samples: real inputs that ship inside packages, by the id of their record."""

from __future__ import annotations

from pathlib import Path

from medfm.catalog.records import Model, Sample, SystemOrigin
from medfm.catalog.store import Catalog
from medfm.errors import CapabilityError
from medfm.runtime.sources import Origin, fetch


def origin_of(catalog: Catalog, id: str) -> Origin:
    """Return where the bytes of a model's weights, or of a sample, lie.

    Raises:
        UnknownIdError: there is no such record.
        CapabilityError: the record has no files.
    """
    record = catalog[id]
    if isinstance(record, Model) and record.weights is not None and record.weights.origin.files:
        return record.weights.origin
    if isinstance(record, Sample):
        return record.origin
    raise CapabilityError(id, "be fetched: its record names no files", ())


def sample(id: str, *, offline: bool = False, progress: bool = True, catalog: Catalog | None = None) -> Path:
    """Return the verified local file of a sample, fetching its package if need be."""
    record = (catalog or Catalog.load()).samples[id]
    (path,) = fetch(record.origin, offline=offline, progress=progress).values()
    return path


def reference(id: str, *, offline: bool = False, progress: bool = True, catalog: Catalog | None = None) -> Path | None:
    """Return the verified reference mask of a sample; None where it has none."""
    record = (catalog or Catalog.load()).samples[id]
    for item in record.references:
        (path,) = fetch(item.origin, offline=offline, progress=progress).values()
        return path
    return None


def available(catalog: Catalog, id: str) -> bool:
    """Return whether a sample's system package is installed; samples from registry packages can always be tried."""
    origin = catalog.samples[id].origin
    return not isinstance(origin, SystemOrigin) or Path(origin.path).is_file()
