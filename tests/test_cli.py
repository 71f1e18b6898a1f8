from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medfm.catalog.facets import FACETS, KIND_NAMES
from medfm.cli import COMMANDS, main

HEAVY = {"pydantic", "networkx", "pandas", "torch", "numpy", "yaml", "transformers"}


@pytest.fixture
def run(small_catalog: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("MEDFM_CONTENT", str(small_catalog))

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_help_names_every_command_and_exit_code_2_is_for_bad_use(run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert all(f"  {name}" in out for name in COMMANDS)
    assert run()[0] == 2
    code, _, err = run("lsit")
    assert code == 2
    assert "no command is named 'lsit'; did you mean list?" in err
    assert run("--version")[1].startswith("medfm ")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(command: str, run) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0


@pytest.mark.parametrize("kind", FACETS)
def test_list_gives_every_kind_as_text_json_and_csv(kind: str, run) -> None:
    code, text, _ = run("list", KIND_NAMES[kind])
    assert code == 0
    rows = json.loads(run("list", KIND_NAMES[kind], "--json")[1])
    table = list(csv.DictReader(io.StringIO(run("list", KIND_NAMES[kind], "--csv")[1])))
    assert [row["id"] for row in rows] == [row["id"] for row in table]
    assert all(row["id"] in text for row in rows)
    assert rows


def test_filters_on_the_command_line_are_those_of_python(run) -> None:
    assert [r["id"] for r in json.loads(run("list", "--modality", "CAT scan", "--json")[1])] == ["base-encoder"]
    assert run("list", "--modality", "mri", "--modality", "ct", "--count")[1] == "2\n"
    assert [r["id"] for r in json.loads(run("list", "datasets", "--country", "NO", "--json")[1])] == ["child-set"]
    code, _, err = run("list", "--modalty", "ct")
    assert code == 2
    assert "no option --modalty; did you mean --modality" in err
    code, _, err = run("list", "--modality", "cta")
    assert code == 2
    assert "did you mean ct?" in err


def test_show_gives_the_source_of_every_fact(run) -> None:
    code, text, _ = run("show", "base-encoder")
    assert code == 0
    assert "paper: Methods" in text
    assert "counted by building the architecture" in text
    assert "undisclosed (looked for; the sources do not say): training.compute" in text
    assert json.loads(run("show", "BaseEncoder", "--json")[1])["parameters"] == 86000000
    assert run("show", "base-encoder", "--field", "parameters")[1] == "86000000\n"
    assert json.loads(run("show", "base-encoder", "--field", "training.data[0].amount.volumes", "--json")[1]) == 1000
    assert "sources disagree on parameters" in run("show", "child-encoder")[1]
    assert "81.5" in run("show", "child-paper")[1]
    code, _, err = run("show", "base-encoder", "--field", "parametrs")
    assert code == 2
    assert "did you mean parameters" in err
    code, _, err = run("show", "base-encodr")
    assert code == 2
    assert "did you mean base-encoder" in err


def test_search_prints_the_best_match_first(run) -> None:
    assert json.loads(run("search", "skull", "stripping", "--json")[1])[0]["id"] == "child-encoder"
    assert run("search", "zebra")[0] == 0
    assert "nothing found" in run("search", "zebra")[2]


@pytest.mark.parametrize("form", ["--json", "--csv", "--markdown", "--latex"])
def test_compare_puts_records_side_by_side(form: str, run) -> None:
    code, out, _ = run("compare", "base-encoder", "child-encoder", form)
    assert code == 0
    assert "base-encoder" in out
    assert "child-encoder" in out
    assert "MIT" in out


def test_compare_refuses_records_of_two_kinds(run) -> None:
    code, _, err = run("compare", "base-encoder", "child-set")
    assert code == 2
    assert "one kind" in err


def test_cite_gives_bibtex_for_records_filters_searches_and_tables(run) -> None:
    assert "@article{roe2024base," in run("cite", "base-encoder")[1]
    assert "@article{roe2025child," in run("cite", "--modality", "mri")[1]
    assert "@article{roe2025child," in run("cite", "--search", "skull stripping")[1]
    both = run("cite", "child-paper")[1]
    assert "roe2024base" in both
    assert "roe2025child" in both
    assert run("cite")[0] == 2


def test_graph_follows_lineage_both_ways(run) -> None:
    text = run("graph", "child-encoder")[1]
    assert "finetuned-from base-encoder" in text
    assert "trained-on:pretraining parent-set" in text
    down = run("graph", "parent-set", "--down", "--json")[1]
    assert {edge["source"] for edge in json.loads(down)} >= {"base-encoder", "child-set"}
    assert run("graph", "--dot")[1].startswith("digraph")
    assert run("graph")[0] == 2


def test_check_exits_1_and_names_file_field_and_remedy(run, small_catalog: Path) -> None:
    assert run("check")[0] == 0
    path = small_catalog / "catalog" / "models" / "base-encoder.yaml"
    path.write_text(path.read_text().replace("parameters: 86000000", "parametrs: 86000000"))
    code, out, _ = run("check")
    assert code == 1
    assert "catalog/models/base-encoder.yaml: parametrs: no such field; did you mean parameters" in out
    assert any(p["field"] == "parametrs" for p in json.loads(run("check", str(path), "--json")[1]))
    assert run("check", str(small_catalog / "catalog" / "metrics" / "overlap.yaml"))[1] == ""
    assert run("check", "nowhere.yaml")[0] == 2
    code, _, err = run("list")
    assert code == 2
    assert "parametrs" in err


def test_check_explains_a_file_outside_the_catalog(run, tmp_path: Path) -> None:
    path = tmp_path / "models" / "mine.yaml"
    path.parent.mkdir()
    path.write_text("name: Mine\nsumary: A typo.\n")
    code, out, _ = run("check", str(path))
    assert code == 1
    assert "sumary: no such field; did you mean summary" in out


def test_check_reports_completeness(run) -> None:
    code, out, _ = run("check", "--report")
    assert code == 0
    assert "parameters" in out


def test_schema_is_written_and_checked(run, tmp_path: Path) -> None:
    folder = tmp_path / "schema"
    assert run("schema", "--output", str(folder), "--check")[0] == 1
    assert run("schema", "--output", str(folder))[0] == 0
    assert run("schema", "--output", str(folder), "--check")[0] == 0
    schema = json.loads((folder / "model.json").read_text())
    assert "id" not in schema["properties"]
    assert schema["properties"]["parameters"]["description"] == "Number of weights."
    assert json.loads(run("schema", "--print", "datasets")[1])["title"] == "Dataset"


@pytest.mark.parametrize("name", ["all.json", "all.sqlite", "all.bib"])
def test_export_writes_the_whole_catalog(name: str, run, tmp_path: Path) -> None:
    target = tmp_path / name
    assert run("export", str(target))[0] == 0
    assert target.stat().st_size > 100
    code, _, err = run("export", str(target))
    assert code == 2
    assert "exists and was left as it is" in err
    assert run("export", str(target), "--overwrite")[0] == 0
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == [name]


def test_export_as_csv_holds_one_kind(run, tmp_path: Path) -> None:
    assert run("export", str(tmp_path / "m.csv"))[0] == 2
    assert run("export", str(tmp_path / "m.csv"), "--kind", "models")[0] == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "m.csv").read_text())))
    assert [row["id"] for row in rows] == ["base-encoder", "child-encoder"]
    code, _, err = run("export", str(tmp_path / "m.xlsx"))
    assert code == 2
    assert "exported as" in err


def test_the_exported_catalog_is_the_catalog(run, tmp_path: Path, small_catalog: Path) -> None:
    from medfm.catalog.records import KINDS
    from medfm.catalog.store import Catalog

    run("export", str(tmp_path / "all.json"))
    exported = json.loads((tmp_path / "all.json").read_text())
    catalog = Catalog.load(small_catalog)
    for cls in KINDS:
        for values in exported[cls.kind]:
            computed = {"kind", "file", "loadable", "contract"}
            again = cls.model_validate({k: v for k, v in values.items() if k not in computed})
            assert again == catalog[values["id"]]


def test_completion_offers_commands_ids_filters_and_words(run) -> None:
    assert "search" in run("completion", "--words", "")[1].split()
    assert "base-encoder" in run("completion", "--words", "show", "b")[1].split()
    assert "--modality" in run("completion", "--words", "list", "--m")[1].split()
    assert "ct" in run("completion", "--words", "list", "--modality", "c")[1].split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_sound(shell: str, run) -> None:
    code, script, _ = run("completion", shell)
    assert code == 0
    assert "medfm completion --words" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_a_closed_pipe_is_no_error(small_catalog: Path) -> None:
    environment = os.environ | {"MEDFM_CONTENT": str(small_catalog)}
    command = f"{sys.executable} -m medfm show base-encoder | head -1"
    done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "--modality", "ct"],
        ["show", "base-encoder"],
        ["search", "encoder"],
        ["compare", "base-encoder", "child-encoder", "--markdown"],
        ["cite", "base-encoder"],
        ["graph", "base-encoder"],
        ["leakage", "child-encoder", "child-set"],
        ["completion", "--words", "show", ""],
    ],
    ids=lambda a: a[0],
)
def test_look_ups_import_nothing_heavy(arguments: list[str], small_catalog: Path) -> None:
    environment = os.environ | {"MEDFM_CONTENT": str(small_catalog)}
    subprocess.run([sys.executable, "-m", "medfm", *arguments], env=environment, check=True, capture_output=True)
    code = f"import sys; from medfm.cli import main; main({arguments!r}); print(sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    loaded = {name.strip(" '[]") for name in done.stderr.split(",")}
    assert "sqlite3" in loaded
    assert not loaded & HEAVY


def test_importing_medfm_does_nothing(tmp_path: Path) -> None:
    code = "import sys, medfm; print(sorted(set(sys.modules) & {'pydantic', 'torch', 'numpy', 'yaml', 'sqlite3'}), dir(medfm))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.startswith("[] ")
    assert "load" in done.stdout
