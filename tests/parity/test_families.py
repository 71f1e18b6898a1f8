"""Every model that a family builds, beside its authors' code; and every error that could be planted into its contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import medfm
from medfm.catalog.records import Model
from medfm.runtime import parity
from tests.abilities import contradictions
from tests.parity import harness, pictures
from tests.parity.authors import authors
from tests.parity.harness import Case

AUTHORS = authors()
CATALOG = medfm.Catalog.load()
TEST = "tests/parity/test_families.py"
pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return pictures.write(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module", params=sorted(AUTHORS))
def case(request: pytest.FixtureRequest, files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    folder = tmp_path_factory.mktemp("weights")
    author = AUTHORS[request.param]
    yield harness.compare(CATALOG.models[request.param], author, files, folder)
    for path in folder.iterdir():
        path.unlink()  # a billion weights are 4.5 GB


def test_every_record_that_names_this_test_has_an_author() -> None:
    named = {model.id for model in CATALOG.models.values() if model.parity.test == TEST}
    assert named == AUTHORS.keys()


def test_our_output_is_the_authors(case: Case) -> None:
    record: Model = case.record
    assert record.parity.status == "verified"
    assert record.parity.tolerance is not None
    inputs, outputs = harness.agrees(case, record)
    (network,) = case.runner.network.modules().values()
    counted = sum(p.numel() for p in network.parameters())
    harness.note(
        record.id, inputs=inputs, outputs=outputs, parameters=counted, keys=parity.fingerprint(network),
        versions=harness.versions(case.author),
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
