"""Where the catalog and the survey lie: in the checkout, or inside the installed package.

Nothing else in medfm knows the two places. `MEDFM_CONTENT` names another root with `catalog/` and `survey/` below it.
"""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).parent


def root() -> Path:
    """Return the folder that holds `catalog/` and `survey/`.

    Raises:
        FileNotFoundError: `MEDFM_CONTENT` is set to a folder without `catalog/`, or the installation is incomplete.
    """
    named = os.environ.get("MEDFM_CONTENT")
    places = [Path(named)] if named else [PACKAGE / "data", PACKAGE.parent.parent]
    for place in places:
        if (place / "catalog").is_dir():
            return place
    where = f"MEDFM_CONTENT={named}" if named else "the installed medfm"
    raise FileNotFoundError(f"{where} has no catalog/ folder; reinstall medfm, or set MEDFM_CONTENT to a checkout")


def cache() -> Path:
    """Return the folder for what can be made again: indexes and downloads (`MEDFM_CACHE`, else the user's cache)."""
    named = os.environ.get("MEDFM_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medfm"
