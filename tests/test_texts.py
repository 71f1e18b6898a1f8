"""From texts to tokens: what each step gives, what it cuts and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from medfm.catalog.contracts import (
    ReadText,
    TokenizeBytePairs,
    TokenizeFile,
    TokenizeSentencePieces,
    TokenizeWordPieces,
)
from medfm.errors import InputError
from medfm.runtime import contract as engine
from medfm.runtime.state import Context
from medfm.runtime.steps.text import cleaned
from tests.parity import vocabularies


def tokens(step: object, texts: list[str], **files: Path) -> engine.Prepared:
    steps = (ReadText(), step)
    return engine.prepare(steps, engine.read(steps, texts), Context(files=files))


@pytest.fixture
def words(tmp_path: Path) -> Path:
    vocabularies.word_pieces(tmp_path / "vocab.txt")
    return tmp_path / "vocab.txt"


def test_clips_public_vocabulary_gives_the_numbers_that_openai_published() -> None:
    # "a photo of a cat" in the README of github.com/openai/CLIP and in every copy of its tokenizer
    step = TokenizeBytePairs(clean="unescape", length=77, pad="zero")
    found = tokens(step, ["a photo of a cat"]).batch["tokens"][0]
    assert found[:7].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert found[7:].sum() == 0


def test_a_text_that_is_cut_keeps_its_end_and_leaves_a_note() -> None:
    step = TokenizeBytePairs(clean="nfc", length=8, pad="end")
    prepared = tokens(step, ["a cat " * 20, "a cat"])
    assert prepared.batch["tokens"].tolist()[0][-1] == 49407
    assert prepared.batch["tokens"].tolist()[1] == [49406, 320, 2368, 49407, 49407, 49407, 49407, 49407]
    assert prepared.notes == ("a text of 42 tokens was cut to 8",)


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_an_empty_text_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="text 2 is empty"):
        tokens(TokenizeBytePairs(clean="nfc", length=8, pad="end"), ["a cat", text])


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(InputError, match="expected a text or a list of texts, found int"):
        engine.read((ReadText(),), 7)


@pytest.mark.parametrize(
    ("how", "text", "expected"),
    [
        ("unescape", "H&amp;amp;E\t of  naÃ¯ve", "H&E of naïve"),
        ("letters", "T1/T2:  Café!", "t1t2 café"),
        ("ends", "No finding!?.", "No finding"),
        ("none", " as  is ", " as  is "),
    ],
)
def test_texts_are_cleaned_as_the_contract_says(how: str, text: str, expected: str) -> None:
    assert cleaned(text, how) == expected


def test_word_pieces_are_filled_to_the_longest_text_or_to_the_length(words: Path) -> None:
    step = TokenizeWordPieces(vocabulary="vocabulary", lowercase=True, length=12, fill="batch")
    texts = ["no finding", "The heart is enlarged"]
    found = tokens(step, texts, vocabulary=words).batch
    assert found["tokens"].shape == found["attention"].shape == (2, 6)
    assert found["attention"].sum(-1).tolist() == [4, 6]
    assert found["tokens"][0, 4:].tolist() == [0, 0]
    whole = tokens(step.model_copy(update={"fill": "length"}), texts, vocabulary=words).batch
    assert whole["tokens"].shape == (2, 12)
    assert torch.equal(whole["tokens"][:, :6], found["tokens"])


def test_a_text_that_is_too_long_is_refused_where_the_authors_refuse_it(words: Path) -> None:
    step = TokenizeWordPieces(vocabulary="vocabulary", lowercase=True, length=5, fill="batch", longer="refuse")
    assert tokens(step, ["the left heart"], vocabulary=words).batch["tokens"].shape == (1, 5)
    with pytest.raises(InputError, match="a text has 6 tokens; this model takes at most 5"):
        tokens(step, ["the left heart image"], vocabulary=words)


def test_a_file_that_is_no_vocabulary_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("the\nheart\n")
    step = TokenizeWordPieces(vocabulary="vocabulary", lowercase=True, length=5, fill="batch")
    with pytest.raises(InputError, match=r"vocab\.txt.* is no vocabulary of BERT: \[PAD\]"):
        tokens(step, ["the heart"], vocabulary=path)
    with pytest.raises(InputError, match=r"is no tokenizer\.json"):
        tokens(TokenizeFile(tokenizer="t", length=5, pad=0), ["the heart"], t=path)
    step = TokenizeSentencePieces(model="m", length=5, begin=0, end=2, pad=1, unknown=3, offset=1)
    with pytest.raises(InputError, match="is no SentencePiece model"):
        tokens(step, ["the heart"], m=path)


def test_room_for_the_networks_own_tokens_stays_empty(tmp_path: Path) -> None:
    vocabularies.byte_level(tmp_path / "tokenizer.json")
    step = TokenizeFile(tokenizer="t", length=6, pad=0, room=1)
    found = tokens(step, ["the image of the heart", "the"], t=tmp_path / "tokenizer.json").batch["tokens"]
    assert found.shape == (2, 7)
    assert found[:, -1].tolist() == [0, 0]
    assert found[0, 5] == 2  # the end of a text that was cut
