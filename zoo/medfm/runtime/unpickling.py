"""Reading pickles as data: objects are described, never made; nothing that a pickle names is imported or called.

Training scripts leave their options, counters and optimizers beside the weights, often as objects of their own classes. Here
every class and function is only a `Name`, every object a `Thing` with its arguments, and every tensor an `Array` that says where
its numbers lie. What no training writes but an attacker would (functions of Python itself) is refused. The interpreter is written
out, because `pickle.Unpickler` allocates what a file claims, and hashes keys of any depth, before anything can be checked.

The opcodes are those of `pickletools`; how torch describes a tensor is seen in the pickles that it writes.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from medfm.errors import UnsafeFileError

_MOST_STEPS = 5_000_000  # the checkpoint of a training with 2,000 tensors and its optimizer takes 300,000
_LONGEST = 256 << 20  # bytes of one pickle; tensors' numbers are not in it
_LONGEST_LINE = 4096

_HARMLESS = {
    "builtins": "object set frozenset complex bytearray bytes slice range list dict tuple int float str bool Ellipsis",
    "collections": "OrderedDict defaultdict Counter deque",
    "argparse": "Namespace",
    "types": "SimpleNamespace",
    "pathlib": "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath",
    "pathlib._local": "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath",
    "datetime": "datetime date time timedelta timezone",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "uuid": "UUID",
    "functools": "partial",
    "copyreg": "_reconstructor",
    "_codecs": "encode",
}
_OLD_NAMES = {"__builtin__": "builtins", "copy_reg": "copyreg"}


@dataclass(frozen=True)
class Name:
    """A class or function that a pickle names."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Thing:
    """An object that a pickle describes: what would make it, from what, and what would be put into it."""

    kind: object
    arguments: object = ()
    state: object = None
    entries: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Storage:
    """A run of numbers that lies elsewhere in the file: its key, the kind of number, and how many there are."""

    key: str
    kind: str
    count: int


@dataclass(eq=False)
class Array:
    """A tensor: a view of a storage (offset, size and stride in numbers) with, for untyped storages, its own dtype."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str | None = None


class _Mark:
    """Where a run of items begins on the stack."""


class _Opaque:
    """Stands for a key of a dictionary that is neither text nor a number."""


_MARK = _Mark()
_STOP = ord(".")


def read(data: bytes | memoryview, name: str) -> tuple[object, int]:
    """Return what a pickle describes, and where it ends.

    Args:
        data: the pickle; more may follow it.
        name: of the file, for messages.

    Raises:
        UnsafeFileError: the pickle is damaged, names functions of Python, or would take too much time or memory.
    """
    reader = _Reader(memoryview(data)[:_LONGEST], name)
    try:
        return reader.run(), reader.position
    except UnsafeFileError:
        raise
    except (
        IndexError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        struct.error,
        OverflowError,
        MemoryError,
    ) as error:
        reason = str(error)[:80] or type(error).__name__
        raise UnsafeFileError(f"{name}: the pickle in it is damaged ({reason}); nothing of it was executed") from None


class _Reader:
    """One run over one pickle: a stack, a memo and a position."""

    def __init__(self, data: memoryview, name: str) -> None:
        self.data, self.name, self.position = data, name, 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> object:
        for _ in range(_MOST_STEPS):
            code = self.data[self.position]
            self.position += 1
            if code == _STOP:
                return self.stack.pop()
            step = _STEPS.get(code)
            if step is None:
                raise self.refused(f"the pickle in it is damaged or needs what no checkpoint needs (opcode {code:#x})")
            step(self)
        raise self.refused("the pickle in it takes too many steps for a checkpoint")

    def refused(self, what: str) -> UnsafeFileError:
        return UnsafeFileError(f"{self.name}: {what}; it was not executed")

    # ---- the parts of an opcode

    def take(self, count: int) -> bytes:
        end = self.position + count
        if count < 0 or end > len(self.data):
            raise self.refused("the pickle in it ends too early")
        piece = bytes(self.data[self.position : end])
        self.position = end
        return piece

    def number(self, form: str) -> int:
        value: int = struct.unpack(form, self.take(struct.calcsize(form)))[0]
        return value

    def line(self) -> str:
        piece, found, _ = bytes(self.data[self.position : self.position + _LONGEST_LINE]).partition(b"\n")
        if not found:
            raise self.refused("the pickle in it ends too early")
        self.position += len(piece) + 1
        return piece.decode("utf-8")

    def items(self) -> list[Any]:
        """Take everything down to the last mark off the stack."""
        start = len(self.stack) - 1
        while self.stack[start] is not _MARK:
            start -= 1
            if start < 0:
                raise self.refused("the pickle in it is damaged (a run of items has no beginning)")
        found = self.stack[start + 1 :]
        del self.stack[start:]
        return found

    # ---- what opcodes do

    def global_(self, module: object, name: object) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):  # from the stack comes anything
            raise self.refused("the pickle in it is damaged (a name that is no text)")
        module = _OLD_NAMES.get(module, module)
        harmless = _HARMLESS.get(module, "").split()
        if name not in harmless and (module.split(".")[0] in sys.stdlib_module_names or not module):
            raise self.refused(f"refers to {module}.{name}, which is no tensor"[:200])
        self.stack.append(Name(module, name))

    def make(self, kind: object, arguments: object) -> object:
        """Return what would be made: a tensor or a dictionary as such, everything else as a description."""
        if not isinstance(kind, Name) or not isinstance(arguments, tuple):
            return Thing(kind, arguments)
        if kind == Name("collections", "OrderedDict"):
            return dict(arguments[0]) if arguments and isinstance(arguments[0], dict) else {}
        if kind.module == "torch._utils" and kind.name.startswith("_rebuild_parameter"):
            return arguments[0]
        if kind == Name("torch._tensor", "_rebuild_from_type_v2"):
            return self.make(arguments[0], arguments[2])
        if kind.module == "torch._utils" and kind.name in (
            "_rebuild_tensor",
            "_rebuild_tensor_v2",
            "_rebuild_tensor_v3",
        ):
            storage, offset, size, stride = arguments[:4]
            dtype = arguments[6].name if kind.name == "_rebuild_tensor_v3" else None
            numbers = [offset, *size, *stride]
            if not isinstance(storage, Storage) or not all(type(n) is int and 0 <= n < 1 << 62 for n in numbers):
                raise self.refused("a tensor in it has an impossible size, stride or offset")
            if len(size) != len(stride) or len(size) > 16:
                raise self.refused("a tensor in it has an impossible number of axes")
            return Array(storage, offset, tuple(size), tuple(stride), dtype)
        return Thing(kind, arguments)

    def set_items(self, target: object, items: list[Any]) -> None:
        entries = target.entries if isinstance(target, Thing) else target
        if not isinstance(entries, dict) or len(items) % 2:
            raise self.refused("the pickle in it is damaged (entries without a dictionary)")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | int | float | bytes | None):
                entries[_Opaque()] = value  # hashing what lies deep can exhaust the stack
                continue
            if isinstance(key, str) and key in entries:
                raise self.refused(f"has the entry {key[:80]!r} twice")
            entries[key] = value

    def append(self, target: object, items: list[Any]) -> None:
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Thing):
            raise self.refused("the pickle in it is damaged (items without a list)")

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Thing):
            target.state = state

    def persistent(self, pid: object) -> None:
        if isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module" and isinstance(pid[1], Name):
            self.stack.append(pid[1])  # a class, with its source text, which torch's first format kept for comparison
            return
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage" or pid[5:] not in ((), (None,)):
            raise self.refused("refers to something outside of itself that is no tensor")
        _, kind, key, _, count = pid[:5]
        if not isinstance(kind, Name) or not isinstance(key, str) or type(count) is not int or not 0 <= count < 1 << 62:
            raise self.refused("a tensor in it is described wrongly")
        self.stack.append(Storage(key, kind.name, count))

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def sign(self) -> int:
        count = self.number("<i")
        return int.from_bytes(self.take(count), "little", signed=True)

    def integer(self) -> None:
        text = self.line()
        self.stack.append({"00": False, "01": True}[text] if text in ("00", "01") else int(text.rstrip("L")))

    def made_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise self.refused("the pickle in it is damaged (a tuple without items)")
        items = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        self.stack.append(items)

    def reduce(self) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        self.stack.append(self.make(kind, arguments))

    def new_with_keywords(self) -> None:
        keywords, arguments, kind = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self.stack.append(Thing(kind, (arguments, keywords)))

    def instance(self) -> None:
        module, name = self.line(), self.line()
        arguments = tuple(self.items())
        self.global_(module, name)
        self.stack.append(self.make(self.stack.pop(), arguments))

    def object_(self) -> None:
        kind, *arguments = self.items()
        self.stack.append(self.make(kind, tuple(arguments)))

    def stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.global_(module, name)

    def dictionary(self) -> None:
        items = self.items()
        self.stack.append({})
        self.set_items(self.stack[-1], items)

    def set_one(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items(self.stack[-1], [key, value])

    def set_many(self) -> None:
        items = self.items()
        self.set_items(self.stack[-1], items)

    def append_one(self) -> None:
        item = self.stack.pop()
        self.append(self.stack[-1], [item])

    def append_many(self) -> None:
        items = self.items()
        self.append(self.stack[-1], items)


def _push(value: Callable[[_Reader], object]) -> Callable[[_Reader], None]:
    return lambda r: r.stack.append(value(r))


# How each opcode is carried out; those that are not here (extension registry, out-of-band buffers) no checkpoint needs.
_CARRIED_OUT: dict[bytes, Callable[[_Reader], object]] = {
    b"\x80": lambda r: r.take(1),  # PROTO
    b"\x95": lambda r: r.take(8),  # FRAME
    b"(": _push(lambda _: _MARK),
    b"0": lambda r: r.stack.pop(),
    b"1": lambda r: r.items(),
    b"2": _push(lambda r: r.stack[-1]),
    # numbers
    b"N": _push(lambda _: None),
    b"\x88": _push(lambda _: True),
    b"\x89": _push(lambda _: False),
    b"I": lambda r: r.integer(),
    b"L": lambda r: r.integer(),
    b"J": _push(lambda r: r.number("<i")),
    b"K": _push(lambda r: r.number("<B")),
    b"M": _push(lambda r: r.number("<H")),
    b"\x8a": _push(lambda r: int.from_bytes(r.take(r.number("<B")), "little", signed=True)),
    b"\x8b": _push(lambda r: r.sign()),
    b"F": _push(lambda r: float(r.line())),
    b"G": _push(lambda r: r.number(">d")),
    # text and bytes
    b"S": _push(lambda r: r.line()[1:-1]),
    b"T": _push(lambda r: r.take(r.number("<i")).decode("latin-1")),
    b"U": _push(lambda r: r.take(r.number("<B")).decode("latin-1")),
    b"V": _push(lambda r: r.line()),
    b"X": _push(lambda r: r.take(r.number("<I")).decode("utf-8", "surrogatepass")),
    b"\x8c": _push(lambda r: r.take(r.number("<B")).decode("utf-8", "surrogatepass")),
    b"\x8d": _push(lambda r: r.take(r.number("<Q")).decode("utf-8", "surrogatepass")),
    b"B": _push(lambda r: r.take(r.number("<I"))),
    b"C": _push(lambda r: r.take(r.number("<B"))),
    b"\x8e": _push(lambda r: r.take(r.number("<Q"))),
    b"\x96": _push(lambda r: r.take(r.number("<Q"))),
    # containers; sets become lists, since hashing what lies deep can exhaust the stack
    b")": _push(lambda _: ()),
    b"t": _push(lambda r: tuple(r.items())),
    b"\x85": lambda r: r.made_of(1),
    b"\x86": lambda r: r.made_of(2),
    b"\x87": lambda r: r.made_of(3),
    b"]": _push(lambda _: []),
    b"l": _push(lambda r: r.items()),
    b"a": lambda r: r.append_one(),
    b"e": lambda r: r.append_many(),
    b"}": _push(lambda _: {}),
    b"d": lambda r: r.dictionary(),
    b"s": lambda r: r.set_one(),
    b"u": lambda r: r.set_many(),
    b"\x8f": _push(lambda _: []),
    b"\x90": lambda r: r.append_many(),
    b"\x91": _push(lambda r: r.items()),
    # names and objects
    b"c": lambda r: r.global_(r.line(), r.line()),
    b"\x93": lambda r: r.stack_global(),
    b"R": lambda r: r.reduce(),
    b"\x81": lambda r: r.reduce(),
    b"\x92": lambda r: r.new_with_keywords(),
    b"b": lambda r: r.build(),
    b"i": lambda r: r.instance(),
    b"o": lambda r: r.object_(),
    b"P": lambda r: r.persistent(r.line()),
    b"Q": lambda r: r.persistent(r.stack.pop()),
    # the memo
    b"p": lambda r: r.put(int(r.line())),
    b"q": lambda r: r.put(r.number("<B")),
    b"r": lambda r: r.put(r.number("<I")),
    b"\x94": lambda r: r.put(len(r.memo)),
    b"g": _push(lambda r: r.memo[int(r.line())]),
    b"h": _push(lambda r: r.memo[r.number("<B")]),
    b"j": _push(lambda r: r.memo[r.number("<I")]),
}
_STEPS = {code[0]: step for code, step in _CARRIED_OUT.items()}
