"""Recordings: what authors' code that only a repository has gave on filled weights, stored once, beside the tests.

A recording is `recorded/<id>.json` (where the code is from, and how it was run) and `recorded/<id>.npz`: every so manieth value
of the prepared inputs, whole outputs and tokens, and names, shapes and kinds of the network's tensors, from which its weights
are filled again.
"""

from __future__ import annotations

import gc
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medfm.catalog.records import Model
from medfm.runtime import parity
from medfm.runtime.loading import load
from tests.parity import harness
from tests.parity.harness import Author, Case, Sample

FOLDER = Path(__file__).parent / "recorded"
VALUES = 4_000
"""Of each prepared input, about."""


def record(id: str, author: Author, files: list[Path], source: Mapping[str, Any]) -> Path:
    """Run the authors' code and store what it gives; return the JSON file."""
    with harness.no_initialization():
        network = author.network()
    network.eval().requires_grad_(False)
    state = harness.fill(network)
    kinds = {name: [list(tensor.shape), str(tensor.dtype).removeprefix("torch.")] for name, tensor in state.items()}
    arrays: dict[str, Any] = {"keys": json.dumps(kinds)}
    with tempfile.TemporaryDirectory() as folder:
        for role, write in author.files.items():  # kept, so that another version of a library cannot change them
            write(Path(folder) / role)
            arrays[f"file/{role}"] = np.frombuffer((Path(folder) / role).read_bytes(), dtype=np.uint8)
    with torch.inference_mode():
        for number, file in enumerate(files):
            x = author.prepare(file)
            for name, tensor in _named(x).items():
                stride = max(1, tensor.numel() // VALUES) | 1  # odd: no multiple of a picture's width
                arrays[f"input/{file.name}/{name}"] = tensor.flatten()[::stride].numpy()
                arrays[f"shape/{file.name}/{name}"] = np.array([stride, *tensor.shape])
            if number < harness.FORWARDS:
                for name, tensor in author.outputs(network, x).items():
                    arrays[f"output/{file.name}/{name}"] = tensor.numpy()
        for number, batch in enumerate(harness.BATCHES if author.tokens else ()):
            assert author.tokens is not None
            tokens = author.tokens(author.texts[batch])
            for name, tensor in _named(tokens).items():
                arrays[f"tokens/{number}/{name}"] = tensor.numpy()
            if author.text_outputs and number == 0:
                for name, tensor in author.text_outputs(network, tokens).items():
                    arrays[f"text/{name}"] = tensor.numpy()
    FOLDER.mkdir(exist_ok=True)
    np.savez_compressed(FOLDER / f"{id}.npz", **arrays)
    described = {
        **source,
        "versions": harness.versions(author),
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    path = FOLDER / f"{id}.json"
    path.write_text(json.dumps(described, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    del network
    gc.collect()
    return path


def restore(model: Model, author: Author, files: list[Path], folder: Path) -> Case:
    """Fill weights as they were for the recording, load them into our model, and return it beside what was recorded."""
    assert model.weights is not None
    files = harness.sources(author, files, folder)
    with np.load(FOLDER / f"{model.id}.npz", allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    kinds = json.loads(str(arrays["keys"]))
    state = {name: _tensor(name, shape, kind) for name, (shape, kind) in kinds.items()}
    weights = folder / Path(model.weights.origin.files["weights"].path).name
    (author.store or harness.store)(state, weights)
    roles: dict[str, str | Path] = {"weights": weights}
    for role, content in _under(arrays, "file/").items():
        path = folder / Path(model.weights.origin.files[role].path).name
        path.write_bytes(content.tobytes())
        roles[role] = path
    runner = load(harness.local(model), weights=roles, progress=False)
    inputs: dict[Path, Any] = {}
    outputs: dict[Path, dict[str, Tensor]] = {}
    for file in files:
        inputs[file] = {}
        for name, values in _under(arrays, f"input/{file.name}/").items():
            stride, *shape = (int(n) for n in arrays[f"shape/{file.name}/{name}"])
            inputs[file][name] = Sample(torch.from_numpy(values), tuple(shape), stride)
        if found := _under(arrays, f"output/{file.name}/"):
            outputs[file] = {name: torch.from_numpy(values) for name, values in found.items()}
    batches = range(len(harness.BATCHES)) if author.tokens else ()
    tokens = [{name: torch.from_numpy(v) for name, v in _under(arrays, f"tokens/{i}/").items()} for i in batches]
    texts = {name: torch.from_numpy(values) for name, values in _under(arrays, "text/").items()}
    return Case(author, runner, files, inputs, outputs, tokens, texts)


def _named(x: Any) -> Mapping[str, Tensor]:
    return x if isinstance(x, Mapping) else {"image": x}


def _under(arrays: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}


def _tensor(name: str, shape: list[int], kind: str) -> Tensor:
    dtype = getattr(torch, kind)
    return parity.values(name, shape) if dtype.is_floating_point else torch.zeros(shape, dtype=dtype)
