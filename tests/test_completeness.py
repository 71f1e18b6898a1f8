from __future__ import annotations

import subprocess
import sys

import pytest

from medfm.catalog.completeness import CORE, MEANING, completeness, has_value, state
from medfm.catalog.records import KINDS
from medfm.catalog.rules import _exists
from tests.every_kind import catalog_of_every_kind

RECORD = {
    "parameters": 0,
    "license": {"weights": "MIT", "code": None, "terms": {}},
    "training": {"data": [], "methods": ["ssl"], "dataset": None},
    "undisclosed": ["training.data", "license.gate"],
    "not_applicable": ["context"],
}


def test_an_undisclosed_fact_differs_from_one_not_looked_up() -> None:
    assert state(RECORD, "training.data") == "undisclosed"
    assert state(RECORD, "license.code") == "not looked up"


def test_a_fact_that_cannot_be_is_not_missing() -> None:
    assert state(RECORD, "context") == "not applicable"
    assert completeness(RECORD | {"not_applicable": ["links"]}, "model").states["links"] == "not applicable"


def test_what_lies_below_an_undisclosed_field_is_undisclosed_too_and_nothing_beside_it() -> None:
    assert state(RECORD, "training.data[0].amount") == "undisclosed"
    assert state(RECORD, "training.dataset") == "not looked up"


def test_a_value_wins_over_what_is_said_of_its_absence() -> None:
    assert state(RECORD | {"undisclosed": ["license"]}, "license.weights") == "value"
    assert state(RECORD | {"undisclosed": ["license"]}, "license.code") == "undisclosed"


@pytest.mark.parametrize(
    ("value", "expected"), [(0, True), (False, True), ("", False), ([], False), ({"a": None}, False)]
)
def test_zero_is_a_value_and_an_object_of_nothing_is_none(value: object, expected: bool) -> None:
    assert has_value(value) is expected


def test_undisclosed_counts_as_looked_up_and_a_gap_does_not() -> None:
    found = completeness(RECORD, "model")
    assert "training.data" not in found.missing
    assert "license.code" in found.missing
    assert found.known + len(found.missing) == found.total == len(CORE["model"])


def test_a_hundred_percent_means_that_nothing_is_missing() -> None:
    whole = dict.fromkeys(CORE["competition"], "x")
    assert completeness(whole, "competition").percent == 100
    for field in CORE["competition"]:
        assert completeness(whole | {field: None}, "competition").percent < 100


def test_a_count_of_classes_stands_for_their_names() -> None:
    assert "labels" in completeness({"labels": []}, "dataset").missing
    assert "labels" not in completeness({"labels": [], "label_count": 104}, "dataset").missing


def test_every_core_field_exists_in_its_record() -> None:
    kinds = {cls.kind: cls for cls in KINDS}
    assert kinds.keys() == CORE.keys()
    unknown = [(kind, field) for kind, fields in CORE.items() for field in fields if not _exists(kinds[kind], field)]
    assert not unknown


def test_each_state_says_what_it_means_in_its_own_words() -> None:
    assert len(set(MEANING.values())) == len(MEANING) == 4


def test_the_states_of_typed_records_are_read_from_their_json() -> None:
    seer = catalog_of_every_kind().models["seer"].model_dump(mode="json")
    assert state(seer, "training.data") == "undisclosed"
    assert state(seer, "license.code") == "not looked up"
    assert state(seer, "context") == "not applicable"
    assert completeness(seer, "model").missing == ["organizations", "training.methods", "license.code"]


def test_look_ups_need_no_pydantic() -> None:
    code = "import sys, medfm.catalog.completeness, medfm.publishing.tables; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
