"""`medfm.load`: from a model's id to something that runs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from medfm.catalog.records import Model
from medfm.catalog.store import read_one
from medfm.catalog.weights import LocalOrigin, WeightFile
from medfm.errors import CapabilityError, CatalogError, MissingExtraError, UnknownIdError, UsageError, near_misses

if TYPE_CHECKING:
    import torch

    from medfm.runtime.runner import Runner

# Extra of the package that a family needs, named when a library is missing.
EXTRAS = {
    "linknet3d": "volumes",
    "onnx_detector": "signals",
    "receptor_transformer": "sequences",
    "bert_sequence": "sequences",
    "timm_vision": "vision",
    "sam": "vision",
    "transformers_vision": "vision",
    "open_clip": "clip",
    "transformers_clip": "clip",
    "two_tower": "clip",
    "biovil": "clip",
    "coca": "clip",
    "beit3": "clip",
    "torchvision_cnn": "vision",
    "torchvision_video": "video",
    "frame_transformer": "video",
    "timesformer": "video",
    "monai_network": "volumes",
    "stu_net": "volumes",
    "vista3d": "volumes",
}


def load(
    id: str | Model,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    backend: str = "torch",
    weights: Mapping[str, str | Path] | None = None,
    offline: bool = False,
    accept_unpinned: bool = False,
    progress: bool = True,
) -> Runner:
    """Load a model by the id of its record, ready to run.

    Args:
        id: such as "deepbet"; or a `Model` record.
        device: "cpu", "cuda", "cuda:1" or "mps".
        dtype: "float32", or "bfloat16" where the device computes in it.
        backend: "torch", or "openvino" for image encoders on a CPU.
        weights: role -> local file, instead of fetching; the record's sha256 still holds.
        offline: never open a socket; the files must be in the cache.
        accept_unpinned: use files whose sha256 the record does not know.
        progress: show progress bars on a terminal.

    Raises:
        UnknownIdError: no such model; it offers near misses.
        CapabilityError: the record has no weights that medfm can build.
        MissingExtraError: a library is missing; it names the command that installs it.
        SourceError, IntegrityError, GateError: the weights cannot be had, or are not the promised ones.
        CheckpointError, UnsafeFileError: the weights do not fit, or could run code.
        UsageError: there is no such device or dtype.

    >>> import medfm
    >>> medfm.load("sceptr").embed([{"CDR3A": "CAVSGGSYIPTF", "CDR3B": "CASSIRSSYEQYF"}]).vectors.shape
    (1, 64)
    """
    record = id if isinstance(id, Model) else find(id)
    if not record.loadable or record.weights is None:
        raise CapabilityError(record.id, "be loaded" + _why_not(record), ())
    try:
        import torch
    except ImportError:
        extra = EXTRAS.get(record.weights.family, "run")
        raise MissingExtraError("torch", extra, why=f"running {record.id}") from None
    from medfm.runtime import hub, sources, zipped
    from medfm.runtime.runner import Runner

    where = _device(device)
    kind = {"float32": torch.float32, "bfloat16": torch.bfloat16}.get(dtype)
    if kind is None:
        hint = "; float16 is 4 to 14 times slower on a CPU" if dtype == "float16" else ""
        raise UsageError(f"dtype is float32 or bfloat16, not {dtype!r}{hint}")
    if dtype == "bfloat16" and where.type == "cpu" and not computes_in_bfloat16():
        raise UsageError("this processor does not compute in bfloat16, which would be slower; use dtype='float32'")
    if backend not in ("torch", "openvino") or (backend == "openvino" and where.type != "cpu"):
        raise UsageError(f"backend is torch, or openvino on a CPU; not {backend!r} on {where.type}")
    compiled = backend == "openvino"
    origin = record.weights.origin
    if weights is not None:
        unknown = sorted(weights.keys() ^ origin.files.keys())
        if unknown:
            raise UsageError(
                f"{record.id} needs local files for the roles {', '.join(origin.files)}; not {', '.join(weights)}"
            )
        origin = LocalOrigin(
            files={role: WeightFile(path=str(path), sha256=origin.files[role].sha256) for role, path in weights.items()}
        )
    files = sources.fetch(
        origin, offline=offline, accept_unpinned=accept_unpinned, progress=progress, gate=hub.gate(record)
    )
    files = {role: zipped.member(path, record.weights.origin.files[role]) for role, path in files.items()}
    family = importlib.import_module(f"medfm.runtime.families.{record.weights.family}")
    network = family.build(record.weights, files, where, torch.float32 if compiled else kind)
    if compiled:
        from medfm.runtime.openvino import take_over

        take_over(network, record.id, dtype)
    return Runner(record, network, files, device=str(where), dtype=dtype, progress=progress)


def computes_in_bfloat16() -> bool:
    """Return whether the CPU has instructions for bfloat16 (AVX512-BF16, AMX, or Arm's)."""
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return any(flag in words for flag in ("avx512_bf16", "amx_bf16", " bf16"))


def find(id: str) -> Model:
    """Return one model's record, reading its own file only.

    Raises:
        UnknownIdError: there is none; it offers near misses.
        CatalogError: the record cannot be read.
    """
    from medfm import content

    folder = content.root() / "catalog" / Model.folder
    path = folder / f"{id}.yaml"
    if "/" in id or not path.is_file():
        from medfm.catalog.index import Index

        with Index.open() as index:  # aliases and names work too
            values = index.record(id)
        if values["kind"] != "model":
            raise UnknownIdError("model", id, near_misses(id, (p.stem for p in folder.glob("*.yaml"))))
        path = folder / f"{values['id']}.yaml"
    record, problems = read_one(path, f"catalog/{Model.folder}/{path.name}")
    if not isinstance(record, Model):
        raise CatalogError(problems)
    return record


def _why_not(record: Model) -> str:
    status = record.release.status if record.release else None
    if status in ("closed", "withdrawn"):
        return f": its weights are {status}"
    where = record.links.get("weights") or record.links.get("code")
    return f" yet: medfm has no family for it{f'; its weights are at {where}' if where else ''}"


def _device(name: str) -> torch.device:
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"{name!r} is no device; use cpu, cuda, cuda:0 or mps") from None
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device.type, False):
        raise UsageError(f"this machine has no {device.type} device that torch can use; use device='cpu'")
    return device


__all__ = ["EXTRAS", "find", "load"]
