from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent / "records"


@pytest.fixture(autouse=True)
def _indexes_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the tests' indexes and downloads out of the user's cache, but share downloads between tests."""
    if "MEDFM_TEST_CACHE" not in os.environ:
        os.environ["MEDFM_TEST_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    monkeypatch.setenv("MEDFM_CACHE", os.environ["MEDFM_TEST_CACHE"])
    return


@pytest.fixture
def small_catalog(tmp_path: Path) -> Path:
    """A content root with the small valid catalog of tests/records, free to be changed."""
    root = tmp_path / "content"
    shutil.copytree(EXAMPLES / "valid", root)
    return root


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what needs the package registry when the user says that there is none."""
    if os.environ.get("MEDFM_OFFLINE", "") not in ("", "0"):
        for item in items:
            if "network" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="MEDFM_OFFLINE is set: wheels cannot be fetched"))
