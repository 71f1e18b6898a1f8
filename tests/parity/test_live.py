"""Our output against that of the authors' own package, from the file to the result, on real weights and on filled ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import medfm
from medfm.catalog.records import Model
from medfm.runtime import contract as engine
from medfm.runtime import parity, samples
from medfm.runtime.loading import load

from .conftest import LARGEST, Reference

pytestmark = [pytest.mark.network, pytest.mark.parity]


@pytest.fixture(scope="module")
def catalog() -> medfm.Catalog:
    return medfm.Catalog.load()


def agree(catalog: medfm.Catalog, id: str, ours: object, theirs: object) -> bool:
    """Whether two outputs differ by no more than the record's tolerance; remembers the largest difference."""
    record: Model = catalog.models[id]
    assert record.parity.status == "verified"
    assert record.parity.tolerance is not None
    difference = parity.largest_difference(ours, theirs)  # type: ignore[arg-type]
    LARGEST[id] = max(LARGEST.get(id, 0.0), difference)
    return difference <= record.parity.tolerance


@pytest.fixture(scope="module")
def t1(catalog: medfm.Catalog) -> Path:
    return samples.sample("colin27-t1" if samples.available(catalog, "colin27-t1") else "mni152-t1", catalog=catalog)


def test_deepbet_gives_the_authors_probabilities_mask_and_volume(
    catalog: medfm.Catalog, t1: Path, reference: Reference
) -> None:
    theirs = reference("deepbet", t1)
    runner = load("deepbet")
    ours = runner.segment(t1)
    assert np.array_equal(ours.mask, theirs["mask"])
    assert ours.volumes_ml()["brain"] == pytest.approx(float(theirs["volume"][0]), abs=1e-3)
    (item,) = engine.read(runner.record.input, t1)
    prepared = engine.prepare(runner.record.input, [item], runner.context({}))
    (frame,) = prepared.frames
    assert frame is not None
    assert frame.box is not None
    inside = tuple(s.stop - s.start for s in frame.box)
    probability = engine.resample(runner.network.segment(prepared.batch)[0, 1], inside, "nearest-exact")
    assert agree(catalog, "deepbet", probability, theirs["probability"][frame.box])


def test_deepbet_filled_networks_agree(catalog: medfm.Catalog, tmp_path: Path, reference: Reference) -> None:
    x = parity.values("input", (1, 1, 64, 96, 64))
    np.save(tmp_path / "x.npy", x.numpy())
    theirs = reference("deepbet", tmp_path / "x.npy", "--filled")
    for name, network in load("deepbet").network.modules().items():
        network.load_state_dict(parity.state({k: v.shape for k, v in network.state_dict().items()}))
        with torch.inference_mode():
            assert agree(catalog, "deepbet", network(x.clone()), theirs[name])


def test_openspindlenet_gives_the_authors_tensors_and_events(catalog: medfm.Catalog, reference: Reference) -> None:
    sample = samples.sample("openspindlenet-eeg-sample", catalog=catalog)
    theirs = reference("openspindlenet", sample)
    runner = load("openspindlenet-eeg")
    items = engine.read(runner.record.input, sample, engine.Options(sampling_rate=250))
    prepared = engine.prepare(runner.record.input, items)
    for name in ("raw_signal", "spectrogram"):
        assert agree(catalog, "openspindlenet-eeg", prepared.batch[name], theirs[name])
    assert agree(catalog, "openspindlenet-eeg", runner.network.detect(prepared.batch)[0], theirs["detection"])
    ours = runner.detect(sample, sampling_rate=250).events
    intervals = theirs["intervals"][theirs["intervals"][:, 0].argsort()]
    assert len(ours) == len(intervals) > 0
    for event, (start, end, confidence) in zip(ours, intervals, strict=True):
        found, expected = [event.start, event.end, event.confidence], [start / 250, end / 250, confidence]
        assert agree(catalog, "openspindlenet-eeg", np.array(found), np.array(expected))


@pytest.mark.parametrize("options", [(), ("--filled",)], ids=["real weights", "filled weights"])
def test_sceptr_gives_the_authors_vectors(
    options: tuple[str, ...], catalog: medfm.Catalog, tmp_path: Path, reference: Reference
) -> None:
    # with and without allele, with one chain, with a CDR3 or a V gene alone, and all lengths in one batch
    rows = [
        "name,TRAV,CDR3A,TRBV,CDR3B",
        "both,TRAV38-1*01,CAHRSAGGGTSYGKLTF,TRBV2*01,CASSEFQGDNEQFF",
        "genes without allele,TRAV3,CAVDNARLMF,TRBV25-1,CASSDGSFNEQFF",
        "beta only,,,TRBV9*01,CASSVGDLLTGELFF",
        "loop only,,,,CASSPGTGGNEQYF",
        "gene only,TRAV38-2/DV8*01,,,",
    ]
    source = tmp_path / "tcrs.csv"
    source.write_text("\n".join(rows) + "\n")
    theirs = reference("sceptr", source, *options)
    runner = load("sceptr")
    if options:
        state = runner.network.state_dict()
        authors = {
            key: "_self_attention_stack._initial_projector.weight" if key == "project.weight"
            else key.replace("encoder.", "_self_attention_stack._standard_stack._self_attention_stack.")
            for key in state if key not in ("residues", "loops")
        }  # fmt: skip
        filled = {key: parity.values(name, state[key].shape) for key, name in authors.items()}
        runner.network.load_state_dict(state | filled)
    ours = runner.embed(source)
    assert agree(catalog, "sceptr", ours.vectors, theirs["vectors"])
    # torch.cdist takes a root of a difference of large numbers, so distances agree less closely than vectors
    assert parity.largest_difference(ours.distances(), theirs["distances"]) <= 1e-3


@pytest.mark.parametrize("options", [(), ("--filled",)], ids=["real weights", "filled weights"])
def test_antiberty_gives_the_authors_hidden_states_labels_and_residues(
    options: tuple[str, ...], catalog: medfm.Catalog, tmp_path: Path, reference: Reference
) -> None:
    sequences = ["EVQLVESGGGLVQPG_SLRLSCAASGFTFDDYAMHWVRQAPGK_LEWVSA", "DIQMTQSPSSLSASVGDRVTITC_ASQ", "QVQLQ"]
    source = tmp_path / "antibodies.txt"
    source.write_text("\n".join(sequences) + "\n")
    theirs = reference("antiberty", source, *options)
    runner = load("antiberty")
    if options:
        state = parity.state({key: tensor.shape for key, tensor in runner.network.state_dict().items()})
        # the authors' class uses one matrix for both; the name that is loaded last decides what is in it
        state["bert.embeddings.word_embeddings.weight"] = state["cls.predictions.decoder.weight"]
        runner.network.load_state_dict(state)
    whole = [s.replace("_", "A") for s in sequences]
    for i, tokens in enumerate(runner.embed(whole, tokens=True).tokens):
        assert agree(catalog, "antiberty", tokens, theirs[f"tokens{i}"])
    scores = runner.classify(whole)
    for group, values in scores.values.items():
        assert agree(catalog, "antiberty", values, theirs[group])
    assert list(runner.generate(sequences).texts) == list(theirs["completed"])
