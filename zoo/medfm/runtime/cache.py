"""The cache of weights and samples: files by their sha256, hashed as they come, moved into place once they are verified."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from medfm import content
from medfm.catalog.weights import WeightFile
from medfm.errors import IntegrityError, MedfmError, MissingExtraError, SourceError

if TYPE_CHECKING:
    from tqdm import tqdm

CHUNK = 1 << 20
_LARGEST = 64 << 30  # a zip or a server may claim any size; no model that medfm builds is larger


def place(file: WeightFile, source: str = "") -> Path:
    """Return where a file lies in the cache once it is verified.

    Args:
        file: the file.
        source: where it comes from; tells files apart whose sha256 is not known.

    Raises:
        SourceError: its path leads out of the folder that it belongs to.
    """
    name = PurePosixPath(urlsplit(file.path).path if "://" in file.path else file.path).name
    check_path(name, file.path)
    key = file.sha256 or "unpinned-" + hashlib.sha256(f"{source} {file.path}".encode()).hexdigest()[:16]
    return content.cache() / "files" / key / name


def check_path(path: str, shown: str = "") -> None:
    """Refuse a path that could lead out of a repository, an archive or the cache.

    Raises:
        SourceError: it is absolute, climbs, names a drive, or holds a character that no file of a model has.
    """
    parts = path.split("/")
    if not path or {"", ".", ".."} & set(parts) or re.search(r"[\\:\x00-\x1f\x7f]", path) or len(path.encode()) > 1000:
        raise SourceError(f"{(shown or path)!r} is no path of a file inside a repository or package; it was not used")


def cached(file: WeightFile, source: str = "") -> Path | None:
    """Return the verified file from the cache, or None; a file that is no longer what it was is removed."""
    path = place(file, source)
    if not path.is_file():
        return None
    if verified(path, file.sha256, path.with_name(path.name + ".verified")):
        return path
    path.unlink(missing_ok=True)
    return None


def verified(path: Path, sha256: str | None, stamp: Path) -> bool:
    """Return whether a file has a sha256 (any, when it is None).

    Hashing a large file takes seconds, so a stamp remembers path, size, time and inode of the file that was verified.
    """
    state = _state(path)
    with contextlib.suppress(OSError):
        if stamp.read_text() == state:
            return True
    if sha256 and sha256_of(path) != sha256:
        return False
    _stamp(stamp, state)
    return True


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _state(path: Path) -> str:
    s = path.stat()
    return f"{s.st_size} {s.st_mtime_ns} {s.st_ino} {path}"


def _stamp(stamp: Path, state: str) -> None:
    """Write a stamp; without one the file is only hashed again."""
    temporary = stamp.with_name(f"{stamp.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        stamp.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(state)
        temporary.replace(stamp)  # never through a link that lies there


class Incoming:
    """A file on its way into the cache, for writing: under a temporary name, hashed as it comes.

    Leaving the block verifies it and moves it into place. When the block fails nothing stays, except, where it is
    `resumable`, what came of a transfer that broke off or was interrupted: the next try goes on from there.
    """

    def __init__(
        self, file: WeightFile, target: Path, *, resumable: bool = False, bar: tqdm[Any] | None = None
    ) -> None:
        self._file, self._target, self._resumable, self._bar = file, target, resumable, bar
        self._digest = hashlib.sha256()
        self._size = 0

    def __enter__(self) -> Incoming:
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            if self._resumable:
                self._part = self._target.with_name(self._target.name + ".part")
                if self._part.is_symlink():
                    self._part.unlink()
                self._out: IO[bytes] = self._part.open("a+b")
                self._out.seek(0)
                while chunk := self._out.read(CHUNK):
                    self._count(chunk)
            else:
                self._out = tempfile.NamedTemporaryFile(dir=self._target.parent, suffix=".part", delete=False)
                self._part = Path(self._out.name)
        except OSError as error:
            raise _full(self._target, error) from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            with contextlib.suppress(OSError) if error else contextlib.nullcontext():
                self._out.close()
            if error is None:
                found = self._digest.hexdigest()
                if self._file.sha256 and found != self._file.sha256:
                    raise IntegrityError(self._file.path, self._file.sha256, found)
                self._part.replace(self._target)
                _stamp(self._target.with_name(self._target.name + ".verified"), _state(self._target))
        except IntegrityError:
            raise
        except OSError as failure:
            raise _full(self._target, failure) from None
        finally:
            if not self._resumable or error is None or isinstance(error, MedfmError):
                self._part.unlink(missing_ok=True)

    def write(self, data: bytes) -> int:
        """Write and hash the next bytes.

        Raises:
            SourceError: there are more than the record says, or the disk is full.
        """
        if self._size + len(data) > (self._file.bytes if self._file.bytes is not None else _LARGEST):
            raise SourceError(f"{self._file.path}: is larger than the record says; it was not used")
        try:
            self._out.write(data)
        except OSError as error:
            raise _full(self._target, error) from None
        self._count(data)
        return len(data)

    def _count(self, data: bytes) -> None:
        self._size += len(data)
        self._digest.update(data)
        if self._bar is not None:
            self._bar.update(len(data))

    def tell(self) -> int:
        """Return how many bytes there are."""
        return self._size

    def seek(self, position: int) -> int:
        """Begin anew; a transfer is only ever set back to its start."""
        if position != 0:
            raise SourceError(f"{self._file.path}: the transfer cannot go on from byte {position}; try again")
        self._out.seek(0)
        return 0

    def truncate(self) -> int:
        """Forget what came so far."""
        self._out.truncate(0)
        if self._bar is not None:
            self._bar.update(-self._size)
        self._digest, self._size = hashlib.sha256(), 0
        return 0


def keep(stream: IO[bytes], file: WeightFile, source: str = "", *, bar: tqdm[Any] | None = None) -> Path:
    """Write a stream into the cache and return its place.

    Raises:
        IntegrityError: the bytes are not the promised ones.
        SourceError: the disk is full, or there are more bytes than promised.
    """
    target = place(file, source)
    with Incoming(file, target, bar=bar) as out:
        while chunk := stream.read(CHUNK):
            out.write(chunk)
    return target


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    """Let one process fetch something while the others wait for it.

    Raises:
        SourceError: the cache cannot be written to.
    """
    try:
        from filelock import FileLock
    except ImportError:
        raise MissingExtraError("filelock", "run", why="fetching weights") from None
    folder = content.cache() / "locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = FileLock(folder / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.lock")
        held.acquire()
    except OSError as error:
        raise SourceError(f"{folder}: {_why(error)}; set MEDFM_CACHE to a folder that can be written to") from None
    try:
        yield
    finally:
        held.release()


def _full(target: Path, error: OSError) -> SourceError:
    if isinstance(error, SourceError):
        return error
    return SourceError(f"{target.parent}: {_why(error)}; free some space or set MEDFM_CACHE, and try again")


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
