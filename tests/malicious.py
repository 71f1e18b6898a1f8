"""Files that would do harm when they are opened carelessly: run code, write elsewhere, or take all time and memory.

Each function of `CASES` builds one file. What would be executed makes the file `canary`.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

Build = Callable[[Path, Path], Path]
CASES: dict[str, Build] = {}
HARMLESS = "executes nothing, and its tensors are sound"
"""The names of the cases that may be loaded, since what is bad in them is never looked at, end so."""


def case(name: str) -> Callable[[Build], Build]:
    def add(build: Build) -> Build:
        assert name not in CASES
        CASES[name] = build
        return build

    return add


# ---------------------------------------------------------------- pieces of pickles


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    data = value.to_bytes(10, "little", signed=True)
    return b"\x8a\x0a" + data


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def call(module: str, attribute: str, *arguments: bytes) -> bytes:
    return name(module, attribute) + b"(" + b"".join(arguments) + b"tR"


def mapping(entries: dict[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"


def program(body: bytes, protocol: int = 2) -> bytes:
    return b"\x80" + bytes([protocol]) + body + b"."


def tensor(
    key: str = "0",
    count: int = 4,
    offset: int = 0,
    size: tuple[int, ...] = (4,),
    stride: tuple[int, ...] = (1,),
    kind: str = "FloatStorage",
) -> bytes:
    storage = b"(" + text("storage") + name("torch", kind) + text(key) + text("cpu") + number(count) + b"tQ"
    sizes = b"(" + b"".join(map(number, size)) + b"t"
    strides = b"(" + b"".join(map(number, stride)) + b"t"
    hooks = call("collections", "OrderedDict")
    return call("torch._utils", "_rebuild_tensor_v2", storage, number(offset), sizes, strides, b"\x89", hooks)


def touch(canary: Path) -> bytes:
    """The shell command or Python source that leaves a trace, as a pickle's text."""
    return text(f"touch {canary}")


def source(canary: Path) -> str:
    return f"open({str(canary)!r}, 'w').close()"


def zipped(
    path: Path,
    data_pkl: bytes,
    entries: dict[str, bytes] | None = None,
    *,
    compress: tuple[str, ...] = (),
    root: str = "w",
) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        everything = {"data.pkl": data_pkl, "byteorder": b"little", "data/0": bytes(16), "version": b"3\n"}
        for entry, data in (everything | (entries or {})).items():
            kind = zipfile.ZIP_DEFLATED if entry in compress else zipfile.ZIP_STORED
            archive.writestr(entry[1:] if entry.startswith("!") else f"{root}/{entry}", data, kind)
    return path


def sound() -> bytes:
    return program(mapping({"weight": tensor()}))


def first_format(path: Path, tree: bytes, keys: list[str], storages: bytes) -> Path:
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    head = [pickle.dumps(value, protocol=2) for value in (0x1950A86A20F9469CFC6C, 1001, system)]
    path.write_bytes(b"".join([*head, tree, pickle.dumps(keys, protocol=2), storages]))
    return path


# ---------------------------------------------------------------- code in pickles


class Reduced:
    """Pickles as a call of anything."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@case("a plain pickle that calls os.system")
def _(folder: Path, canary: Path) -> Path:
    path = folder / "w.pt"
    path.write_bytes(pickle.dumps({"weight": Reduced(os.system, f"touch {canary}")}))
    return path


@case("a torch file that calls os.system in its state")
def _(folder: Path, canary: Path) -> Path:
    torch.save({"weight": torch.zeros(4), "bias": Reduced(os.system, f"touch {canary}")}, folder / "w.pt")
    return folder / "w.pt"


@case("a torch file of the first format that calls exec")
def _(folder: Path, canary: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(
            {"weight": torch.zeros(4), "bias": Reduced(exec, source(canary))},
            folder / "w.pt",
            _use_new_zipfile_serialization=False,
        )
    return folder / "w.pt"


def in_state(label: str, body: Callable[[Path], bytes]) -> None:
    @case(label)
    def _(folder: Path, canary: Path) -> Path:
        return zipped(folder / "w.pt", program(mapping({"weight": tensor(), "bias": body(canary)}), 4))


in_state("eval by REDUCE", lambda c: call("builtins", "eval", text(source(c))))
in_state("eval by its name in Python 2", lambda c: call("__builtin__", "eval", text(source(c))))
in_state("exec by STACK_GLOBAL", lambda c: text("builtins") + text("exec") + b"\x93(" + text(source(c)) + b"tR")
in_state("subprocess.Popen by NEWOBJ", lambda c: name("subprocess", "Popen") + b"(" + touch(c) + b"t\x81")
in_state(
    "subprocess.Popen by NEWOBJ_EX",
    lambda c: name("subprocess", "Popen") + b"(" + touch(c) + b"t" + mapping({"shell": b"\x88"}) + b"\x92",
)
in_state("os.system by INST", lambda c: b"(" + touch(c) + b"ios\nsystem\n")
in_state("os.system by OBJ", lambda c: b"(" + name("os", "system") + touch(c) + b"o")
in_state("os.system inside functools.partial", lambda c: call("functools", "partial", name("os", "system"), touch(c)))
in_state(
    "getattr on a module",
    lambda c: (
        call("builtins", "getattr", call("importlib", "import_module", text("os")), text("system"))
        + b"("
        + touch(c)
        + b"tR"
    ),
)
in_state("a code object", lambda c: call("marshal", "loads", b"C\x04abcd"))
in_state("runpy", lambda c: call("runpy", "run_path", text(str(c))))
in_state("the extension registry", lambda c: b"\x82\x01")
in_state("an out-of-band buffer", lambda c: b"\x97")
in_state("a persistent id that is no tensor", lambda c: b"(" + text("module") + touch(c) + b"tQ")
in_state(
    "a function of another library", lambda c: call("numpy.testing._private.utils", "runstring", text(source(c)), b"}")
)
in_state("a download by torch.hub", lambda c: call("torch.hub", "load", text(str(c))))


@case("code deep in the optimizer beside the state")
def _(folder: Path, canary: Path) -> Path:
    optimizer = mapping({"state": mapping({"0": b"](" + call("posix", "system", touch(canary)) + b"e"})})
    return zipped(folder / "w.pt", program(mapping({"model": mapping({"weight": tensor()}), "optimizer": optimizer})))


@case(f"a third library's function beside the state {HARMLESS}")
def _(folder: Path, canary: Path) -> Path:
    beside = call("numpy.testing._private.utils", "runstring", text(source(canary)), b"}")
    return zipped(folder / "w.pt", program(mapping({"model": mapping({"weight": tensor()}), "hook": beside})))


@case("a whole module")
def _(folder: Path, canary: Path) -> Path:
    torch.save(torch.nn.Linear(2, 2), folder / "w.pt")
    return folder / "w.pt"


@case("a state that code is put into (BUILD)")
def _(folder: Path, canary: Path) -> Path:
    module = (
        name("torch.nn.modules.linear", "Linear")
        + b")\x81"
        + mapping({"forward": call("os", "system", touch(canary))})
        + b"b"
    )
    return zipped(folder / "w.pt", program(module))


@case("the tar format that broke weights_only")
def _(folder: Path, canary: Path) -> Path:
    with tarfile.open(folder / "w.pt", "w") as archive:
        for member in ("storages", "tensors", "pickle"):
            data = pickle.dumps(Reduced(os.system, f"touch {canary}"))
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return folder / "w.pt"


@case("a compressed pickle")
def _(folder: Path, canary: Path) -> Path:
    (folder / "w.pt").write_bytes(gzip.compress(pickle.dumps(Reduced(os.system, f"touch {canary}"))))
    return folder / "w.pt"


@case("a program instead of weights")
def _(folder: Path, canary: Path) -> Path:
    (folder / "w.pt").write_text(f"#!/usr/bin/env python3\n{source(canary)}\n")
    return folder / "w.pt"


@case("an array of objects (.npy)")
def _(folder: Path, canary: Path) -> Path:
    np.save(folder / "w.npy", np.array([Reduced(os.system, f"touch {canary}")], dtype=object), allow_pickle=True)
    return folder / "w.npy"


@case("arrays of objects (.npz)")
def _(folder: Path, canary: Path) -> Path:
    np.savez(folder / "w.npz", weight=np.array([Reduced(os.system, f"touch {canary}")], dtype=object))
    return folder / "w.npz"


# ---------------------------------------------------------------- TorchScript


@case(f"a TorchScript archive with more code {HARMLESS}")
def _(folder: Path, canary: Path) -> Path:
    body = name("__torch__.evil", "Net") + b")\x81" + mapping({"weight": tensor()}) + b"b"
    code = {
        "constants.pkl": program(b")"),
        "code/__torch__/evil.py": f"class Net(Module):\n  {source(canary)}\n".encode(),
    }
    return zipped(folder / "w.pt", program(body), code)


@case("a TorchScript archive that calls os.system")
def _(folder: Path, canary: Path) -> Path:
    body = name("__torch__.evil", "Net") + b")\x81" + mapping({"weight": call("os", "system", touch(canary))}) + b"b"
    return zipped(folder / "w.pt", program(body), {"constants.pkl": program(b")")})


@case("a TorchScript module that contains itself")
def _(folder: Path, canary: Path) -> Path:
    body = name("__torch__.evil", "Net") + b")\x81q\x00" + mapping({"child": b"h\x00", "weight": tensor()}) + b"b"
    return zipped(folder / "w.pt", program(body), {"constants.pkl": program(b")")})


# ---------------------------------------------------------------- archives


@case("a zip bomb as the pickle")
def _(folder: Path, canary: Path) -> Path:
    return zipped(folder / "w.pt", bytes(300_000_000), compress=("data.pkl",))


@case("a zip bomb as the numbers")
def _(folder: Path, canary: Path) -> Path:
    big = program(mapping({"weight": tensor(count=75_000_000, size=(75_000_000,))}))
    return zipped(folder / "w.pt", big, {"data/0": bytes(300_000_000)}, compress=("data/0",))


def patched(label: str, change: Callable[[bytearray], None]) -> None:
    @case(label)
    def _(folder: Path, canary: Path) -> Path:
        path = zipped(folder / "w.pt", sound())
        data = bytearray(path.read_bytes())
        change(data)
        path.write_bytes(data)
        return path


def central(data: bytearray, entry: str) -> int:
    """Where the directory describes an entry."""
    at = data.rfind(f"w/{entry}".encode())
    return at - 46


def lying_size(data: bytearray) -> None:
    at = central(data, "data/0")
    data[at + 20 : at + 28] = struct.pack("<II", 0x7FFFFFFF, 0x7FFFFFFF)


def overlapping(data: bytearray) -> None:
    at, other = central(data, "data/0"), central(data, "data.pkl")
    size = struct.unpack_from("<I", data, at + 42)[0] - struct.unpack_from("<I", data, other + 42)[0]
    data[other + 20 : other + 28] = struct.pack("<II", size, size)


def renamed(data: bytearray) -> None:
    at = data.rfind(b"w/data/0")
    data[at : at + 8] = b"w/data/7"


def encrypted(data: bytearray) -> None:
    data[central(data, "data.pkl") + 8] |= 1


def beyond(data: bytearray) -> None:
    at = central(data, "data/0")
    data[at + 42 : at + 46] = struct.pack("<I", 0x7FFFFFFF)


def many(data: bytearray) -> None:
    end = data.rfind(b"PK\x05\x06")
    large = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 1 << 40, 1 << 40, 1 << 50, 0)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
    data[end:end] = large + locator


def directory_outside(data: bytearray) -> None:
    end = data.rfind(b"PK\x05\x06")
    data[end + 12 : end + 20] = struct.pack("<II", 0x7FFFFFF0, 0x7FFFFFF0)


patched("an entry that claims 2 GB", lying_size)
patched("entries that overlap", overlapping)
patched("an entry with two names", renamed)
patched("an encrypted entry", encrypted)
patched("an entry outside of the file", beyond)
patched("a directory of 2^40 entries", many)
patched("a directory outside of the file", directory_outside)
patched("an archive that is cut off", lambda data: data.__delitem__(slice(len(data) // 2, None)))


@case("an entry that stands twice")
def _(folder: Path, canary: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return zipped(folder / "w.pt", sound(), {"!w/data.pkl": program(call("os", "system", touch(canary)))})


for _label, _entry in {
    "climbs": "../../outside",
    "is absolute": "/tmp/outside",
    "has a drive": "C:/outside",
    "has a backslash": "w\\..\\..\\outside",
    "has a line break": "w/a\nb",
}.items():

    @case(f"an entry whose name {_label}")
    def _(folder: Path, canary: Path, entry: str = _entry) -> Path:
        return zipped(folder / "w.pt", sound(), {f"!{entry}": b"outside"})


@case("an entry whose name holds a NUL")
def _(folder: Path, canary: Path) -> Path:
    path = zipped(folder / "w.pt", sound(), {"aXb": b"outside"})
    path.write_bytes(path.read_bytes().replace(b"w/aXb", b"w/a\x00b"))
    return path


# ---------------------------------------------------------------- tensors that claim too much

for _label, _arguments in {
    "numbers that are not there": {"count": 1 << 40, "size": (1 << 40,)},
    "a negative size": {"size": (-4,)},
    "a negative stride": {"stride": (-1,)},
    "an offset outside of its storage": {"offset": 1 << 40},
    "one number 2^40 times (stride 0)": {"size": (1 << 40,), "stride": (0,)},
    "a size that overflows": {"size": (1 << 32, 1 << 32), "stride": (1, 1)},
    "a size without numbers that overflows": {"size": (0, 1 << 61), "stride": (1, 1)},
    "64 axes": {"size": (1,) * 64, "stride": (1,) * 64},
    "numbers of no known kind": {"kind": "EvilStorage"},
    "a storage that is not there": {"key": "../../../../etc/passwd"},
}.items():

    @case(f"a tensor with {_label}")
    def _(folder: Path, canary: Path, arguments: dict[str, object] = _arguments) -> Path:
        return zipped(folder / "w.pt", program(mapping({"weight": tensor(**arguments)})))  # type: ignore[arg-type]


@case("one storage told as 20,000 tensors")
def _(folder: Path, canary: Path) -> Path:
    one = tensor(count=1 << 20, size=(1 << 20,))
    return zipped(folder / "w.pt", program(mapping({str(i): one for i in range(20_000)})), {"data/0": bytes(4 << 20)})


@case("a storage of 2^60 numbers in the first format")
def _(folder: Path, canary: Path) -> Path:
    tree = program(mapping({"weight": first_tensor()}))
    return first_format(folder / "w.pt", tree, ["0"], struct.pack("<q", 1 << 60) + bytes(16))


@case("a storage of -1 numbers in the first format")
def _(folder: Path, canary: Path) -> Path:
    tree = program(mapping({"weight": first_tensor()}))
    return first_format(folder / "w.pt", tree, ["0"], struct.pack("<q", -1) + bytes(16))


def first_tensor() -> bytes:
    """A tensor as the first format tells it: its storage says whether it is a view."""
    return tensor().replace(b"tQ", b"NtQ", 1)


# ---------------------------------------------------------------- pickles that take all time and memory


def bare(label: str, body: Callable[[], bytes]) -> None:
    @case(label)
    def _(folder: Path, canary: Path) -> Path:
        return zipped(folder / "w.pt", body())


bare("a memo of 2^32 places", lambda: program(text("a") + b"r\xff\xff\xff\xff"))
bare("a byte array of 2^60 bytes", lambda: program(b"\x96" + struct.pack("<Q", 1 << 60), 5))
bare("a text of 2^60 bytes", lambda: program(b"\x8d" + struct.pack("<Q", 1 << 60), 4))
bare("a frame of 2^60 bytes", lambda: b"\x80\x04\x95" + struct.pack("<Q", 1 << 60))
bare("a number of a negative length", lambda: program(b"\x8b" + struct.pack("<i", -5)))
bare("a number of a million digits", lambda: program(b"I" + b"9" * 1_000_000 + b"\n"))
bare("a key that lies 3 million tuples deep", lambda: program(b"}N" + b"\x85" * 3_000_000 + b"Ns"))
bare("a set of what lies 3 million tuples deep", lambda: program(b"\x8f(N" + b"\x85" * 3_000_000 + b"\x90", 4))
bare("objects that lie a million deep", lambda: program(name("a", "b") + b"N\x85R" + (b"\x85" + b"\x85") * 1_000_000))
bare("dictionaries that lie 100,000 deep", lambda: program((b"}" + text("a")) * 100_000 + tensor() + b"s" * 100_000))
bare("ten million steps", lambda: program(b"N0" * 5_000_000 + b"N"))
bare("a stack that is emptied too far", lambda: program(b"0" * 10))
bare("items without a beginning", lambda: program(b"Nt"))
bare("a pickle without an end", lambda: b"\x80\x02}")
bare("an entry that stands twice in the state", lambda: program(b"}(" + (text("weight") + tensor()) * 2 + b"u"))


@case("containers that are told 2^60 times")
def _(folder: Path, canary: Path) -> Path:
    # each dictionary holds the one before it twice
    body = mapping({"weight": tensor()}) + b"q\x00"
    for level in range(60):
        body += b"0" + mapping({"a": b"h" + bytes([level]), "b": b"h" + bytes([level])}) + b"q" + bytes([level + 1])
    return zipped(folder / "w.pt", program(body))


# ---------------------------------------------------------------- safetensors


def safetensors(label: str, header: object, data: bytes = b"", *, length: int | None = None) -> None:
    @case(label)
    def _(folder: Path, canary: Path) -> Path:
        encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
        encoded = encoded.ljust(math.ceil(len(encoded) / 8) * 8)
        start = struct.pack("<Q", len(encoded) if length is None else length)
        (folder / "w.safetensors").write_bytes(start + encoded + data)
        return folder / "w.safetensors"


def described(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


safetensors("a header of 2^63 bytes", {}, length=1 << 63)
safetensors("a header of 90 MB", b"{" + b" " * 90_000_000 + b"}")
safetensors("a header that is cut off", {"w": described([4], 0, 16)}, length=12)
safetensors("a header that is no mapping", b"[1, 2, 3]")
safetensors("a header of 100,000 brackets", b'{"a":' + b"[" * 100_000)
safetensors("safetensors that overlap", {"a": described([4], 0, 16), "b": described([4], 8, 24)}, bytes(24))
safetensors("safetensors beyond the end", {"a": described([4], 0, 16)}, bytes(8))
safetensors("safetensors with offsets that fall", {"a": described([4], 16, 0)}, bytes(16))
safetensors("safetensors with a gap", {"a": described([4], 8, 24)}, bytes(24))
safetensors("safetensors with bytes that nothing tells of", {"a": described([4], 0, 16)}, bytes(64))
safetensors(
    "safetensors with a name that stands twice",
    b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}',
    bytes(16),
)
safetensors("safetensors of a negative shape", {"a": described([-4], 0, 16)}, bytes(16))
safetensors("safetensors of a shape that overflows", {"a": described([1 << 62, 1 << 62], 0, 16)}, bytes(16))
safetensors("safetensors of an unknown kind", {"a": described([4], 0, 16, "EVIL")}, bytes(16))
safetensors("safetensors of the wrong kind", {"a": described([4], 0, 16, "F64")}, bytes(16))
safetensors("safetensors of a broken number", {"a": described([4], 0, 16) | {"shape": [1e300]}}, bytes(16))


# ---------------------------------------------------------------- files that are none


@case("a pipe")
def _(folder: Path, canary: Path) -> Path:
    os.mkfifo(folder / "w.safetensors")
    return folder / "w.safetensors"


@case("a link to a device")
def _(folder: Path, canary: Path) -> Path:
    (folder / "w.pt").symlink_to("/dev/zero")
    return folder / "w.pt"


@case("a link to a file of the system")
def _(folder: Path, canary: Path) -> Path:
    (folder / "w.safetensors").symlink_to("/etc/passwd")
    return folder / "w.safetensors"


@case("a link to itself")
def _(folder: Path, canary: Path) -> Path:
    (folder / "w.pt").symlink_to(folder / "w.pt")
    return folder / "w.pt"


@case("a folder")
def _(folder: Path, canary: Path) -> Path:
    (folder / "w.pt").mkdir()
    return folder / "w.pt"


@case("a hard link to a file that is none of ours")
def _(folder: Path, canary: Path) -> Path:
    (folder / "mine").write_text("a file of the user's")
    (folder / "w.pt").hardlink_to(folder / "mine")
    return folder / "w.pt"


@case("nothing at all")
def _(folder: Path, canary: Path) -> Path:
    (folder / "w.pt").touch()
    return folder / "w.pt"
