"""Steps on texts: reading, cleaning, and the three ways in which models cut them into tokens.

A step gives `tokens`, and `attention` (1 for tokens, 0 for what fills up) where texts have a vocabulary of their own.
"""

from __future__ import annotations

import gzip
import html
import string
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from medfm.catalog import text_steps as described
from medfm.errors import InputError, MissingExtraError
from medfm.runtime.state import Context, Function, State

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_BEGIN, _END = "<|startoftext|>", "<|endoftext|>"
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_MERGES = 49152 - 256 - 2  # of the public list, CLIP uses the first ones


def read(source: object) -> Sequence[str]:
    """Return texts, none of them empty.

    Raises:
        InputError: no text, or something that is none.
    """
    texts = [source] if isinstance(source, str) else list(source) if isinstance(source, list | tuple) else None
    if texts is None or not all(isinstance(text, str) for text in texts):
        raise InputError(f"expected a text or a list of texts, found {type(source).__name__}")
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            raise InputError(f"text {number} is empty")
    return texts


def cleaned(text: str, how: str) -> str:
    """Return a text as a tokenizer expects it; see `medfm.catalog.text_steps.Clean`.

    >>> cleaned("T1/T2 &amp; Flair", "letters"), cleaned("a  &amp; b", "unescape")
    ('t1t2 amp flair', 'a & b')
    """
    if how == "unescape":
        try:
            import ftfy
        except ImportError:
            raise MissingExtraError("ftfy", "clip", why="reading texts as this model's authors do") from None
        return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())
    if how == "letters":
        return " ".join(text.lower().translate(str.maketrans("", "", string.punctuation)).split())
    return text.rstrip("!?.") if how == "ends" else text


def _byte_pairs(step: described.TokenizeBytePairs, state: State, context: Context) -> None:  # noqa: ARG001
    tokenizer = _clip()
    text = cleaned(state.value, step.clean).lower() if step.clean == "unescape" else state.value
    begin, end = _number(tokenizer, _BEGIN), _number(tokenizer, _END)
    numbers = [begin, *tokenizer.encode(text).ids, end]
    state.outputs = {"tokens": _filled(numbers, step.length, 0 if step.pad == "zero" else end, state)}


def _word_pieces(step: described.TokenizeWordPieces, state: State, context: Context) -> None:
    tokenizer = _bert(context.files[step.vocabulary], step.lowercase)
    numbers = tokenizer.encode(cleaned(state.value, step.clean)).ids
    if len(numbers) > step.length and step.longer == "refuse":
        raise InputError(f"a text has {len(numbers)} tokens; this model takes at most {step.length}: shorten it")
    pad = _number(tokenizer, "[PAD]")
    count = min(len(numbers), step.length)
    tokens = _filled(numbers, step.length if step.fill == "length" else count, pad, state)
    # batches of different lengths are filled up with 0 when they are joined, which _bert has checked to be [PAD]
    state.outputs = {"tokens": tokens, "attention": (torch.arange(len(tokens)) < count).long()}


def _file(step: described.TokenizeFile, state: State, context: Context) -> None:
    numbers = _tokenizer(context.files[step.tokenizer]).encode(cleaned(state.value, step.clean)).ids
    tokens = _filled(numbers, step.length, step.pad, state)
    state.outputs = {"tokens": torch.cat([tokens, torch.full((step.room,), step.pad)])}


def _sentence_pieces(step: described.TokenizeSentencePieces, state: State, context: Context) -> None:
    model = _pieces(context.files[step.model])
    numbers = [n + step.offset if n != model.unk_id() else step.unknown for n in model.encode(state.value)]
    count = min(len(numbers) + 2, step.length)
    tokens = _filled([step.begin, *numbers, step.end], step.length, step.pad, state)
    state.outputs = {"tokens": tokens, "attention": (torch.arange(step.length) < count).long()}


def _number(tokenizer: Tokenizer, word: str) -> int:
    number = tokenizer.token_to_id(word)
    assert number is not None, "the vocabulary was checked"
    return number


def _filled(numbers: Sequence[int], length: int, pad: int, state: State) -> torch.Tensor:
    """Return the numbers cut or filled up to a length; a text that is cut keeps its last token and leaves a note."""
    if len(numbers) > length:
        state.notes.append(f"a text of {len(numbers)} tokens was cut to {length}")
        numbers = [*numbers[: length - 1], numbers[-1]]
    return torch.tensor([*numbers, *[pad] * (length - len(numbers))])


@lru_cache(maxsize=1)
def _clip() -> Tokenizer:
    """Return CLIP's byte pairs, from the vocabulary that ships in open_clip (the same file as in OpenAI's code)."""
    found = find_spec("open_clip")
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError("open_clip_torch", "clip", why="its vocabulary of CLIP's tokens")
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    path = Path(found.submodule_search_locations[0]) / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")[1 : _MERGES + 1]
    merges = [(first, second) for first, second in map(str.split, lines)]
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters = [chr(byte) for byte in visible]
    letters += [chr(256 + i) for i in range(256 - len(visible))]  # bytes that cannot be printed
    words = [*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in merges), _BEGIN, _END]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>", unk_token=_END))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    split = pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True)
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    return tokenizer


@lru_cache(maxsize=8)
def _bert(path: Path, lowercase: bool) -> Tokenizer:
    from tokenizers import BertWordPieceTokenizer

    words = path.read_text(encoding="utf-8").splitlines()
    vocabulary = {word.strip(): number for number, word in enumerate(words) if word.strip()}
    missing = [word for word in ("[PAD]", "[UNK]", "[CLS]", "[SEP]") if word not in vocabulary]
    if missing or vocabulary["[PAD]"] != 0:
        raise InputError(
            f"is no vocabulary of BERT: {', '.join(missing) or '[PAD]'} is not where it must be", path=str(path)
        )
    tokenizer: Tokenizer = BertWordPieceTokenizer(vocab=vocabulary, lowercase=lowercase)
    return tokenizer


@lru_cache(maxsize=8)
def _tokenizer(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise InputError(f"is no tokenizer.json ({' '.join(str(error).split())[:120]})", path=str(path)) from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


@lru_cache(maxsize=8)
def _pieces(path: Path) -> Any:
    try:
        import sentencepiece
    except ImportError:
        raise MissingExtraError("sentencepiece", "clip", why="reading texts as this model's authors do") from None
    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError) as error:
        raise InputError(f"is no SentencePiece model ({' '.join(str(error).split())[:120]})", path=str(path)) from None


STEPS: dict[type, Function] = {
    described.TokenizeBytePairs: _byte_pairs,
    described.TokenizeWordPieces: _word_pieces,
    described.TokenizeFile: _file,
    described.TokenizeSentencePieces: _sentence_pieces,
}
