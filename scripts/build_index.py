"""Build hook of the wheel: the index of the catalog is made when the wheel is made, so that first look-ups are fast too."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class IndexHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds `medfm/data/index.sqlite` to the wheel; editable installs build theirs in the user's cache."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the index into a temporary folder and tell hatchling to include it.

        Args:
            version: "standard" or "editable".
            build_data: what the wheel will hold.

        Raises:
            CatalogError: the catalog has problems; no wheel is made of it.
        """
        if version == "editable":
            return
        root = Path(self.root)
        sys.path.insert(0, str(root / "zoo"))
        try:
            from medfm.catalog.indexing import build_file

            self.index = Path(build_file(str(root), str(Path(self.directory) / "index.sqlite")))
        finally:
            sys.path.remove(str(root / "zoo"))
        build_data["force_include"][str(self.index)] = "medfm/data/index.sqlite"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove the index from the build folder: the wheel holds it now."""
        index = getattr(self, "index", None)
        if index is not None:
            index.unlink(missing_ok=True)
