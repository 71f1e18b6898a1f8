"""Loading checkpoints: safely (nothing in a file is ever executed), fast (no initialization, no copy), and exactly.

safetensors are memory-mapped. Older formats are read with `weights_only=True`, TorchScript archives with a reader that
takes tensors and nothing else, and both are converted once into a cached safetensors file.
"""

from __future__ import annotations

import hashlib
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
from torch.nn.parameter import is_lazy
from torch.utils.weak import WeakIdKeyDictionary

from medfm import content
from medfm.catalog.weights import Keys
from medfm.errors import CheckpointError, UnsafeFileError

N = TypeVar("N", bound=nn.Module)


@contextmanager
def empty_parameters() -> Iterator[None]:
    """Build networks whose parameters take neither time nor memory; buffers are made for real.

    Buffers that are not in the checkpoint (position numbers, windows' masks) would stay empty on the meta device.
    """
    original = nn.Module.register_parameter
    # a parameter that two modules share stays one parameter
    seen: WeakIdKeyDictionary = WeakIdKeyDictionary()

    def register(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        original(self, name, param)
        if param is None or param.is_meta or is_lazy(param):
            return
        if param not in seen:
            seen[param] = nn.Parameter(param.to("meta"), requires_grad=False)
        self._parameters[name] = seen[param]

    nn.Module.register_parameter = register  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = original  # type: ignore[method-assign]


def load(build: Callable[[], N], path: Path, *, keys: Keys | None = None, sha256: str | None = None) -> N:
    """Build a network and give it the weights of a file; every key must fit.

    Args:
        build: makes the network (run with empty parameters).
        path: the checkpoint.
        keys: how its keys become the network's, and which may be left over or missing.
        sha256: of the file, if known: names the converted copy.

    Raises:
        CheckpointError: keys are missing, not expected or of another shape.
        UnsafeFileError: the file could run code.
    """
    keys = keys or Keys()
    state = read(path, unwrap=keys.unwrap, sha256=sha256)
    with empty_parameters():
        network = build()
    fill(network, state, where=path.name, keys=keys)
    if left := [name for name, parameter in network.named_parameters() if parameter.is_meta]:
        # listed as absent: their initial values exist only in a network that is made for real, and are the same every time
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            initial = dict(build().named_parameters())
        network.load_state_dict({name: initial[name].detach() for name in left}, strict=False, assign=True)
        network.requires_grad_(False)
    return network.eval()


def fill(network: nn.Module, state: Mapping[str, Tensor], *, where: str, keys: Keys | None = None) -> None:
    """Assign the tensors of a state to a network; see `load`.

    Parameters that `keys` lists as absent stay as they are.

    Raises:
        CheckpointError: keys are missing, not expected, of another shape or kind, or two keys became one.
    """
    keys = keys or Keys()
    renamed: dict[str, Tensor] = {}
    doubled = []
    for key, tensor in state.items():
        name = key
        for pattern, replacement in keys.rename:
            name = re.sub(pattern, replacement, name)
        if _listed(name, keys.drop):
            continue
        if name in renamed:
            doubled.append(f"{key}, which becomes {name} like another key")
        renamed[name] = tensor
    expected = network.state_dict(keep_vars=True)
    shared = {id(tensor): name for name, tensor in expected.items() if name in renamed}
    for name in expected.keys() - renamed.keys():
        if id(expected[name]) in shared:  # the very same parameter under a second name
            renamed[name] = renamed[shared[id(expected[name])]]
    misshapen = [
        f"{key} {_kind(renamed[key])} for {_kind(expected[key])}"
        for key in renamed.keys() & expected.keys()
        if renamed[key].shape != expected[key].shape
        or renamed[key].is_floating_point() != expected[key].is_floating_point()
    ]
    missing = {key for key in expected.keys() - renamed.keys() if not _listed(key, keys.absent)}
    extra = [*(renamed.keys() - expected.keys()), *doubled]
    if missing or extra or misshapen:
        raise CheckpointError(where, missing=missing, extra=extra, misshapen=misshapen)
    network.load_state_dict(renamed, strict=False, assign=True)
    network.requires_grad_(False)


def _listed(key: str, patterns: Mapping[str, str]) -> bool:
    return any(re.fullmatch(pattern, key) for pattern in patterns)


def _kind(tensor: Tensor) -> str:
    kind = "" if tensor.is_floating_point() else f"{tensor.dtype} ".removeprefix("torch.")
    return f"{kind}{list(tensor.shape)}"


# ---------------------------------------------------------------- reading files


def read(path: Path, *, unwrap: Sequence[str] = (), sha256: str | None = None) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by key, memory-mapped where the format allows.

    Args:
        path: a safetensors file, a torch checkpoint of plain tensors, or a TorchScript archive (only its tensors are read).
        unwrap: the path to the state inside a torch checkpoint that holds more.
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
    part = f"-{hashlib.sha256(repr(tuple(unwrap)).encode()).hexdigest()[:12]}" if unwrap else ""
    converted = content.cache() / "converted" / f"{sha256}{part}.safetensors" if sha256 else None
    if converted and converted.exists():
        return load_file(converted)
    state = _torchscript(path) if _is_torchscript(path) else _torch(path, unwrap)
    if converted:
        _save(state, converted)
    return state


def _torch(path: Path, unwrap: Sequence[str]) -> dict[str, Tensor]:
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
    for key in unwrap or ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
        elif unwrap:
            raise CheckpointError(
                path.name, missing=[f"{'.'.join(unwrap)} (its entries are {', '.join(map(str, loaded))})"]
            )
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
