from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from pydantic import BaseModel

from medfm.catalog import outputs, weights
from medfm.catalog.store import Catalog, read, read_one
from medfm.errors import CatalogError, UnknownIdError

INVALID = sorted((Path(__file__).parent / "records" / "invalid").glob("*.yaml"))


def test_the_small_catalog_has_no_problems(small_catalog: Path) -> None:
    catalog = Catalog.load(small_catalog)
    assert [len(records) for records in catalog.records.values()] == [2, 2, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("example", INVALID, ids=lambda path: path.stem)
def test_each_broken_example_gets_its_own_sentence(example: Path, small_catalog: Path) -> None:
    lines = example.read_text().splitlines(keepends=True)
    place = lines[0].removeprefix("# place: ").strip()
    expected = lines[1].removeprefix("# expected: ").strip()
    # the two header lines stay as comments, except in BibTeX, which has none
    text = "".join(lines[2:] if place.endswith(".bib") else lines)
    (small_catalog / place).write_text(text)
    problems = [str(problem) for problem in read(small_catalog).problems]
    assert any(expected in problem for problem in problems), problems
    assert any(problem.startswith((place, "catalog/")) for problem in problems)


def test_there_are_enough_broken_examples() -> None:
    assert len(INVALID) >= 30


def test_all_problems_are_reported_at_once(small_catalog: Path) -> None:
    model = small_catalog / "catalog" / "models" / "base-encoder.yaml"
    model.write_text(model.read_text().replace("[ct]", "[cd]").replace("roe2024base", "nobody2024"))
    dataset = small_catalog / "catalog" / "datasets" / "child-set.yaml"
    dataset.write_text(dataset.read_text().replace("parent-set", "parents"))
    with pytest.raises(CatalogError) as caught:
        Catalog.load(small_catalog)
    files = {problem.file for problem in caught.value.problems}
    assert {"catalog/models/base-encoder.yaml", "catalog/datasets/child-set.yaml"} <= files
    assert len(caught.value.problems) >= 4
    assert isinstance(caught.value, ExceptionGroup)
    assert "base-encoder.yaml" in str(caught.value)


def test_norway_is_a_country_and_half_past_twelve_a_text(small_catalog: Path) -> None:
    path = small_catalog / "catalog" / "datasets" / "child-set.yaml"
    path.write_text(path.read_text().replace('["NO"]', "[NO]").replace("split: validation", "split: 12:30"))
    record = Catalog.load(small_catalog).datasets["child-set"]
    assert record.collected is not None
    assert record.collected.countries == ("NO",)
    assert record.derived_from[0].split == "12:30"


def test_an_unknown_id_gets_near_misses(small_catalog: Path) -> None:
    catalog = Catalog.load(small_catalog)
    with pytest.raises(UnknownIdError, match="did you mean base-encoder") as caught:
        catalog.models["base-encodr"]
    assert caught.value.suggestions == ("base-encoder",)
    with pytest.raises(KeyError):
        catalog["nothing-like-it"]


def test_records_cannot_be_changed(small_catalog: Path) -> None:
    record = Catalog.load(small_catalog).models["base-encoder"]
    with pytest.raises(ValueError, match="frozen"):
        record.parameters = 1  # type: ignore[misc]


def test_a_file_outside_the_known_folders_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "model" / "x.yaml"
    path.parent.mkdir()
    path.write_text("name: X\n")
    record, problems = read_one(path, str(path))
    assert record is None
    assert "did you mean models" in str(problems[0])


def test_the_real_catalog_has_no_problems() -> None:
    catalog = Catalog.load()
    assert len(catalog.models) >= 40
    assert len(catalog.datasets) >= 30
    assert len(catalog.metrics) >= 20
    assert len(catalog.challenges) == 12
    assert len(catalog.competitions) >= 6
    assert len(catalog.results) >= 8


def test_every_field_is_used_at_least_twice_in_the_real_catalog() -> None:
    used: Counter[tuple[type, str]] = Counter()
    fields: set[tuple[type, str]] = set()

    def home(cls: type[BaseModel], name: str) -> type:
        return next(base for base in reversed(cls.__mro__) if name in getattr(base, "model_fields", {}))

    def walk(part: BaseModel) -> None:
        # what describes one way of building or feeding a network stands once, in the only record that needs it so far
        module = type(part).__module__
        described = module.endswith("_steps") or module in (outputs.__name__, weights.__name__)
        for name in type(part).model_fields:
            key = (home(type(part), name), name)
            if not described:
                fields.add(key)
            value = getattr(part, name)
            used[key] += value not in (None, (), {})
            for item in value if isinstance(value, tuple) else value.values() if isinstance(value, dict) else [value]:
                if isinstance(item, BaseModel):
                    walk(item)

    for record in Catalog.load().all():
        walk(record)
    once = {f"{cls.__name__}.{name}" for cls, name in fields if used[cls, name] < 2}
    # one sample has a mask; of one model only could a prospective trial be read; one network is too large to be compared whole
    assert once <= {"Clinical.prospective", "Sample.references", "Disagreement.ours", "Parity.reduced"} | {
        f"SampleReference.{name}" for name in ("role", "origin", "made_by")
    }


def test_summaries_are_short_and_without_marketing() -> None:
    loud = re.compile(
        r"state[- ]of[- ]the[- ]art|cutting[- ]edge|groundbreaking|revolutioni|unprecedented", re.IGNORECASE
    )
    for record in Catalog.load().all():
        assert not loud.search(record.summary), record.id
