from __future__ import annotations

import json
from pathlib import Path

import pytest

from medfm.catalog.index import Index
from medfm.catalog.leakage import exposures
from medfm.catalog.store import Catalog
from medfm.cli import main
from medfm.errors import UnknownIdError


def change(root: Path, file: str, old: str, new: str) -> None:
    path = root / "catalog" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_what_an_ancestor_saw_is_seen(small_catalog: Path) -> None:
    first = Catalog.load(small_catalog).leakage("child-encoder", "child-set")[0]
    assert first.verdict == "overlap"
    assert [(step.source, step.relation, step.target) for step in first.path] == [
        ("child-encoder", "finetuned-from", "base-encoder"),
        ("base-encoder", "trained-on:pretraining", "parent-set"),
        ("child-set", "subset-of", "parent-set"),
    ]
    assert first.path[1].read_at == "paper: Table 1"
    assert "which child-encoder was made from" in first.sentence


def test_the_same_set_is_named_with_its_split(small_catalog: Path) -> None:
    change(small_catalog, "models/base-encoder.yaml", "role: pretraining,", "role: pretraining, split: training half,")
    first = Catalog.load(small_catalog).leakage("base-encoder", "parent-set")[0]
    assert first.verdict == "overlap"
    assert "parent-set (training half) itself in pretraining; compare the splits" in first.sentence


def test_a_set_that_contains_another_was_seen_with_it(small_catalog: Path) -> None:
    # the edge stands in the record of the whole instead of the part
    change(
        small_catalog,
        "datasets/child-set.yaml",
        "derived_from: [{dataset: parent-set, relation: subset-of, split: validation}]\n",
        "",
    )
    change(small_catalog, "datasets/child-set.yaml", ", derived_from: paper}", "}")
    change(
        small_catalog,
        "datasets/parent-set.yaml",
        "access: {status: closed}\n",
        "access: {status: closed}\n"
        "derived_from: [{dataset: child-set, relation: contains}]\nderived: {derived_from: an example}\n",
    )
    assert Catalog.load(small_catalog).leakage("base-encoder", "child-set")[0].verdict == "overlap"


@pytest.mark.parametrize("relation", ["same-cohort-as", "sibling"])
def test_the_same_patients_or_a_common_origin_are_possible_overlaps(relation: str, small_catalog: Path) -> None:
    other = (small_catalog / "catalog" / "datasets" / "child-set.yaml").read_text().replace("ChildSet", "OtherSet")
    if relation == "same-cohort-as":
        other = other.replace("relation: subset-of", "relation: same-cohort-as")
    else:
        change(small_catalog, "models/base-encoder.yaml", "dataset: parent-set", "dataset: child-set")
    (small_catalog / "catalog" / "datasets" / "other-set.yaml").write_text(other)
    first = Catalog.load(small_catalog).leakage("base-encoder", "other-set")[0]
    assert first.verdict == "possible"
    assert "may share data or patients with other-set" in first.sentence


def test_undisclosed_and_not_looked_up_differ_and_rule_nothing_out(small_catalog: Path) -> None:
    found = Catalog.load(small_catalog).leakage("child-encoder", "parent-set")
    assert [exposure.verdict for exposure in found] == ["overlap", "undisclosed"]
    assert "not looked up yet, so nothing can be ruled out" in found[1].sentence
    change(small_catalog, "models/child-encoder.yaml", "conflicts:", "undisclosed: [training.data]\nconflicts:")
    assert (
        "its training data are undisclosed"
        in Catalog.load(small_catalog).leakage("child-encoder", "parent-set")[1].sentence
    )


def test_nothing_known_is_said_with_what_it_rests_on(small_catalog: Path) -> None:
    other = (small_catalog / "catalog" / "datasets" / "parent-set.yaml").read_text().replace("ParentSet", "OtherSet")
    (small_catalog / "catalog" / "datasets" / "other-set.yaml").write_text(other)
    (only,) = Catalog.load(small_catalog).leakage("base-encoder", "other-set")
    assert only.verdict == "none known"
    assert only.path == ()
    assert "of parent-set, which is closed, only what the authors say is known" in only.sentence


def test_the_index_answers_as_the_typed_catalog(small_catalog: Path) -> None:
    catalog = Catalog.load(small_catalog)
    with Index.open(str(small_catalog)) as index:
        for model in catalog.models:
            for dataset in catalog.datasets:
                assert exposures(model, dataset, index.edges(), index.record) == catalog.leakage(model, dataset)


def test_unknown_ids_are_refused(small_catalog: Path) -> None:
    with pytest.raises(UnknownIdError, match="did you mean base-encoder"):
        Catalog.load(small_catalog).leakage("base-encodr", "child-set")
    with pytest.raises(UnknownIdError, match="did you mean child-set"):
        Catalog.load(small_catalog).leakage("base-encoder", "child-sets")


def test_pcam_is_seen_by_whoever_saw_camelyon16() -> None:
    catalog = Catalog.load()
    assert catalog.datasets["pcam"].derived_from[0].dataset == "camelyon16"
    saw = [m.id for m in catalog.select("model", trained_on="camelyon16")]
    for model in saw:
        assert catalog.leakage(model, "pcam")[0].verdict == "overlap"
    assert catalog.leakage("midnight-12k", "imagenet-1k")[0].path[0].target == "dinov2-vit-g-14"


def test_the_command_prints_the_way_and_its_sources(
    small_catalog: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDFM_CONTENT", str(small_catalog))
    assert main(["leakage", "child-encoder", "child-set"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("overlap: base-encoder, which child-encoder was made from,")
    assert "child-set subset-of parent-set (validation)   [paper]" in out
    assert main(["leakage", "child-encoder", "child-set", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["verdict"] == "overlap"
    assert main(["leakage", "child-set", "child-encoder"]) == 2
    assert "give a model, then a dataset" in capsys.readouterr().err
