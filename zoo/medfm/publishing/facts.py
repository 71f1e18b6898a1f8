"""Facts with their sources: the table that every record page has, and the list of sources it points to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from medfm.catalog.citations import plain
from medfm.catalog.completeness import State, completeness, state
from medfm.catalog.facets import KIND_NAMES
from medfm.catalog.records import EDITORIAL, Disagreement, Model, Record, Source
from medfm.catalog.rules import covering, source_of
from medfm.publishing.prose import bullets, escape, link, page, table, unsearched
from medfm.publishing.site import Site, state_mark


@dataclass(frozen=True)
class Fact:
    """One line of a table of facts: a field, and its value as Markdown ("" where it has none)."""

    label: str
    path: str
    value: str
    optional: bool = False
    """Left out of the table where it is not looked up (but shown as undisclosed, and where it has a value)."""


def sheet(record: Record, *sections: str, boost: float = 1.5) -> str:
    """Return a record's page: the renderer's front matter and the sections that are not empty."""
    return page(
        record.name,
        *sections,
        summary=record.summary,
        hide=["navigation"],
        boost=boost,
        names=record.aliases,
        json=f"api/{KIND_NAMES[record.kind]}/{record.id}.json",
    )


def facts_table(site: Site, record: Record, facts: Iterable[Fact]) -> str:
    """Return the table of facts: each with its value, or why there is none, and the place where it was read."""
    body = []
    for fact in facts:
        is_state = state(site.plain[record.id], fact.path)
        if fact.value:
            body.append((escape(fact.label), fact.value, evidence(record, fact.path)))
        elif is_state not in ("value", "not looked up") or not fact.optional:
            shown: State = "not looked up" if is_state == "value" else is_state
            body.append((escape(fact.label), state_mark(shown), ""))
    return '<div class="facts" markdown>\n\n' + table(("Fact", "Value", "Read at"), body) + "\n\n</div>"


def evidence(record: Record, path: str) -> str:
    """Return links to the sources that prove a field, with the place in them; derived values say how."""
    notes = [_note(record, note) for note in dict.fromkeys(_at(record.evidence, path))]
    notes += [f"derived: {escape(how)}" for how in dict.fromkeys(_at(record.derived, path))]
    if not notes and path.partition(".")[0] in EDITORIAL:
        return '<span class="faint">this project’s reading</span>'
    return "; ".join(notes)


def _at(notes: dict[str, str], path: str) -> Iterator[str]:
    """Give the notes of the nearest path above, then those of everything below."""
    for above in covering(path):
        if above in notes:
            yield notes[above]
            break
    yield from (note for key, note in notes.items() if key.startswith((path + ".", path + "[")))


def _note(record: Record, note: str) -> str:
    """Return a note with a link to its source, or several notes that stand in one ("paper: Table 1; card: License")."""
    parts = re.split(r";\s+", note)
    first = [i for i, part in enumerate(parts) if i == 0 or source_of(part) in record.sources]
    notes = ["; ".join(parts[start:end]) for start, end in zip(first, [*first[1:], len(parts)], strict=True)]
    shown = []
    for each in notes:
        place = each.partition(":")[2].strip()
        shown.append(source_link(record, source_of(each)) + (f": {escape(place)}" if place else ""))
    return "; ".join(shown)


def source_link(record: Record, source: str) -> str:
    """Return a link to a source of the record, further down on its page."""
    return f"[{escape(source)}](#source-{source})" if source in record.sources else f"`{source}`"


def sources_list(site: Site, here: str, record: Record) -> str:
    """Return the sources of a record with their anchors."""
    return unsearched(
        bullets(
            f'<span id="source-{name}"></span>**{escape(name)}**: {_source(site, here, source)}'
            for name, source in record.sources.items()
        )
    )


def _source(site: Site, here: str, source: Source) -> str:
    parts = [source.kind.replace("-", " ")]
    if source.cite:
        parts.append(site.cite(here, source.cite))
    if source.url:
        parts.append(link(_bare(source.url), source.url))
    if source.version:
        parts.append(f"version {escape(source.version)}")
    if source.commit:
        parts.append(f"commit `{source.commit[:10]}`")
    return ", ".join(parts) + f"; read on {source.checked.isoformat()}"


def _bare(url: str) -> str:
    """Return an address as readers like it: without the scheme, and cut when it is long."""
    bare = url.partition("://")[2].rstrip("/").removeprefix("www.")
    return bare if len(bare) <= 64 else bare[:61] + "..."


def conflicts_table(record: Record) -> str:
    """Return what the sources disagree about: each claim, which one the record follows, and why."""
    body = []
    for conflict in record.conflicts:
        claims = "; ".join(f"{escape(claim.value)} ({_note(record, claim.source)})" for claim in conflict.claims)
        follows = (
            source_link(record, source_of(conflict.follows)) if conflict.follows else "neither; the value is left out"
        )
        body.append((f"`{conflict.field}`", claims, follows, escape(conflict.reason)))
    return table(("Field", "Claims", "Follows", "Why"), body) if body else ""


def disagreements_table(record: Model) -> str:
    """Return what other libraries do otherwise with a model."""
    body = [disagreement_cells(record, item) for item in record.disagreements]
    return table(("About", "The authors", "Library", "does", "medfm", "Read in"), body) if body else ""


def disagreement_cells(record: Model, item: Disagreement) -> tuple[str, ...]:
    """Return the cells of one disagreement: what about, the authors, the library, what it does, medfm, the source."""
    ours = escape(item.ours) if item.ours else "as the authors"
    return item.about, escape(item.authors), escape(item.library), escape(item.theirs), ours, _note(record, item.source)


def papers_section(site: Site, here: str, record: Record) -> str:
    """Return the record's papers, each with its title and a link, and their BibTeX folded away."""
    entries = [site.catalog.bibliography[key] for key in record.papers if key in site.catalog.bibliography]
    if not entries:
        return ""
    lines = []
    for entry in entries:
        title = entry.fields.get("title", entry.key)
        venue = (
            entry.fields.get("journal")
            or entry.fields.get("booktitle")
            or (entry.arxiv and f"arXiv:{entry.arxiv}")
            or ""
        )
        lines.append(
            f"{site.cite(here, entry.key)}: {escape(plain(title))}"
            + (f". {escape(plain(venue))}" if venue else "")
            + (f". {link(_bare(entry.url), entry.url)}" if entry.url else "")
        )
    bibtex = "\n".join(entry.bibtex().strip() for entry in entries)
    return bullets(lines) + "\n\n" + unsearched('??? quote "BibTeX"\n\n' + _indented(f"```bibtex\n{bibtex}\n```"))


def _indented(text: str) -> str:
    return "\n".join("    " + line if line else "" for line in text.split("\n"))


def completeness_bar(site: Site, record: Record) -> str:
    """Return how much of the record was looked up: a bar, the same in words, and what is missing."""
    found = completeness(site.plain[record.id], record.kind)
    undisclosed = [field for field, which in found.states.items() if which == "undisclosed"]
    parts = [
        f'<div class="completeness"><meter min="0" max="{found.total}" value="{found.known}" '
        f'aria-label="Fields that were looked up"></meter> {found.known} of {found.total} core fields were looked up '
        f"({found.percent} %).</div>"
    ]
    if undisclosed:
        parts.append(f"The sources do not say (undisclosed): {_fields(undisclosed)}.")
    if found.missing:
        parts.append(
            f"Not looked up yet: {_fields(found.missing)}. Whoever has read it at a source can add it to "
            f"`{site.catalog.files[record.id]}`."
        )
    return "\n\n".join(parts)


def _fields(fields: Sequence[str]) -> str:
    return ", ".join(f"`{field}`" for field in fields)


def head(record: Record, badges: Iterable[str] = ()) -> str:
    """Return the top of a record page: the way back, its name, badges, what it is, other names and links."""
    folder = KIND_NAMES[record.kind]
    parts = [
        f'<p class="crumb" markdown>[{folder.capitalize()}](index.md) / {record.id}</p>',
        f"# {escape(record.name)}",
        "".join(f"{badge} " for badge in badges).strip(),
        f"{escape(record.summary)}",
    ]
    if record.aliases:
        parts.append(
            f'<span class="faint">Also known as</span> {", ".join(escape(alias) for alias in record.aliases)}.'
        )
    addresses = [link(name.capitalize(), url) for name, url in record.links.items()]
    addresses.append(link("JSON", f"../api/{folder}/{record.id}.json"))
    parts.append(" · ".join(addresses))
    return "\n\n".join(part for part in parts if part)


def foot(site: Site, here: str, record: Record) -> str:
    """Return the end of a record page: conflicts, papers, sources, completeness and the day of the last check."""
    parts = []
    if record.conflicts:
        parts.append("## Where sources disagree\n\n" + conflicts_table(record))
    if isinstance(record, Model) and record.disagreements:
        parts.append("## Where other libraries differ\n\n" + disagreements_table(record))
    if papers := papers_section(site, here, record):
        parts.append("## Papers\n\n" + papers)
    if record.sources:
        parts.append("## Sources\n\n" + sources_list(site, here, record))
    if record.kind != "results":  # all its fields are required
        parts.append("## How complete this record is\n\n" + completeness_bar(site, record))
    parts.append(
        f'<span class="faint">Last compared with its sources on {record.checked.isoformat()}. '
        f"Record: {site.catalog.files[record.id]}, CC BY 4.0.</span>"
    )
    return "\n\n".join(parts)
