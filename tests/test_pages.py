from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import markdown
import pytest

from medfm.cli import site as command
from medfm.errors import CatalogError, OutputExistsError
from medfm.publishing.examples import python_example
from medfm.publishing.pages import MARKER, files, write
from medfm.runtime.capabilities import METHODS
from tests.every_kind import catalog_of_every_kind

CATALOG = catalog_of_every_kind()
EXTENSIONS = ["attr_list", "md_in_html", "tables", "toc", "admonition", "pymdownx.details", "pymdownx.superfences"]


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """Every file of the small site by its path."""
    return {name: content.decode() for name, content in files(CATALOG, Path("/nowhere"))}


def section(page: str, title: str) -> str:
    """The part of a page under a heading of the second level."""
    match = re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert match, f"no section {title!r}"
    return match[1]


def row(page: str, first: str) -> list[str]:
    """The cells of a table's row by the first of them."""
    lines = [line for line in page.split("\n") if line.startswith(f"| {first} |")]
    assert len(lines) == 1, (first, lines)
    return [cell.strip() for cell in lines[0].strip("|").split("|")]


# ---------------------------------------------------------------- facts


def test_an_undisclosed_fact_differs_from_one_not_looked_up(pages: dict[str, str]) -> None:
    seer = pages["models/seer.md"]
    training = section(seer, "Training data")
    assert ">undisclosed</span>" in training
    assert ">not looked up</span>" not in training
    assert ">not looked up</span>" in row(section(seer, "License and access"), "Code")[1]
    assert ">not applicable</span>" in row(seer, "Context")[1]


def test_each_value_shows_its_source_and_the_place_in_it(pages: dict[str, str]) -> None:
    cells = row(pages["models/seer.md"], "Parameters")
    assert cells[1] == "303 M (303,000,000)"
    assert cells[2] == "[card](#source-card): first line; [paper](#source-paper): Table 2"


def test_a_derived_value_says_how(pages: dict[str, str]) -> None:
    assert row(pages["models/seer.md"], "Embedding")[2] == "derived: read from the configuration"


def test_every_source_that_a_page_names_stands_on_it(pages: dict[str, str]) -> None:
    named = 0
    for page in pages.values():
        anchors = set(re.findall(r'id="(source-[^"]+)"', page))
        links = set(re.findall(r"\(#(source-[^)]+)\)", page))
        named += len(links)
        assert links <= anchors
    assert named >= 4


def test_a_conflict_shows_both_claims_and_which_one_is_followed(pages: dict[str, str]) -> None:
    text = section(pages["models/seer.md"], "Where sources disagree")
    cells = row(text, "`parameters`")
    assert "303 M ([card](#source-card))" in cells[1]
    assert "304 M ([paper](#source-paper): Table 2)" in cells[1]
    assert cells[2:4] == ["[card](#source-card)", "The card was written later."]


def test_the_license_stands_by_part_with_its_terms(pages: dict[str, str]) -> None:
    text = section(pages["models/seer.md"], "License and access")
    assert row(text, "Weights")[1:3] == ["Terms of their own", "[terms](https://example.org/terms)"]
    assert row(text, "Gate")[1].startswith("form:")


def test_what_is_missing_is_named_at_the_end(pages: dict[str, str]) -> None:
    text = section(pages["models/seer.md"], "How complete this record is")
    assert "11 of 14 core fields" in text
    assert "`organizations`, `training.methods`, `license.code`" in text


# ---------------------------------------------------------------- models


def test_a_model_that_runs_shows_the_call_and_the_contract(pages: dict[str, str]) -> None:
    page = pages["models/stripper.md"]
    assert 'medfm.load("stripper")' in section(page, "Use it")
    assert "model.segment(" in section(page, "Use it")
    assert str(CATALOG.models["stripper"].contract) in section(page, "Input and output contract")
    assert "**resize** | size 64 64 64, interpolation linear" in page


def test_a_model_that_does_not_run_says_how_to_get_it(pages: dict[str, str]) -> None:
    text = section(pages["models/seer.md"], "Use it")
    assert "medfm.load" not in text
    assert 'medfm.Catalog.load().models["seer"]' in text
    assert "https://example.org/weights" in text
    assert "accept the terms" in text


def test_examples_call_only_methods_that_exist() -> None:
    called = {
        name for model in CATALOG.models.values() for name in re.findall(r"model\.(\w+)\(", python_example(model))
    }
    assert called
    assert called <= METHODS.keys()


def test_what_an_ancestor_saw_is_on_the_page(pages: dict[str, str]) -> None:
    assert "[Ancestor](ancestor.md) saw [Photos](../datasets/photos.md)" in pages["models/seer.md"]


def test_lineage_is_shown_from_both_ends(pages: dict[str, str]) -> None:
    assert "initialized from [Ancestor](ancestor.md)" in section(pages["models/seer.md"], "Lineage")
    assert "](seer.md), initialized from it" in section(pages["models/ancestor.md"], "Lineage")


def test_scores_stand_together_only_within_one_protocol(pages: dict[str, str]) -> None:
    text = section(pages["datasets/brains.md"], "Results on it")
    tables = [part for part in text.split("\n\n") if part.startswith("| Model")]
    assert [part.count("\n") - 1 for part in tables] == [1, 2, 2]  # linear probe alone, Dice of two, Hausdorff of two


def test_the_best_score_comes_first_whichever_way_is_better(pages: dict[str, str]) -> None:
    text = section(pages["datasets/brains.md"], "Results on it")
    dice, hausdorff = [part for part in text.split("\n\n") if part.startswith("| Model") and "Stripper" in part]
    assert dice.index("96.0 %") < dice.index("71.5 %")
    assert hausdorff.index("3.5 %") < hausdorff.index("12.0 %")


# ---------------------------------------------------------------- other kinds


def test_a_dataset_names_the_models_that_saw_it_and_its_relatives(pages: dict[str, str]) -> None:
    page = pages["datasets/brains.md"]
    assert row(section(page, "Models that saw it"), "[Stripper](../models/stripper.md)")[1:3] == [
        "pretraining",
        "train",
    ]
    assert "[Young brains](young-brains.md), subset of this dataset" in section(page, "Lineage")
    assert "subset of [Brains](brains.md)" in section(pages["datasets/young-brains.md"], "Lineage")


def test_a_definition_is_a_formula_and_stays_latex_where_it_is_not_known(pages: dict[str, str]) -> None:
    assert "<mfrac>" in section(pages["metrics/dice.md"], "Definition")
    assert "<math" not in pages["metrics/hausdorff.md"]
    assert "```latex\n\\nosuchcommand A\n```" in pages["metrics/hausdorff.md"]


def test_a_challenge_says_who_named_it(pages: dict[str, str]) -> None:
    assert "named in the survey’s abstract" in pages["challenges/scarcity.md"]


# ---------------------------------------------------------------- the whole


def test_every_record_has_a_page_a_json_file_and_a_row(pages: dict[str, str]) -> None:
    index = json.loads(pages["api/catalog.json"])["records"]
    assert {entry["id"] for entry in index} == {record.id for record in CATALOG.all()}
    for entry in index:
        folder = entry["page"].split("/")[0]
        page = entry["page"].removesuffix(".html") + ".md"
        assert page in pages
        assert json.loads(pages[entry["json"]])["id"] == entry["id"]
        assert f"({entry['id']}.md)" in pages[f"{folder}/index.md"], entry


def test_the_json_of_a_record_is_the_record(pages: dict[str, str]) -> None:
    found = json.loads(pages["api/models/seer.json"])
    model = CATALOG.models["seer"].model_dump(mode="json")
    assert {key: found[key] for key in model} == model
    assert found["completeness"]["states"]["training.data"] == "undisclosed"


def test_odd_letters_in_a_record_stay_letters(pages: dict[str, str]) -> None:
    text = pages["models/seer.md"].split("---\n", 2)[2]
    shown = markdown.markdown(text, extensions=EXTENSIONS)
    title = re.search(r"<h1[^>]*>(.*?)</h1>", shown)
    assert title
    assert html.unescape(title[1]) == "SEER <base> | v1"
    assert "An encoder for slides with *odd* letters: a_b, [c] and {d}." in html.unescape(shown)


def test_links_lead_to_pages_that_exist(pages: dict[str, str]) -> None:
    count = 0
    for name, text in pages.items():
        if not name.endswith(".md"):
            continue
        for address in _addresses(text):
            path = address.split("#")[0].split("?")[0]
            if "://" in address or not path:
                continue
            target = (Path("/") / name).parent.joinpath(path).resolve().relative_to("/").as_posix()
            target = re.sub(r"\.html$", ".md", target)
            count += 1
            assert target in pages, (name, address)
    assert count > 100


def _addresses(text: str) -> Iterator[str]:
    yield from re.findall(r"\]\(([^)\s]+)\)", text)
    yield from map(html.unescape, re.findall(r'href="([^"]+)"', text))


def test_pictures_are_well_formed(pages: dict[str, str]) -> None:
    pictures = [svg for page in pages.values() for svg in re.findall(r"<svg.*?</svg>", page)]
    assert len(pictures) >= 4
    for svg in pictures:
        ElementTree.fromstring(svg)  # noqa: S314  # our own text


def test_a_word_lists_what_stands_below_it(pages: dict[str, str]) -> None:
    assert "[Stripper](../models/stripper.md)" in pages["tasks/segmentation.md"]
    assert "[Stripper](../models/stripper.md)" in pages["tasks/brain-extraction.md"]
    assert "[Stripper](../models/stripper.md)" not in pages["tasks/representation.md"]
    assert "modalities/ct.md" not in pages  # no record has it


def test_filters_know_the_words_above(pages: dict[str, str]) -> None:
    data = _data(pages["models/index.md"])
    by_name = {row["text"].split()[0]: row["facets"] for row in data["rows"]}
    assert by_name["stripper"]["modality"] == ["mri", "radiology"]
    (modality,) = (facet for facet in data["facets"] if facet["key"] == "modality")
    assert ["radiology", "Radiology", 0, 1] in modality["words"]
    assert ["mri", "Magnetic resonance imaging", 1, 1] in modality["words"]


def test_the_table_and_its_data_have_the_same_rows_and_columns(pages: dict[str, str]) -> None:
    for folder in ("models", "datasets", "metrics", "challenges", "competitions", "results", "samples"):
        page = pages[f"{folder}/index.md"]
        data = _data(page)
        lines = [line for line in page.split("\n") if line.startswith("| ")]
        assert len(lines) - 2 == len(data["rows"]) > 0
        assert lines[0].count("|") - 1 == len(data["columns"]) == len(data["rows"][0]["sort"])


def test_other_names_are_found_by_the_text_filter(pages: dict[str, str]) -> None:
    assert any("grand observer" in row["text"] for row in _data(pages["models/index.md"])["rows"])


def _data(page: str) -> dict[str, list[dict[str, dict[str, list[str]]]]]:
    match = re.search(r'<script type="application/json" class="medfm-table-data">(.*?)</script>', page)
    assert match
    found: dict[str, list[dict[str, dict[str, list[str]]]]] = json.loads(match[1])
    return found


def test_record_pages_stay_out_of_the_navigation(pages: dict[str, str]) -> None:
    listed = re.findall(r": (\S+\.md)$", pages["nav.yml"], re.MULTILINE)
    assert "models/index.md" in listed
    assert not [page for page in listed if page.count("/") and not page.endswith("/index.md")]


def test_references_have_an_anchor_and_say_who_cites_them(pages: dict[str, str]) -> None:
    page = pages["references.md"]
    assert '<span id="ref-doe2024seer"></span>' in page
    assert "](models/seer.md)" in page
    assert "(../references.md#ref-doe2024seer)" in pages["models/seer.md"]
    assert "@article{doe2024seer," in pages["downloads/references.bib"]


# ---------------------------------------------------------------- chapters and files


def content(tmp_path: Path, chapter: str) -> Path:
    folder = tmp_path / "survey" / "chapters"
    folder.mkdir(parents=True)
    (folder / "01-first.md").write_text(chapter)
    return tmp_path


def test_a_chapter_gets_tables_counts_links_and_citations_from_the_catalog(tmp_path: Path) -> None:
    text = (
        "# One\n\n<!-- table: models modality=radiology,pathology columns=name,year sort=-year limit=1 -->\n\n"
        "There are <!-- count: models task=segmentation --> and [[stripper]] [@doe2024seer].\n\n<!-- chart: timeline -->\n"
    )
    page = dict(files(CATALOG, content(tmp_path, text)))["survey/01-first.md"].decode()
    assert re.search(r"\| \[SEER .*\]\(\.\./models/seer\.md\) \| 2024 \|", page)
    assert "1 of 2 models, from the catalog." in page
    assert (
        "There are 1 and [Stripper](../models/stripper.md) ([Doe et al. 2024](../references.md#ref-doe2024seer))."
        in page
    )
    assert "<svg" in page
    assert "<!--" not in page


def test_all_mistakes_in_chapters_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    text = (
        "# One\n<!-- table: modles -->\n<!-- table: models columns=nmae -->\n<!-- count: models modality=radiologgy -->\n"
        "[[striper]]\n[@doe2025seer]\n<!-- chart: pie -->\n"
    )
    with pytest.raises(CatalogError) as raised:
        dict(files(CATALOG, content(tmp_path, text)))
    told = [str(problem) for problem in raised.value.problems]
    assert [problem.split(": ")[1] for problem in told] == [f"line {n}" for n in range(2, 8)]
    for hint in ("models", "name", "radiology", "stripper", "doe2024seer", "timeline"):
        assert any(hint in problem for problem in told), hint


def test_hand_written_pages_and_assets_come_along_and_enter_the_navigation(tmp_path: Path) -> None:
    (tmp_path / "site" / "text").mkdir(parents=True)
    (tmp_path / "site" / "assets").mkdir()
    (tmp_path / "site" / "text" / "building.md").write_text("# How it is built\n")
    (tmp_path / "site" / "assets" / "a.css").write_text("a {}")
    made = dict(files(CATALOG, tmp_path))
    assert made["building.md"] == b"# How it is built\n"
    assert made["assets/a.css"] == b"a {}"
    assert '- "How it is built": building.md' in made["nav.yml"].decode()


def test_the_same_catalog_gives_the_same_bytes(pages: dict[str, str]) -> None:
    again = {name: content.decode() for name, content in files(catalog_of_every_kind(), Path("/nowhere"))}
    assert again == pages


def test_a_second_run_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    target = tmp_path / "pages"
    write(CATALOG, Path("/nowhere"), target)
    (target / "models" / "gone.md").write_text("a record that was deleted")
    written = write(CATALOG, Path("/nowhere"), target)
    assert sorted(path for path in target.rglob("*") if path.is_file()) == written
    assert [path.name for path in tmp_path.iterdir()] == ["pages"]  # no temporary folder stays


def test_a_folder_of_somebody_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.md").write_text("mine")
    with pytest.raises(OutputExistsError):
        write(CATALOG, Path("/nowhere"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.md"]


def test_check_tells_what_differs_and_writes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "pages"
    missing = write(CATALOG, Path("/nowhere"), target, check=True)
    assert target / "models" / "seer.md" in missing
    assert not target.exists()
    write(CATALOG, Path("/nowhere"), target)
    assert write(CATALOG, Path("/nowhere"), target, check=True) == []
    (target / "index.md").write_text("changed")
    (target / "old.md").write_text("left over")
    assert write(CATALOG, Path("/nowhere"), target, check=True) == [target / "index.md", target / "old.md"]
    assert (target / "index.md").read_text() == "changed"


def test_the_command_writes_and_checks(
    tmp_path: Path, small_catalog: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDFM_CONTENT", str(small_catalog))
    monkeypatch.chdir(tmp_path)
    assert command.pages(["--check"]) == 1
    assert command.pages([]) == 0
    assert (tmp_path / "medfm-pages" / MARKER).exists()
    capsys.readouterr()
    assert command.pages(["--check"]) == 0
    assert capsys.readouterr().out == ""


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_data(self, data: str) -> None:
        self.found.append(data)


def test_states_are_words_and_not_only_colors(pages: dict[str, str]) -> None:
    parser = _Words()
    parser.feed(markdown.markdown(pages["models/seer.md"].split("---\n", 2)[2], extensions=EXTENSIONS))
    words = " ".join(parser.found)
    for state in ("undisclosed", "not looked up", "not applicable"):
        assert state in words


def test_a_result_on_a_set_that_was_seen_in_training_says_so(pages: dict[str, str]) -> None:
    text = section(pages["models/stripper.md"], "Published results")
    assert "Read these with care" in text
    assert "**overlap**, [Brains](../datasets/brains.md)" in text
