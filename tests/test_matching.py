"""Images and texts in one space: vectors, similarity, and classification by labels in words, on a network of a few numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import medfm
from medfm.catalog.outputs import EmbeddingOutput, Output, ZeroShotOutput
from medfm.errors import CapabilityError, UsageError
from medfm.runtime.classifying import prompts
from medfm.runtime.runner import Runner

PLIP = medfm.Catalog.load().models["plip"]
RED, GREEN = np.full((8, 8, 3), (255, 0, 0), np.uint8), np.full((8, 8, 3), (0, 255, 0), np.uint8)


class Colors:
    """A Matcher: an image's vector is its mean color, a text's depends on its first word after the start."""

    WORDS = {736: (1.0, 0.0, 0.0), 1901: (0.0, 1.0, 0.0)}  # CLIP's numbers of "red" and "green"

    def encode(self, batch: Mapping[str, Tensor]) -> Tensor:
        return batch["image"].mean(dim=(2, 3))

    def encode_text(self, batch: Mapping[str, Tensor]) -> Tensor:
        found = [[v for n, v in self.WORDS.items() if n in row] for row in batch["tokens"].tolist()]
        sums = [np.sum(vectors, axis=0) if vectors else (0.0, 0.0, 1.0) for vectors in found]
        return torch.from_numpy(np.array(sums, dtype=np.float32))

    def compare(self, images: Tensor, texts: Tensor) -> Tensor:
        return 10 * images @ texts.mT

    def modules(self) -> Mapping[str, nn.Module]:
        return {}


def runner(**zero_shot: object) -> Runner:
    vector = EmbeddingOutput(dimension=3, pooling="none")
    output = Output(embedding=vector, text_embedding=vector, zero_shot=ZeroShotOutput(**zero_shot))
    steps = PLIP.input[:-1]  # without normalization, so that colors stay what they are
    record = PLIP.model_copy(update={"output": output, "input": steps})
    return Runner(record, Colors(), {}, device="cpu", dtype="float32", progress=False)


def test_a_matcher_embeds_both_classifies_and_retrieves() -> None:
    assert runner().can == ("embed", "embed_text", "classify", "retrieve")
    assert runner().embed_text("a red square").vectors.tolist() == [[1, 0, 0]]
    found = runner().retrieve([RED, GREEN], ["red", "green", "a green thing"])
    assert found.values.shape == (2, 3)
    assert [row[0] for row in found.best()] == ["red", "green"]
    assert runner().embed_text(["red", "green"], batch_size=1).vectors.shape == (2, 3)


def test_labels_in_words_get_probabilities_as_clip_gives_them() -> None:
    scores = runner().classify([RED, GREEN], labels=["red", "green"])
    assert scores.best() == [{"label": "red"}, {"label": "green"}]
    expected = torch.tensor([10.0, 0.0]).softmax(-1)
    assert np.allclose(scores.values["label"][0], expected, atol=1e-5)


def test_templates_and_sentences_are_averaged_as_vectors_or_as_cosines() -> None:
    labels = {"warm": ["red", "green"], "none": ["blue"]}
    vectors = runner(temperature=1.0).classify(RED, labels=labels).values["label"][0]
    cosines = runner(temperature=1.0, average="cosines").classify(RED, labels=labels).values["label"][0]
    assert np.allclose(vectors, torch.tensor([2**-0.5, 0]).softmax(-1), atol=1e-5)
    assert np.allclose(cosines, torch.tensor([0.5, 0]).softmax(-1), atol=1e-5)
    assert prompts(["red"], ["a {} tile", "{}"]) == [["a red tile", "red"]]


def test_a_label_against_its_denial_is_a_softmax_over_the_two() -> None:
    scores = runner(against=("green",), temperature=2.0).classify(RED, labels=["red"])
    assert np.allclose(scores.values["label"], torch.tensor([2.0, 0.0]).softmax(-1)[0], atol=1e-5)


def test_sigmoid_judges_each_label_by_itself() -> None:
    scores = runner(activation="sigmoid").classify(RED, labels=["red", "green"])
    assert np.allclose(scores.values["label"][0], torch.tensor([10.0, 0.0]).sigmoid(), atol=1e-5)


@pytest.mark.parametrize("labels", [["red"], "red", []])
def test_one_label_alone_is_refused_where_it_would_always_have_probability_1(labels: object) -> None:
    with pytest.raises(UsageError, match="at least two names"):
        runner().classify(RED, labels=labels)  # type: ignore[arg-type]


def test_classifying_without_labels_says_what_to_pass() -> None:
    with pytest.raises(CapabilityError, match=r"pass labels=\[\.\.\.\]"):
        runner().classify(RED)


def test_an_empty_list_of_texts_is_refused() -> None:
    with pytest.raises(UsageError, match="there is no text"):
        runner().embed_text([])


def test_scores_of_labels_in_words_are_saved(tmp_path: Path) -> None:
    Image.fromarray(RED).save(tmp_path / "red.png")
    target = runner().classify(tmp_path / "red.png", labels=["red", "green"]).save(tmp_path / "scores.csv")
    assert target.read_text().splitlines()[1].startswith(f"{tmp_path / 'red.png'},label,red,0.99")
