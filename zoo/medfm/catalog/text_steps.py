"""Steps of contracts that read text, sequences of residues and receptors."""

from __future__ import annotations

from typing import Literal

from medfm.catalog.parts import Part


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
