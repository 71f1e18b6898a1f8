"""Weights inside a zip archive: unpacked once, and nothing else is."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch

from medfm.catalog.weights import HubOrigin, WeightFile
from medfm.errors import SourceError, UnsafeFileError
from medfm.runtime import sources, zipped

FILE = WeightFile(path="https://example.org/weights.zip", member="pytorch_model.bin")


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDFM_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "weights.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("pytorch_model.bin", b"weights" * 1000)
        made.writestr("../escaped", b"no")
    return path


def test_the_named_member_is_unpacked_once_and_nothing_else(archive: Path, tmp_path: Path) -> None:
    found = zipped.member(archive, FILE)
    assert found.read_bytes() == b"weights" * 1000
    before = found.stat().st_mtime_ns
    assert zipped.member(archive, FILE) == found
    assert found.stat().st_mtime_ns == before
    assert not list(tmp_path.rglob("escaped"))


def test_a_file_that_the_user_has_unpacked_is_used_as_it_is(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "pytorch_model.bin")  # torch's own format is a zip archive too
    assert zipped.member(tmp_path / "pytorch_model.bin", FILE) == tmp_path / "pytorch_model.bin"


def test_an_archive_without_the_member_says_what_it_holds(archive: Path) -> None:
    with pytest.raises(SourceError, match=r"holds no model\.bin, but pytorch_model\.bin"):
        zipped.member(archive, FILE.model_copy(update={"member": "model.bin"}))


def test_a_damaged_archive_is_refused(archive: Path, tmp_path: Path) -> None:
    content = bytearray(archive.read_bytes())
    content[60:70] = b"\0" * 10
    archive.write_bytes(content)
    with pytest.raises(UnsafeFileError, match="is a damaged archive"):
        zipped.member(archive, FILE)
    assert not list((tmp_path / "cache").rglob("pytorch_model.bin"))


def test_a_vocabulary_of_another_repository_is_fetched_from_its_own_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDFM_CACHE", str(tmp_path / "cache"))
    asked = []
    monkeypatch.setattr(sources, "_url", lambda file, _: asked.append(file.path) or tmp_path)
    monkeypatch.setattr(sources.hub, "download", lambda _, file, **__: asked.append(f"hub {file.path}") or tmp_path)
    files = {"weights": WeightFile(path="a.bin"), "vocabulary": WeightFile(path="https://example.org/vocab.txt")}
    sources.fetch(HubOrigin(repository="a/b", revision="0" * 40, files=files), accept_unpinned=True, progress=False)
    assert asked == ["hub a.bin", "https://example.org/vocab.txt"]
