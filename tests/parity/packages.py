"""The authors' own packages, fetched from the registry without what they depend on, and imported module by module.

Their pins would replace the libraries that everything else is tested with, and their `__init__` may import what newer libraries
no longer have.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest


@cache
def folder(requirement: str) -> Path:
    """Install one distribution into a folder of its own and return it."""
    root = os.environ.get("MEDFM_PARITY_PACKAGES") or tempfile.mkdtemp(prefix="authors-")
    path = Path(root) / requirement.replace("==", "-")
    if not path.exists():
        if os.environ.get("MEDFM_OFFLINE", "") not in ("", "0"):
            pytest.skip("MEDFM_OFFLINE is set: wheels cannot be fetched")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(path), requirement]
        subprocess.run(command, check=True, capture_output=True, text=True)
    return path


def module(requirement: str, name: str) -> ModuleType:
    """Import one module of a distribution without running the `__init__` of its top package."""
    package = name.partition(".")[0]
    if package not in sys.modules:
        empty = ModuleType(package)
        empty.__path__ = [str(folder(requirement) / package)]
        sys.modules[package] = empty
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # written for the libraries of their time
        return importlib.import_module(name)
