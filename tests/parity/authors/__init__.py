"""How the authors of each model run it, one module for each family: `AUTHORS` maps ids to `Author`."""

from __future__ import annotations

import importlib
import pkgutil

from tests.parity.harness import Author


def authors() -> dict[str, Author]:
    """Return every model's `Author` by id.

    Raises:
        ValueError: a model stands in two modules.
    """
    found: dict[str, Author] = {}
    for module in pkgutil.iter_modules(__path__):
        entries: dict[str, Author] = importlib.import_module(f"{__name__}.{module.name}").AUTHORS
        if twice := found.keys() & entries.keys():
            raise ValueError(f"{module.name}: {', '.join(sorted(twice))} have an Author already")
        found |= entries
    return found
