"""Weights that their authors publish inside a zip archive: one file of it is unpacked into the cache."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from medfm.catalog.weights import WeightFile
from medfm.errors import SourceError, UnsafeFileError
from medfm.runtime.cache import cached, keep, sha256_of


def member(path: Path, file: WeightFile) -> Path:
    """Return the file that lies inside an archive, unpacked once.

    Args:
        path: the archive; or the file itself, where the user has unpacked it already.
        file: its description; `member` names what is taken.

    Raises:
        UnsafeFileError: the archive is damaged, or claims a size that it does not have.
        SourceError: it does not hold the file, or the disk is full.
    """
    if file.member is None or not zipfile.is_zipfile(path):
        return path
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if "data.pkl" in {name.rpartition("/")[2] for name in names}:
                return path  # torch's own format: the file was unpacked already
            if names.count(file.member) != 1:
                raise SourceError(f"{path.name} holds no {file.member}, but {', '.join(names[:5]) or 'nothing'}")
            inside = archive.getinfo(file.member)
            described = WeightFile(path=file.member, bytes=inside.file_size)
            source = f"{sha256_of(path)} {file.member}"
            if (found := cached(described, source)) is not None:
                return found
            with archive.open(inside) as stream:
                return keep(stream, described, source)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, SourceError):
            raise
        raise UnsafeFileError(f"{path.name}: is a damaged archive ({error}); it was not used") from None
