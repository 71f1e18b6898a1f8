from __future__ import annotations

import csv as csv_format
import io
import json as json_format
from typing import Any

import pytest

from medfm.catalog.records import KINDS
from medfm.catalog.rules import _exists
from medfm.errors import UsageError
from medfm.publishing.columns import _COLUMNS, FIELD_OF, columns, size_text
from medfm.publishing.tables import csv, json, large, latex, markdown, rows, scores, sort_value
from tests.every_kind import catalog_of_every_kind

CATALOG = catalog_of_every_kind()
MODELS = [model.model_dump(mode="json") for model in CATALOG.models.values()]
ABSENT = {
    "id": "a",
    "name": "A",
    "training": {"data": [], "methods": []},
    "undisclosed": ["training.data"],
    "not_applicable": ["modalities"],
}


def test_a_cell_without_a_value_says_why() -> None:
    chosen = columns("model", ["training-data", "modalities", "tasks"])
    text = markdown(rows([ABSENT], chosen), chosen)
    assert text.splitlines()[-1] == "| undisclosed | not applicable | not looked up |"


def test_an_optional_cell_stays_empty_but_still_tells_what_is_undisclosed() -> None:
    chosen = columns("model", ["anatomy", "embedding-dim"])
    text = markdown(rows([ABSENT | {"undisclosed": ["embedding_dim"]}], chosen), chosen)
    assert text.splitlines()[-1] == "|  | undisclosed |"


def test_columns_come_in_the_order_named() -> None:
    assert [column.key for column in columns("model", ["license", "name"])] == ["license", "name"]


def test_an_unknown_column_gets_near_misses() -> None:
    with pytest.raises(UsageError, match="did you mean parameters"):
        columns("model", ["paramters"])


@pytest.mark.parametrize("kind", [cls.kind for cls in KINDS])
def test_every_column_reads_a_field_that_exists(kind: str) -> None:
    record = {cls.kind: cls for cls in KINDS}[kind]
    fields = set(next(scores(CATALOG.results["doe-2024"].model_dump(mode="json")))) if kind == "results" else None
    for column in _COLUMNS[kind]:
        path = FIELD_OF.get(column.path, column.path).replace(".*", "")
        if path.startswith("(") or column.path == "loadable":  # computed
            continue
        assert path in fields if fields is not None else _exists(record, path), column


def test_markdown_in_a_value_stays_text() -> None:
    chosen = columns("model", ["organizations"])
    made = markdown(rows([{"id": "a", "organizations": ["a | b", "*c*", "<d>"]}], chosen), chosen)
    assert made.splitlines()[-1] == r"| a &#124; b, \*c\*, &lt;d&gt; |"


def test_csv_keeps_raw_numbers_and_survives_commas_and_quotes() -> None:
    records = [{"id": "a", "parameters": 303_000_000, "organizations": ['He said "yes"', "Us, Inc."]}, ABSENT]
    chosen = columns("model", ["parameters", "organizations", "training-data"])
    read = list(csv_format.DictReader(io.StringIO(csv(rows(records, chosen), chosen))))
    assert read[0]["parameters"] == "303000000"
    assert read[0]["organizations"] == 'He said "yes"; Us, Inc.'
    assert read[1]["training-data"] == "undisclosed"
    assert read[1]["parameters"] == ""  # not looked up: nothing is known


def test_json_names_the_state_of_each_missing_field() -> None:
    chosen = columns("model", ["training-data", "parameters", "modalities"])
    (found,) = json_format.loads(json(rows([ABSENT], chosen), chosen))
    assert found["states"] == {
        "training-data": "undisclosed",
        "parameters": "not looked up",
        "modalities": "not applicable",
    }
    assert found["parameters"] is None


def test_latex_escapes_what_latex_would_read() -> None:
    chosen = columns("model", ["organizations"])
    made = latex(rows([{"id": "a", "organizations": [r"A&B_{50%} \ $ ~ ^ #"]}], chosen), chosen)
    line = r"A\&B\_\{50\%\} \textbackslash{} \$ \textasciitilde{} \textasciicircum{} \# \\"
    assert line in made.splitlines()


def test_latex_numbers_stand_at_the_right() -> None:
    chosen = columns("model", ["name", "parameters"])
    assert latex(rows(MODELS, chosen), chosen).splitlines()[0] == r"\begin{tabular}{lr}"


def test_results_become_one_row_a_score_with_its_protocol() -> None:
    found = list(scores(CATALOG.results["doe-2024"].model_dump(mode="json")))
    assert len(found) == 5
    assert len({score["id"] for score in found}) == 5
    chosen = columns("results", ["model", "value"])
    assert len(rows([CATALOG.results["doe-2024"].model_dump(mode="json")], chosen)) == 5
    assert found[2] | {"id": ""} == {
        "id": "",
        "source": "doe-2024",
        "table": 2,
        "dataset": "brains",
        "split": "test",
        "task": "segmentation",
        "setting": "linear-probe",
        "metric": "dice",
        "unit": "percent",
        "reported_by": "third-party",
        "locator": "Table 3",
        "model": "seer",
        "value": 88.0,
        "ci": None,
        "sd": None,
        "n": None,
        "details": None,
    }


def test_a_range_without_an_end_is_unbounded() -> None:
    chosen = columns("metric", ["range"])
    made = markdown(rows([CATALOG.metrics["hausdorff"].model_dump(mode="json")], chosen), chosen)
    assert made.splitlines()[-1] == "| 0 to unbounded |"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1 K"),
        (999_499, "999 K"),
        (999_600, "1 M"),
        (7e9, "7 B"),
        (540e9, "540 B"),
        (1.8e12, "1.8 T"),
    ],
)
def test_large_numbers_never_show_a_thousand_of_a_magnitude(number: float, text: str) -> None:
    assert large(number) == text


def test_sizes_say_how_the_source_puts_them() -> None:
    assert (
        size_text({"images": 100_000, "hours": 1.5, "masks": None, "qualifier": "at-least"})
        == "at least 100,000 images, 1.5 hours"
    )
    assert size_text({"images": None, "qualifier": None}) is None


def test_numbers_sort_by_size_and_gaps_have_no_place() -> None:
    chosen = columns("model", ["parameters", "license"])
    records: list[dict[str, Any]] = [{"id": "a", "parameters": 9}, {"id": "b", "parameters": 10}, {"id": "c"}]
    made = rows(records, chosen)
    assert [sort_value(row.cells["parameters"], chosen[0]) for row in made] == [9.0, 10.0, None]
