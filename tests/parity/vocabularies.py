"""Small vocabularies in the formats of the authors' files: no model's own vocabulary is needed to compare tokenizers."""

from __future__ import annotations

import gzip
import io
import json
import string
from pathlib import Path

WORDS = [
    "the",
    "heart",
    "is",
    "enlarged",
    "image",
    "of",
    "tumor",
    "finding",
    "no",
    "pneumonia",
    "left",
    "LEFT",
    "The",
    "photo",
]


def word_pieces(path: Path) -> None:
    """Write a vocabulary of BERT: special words, some words, and every ASCII letter, at the start of a word or inside."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [*string.ascii_letters, *string.digits, "é", "ï"]
    words = [*special, *string.punctuation, *letters, *(f"##{letter}" for letter in letters), *WORDS]
    path.write_text("\n".join(dict.fromkeys(words)) + "\n", encoding="utf-8")


def byte_pairs(folder: Path) -> None:
    """Write CLIP's own vocabulary as transformers reads it: vocab.json and merges.txt."""
    import open_clip

    encoder = open_clip.SimpleTokenizer().encoder
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    words = {names.get(word, word): number for word, number in encoder.items()}
    (folder / "vocab.json").write_text(json.dumps(words), encoding="utf-8")
    merges = gzip.decompress(Path(open_clip.tokenizer.default_bpe()).read_bytes()).decode("utf-8").split("\n")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges[1 : 49152 - 256 - 2 + 1]]), encoding="utf-8")


def sentence_pieces() -> bytes:
    """Return a SentencePiece model of T5's kind, trained on a few sentences."""
    import sentencepiece

    sentences = [
        "the heart is enlarged and there is fluid in the lung",
        "an image of a tumor",
        "no finding",
        "cafe au lait",
    ]
    sentences += [" ".join(string.ascii_letters), string.digits, string.punctuation, *WORDS] * 3
    stream = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=stream, vocab_size=360, hard_vocab_limit=False, byte_fallback=True,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, normalization_rule_name="identity", minloglevel=2,
    )  # fmt: skip
    return stream.getvalue()


def xlm_pieces(path: Path) -> None:
    """Write a SentencePiece model of XLM-RoBERTa's kind: unknown, begin and end first."""
    import sentencepiece

    sentences = [
        "the heart is enlarged and there is fluid in the lung",
        "an image of a tumor",
        "no finding",
        "cafe au lait",
    ]
    sentences += [" ".join(string.ascii_letters), string.digits, string.punctuation, *WORDS] * 3
    stream = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=stream, vocab_size=140, hard_vocab_limit=False,
        normalization_rule_name="identity", minloglevel=2,
    )  # fmt: skip
    path.write_bytes(stream.getvalue())


def byte_level(path: Path) -> None:
    """Write a tokenizer.json of byte pairs, set up as CONCH's."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    special = ["<pad>", "<start_of_text>", "<end_of_text>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {word: number for number, word in enumerate([*special, *letters, "th", "the", "in", "an"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("t", "h"), ("th", "e"), ("i", "n"), ("a", "n")]))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start_of_text> $A <end_of_text>", special_tokens=[("<start_of_text>", 1), ("<end_of_text>", 2)]
    )
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(path))


def tokenizer_json(model: Path, path: Path) -> None:
    """Write what a SentencePiece model holds as the tokenizer.json that SigLIP's repositories have beside it."""
    import sentencepiece
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))
    count = pieces.get_piece_size()
    tokenizer = Tokenizer(
        models.Unigram(
            [(pieces.id_to_piece(i), pieces.get_score(i)) for i in range(count)], unk_id=2, byte_fallback=True
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.add_special_tokens([AddedToken("</s>", special=True)])
    tokenizer.save(str(path))
