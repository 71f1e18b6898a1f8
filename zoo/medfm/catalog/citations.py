"""BibTeX: reading `survey/references.bib` and giving entries for records, tables and searches."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from medfm.errors import Problem

_ENTRY = re.compile(r"@(\w+)\s*\{\s*([^,\s{}]+)\s*,")
_FIELD = re.compile(r"\s*([A-Za-z][\w-]*)\s*=\s*")
_REQUIRED = ("title", "author", "year")


@dataclass(frozen=True)
class Entry:
    """One BibTeX entry with its fields by lower-case name, outer braces removed."""

    key: str
    type: str
    fields: dict[str, str]

    @property
    def doi(self) -> str | None:
        """The DOI in lower case."""
        return self.fields.get("doi", "").lower() or None

    @property
    def arxiv(self) -> str | None:
        """The arXiv id without its version."""
        return re.sub(r"v\d+$", "", self.fields.get("eprint", "")) or None

    @property
    def url(self) -> str | None:
        """Where the paper can be read: its DOI, else arXiv, else the field `url`."""
        if self.doi:
            return f"https://doi.org/{self.doi}"
        if self.arxiv:
            return f"https://arxiv.org/abs/{self.arxiv}"
        return self.fields.get("url")

    @property
    def label(self) -> str:
        """First author's family name and year, such as "Chen et al. 2024"."""
        authors = re.split(r"\s+and\s+", self.fields.get("author", ""))
        first = authors[0].split(",")[0] if "," in authors[0] else authors[0].split(" ")[-1]
        return f"{plain(first)}{' et al.' if len(authors) > 1 else ''} {self.fields.get('year', '')}".strip()

    def bibtex(self) -> str:
        """Return the entry as BibTeX, fields in the order in which they were read."""
        lines = "".join(f"  {name} = {{{value}}},\n" for name, value in self.fields.items())
        return f"@{self.type}{{{self.key},\n{lines}}}\n"


# LaTeX accent -> combining character, and LaTeX letters without a base letter.
_ACCENTS = dict(
    zip("`'^~=\".cvuHk", "\u0300\u0301\u0302\u0303\u0304\u0308\u0307\u0327\u030c\u0306\u030b\u0328", strict=True)
)
_LETTERS = {
    "aa": "å",
    "AA": "Å",
    "o": "ø",
    "O": "Ø",
    "l": "ł",
    "L": "Ł",
    "ss": "ß",
    "ae": "æ",
    "AE": "Æ",
    "oe": "œ",
    "i": "ı",
}
_ACCENT = re.compile(r"\\(?:([`'^~=\".])\s*\{?([A-Za-z])\}?|([cvuHk])(?:\{([A-Za-z])\}|\s+([A-Za-z])))")
_LETTER = re.compile(r"\\(aa|AA|ae|AE|oe|ss|[oOlLi])(?![A-Za-z])\s?")


def plain(latex: str) -> str:
    r"""Return text without LaTeX braces, its accents as letters.

    >>> plain(r"{UNI}: a {Model} by K{\"o}men, Mart\'{\i}n and {\aa}s")
    'UNI: a Model by Kömen, Martín and ås'
    """

    def accented(match: re.Match[str]) -> str:
        accent, letter = match.group(1) or match.group(3), match.group(2) or match.group(4) or match.group(5)
        return unicodedata.normalize("NFC", letter + _ACCENTS[accent])

    text = latex.replace("\\i}", "i}").replace("\\&", "&")  # an accent takes the place of the dot of i
    text = _LETTER.sub(lambda match: _LETTERS[match.group(1)], _ACCENT.sub(accented, text))
    return text.replace("{", "").replace("}", "")


def read(path: Path, file: str) -> tuple[dict[str, Entry], list[Problem]]:
    """Read a BibTeX file; return its entries by key and everything that is wrong with it.

    Args:
        path: the file; a missing one has no entries.
        file: how problems name it.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    entries: dict[str, Entry] = {}
    problems: list[Problem] = []
    ids: dict[str, str] = {}
    for match in _ENTRY.finditer(text):
        kind, key = match.group(1).lower(), match.group(2)
        try:
            fields = _fields(text, match.end())
        except ValueError as error:
            problems.append(Problem(file, key, str(error)))
            continue
        entry = Entry(key, kind, fields)
        if key in entries:
            problems.append(Problem(file, key, "the key stands twice"))
        problems += [Problem(file, key, f"{name} is missing") for name in _REQUIRED if not fields.get(name)]
        identifiers = [i for i in (entry.doi, entry.arxiv and f"arXiv:{entry.arxiv}") if i]
        if not identifiers and not fields.get("url"):
            problems.append(Problem(file, key, "give doi, eprint (arXiv) or url"))
        problems += [
            Problem(file, key, f"{identifier} is {ids[identifier]} already: one paper, one entry")
            for identifier in identifiers
            if ids.setdefault(identifier, key) != key
        ]
        entries[key] = entry
    return entries, problems


def _fields(text: str, at: int) -> dict[str, str]:
    """Read `name = {value}` pairs from `at` up to the closing brace of the entry."""
    fields: dict[str, str] = {}
    while True:
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        if at >= len(text):
            raise ValueError("the entry has no closing brace")
        if text[at] == "}":
            return fields
        match = _FIELD.match(text, at)
        if not match:
            raise ValueError(f"expected a field, found {text[at : at + 20].splitlines()[0]!r}")
        value, at = _value(text, match.end())
        fields[match.group(1).lower()] = " ".join(value.split())


def _value(text: str, at: int) -> tuple[str, int]:
    """Read one value, in braces, quotes or bare; return it and the place behind it."""
    if text[at] == "{":
        depth = 0
        for end in range(at, len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0:
                return text[at + 1 : end], end + 1
        raise ValueError("a brace is not closed")
    if text[at] == '"':
        end = text.find('"', at + 1)
        if end < 0:
            raise ValueError("a quote is not closed")
        return text[at + 1 : end], end + 1
    bare = re.compile(r"[\w.-]+").match(text, at)
    if not bare:
        raise ValueError("a field has no value")
    return bare.group(), bare.end()
