from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medfm.errors import OutputExistsError, SourceError, UsageError
from medfm.runtime.inputs import Volume
from medfm.runtime.outputs import Embedding, Event, Events, Provenance, Result, Scores, Segmentation, Text

PROVENANCE = Provenance("toy", "toy==1", {"weights": "0" * 64}, "c0ffee", {"medfm": "0"}, "cpu", "float32", 0.1)


def segmentation() -> Segmentation:
    affine = np.diag([-1.0, 2.0, 3.0, 1.0])
    header = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), affine).header
    header.set_slope_inter(2, 1)
    mask = np.zeros((4, 5, 6), dtype=np.uint8)
    mask[1:3, 1:4, 2:4] = 1
    data = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32) + mask
    return Segmentation(PROVENANCE, mask, {1: "thing"}, Volume(data, affine, "in.nii", header))


def every_result() -> list[tuple[Result, list[str]]]:
    rng = np.random.default_rng(0)
    return [
        (Embedding(PROVENANCE, rng.random((2, 3)).astype(np.float32), ("a", "b")), [".csv", ".npy", ".safetensors"]),
        (
            Scores(PROVENANCE, {"side": ("left", "right")}, {"side": np.array([[0.25, 0.75]], np.float32)}, ("a",)),
            [".csv", ".json"],
        ),
        (segmentation(), [".nii.gz", ".nii", ".png"]),
        (
            Events(PROVENANCE, (Event("spindle", 1.5, 2.5, 0.9),), rng.random((1, 2500)), 250.0),
            [".csv", ".json", ".png"],
        ),
        (Text(PROVENANCE, ("EVQ", "DIQ"), ("a", "b")), [".csv", ".fasta", ".txt"]),
    ]


@pytest.mark.parametrize(("result", "suffixes"), every_result(), ids=lambda x: type(x).__name__)
def test_every_result_saves_itself_with_its_provenance(result: Result, suffixes: list[str], tmp_path: Path) -> None:
    for suffix in suffixes:
        path = result.save(tmp_path / f"out{suffix}")
        assert path.stat().st_size > 0
        provenance = json.loads((tmp_path / f"out{suffix}.provenance.json").read_text())
        assert provenance["model"] == "toy"
        assert "research use only" in provenance["disclaimer"]
        before = path.read_bytes()
        with pytest.raises(OutputExistsError, match="left as it is"):
            result.save(path)
        assert path.read_bytes() == before
        result.save(path, overwrite=True)
    with pytest.raises(UsageError, match="is saved as"):
        result.save(tmp_path / "out.docx")
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_mask_keeps_the_inputs_grid_and_loses_its_scaling(tmp_path: Path) -> None:
    result = segmentation()
    image = nibabel.load(result.save(tmp_path / "mask.nii.gz"))
    assert np.array_equal(image.affine, result.volume.affine)
    assert image.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(image.dataobj), result.mask)
    assert result.volumes_ml() == {"thing": pytest.approx(12 * 6 / 1000)}


def test_tables_read_back_as_they_were(tmp_path: Path) -> None:
    embedding, scores, _, events, text = (result for result, _ in every_result())
    rows = list(csv.DictReader(io.StringIO(embedding.save(tmp_path / "e.csv").read_text())))
    assert [row["name"] for row in rows] == ["a", "b"]
    assert np.float32(rows[1]["d2"]) == embedding.vectors[1, 2]
    assert np.array_equal(np.load(embedding.save(tmp_path / "e.npy")), embedding.vectors)
    assert json.loads(scores.save(tmp_path / "s.json").read_text())[1] == {
        "name": "a",
        "group": "side",
        "label": "right",
        "probability": 0.75,
    }
    assert events.save(tmp_path / "v.csv").read_text().splitlines()[1] == "spindle,1.5000,2.5000,0.900000"
    assert text.save(tmp_path / "t.fasta").read_text() == ">a\nEVQ\n>b\nDIQ\n"


def test_distances_follow_the_authors_metric() -> None:
    x = np.array([[1.0, 0.0], [0.0, 2.0]], np.float32)
    assert Embedding(PROVENANCE, x, ("a", "b"), "cosine").distances().tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert Embedding(PROVENANCE, x, ("a", "b"), "euclidean").distances()[0, 1] == pytest.approx(5**0.5)


def test_a_folder_that_does_not_exist_is_named_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file or directory; nothing was written"):
        segmentation().save(tmp_path / "no" / "mask.nii.gz")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    code = f"""
        import resource, numpy as np
        from pathlib import Path
        from medfm.errors import SourceError
        from medfm.runtime.outputs import Embedding, Provenance
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))  # the system refuses to write more, as a full disk does
        provenance = Provenance("toy", "toy==1", {{}}, "c", {{}}, "cpu", "float32", 0.1)
        big = Embedding(provenance, np.ones((100, 1000), np.float32), tuple(map(str, range(100))))
        for suffix in (".npy", ".csv"):
            try:
                big.save(Path({str(tmp_path)!r}) / ("out" + suffix))
            except SourceError as error:
                print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.count("nothing was written") == 2
    assert list(tmp_path.iterdir()) == []


def test_results_are_readable_by_others_as_the_umask_says(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        path = segmentation().save(tmp_path / "mask.nii")
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o644
