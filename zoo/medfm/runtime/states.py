"""Reading the tensors of checkpoint files: nothing in a file is executed, and what it claims is checked before it is believed.

safetensors are memory-mapped. Older formats (torch's zip archives, TorchScript, torch's first format) go through readers of
medfm's own that are stricter than `torch.load(weights_only=True)`, whose promise was broken in versions that are still around
(CVE-2025-32434); they are converted once into a cached safetensors file.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import mmap
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from medfm import content
from medfm.errors import CheckpointError, MedfmError, SourceError, UnsafeFileError
from medfm.runtime import archives, unpickling
from medfm.runtime.unpickling import Array, Thing

_LONGEST_HEADER = 16 << 20
_DEEPEST = 64
_MOST_MODULES = 200_000
_FIRST_FORMAT = 0x1950A86A20F9469CFC6C  # the number that torch's first format begins with

_KINDS = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in _KINDS.values()}

Find = Callable[[str], "memoryview | None"]
Children = Callable[[object], "Mapping[Any, Any] | None"]


def read(
    path: Path, *, unwrap: Sequence[str] = (), whole_module: bool = False, sha256: str | None = None
) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by key, memory-mapped.

    Containers inside the state are joined with dots. An entry of the state that is no tensor (a version, a counter) stands in the
    result as an empty tensor, so that it fits nowhere unless it is dropped by name.

    Args:
        path: a safetensors file, a torch checkpoint, or a TorchScript archive (only its tensors are read).
        unwrap: the path to the state inside a torch checkpoint that holds more.
        whole_module: the file is known to hold a pickled network, whose parameters and buffers are taken; it is never made.
        sha256: of the file, if known: an older format is then converted once into the cache.

    Raises:
        UnsafeFileError: the file is damaged, no checkpoint, or holds what could run code.
        CheckpointError: there is nothing at `unwrap`.
        SourceError: the file cannot be opened.
    """
    try:
        return _read(path, unwrap, whole_module, sha256)
    except OSError as error:
        if isinstance(error, MedfmError):
            raise
        raise SourceError(f"{path}: cannot be read ({(error.strerror or str(error)).lower()})") from None


def _read(path: Path, unwrap: Sequence[str], whole_module: bool, sha256: str | None) -> dict[str, Tensor]:
    part = f"-{hashlib.sha256(repr(tuple(unwrap)).encode()).hexdigest()[:12]}" if unwrap else ""
    part += "-module" if whole_module else ""
    converted = content.cache() / "converted" / f"{sha256}{part}.safetensors" if sha256 else None
    if path.suffix != ".safetensors" and converted and converted.is_file():
        with contextlib.suppress(UnsafeFileError):  # a damaged copy is made again
            return _safetensors(converted)
    if path.exists() and not path.is_file():
        raise UnsafeFileError(f"{path.name}: is no file, but a folder, a pipe or a device; it was not opened")
    if path.suffix == ".safetensors":
        return _safetensors(path)
    state = _torch(path, unwrap, whole_module)
    if converted:
        _save(state, converted)
    return state


# ---------------------------------------------------------------- safetensors


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        _check_header(path)
        return load_file(path)
    except (SafetensorError, ValueError, RecursionError, MemoryError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UnsafeFileError(f"{path.name}: not a sound safetensors file ({reason}); it was not used") from None


def _check_header(path: Path) -> None:
    """Look for what the library lets pass: a header too long to be true, and names that stand twice."""
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(_LONGEST_HEADER, path.stat().st_size - 8):
            raise ValueError(f"its header claims {length} bytes")
        header = json.loads(file.read(length), object_pairs_hook=_once)
    if not isinstance(header, dict):
        raise ValueError("its header is no mapping")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("its header names something twice")
    return found


# ---------------------------------------------------------------- what torch writes


def _torch(path: Path, unwrap: Sequence[str], whole_module: bool) -> dict[str, Tensor]:
    """Return the state in one of torch's formats; its tensors are views of the mapped file."""
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except ValueError:
        raise UnsafeFileError(f"{path.name}: is empty; it was not used") from None
    data = memoryview(mapped)
    if bytes(data[:4]) == b"PK\x03\x04":
        tree, find = _zipped(data, path.name)
    else:
        tree, find = _first_format(data, path.name)
    state: dict[str, Tensor] = {}
    total, any_tensor = 0, False
    for key, value in _selected(tree, unwrap, path.name, _parts if whole_module else _children):
        if key in state:
            raise UnsafeFileError(f"{path.name}: has the entry {key[:80]} twice; it was not used")
        any_tensor = any_tensor or isinstance(value, Array)
        state[key] = _tensor(value, find, path.name) if isinstance(value, Array) else torch.empty(0, dtype=torch.uint8)
        total += state[key].numel() * state[key].element_size()
        if total > 4 * len(data):  # a few tied tensors are told twice, not all of them many times
            raise UnsafeFileError(f"{path.name}: its tensors claim far more bytes than it has; it was not used")
    if not any_tensor:
        raise UnsafeFileError(f"{path.name}: is no state_dict: expected names and tensors")
    return state


def _zipped(data: memoryview, name: str) -> tuple[object, Find]:
    found = archives.entries(data, name)
    roots = [entry.removesuffix("data.pkl") for entry in found if entry.endswith("/data.pkl") and entry.count("/") == 1]
    if len(roots) != 1:
        raise UnsafeFileError(
            f"{name}: is an archive, but no checkpoint (it has {len(roots)} data.pkl); it was not used"
        )

    def find(entry: str) -> memoryview | None:
        piece = found.get(roots[0] + entry)
        if piece is not None and not piece.stored:
            raise UnsafeFileError(f"{name}: {entry} is compressed, which torch never does; it was not unpacked")
        return data[piece.start : piece.start + piece.size] if piece else None

    if bytes(find("byteorder") or b"little") != b"little":
        raise UnsafeFileError(f"{name}: was written on a big-endian machine, which medfm does not read")
    tree, _ = unpickling.read(find("data.pkl") or b"", name)
    return tree, lambda key: find(f"data/{key}")


def _first_format(data: memoryview, name: str) -> tuple[object, Find]:
    """Read what torch wrote before 1.6: pickles in a row, then each storage as its length and its bytes."""
    position = 0

    def following() -> object:
        nonlocal position
        value, length = unpickling.read(data[position:], name)
        position += length
        return value

    first = following() if bytes(data[:1]) == b"\x80" else None
    if first != _FIRST_FORMAT:
        if isinstance(first, dict | Thing):
            raise UnsafeFileError(f"{name}: is a pickle, but not one that torch wrote; it was not executed")
        raise UnsafeFileError(f"{name}: is no checkpoint that medfm knows (safetensors, torch); it was not executed")
    following()  # the version
    system = following()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise UnsafeFileError(f"{name}: was written on a big-endian machine, which medfm does not read")
    tree, keys = following(), following()
    storages = {s.key: s for s in _storages(tree)}
    places: dict[str, memoryview] = {}
    for key in keys if isinstance(keys, list) else []:
        if not isinstance(key, str) or key not in storages or storages[key].kind not in _KINDS:
            raise UnsafeFileError(f"{name}: has numbers that no tensor of a known kind uses; it was not used")
        (count,) = struct.unpack("<q", bytes(data[position : position + 8]).ljust(8, b"\xff"))
        size = count * _KINDS[storages[key].kind].itemsize
        if count < 0 or position + 8 + size > len(data):
            raise UnsafeFileError(f"{name}: is cut off; it was not used")
        places[key] = data[position + 8 : position + 8 + size]
        position += 8 + size
    return tree, places.get


def _storages(tree: object) -> Iterator[unpickling.Storage]:
    """Yield every storage that a tree refers to, wherever it lies; each container is visited once."""
    waiting, seen = [tree], set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, Array):
            yield node.storage
        elif isinstance(node, unpickling.Storage):
            yield node
        elif isinstance(node, dict | list | tuple | Thing) and id(node) not in seen:
            seen.add(id(node))
            if isinstance(node, dict):
                waiting.extend(node.values())
            elif isinstance(node, Thing):
                waiting.extend((node.arguments, node.state, node.entries))
            else:
                waiting.extend(node)


def _tensor(array: Array, find: Find, name: str) -> Tensor:
    """Return a tensor as a view of the mapped file; whatever it claims must lie inside its storage."""
    storage = array.storage
    dtype = _DTYPES.get(array.dtype or "") if storage.kind == "UntypedStorage" else _KINDS.get(storage.kind)
    if dtype is None:
        raise UnsafeFileError(f"{name}: has numbers of a kind that medfm does not read ({array.dtype or storage.kind})")
    numbers = find(storage.key)
    if numbers is None:
        raise UnsafeFileError(f"{name}: lacks the numbers of a tensor (data/{storage.key}); it was not used")
    count = len(numbers) // dtype.itemsize
    needed = array.offset + sum((n - 1) * step for n, step in zip(array.size, array.stride, strict=True)) + 1
    amount = math.prod(array.size)
    if amount == 0 and max(array.size, default=0) < 1 << 40:
        return torch.empty(array.size, dtype=dtype)
    if needed > count or amount > count or storage.count * (1 if array.dtype else dtype.itemsize) > len(numbers):
        raise UnsafeFileError(f"{name}: a tensor claims more numbers than there are; it was not used")
    flat = torch.frombuffer(numbers, dtype=dtype, count=count)
    if flat.data_ptr() % dtype.itemsize:  # torch's first format packs storages without gaps
        flat = torch.frombuffer(bytearray(numbers), dtype=dtype, count=count)
    return torch.as_strided(flat, array.size, array.stride, array.offset)


# ---------------------------------------------------------------- the state inside a checkpoint


def _selected(tree: object, unwrap: Sequence[str], name: str, children: Children) -> Iterator[tuple[str, object]]:
    """Yield key and value of the state: at the declared path, or in `state_dict` or `model` where there is one."""
    node = tree
    for depth, key in enumerate(unwrap):
        inside = children(node)
        if inside is None or key not in inside:
            has = ", ".join(str(k)[:40] for k in list(inside or ())[:12]) or "nothing"
            raise CheckpointError(f"{name} (which has there: {has})", missing=[".".join(unwrap[: depth + 1])])
        node = inside[key]
    for key in () if unwrap or children is _parts else ("state_dict", "model"):
        inside = children(node)
        if inside is not None and children(inside.get(key)) is not None:
            node = inside[key]
    if isinstance(node, Thing) and children(node) is None:
        raise UnsafeFileError(
            f"{name}: is a whole pickled object ({str(node.kind)[:120]}), not a state_dict; it was not executed. "
            "Ask its authors for safetensors or a plain state_dict"
        )
    if children(node) is None:
        raise UnsafeFileError(f"{name}: is no state_dict: expected names and tensors")
    yield from _leaves(node, "", [], itertools.count(), children)


def _children(node: object) -> Mapping[Any, Any] | None:
    """Return what lies in a mapping, or in a module of a TorchScript archive; None for everything else."""
    if isinstance(node, dict):
        return node
    if _is_module(node):
        return {k: v for k, v in node.state.items() if isinstance(v, Array) or _is_module(v)}
    if isinstance(node, Thing) and isinstance(node.kind, unpickling.Name) and node.kind.module == "collections":
        return node.entries
    return None


def _parts(node: object) -> Mapping[Any, Any] | None:
    """Return what lies in a pickled network of torch (any class whose description has a module's fields), or in a mapping."""
    if not isinstance(node, Thing) or not isinstance(node.state, dict) or "_modules" not in node.state:
        return _children(node)
    passing = node.state.get("_non_persistent_buffers_set")  # a set: its items are the only argument
    left = passing.arguments[:1] if isinstance(passing, Thing) and isinstance(passing.arguments, tuple) else ()
    found: dict[Any, Any] = {}
    for field in ("_parameters", "_buffers", "_modules"):
        entries = _children(node.state.get(field)) or {}
        kept = {key: value for key, value in entries.items() if value is not None}
        if field == "_buffers" and left and isinstance(left[0], list):
            kept = {key: value for key, value in kept.items() if key not in left[0]}
        found |= kept
    return found


def _is_module(node: object) -> TypeGuard[Any]:
    if not isinstance(node, Thing) or not isinstance(node.kind, unpickling.Name):
        return False
    return node.kind.module.startswith("__torch__") and isinstance(node.state, dict)


def _leaves(
    node: object, prefix: str, above: list[int], visits: itertools.count[int], children: Children
) -> Iterator[tuple[str, object]]:
    if id(node) in above or len(above) > _DEEPEST or next(visits) > _MOST_MODULES:
        raise UnsafeFileError("the containers in the checkpoint are deeper or more than any network's; it was not used")
    for key, value in (children(node) or {}).items():
        name = f"{prefix}{key if isinstance(key, str | int) else type(key).__name__}"
        if children(value) is not None:
            yield from _leaves(value, f"{name}.", [*above, id(node)], visits, children)
        else:
            yield name, value


def _save(state: Mapping[str, Tensor], path: Path) -> None:
    """Keep a converted copy; a cache that cannot be written to costs time, nothing else."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    temporary = None
    with contextlib.suppress(OSError, SafetensorError):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
                temporary = Path(file.name)
            seen: set[int] = set()
            apart = {}
            for key, tensor in state.items():
                pointer = tensor.untyped_storage().data_ptr()
                apart[key] = (
                    tensor.clone(memory_format=torch.contiguous_format) if pointer in seen else tensor.contiguous()
                )
                seen.add(pointer)
            save_file(apart, temporary)
            temporary.replace(path)
        finally:
            if temporary is not None:
                temporary.unlink(missing_ok=True)
