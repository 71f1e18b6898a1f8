"""What registries of papers say of one: Crossref for DOIs, arXiv for preprints; as a BibTeX entry and a first record."""

from __future__ import annotations

import datetime
import json
import os
import re
import unicodedata
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

from medfm.catalog.store import Catalog
from medfm.errors import SourceError, UsageError

_ATOM = {"a": "http://www.w3.org/2005/Atom", "x": "http://arxiv.org/schemas/atom"}
_DOI = re.compile(r"(?:https?://(?:dx\.)?doi\.org/|doi:)?(10\.\d{4,9}/\S+)", re.IGNORECASE)
_ARXIV = re.compile(r"(?:https?://arxiv\.org/(?:abs|pdf)/|arxiv:)?(\d{4}\.\d{4,5})(?:v\d+)?", re.IGNORECASE)
_SMALL = {
    "a",
    "an",
    "the",
    "on",
    "of",
    "for",
    "and",
    "in",
    "to",
    "with",
    "towards",
    "toward",
    "from",
    "is",
    "are",
    "at",
    "by",
}
_LARGEST = 4 << 20


@dataclass(frozen=True)
class Paper:
    """A paper as its registry knows it.

    Attributes:
        title: in plain text.
        authors: (family, given) in order; a group has no given name.
        year: of publication.
        doi, arxiv: identifiers, at least one of them.
        venue, volume, number, pages: where it was published; "" where unknown.
        kind: the BibTeX type.
    """

    title: str
    authors: tuple[tuple[str, str], ...]
    year: int
    doi: str = ""
    arxiv: str = ""
    venue: str = ""
    volume: str = ""
    number: str = ""
    pages: str = ""
    kind: str = "article"

    @property
    def key(self) -> str:
        """authorYEARword, the way keys of the bibliography are made."""
        words = [w for w in re.findall(r"[a-z0-9]+", _ascii(self.title).lower()) if w not in _SMALL]
        family = re.sub(r"[^a-z]", "", _ascii(self.authors[0][0]).lower())
        return f"{family}{self.year}{words[0] if words else 'paper'}"

    def bibtex(self, key: str) -> str:
        """Return the entry."""
        names = " and ".join(f"{family}, {given}" if given else f"{{{family}}}" for family, given in self.authors)
        fields = {"author": names, "title": self.title, "booktitle" if self.kind == "inproceedings" else "journal": self.venue,
                  "volume": self.volume, "number": self.number, "pages": self.pages.replace("-", "--"), "year": str(self.year),
                  "doi": self.doi, "eprint": self.arxiv, "archiveprefix": "arXiv" if self.arxiv else ""}  # fmt: skip
        lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items() if value)
        return f"@{self.kind}{{{key},\n{lines}}}\n"


def look_up(identifier: str) -> Paper:
    """Ask the registry of a DOI or an arXiv number.

    Raises:
        UsageError: the identifier is neither.
        SourceError: the registry cannot be reached, does not know it, or answers something else.
    """
    if match := _DOI.fullmatch(identifier.strip()):
        doi = match[1].rstrip(".,;")
        if preprint := re.fullmatch(r"10\.48550/arxiv\.(\d{4}\.\d{4,5})", doi, re.IGNORECASE):
            return _arxiv(preprint[1])
        return _crossref(doi)
    if match := _ARXIV.fullmatch(identifier.strip()):
        return _arxiv(match[1])
    raise UsageError(f"{identifier!r} is neither a DOI (10.1038/s41591-024-02857-3) nor an arXiv number (2308.15474)")


def draft(identifier: str, catalog: Catalog) -> tuple[str, str, str]:
    """Return id, YAML text and BibTeX entry of a first record; the entry is "" where the bibliography has the paper.

    Raises:
        UsageError: the identifier is neither DOI nor arXiv number.
        SourceError: the registry cannot be reached or does not know it.
    """
    paper = look_up(identifier)
    known = [
        key
        for key, entry in catalog.bibliography.items()
        if (paper.doi and (entry.doi or "").lower() == paper.doi.lower())
        or (paper.arxiv and entry.arxiv == paper.arxiv)
    ]
    key = known[0] if known else _free(paper.key, catalog)
    name = _name(paper.title)
    id = re.sub(r"[^a-z0-9]+", "-", _ascii(name or key).lower()).strip("-")
    text = "\n".join([*_lines(paper, key, name, catalog), ""])
    return id, text, "" if known else paper.bibtex(key)


def _lines(paper: Paper, key: str, name: str, catalog: Catalog) -> Iterator[str]:
    today = datetime.date.today().isoformat()
    address = f"https://doi.org/{paper.doi}" if paper.doi else f"https://arxiv.org/abs/{paper.arxiv}"
    yield f"# {paper.title}"
    yield f"name: {json.dumps(name, ensure_ascii=False)}" if name else "# name: as its authors write it"
    yield "# summary: what it is and what it is good for, in your own words, two sentences at most"
    yield f"papers: [{key}]"
    yield f"links: {{paper: {json.dumps(address)}}}"
    yield "# category: one of " + ", ".join(catalog.taxonomy.terms("category"))
    yield f"# release: {{status: open, gated, closed or withdrawn, year: of the weights}}; the paper is of {paper.year}"
    yield "# modalities, tasks, architecture, parameters, training, license: each with its place under evidence"
    yield "sources:"
    yield f"  paper: {{kind: paper, cite: {key}, url: {json.dumps(address)}, checked: {today}}}"
    yield "# evidence: {tasks: 'paper: Section 2', ...}"
    yield f"checked: {today}"


def _name(title: str) -> str:
    """Return the model's name where the title begins with one ("UNI: ..."); "" where it does not."""
    head, colon, _ = title.partition(":")
    return head.strip() if colon and len(head.split()) <= 3 and re.search(r"[A-Z0-9]", head) else ""


def _free(key: str, catalog: Catalog) -> str:
    if key not in catalog.bibliography:
        return key
    return next(
        f"{key}{letter}" for letter in "bcdefghijklmnopqrstuvwxyz" if f"{key}{letter}" not in catalog.bibliography
    )


def _crossref(doi: str) -> Paper:
    base = os.environ.get("MEDFM_CROSSREF_ENDPOINT", "https://api.crossref.org")
    answer = _get(f"{base}/works/{urllib.parse.quote(doi, safe='/')}", f"DOI {doi}")
    try:
        found = json.loads(answer)["message"]
        authors = tuple((a.get("family") or a["name"], a.get("given", "")) for a in found["author"])
        year = int(found["issued"]["date-parts"][0][0])
        title = _plain(found["title"][0])
    except (ValueError, KeyError, IndexError, TypeError):
        raise SourceError(f"Crossref knows DOI {doi} without title, authors or year; write the entry by hand") from None
    if not authors:
        raise SourceError(f"Crossref knows no authors of DOI {doi}; write the entry by hand")
    kind = "inproceedings" if found.get("type") == "proceedings-article" else "article"
    venue = _plain(next(iter(found.get("container-title") or ()), ""))
    return Paper(title, authors, year, doi=doi, venue=venue, volume=found.get("volume", ""), number=found.get("issue", ""),
                 pages=found.get("page", found.get("article-number", "")), kind=kind)  # fmt: skip


def _arxiv(number: str) -> Paper:
    base = os.environ.get("MEDFM_ARXIV_ENDPOINT", "https://export.arxiv.org")
    answer = _get(f"{base}/api/query?id_list={number}", f"arXiv {number}")
    try:
        entry = ElementTree.fromstring(answer).find("a:entry", _ATOM)  # noqa: S314  # expat bounds what entities may become
    except ElementTree.ParseError:
        raise SourceError(f"arXiv answered something unreadable for {number}; try again later") from None
    title = entry.findtext("a:title", "", _ATOM) if entry is not None else ""
    published = entry.findtext("a:published", "", _ATOM) if entry is not None else ""
    names = [a.text or "" for a in entry.findall("a:author/a:name", _ATOM)] if entry is not None else []
    if entry is None or not title or not names or not published[:4].isdigit():
        raise SourceError(f"arXiv knows no paper {number}")
    authors = tuple(_split(_plain(name)) for name in names)
    doi = entry.findtext("x:doi", "", _ATOM)
    return Paper(
        _plain(title), authors, int(published[:4]), doi=doi, arxiv=number, kind="misc" if not doi else "article"
    )


def _split(name: str) -> tuple[str, str]:
    """Return (family, given) of a name that is written given first; particles go with the family name."""
    words = name.split()
    at = len(words) - 1
    while at > 1 and words[at - 1].islower():
        at -= 1
    return " ".join(words[at:]), " ".join(words[:at])


def _get(address: str, what: str) -> bytes:
    if not re.match(r"https://|http://(localhost|127\.0\.0\.1)[:/]", address):
        raise SourceError(f"{address}: only https addresses are asked")
    request = urllib.request.Request(address, headers={"User-Agent": "medfm (catalog of medical foundation models)"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            answer: bytes = response.read(_LARGEST + 1)
    except urllib.error.HTTPError as error:
        known = "is not known there" if error.code == 404 else f"got the answer {error.code} {error.reason}"
        raise SourceError(f"{what} {known}") from None
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise SourceError(
            f"{what}: the registry cannot be reached ({getattr(error, 'reason', error)}); check the network"
        ) from None
    if len(answer) > _LARGEST:
        raise SourceError(f"{what}: the answer is longer than a paper's metadata can be")
    return answer


def _plain(text: str) -> str:
    """Return text without markup and with single spaces."""
    return " ".join(re.sub(r"<[^>]+>", "", text).split())


def _ascii(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
