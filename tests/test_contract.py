"""The engine on synthetic inputs, and deepbet's contract on a real head in every orientation."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel import orientations

import medfm
from medfm.catalog import contracts
from medfm.catalog.contracts import Output, SegmentationOutput, digest
from medfm.errors import InputError
from medfm.evaluation.metrics import dice
from medfm.runtime import contract as engine
from medfm.runtime import samples
from medfm.runtime.inputs import Receptor, Volume, read_volume
from medfm.runtime.loading import load
from medfm.runtime.steps import volume as volume_steps

ALL_48 = [
    "".join(letters)
    for order in itertools.permutations([("R", "L"), ("A", "P"), ("S", "I")])
    for letters in itertools.product(*order)
]


def turned(image: nibabel.Nifti1Image, axes: str) -> nibabel.Nifti1Image:
    """The same head, stored in another order."""
    turn = orientations.ornt_transform(
        orientations.io_orientation(image.affine), orientations.axcodes2ornt(tuple(axes))
    )
    return image.as_reoriented(turn)


def in_world(mask: np.ndarray, affine: np.ndarray) -> set[tuple[float, ...]]:
    points = nibabel.affines.apply_affine(affine, np.argwhere(mask))
    return set(map(tuple, np.round(points, 3).tolist()))


@pytest.fixture
def image() -> nibabel.Nifti1Image:
    """An asymmetric ellipsoid with a bright corner, anisotropic and oblique."""
    x, y, z = np.meshgrid(np.arange(20), np.arange(24), np.arange(16), indexing="ij")
    data = 100.0 * ((((x - 9) / 7) ** 2 + ((y - 11) / 9) ** 2 + ((z - 7) / 5) ** 2) < 1) + x + 2 * y
    rotation = nibabel.eulerangles.euler2mat(0.1, 0.05, 0.02)
    affine = nibabel.affines.from_matvec(rotation @ np.diag([1.0, 1.3, 2.5]), [-10, -20, 5])
    return nibabel.Nifti1Image(data.astype(np.float32), affine)


def test_the_48_orientations_are_all_there() -> None:
    assert len(set(ALL_48)) == 48


@pytest.mark.parametrize("axes", ALL_48)
def test_orienting_and_restoring_gives_the_same_mask_in_world_space(axes: str, image: nibabel.Nifti1Image) -> None:
    steps = (contracts.ReadVolume(modality="t1-mri"), contracts.Orient(axes="RAS"))
    output = SegmentationOutput(labels={1: "bright"}, channel=0, threshold=90, interpolation="nearest-exact")
    expected = in_world(np.asarray(image.dataobj) > 90, image.affine)
    stored = turned(image, axes)
    (item,) = engine.read(steps, stored)
    prepared = engine.prepare(steps, [item])
    assert np.array_equal(
        prepared.batch["image"][0, 0].numpy(), nibabel.as_closest_canonical(image).get_fdata(dtype=np.float32)
    )
    (frame,) = prepared.frames
    assert frame is not None
    mask = engine.restore(prepared.batch["image"][0], frame, output)
    assert mask.shape == stored.shape
    assert in_world(mask, stored.affine) == expected


@pytest.fixture(scope="module")
def head() -> nibabel.Nifti1Image:
    """A real head at 2 mm, so that 48 runs take seconds."""
    catalog = medfm.Catalog.load()
    id = "colin27-t1" if samples.available(catalog, "colin27-t1") else "mni152-t1"
    return nibabel.load(samples.sample(id, catalog=catalog)).slicer[::2, ::2, ::2]


@pytest.mark.network
def test_a_head_stored_in_any_of_the_48_orders_has_the_same_brain(head: nibabel.Nifti1Image) -> None:
    runner = load("deepbet")
    first = runner.segment(head)
    expected = in_world(first.mask, head.affine)
    assert 1000 < first.volumes_ml()["brain"] < 2500
    (item,) = engine.read(runner.record.input, head)
    seen = engine.prepare(runner.record.input, [item], runner.context({})).batch["image"]
    probability = runner.network.segment({"image": seen})

    class Remembers:
        """The network, except that the large one need not compute again what it has seen already."""

        locate = staticmethod(runner.network.locate)

        @staticmethod
        def segment(batch: dict[str, torch.Tensor]) -> torch.Tensor:
            assert torch.equal(batch["image"], seen)  # the network gets to see the very same numbers
            return probability

    runner.network = Remembers()
    for axes in ALL_48:
        stored = turned(head, axes)
        result = runner.segment(stored)
        assert in_world(result.mask, stored.affine) == expected, axes
        assert result.volumes_ml() == pytest.approx(first.volumes_ml())


@pytest.mark.network
def test_anisotropic_spacing_gives_the_same_brain(head: nibabel.Nifti1Image) -> None:
    runner = load("deepbet")
    whole = runner.segment(head)
    for thin in ((1, 1, 2), (2, 1, 1)):
        slices = tuple(slice(None, None, step) for step in thin)
        sparse = head.slicer[slices]
        mask = runner.segment(sparse).mask
        assert dice(mask, whole.mask[slices]) > 0.97


# ---------------------------------------------------------------- single steps


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.integers(2, 9), st.integers(2, 9))
def test_resampling_to_its_own_size_changes_nothing(x: int, y: int, z: int) -> None:
    volume = torch.arange(x * y * z, dtype=torch.float32).reshape(x, y, z)
    for interpolation in ("nearest", "nearest-exact", "linear", "area"):
        assert torch.equal(engine.resample(volume, (x, y, z), interpolation), volume)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=8, max_size=64))
def test_standardizing_gives_the_stated_mean_and_deviation(values: list[float]) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    state = engine.State(x)
    step = contracts.Standardize(scale=0.226, shift=0.449, correction=1)
    if float(x.std()) == 0:
        with pytest.raises(InputError, match="constant"):
            volume_steps._standardize(step, state, engine.Context())
        return
    volume_steps._standardize(step, state, engine.Context())
    assert float(state.value.mean()) == pytest.approx(0.449, abs=1e-6)
    assert float(state.value.std()) == pytest.approx(0.226, abs=1e-6)


def test_a_fixed_window_maps_its_edges_to_0_and_1() -> None:
    state = engine.State(torch.tensor([-1000.0, -175.0, 37.5, 250.0, 3000.0]))
    volume_steps._window(contracts.Window(low=-175, high=250), state, engine.Context())
    assert state.value.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_the_largest_component_is_kept_with_corners_connected() -> None:
    mask = np.zeros((6, 6, 6), dtype=bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[2, 2, 2] = True
    mask[5, 5, 5] = mask[5, 5, 4] = True
    assert engine.largest_component(mask).sum() == 3
    assert engine.largest_component(np.zeros((3, 3), dtype=bool)).sum() == 0


# ---------------------------------------------------------------- bad volumes


DEEPBET = (contracts.ReadVolume(modality="t1-mri", frames="first", non_finite="zero"), contracts.Orient())


def save(path: Path, data: np.ndarray, affine: np.ndarray | None = None, *, codes: bool = True) -> Path:
    image = nibabel.Nifti1Image(data, np.eye(4) if affine is None else affine)
    if not codes:
        image.header.set_sform(None, 0)
        image.header.set_qform(None, 0)
        image = nibabel.Nifti1Image(data, None, image.header)
    nibabel.save(image, path)
    return path


def test_each_bad_volume_gets_one_clear_sentence(tmp_path: Path) -> None:
    good = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    with_nan = good.copy()
    with_nan[0, 0, 0] = np.nan
    cut = save(tmp_path / "whole.nii.gz", good)
    (tmp_path / "cut.nii.gz").write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (tmp_path / "text.nii.gz").write_bytes(b"hello")
    (tmp_path / "empty.nii").write_bytes(b"")
    flat = np.diag([1.0, 1.0, 0.0, 1.0])
    raw = save(tmp_path / "flat.nii", good)
    data = bytearray(raw.read_bytes())
    data[254:256] = (1).to_bytes(2, "little")  # sform code 1
    data[280:328] = np.asarray(flat[:3], dtype="<f4").tobytes()
    raw.write_bytes(bytes(data))
    cases = {
        tmp_path / "nowhere.nii.gz": "there is no such file",
        tmp_path / "cut.nii.gz": "cut off or damaged|not a readable NIfTI",
        tmp_path / "text.nii.gz": "not a readable NIfTI volume",
        tmp_path / "empty.nii": "not a readable NIfTI volume",
        raw: "cannot be inverted",
        save(tmp_path / "nan.nii.gz", with_nan): "1 voxels are NaN or infinite; pass --fill-nan",
        save(tmp_path / "2d.nii.gz", good[:, :, :1]): "a 2D image was given to a 3D model: its shape is 4 x 5 x 1",
        save(tmp_path / "2d-really.nii.gz", good[:, :, 0]): "a 2D image was given to a 3D model: its shape is 4 x 5",
        save(tmp_path / "none.nii.gz", good[:, :0]): "has no voxels: its shape is 4 x 0 x 6",
        save(tmp_path / "4d.nii.gz", np.stack([good, good], -1)): "holds 2 frames",
        save(tmp_path / "rgb.nii.gz", np.stack([good] * 3, -1)[:, :, :, None]): "more than one channel",
        save(tmp_path / "lost.nii.gz", good, codes=False): "--assume-affine",
    }
    for path, sentence in cases.items():
        with pytest.raises(InputError, match=sentence) as caught:
            engine.read(DEEPBET, path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_each_flag_supplies_what_the_file_lacks(tmp_path: Path) -> None:
    good = np.ones((4, 5, 6), dtype=np.float32)
    good[0, 0, 0] = np.nan
    path = save(tmp_path / "nan.nii.gz", good)
    (volume,) = engine.read(DEEPBET, path, engine.Options(fill_nan=True))
    assert volume.data[0, 0, 0] == 0
    path = save(tmp_path / "lost.nii.gz", np.ones((4, 5, 6), dtype=np.float32), codes=False)
    (volume,) = engine.read(DEEPBET, path, engine.Options(assume_affine=True))
    assert orientations.aff2axcodes(volume.affine) == ("R", "A", "S")
    two = save(tmp_path / "4d.nii.gz", np.stack([np.zeros((4, 5, 6)), np.ones((4, 5, 6))], -1).astype(np.float32))
    (volume,) = engine.read(DEEPBET, two, engine.Options(strict=False))
    assert volume.data.max() == 0


def test_another_kind_of_object_is_refused() -> None:
    with pytest.raises(InputError, match="expected a NIfTI volume, found list"):
        engine.read(DEEPBET, [1, 2, 3])


def test_stored_scaling_is_applied(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    image.header.set_slope_inter(2.0, -1024.0)
    nibabel.save(image, tmp_path / "scaled.nii.gz")
    assert read_volume(tmp_path / "scaled.nii.gz").data.max() == 59 * 2 - 1024


# ---------------------------------------------------------------- signals, sequences, receptors


EEG = (contracts.ReadSignal(modality="eeg", sampling_rate=250, samples=7500),)
SEQUENCE = (contracts.ReadSequence(alphabet="ACDEFGHIKLMNPQRSTVWY", unknown="_", longest=510),)
RECEPTOR = (contracts.ReadReceptor(alphabet="ACDEFGHIKLMNPQRSTVWY", species="homosapiens"),)


def test_each_bad_recording_gets_one_clear_sentence(tmp_path: Path) -> None:
    signal = np.sin(np.arange(7500))
    np.savetxt(tmp_path / "good.txt", signal)
    (tmp_path / "words.txt").write_text("one\ntwo\n")
    (tmp_path / "empty.txt").write_text("")
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    at = engine.Options(sampling_rate=250)
    cases = [
        (tmp_path / "good.txt", engine.Options(), "does not say its sampling rate; pass --sampling-rate"),
        (tmp_path / "good.txt", engine.Options(sampling_rate=500), "recorded at 500 Hz, but this model needs 250 Hz"),
        (signal[:7000], at, "28 s long .7000 samples., but this model needs windows of 30 s"),
        (np.stack([signal, signal]), at, "has 2 channels, but this model takes 1"),
        (np.where(np.arange(7500) == 5, np.nan, signal), at, "1 samples are NaN"),
        (tmp_path / "words.txt", at, "not a table of numbers"),
        (tmp_path / "objects.npy", at, "not a table of numbers"),
        (tmp_path / "empty.txt", at, "expected .channels, samples."),
        (tmp_path / "nowhere.txt", at, "no such file"),
    ]
    for source, options, sentence in cases:
        with pytest.raises(InputError, match=sentence):
            engine.read(EEG, source, options)
    assert len(engine.read(EEG, np.concatenate([signal, signal, signal[:100]]), at)) == 2
    assert len(engine.read(EEG, tmp_path / "good.txt", engine.Options(strict=False))) == 1


def test_each_bad_sequence_gets_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "binary.fasta").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty.fasta").write_text("")
    cases = [
        (["EVQLVXB"], "sequence 1 has 'B', 'X' .first at position 7., which is outside the alphabet ACDEFG.*write _"),
        (["EVQ", "A" * 511], "sequence 2 has 511 residues; this model takes at most 510"),
        (["EVQ", " "], "sequence 2 is empty"),
        ([], "no sequence was given"),
        (tmp_path / "binary.fasta", "not a text file"),
        (tmp_path / "empty.fasta", "no sequence in the file"),
        ("nowhere.fasta", "no such file"),
    ]
    for source, sentence in cases:
        with pytest.raises(InputError, match=sentence):
            engine.read(SEQUENCE, source)


def test_sequences_come_from_fasta_lines_lists_and_single_strings(tmp_path: Path) -> None:
    (tmp_path / "a.fasta").write_text(">one first\nEVQ\nlv\n>two\nDIQ\n")
    (tmp_path / "a.txt").write_text("EVQ\n\nDIQ\n")
    assert engine.read(SEQUENCE, tmp_path / "a.fasta") == [("one", "EVQLV"), ("two", "DIQ")]
    assert engine.read(SEQUENCE, str(tmp_path / "a.txt")) == [("1", "EVQ"), ("3", "DIQ")]
    assert engine.read(SEQUENCE, "EVQ_V") == [("1", "EVQ_V")]


def test_each_bad_receptor_gets_one_clear_sentence(tmp_path: Path) -> None:
    from medfm.runtime.receptors import loops

    (tmp_path / "wrong.csv").write_text("a,b\n1,2\n")
    (tmp_path / "empty.csv").write_text("TRAV,CDR3A\n")
    cases = [
        (tmp_path / "wrong.csv", "expected the columns TRAV, CDR3A, TRBV, CDR3B; found a, b"),
        (tmp_path / "empty.csv", "no receptor in the input"),
        (tmp_path / "nowhere.csv", "no such file"),
        ([{"TRAV": "", "CDR3B": ""}], "row 1 names no receptor"),
        ([{"name": "mine", "CDR3B": "CASSXF"}], "receptor mine: CDR3B has 'X', outside the alphabet"),
    ]
    for source, sentence in cases:
        with pytest.raises(InputError, match=sentence):
            engine.read(RECEPTOR, source)
    for gene, hint in (("TRAV99", "no functional human TRAV gene"), ("TRAV27*99", "no allele")):
        with pytest.raises(InputError, match=hint):
            loops(Receptor("r", trav=gene), ("CDR1A",))
    with pytest.raises(InputError, match="no functional human TRBV"):
        loops(Receptor("r", trbv="TRAV27"), ("CDR1B",))


# ---------------------------------------------------------------- the hash


def test_the_hash_changes_when_and_only_when_a_value_does() -> None:
    record = medfm.Catalog.load().models["deepbet"]
    assert record.output is not None
    first = digest(record.input, record.output)
    assert digest(type(record).model_validate(record.model_dump()).input, record.output) == first
    seen = {first}
    for i, step in enumerate(record.input):
        for name, value in step.model_dump().items():
            other = {"interpolation": "linear", "axes": "LPS", "frames": "refuse", "non_finite": "refuse"}.get(name)
            if isinstance(value, float):
                other = value + 0.01
            if other is None or other == value:
                continue
            changed = [*record.input]
            changed[i] = type(step).model_validate(step.model_dump() | {name: other})
            seen.add(digest(tuple(changed), record.output))
    assert len(seen) > 8
    seen.add(digest(record.input, Output.model_validate(record.output.model_dump() | {"text": {"alphabet": "A"}})))
    assert len(seen) > 9


def test_a_volume_in_memory_is_as_good_as_a_file() -> None:
    volume = Volume(np.ones((3, 4, 5), dtype=np.float32), np.diag([1.0, 2.0, 3.0, 1.0]))
    assert volume.spacing == (1.0, 2.0, 3.0)
    assert volume.voxel_ml == pytest.approx(0.006)
    assert engine.read(DEEPBET, volume) == [volume]
