"""Files of model hubs, through the hub's own client: its endpoint, token, proxies, retries and ranges hold.

The client does not verify what it downloads. Its transfer therefore writes into `medfm.runtime.cache`, which hashes the bytes
as they come; files that the client's own cache has already are used where they verify.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import urlsplit

from medfm import content
from medfm.catalog.weights import HubOrigin, WeightFile
from medfm.errors import GateError, IntegrityError, MedfmError, MissingExtraError, SourceError
from medfm.runtime import cache
from medfm.runtime.redaction import redact, token

if TYPE_CHECKING:
    from medfm.catalog.records import Model

_HUB = "https://huggingface.co"
_STEPS = {
    "form": "accept the terms",
    "approval": "ask for access and wait for the authors' approval",
    "credentialed": "prove the credential that is asked for",
}


def gate(record: Model) -> str | None:
    """Return what a user must do before the weights of a model can be fetched, or None when they are open to all."""
    license = record.license
    if license is None or license.gate in (None, "none") or record.weights is None:
        return None
    origin = record.weights.origin
    on_hub = isinstance(origin, HubOrigin)
    where = f"{_HUB}/{origin.repository}" if isinstance(origin, HubOrigin) else None
    places = [place for place in (license.terms.get("gate") or where, license.terms.get("weights")) if place]
    terms = f" (terms: {places[1]})" if len(places) > 1 and places[1] != places[0] else ""
    login = " while logged in, then run: hf auth login (or set HF_TOKEN)" if on_hub else ""
    at = f" at {places[0]}" if places else ""
    return f"the weights of {record.name} are gated: {_STEPS[str(license.gate)]}{at}{terms}{login}"


def announce(gated: str, *, on_hub: bool) -> None:
    """Say what a user must do for gated weights, before anything is asked for.

    Raises:
        GateError: nobody is logged in, so the hub would refuse. A mirror (`HF_ENDPOINT`) may think otherwise, and is asked.
    """
    if on_hub and token() is None and _endpoint() == _HUB:
        raise GateError(f"{gated}. No token was found, so nothing was asked for")
    logging.getLogger("medfm").warning("%s", gated)


def find(origin: HubOrigin, file: WeightFile) -> Path | None:
    """Return a file from the cache of the hub's client if it is there and verifies; no socket is opened.

    A blob that is not what its own name says is damaged, and removed.
    """
    repository = _clients_cache() / f"models--{origin.repository.replace('/', '--')}"
    try:
        revision = origin.revision or (repository / "refs" / "main").read_text().strip()
        path = repository / "snapshots" / revision / file.path
        blob = path.resolve()
        if not blob.is_file():
            return None
    except (OSError, ValueError, RuntimeError):  # not there, or links in a circle
        return None
    if file.sha256 is None:
        return path
    if cache.verified(blob, file.sha256, content.cache() / "files" / file.sha256 / "hub.verified"):
        return path
    named_by_hash = re.fullmatch(r"[0-9a-f]{64}", blob.name) and blob.parent.name == "blobs"
    if named_by_hash and cache.sha256_of(blob) != blob.name:
        path.unlink(missing_ok=True)
        blob.unlink(missing_ok=True)
    return None


def download(origin: HubOrigin, file: WeightFile, *, gated: str | None = None, progress: bool = True) -> Path:
    """Fetch one file of a repository into the cache and return its place.

    Args:
        origin: the repository and its commit.
        file: the file.
        gated: what a user must do first, if the weights are gated (`gate`).
        progress: show a progress bar on a terminal.

    Raises:
        GateError: the terms were not accepted, or nobody is logged in.
        IntegrityError: the bytes are not the promised ones.
        SourceError: the file cannot be had.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        raise MissingExtraError("huggingface_hub", "run", why="fetching weights from a hub")
    where = f"{origin.repository}@{origin.revision or 'main'}"
    try:
        with _bars(progress):
            return _transfer(origin, file, where)
    except MedfmError:
        raise
    except Exception as error:  # the client's transport differs by version (requests, httpx), and so do its errors
        raise _explained(error, origin, file, where, gated) from None


def _transfer(origin: HubOrigin, file: WeightFile, where: str) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    url = hf_hub_url(origin.repository, file.path, revision=origin.revision)
    secret = token()
    told = get_hf_file_metadata(url, token=secret or False)
    if told.commit_hash is None or told.etag is None:
        raise SourceError(
            f"{redact(url)}: the answer has no commit and no ETag, so it comes from no hub; check HF_ENDPOINT and the proxy"
        )
    if origin.revision and told.commit_hash != origin.revision:
        raise SourceError(f"{where}: the hub answered with commit {told.commit_hash}; it was not used")
    if file.bytes is not None and told.size is not None and told.size != file.bytes:
        raise SourceError(
            f"{file.path} of {where} has {told.size} bytes at the hub, but the record says {file.bytes}; it was not fetched"
        )
    # a signed address elsewhere needs no token, and must not see it
    elsewhere = urlsplit(told.location).netloc != urlsplit(url).netloc
    headers = build_hf_headers(token=False if elsewhere else secret or False)
    target = cache.place(file, where)
    # small files have the hash of git as ETag, large ones their sha256
    etag = told.etag if file.sha256 is None and re.fullmatch(r"[0-9a-f]{64}", told.etag) else file.sha256
    expected = file.model_copy(update={"sha256": etag, "bytes": told.size if file.bytes is None else file.bytes})
    for last in (False, True):
        try:
            with cache.Incoming(expected, target, resumable=file.sha256 is not None) as out:
                resumed = out.tell()
                if told.size is not None and resumed > told.size:
                    resumed = out.truncate()
                http_get(
                    told.location,
                    cast(BinaryIO, out),
                    resume_size=resumed,
                    headers=headers,
                    expected_size=told.size,
                    displayed_filename=file.path,
                )
            return target
        except IntegrityError as error:
            if last or not resumed:
                raise IntegrityError(f"{file.path} of {where}", error.expected, error.found) from None
    raise AssertionError("the second try returns or raises")


def _explained(
    error: Exception, origin: HubOrigin, file: WeightFile, where: str, gated: str | None
) -> SourceError | GateError:
    """Return the typed error, in one sentence, for what the client raised."""
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    accept = (
        f"{where} is gated: accept its terms at {_HUB}/{origin.repository} while logged in, then run: hf auth login"
    )
    if isinstance(error, errors.GatedRepoError):
        return GateError(gated or accept)
    if isinstance(error, errors.EntryNotFoundError):
        return SourceError(f"{where} has no file {file.path}")
    if isinstance(error, errors.RevisionNotFoundError):
        return SourceError(f"{origin.repository} has no revision {origin.revision or 'main'}")
    if isinstance(error, errors.RepositoryNotFoundError):
        if gated and status == 401:
            return GateError(f"{gated}. The hub did not take the token that was sent")
        return SourceError(
            f"the hub has no repository {origin.repository}, or it is private: log in with: hf auth login"
        )
    if status in (401, 403):
        return GateError(f"{file.path} of {where}: access refused ({status}); {gated or accept}")
    text = redact(" ".join(str(error).split()) or type(error).__name__)[:200]
    if status is not None:
        return SourceError(f"{file.path} of {where} could not be fetched ({text}); try again later")
    return SourceError(
        f"{file.path} of {where} could not be fetched: the hub cannot be reached, or the transfer broke off ({text}); "
        "check the network and try again"
    )


def _clients_cache() -> Path:
    """Return where the hub's client keeps its files, without importing it: that takes a third of a second."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if named:
        return Path(named).expanduser()
    home = os.environ.get("HF_HOME") or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    return Path(home).expanduser() / "hub"


def _endpoint() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT).rstrip("/")


@contextlib.contextmanager
def _bars(progress: bool) -> Iterator[None]:
    """Show the client's progress bar, or not; a setting of the environment wins."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if progress or are_progress_bars_disabled() or "HF_HUB_DISABLE_PROGRESS_BARS" in os.environ:
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
