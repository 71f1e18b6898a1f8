"""Models whose authors' code only a repository has, beside what that code gave; and every error that could be planted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import medfm
from medfm.runtime import parity
from tests.abilities import contradictions
from tests.parity import harness, pictures, recordings
from tests.parity.harness import Case
from tests.parity.repositories import AUTHORS, REPOSITORIES

CATALOG = medfm.Catalog.load()
TEST = "tests/parity/test_recorded.py"
pytestmark = pytest.mark.parity
LARGEST = 300_000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return pictures.write(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module", params=sorted(AUTHORS))
def case(request: pytest.FixtureRequest, files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    folder = tmp_path_factory.mktemp("weights")
    yield recordings.restore(CATALOG.models[request.param], AUTHORS[request.param], files, folder)
    for path in folder.iterdir():
        path.unlink()


def test_every_record_that_names_this_test_has_a_recording_of_the_commit_that_it_states() -> None:
    named = {model.id: model for model in CATALOG.models.values() if model.parity.test == TEST}
    assert named.keys() == AUTHORS.keys() == {path.stem for path in recordings.FOLDER.glob("*.json")}
    for id, model in named.items():
        stored = json.loads((recordings.FOLDER / f"{id}.json").read_text())
        assert model.parity.status == "recorded"
        assert model.parity.reference is not None
        assert (model.parity.reference.repository, model.parity.reference.commit) == (
            REPOSITORIES[id],
            stored["commit"],
        )
        assert (recordings.FOLDER / f"{id}.npz").stat().st_size < LARGEST


def test_our_output_is_what_the_authors_code_gave(case: Case) -> None:
    record = case.record
    assert record.parity.tolerance is not None
    inputs, outputs = harness.agrees(case, record)
    (network,) = case.runner.network.modules().values()
    stored = json.loads((recordings.FOLDER / f"{record.id}.json").read_text())
    harness.note(
        record.id, inputs=inputs, outputs=outputs, parameters=sum(p.numel() for p in network.parameters()),
        keys=parity.fingerprint(network), versions=stored["versions"],
    )  # fmt: skip
    assert inputs <= harness.INPUT_TOLERANCE
    assert outputs <= record.parity.tolerance
    assert parity.fingerprint(network) == record.parity.keys, "the record's fingerprint of keys is not this network's"


def test_what_the_network_can_do_agrees_with_the_record(case: Case) -> None:
    assert contradictions(case.runner, CATALOG.taxonomy) == []


def test_every_planted_error_is_seen(case: Case) -> None:
    assert case.record.parity.tolerance is not None
    planted = list(harness.mutants(case.record))
    survivors = [m.what for m in planted if harness.survives(case, m, case.record.parity.tolerance)]
    harness.note(case.record.id, planted=len(planted), survived=survivors)
    assert planted
    assert not survivors, f"{len(survivors)} of {len(planted)} planted errors were not seen"
