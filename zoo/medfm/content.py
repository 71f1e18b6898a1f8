"""Where the catalog and the survey lie: in the checkout, or inside the installed package.

Nothing else in medfm knows the two places. `MEDFM_CONTENT` names another root with `catalog/` and `survey/` below it.
The functions that look-ups call return plain strings: importing pathlib would take them a tenth of their time.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

PACKAGE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120


def where() -> str:
    """Return the folder that holds `catalog/` and `survey/`.

    Raises:
        FileNotFoundError: `MEDFM_CONTENT` is set to a folder without `catalog/`, or the installation is incomplete.
    """
    named = os.environ.get("MEDFM_CONTENT")
    places = [named] if named else [f"{PACKAGE}/data", os.path.dirname(os.path.dirname(PACKAGE))]  # noqa: PTH120
    for place in places:
        if os.path.isdir(f"{place}/catalog"):  # noqa: PTH112
            return os.path.abspath(place)  # noqa: PTH100
    at_fault = f"MEDFM_CONTENT={named}" if named else "the installed medfm"
    raise FileNotFoundError(f"{at_fault} has no catalog/ folder; reinstall medfm, or set MEDFM_CONTENT to a checkout")


def root() -> Path:
    """Return `where()` as a path."""
    from pathlib import Path

    return Path(where())


def cache_folder() -> str:
    """Return the folder for what can be made again: indexes and downloads (`MEDFM_CACHE`, else the user's cache)."""
    named = os.environ.get("MEDFM_CACHE")
    if named:
        return named
    return f"{os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')}/medfm"  # noqa: PTH111


def cache() -> Path:
    """Return `cache_folder()` as a path."""
    from pathlib import Path

    return Path(cache_folder())
