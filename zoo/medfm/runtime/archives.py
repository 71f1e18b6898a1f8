"""The zip archives that torch writes, read strictly: nothing is unpacked, only where the bytes of each entry lie is told.

torch stores entries as they are, so that they can be mapped into memory. An archive that compresses what is read from it, names
an entry twice, lets entries overlap or claims sizes that the file does not have was not written by torch.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass

from medfm.errors import SourceError, UnsafeFileError
from medfm.runtime.cache import check_path

_MOST_ENTRIES = 200_000
_MAX32 = 0xFFFFFFFF


@dataclass(frozen=True)
class Entry:
    """One file in an archive: where its bytes begin, how many there are, and whether they are stored as they are."""

    start: int
    size: int
    stored: bool


def entries(data: memoryview, name: str) -> dict[str, Entry]:
    """Return the entries of a zip archive by name.

    Args:
        data: the whole file.
        name: of the file, for messages.

    Raises:
        UnsafeFileError: the archive is damaged or built to deceive.
    """
    try:
        return _entries(data)
    except (struct.error, IndexError, UnicodeDecodeError, OverflowError) as error:
        raise UnsafeFileError(f"{name}: is a damaged archive ({error}); it was not used") from None
    except (_DeceitError, SourceError) as error:
        raise UnsafeFileError(f"{name}: is no sound archive ({error}); it was not used") from None


class _DeceitError(Exception):
    """What is wrong with an archive."""


def _entries(data: memoryview) -> dict[str, Entry]:
    count, size, start = _directory(data)
    if count > _MOST_ENTRIES:
        raise _DeceitError(f"it claims {count} entries")
    if start + size > len(data):
        raise _DeceitError("its directory lies outside of it")
    found: dict[str, Entry] = {}
    taken = [(start, start + size)]
    position = start
    for _ in range(count):
        if bytes(data[position : position + 4]) != b"PK\x01\x02":
            raise _DeceitError("its directory is broken")
        flags, method = struct.unpack_from("<HH", data, position + 8)
        packed, unpacked, name_length, extra_length, comment_length = struct.unpack_from("<IIHHH", data, position + 20)
        (local,) = struct.unpack_from("<I", data, position + 42)
        at = position + 46
        name = bytes(data[at : at + name_length]).decode("utf-8")
        extra = data[at + name_length : at + name_length + extra_length]
        unpacked, packed, local = _long(extra, unpacked, packed, local)
        position = at + name_length + extra_length + comment_length
        if position > start + size:
            raise _DeceitError("its directory is broken")
        if name.endswith("/") and unpacked == 0:
            continue
        check_path(name)
        if name in found:
            raise _DeceitError(f"it has {name} twice")
        if flags & 1:
            raise _DeceitError(f"{name} is encrypted")
        if bytes(data[local : local + 4]) != b"PK\x03\x04":
            raise _DeceitError(f"{name} is not where it should be")
        local_name, local_extra = struct.unpack_from("<HH", data, local + 26)
        if bytes(data[local + 30 : local + 30 + local_name]) != name.encode():
            raise _DeceitError(f"{name} has two names")
        begin = local + 30 + local_name + local_extra
        if begin + packed > len(data) or (method == 0 and packed != unpacked):
            raise _DeceitError(f"{name} claims more bytes than there are")
        taken.append((local, begin + packed))
        found[name] = Entry(begin, unpacked, method == 0)
    taken.sort()
    if any(end > following for (_, end), (following, _) in itertools.pairwise(taken)):
        raise _DeceitError("its entries overlap")
    return found


def _directory(data: memoryview) -> tuple[int, int, int]:
    """Return the number of entries, and size and start of the central directory."""
    tail = bytes(data[-65557:])
    at = tail.rfind(b"PK\x05\x06")
    if at < 0:
        raise _DeceitError("it has no directory, so it is cut off or no archive")
    end = len(data) - len(tail) + at
    count, size, start = struct.unpack_from("<HII", data, end + 10)
    if end >= 20 and bytes(data[end - 20 : end - 16]) == b"PK\x06\x07":  # the directory of large archives
        (place,) = struct.unpack_from("<Q", data, end - 12)
        if place + 56 > len(data) or bytes(data[place : place + 4]) != b"PK\x06\x06":
            raise _DeceitError("its directory is broken")
        count, size, start = struct.unpack_from("<QQQ", data, place + 32)
    return count, size, start


def _long(extra: memoryview, unpacked: int, packed: int, local: int) -> tuple[int, int, int]:
    """Return sizes and offset, from the 64-bit field where the short ones are not enough."""
    values = [unpacked, packed, local]
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        if kind == 1:
            at = position + 4
            for index, value in enumerate(values):
                if value == _MAX32:
                    (values[index],) = struct.unpack_from("<Q", extra, at)
                    at += 8
        position += 4 + length
    return values[0], values[1], values[2]
