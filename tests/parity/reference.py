"""Runs the authors' own packages in a process of their own; medfm's families are never imported here.

Usage: python reference.py MODEL INPUT OUTPUT.npz [--filled]. With --filled the weights are replaced by medfm's deterministic
values, by the authors' own parameter names, so that every weight of both networks takes part in the comparison.
"""

from __future__ import annotations

import csv
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medfm.runtime.parity import values


def refill(module: Any) -> None:
    """Replace every floating-point weight, buffers of one-hot tables excepted."""
    module.load_state_dict(
        {
            k: values(k, v.shape) if v.is_floating_point() and "_token_embeddings" not in k else v
            for k, v in module.state_dict().items()
        }
    )


def deepbet(source: str, filled: bool) -> dict[str, np.ndarray]:
    import nibabel
    from deepbet.bet import BrainExtraction

    bet = BrainExtraction(no_gpu=True)
    if filled:
        # a filled network finds no brain, so only the two networks' outputs can be compared
        x = torch.from_numpy(np.load(source))
        found = {}
        for name, network in (("main", bet.model), ("box", bet.bbox_model)):
            refill(network)
            with torch.no_grad():
                found[name] = network(x).numpy()
        return found
    probability = bet.run_model(nibabel.as_closest_canonical(nibabel.load(source)).get_fdata(dtype=np.float32))
    _, mask, volume = bet.run(source)
    return {"probability": probability, "mask": np.asarray(mask.dataobj), "volume": np.array([volume])}


def openspindlenet(source: str, filled: bool) -> dict[str, np.ndarray]:
    assert not filled, "an ONNX graph is the same file on both sides"
    from openspindlenet import get_model_path
    from openspindlenet.inference import SpindleInference

    inference = SpindleInference(get_model_path("eeg"))
    data = inference.load_data(source)
    raw, spectrogram = inference.preprocess(data)
    result = inference.run(data)
    return {
        "raw_signal": raw,
        "spectrogram": spectrogram,
        "detection": result["detection"],
        "intervals": result["detection_intervals"],
    }


def sceptr(source: str, filled: bool) -> dict[str, np.ndarray]:
    import pandas
    from sceptr import variant

    model = variant.default()
    if filled:
        refill(model._bert)
    with Path(source).open(newline="") as file:
        rows = [{k: v or None for k, v in row.items()} for row in csv.DictReader(file)]
    frame = pandas.DataFrame(rows, dtype=object)[["TRAV", "CDR3A", "TRBV", "CDR3B"]]
    return {"vectors": model.calc_vector_representations(frame), "distances": model.calc_cdist_matrix(frame, frame)}


def antiberty(source: str, filled: bool) -> dict[str, np.ndarray]:
    from antiberty import AntiBERTyRunner

    runner = AntiBERTyRunner()
    if filled:
        refill(runner.model)
        runner.model.tie_weights = lambda: None
    sequences = [line.strip() for line in Path(source).read_text().splitlines() if line.strip()]
    tokens = runner.embed([s.replace("_", "A") for s in sequences])
    found = {f"tokens{i}": t.numpy() for i, t in enumerate(tokens)}
    with torch.no_grad():
        out = runner.tokenizer([" ".join(s.replace("_", "A")) for s in sequences], return_tensors="pt", padding=True)
        output = runner.model(input_ids=out["input_ids"], attention_mask=out["attention_mask"])
    found |= {"species": output.species_logits.softmax(-1).numpy(), "chain": output.chain_logits.softmax(-1).numpy()}
    found["completed"] = np.array(runner.fill_masks(sequences))
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    model, source, target = sys.argv[1:4]
    np.savez(target, **globals()[model](source, "--filled" in sys.argv[4:]))
