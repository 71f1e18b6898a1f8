from __future__ import annotations

import argparse
import collections
import datetime
import functools
import hashlib
import json
import os
import pickle
import struct
import subprocess
import sys
import textwrap
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from monai.networks.nets import SwinUNETR
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import nn

from medfm.catalog.weights import Keys
from medfm.errors import CheckpointError, SourceError, UnsafeFileError
from medfm.runtime import checkpoint, parity


class Small(nn.Module):
    """A network with a buffer that is not in its checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.second = nn.Linear(4, 2)
        self.register_buffer("positions", torch.arange(5.0), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.norm(self.first(x))) + self.positions.sum()


@pytest.fixture
def network() -> Small:
    network = Small().eval()
    parity.fill(network)
    return network


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDFM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("form", ["safetensors", "pt", "nested pt", "torchscript"])
def test_every_format_gives_the_same_network(form: str, network: Small, tmp_path: Path) -> None:
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pt")
    if form == "safetensors":
        save_file(network.state_dict(), path)
    elif form == "torchscript":
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # torch would rather see another exporter; old checkpoints stay what they are
            torch.jit.trace(network, torch.zeros(2, 3)).save(str(path))
    else:
        torch.save(
            {"state_dict": network.state_dict(), "epoch": 3} if form == "nested pt" else network.state_dict(), path
        )
    drop = {"positions": "TorchScript keeps buffers that are not persistent"} if form == "torchscript" else {}
    loaded = checkpoint.load(Small, path, keys=Keys(drop=drop))
    x = parity.values("x", (2, 3))
    with torch.no_grad():
        assert torch.equal(loaded(x), network(x))
    assert not loaded.training
    assert not any(p.is_meta for p in (*loaded.parameters(), *loaded.buffers()))


def test_an_old_format_is_converted_once(network: Small, tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save(network.state_dict(), path)
    first = checkpoint.read(path, sha256=sha(path))
    (converted,) = (cache / "converted").iterdir()
    assert converted.name == f"{sha(path)}.safetensors"
    path.unlink()
    again = checkpoint.read(path, sha256=converted.stem)
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_every_key_that_does_not_fit_is_named(network: Small, tmp_path: Path) -> None:
    state = network.state_dict()
    del state["first.bias"]
    state["extra.weight"] = torch.zeros(1)
    state["second.weight"] = torch.zeros(9, 9)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(Small, tmp_path / "w.safetensors")
    error = caught.value
    assert error.missing == ["first.bias"]
    assert error.extra == ["extra.weight"]
    assert error.misshapen == ["second.weight [9, 9] for [2, 4]"]
    for key in ("first.bias", "extra.weight", "second.weight"):
        assert key in str(error)


def test_keys_are_renamed_and_dropped_by_declared_rules_only(network: Small, tmp_path: Path) -> None:
    state = {f"module.{key}": tensor for key, tensor in network.state_dict().items()} | {
        "module.head.w": torch.zeros(1)
    }
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError):
        checkpoint.load(Small, tmp_path / "w.safetensors", keys=Keys(rename=((r"^module\.", ""),)))
    keys = Keys(rename=((r"^module\.", ""),), drop={r"head\..*": "a head of the training"})
    loaded = checkpoint.load(Small, tmp_path / "w.safetensors", keys=keys)
    assert torch.equal(loaded.first.weight, network.first.weight)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rename", [["(", ""]]),
        ("rename", [["a", r"\2"]]),
        ("drop", {"[": "a reason"}),
        ("absent", {"*": "a reason"}),
        ("drop", {"head": ""}),
    ],
)
def test_a_rule_that_cannot_work_is_refused_when_the_record_is_read(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=r"regular expression|cannot replace|at least 3"):
        Keys.model_validate({field: value})


class Tables(nn.Module):
    """A network with a fixed table that some checkpoints lack, and a tied parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.arange(6.0).reshape(2, 3).sin(), requires_grad=False)
        self.embed = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight


def test_what_a_checkpoint_may_lack_keeps_its_initial_value(tmp_path: Path) -> None:
    save_file({"embed.weight": torch.ones(5, 3)}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(Tables, tmp_path / "w.safetensors")
    assert caught.value.missing == ["table"]  # and not head.weight, which is the same parameter
    keys = Keys(absent={"table": "a sine table, never learned"})
    loaded = checkpoint.load(Tables, tmp_path / "w.safetensors", keys=keys)
    assert torch.equal(loaded.table, torch.arange(6.0).reshape(2, 3).sin())
    assert torch.equal(loaded.head.weight, torch.ones(5, 3))
    assert not any(parameter.is_meta or parameter.requires_grad for parameter in loaded.parameters())


def test_filling_never_leaves_a_parameter_without_values() -> None:
    with checkpoint.empty_parameters():
        network = Tables()
    keys = Keys(absent={"table": "a sine table, never learned"})
    with pytest.raises(CheckpointError) as caught:
        checkpoint.fill(network, {"embed.weight": torch.ones(5, 3)}, where="w", keys=keys)
    assert caught.value.missing == ["table"]


def test_the_state_is_found_by_a_declared_path_only(network: Small, tmp_path: Path, cache: Path) -> None:
    other = {key: torch.zeros_like(tensor) for key, tensor in network.state_dict().items()}
    torch.save(
        {"model": {"teacher": other, "student": {"backbone": network.state_dict()}}, "epoch": 7}, tmp_path / "w.pt"
    )
    for _ in range(2):  # the second time from the converted copies, one a path
        student = checkpoint.load(
            Small, tmp_path / "w.pt", keys=Keys(unwrap=("model", "student", "backbone")), sha256=sha(tmp_path / "w.pt")
        )
        teacher = checkpoint.load(
            Small, tmp_path / "w.pt", keys=Keys(unwrap=("model", "teacher")), sha256=sha(tmp_path / "w.pt")
        )
        assert torch.equal(student.first.weight, network.first.weight)
        assert not teacher.first.weight.any()
    assert len(list((cache / "converted").iterdir())) == 2
    with pytest.raises(CheckpointError, match=r"has there: teacher, student.* missing \(model\.ema\)"):
        checkpoint.load(Small, tmp_path / "w.pt", keys=Keys(unwrap=("model", "ema")))


def test_two_keys_never_become_one(network: Small, tmp_path: Path) -> None:
    save_file({**network.state_dict(), "a.first.bias": torch.ones(4)}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="like another key"):
        checkpoint.load(Small, tmp_path / "w.safetensors", keys=Keys(rename=((r"^a\.", ""),)))


def test_numbers_of_another_kind_do_not_fit(network: Small, tmp_path: Path) -> None:
    save_file({**network.state_dict(), "first.bias": torch.ones(4, dtype=torch.int64)}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(Small, tmp_path / "w.safetensors")
    assert caught.value.misshapen == ["first.bias int64 [4] for [4]"]


def test_building_takes_no_memory_for_parameters() -> None:
    with checkpoint.empty_parameters():
        network = nn.Sequential(*[nn.Linear(10_000, 10_000) for _ in range(200)])  # 80 GB
    assert all(parameter.is_meta for parameter in network.parameters())
    assert nn.Linear(2, 2).weight.device.type == "cpu"


def swin() -> nn.Module:
    return timm.create_model(
        "swin_tiny_patch4_window7_224", num_classes=0, embed_dim=24, depths=(2, 2), num_heads=(2, 4)
    )


def eva() -> nn.Module:
    return timm.create_model("eva02_tiny_patch14_224", num_classes=0, depth=2, img_size=56)


def swin_unetr() -> nn.Module:
    return SwinUNETR(in_channels=1, out_channels=2, feature_size=12)


@pytest.mark.parametrize(
    ("build", "size"), [(swin, (1, 3, 224, 224)), (eva, (1, 3, 56, 56)), (swin_unetr, (1, 1, 64, 64, 64))]
)
def test_buffers_that_no_checkpoint_holds_are_as_in_a_network_built_as_usual(
    build: Callable[[], nn.Module], size: tuple[int, ...], tmp_path: Path
) -> None:
    usual = build().eval()
    parity.fill(usual)
    save_file({key: tensor.contiguous() for key, tensor in usual.state_dict().items()}, tmp_path / "w.safetensors")
    loaded = checkpoint.load(build, tmp_path / "w.safetensors")
    image = parity.values("x", size)
    with torch.no_grad():
        assert torch.equal(loaded(image), usual(image))
    names = {name for name, _ in usual.named_buffers()} - usual.state_dict().keys()
    assert names or build is swin_unetr
    assert not any(tensor.is_meta for tensor in (*loaded.parameters(), *loaded.buffers()))


class Curious(nn.Module):
    """A network that looks at its values while it is built, and makes a buffer of them."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((3,), 2.0))
        self.steps = int(self.scale.sum().item())
        self.register_buffer("halved", self.scale.detach() / 2, persistent=False)


class Derived(nn.Module):
    """A network with a buffer that is made of a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((3,), 2.0))
        self.register_buffer("halved", self.scale.detach() / 2, persistent=False)


@pytest.mark.parametrize("build", [Curious, Derived])
def test_networks_that_look_at_their_values_are_built_all_the_same(
    build: Callable[[], nn.Module], tmp_path: Path
) -> None:
    save_file({"scale": torch.ones(3)}, tmp_path / "w.safetensors")
    loaded = checkpoint.load(build, tmp_path / "w.safetensors")
    assert torch.equal(loaded.scale, torch.ones(3))
    assert torch.equal(loaded.halved, torch.ones(3))


def test_other_threads_build_as_usual_in_the_meantime() -> None:
    with checkpoint.empty_parameters(), ThreadPoolExecutor(1) as pool:
        other = pool.submit(nn.Linear, 2, 2).result()
        assert nn.Linear(2, 2).weight.is_meta
    assert not other.weight.is_meta
    assert not nn.Linear(2, 2).weight.is_meta


def test_a_state_may_be_converted_before_its_keys_are_renamed(network: Small, tmp_path: Path) -> None:
    save_file({f"a.{key}": tensor for key, tensor in network.state_dict().items()}, tmp_path / "w.safetensors")
    loaded = checkpoint.load(
        Small, tmp_path / "w.safetensors", convert=lambda state, _: {key[2:]: tensor for key, tensor in state.items()}
    )
    assert torch.equal(loaded.first.weight, network.first.weight)


# ---------------------------------------------------------------- files that would run code


class Bomb:
    """Unpickling this creates a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.target),)


def test_a_pickled_module_is_refused(network: Small, tmp_path: Path) -> None:
    torch.save(network, tmp_path / "w.pt")
    with pytest.raises(UnsafeFileError, match="not executed"):
        checkpoint.read(tmp_path / "w.pt")


@pytest.mark.parametrize("new", [True, False])
def test_a_whole_module_that_the_record_names_is_read_as_data(new: bool, network: Small, tmp_path: Path) -> None:
    torch.save(network, tmp_path / "w.pt", _use_new_zipfile_serialization=new)
    loaded = checkpoint.load(Small, tmp_path / "w.pt", keys=Keys(whole_module=True))
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_a_whole_module_executes_nothing(network: Small, tmp_path: Path) -> None:
    network.hidden = Bomb(tmp_path / "executed")  # type: ignore[assignment]
    torch.save(network, tmp_path / "w.pt")
    with pytest.raises(UnsafeFileError, match="mkdir"):
        checkpoint.read(tmp_path / "w.pt", whole_module=True)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("form", ["pickle", "torch", "torchscript"])
def test_code_in_a_file_is_never_executed(form: str, tmp_path: Path) -> None:
    mark, path = tmp_path / "executed", tmp_path / "w.pt"
    if form == "pickle":
        path.write_bytes(pickle.dumps({"w": Bomb(mark)}))
    elif form == "torch":
        torch.save({"w": Bomb(mark)}, path)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("w/constants.pkl", b"")
            archive.writestr("w/data.pkl", pickle.dumps({"w": Bomb(mark)}, protocol=2))
            archive.writestr("w/code/__torch__/m.py", "import os")
    with pytest.raises(UnsafeFileError, match="not executed"):
        checkpoint.read(path)
    assert not mark.exists()


def test_a_torchscript_archive_may_name_nothing_but_tensors(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/constants.pkl", b"")
        # a reference to os.system, as a pickle's GLOBAL opcode writes it
        archive.writestr("w/data.pkl", b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.")
    with pytest.raises(UnsafeFileError, match=r"refers to os\.system"):
        checkpoint.read(path)


@pytest.mark.parametrize(
    "header",
    [
        struct.pack("<Q", 1 << 40),
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 60)
        + json.dumps({"w": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}).encode().ljust(60),
    ],
    ids=["huge header", "no mapping", "offsets beyond the end"],
)
def test_a_broken_safetensors_file_is_refused(header: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(header)
    with pytest.raises(UnsafeFileError, match="not a sound safetensors file"):
        checkpoint.read(tmp_path / "w.safetensors")


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"hello")
    with pytest.raises(UnsafeFileError):
        checkpoint.read(tmp_path / "w.pt")
    torch.save([1, 2, 3], tmp_path / "l.pt")
    with pytest.raises(UnsafeFileError, match="no state_dict"):
        checkpoint.read(tmp_path / "l.pt")


# ---------------------------------------------------------------- deterministic values


def test_filled_values_depend_on_name_and_shape_alone() -> None:
    assert torch.equal(parity.values("a.weight", (4, 5)), parity.values("a.weight", (4, 5)))
    assert not torch.equal(parity.values("a.weight", (4, 5)), parity.values("b.weight", (4, 5)))
    big = parity.values("a.weight", (1000, 400))
    assert float(big.std()) == pytest.approx(1 / 20, rel=0.02)
    assert abs(float(big.mean())) < 1e-3
    assert float((parity.values("n.running_var", (500,)) - 1).abs().max()) <= 0.1


def test_filled_networks_neither_vanish_nor_explode() -> None:
    layers = nn.Sequential(*[nn.Linear(256, 256, bias=False) for _ in range(20)])
    parity.fill(layers)
    with torch.no_grad():
        out = layers(parity.values("x", (64, 256)) * 16)
    assert 0.1 < float(out.std()) < 10


# ---------------------------------------------------------------- what authors' training scripts leave in their files


class Options:
    """A class of a training script, which medfm does not have."""

    def __init__(self) -> None:
        self.layers = {"lr": 1e-4, "size": (224, 224)}


def test_what_lies_beside_the_state_does_no_harm_and_is_never_made(network: Small, tmp_path: Path) -> None:
    optimizer = torch.optim.AdamW(network.parameters())
    (network(torch.ones(2, 3)).sum() * 1.0).backward()
    optimizer.step()
    beside = {
        "epoch": 7,
        "args": argparse.Namespace(data=Path("/data"), when=datetime.datetime(2026, 1, 1), layers=[1, 2]),
        "optimizer": optimizer.state_dict(),
        "best": np.float64(0.7),
        "curve": np.arange(5.0),
        "options": Options(),
        "seen": {1, 2},
        "counts": collections.Counter("abba"),
        "scaler": None,
        "loss": functools.partial(nn.functional.cross_entropy, label_smoothing=0.1),
    }
    torch.save({"model": network.state_dict(), **beside}, tmp_path / "w.pt")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "w.pt", weights_only=True)
    state = checkpoint.read(tmp_path / "w.pt", unwrap=("model",))
    assert state.keys() == network.state_dict().keys()
    assert all(torch.equal(state[key], tensor) for key, tensor in network.state_dict().items())


@pytest.mark.parametrize("new", [True, False], ids=["zip", "first format"])
def test_tensors_are_those_that_torch_reads(new: bool, tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    written = {
        "whole": base,
        "view": base[1:3, ::2],
        "turned": base.T,
        "again": base,
        "parameter": nn.Parameter(torch.ones(2)),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
        **{
            str(kind): torch.arange(5).to(kind)
            for kind in (
                torch.float64,
                torch.float16,
                torch.bfloat16,
                torch.int64,
                torch.int32,
                torch.int16,
                torch.int8,
            )
        },
        "bytes": torch.arange(5, dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the first format, which torch would rather see forgotten
        torch.save(OrderedDict(written), tmp_path / "w.pt", _use_new_zipfile_serialization=new)
        expected = torch.load(tmp_path / "w.pt", weights_only=True)
    found = checkpoint.read(tmp_path / "w.pt")
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        assert found[key].dtype == tensor.dtype
        assert torch.equal(found[key], tensor)


def test_an_entry_of_the_state_that_is_no_tensor_must_be_dropped_by_name(network: Small, tmp_path: Path) -> None:
    torch.save({**network.state_dict(), "version": 3, "norms": [1, 2]}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(Small, tmp_path / "w.pt")
    assert caught.value.extra == ["norms", "version"]
    keys = Keys(drop={"version|norms": "counters of the training"})
    assert torch.equal(checkpoint.load(Small, tmp_path / "w.pt", keys=keys).first.weight, network.first.weight)


def test_states_inside_the_state_are_joined_with_dots(network: Small, tmp_path: Path) -> None:
    torch.save({"first": network.first.state_dict(), "norm": network.norm.state_dict()}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(Small, tmp_path / "w.pt")
    assert caught.value.missing == ["second.bias", "second.weight"]
    assert caught.value.extra == []


def test_two_processes_convert_at_once_and_a_damaged_copy_is_made_again(
    network: Small, tmp_path: Path, cache: Path
) -> None:
    path = tmp_path / "w.pt"
    torch.save(network.state_dict(), path)
    code = f"""
        from pathlib import Path
        from medfm.runtime import checkpoint
        print(sorted(checkpoint.read(Path({str(path)!r}), sha256={sha(path)!r})))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0].strip() for process in both]
    assert said == [str(sorted(network.state_dict()))] * 2
    (converted,) = (cache / "converted").iterdir()
    converted.write_bytes(converted.read_bytes()[:-7])
    again = checkpoint.read(path, sha256=sha(path))
    assert torch.equal(again["first.weight"], network.first.weight)
    (converted,) = (cache / "converted").iterdir()
    assert torch.equal(load_file(converted)["first.weight"], network.first.weight)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    for name in ("w.pt", "w.safetensors"):
        with pytest.raises(SourceError, match="cannot be read"):
            checkpoint.read(tmp_path / name)
