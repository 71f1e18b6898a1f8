"""The controlled vocabulary: every word that records may use, as a tree with labels, synonyms and codes.

Record types mark their fields with `Word(facet)` and `Ref(kind)`; the store finds the marks and resolves them, so a new
field needs no new check.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field

from medfm.catalog.parts import Part

System = Literal["dicom", "radlex", "snomed-ct", "uberon", "ncit", "mondo", "loinc", "spdx"]


@dataclass(frozen=True)
class Word:
    """Marks a string as a word of one facet of the taxonomy."""

    facet: str


@dataclass(frozen=True)
class Ref:
    """Marks a string as the id of a record of one kind, or as a BibTeX key (`kind="paper"`)."""

    kind: str


class Code(Part):
    """The word's code in a terminology, with the source where the pair was read."""

    system: System
    code: str
    source: str
    """Id of one of the taxonomy's sources."""


class Term(Part):
    """One word with what it means."""

    id: str
    label: str
    synonyms: tuple[str, ...] = ()
    definition: str | None = None
    codes: tuple[Code, ...] = ()
    origin: Annotated[Literal["survey", "project"], Field(alias="from")] = "project"
    """Whether the survey's public text uses the term, or this project added it."""
    children: tuple[Term, ...] = ()


class TaxonomySource(Part):
    """Where codes or terms were read."""

    title: str
    url: str
    checked: str


class Taxonomy(Part):
    """All facets, each a forest of words."""

    sources: dict[str, TaxonomySource]
    facets: dict[str, tuple[Term, ...]]

    @cached_property
    def _terms(self) -> dict[str, dict[str, Term]]:
        return {facet: {term.id: term for term in _walk(terms)} for facet, terms in self.facets.items()}

    def terms(self, facet: str) -> dict[str, Term]:
        """Return the words of one facet by id, parents before children; {} for an unknown facet."""
        return self._terms.get(facet, {})

    def within(self, facet: str, word: str) -> set[str]:
        """Return the word and everything below it; `word` may be an id, a label or a synonym in any case.

        Returns the empty set when the facet has no such word.
        """
        term = self.find(facet, word)
        return {below.id for below in _walk((term,))} if term else set()

    def find(self, facet: str, word: str) -> Term | None:
        """Return the term that an id, a label or a synonym names, in any case; None where there is none."""
        return self.terms(facet).get(word) or self._spellings.get(facet, {}).get(spelling(word))

    def above(self, facet: str, word: str) -> tuple[str, ...]:
        """Return the word and every word above it, nearest first; only the word itself where the facet lacks it."""
        path = [word]
        while (parent := self._parents.get(facet, {}).get(path[-1])) is not None:
            path.append(parent)
        return tuple(path)

    @cached_property
    def _parents(self) -> dict[str, dict[str, str]]:
        return {
            facet: {child.id: term.id for term in terms.values() for child in term.children}
            for facet, terms in self._terms.items()
        }

    @cached_property
    def _spellings(self) -> dict[str, dict[str, Term]]:
        return {
            facet: {spelling(name): term for term in terms.values() for name in (term.id, term.label, *term.synonyms)}
            for facet, terms in self._terms.items()
        }


def spelling(word: str) -> str:
    """Return the form in which spellings are compared.

    >>> spelling("Chest X-ray") == spelling("chest_x_ray")
    True
    """
    return word.lower().replace("-", " ").replace("_", " ").strip()


def _walk(terms: tuple[Term, ...]) -> Iterator[Term]:
    for term in terms:
        yield term
        yield from _walk(term.children)
