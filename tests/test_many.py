"""Many files: found, run, resumed after a kill, and not stopped by a bad one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pyarrow import parquet

from medfm.errors import InputError, OutputExistsError, UsageError
from medfm.runtime import many
from medfm.runtime.loading import load
from medfm.runtime.runner import Runner
from tests import dicoms, small


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def runner(weights: Path) -> Runner:
    return small.runner(weights)


def embed(runner: Runner, folder: Path, target: Path, **more: object) -> many.Report:
    return many.table(runner, many.find(runner, [folder]), target, method="embed", options={}, **more)  # type: ignore[arg-type]


def test_a_folder_becomes_one_table_equal_to_single_runs(runner: Runner, tmp_path: Path) -> None:
    paths = small.pictures(tmp_path / "tiles", 23)
    (tmp_path / "tiles" / ".hidden.png").write_bytes(b"")
    (tmp_path / "tiles" / "notes.txt").write_text("no picture")
    report = embed(runner, tmp_path / "tiles", tmp_path / "out.parquet", batch_size=4)
    assert (report.done, report.there, report.failed) == (23, 0, {})
    table = parquet.read_table(tmp_path / "out.parquet")
    assert sorted(table["name"].to_pylist()) == sorted(str(p.relative_to(tmp_path / "tiles")) for p in paths)
    by_name = dict(zip(table["name"].to_pylist(), table["vector"].to_pylist(), strict=True))
    alone = runner.embed(paths[5]).vectors[0]
    assert np.allclose(by_name[str(paths[5].relative_to(tmp_path / "tiles"))], alone, atol=1e-5)
    assert json.loads(table.schema.metadata[b"medfm"])["model"] == "uni"
    assert json.loads((tmp_path / "out.parquet.provenance.json").read_text())["contract"] == runner.record.contract
    assert not (tmp_path / "out.parquet.parts").exists()
    with pytest.raises(OutputExistsError):
        embed(runner, tmp_path / "tiles", tmp_path / "out.parquet")


def test_one_bad_file_in_a_thousand_stops_nothing(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.pictures(tmp_path / "tiles", 40)
    (tmp_path / "tiles" / "case0" / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n no more")
    (tmp_path / "tiles" / "empty.jpg").write_bytes(b"")
    report = embed(runner, tmp_path / "tiles", tmp_path / "out.parquet", batch_size=8)
    assert report.done == 40
    assert sorted(report.failed) == ["case0/cut.png", "empty.jpg"]
    assert parquet.read_table(tmp_path / "out.parquet").num_rows == 40


def test_files_none_of_which_can_be_read_make_no_table(runner: Runner, tmp_path: Path) -> None:
    (tmp_path / "tiles").mkdir()
    (tmp_path / "tiles" / "a.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match="none of 1 files could be used"):
        embed(runner, tmp_path / "tiles", tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()
    (tmp_path / "void").mkdir()
    with pytest.raises(InputError, match="no file that this model reads"):
        many.find(runner, [tmp_path / "void"])


KILLED = """
import sys, time
from pathlib import Path
from tests import small
from medfm.runtime import encoding, many
many._ROWS = 8
runner = small.runner(Path(sys.argv[1]))
folder, target = Path(sys.argv[2]), Path(sys.argv[3])
many.table(runner, many.find(runner, [folder]), target, method="embed", options={}, batch_size=4)
"""


def test_after_kill_9_nothing_is_lost_or_doubled(weights: Path, runner: Runner, tmp_path: Path) -> None:
    paths = small.pictures(tmp_path / "tiles", 240)
    target = tmp_path / "out.parquet"
    root = Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(root)}
    command = [sys.executable, "-c", KILLED, str(weights), str(tmp_path / "tiles"), str(target)]
    process = subprocess.Popen(command, env=environment, cwd=root)
    parts = tmp_path / "out.parquet.parts"
    deadline = time.monotonic() + 120
    while len(list(parts.glob("part-*.parquet"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = [
        name for part in sorted(parts.glob("part-*.parquet")) for name in parquet.read_table(part)["name"].to_pylist()
    ]
    assert 32 <= len(kept) < 240
    assert not target.exists()
    report = embed(runner, tmp_path / "tiles", target, batch_size=4)
    assert report.there == len(kept)
    assert report.done == 240 - len(kept)
    names = parquet.read_table(target)["name"].to_pylist()
    assert sorted(names) == sorted(str(p.relative_to(tmp_path / "tiles")) for p in paths)


def test_parts_of_another_run_are_not_mixed_in(runner: Runner, tmp_path: Path) -> None:
    small.pictures(tmp_path / "tiles", 3)
    parts = tmp_path / "out.parquet.parts"
    many._same_run(parts, {"model": "virchow", "contract": "x", "method": "embed", "options": {}})
    with pytest.raises(UsageError, match="parts of another run"):
        embed(runner, tmp_path / "tiles", tmp_path / "out.parquet")


@pytest.mark.network
def test_volumes_and_series_become_a_mask_each_and_are_not_done_twice(tmp_path: Path) -> None:
    from medfm.runtime import samples

    head = nibabel.load(samples.sample("mni152-t1")).slicer[::4, ::4, ::4]
    (tmp_path / "study" / "a").mkdir(parents=True)
    nibabel.save(head, tmp_path / "study" / "a" / "t1.nii.gz")
    canonical = nibabel.as_closest_canonical(head)
    dicoms.series(
        tmp_path / "study" / "b", np.rint(canonical.get_fdata() / canonical.get_fdata().max() * 1000), canonical.affine
    )
    (tmp_path / "study" / "bad.nii").write_bytes(b"no volume")
    model = load("deepbet", progress=False)
    sources = many.find(model, [tmp_path / "study"])
    assert sorted(sources) == ["a/t1.nii.gz", "b", "bad.nii"]
    out = tmp_path / "masks"
    first = many.files(model, sources, out, method="segment", suffix=".nii.gz", options={})
    assert (first.done, first.there, list(first.failed)) == (2, 0, ["bad.nii"])
    one, two = nibabel.load(out / "a/t1.segment.nii.gz"), nibabel.load(out / "b.segment.nii.gz")
    volumes = [float((np.asarray(i.dataobj) > 0).sum() * abs(np.linalg.det(i.affine))) for i in (one, two)]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.05)
    again = many.files(model, sources, out, method="segment", suffix=".nii.gz", options={})
    assert (again.done, again.there) == (0, 2)
    (out / "a/t1.segment.nii.gz.provenance.json").unlink()  # as if it had been killed before the last file was written
    assert many.files(model, sources, out, method="segment", suffix=".nii.gz", options={}).done == 1


def test_the_command_line_lists_bad_files_and_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str], runner: Runner,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    from medfm.cli import main
    from medfm.runtime import loading

    small.pictures(tmp_path / "tiles", 5)
    (tmp_path / "tiles" / "bad.png").write_bytes(b"x")
    monkeypatch.setattr(loading, "load", lambda *_, **__: runner)
    arguments = ["run", "uni", str(tmp_path / "tiles"), "-o", str(tmp_path / "out.parquet"), "--batch-size", "2"]
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert "5 of 6 computed" in out
    assert "bad.png: " in err
    assert "1 of 6 files could not be used" in err
    assert main(["run", "uni", str(tmp_path / "tiles"), "-o", str(tmp_path / "out.csv")]) == 2
    assert "end its name in .parquet" in capsys.readouterr().err
