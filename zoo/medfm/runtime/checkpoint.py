"""Putting the tensors of a checkpoint into a network: fast (no initialization, no copy), and exactly."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from medfm.catalog.weights import Keys
from medfm.errors import CheckpointError
from medfm.runtime.states import read as read

N = TypeVar("N", bound=nn.Module)


State = Mapping[str, Tensor]

# Changing the values of what has none is only slow: torch works out shapes in Python.
_OF_VALUES = {
    *(
        "uniform_",
        "normal_",
        "trunc_normal_",
        "constant_",
        "ones_",
        "zeros_",
        "eye_",
        "dirac_",
        "orthogonal_",
        "sparse_",
    ),
    *("xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_"),
    *("fill_", "zero_", "copy_", "erfinv_", "clamp_", "add_", "sub_", "mul_", "div_"),
}


class _NoValues(TorchFunctionMode):
    """Leaves out what would change the values of tensors on the meta device."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if args and getattr(func, "__name__", "") in _OF_VALUES and isinstance(args[0], Tensor) and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


@contextmanager
def empty_parameters() -> Iterator[None]:
    """Build networks whose parameters take neither time nor memory; buffers are made for real.

    Buffers that are not in the checkpoint (position numbers, windows' masks) would stay empty on the meta device. Other threads
    may build networks as usual in the meantime.
    """
    # a parameter that two modules share stays one parameter
    seen: WeakIdKeyDictionary = WeakIdKeyDictionary()
    thread = threading.get_ident()

    def emptied(_: nn.Module, __: str, parameter: nn.Parameter) -> nn.Parameter | None:
        if threading.get_ident() != thread or parameter.is_meta or is_lazy(parameter):
            return None
        if parameter not in seen:
            seen[parameter] = nn.Parameter(parameter.to("meta"), requires_grad=False)
        return cast(nn.Parameter, seen[parameter])

    hook = register_module_parameter_registration_hook(
        cast(Callable[..., None], emptied)
    )  # what it returns is registered
    try:
        with _NoValues():
            yield
    finally:
        hook.remove()


def load(
    build: Callable[[], N],
    path: Path,
    *,
    keys: Keys | None = None,
    sha256: str | None = None,
    convert: Callable[[State, N], State] | None = None,
) -> N:
    """Build a network and give it the weights of a file; every key must fit.

    Args:
        build: makes the network (run with empty parameters).
        path: the checkpoint.
        keys: how its keys become the network's, and which may be left over or missing.
        sha256: of the file, if known: names the converted copy.
        convert: turns the state into the network's form before its keys are renamed, where rules on keys are not enough.

    Raises:
        CheckpointError: keys are missing, not expected or of another shape.
        UnsafeFileError: the file could run code, or is damaged.
        SourceError: the file cannot be opened.
    """
    keys = keys or Keys()
    state: State = read(path, unwrap=keys.unwrap, whole_module=keys.whole_module, sha256=sha256)
    try:
        with empty_parameters():
            network = build()
    except RuntimeError:  # it looks at values while it is built
        network = build()
    if convert is not None:
        state = convert(state, network)
    _assign(network, state, path.name, keys)
    if left := _without_values(network):
        # Listed as absent, or made from parameters and never stored: their initial values exist only in a network that is made
        # for real, and are the same every time.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            real = build()
        for name in left:
            owner, _, own = name.rpartition(".")
            module, source = network.get_submodule(owner), real.get_submodule(owner)
            tensor = getattr(source, own).detach()
            if own in module._parameters:
                module._parameters[own] = nn.Parameter(tensor, requires_grad=False)
            else:
                module._buffers[own] = tensor
    return network.eval()


def fill(network: nn.Module, state: State, *, where: str, keys: Keys | None = None) -> None:
    """Assign the tensors of a state to a network that was built with its values, or needs none but these; see `load`.

    Raises:
        CheckpointError: keys are missing, not expected, of another shape or kind, or two keys became one; or a parameter that
            `keys` lets keep its initial value has none (only `load` can make it).
    """
    _assign(network, state, where, keys or Keys())
    if left := _without_values(network):
        raise CheckpointError(where, missing=left)


def _without_values(network: nn.Module) -> list[str]:
    return [name for name, tensor in (*network.named_parameters(), *network.named_buffers()) if tensor.is_meta]


def _assign(network: nn.Module, state: State, where: str, keys: Keys) -> None:
    renamed, doubled = rename(state, keys)
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
    missing = {key for key in expected.keys() - renamed.keys() if not listed(key, keys.absent)}
    extra = [*(renamed.keys() - expected.keys()), *doubled]
    if missing or extra or misshapen:
        raise CheckpointError(where, missing=missing, extra=extra, misshapen=misshapen)
    network.load_state_dict(renamed, strict=False, assign=True)
    network.requires_grad_(False)


def rename(state: Mapping[str, Tensor], keys: Keys) -> tuple[dict[str, Tensor], list[str]]:
    """Return a state under the network's names, without what is dropped; and what two keys collided in, in words."""
    renamed: dict[str, Tensor] = {}
    doubled = []
    for key, tensor in state.items():
        name = key
        for pattern, replacement in keys.rename:
            name = re.sub(pattern, replacement, name)
        if listed(name, keys.drop):
            continue
        if name in renamed:
            doubled.append(f"{key}, which becomes {name} like another key")
        renamed[name] = tensor
    return renamed, doubled


def listed(key: str, patterns: Mapping[str, str]) -> bool:
    """Return whether one of the patterns (pattern -> reason) is the whole key."""
    return any(re.fullmatch(pattern, key) for pattern in patterns)


def _kind(tensor: Tensor) -> str:
    kind = "" if tensor.is_floating_point() else f"{tensor.dtype} ".removeprefix("torch.")
    return f"{kind}{list(tensor.shape)}"
