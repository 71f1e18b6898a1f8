"""Small vocabularies in the formats of the authors' files: no model's own vocabulary is needed to compare tokenizers."""

from __future__ import annotations

import string
from pathlib import Path

WORDS = ["the", "heart", "is", "enlarged", "image", "of", "tumor", "finding", "no", "pneumonia", "left", "LEFT", "The", "photo"]


def word_pieces(path: Path) -> None:
    """Write a vocabulary of BERT: special words, some words, and every ASCII letter, at the start of a word or inside."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [*string.ascii_letters, *string.digits, "é", "ï"]
    words = [*special, *string.punctuation, *letters, *(f"##{letter}" for letter in letters), *WORDS]
    path.write_text("\n".join(dict.fromkeys(words)) + "\n", encoding="utf-8")
