"""Every loadable model: the contract tests of its capabilities, and what `load` refuses."""

from __future__ import annotations

import pkgutil
from pathlib import Path

import numpy as np
import pytest
import torch

import medfm
from medfm.catalog.records import Model
from medfm.catalog.weights import families
from medfm.errors import (
    CapabilityError,
    CheckpointError,
    GateError,
    IntegrityError,
    MissingExtraError,
    SourceError,
    UnknownIdError,
    UnsafeFileError,
    UsageError,
)
from medfm.runtime import families as family_modules
from medfm.runtime.loading import EXTRAS, load
from medfm.runtime.runner import Runner
from tests.abilities import contradictions

CATALOG = medfm.Catalog.load()
LOADABLE = [model.id for model in CATALOG.models.values() if model.loadable]
SEQUENCES = ["EVQLVESGGGLVQPGRSLRLSCAAS", "DIQMTQ_PSS"]
RECEPTORS = [{"name": "a", "TRBV": "TRBV19", "CDR3B": "CASSIRSSYEQYF"}, {"name": "b", "CDR3A": "CAGAGSQGNLIF"}]


@pytest.fixture(scope="module")
def runners() -> dict[str, Runner]:
    return {}


@pytest.fixture
def runner(request: pytest.FixtureRequest, runners: dict[str, Runner]) -> Runner:
    id = request.param
    if id not in runners:
        runners[id] = load(id, progress=False)
    return runners[id]


PACKAGED = [id for id in LOADABLE if (weights := CATALOG.models[id].weights) and weights.origin.kind == "package"]
every_packaged_model = pytest.mark.parametrize("runner", PACKAGED, indirect=True)


def test_every_family_has_one_description_and_one_module() -> None:
    modules = {module.name for module in pkgutil.iter_modules(family_modules.__path__)}
    assert modules == set(families()) == set(EXTRAS)


def test_every_loadable_record_is_compared_with_its_authors_code() -> None:
    assert len(LOADABLE) >= 70
    for id in LOADABLE:
        record = CATALOG.models[id]
        assert record.weights is not None
        assert record.parity.status in ("verified", "recorded"), id
        assert record.parity.test is not None
        assert (Path(__file__).parents[1] / record.parity.test).exists()


@pytest.mark.network
@every_packaged_model
def test_what_a_network_can_do_agrees_with_the_records_tasks(runner: Runner) -> None:
    assert contradictions(runner, CATALOG.taxonomy) == []


@pytest.mark.network
@pytest.mark.parametrize("runner", ["deepbet", "sceptr", "antiberty"], indirect=True)
def test_the_networks_parameters_are_the_published_ones(runner: Runner) -> None:
    modules = runner.network.modules()
    networks = list(modules.values()) if isinstance(modules, dict) else [runner.network]
    counted = sum(p.numel() for network in networks for p in network.parameters())
    # heads that are only used in training, and a tied matrix that stands twice, may differ
    assert counted == pytest.approx(runner.record.parameters, rel=0.01)


@pytest.mark.network
def test_embeddings_have_the_stated_width_and_do_not_depend_on_the_batch() -> None:
    for id, source in (("sceptr", RECEPTORS), ("antiberty", SEQUENCES)):
        runner = load(id, progress=False)
        together = runner.embed(source)
        assert together.vectors.shape == (2, CATALOG.models[id].embedding_dim)
        assert together.vectors.dtype == np.float32
        alone = np.concatenate([runner.embed([item]).vectors for item in source])
        assert np.allclose(together.vectors, alone, atol=1e-5), id
        assert np.array_equal(runner.embed(source, batch_size=1).vectors, alone)
    assert np.allclose(np.linalg.norm(load("sceptr").embed(RECEPTORS).vectors, axis=1), 1, atol=1e-6)


@pytest.mark.network
def test_scores_are_probabilities_over_the_stated_labels() -> None:
    scores = load("antiberty", progress=False).classify(["EVQLVESGGGLVQPGRSLRLSCAASGFTFDDYAMHWVRQAPG"])
    assert scores.groups["chain"] == ("Heavy", "Light")
    for values in scores.values.values():
        assert values.sum(-1) == pytest.approx(1, abs=1e-5)
    assert scores.best() == [{"species": "Human", "chain": "Heavy"}]


@pytest.mark.network
def test_a_run_carries_its_provenance() -> None:
    provenance = load("sceptr", progress=False).embed(RECEPTORS).provenance
    assert provenance.model == "sceptr"
    assert provenance.source == "sceptr==1.2.0"
    assert provenance.contract == CATALOG.models["sceptr"].contract
    assert provenance.sha256["weights"] == "b4c2d06bc5ac1c395cbf97e9be8e8e6db4b06996bc9b5b6a79451fef9ec3c8d8"
    assert provenance.device == "cpu"
    assert provenance.dtype == "float32"
    assert provenance.seconds >= 0
    assert {"medfm", "python", "torch"} <= provenance.versions.keys()
    assert provenance.inputs == ("a", "b")


@pytest.mark.network
def test_white_noise_has_no_spindles() -> None:
    noise = np.random.default_rng(0).normal(0, 20, 7500)
    assert load("openspindlenet-eeg", progress=False).detect(noise, sampling_rate=250).events == ()


@pytest.mark.network
def test_each_window_of_a_long_recording_is_analyzed() -> None:
    from medfm.runtime import samples

    path = samples.sample("openspindlenet-eeg-sample", catalog=CATALOG)
    one = np.loadtxt(path)
    runner = load("openspindlenet-eeg", progress=False)
    first = runner.detect(one, sampling_rate=250).events
    twice = runner.detect(np.concatenate([one, one]), sampling_rate=250).events
    assert len(twice) == 2 * len(first)
    longer = runner.detect(np.concatenate([one, one[:100]]), sampling_rate=250)
    assert longer.events == first
    assert longer.provenance.notes == ("the last 100 samples (0.4 s) fill no window and were not analyzed",)
    for early, late in zip(first, twice[len(first) :], strict=True):
        assert late.start == pytest.approx(early.start + 30)


# ---------------------------------------------------------------- what is refused


def test_a_model_that_cannot_be_loaded_says_why() -> None:
    with pytest.raises(CapabilityError, match="its weights are closed"):
        load("med-palm")
    with pytest.raises(CapabilityError, match=r"medfm has no family for it; its weights are at https://"):
        load("meditron-7b")
    with pytest.raises(UnknownIdError, match="did you mean deepbet"):
        load("deepbat")
    with pytest.raises(UnknownIdError):
        load("pcam")


@pytest.mark.network
def test_what_a_model_cannot_do_is_refused_with_what_it_can() -> None:
    with pytest.raises(CapabilityError, match="sceptr cannot segment; it can embed") as caught:
        load("sceptr", progress=False).segment("x.nii.gz")
    assert caught.value.can == ("embed",)
    with pytest.raises(UsageError, match="no option 'spacing'"):
        load("sceptr", progress=False).embed(RECEPTORS, spacing=1)
    with pytest.raises(UsageError, match="at least 1"):
        load("sceptr", progress=False).embed(RECEPTORS, batch_size=0)


def test_devices_and_dtypes_that_do_not_exist_are_named() -> None:
    with pytest.raises(UsageError, match="'gpu' is no device"):
        load("sceptr", device="gpu")
    with pytest.raises(UsageError, match="float16 is 4 to 14 times slower"):
        load("sceptr", dtype="float16")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="no cuda device"):
            load("sceptr", device="cuda")


@pytest.mark.network
def test_an_onnx_graph_runs_on_the_cpu_only() -> None:
    with pytest.raises(UsageError, match="ONNX graph"):
        load("openspindlenet-eeg", dtype="bfloat16", progress=False)


def test_local_weights_are_held_to_the_records_hash(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"not the weights")
    with pytest.raises(IntegrityError):
        load("sceptr", weights={"weights": tmp_path / "w.pt"})
    with pytest.raises(UsageError, match="roles weights"):
        load("sceptr", weights={"model": tmp_path / "w.pt"})
    with pytest.raises(SourceError, match="no such file"):
        load("sceptr", weights={"weights": tmp_path / "nowhere.pt"})


def with_hash(record: Model, sha256: str | None) -> Model:
    values = record.model_dump()
    for file in values["weights"]["origin"]["files"].values():
        file["sha256"], file["bytes"] = sha256, None
    return Model.model_validate(values)


@pytest.mark.network
def test_weights_of_another_network_are_refused_key_by_key(tmp_path: Path) -> None:
    files = load("sceptr", progress=False).files
    state = torch.load(files["weights"], weights_only=True, map_location="cpu")
    del state["_self_attention_stack._initial_projector.weight"]
    state["surprise"] = torch.zeros(2)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"1 missing \(project.weight\); 1 not expected \(surprise\)"):
        load(with_hash(CATALOG.models["sceptr"], None), weights={"weights": tmp_path / "w.pt"}, accept_unpinned=True)


def test_a_pickled_module_is_refused_by_load(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pt")
    with pytest.raises(UnsafeFileError, match="not executed"):
        load(with_hash(CATALOG.models["sceptr"], None), weights={"weights": tmp_path / "w.pt"}, accept_unpinned=True)


def test_a_damaged_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(b"hello")
    with pytest.raises(CheckpointError, match="sound ONNX graph"):
        load(with_hash(CATALOG.models["openspindlenet-eeg"], None), weights={"graph": tmp_path / "g.onnx"})


def test_a_missing_library_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    original = builtins.__import__

    def without_torch(name: str, *rest: object, **more: object) -> object:
        if name == "torch":
            raise ImportError(name)
        return original(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_torch)
    with pytest.raises(MissingExtraError, match=r"pip install 'medfm\[volumes\]'"):
        load("deepbet")


def test_errors_are_the_builtins_a_caller_expects() -> None:
    assert issubclass(UnknownIdError, KeyError)
    assert issubclass(MissingExtraError, ImportError)
    assert issubclass(GateError, PermissionError)
    assert issubclass(SourceError, OSError)
    assert issubclass(CapabilityError, TypeError)
    assert issubclass(UsageError, ValueError)
