"""The page of a dataset."""

from __future__ import annotations

from collections.abc import Iterator

from medfm.catalog.records import Competition, Dataset
from medfm.publishing.columns import size_text
from medfm.publishing.facts import Fact, evidence, facts_table, foot, head, sheet
from medfm.publishing.prose import badge, bullets, escape, link, plural, relative, table
from medfm.publishing.scores import comparisons
from medfm.publishing.site import Site

ACCESS = {
    "open": "Anyone can download it.",
    "registration": "Free to download after registering.",
    "credentialed": "Open to credentialed users only.",
    "request": "Given out on request.",
    "closed": "Not given out.",
}


def dataset_page(site: Site, record: Dataset) -> str:
    """Return the page of one dataset."""
    here = site.page(record.id)
    return sheet(
        record,
        head(record, _badges(record)),
        "## Facts\n\n" + facts_table(site, record, _facts(site, here, record)),
        _splits(record),
        _labels(record),
        _lineage(site, here, record),
        _models(site, here, record),
        _competitions(site, here, record),
        _scores(site, here, record),
        foot(site, here, record),
    )


def _badges(record: Dataset) -> Iterator[str]:
    if record.access:
        kind = {"open": "open", "closed": "closed"}.get(record.access.status, "gated")
        yield badge(f"access: {record.access.status}", kind, ACCESS[record.access.status])


def _facts(site: Site, here: str, record: Dataset) -> Iterator[Fact]:
    access, collected = record.access, record.collected
    yield Fact("Kind of data", "data_category", site.words(here, "data-category", [record.data_category]))
    yield Fact("First released", "year", str(record.year) if record.year else "")
    yield Fact("Published by", "organizations", ", ".join(map(escape, record.organizations)))
    yield Fact("Modalities", "modalities", site.words(here, "modality", record.modalities))
    yield Fact("Anatomy", "anatomy", site.words(here, "anatomy", record.anatomy), optional=True)
    yield Fact("Dimensions", "dimensions", site.words(here, "dimension", record.dimensions))
    yield Fact("Tasks", "tasks", site.words(here, "task", record.tasks))
    yield Fact("Size", "size", escape(size_text(site.plain[record.id]["size"]) or ""))
    if record.label_count or not record.labels:
        yield Fact("Classes", "label_count", str(record.label_count or ""), optional=bool(record.labels))
    yield Fact("Access", "access.status", f"{access.status}: {ACCESS[access.status]}" if access else "")
    yield Fact("How to get it", "access.how", escape(access.how or "") if access else "", optional=True)
    terms = f" ({link('terms', access.terms)})" if access and access.terms else ""
    name = escape(site.license(access.license)) + terms if access and access.license else ""
    yield Fact("License", "access.license", name)
    years = collected.years if collected else None
    span = "" if not years else str(years[0]) if years[0] == years[1] else f"{years[0]} to {years[1]}"
    yield Fact("Collected in", "collected.years", span)
    yield Fact("Countries", "collected.countries", ", ".join(collected.countries) if collected else "")
    places = "; ".join(map(escape, collected.institutions)) if collected else ""
    yield Fact("Institutions", "collected.institutions", places, optional=True)


def _splits(record: Dataset) -> str:
    if not record.splits:
        return ""
    body = [
        (escape(name), escape(size_text(size.model_dump(mode="json")) or ""), evidence(record, f"splits.{name}"))
        for name, size in record.splits.items()
    ]
    return "## Official splits\n\n" + table(("Split", "Size", "Read at"), body)


def _labels(record: Dataset) -> str:
    if not record.labels:
        return ""
    names = ", ".join(map(escape, record.labels))
    read = evidence(record, "labels")
    head_line = f"## Labels\n\n{plural(len(record.labels), 'class', 'classes')}" + (f" ({read})" if read else "")
    return f"{head_line}: {names}."


def _lineage(site: Site, here: str, record: Dataset) -> str:
    own = []
    for i, item in enumerate(record.derived_from):
        more = ", ".join(escape(part) for part in (item.split, item.details) if part)
        read = evidence(record, f"derived_from[{i}]")
        own.append(
            f"{item.relation.replace('-', ' ')} {site.link(here, item.dataset)}"
            + (f": {more}" if more else "")
            + (f" ({read})" if read else "")
        )
    others = [
        f"{site.link(here, other.id)}, {item.relation.replace('-', ' ')} this dataset"
        + (f" ({escape(item.split)})" if item.split else "")
        for other, item in site.made_from.get(record.id, ())
    ]
    if not (own or others):
        return ""
    parts = ["## Lineage"]
    if own:
        parts.append(bullets(own))
    if others:
        parts.append("Other datasets that were made from it or share its patients:\n\n" + bullets(others))
    parts.append("A model that saw one of them may have seen the others, too.")
    return "\n\n".join(parts)


def _models(site: Site, here: str, record: Dataset) -> str:
    seen = site.seen_by.get(record.id, [])
    if not seen:
        return "## Models that saw it\n\nNo model in the catalog names it among its training data."
    body = [(site.link(here, model.id), item.role, escape(item.split or "")) for model, item in seen]
    return "## Models that saw it\n\n" + table(("Model", "Role", "Split"), body)


def _competitions(site: Site, here: str, record: Dataset) -> str:
    used = [c for c in site.all("competition") if isinstance(c, Competition) and record.id in c.datasets]
    return f"## Competitions on it\n\n{site.links(here, [c.id for c in used])}." if used else ""


def _scores(site: Site, here: str, record: Dataset) -> str:
    found = site.scored_on.get(record.id)
    if not found:
        return ""
    where = link("Sort and filter them among all scores", relative(here, "results/index.md") + f"?dataset={record.id}")
    return (
        f"## Results on it\n\n{plural(len(found), 'score')}. Each table holds scores of one protocol and metric: only "
        f"these are comparable. {where}.\n\n{comparisons(site, here, found, dataset=False)}"
    )
