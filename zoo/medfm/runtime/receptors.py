"""The CDR loops of a T-cell receptor: CDR1 and CDR2 follow from the V gene, CDR3 is given."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from medfm.errors import InputError, MissingExtraError, did_you_mean, near_misses
from medfm.runtime.inputs import Receptor


def loops(receptor: Receptor, names: Sequence[str]) -> list[str]:
    """Return the residues of the named loops ("CDR1A", ...); "" for a loop that is not known.

    A V gene without an allele is read as its first functional allele, as libtcrlm does (SCEPTR, Nagano et al. 2025).

    Raises:
        InputError: the V gene is no functional human gene in IMGT nomenclature, or nothing is known of the receptor.
    """
    found = {"CDR3A": receptor.cdr3a or "", "CDR3B": receptor.cdr3b or ""}
    for chain, gene in (("A", receptor.trav), ("B", receptor.trbv)):
        regions = _regions(gene, f"TR{chain}V", receptor.name) if gene else {}
        found |= {f"CDR{i}{chain}": regions.get(f"CDR{i}-IMGT", "") for i in (1, 2)}
    residues = [found[name] for name in names]
    if not any(residues):
        raise InputError(f"receptor {receptor.name}: no V gene and no CDR3 is given")
    return residues


def _regions(gene: str, prefix: str, name: str) -> dict[str, str]:
    symbol, _, allele = gene.partition("*")
    known = _functional(prefix)
    if symbol not in known:
        hint = did_you_mean(near_misses(symbol, known))
        raise InputError(f"receptor {name}: {gene!r} is no functional human {prefix} gene in IMGT nomenclature{hint}")
    if not allele:
        allele = known[symbol]
    try:
        regions: dict[str, str] = _tidytcells().tr.get_aa_sequence(f"{symbol}*{int(allele):02d}", species="homosapiens")
    except ValueError:
        raise InputError(f"receptor {name}: {gene!r} is no allele with a known sequence") from None
    return regions


@cache
def _functional(prefix: str) -> dict[str, str]:
    """Return each functional V gene of a chain with the number of its first functional allele."""
    tt = _tidytcells()
    query: Any = tt.tr.query
    options = {"species": "homosapiens", "functionality": "F", "contains_pattern": prefix}
    genes = set(query(precision="gene", **options))
    first: dict[str, str] = {}
    for allele in sorted(query(precision="allele", **options)):
        gene, _, number = allele.partition("*")
        if gene in genes:
            first.setdefault(gene, number)
    return first


def _tidytcells() -> Any:
    try:
        import tidytcells
    except ImportError:
        raise MissingExtraError("tidytcells", "sequences", why="reading V genes") from None
    return tidytcells
