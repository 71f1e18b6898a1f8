"""The pages of metrics, challenges, competitions, results and samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from medfm.catalog.records import (
    Challenge,
    Competition,
    Dataset,
    InlineOrigin,
    Metric,
    Model,
    Record,
    Results,
    Sample,
    SampleReference,
    SystemOrigin,
)
from medfm.catalog.rules import source_of
from medfm.catalog.weights import PackageOrigin
from medfm.publishing.dataset_pages import dataset_page
from medfm.publishing.facts import Fact, facts_table, foot, head, sheet, source_link
from medfm.publishing.formulas import mathml
from medfm.publishing.model_pages import model_page
from medfm.publishing.prose import badge, bullets, escape, link, plural, relative, table
from medfm.publishing.scores import protocol_text, ranking
from medfm.publishing.site import Found, Site


def record_page(site: Site, record: Record, article: str = "") -> str:
    """Return the page of one record, whatever its kind; `article` is Markdown that goes with a challenge."""
    match record:
        case Model():
            return model_page(site, record)
        case Dataset():
            return dataset_page(site, record)
        case Metric():
            return _metric_page(site, record)
        case Challenge():
            return _challenge_page(site, record, article)
        case Competition():
            return _competition_page(site, record)
        case Results():
            return _results_page(site, record)
        case Sample():
            return _sample_page(site, record)
    raise TypeError(f"no page for {record.kind}")


# ---------------------------------------------------------------- metric


def _metric_page(site: Site, record: Metric) -> str:
    here = site.page(record.id)
    badges = [badge(_DIRECTIONS[record.direction], "plain")] if record.direction else []
    return sheet(
        record,
        head(record, badges),
        _definition(record),
        "## Facts\n\n" + facts_table(site, record, _metric_facts(site, here, record)),
        "## Pitfalls\n\n" + bullets(map(escape, record.pitfalls)) if record.pitfalls else "",
        _implementations(record),
        _metric_scores(site, here, record),
        foot(site, here, record),
    )


_DIRECTIONS = {"higher": "higher is better", "lower": "lower is better", "target": "closest to a target is better"}


def formula(latex: str, *, display: bool = True) -> str:
    """Return a formula for a page: MathML, or the LaTeX itself where it is more than `mathml` knows."""
    shown = mathml(latex, display=display)
    if shown is None:
        return f"```latex\n{latex.strip()}\n```" if display else f"`{latex}`"
    return f'<div class="formula">{shown}</div>' if display else shown


def _definition(record: Metric) -> str:
    if not record.definition:
        return ""
    parts = ["## Definition", formula(record.definition)]
    if record.symbols:
        rows = [(formula(symbol, display=False), escape(meaning)) for symbol, meaning in record.symbols.items()]
        parts.append(table(("Symbol", "Meaning"), rows))
    source = record.definition.strip()
    parts.append(
        '??? quote "LaTeX"\n\n    ```latex\n' + "\n".join("    " + line for line in source.split("\n")) + "\n    ```"
    )
    return "\n\n".join(parts)


def _metric_facts(site: Site, here: str, record: Metric) -> Iterator[Fact]:
    yield Fact("Tasks", "tasks", site.words(here, "task", record.tasks))
    low_high = record.range
    shown = "" if not low_high else " to ".join("unbounded" if v is None else f"{v:g}" for v in low_high)
    yield Fact("Range", "range", shown)
    yield Fact("Direction", "direction", _DIRECTIONS[record.direction] if record.direction else "")
    yield Fact("Aggregation", "aggregation", escape(record.aggregation or ""))
    if not record.definition:
        yield Fact("Definition", "definition", "")
    if not record.pitfalls:
        yield Fact("Pitfalls", "pitfalls", "")


def _implementations(record: Metric) -> str:
    if not record.implementation:
        return ""
    lines = [
        f"`{name}`" + (" (this project’s own)" if name.startswith("medfm.") else "") for name in record.implementation
    ]
    return "## Implementations\n\n" + bullets(lines)


def _metric_scores(site: Site, here: str, record: Metric) -> str:
    found = site.scored_by.get(record.id, [])
    if not found:
        return ""
    counts = Counter(item.table.protocol.dataset for item in found)
    body = [(site.link(here, dataset), str(count)) for dataset, count in sorted(counts.items())]
    more = link("Sort and filter the scores", relative(here, "results/index.md") + f"?metric={record.id}")
    used = [c for c in site.all("competition") if isinstance(c, Competition) and record.id in c.metrics]
    ranked = f"\n\nCompetitions that rank by it: {site.links(here, [c.id for c in used])}." if used else ""
    return f"## Where it was reported\n\n{more}.\n\n{table(('Dataset', 'Scores'), body, numeric=[1])}{ranked}"


# ---------------------------------------------------------------- challenge


def _challenge_page(site: Site, record: Challenge, article: str) -> str:
    here = site.page(record.id)
    words = {"survey": "named in the survey’s abstract", "project": "this project’s reading"}
    models = [m for m in site.all("model") if isinstance(m, Model) and record.id in m.challenges]
    findings = [
        f"{escape(f.claim)} ({source_link(record, source_of(f.source))}"
        + (f": {escape(place)}" if (place := f.source.partition(":")[2].strip()) else "")
        + ")"
        for f in record.findings
    ]
    named = ", ".join(site.link(here, model.id) for model in models)
    return sheet(
        record,
        head(record, [badge(f"dimension {record.number} of 12", "plain"), badge(words[record.named_by], "plain")]),
        f"> {escape(record.question)}",
        article,
        "## What was found\n\n" + bullets(findings) if findings else "",
        "## What is tried\n\n" + bullets(map(escape, record.approaches)) if record.approaches else "",
        "## What is open\n\n" + bullets(map(escape, record.open_questions)) if record.open_questions else "",
        f"## Models whose authors set out to address it\n\n{named} (this project’s reading)." if named else "",
        foot(site, here, record),
    )


# ---------------------------------------------------------------- competition


def _competition_page(site: Site, record: Competition) -> str:
    here = site.page(record.id)
    winners = [
        (str(w.rank), escape(w.team), escape(w.method or "")) for w in sorted(record.winners, key=lambda w: w.rank)
    ]
    facts = [
        Fact("Series", "series", escape(record.series or ""), optional=True),
        Fact("Year", "year", str(record.year or "")),
        Fact("Organizers", "organizers", ", ".join(map(escape, record.organizers))),
        Fact("Venue", "venue", escape(record.venue or "")),
        Fact("Datasets", "datasets", site.links(here, record.datasets)),
        Fact("Modalities", "modalities", site.words(here, "modality", record.modalities)),
        Fact("Anatomy", "anatomy", site.words(here, "anatomy", record.anatomy), optional=True),
        Fact("Tasks", "tasks", site.words(here, "task", record.tasks)),
        Fact("Metrics", "metrics", site.links(here, record.metrics)),
        Fact("Ranking", "ranking", escape(record.ranking or "")),
        Fact("Ranked teams", "participants", str(record.participants or "")),
    ]
    if not winners:
        facts.append(Fact("Winners", "winners", ""))
    return sheet(
        record,
        head(record),
        "## Facts\n\n" + facts_table(site, record, facts),
        "## Winners\n\n" + table(("Rank", "Team", "Method"), winners) if winners else "",
        foot(site, here, record),
    )


# ---------------------------------------------------------------- results


def _results_page(site: Site, record: Results) -> str:
    here = site.page(record.id)
    sections = []
    for number, shown in enumerate(record.tables, 1):
        items = [Found(record, number, shown, score) for score in shown.scores]
        protocol = protocol_text(site, here, items[0])
        setting = site.label("setting", shown.protocol.setting).lower()
        title = f"{site.short_name(shown.metric)} on {_name(site, shown.protocol.dataset)}, {setting}"
        sections.append(
            f"### {escape(title)} {{ #table-{number} }}\n\n"
            f"{site.link(here, shown.metric)} in {shown.unit}, reported by: {shown.reported_by}. "
            f"Read at {source_link(record, source_of(record.source))}: {escape(shown.locator)}.\n\n"
            f"{protocol}\n\n" + ranking(site, here, items, with_source=False)
        )
    total = sum(len(shown.scores) for shown in record.tables)
    return sheet(
        record,
        head(record),
        f"{plural(total, 'score')} in {plural(len(record.tables), 'table')}, values as printed. Two scores are "
        "comparable only when protocol and metric are the same.",
        "## Tables",
        *sections,
        foot(site, here, record),
    )


def _name(site: Site, id: str) -> str:
    return site.records[id].name if id in site.records else id


# ---------------------------------------------------------------- sample


def _sample_page(site: Site, record: Sample) -> str:
    here = site.page(record.id)
    rate = f"{record.sampling_rate:g} Hz" if record.sampling_rate else ""
    facts = [
        Fact("Shows", "shows", escape(record.shows or "")),
        Fact("Modalities", "modalities", site.words(here, "modality", record.modalities)),
        Fact("Anatomy", "anatomy", site.words(here, "anatomy", record.anatomy)),
        Fact("Sampling rate", "sampling_rate", rate, optional=True),
        Fact("Where it lies", "origin", _origin(record.origin)),
        Fact("License", "license", escape(site.license(record.license)) if record.license else ""),
        Fact("Suits", "models", site.links(here, record.models), optional=True),
        *(Fact(f"Reference ({r.role})", f"references[{i}]", _reference(r)) for i, r in enumerate(record.references)),
    ]
    return sheet(
        record,
        head(record),
        "## Facts\n\n" + facts_table(site, record, facts),
        foot(site, here, record),
    )


def _origin(origin: PackageOrigin | SystemOrigin | InlineOrigin) -> str:
    if isinstance(origin, InlineOrigin):
        return f"in the record itself, as `{origin.file}`"
    if isinstance(origin, SystemOrigin):
        package = f"the Debian package `{origin.package}` {escape(origin.version)}"
        return f"`{origin.path}` of {package}, sha256 `{origin.sha256[:16]}…`"
    files = ", ".join(
        f"`{file.path}`" + (f", sha256 `{file.sha256[:16]}…`" if file.sha256 else "") for file in origin.files.values()
    )
    return f"{files} inside the package `{origin.distribution}` {escape(origin.version)}"


def _reference(reference: SampleReference) -> str:
    return f"{_origin(reference.origin)}; {escape(reference.made_by)}"
