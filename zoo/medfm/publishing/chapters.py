"""The survey's chapters: Markdown written by hand, with tables that come from the catalog.

A comment on a line of its own becomes what it asks for:

    <!-- table: models category=vision status=open,gated columns=name,year,parameters sort=-year limit=20 -->
    <!-- chart: timeline -->

The first word is a kind; `name=value` are filters as in `medfm.catalog.facets`, several values joined by commas;
`columns`, `sort` (a column, `-` for the largest first) and `limit` are optional. Inside a line,

    <!-- count: models status=open -->   becomes the number of records,
    [@chen2024uni]                       a link to that entry of the references,
    [[uni2-h]]                           a link to the record of that id.

Whatever names something unknown is a problem with file and line.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from medfm.catalog.facets import kind_named
from medfm.catalog.records import Record
from medfm.errors import MedfmError, Problem, UsageError, did_you_mean, near_misses
from medfm.publishing.columns import Column, columns
from medfm.publishing.prose import page, plural
from medfm.publishing.reference_pages import timeline_chart
from medfm.publishing.site import Site, state_mark
from medfm.publishing.tables import Row, markdown, rows, sort_value

FOLDER = "survey/chapters"
ARTICLES = "survey/challenges"
"""Articles on the challenges: one Markdown file each, its stem the record's id; they begin without a title."""

_ABOUT = (
    "These chapters follow the topics of the abstract of *Foundation Models Meet Medical Image Interpretation* "
    "(Jiao et al., Research 9:1024, 2026, [doi:10.34133/research.1024](https://doi.org/10.34133/research.1024)). "
    "They are written by this project in its own words: no text, table or figure of the article is reproduced, and "
    "where a chapter says more than the article’s public abstract, it says so. Tables come from the catalog and change "
    "with it."
)

_BLOCK = re.compile(r"^<!--\s*(table|chart):\s*(.*?)\s*-->\s*$")
_COUNT = re.compile(r"<!--\s*count:\s*(.*?)\s*-->")
_CITE = re.compile(r"\[@([\w:.-]+(?:\s*;\s*@[\w:.-]+)*)\]")
_OPTIONS: tuple[str, ...] = ("columns", "sort", "limit")
_RECORD = re.compile(r"\[\[([a-z0-9-]+)\]\]")


def chapter_pages(site: Site, root: Path, problems: list[Problem]) -> Iterator[tuple[str, str]]:
    """Give the pages of all chapters and their index; problems are collected."""
    listed = []
    for path in sorted((root / FOLDER).glob("*.md")):
        here, file = f"survey/{path.name}", f"{FOLDER}/{path.name}"
        text = path.read_text(encoding="utf-8")
        title = title_of(text) or path.stem
        listed.append(f"1. [{title}]({path.name})")
        yield here, page(title, chapter(site, here, text, file, problems))
    yield (
        "survey/index.md",
        page(
            "Survey",
            "# The survey",
            _ABOUT,
            "\n".join(listed) or "No chapter has been written yet.",
        ),
    )


def articles(site: Site, root: Path, problems: list[Problem]) -> dict[str, str]:
    """Return the articles by the id of their challenge, filled in as chapters are; problems are collected."""
    found = {}
    for path in sorted((root / ARTICLES).glob("*.md")):
        file = f"{ARTICLES}/{path.name}"
        if path.stem not in site.catalog.challenges:
            near = did_you_mean(near_misses(path.stem, site.catalog.challenges))
            problems.append(Problem(file, "name", f"no challenge is named {path.stem!r}{near}"))
            continue
        found[path.stem] = chapter(site, site.page(path.stem), path.read_text(encoding="utf-8").strip(), file, problems)
    return found


def title_of(text: str) -> str:
    """Return the first heading of a Markdown text, without its sign."""
    match = re.search(r"^# (.+)$", text, re.MULTILINE)
    return match[1].strip() if match else ""


def chapter(site: Site, here: str, text: str, file: str, problems: list[Problem]) -> str:
    """Return a chapter with tables, counts, citations and links filled in."""
    lines = []
    for number, line in enumerate(text.split("\n"), 1):
        try:
            lines.append(_filled(site, here, line))
        except MedfmError as error:
            problems.append(Problem(file, f"line {number}", str(error)))
    return "\n".join(lines)


def _filled(site: Site, here: str, line: str) -> str:
    if block := _BLOCK.match(line):
        return _table(site, here, block[2]) if block[1] == "table" else _chart(site, here, block[2])
    line = _COUNT.sub(lambda m: f"{len(_query(site, m[1])[1]):,}", line)
    line = _CITE.sub(
        lambda m: "(" + "; ".join(_cited(site, here, key) for key in re.split(r"\s*;\s*@", m[1])) + ")", line
    )
    return _RECORD.sub(lambda m: _linked(site, here, m[1]), line)


def _cited(site: Site, here: str, key: str) -> str:
    if key not in site.catalog.bibliography:
        raise UsageError(
            f"no entry {key!r} in the references{did_you_mean(near_misses(key, site.catalog.bibliography))}"
        )
    return site.cite(here, key)


def _linked(site: Site, here: str, id: str) -> str:
    site.catalog[id]  # raises with near misses
    return site.link(here, id)


def _query(site: Site, text: str) -> tuple[str, list[Record], dict[str, str]]:
    """Return kind, records and the options of a placeholder."""
    words = shlex.split(text)
    kind = kind_named(words[0] if words else "")
    pairs = dict(word.partition("=")[::2] for word in words[1:])
    options = {name: pairs.pop(name) for name in _OPTIONS if name in pairs}
    filters: dict[str, object] = {name: value.split(",") for name, value in pairs.items()}
    return kind, site.catalog.select(kind, **filters), options


def _table(site: Site, here: str, text: str) -> str:
    kind, records, options = _query(site, text)
    keys = options["columns"].split(",") if "columns" in options else None
    chosen = columns(kind, keys) if keys else site.chosen(kind)
    plain = [site.plain[record.id] for record in sorted(records, key=lambda r: (r.name.lower(), r.id))]
    made = rows(plain, chosen)
    if "sort" in options:
        made = _sorted(made, plain, columns(kind, [options["sort"].lstrip("-")])[0], options["sort"].startswith("-"))
    total = len(made)
    if not total:
        return "*The catalog has none yet.*"
    if "limit" in options:
        made = made[: int(options["limit"])]
    noun = "score" if kind == "results" else kind
    shown = plural(total, noun) if len(made) == total else f"{len(made)} of {plural(total, noun)}"
    note = f'<p class="faint">{shown}, from the catalog.</p>'
    listed = markdown(made, chosen, site.shower(here), state_mark)
    return f'<div class="from-catalog" markdown>\n\n{listed}\n\n{note}\n\n</div>'


def _sorted(made: list[Row], plain: list[dict[str, Any]], column: Column, backward: bool) -> list[Row]:
    """Return rows sorted by a column, which need not be among those shown; rows without a value come last."""
    by = {row.id: sort_value(row.cells[column.key], column) for row in rows(plain, [column])}
    known = [row for row in made if by[row.id] is not None]
    known.sort(key=lambda row: (by[row.id], row.id), reverse=backward)
    return known + [row for row in made if by[row.id] is None]


def _chart(site: Site, here: str, name: str) -> str:
    if name not in CHARTS:
        raise UsageError(f"no chart is named {name!r}; one of {', '.join(CHARTS)}")
    return CHARTS[name](site, here)


CHARTS: dict[str, Callable[[Site, str], str]] = {"timeline": timeline_chart}
