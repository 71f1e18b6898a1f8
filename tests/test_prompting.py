"""Prompts: what may point at an object, what is refused, and what comes out, on a small network of SAM's kind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from medfm.catalog.outputs import Output, PromptsOutput
from medfm.catalog.records import Model
from medfm.catalog.weights import Sam as Description
from medfm.catalog.weights import SamVit
from medfm.cli import main
from medfm.errors import CapabilityError, InputError, OutputExistsError, UsageError
from medfm.runtime import loading, parity
from medfm.runtime.families import sam
from medfm.runtime.loading import find, load
from medfm.runtime.masks import Masks, run_lengths
from medfm.runtime.runner import Runner
from tests.parity import harness

WIDTH, HEIGHT = 90, 60


def small(**output: Any) -> Model:
    """SAM's contract with a network of two blocks on 64 pixels."""
    record = harness.local(find("sam-vit-b"))
    assert record.weights is not None
    assert record.output is not None
    weights = Description(
        origin=record.weights.origin,
        side=64,
        encoder=SamVit(width=32, depth=2, heads=2, everywhere=(1,), window=3),
        width=64,
    )
    steps = [
        step.model_copy(update={"size": 64 if isinstance(step.size, int) else (64, 64)})
        if hasattr(step, "size")
        else step
        for step in record.input
    ]
    prompts = PromptsOutput.model_validate({**record.output.prompts.model_dump(), **output})  # type: ignore[union-attr]
    return record.model_copy(update={"weights": weights, "input": tuple(steps), "output": Output(prompts=prompts)})


def loaded(folder: Path, **output: Any) -> Runner:
    record = small(**output)
    network = sam.create(record.weights)  # type: ignore[arg-type]
    path = folder / "small.bin"
    torch.save(parity.state({key: tensor.shape for key, tensor in network.state_dict().items()}), path)
    return load(record, weights={"weights": path}, progress=False)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    return loaded(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    pixels = (127 + 60 * np.sin(x / 7) + 50 * np.cos(y / 5)).astype(np.uint8)
    path = tmp_path_factory.mktemp("pictures") / "ct.png"
    Image.fromarray(pixels).save(path)
    return path


def segment(runner: Runner, picture: Path, **prompts: Any) -> Masks:
    result = runner.segment(picture, **prompts)
    assert isinstance(result, Masks)
    return result


def test_every_box_gives_one_mask_on_the_pictures_own_pixels(runner: Runner, picture: Path) -> None:
    result = segment(runner, picture, boxes=[[5, 5, 40, 50], [30, 10, 80, 55]])
    assert result.masks.shape == (2, HEIGHT, WIDTH)
    assert result.masks.dtype == np.uint8
    assert set(np.unique(result.masks)) <= {0, 1}
    assert result.scores.shape == (2,)
    assert result.logits.shape == (2, 16, 16)
    assert result.provenance.inputs == (str(picture),)
    assert result.prompts[1] == {"box": [30, 10, 80, 55]}


def test_objects_do_not_change_each_other(runner: Runner, picture: Path) -> None:
    boxes = [[i, 2 * i, 40 + 2 * i, 45 + i] for i in range(1, 8)] * 3  # more than go through at once
    together = segment(runner, picture, boxes=boxes)
    for i in (0, 6, 20):
        alone = segment(runner, picture, boxes=boxes[i])
        assert np.allclose(alone.logits[0], together.logits[i], atol=1e-5)
    lists = [[[20, 20]], [[60, 30], [10, 50]], [[70, 12]]]
    labels = [[1], [1, 0], [1]]
    several = segment(runner, picture, points=lists, labels=labels)
    for i in range(3):
        one = segment(runner, picture, points=lists[i], labels=labels[i])
        assert np.allclose(one.logits[0], several.logits[i], atol=1e-5)


def test_a_point_may_carry_its_label(runner: Runner, picture: Path) -> None:
    apart = segment(runner, picture, points=[[20, 20], [60, 30]], labels=[1, 0])
    inside = segment(runner, picture, points=[[20, 20, 1], [60, 30, 0]])
    default = segment(runner, picture, points=[[20, 20], [60, 30]])
    assert np.array_equal(apart.logits, inside.logits)
    assert not np.allclose(apart.logits, default.logits)


def test_a_picture_is_looked_at_once(runner: Runner, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    look = runner.network.look

    def counted(batch: Mapping[str, Tensor]) -> Any:
        seen.append(batch)
        return look(batch)

    monkeypatch.setattr(runner.network, "look", counted)
    session = runner.open(picture)
    first = session.segment(boxes=[5, 5, 40, 50])
    session.segment(points=[[20, 20]])
    refined = session.segment(boxes=[5, 5, 40, 50], masks=first)
    assert len(seen) == 1
    assert not np.allclose(refined.logits, first.logits)
    assert np.array_equal(refined.logits, session.segment(boxes=[5, 5, 40, 50], masks=first.logits).logits)


def test_clicks_one_by_one_see_the_answers_before_them(runner: Runner, picture: Path, tmp_path: Path) -> None:
    clicking = loaded(tmp_path, clicks="one-by-one", candidates="one")
    points = [[20, 20, 1], [60, 30, 0]]
    found = segment(clicking, picture, points=points)
    together = loaded(tmp_path, candidates="one").open(picture)
    empty = np.zeros((1, 16, 16), dtype=np.float32)
    first = together.segment(points=points[:1], masks=empty)
    second = together.segment(points=points, masks=first)
    assert np.array_equal(found.logits, second.logits)


def test_the_answer_that_the_network_trusts_most_is_taken(picture: Path, tmp_path: Path) -> None:
    best = loaded(tmp_path, candidates="best-of-three")
    session = best.open(picture)
    result = session.segment(boxes=[5, 5, 40, 50])
    from medfm.runtime.capabilities import Prompts

    corners = session.where.places(np.array([[5.0, 5.0], [40.0, 50.0]]), best.output("prompts"))
    seen = best.network.look({"image": torch.zeros(1, 3, 64, 64)})
    logits, overlaps = best.network.outline(seen, Prompts(boxes=torch.from_numpy(corners).float().reshape(1, 4)))
    assert logits.shape == (1, 4, 16, 16)
    assert overlaps.shape == (1, 4)
    assert result.scores[0] != segment(loaded(tmp_path, candidates="one"), picture, boxes=[5, 5, 40, 50]).scores[0]


@pytest.mark.parametrize(
    ("prompts", "error", "sentence"),
    [
        ({}, UsageError, "nothing points at an object: this model takes boxes and points and masks"),
        ({"boxes": [[5, 5, 5, 50]]}, UsageError, r"box 1 \(5, 5, 5, 50\) is empty"),
        ({"boxes": [[40, 5, 5, 50]]}, UsageError, "with x0 < x1 and y0 < y1"),
        ({"boxes": [[5, 5, 40]]}, UsageError, "a box is x0, y0, x1, y1"),
        ({"boxes": []}, UsageError, "a box is x0, y0, x1, y1"),
        ({"boxes": "everything"}, UsageError, "boxes are numbers in pixels or voxels of the file"),
        ({"boxes": [[5, 5, float("nan"), 50]]}, UsageError, "one is NaN or infinite"),
        ({"boxes": [[5, 5, 95, 50]]}, InputError, "lies outside the picture, which is 90 pixels wide and 60 high$"),
        ({"boxes": [[5, 5, 40, 80]]}, InputError, "are x and y exchanged"),
        ({"points": [[20, 70]]}, InputError, r"point 1 \(20, 70\) lies outside.*are x and y exchanged"),
        ({"points": [[-1, 7]]}, InputError, "lies outside the picture"),
        ({"points": []}, UsageError, "there is no point"),
        ({"points": [[20, 20, 2]]}, UsageError, "1 inside the object, 0 outside"),
        ({"points": [[20, 20]], "labels": [1, 0]}, UsageError, "every point has one label"),
        ({"points": [[20, 20, 1]], "labels": [1]}, UsageError, "labels are given twice"),
        ({"points": [[[20, 20]], [[10, 10]]], "labels": [[1]]}, UsageError, "2 lists of points but 1 of labels"),
        ({"boxes": [[5, 5, 40, 50]], "labels": [1]}, UsageError, "labels belong to points"),
        ({"boxes": [[5, 5, 40, 50]] * 2, "points": [[20, 20]]}, UsageError, "2 boxes, 1 lists of points"),
        ({"boxes": [[5, 5, 40, 50]], "masks": np.zeros((1, 9, 9), np.float32)}, UsageError, "9 x 9 do not fit"),
        ({"boxes": [[5, 5, 40, 50]], "masks": np.zeros((1, 16, 16), np.uint8)}, UsageError, "result of an earlier call"),
    ],
)  # fmt: skip
def test_prompts_that_have_no_meaning_are_refused_in_one_sentence(
    prompts: dict[str, Any], error: type[Exception], sentence: str, runner: Runner, picture: Path
) -> None:
    with pytest.raises(error, match=sentence):
        runner.segment(picture, **prompts)


def test_a_kind_of_prompt_that_was_not_trained_is_refused(picture: Path, tmp_path: Path) -> None:
    boxes_only = loaded(tmp_path, prompts=("box",), candidates="one")
    with pytest.raises(UsageError, match="was not trained on point prompts; it takes boxes"):
        boxes_only.segment(picture, points=[[20, 20]])


def test_only_models_that_take_prompts_can_be_opened(picture: Path, tmp_path: Path) -> None:
    from tests import small as encoders

    encoder = encoders.runner(encoders.weights(tmp_path))
    with pytest.raises(CapabilityError, match="cannot be prompted"):
        encoder.open(picture)


def test_results_are_saved_as_labels_arrays_and_run_lengths(runner: Runner, picture: Path, tmp_path: Path) -> None:
    result = segment(runner, picture, boxes=[[5, 5, 40, 50], [30, 10, 80, 55]])
    with Image.open(result.save(tmp_path / "mask.png")) as image:
        assert image.mode == "P"
        assert np.array_equal(np.asarray(image), result.labels())
        assert image.getpalette()[:3] == [0, 0, 0]  # type: ignore[index]
    assert np.array_equal(np.load(result.save(tmp_path / "masks.npy")), result.masks)
    stored = json.loads(result.save(tmp_path / "masks.json").read_text())
    for mask, entry in zip(result.masks, stored["objects"], strict=True):
        counts = entry["segmentation"]["counts"]
        values = np.repeat(np.arange(len(counts)) % 2, counts)
        assert np.array_equal(values.reshape(WIDTH, HEIGHT).T, mask)
        assert entry["area"] == mask.sum()
    assert json.loads((tmp_path / "mask.png.provenance.json").read_text())["model"] == "sam-vit-b"
    with pytest.raises(OutputExistsError):
        result.save(tmp_path / "mask.png")
    with pytest.raises(UsageError, match=r"saved as \.png, \.npy, \.json"):
        result.save(tmp_path / "mask.nii.gz")
    with Image.open(result.overlay(tmp_path / "overlay.png")) as drawn:
        assert drawn.size[0] > 200


def test_run_lengths_begin_with_zeros() -> None:
    assert run_lengths(np.array([[1, 0], [1, 0]], dtype=np.uint8)) == [0, 2, 2]
    assert run_lengths(np.zeros((2, 3), dtype=np.uint8)) == [6]


def test_padding_is_cut_off_before_the_answer_is_enlarged(runner: Runner, picture: Path, tmp_path: Path) -> None:
    with Image.open(picture) as image:
        square = Image.new("L", (WIDTH, WIDTH))
        square.paste(image)  # what the contract does anyway, but with the zeros before the normalization
        square.save(tmp_path / "square.png")
    session = runner.open(picture)
    assert session.where.inside == (43, 64)
    assert session.where.grid == (64, 64)
    assert runner.open(tmp_path / "square.png").where.inside == (64, 64)


# ---------------------------------------------------------------- the command line


@pytest.fixture
def run(runner: Runner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setattr(loading, "load", lambda *_, **__: runner)

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        return (code, *capsys.readouterr())

    return call


def test_the_command_takes_boxes_and_points(run: Any, runner: Runner, picture: Path, tmp_path: Path) -> None:
    code, out, err = run(
        "run", "sam-vit-b", picture, "--box", "5,5,40,50", "--box", "30,10,80,55", "-o", tmp_path / "m.npy"
    )
    assert (code, out.strip()) == (0, str(tmp_path / "m.npy")), err
    expected = segment(runner, picture, boxes=[[5, 5, 40, 50], [30, 10, 80, 55]]).masks
    assert np.array_equal(np.load(tmp_path / "m.npy"), expected)
    assert run("run", "sam-vit-b", picture, "--point", "20,20", "--point", "60,30,0", "-o", tmp_path)[0] == 0
    assert (tmp_path / "ct.segment.png").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--box", "5,5,40,y"), "--box takes numbers with commas between them, not '5,5,40,y'"),
        (("--box", "5,5,40,50", "--box", "5,5"), "--box: all boxes need equally many numbers"),
        (("--point", "5,5,1", "--point", "5"), "--point: give x,y for a point inside"),
        (("--box", "5,5,40,50", "--do", "embed"), "--box and --point outline objects on one input"),
        ((), "nothing points at an object"),
    ],
)
def test_wrong_options_are_one_sentence(
    arguments: tuple[str, ...], sentence: str, run: Any, picture: Path, tmp_path: Path
) -> None:
    code, _, err = run("run", "sam-vit-b", picture, *arguments, "-o", tmp_path / "m.png")
    assert code == 2
    assert sentence in err
    assert not list(tmp_path.iterdir())
