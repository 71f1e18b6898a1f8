"""`medfm run`, `contract`, `fetch` and `demo`: what a user sees, and what bad input leaves behind."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

import medfm
from medfm.cli import main
from medfm.runtime import samples

pytestmark = pytest.mark.network


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture(scope="module")
def eeg() -> Path:
    return samples.sample("openspindlenet-eeg-sample")


@pytest.fixture
def small_head(tmp_path: Path) -> Path:
    """A real head at 4 mm."""
    catalog = medfm.Catalog.load()
    id = "colin27-t1" if samples.available(catalog, "colin27-t1") else "mni152-t1"
    path = tmp_path / "head.nii.gz"
    nibabel.save(nibabel.load(samples.sample(id, catalog=catalog)).slicer[::4, ::4, ::4], path)
    return path


def test_run_writes_the_result_and_its_provenance(run, small_head: Path, tmp_path: Path) -> None:
    code, out, _ = run("run", "deepbet", small_head, "-o", tmp_path / "brain.nii.gz")
    assert code == 0
    assert out.strip() == str(tmp_path / "brain.nii.gz")
    mask, head = nibabel.load(tmp_path / "brain.nii.gz"), nibabel.load(small_head)
    assert mask.shape == head.shape
    assert np.array_equal(mask.affine, head.affine)
    provenance = json.loads((tmp_path / "brain.nii.gz.provenance.json").read_text())
    assert provenance["source"] == "deepbet==1.0.2"
    assert provenance["inputs"] == [str(small_head)]


def test_run_does_what_the_model_can_and_what_is_asked(run, eeg: Path, tmp_path: Path) -> None:
    assert run("run", "openspindlenet-eeg", eeg, "--sampling-rate", 250, "-o", tmp_path / "s.json")[0] == 0
    assert len(json.loads((tmp_path / "s.json").read_text())) == 5
    (tmp_path / "a.fasta").write_text(">one\nEVQLVESGG_LVQPG\n")
    for method, name in (("embed", "e.csv"), ("classify", "c.json"), ("generate", "g.fasta")):
        assert run("run", "antiberty", tmp_path / "a.fasta", "--do", method, "-o", tmp_path / name)[0] == 0
    assert (tmp_path / "g.fasta").read_text() == ">one\nEVQLVESGGGLVQPG\n"


def test_an_existing_result_is_never_replaced_by_accident(run, eeg: Path, tmp_path: Path) -> None:
    target = tmp_path / "s.csv"
    target.write_text("mine")
    arguments = ("run", "openspindlenet-eeg", eeg, "--sampling-rate", 250, "-o", target)
    code, _, err = run(*arguments)
    assert code == 2
    assert "exists and was left as it is" in err
    assert target.read_text() == "mine"
    assert run(*arguments, "--overwrite")[0] == 0
    assert target.read_text().startswith("label,")


def test_several_inputs_go_into_a_folder_and_a_bad_one_stops_none(run, eeg: Path, tmp_path: Path) -> None:
    bad = tmp_path / "short.txt"
    bad.write_text("1\n2\n3\n")
    out = tmp_path / "out"
    assert run("run", "openspindlenet-eeg", eeg, bad, "--sampling-rate", 250, "-o", out)[0] == 2  # no such folder
    out.mkdir()
    code, printed, err = run("run", "openspindlenet-eeg", bad, eeg, "--sampling-rate", 250, "-o", out)
    assert code == 1
    assert "1 of 2 inputs failed" in err
    assert str(bad) in err
    assert [path.name for path in sorted(out.iterdir())] == [
        "eeg_sample.detect.csv",
        "eeg_sample.detect.csv.provenance.json",
    ]
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("run", "deepbat", "x", "-o", "y"), "did you mean deepbet"),
        (("run", "med-palm", "x", "-o", "y"), "its weights are closed"),
        (("run", "deepbet", "nowhere.nii.gz", "-o", "{tmp}/y.nii.gz"), "there is no such file"),
        (("run", "deepbet", "{tmp}/flat.nii.gz", "-o", "{tmp}/y.nii.gz"), "a 2D image was given to a 3D model"),
        (("run", "sceptr", "x.csv", "--do", "segment", "-o", "{tmp}/y.csv"), "sceptr cannot segment; it can embed"),
        (("run", "sceptr", "x.csv", "--do", "paint", "-o", "{tmp}/y.csv"), "invalid choice: 'paint'"),
        (("run", "antiberty", "EVQXB", "-o", "{tmp}/y.csv"), "outside the alphabet"),
        (("run", "antiberty", "EVQ", "-o", "{tmp}/y.docx"), "is saved as"),
        (("run", "antiberty", "EVQ", "-o", "{tmp}/no/y.csv"), "no such file or directory; nothing was written"),
        (("run", "antiberty", "EVQ", "--device", "gpu", "-o", "{tmp}/y.csv"), "'gpu' is no device"),
        (("contract", "meditron-7b"), "cannot be run yet, so it has no contract"),
        (("contract", "deepbet", "--explain", "nowhere.nii.gz"), "there is no such file"),
        (("fetch", "pcam"), "its record names no files"),
        (("demo", "--only", "hearts"), "invalid choice: 'hearts'"),
    ],
)
def test_bad_use_is_one_sentence_and_exit_code_2(
    arguments: tuple[str, ...], sentence: str, run, tmp_path: Path
) -> None:
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 1), np.float32), np.eye(4)), tmp_path / "flat.nii.gz")
    before = sorted(tmp_path.iterdir())
    code, out, err = run(*(argument.replace("{tmp}", str(tmp_path)) for argument in arguments))
    assert code == 2
    assert out == ""
    assert sentence in err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert sorted(tmp_path.iterdir()) == before


def test_contract_prints_steps_hash_and_parity(run) -> None:
    code, text, _ = run("contract", "deepbet")
    assert code == 0
    record = medfm.Catalog.load().models["deepbet"]
    assert record.contract is not None
    assert record.contract in text
    assert "verified" in text
    assert json.loads(run("contract", "deepbet", "--json")[1])["contract"] == record.contract
    rows = list(csv.DictReader(io.StringIO(run("contract", "deepbet", "--csv")[1])))
    assert [row["name"] for row in rows if row["part"] == "input"] == [step.step for step in record.input]


def test_explain_says_what_each_step_did_to_this_file(run, small_head: Path) -> None:
    rows = json.loads(run("contract", "deepbet", "--explain", small_head, "--json")[1])
    assert [row["step"] for row in rows] == ["volume", "orient", "locate", "resize", "window", "standardize"]
    assert "4 x 4 x 4 mm" in rows[0]["effect"]
    assert rows[2]["effect"].startswith("cropped to ")
    assert rows[3]["shape"] == "256 x 256 x 256"
    assert rows[4]["range"] == "0 to 1"


def test_explain_works_for_every_loadable_model(run, eeg: Path, tmp_path: Path) -> None:
    assert "spectrogram 15 x 7500" in run("contract", "openspindlenet-eeg", "--explain", eeg, "--sampling-rate", 250)[1]
    assert "tokens 9" in run("contract", "antiberty", "--explain", "EVQLVES")[1]
    tcrs = samples.sample("published-tcrs")
    assert "tokens " in run("contract", "sceptr", "--explain", tcrs)[1]


def test_fetch_prints_where_verified_files_lie(run) -> None:
    found = json.loads(run("fetch", "sceptr", "published-tcrs", "--json")[1])
    assert Path(found["sceptr"]["weights"]).stat().st_size == 632619
    assert Path(found["published-tcrs"]["file"]).read_text().startswith("name,epitope")
    assert run("fetch", "sceptr", "--offline")[0] == 0


def test_the_demo_makes_results_pictures_and_provenance(run, tmp_path: Path) -> None:
    code, out, _ = run("demo", "--output", tmp_path)
    assert code == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert set(summary) == {"brain", "spindles", "receptors", "antibodies"}
    assert 1000 < float(summary["brain"]["brain volume"].split()[0]) < 2500
    assert summary["spindles"]["spindles"] == 5
    same, different = (float(summary["receptors"][f"distance, {w} epitope"].split()[0]) for w in ("same", "different"))
    assert same < different
    right, asked = map(int, summary["antibodies"]["hidden residues recovered"].split(" of "))
    assert right > asked / 2
    results = [p for p in tmp_path.iterdir() if not p.name.endswith(".provenance.json") and p.name != "summary.json"]
    assert len(results) >= 10
    for path in results:
        assert path.with_name(path.name + ".provenance.json").exists(), path
        if path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG")
    assert "try next" in out
    assert all(str(path) in out for path in results)
