"""Fetching the bytes of models and samples: pinned, hashed before use, kept in the cache, never half-written."""

from __future__ import annotations

import hashlib
import io
import os
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any, cast

from medfm.catalog.records import InlineOrigin, SystemOrigin
from medfm.catalog.weights import HubOrigin, LocalOrigin, PackageOrigin, UrlOrigin, WeightFile
from medfm.errors import GateError, IntegrityError, SourceError
from medfm.runtime import hub, packages
from medfm.runtime.cache import cached, check_path, keep, lock, place, sha256_of
from medfm.runtime.packages import bar
from medfm.runtime.redaction import redact

_TIMEOUT = 60  # seconds without a byte

Origin = HubOrigin | PackageOrigin | UrlOrigin | LocalOrigin | SystemOrigin | InlineOrigin


def fetch(
    origin: Origin,
    *,
    offline: bool = False,
    accept_unpinned: bool = False,
    progress: bool = True,
    gate: str | None = None,
) -> dict[str, Path]:
    """Return verified local files of an origin by role, fetching those that the cache lacks.

    Args:
        origin: where the bytes lie.
        offline: never open a socket; fail when a file is not in the cache. `MEDFM_OFFLINE` and `HF_HUB_OFFLINE` do the same.
        accept_unpinned: use files whose sha256 the record does not know yet.
        progress: show progress bars on a terminal.
        gate: what a user must do before these weights can be fetched (`hub.gate`); said before anything is.

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
    found = _present(origin, origin.files)
    missing = {role: file for role, file in origin.files.items() if role not in found}
    if not missing:
        return found
    if offline or is_offline():
        names = ", ".join(redact(file.path) for file in missing.values())
        of = f" of {_name(origin)}" if isinstance(origin, HubOrigin) else ""
        raise SourceError(f"{names}{of} is not in the cache, and offline mode is on")
    if gate:
        hub.announce(gate, on_hub=isinstance(origin, HubOrigin))
    if isinstance(origin, PackageOrigin):
        with lock(_name(origin)):
            found |= _present(origin, missing)
            missing = {role: file for role, file in missing.items() if role not in found}
            return found | (packages.fetch(origin, missing, progress) if missing else {})
    for role, file in missing.items():
        with lock(str(place(file, _name(origin)))):
            found |= _present(origin, {role: file})
            if role in found:
                continue
            if isinstance(origin, HubOrigin) and not _elsewhere(origin, file):
                found[role] = hub.download(origin, file, gated=gate, progress=progress)
            else:
                found[role] = _url(file, progress)
    return found


def is_offline() -> bool:
    """Return whether the environment forbids to open sockets.

    >>> os.environ["MEDFM_OFFLINE"] = "1"
    >>> is_offline()
    True
    >>> del os.environ["MEDFM_OFFLINE"]
    """
    values = (os.environ.get(name, "") for name in ("MEDFM_OFFLINE", "HF_HUB_OFFLINE"))
    return any(value.strip().lower() not in ("", "0", "false", "no", "off") for value in values)


def _present(origin: HubOrigin | PackageOrigin | UrlOrigin, files: dict[str, WeightFile]) -> dict[str, Path]:
    """Return the files that are on this machine already and verify."""
    name = _name(origin)
    found = {}
    for role, file in files.items():
        if not isinstance(origin, UrlOrigin) and not _elsewhere(origin, file):
            check_path(file.path)
        path = cached(file, name)
        if path is None and isinstance(origin, HubOrigin) and not _elsewhere(origin, file):
            path = hub.find(origin, file)
        if path is not None:
            found[role] = path
    return found


def _elsewhere(origin: Origin, file: WeightFile) -> bool:
    """Return whether a file of a hub's repository lies at an address of its own (a vocabulary that the repository lacks)."""
    return isinstance(origin, HubOrigin) and file.path.startswith("https://")


def _name(origin: HubOrigin | PackageOrigin | UrlOrigin) -> str:
    if isinstance(origin, HubOrigin):
        return f"{origin.repository}@{origin.revision or 'main'}"
    return f"{origin.distribution}=={origin.version}" if isinstance(origin, PackageOrigin) else ""


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
    return cached(file) or keep(io.BytesIO(data), file)


def _local(file: WeightFile) -> Path:
    path = Path(file.path)
    if not path.exists():
        raise SourceError(f"{path}: there is no such file")
    if not path.is_file():
        raise SourceError(f"{path}: is no file, but a folder, a pipe or a device")
    if file.sha256 and (found := sha256_of(path)) != file.sha256:
        raise IntegrityError(str(path), file.sha256, found)
    return path


# ---------------------------------------------------------------- addresses


def _url(file: WeightFile, progress: bool) -> Path:
    request = urllib.request.Request(file.path, headers={"User-Agent": "medfm"})  # noqa: S310  # https, or a test's loopback
    if not re.match(r"https://|http://(localhost|127\.0\.0\.1)[:/]", file.path):
        raise SourceError(f"{redact(file.path)}: only https addresses are fetched")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310
            length = response.headers.get("Content-Length", "")
            promised = int(length) if length.isdigit() else None
            counted = cast(IO[bytes], _Counted(response, promised, file.path))  # all that is needed is read()
            with bar(Path(place(file)).name, promised, progress) as shown:
                return keep(counted, file, bar=shown)
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise GateError(
                f"{redact(file.path)}: access refused ({error.code}); its terms may have to be accepted first"
            ) from None
        raise SourceError(f"{redact(file.path)}: the server answered {error.code} {error.reason}") from None
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise SourceError(
            f"{redact(file.path)}: cannot be reached ({reason}); check the network and try again"
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
                raise SourceError(f"{redact(self._name)}: the transfer was cut off; nothing was kept, try again")
        return chunk
