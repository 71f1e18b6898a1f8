"""Putting the tensors of a checkpoint into a network: fast (no initialization, no copy), and exactly."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.weak import WeakIdKeyDictionary

from medfm.catalog.weights import Keys
from medfm.errors import CheckpointError
from medfm.runtime.states import read as read

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
