"""Pages to look things up: taxonomy, timeline, references, downloads."""

from __future__ import annotations

from collections.abc import Iterable

from medfm.catalog.citations import plain
from medfm.catalog.facets import KIND_NAMES
from medfm.catalog.records import Model
from medfm.catalog.vocabulary import Term
from medfm.publishing import charts
from medfm.publishing.overviews import count
from medfm.publishing.prose import bullets, escape, link, page, plural, table
from medfm.publishing.site import WORD_FOLDERS, Site, anchor, rendered


def taxonomy_page(site: Site) -> str:
    """Return all words: the tree of tasks and of modalities as pictures, the other facets as lists."""
    sections = []
    for facet, terms in site.taxonomy.facets.items():
        title = facet.replace("-", " ").capitalize()
        section = f"## {title} {{ #{facet} }}"
        if facet in WORD_FOLDERS:
            branches = [branch for term in terms if (branch := _branch(site, facet, term))]
            picture = charts.tree(branches, title=f"Models by {facet}", unit="model")
            section += f'\n\n<figure class="chart">{picture}</figure>' if picture else ""
        section += "\n\n" + _term_list(terms)
        sections.append(section)
    return page(
        "Taxonomy",
        "# Taxonomy",
        "Every word that the records may use, as trees: a filter on a word finds everything below it. Words marked "
        "*survey* are used in the public text of Jiao et al. 2026; all others were added by this project, and which "
        "record falls under which word is this project’s reading throughout.",
        *sections,
        hide=["navigation"],
        boost=0.5,
    )


def _branch(site: Site, facet: str, term: Term) -> charts.Branch | None:
    target = site.word_page(facet, term.id)
    if target is None:
        return None
    below = tuple(branch for child in term.children if (branch := _branch(site, facet, child)))
    models = count(site, facet, term.id, site.catalog.records["model"])
    return charts.Branch(term.label, models, rendered(target), below)


def _term_list(terms: Iterable[Term], depth: int = 0) -> str:
    lines = []
    for term in terms:
        notes = []
        if term.synonyms:
            notes.append("also " + ", ".join(map(escape, term.synonyms)))
        if term.origin == "survey":
            notes.append("*survey*")
        name = f"{escape(term.label)} `{term.id}`" + (f" ({'; '.join(notes)})" if notes else "")
        lines.append("    " * depth + "- " + name + (f": {escape(term.definition)}" if term.definition else ""))
        if term.children:
            lines.append(_term_list(term.children, depth + 1))
    return "\n".join(lines)


def timeline_chart(site: Site, here: str) -> str:
    """Return the picture of all dated models that are no families."""
    labels = {term.id: term.label for term in site.taxonomy.facets.get("category", ())}
    marks = []
    for model in _dated(site):
        labels.setdefault(model.category, model.category)
        if model.release:
            marks.append(charts.Mark(model.name, model.release.year, model.category, site.href(here, model.id)))
    return f'<figure class="chart">{charts.timeline(marks, labels)}</figure>' if marks else ""


def _dated(site: Site) -> list[Model]:
    models = [model for model in site.all("model") if isinstance(model, Model)]
    return [model for model in models if model.release and not model.members]


def timeline_page(site: Site) -> str:
    """Return the releases of models, year by year."""
    years: dict[int, list[str]] = {}
    for model in _dated(site):
        if model.release:
            years.setdefault(model.release.year, []).append(model.id)
    listed = bullets(f"**{year}**: {site.links('timeline.md', years[year])}" for year in sorted(years, reverse=True))
    undated = [model.id for model in site.all("model") if isinstance(model, Model) and not model.release]
    return page(
        "Timeline",
        "# Timeline",
        "Models by the year of their first public release or, where the weights stayed closed, of their first paper. "
        "Records of whole families are left out: their members stand here.",
        timeline_chart(site, "timeline.md"),
        f"## As a list\n\n{listed}" if years else "",
        f"Year not looked up or undisclosed: {site.links('timeline.md', undated)}." if undated else "",
        hide=["navigation", "toc"],
        boost=0.5,
    )


def references_page(site: Site) -> str:
    """Return every entry of the bibliography with an anchor and the records that cite it."""
    here = "references.md"
    entries = sorted(site.catalog.bibliography.values(), key=lambda e: (e.label.lower(), e.key))
    lines = []
    for entry in entries:
        authors = [name.strip() for name in plain(entry.fields.get("author", "")).split(" and ")]
        shown = ", ".join(authors[:3]) + (" et al." if len(authors) > 3 else "")
        venue = plain(entry.fields.get("journal") or entry.fields.get("booktitle") or "")
        title = escape(plain(entry.fields.get("title", entry.key)))
        cited = site.links(here, [record.id for record in site.cited_by.get(entry.key, ())])
        lines.append(
            f'<span id="{anchor(entry.key)}"></span>**{escape(entry.label)}**. {escape(shown)}. {title}. '
            + (f"*{escape(venue)}*, " if venue else "")
            + f"{escape(entry.fields.get('year', ''))}."
            + (f" {link((entry.doi and 'doi:' + entry.doi) or 'link', entry.url)}." if entry.url else "")
            + (f' <span class="faint">Cited by</span> {cited}.' if cited else "")
            + f" `{entry.key}`"
        )
    return page(
        "References",
        "# References",
        f"{plural(len(entries), 'paper')}. [Download all as BibTeX](downloads/references.bib).",
        bullets(lines),
        hide=["navigation", "toc"],
        boost=0.5,
    )


def downloads_page(site: Site) -> str:
    """Return the list of downloads and of the JSON API."""
    body = [
        (
            KIND_NAMES[kind].capitalize(),
            f"[CSV](downloads/{KIND_NAMES[kind]}.csv)",
            f"[JSON](api/{KIND_NAMES[kind]}.json)",
        )
        for kind in site.catalog.records
    ]
    return page(
        "Downloads",
        "# Downloads and JSON",
        "The content is licensed CC BY 4.0. Tables as CSV, records as JSON:",
        table(("Kind", "Table", "All records"), body),
        "Each record has its own file, too: `api/models/<id>.json`, and so on for each kind. "
        "[api/catalog.json](api/catalog.json) lists every record with its page. "
        "[references.bib](downloads/references.bib) holds all references.",
        "In JSON, a field that is `null` or empty is undisclosed where `undisclosed` lists it, has no meaning where "
        "`not_applicable` lists it, and has not been looked up otherwise.",
        hide=["navigation", "toc"],
    )
