"""The sortable, filterable table of each kind: a plain Markdown table, and beside it the data that `table.js` needs.

Without JavaScript the table stands as it is. The filters are those of `medfm.catalog.facets`, so an address such as
`models/index.html?modality=ct&status=open` reads like `medfm list models --modality ct --status open`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from medfm.catalog.facets import KIND_NAMES, VOCABULARY
from medfm.publishing.columns import columns
from medfm.publishing.prose import attribute
from medfm.publishing.site import Site, state_mark
from medfm.publishing.tables import Row, entries, markdown, rows, sort_value

# kind -> the filters that the page offers, with their labels; those that tell nothing apart are left out.
FILTERS: dict[str, dict[str, str]] = {
    "model": {
        "modality": "Modality",
        "task": "Task",
        "category": "Class",
        "status": "Weights",
        "license": "License",
        "loadable": "Runs here",
        "anatomy": "Anatomy",
        "architecture": "Architecture",
        "method": "Training method",
        "year": "Year",
        "domain": "Domain",
    },
    "dataset": {
        "modality": "Modality",
        "task": "Task",
        "data-category": "Kind of data",
        "access": "Access",
        "license": "License",
        "anatomy": "Anatomy",
        "country": "Country",
        "year": "Year",
    },
    "metric": {"task": "Task", "direction": "Better"},
    "challenge": {"named-by": "Named by"},
    "competition": {"modality": "Modality", "task": "Task", "series": "Series", "metric": "Metric", "year": "Year"},
    "results": {
        "model": "Model",
        "dataset": "Dataset",
        "task": "Task",
        "setting": "Setting",
        "metric": "Metric",
        "reported-by": "Reported by",
        "source": "Source",
    },
    "sample": {"modality": "Modality", "model": "Model"},
}

# Filters whose values are ids of records.
_IDS = frozenset({"model", "dataset", "metric", "source"})


def plain_records(site: Site, kind: str) -> list[dict[str, Any]]:
    """Return what the rows of a kind's table are made of: its records or, for results, their scores."""
    return [dict(entry) for entry in entries(site.plain[record.id] for record in site.all(kind))]


def explorer(site: Site, here: str, kind: str) -> str:
    """Return the table of all records of a kind with the data for its filters."""
    records = plain_records(site, kind)
    chosen = columns(kind)
    made = rows(records, chosen)
    words = [_words(site, kind, record) for record in records]
    data = {
        "noun": "scores" if kind == "results" else KIND_NAMES[kind],
        "columns": [
            {"key": column.key, "label": column.label, "shown": column.shown, "numeric": column.numeric}
            for column in chosen
        ],
        "facets": _facets(site, kind, words),
        "rows": [
            {
                "facets": {name: sorted(found) for name, found in own.items() if found},
                "sort": [sort_value(row.cells[column.key], column) for column in chosen],
                "text": _text(site, record, own),
            }
            for record, row, own in zip(records, made, words, strict=True)
        ],
    }
    return embed(made, data, markdown(made, chosen, site.shower(here), state_mark), kind)


def embed(made: Sequence[Row], data: Mapping[str, Any], table: str, kind: str) -> str:
    """Return a table with its data as the page holds them: out of the search index, which has the record pages."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    if not made:
        return "Nothing has been entered yet."
    return (
        f'<div class="medfm-table" data-kind="{attribute(kind)}" data-search-exclude markdown>\n\n{table}\n\n</div>\n\n'
        f'<script type="application/json" class="medfm-table-data">{text}</script>'
    )


def _words(site: Site, kind: str, record: Mapping[str, Any]) -> dict[str, set[str]]:
    if kind != "results":
        return {name: site.facets[record["id"]].get(name, set()) for name in FILTERS[kind]}
    found: dict[str, set[str]] = {}
    for name in FILTERS[kind]:
        value = record.get(name.replace("-", "_"))
        found[name] = set() if value is None else set(site.taxonomy.above(VOCABULARY.get(name, name), str(value)))
    return found


def _facets(site: Site, kind: str, words: Iterable[Mapping[str, set[str]]]) -> list[dict[str, Any]]:
    counts: dict[str, Counter[str]] = {name: Counter() for name in FILTERS[kind]}
    total = 0
    for own in words:
        total += 1
        for name, found in own.items():
            counts[name].update(found)
    facets = []
    for name, label in FILTERS[kind].items():
        if not counts[name] or (len(counts[name]) == 1 and total == next(iter(counts[name].values()))):
            continue
        entries = [
            [word, word_label, depth, counts[name][word]]
            for word, word_label, depth in _ordered(site, name, counts[name])
        ]
        facets.append({"key": name, "label": label, "words": entries})
    return facets


def _ordered(site: Site, name: str, counted: Counter[str]) -> list[tuple[str, str, int]]:
    """Return words with label and depth: the taxonomy's in tree order, years newest first, the rest by name."""
    facet = VOCABULARY.get(name, name)
    terms = site.taxonomy.terms(facet)
    if terms and facet != "license":
        depth = {word: len(site.taxonomy.above(facet, word)) - 1 for word in terms}
        return [(word, terms[word].label, depth[word]) for word in terms if word in counted]
    if name == "year":
        return [(word, word, 0) for word in sorted(counted, reverse=True)]
    if name in _IDS:
        named = [(word, site.records[word].name if word in site.records else word, 0) for word in counted]
    elif facet == "license":
        named = [(word, site.license(word), 0) for word in counted]
    else:
        named = [(word, word, 0) for word in counted]
    return sorted(named, key=lambda entry: entry[1].lower())


def _text(site: Site, record: Mapping[str, Any], own: Mapping[str, set[str]]) -> str:
    """Return what the text box searches besides the visible cells: ids, other names, labels and synonyms."""
    found: dict[str, None] = dict.fromkeys([str(record["id"]), *record.get("aliases", ())])
    found |= dict.fromkeys(record.get("organizations", ()))
    for name, words in own.items():
        terms = site.taxonomy.terms(VOCABULARY.get(name, name))
        for word in sorted(words):
            if term := terms.get(word):
                found |= dict.fromkeys((term.label, *term.synonyms))
    return " ".join(found).lower()
