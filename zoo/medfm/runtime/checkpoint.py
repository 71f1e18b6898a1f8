"""Loading checkpoints: safely (nothing in a file is ever executed), fast (no initialization, no copy), and exactly.

safetensors are memory-mapped. Older formats are read with `weights_only=True`, TorchScript archives with a reader that
takes tensors and nothing else, and both are converted once into a cached safetensors file.
"""

from __future__ import annotations

import io
import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from medfm import content
from medfm.errors import CheckpointError, UnsafeFileError

N = TypeVar("N", bound=nn.Module)

Rename = Sequence[tuple[str, str]]
"""Declared rules from the checkpoint's keys to the network's: regular expression and replacement, in order."""


@contextmanager
def empty_parameters() -> Iterator[None]:
    """Build networks whose parameters take neither time nor memory; buffers are made for real.

    Buffers that are not in the checkpoint (position numbers, windows' masks) would stay empty on the meta device.
    """
    original = nn.Module.register_parameter

    def register(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        original(self, name, param)
        if param is not None:
            self._parameters[name] = nn.Parameter(param.to("meta"), requires_grad=False)

    nn.Module.register_parameter = register  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = original  # type: ignore[method-assign]


def load(
    build: Callable[[], N],
    path: Path,
    *,
    rename: Rename = (),
    drop: Mapping[str, str] | None = None,
    sha256: str | None = None,
) -> N:
    """Build a network and give it the weights of a file; every key must fit.

    Args:
        build: makes the network (run with empty parameters).
        path: the checkpoint.
        rename: declared rules for the keys.
        drop: keys (after renaming, as regular expressions) that are left out, with the reason.
        sha256: of the file, if known: names the converted copy.

    Raises:
        CheckpointError: keys are missing, not expected or of another shape.
        UnsafeFileError: the file could run code.
    """
    with empty_parameters():
        network = build()
    fill(network, read(path, sha256=sha256), where=path.name, rename=rename, drop=drop or {})
    return network.eval()


def fill(
    network: nn.Module,
    state: Mapping[str, Tensor],
    *,
    where: str,
    rename: Rename = (),
    drop: Mapping[str, str] | None = None,
) -> None:
    """Assign the tensors of a state to a network; see `load`."""
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        for pattern, replacement in rename:
            key = re.sub(pattern, replacement, key)
        if not any(re.fullmatch(pattern, key) for pattern in drop or {}):
            renamed[key] = tensor
    expected = network.state_dict()
    misshapen = [
        f"{key} {list(renamed[key].shape)} for {list(expected[key].shape)}"
        for key in renamed.keys() & expected.keys()
        if renamed[key].shape != expected[key].shape
    ]
    missing, extra = expected.keys() - renamed.keys(), renamed.keys() - expected.keys()
    if missing or extra or misshapen:
        raise CheckpointError(where, missing=missing, extra=extra, misshapen=misshapen)
    network.load_state_dict(renamed, assign=True)
    left = [name for name, tensor in (*network.named_parameters(), *network.named_buffers()) if tensor.is_meta]
    if left:
        raise CheckpointError(where, missing=left)
    network.requires_grad_(False)


# ---------------------------------------------------------------- reading files


def read(path: Path, *, sha256: str | None = None) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by key, memory-mapped where the format allows.

    Args:
        path: a safetensors file, a torch checkpoint of plain tensors, or a TorchScript archive (only its tensors are read).
        sha256: of the file, if known: an older format is then converted once into the cache.

    Raises:
        UnsafeFileError: the file holds more than tensors and plain containers, or is no checkpoint.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise UnsafeFileError(f"{path.name}: not a sound safetensors file ({error}); it was not used") from None
    converted = content.cache() / "converted" / f"{sha256}.safetensors" if sha256 else None
    if converted and converted.exists():
        return load_file(converted)
    state = _torchscript(path) if _is_torchscript(path) else _torch(path)
    if converted:
        _save(state, converted)
    return state


def _torch(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; what cannot be read safely raises below
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        KeyError,
        ValueError,
        AttributeError,
        zipfile.BadZipFile,
    ) as error:
        reason = " ".join(str(error).split())[:160]
        raise UnsafeFileError(
            f"{path.name}: holds more than tensors, or is damaged ({reason}); it was not executed. "
            "Ask its authors for safetensors or a plain state_dict"
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    tensors = {k: v for k, v in loaded.items() if isinstance(v, Tensor)} if isinstance(loaded, Mapping) else {}
    if not tensors or len(tensors) != len(loaded):
        raise UnsafeFileError(f"{path.name}: is no state_dict: expected names and tensors")
    return tensors


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return any(re.search(r"(^|/)constants\.pkl$", name) for name in names)


class _Inert:
    """Stands for any class that a TorchScript archive names: holds attributes, does nothing."""

    def __setstate__(self, state: object) -> None:
        if isinstance(state, Mapping):
            self.__dict__.update(state)


class _TensorsOnly(pickle.Unpickler):
    """Reads the object tree of a TorchScript archive: its own classes become inert, everything else is refused."""

    def __init__(self, data: bytes, storage: Callable[[tuple[Any, ...]], Any], name: str) -> None:
        super().__init__(io.BytesIO(data))
        self._storage, self._name = storage, name

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Inert
        allowed = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
            **{("torch", kind): kind for kind in _DTYPES},
        }
        if (module, name) not in allowed:
            raise UnsafeFileError(f"{self._name}: refers to {module}.{name}, which is no tensor; it was not executed")
        return allowed[(module, name)]

    def persistent_load(self, pid: Any) -> Any:
        return self._storage(pid)


_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}


def _rebuild(storage: Tensor, offset: int, size: Sequence[int], stride: Sequence[int], *_: object) -> Tensor:
    return torch.as_strided(storage, tuple(size), tuple(stride), offset)


def _torchscript(path: Path) -> dict[str, Tensor]:
    with zipfile.ZipFile(path) as archive:
        root = next(n for n in archive.namelist() if n.endswith("/data.pkl"))[: -len("data.pkl")]

        def storage(pid: tuple[Any, ...]) -> Tensor:
            _, kind, key, _, count = pid
            with archive.open(f"{root}data/{key}") as file:
                data = file.read(count * _DTYPES[kind].itemsize + 1)
            return torch.frombuffer(bytearray(data), dtype=_DTYPES[kind], count=count)

        try:
            tree = _TensorsOnly(archive.read(f"{root}data.pkl"), storage, path.name).load()
        except UnsafeFileError:
            raise
        except Exception as error:  # a pickle can be wrong in any way; whatever it is, the file is not used
            raise UnsafeFileError(
                f"{path.name}: not a sound TorchScript archive ({error}); it was not executed"
            ) from None
    return dict(_leaves(tree, ""))


def _leaves(node: object, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in vars(node).items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        elif isinstance(value, _Inert):
            yield from _leaves(value, f"{prefix}{name}.")


def _save(state: Mapping[str, Tensor], path: Path) -> None:
    """Keep a converted copy; a cache that cannot be written to costs time, nothing else."""
    from safetensors.torch import save_file

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{torch.initial_seed() & 0xFFFF:04x}.part")
        save_file({key: tensor.contiguous().clone() for key, tensor in state.items()}, temporary)
        temporary.replace(path)
    except OSError:
        pass
