"""Steps of contracts that read text, sequences of residues and receptors."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medfm.catalog.parts import Part

Clean = Literal["none", "unescape", "letters", "ends"]
"""What is done to a text before it is cut into tokens. unescape: broken encodings are mended, HTML entities resolved and
white space joined, as OpenAI's CLIP does; letters: small letters, without ASCII punctuation, as SigLIP does; ends: without
!, ? and . at the end, as BioViL does."""
Length = Annotated[int, Field(ge=3)]


class ReadText(Part):
    """Read texts, one string each."""

    step: Literal["text"] = "text"


class ReadSequence(Part):
    """Read amino-acid or nucleotide sequences, one string each."""

    step: Literal["sequence"] = "sequence"
    alphabet: str
    """Every letter that is allowed."""
    unknown: str = ""
    """The letter that stands for a residue to be predicted; "" where the model has none."""
    longest: int
    """Residues, at most."""


class ReadReceptor(Part):
    """Read T-cell receptors: V gene and CDR3 of the alpha and beta chain."""

    step: Literal["receptor"] = "receptor"
    alphabet: str
    """Every letter that a CDR3 may have."""
    genes: Literal["imgt"] = "imgt"
    """The nomenclature of V genes."""
    species: str
    """The species whose V genes are known."""


class Tokenize(Part):
    """Turn letters into token numbers with a vocabulary file that comes with the weights."""

    step: Literal["tokenize"] = "tokenize"
    vocabulary: str
    """Name of the file, one of `weights.files`."""
    begin: str
    end: str
    pad: str
    mask: str


class TokenizeReceptor(Part):
    """Turn CDR loops into tokens with their position, loop length and loop number (SCEPTR)."""

    step: Literal["tokenize-receptor"] = "tokenize-receptor"
    loops: tuple[Literal["CDR1A", "CDR2A", "CDR3A", "CDR1B", "CDR2B", "CDR3B"], ...]
    alphabet: str
    """Residues in the order of their token numbers."""


class TokenizeBytePairs(Part):
    """Turn texts into CLIP's byte pairs, whose vocabulary is public and the same for all models (Radford et al. 2021)."""

    step: Literal["tokenize-byte-pairs"] = "tokenize-byte-pairs"
    clean: Literal["unescape", "nfc"]
    """unescape: as OpenAI's code; nfc: Unicode's normal form C, as the tokenizer of transformers."""
    length: Length
    """Tokens, with the two at the ends; longer texts are cut and keep the end token."""
    pad: Literal["zero", "end"]
    """What fills a text up: number 0, or the end token."""


class TokenizeWordPieces(Part):
    """Turn texts into the numbers of BERT's word pieces, with a vocabulary file that comes with the weights."""

    step: Literal["tokenize-word-pieces"] = "tokenize-word-pieces"
    vocabulary: str
    """Role of the vocabulary (one word a line), one of the weights' files."""
    lowercase: bool
    """Whether capitals and accents are dropped."""
    clean: Clean = "none"
    length: Length
    """Tokens, with the two at the ends; a text that is cut keeps the end token."""
    fill: Literal["length", "batch"]
    """length: every text is filled up to the length; batch: to the longest text that is computed with it."""
    longer: Literal["cut", "refuse"] = "cut"
    """What happens to longer texts."""


class TokenizeFile(Part):
    """Turn texts into numbers as a file `tokenizer.json` says, which comes with the weights."""

    step: Literal["tokenize-file"] = "tokenize-file"
    tokenizer: str
    """Role of the file, one of the weights' files."""
    clean: Clean = "none"
    length: Length
    """Tokens, with those at the ends; longer texts are cut and keep the end token."""
    pad: Annotated[int, Field(ge=0)]
    """Number that fills every text up to the length."""
    room: Annotated[int, Field(ge=0)] = 0
    """Places behind the length that are filled too, whatever the text: the network puts its own tokens there (CoCa)."""


class TokenizeSentencePieces(Part):
    """Turn texts into the numbers of a SentencePiece model, with XLM-RoBERTa's numbers for what it calls otherwise."""

    step: Literal["tokenize-sentence-pieces"] = "tokenize-sentence-pieces"
    model: str
    """Role of the model (*.spm), one of the weights' files."""
    length: Length
    """Tokens, with the two at the ends; longer texts are cut and keep the end token."""
    begin: Annotated[int, Field(ge=0)]
    end: Annotated[int, Field(ge=0)]
    pad: Annotated[int, Field(ge=0)]
    """Number that fills every text up to the length."""
    unknown: Annotated[int, Field(ge=0)]
    """Number of what the model does not know."""
    offset: int
    """What is added to the model's own numbers."""
