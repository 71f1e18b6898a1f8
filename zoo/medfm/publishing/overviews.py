"""Pages that show many records: the home page, one index a kind, one page a task and a modality."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from medfm.catalog.facets import KIND_NAMES
from medfm.catalog.records import Model, Results
from medfm.catalog.vocabulary import Term
from medfm.publishing.explorer import explorer
from medfm.publishing.prose import bullets, escape, link, page, plural, relative, table
from medfm.publishing.site import WORD_FOLDERS, Site, state_mark
from medfm.publishing.tables import markdown, rows

INTRODUCTIONS = {
    "model": "Foundation models for medicine, and the general models they were made from. A word in a cell is a fact; "
    "*undisclosed* means that the sources do not say, *not looked up* that nobody has read them for it yet.",
    "dataset": "Datasets that medical foundation models were trained or tested on, public and private: lineage and "
    "leakage need the private ones, too.",
    "metric": "How models are measured: definition, direction, and what goes wrong.",
    "challenge": "Twelve dimensions of challenge and trend. The survey’s abstract names four (data, modeling, "
    "security, computational resources); the list and its wording are this project’s reading, not the survey’s.",
    "competition": "Public competitions with their data, metrics and rankings.",
    "results": "Every published score, one a row, as printed in its source. Two scores are comparable only when "
    "dataset, split, task, setting and metric are the same.",
    "sample": "Real inputs that ship inside packages: what the examples and demonstrations run on.",
}

WORD_TITLES = {"task": "Tasks", "modality": "Modalities"}

LEAD = (
    "A curated zoo and knowledge base: which models there are, what they were trained on, how well they do, and under "
    "which terms one may use them. Every fact carries the place where it was read, and open models run with one call."
)

RESEARCH_USE = "For research use only: nothing here is a medical device or medical advice."


def home_page(site: Site, *, about: bool) -> str:
    """Return the home page: what this is, how much there is, and ways in; `about` tells whether that page exists."""
    counts = {kind: len(records) for kind, records in site.catalog.records.items()}
    models = [record for record in site.all("model") if isinstance(record, Model)]
    loadable = sum(model.loadable for model in models)
    scores = sum(len(t.scores) for r in site.all("results") if isinstance(r, Results) for t in r.tables)
    cards = [
        (counts["model"], "models", "models/index.md", f"{loadable} run with medfm.load"),
        (counts["dataset"], "datasets", "datasets/index.md", "public and private"),
        (scores, "published scores", "results/index.md", f"from {plural(counts['results'], 'source')}"),
        (counts["metric"], "metrics", "metrics/index.md", "with definition and pitfalls"),
        (counts["competition"], "competitions", "competitions/index.md", "with data and rankings"),
        (counts["challenge"], "challenges", "challenges/index.md", "where the field is stuck"),
    ]
    grid = "\n".join(
        f'<div class="card" markdown>[**{n:,}** {name}]({target})<br><span class="faint">{note}</span></div>'
        for n, name, target, note in cards
    )
    ways = "\n\n".join(_ways(site, facet, f"By {facet}") for facet in WORD_FOLDERS)
    example = next((model.id for model in models if model.loadable and model.output and model.output.embedding), "")
    example = example or next((model.id for model in models if model.loadable), "")
    return page(
        "Medical foundation models",
        "# Medical foundation models",
        f'<div class="lead" markdown>\n\n{LEAD}\n\n</div>',
        f'<div class="cards" markdown>\n{grid}\n</div>',
        f'<p class="notice">{RESEARCH_USE}</p>',
        "## Find a model",
        f'<div class="ways" markdown>\n\n{ways}\n\n</div>',
        _open_doors(models),
        "## Use it\n\n```python\nimport medfm\n\n"
        "catalog = medfm.Catalog.load()\n"
        'catalog.select("model", modality="ct", status="open")\n'
        + (f'\nmodel = medfm.load("{example}")\n' if example else "")
        + "```",
        "## Read on\n\n"
        + bullets(
            [
                "[The survey](survey/index.md): introduction, tasks, models, with tables from the records",
                "[Timeline](timeline.md) and [taxonomy](taxonomy.md) as pictures",
                "[References](references.md) with BibTeX, and [downloads](downloads.md): CSV, JSON, BibTeX",
                *(
                    ["[About](about.md) this project and its relation to the survey of Jiao et al. 2026"]
                    if about
                    else []
                ),
            ]
        ),
        summary="A curated zoo and knowledge base of medical foundation models: every fact with its source.",
        hide=["navigation", "toc"],
    )


def _ways(site: Site, facet: str, title: str) -> str:
    """Return the words at the top two levels of a facet with the number of models under each, as links to the table."""
    models = site.catalog.records["model"]
    lines = []
    for term in site.taxonomy.facets.get(facet, ()):
        counted = [(t, count(site, facet, t.id, models)) for t in (term, *term.children)]
        if not counted[0][1]:
            continue
        inner = ", ".join(f"{_filtered(facet, t)}&nbsp;{n}" for t, n in counted[1:] if n)
        lines.append(f"**{_filtered(facet, term)}**&nbsp;{counted[0][1]}" + (f": {inner}" if inner else ""))
    return f'<div class="way" markdown>\n\n### {title}\n\n{bullets(lines)}\n\n</div>'


def _filtered(facet: str, term: Term) -> str:
    return link(term.label, f"models/index.md?{facet}={term.id}")


def _open_doors(models: Sequence[Model]) -> str:
    years = sorted({model.release.year for model in models if model.release})[-2:]
    doors = [
        ("Open weights", "status=open"),
        ("Runs with medfm.load", "loadable=yes"),
        ("Vision-language models", "category=vision-language"),
    ]
    if years:
        doors.append((f"Released since {years[0]}", f"year={','.join(map(str, years))}"))
    return "Or start from: " + " · ".join(link(label, f"models/index.md?{query}") for label, query in doors) + "."


def count(site: Site, facet: str, word: str, among: Iterable[str]) -> int:
    """Return how many of some records stand under a word, everything below it included."""
    return len(site.words_in_use.get(facet, {}).get(word, set()) & set(among))


# ---------------------------------------------------------------- one index a kind


def index_page(site: Site, kind: str) -> str:
    """Return the table of all records of a kind."""
    name = KIND_NAMES[kind]
    here = f"{name}/index.md"
    return page(
        name.capitalize(),
        f"# {name.capitalize()}",
        INTRODUCTIONS[kind],
        _sources(site, here) if kind == "results" else "",
        explorer(site, here, kind),
        f"Download: [CSV](../downloads/{name}.csv) · [JSON](../api/{name}.json)",
        summary=INTRODUCTIONS[kind].replace("*", ""),
        hide=["navigation", "toc"],
        boost=0.5,
    )


def _sources(site: Site, here: str) -> str:
    body = []
    for record in (r for r in site.all("results") if isinstance(r, Results)):
        who = sorted({table.reported_by for table in record.tables})
        total = sum(len(table.scores) for table in record.tables)
        body.append((site.link(here, record.id), str(len(record.tables)), str(total), ", ".join(who)))
    if not body:
        return ""
    listed = table(("Source", "Tables", "Scores", "Reported by"), body, numeric=[1, 2])
    return f'??? abstract "{plural(len(body), "source")}"\n\n' + "\n".join("    " + line for line in listed.split("\n"))


# ---------------------------------------------------------------- words


def word_pages(site: Site) -> Iterator[tuple[str, str]]:
    """Give the pages of all tasks and modalities in use, and one index each."""
    for facet, folder in WORD_FOLDERS.items():
        here = f"{folder}/index.md"
        yield (
            here,
            page(
                WORD_TITLES[facet],
                f"# {WORD_TITLES[facet]}",
                "Each page lists the records under a word and everything below it. "
                f"All words: [taxonomy](../taxonomy.md#{facet}).",
                _word_list(site, here, facet, site.taxonomy.facets.get(facet, ())),
                hide=["toc"],
                boost=0.5,
            ),
        )
        for word in site.words_in_use.get(facet, {}):
            yield f"{folder}/{word}.md", _word_page(site, facet, site.taxonomy.terms(facet)[word])


def _word_list(site: Site, here: str, facet: str, terms: Iterable[Term], depth: int = 0) -> str:
    lines = []
    for term in terms:
        target = site.word_page(facet, term.id)
        if target is None:
            continue
        models = count(site, facet, term.id, site.catalog.records["model"])
        datasets = count(site, facet, term.id, site.catalog.records["dataset"])
        note = ", ".join(plural(n, noun) for n, noun in ((models, "model"), (datasets, "dataset")) if n)
        lines.append(f"{'    ' * depth}- {link(term.label, relative(here, target))}" + (f": {note}" if note else ""))
        if below := _word_list(site, here, facet, term.children, depth + 1):
            lines.append(below)
    return "\n".join(lines)


_WORD_COLUMNS = {
    "model": ("name", "category", "status", "year", "parameters", "license"),
    "dataset": ("name", "data-category", "access", "year", "size"),
    "metric": ("name", "range", "direction"),
    "competition": ("name", "year", "datasets"),
    "sample": ("name", "shows"),
}


def _word_page(site: Site, facet: str, term: Term) -> str:
    here = f"{WORD_FOLDERS[facet]}/{term.id}.md"
    above = site.taxonomy.above(facet, term.id)[:0:-1]
    crumbs = " / ".join(
        [f"[{WORD_TITLES[facet]}](index.md)", *(site.words(here, facet, [word]) for word in above), term.id]
    )
    facts = []
    if term.synonyms:
        facts.append(f'<span class="faint">Also called</span> {", ".join(map(escape, term.synonyms))}.')
    below = [child.id for child in term.children if site.word_page(facet, child.id)]
    if below:
        facts.append(f'<span class="faint">Includes</span> {site.words(here, facet, below)}.')
    if term.codes:
        codes = ", ".join(f"{code.system} {escape(code.code)}" for code in term.codes)
        facts.append(f'<span class="faint">Codes</span> {codes}.')
    facts.append(
        '<span class="faint">The word is used in the survey’s public text.</span>'
        if term.origin == "survey"
        else '<span class="faint">The word was added by this project.</span>'
    )
    sections = []
    members = site.words_in_use[facet][term.id]
    for kind, keys in _WORD_COLUMNS.items():
        records = [site.plain[record.id] for record in site.all(kind) if record.id in members]
        if not records:
            continue
        name = KIND_NAMES[kind]
        chosen = site.chosen(kind, *keys)
        listed = markdown(rows(records, chosen), chosen, site.shower(here), state_mark)
        filters = "" if kind == "sample" and facet == "task" else f"../{name}/index.md?{facet}={term.id}"
        sections.append(
            f"## {name.capitalize()}\n\n{plural(len(records), kind)}: {link('sort and filter', filters)}.\n\n{listed}"
        )
    return page(
        term.label,
        f'<p class="crumb" markdown>{crumbs}</p>',
        f"# {escape(term.label)}",
        escape(term.definition) if term.definition else "",
        "\n\n".join(facts),
        *sections,
        hide=["navigation"],
        boost=1.2,
    )
