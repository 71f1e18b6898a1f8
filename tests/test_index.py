from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from medfm.catalog import index as index_module
from medfm.catalog.facets import BOUNDS, COLUMNS, FACETS, value_at
from medfm.catalog.index import Index
from medfm.catalog.indexing import build_file, to_json
from medfm.catalog.select import facets_of, select
from medfm.catalog.store import Catalog
from medfm.errors import CatalogError, UnknownIdError, UsageError


def test_the_index_answers_as_the_typed_catalog(small_catalog: Path) -> None:
    catalog = Catalog.load(small_catalog)
    with Index.open(str(small_catalog)) as index:
        assert index.ids() == sorted(record.id for record in catalog.all())
        for record in catalog.all():
            assert index.record(record.id) == to_json(record, catalog.files[record.id])
        for kind, filters in FACETS.items():
            for name in filters:
                words = {
                    word
                    for r in catalog.records[kind].values()
                    for word in facets_of(r, catalog.taxonomy).get(name, ())
                }
                for word in words:
                    typed = [r.id for r in select(catalog, kind, **{name: word})]
                    assert [row["id"] for row in index.select(kind, [(name, [word])])] == typed, (kind, name, word)


def test_a_filter_finds_everything_below_its_word(small_catalog: Path) -> None:
    catalog = Catalog.load(small_catalog)
    assert [m.id for m in catalog.select("model", modality="radiology")] == ["base-encoder", "child-encoder"]
    assert [m.id for m in catalog.select("model", modality="CAT scan")] == ["base-encoder"]
    assert [m.id for m in catalog.select("model", modality=["ct", "mri"], status="closed")] == ["child-encoder"]


def test_numbers_filter_by_size(small_catalog: Path) -> None:
    catalog = Catalog.load(small_catalog)
    assert [m.id for m in catalog.select("models", max_parameters="50M")] == ["child-encoder"]
    assert [m.id for m in catalog.select("models", since=2025)] == ["child-encoder"]
    with Index.open(str(small_catalog)) as index:
        assert [r["id"] for r in index.select("model", [("min-parameters", ["50M"])])] == ["base-encoder"]


def test_an_unknown_filter_or_word_is_refused_in_both_places(small_catalog: Path) -> None:
    catalog = Catalog.load(small_catalog)
    with Index.open(str(small_catalog)) as index:
        with pytest.raises(UsageError, match="modality"):
            index.select("model", [("modalty", ["ct"])])
        with pytest.raises(UnknownIdError, match="did you mean ct"):
            index.select("model", [("modality", ["cta"])])
        with pytest.raises(UsageError, match="no number"):
            index.select("model", [("since", ["soon"])])
    with pytest.raises(UsageError, match="modality"):
        catalog.select("model", modalty="ct")
    with pytest.raises(UnknownIdError, match="did you mean ct"):
        catalog.select("model", modality="cta")


def test_search_finds_names_aliases_synonyms_and_summaries(small_catalog: Path) -> None:
    with Index.open(str(small_catalog)) as index:
        assert index.search("BaseEncoder")[0]["id"] == "base-encoder"
        assert index.search("Base-1")[0]["id"] == "base-encoder"
        assert index.search("skull stripping", kind="model")[0]["id"] == "child-encoder"
        assert {hit["id"] for hit in index.search("exists only in these tests", kind="dataset")} == {
            "parent-set",
            "child-set",
        }
        assert index.search("") == []
        assert index.search('"; DROP TABLE records; --') == [] or index.ids()


def test_an_alias_or_a_name_is_as_good_as_an_id(small_catalog: Path) -> None:
    with Index.open(str(small_catalog)) as index:
        assert index.record("base 1")["id"] == "base-encoder"
        with pytest.raises(UnknownIdError, match="did you mean"):
            index.record("base-encodr")


def test_an_index_is_never_stale(small_catalog: Path) -> None:
    path = small_catalog / "catalog" / "models" / "base-encoder.yaml"
    with Index.open(str(small_catalog)) as index:
        assert index.record("base-encoder")["parameters"] == 86000000
    state = path.stat()
    path.write_text(path.read_text().replace("86000000", "86000001"))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # same size, same time of change
    with Index.open(str(small_catalog)) as index:
        assert index.record("base-encoder")["parameters"] == 86000001
    (small_catalog / "catalog" / "samples" / "three-numbers.yaml").unlink()
    with Index.open(str(small_catalog)) as index:
        assert "three-numbers" not in index.ids()
    bib = small_catalog / "survey" / "references.bib"
    bib.write_text(bib.read_text().replace("A base encoder", "Another base encoder"))
    with Index.open(str(small_catalog)) as index:
        assert "Another" in index.papers(["roe2024base"])[0]["bibtex"]


def test_an_unchanged_catalog_is_indexed_once(small_catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Index.open(str(small_catalog)).__exit__(None, None, None)

    def fail(*_: object) -> str:
        raise AssertionError("the content was read again")

    monkeypatch.setattr(index_module, "content_digest", fail)
    Index.open(str(small_catalog)).__exit__(None, None, None)


def test_content_that_carries_its_index_is_not_indexed_again(
    small_catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_file(str(small_catalog), str(small_catalog / "index.sqlite"))
    monkeypatch.setenv("MEDFM_CACHE", str(tmp_path / "empty-cache"))
    with Index.open(str(small_catalog)) as index:
        assert index.record("child-set")["kind"] == "dataset"
    assert not list((tmp_path / "empty-cache").rglob("*.sqlite"))
    # a file that is replaced, as an installer does it, is noticed all the same
    path = small_catalog / "catalog" / "datasets" / "child-set.yaml"
    new = path.with_name("new.yaml")
    new.write_text(path.read_text().replace("name: ChildSet", "name: NewName"))
    new.replace(path)
    with Index.open(str(small_catalog)) as index:
        assert index.record("child-set")["name"] == "NewName"


def test_a_catalog_with_problems_gets_no_index(
    small_catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDFM_CACHE", str(tmp_path / "cache"))
    (small_catalog / "catalog" / "models" / "base-encoder.yaml").write_text("name: [")
    with pytest.raises(CatalogError):
        Index.open(str(small_catalog))
    assert not list((tmp_path / "cache").rglob("*.sqlite"))
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_a_cache_that_cannot_be_written_costs_time_only(small_catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDFM_CACHE", "/dev/null/no-such-place")
    with Index.open(str(small_catalog)) as index:
        assert "base-encoder" in index.ids()


def test_an_index_cannot_be_written_to(small_catalog: Path) -> None:
    with Index.open(str(small_catalog)) as index, pytest.raises(sqlite3.OperationalError, match="readonly"):
        index._db.execute("DELETE FROM records")


def test_the_graph_has_every_reference(small_catalog: Path) -> None:
    graph = Catalog.load(small_catalog).graph
    assert graph.has_edge("child-encoder", "base-encoder", "finetuned-from")
    assert graph.has_edge("base-encoder", "parent-set", "trained-on:pretraining")
    assert graph.has_edge("child-set", "parent-set", "subset-of")
    assert graph.has_edge("child-encoder", "child-set", "scored-on")
    assert graph.has_edge("example-cup-2025", "overlap", "ranks-by")
    with Index.open(str(small_catalog)) as index:
        assert {(e["source"], e["relation"], e["target"]) for e in index.edges()} == {
            (s, key, t) for s, t, key in graph.edges(keys=True)
        }


def test_to_pandas_has_a_row_a_record(small_catalog: Path) -> None:
    frame = Catalog.load(small_catalog).to_pandas("model")
    assert list(frame.index) == ["base-encoder", "child-encoder"]
    assert frame.loc["base-encoder", "license.weights"] == "LicenseRef-terms"
    assert frame.loc["base-encoder", "modalities"] == "ct"


def test_catalog_search_agrees_with_the_index(small_catalog: Path) -> None:
    assert [r.id for r in Catalog.load(small_catalog).search("skull stripping", kind="model")] == ["child-encoder"]


def test_every_column_and_bound_points_at_a_field() -> None:
    catalog = Catalog.load()
    for kind, columns in COLUMNS.items():
        records = [to_json(r, catalog.files[r.id]) for r in catalog.records[kind].values()]
        assert records, kind
        for name, path in columns.items():
            assert any(value_at(record, path) not in (None, []) for record in records), (kind, name)
    assert all(kind in FACETS for kind in BOUNDS)
