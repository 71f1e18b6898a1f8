"""The site as a whole: which page each record has, and who refers to whom.

Pages are named by their Markdown file. Links between pages stand in Markdown and name that file, so the renderer checks
and rewrites them; only pictures, which are HTML, name the rendered `.html` file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from medfm.catalog.completeness import MEANING, State
from medfm.catalog.facets import KIND_NAMES
from medfm.catalog.graph import edges
from medfm.catalog.indexing import to_json
from medfm.catalog.leakage import Exposure, exposures
from medfm.catalog.records import (
    Ancestor,
    Dataset,
    Lineage,
    Model,
    Record,
    Results,
    Score,
    Table,
    TrainingData,
)
from medfm.catalog.select import facets_of
from medfm.catalog.store import Catalog
from medfm.catalog.vocabulary import Term
from medfm.publishing.columns import Column, columns
from medfm.publishing.prose import attribute, escape, link, relative
from medfm.publishing.tables import plain_text

# Facets whose words have pages of their own: facet -> folder.
WORD_FOLDERS = {"task": "tasks", "modality": "modalities"}


@dataclass(frozen=True)
class Found:
    """One published score with where it stands."""

    results: Results
    number: int
    """Of the table in its record, from 1."""
    table: Table
    score: Score

    @property
    def protocol(self) -> tuple[str, str, str, str, str]:
        """What must be equal for two scores to be comparable: dataset, split, task, setting and details."""
        p = self.table.protocol
        return p.dataset, p.split or "", p.task, p.setting, p.details or ""


class Site:
    """A catalog with the pages of its records and every reference read backwards."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.taxonomy = catalog.taxonomy
        self.records: dict[str, Record] = {record.id: record for record in catalog.all()}
        self.plain: dict[str, dict[str, Any]] = {
            record.id: to_json(record, catalog.files[record.id]) for record in self.records.values()
        }
        self.facets: dict[str, dict[str, set[str]]] = {
            record.id: facets_of(record, catalog.taxonomy) for record in self.records.values()
        }
        self.children: dict[str, list[tuple[Model, Ancestor]]] = defaultdict(list)
        self.families: dict[str, list[Model]] = defaultdict(list)
        self.seen_by: dict[str, list[tuple[Model, TrainingData]]] = defaultdict(list)
        self.made_from: dict[str, list[tuple[Dataset, Lineage]]] = defaultdict(list)
        self.scores_of: dict[str, list[Found]] = defaultdict(list)
        self.scored_on: dict[str, list[Found]] = defaultdict(list)
        self.scored_by: dict[str, list[Found]] = defaultdict(list)
        self.cited_by: dict[str, list[Record]] = defaultdict(list)
        for record in self.all():
            self._read_backwards(record)

    def _read_backwards(self, record: Record) -> None:
        for key in dict.fromkeys([*record.papers, *(s.cite for s in record.sources.values() if s.cite)]):
            self.cited_by[key].append(record)
        if isinstance(record, Model):
            for ancestor in record.derived_from:
                self.children[ancestor.model].append((record, ancestor))
            for member in record.members:
                self.families[member].append(record)
            for item in record.training.data if record.training else ():
                self.seen_by[item.dataset].append((record, item))
        elif isinstance(record, Dataset):
            for lineage in record.derived_from:
                self.made_from[lineage.dataset].append((record, lineage))
        elif isinstance(record, Results):
            for number, table in enumerate(record.tables, 1):
                for score in table.scores:
                    found = Found(record, number, table, score)
                    self.scores_of[score.model].append(found)
                    self.scored_on[table.protocol.dataset].append(found)
                    self.scored_by[table.metric].append(found)

    @cached_property
    def _edges(self) -> list[dict[str, str]]:
        return [edge._asdict() for edge in edges(self.catalog)]

    def exposure(self, model: str, dataset: str) -> Exposure:
        """Return the most certain way in which a model may have seen a dataset in training."""
        return exposures(model, dataset, self._edges, self.plain.__getitem__)[0]

    def all(self, kind: str | None = None) -> list[Record]:
        """Return the records of one kind, or all, sorted by name; challenges by number."""
        found = self.catalog.records[kind].values() if kind else self.records.values()
        return sorted(found, key=lambda r: (getattr(r, "number", 0), r.name.lower(), r.id))

    # ------------------------------------------------------------ pages and links

    def page(self, id: str) -> str:
        """Return the Markdown file of a record's page."""
        return f"{KIND_NAMES[self.records[id].kind]}/{id}.md"

    def word_page(self, facet: str, word: str) -> str | None:
        """Return the page of a word of the taxonomy; None where it has none."""
        if facet in WORD_FOLDERS and word in self.words_in_use[facet]:
            return f"{WORD_FOLDERS[facet]}/{word}.md"
        return None

    def link(self, here: str, id: str, label: str = "") -> str:
        """Return a Markdown link to a record from the page `here`; an unknown id stays code."""
        if id not in self.records:
            return f"`{id}`"
        return link(label or self.records[id].name, relative(here, self.page(id)))

    def links(self, here: str, ids: Iterable[str]) -> str:
        """Return links to records, joined by commas."""
        return ", ".join(self.link(here, each) for each in ids)

    def cite(self, here: str, key: str) -> str:
        """Return a link to an entry of the references, labeled by author and year; an unknown key stays code."""
        entry = self.catalog.bibliography.get(key)
        if entry is None:
            return f"`{key}`"
        return link(entry.label, relative(here, f"references.md#{anchor(key)}"))

    def href(self, here: str, id: str) -> str:
        """Return the address of a record's rendered page, for HTML and SVG, which the renderer leaves alone."""
        return rendered(relative(here, self.page(id)))

    # ------------------------------------------------------------ words

    @cached_property
    def words_in_use(self) -> dict[str, dict[str, set[str]]]:
        """Facet -> word -> ids of the records under it, everything below the word included; words in tree order."""
        used: dict[str, dict[str, set[str]]] = {facet: defaultdict(set) for facet in self.taxonomy.facets}
        for record, facets in self.facets.items():
            for facet, words in facets.items():
                for word in words if facet in used else ():
                    used[facet][word].add(record)
        return {
            facet: {term: words[term] for term in self.taxonomy.terms(facet) if term in words}
            for facet, words in used.items()
        }

    def label(self, facet: str, word: str) -> str:
        """Return a word's label."""
        term = self.taxonomy.terms(facet).get(word)
        return term.label if term else word

    def short(self, facet: str, word: str) -> str:
        """Return the abbreviation of a word where its field has one (CT, MRI, H&E), else its label.

        Classes of models and of data are called by their id: their labels are long and end alike.
        """
        if facet in ("category", "data-category"):
            return word
        term = self.taxonomy.terms(facet).get(word)
        return abbreviation(term) if term else word

    def words(self, here: str, facet: str, words: Iterable[str], *, short: bool = False) -> str:
        """Return words with links to their pages, joined by commas."""
        shown = self.short if short else self.label
        found = []
        for word in words:
            target = self.word_page(facet, word)
            found.append(link(shown(facet, word), relative(here, target)) if target else escape(shown(facet, word)))
        return ", ".join(found)

    def short_name(self, id: str) -> str:
        """Return a record's name; for a metric with a long name, its abbreviation where it has one (AUROC, HD95)."""
        record = self.records.get(id)
        if record is None or record.kind != "metric" or len(record.name) <= 16:
            return record.name if record else id
        short = [alias for alias in record.aliases if len(alias) <= 8 and sum(c.isupper() for c in alias) >= 2]
        return short[0] if short else record.name

    def license(self, name: str) -> str:
        """Return what a license is called: its SPDX id, or a name of its own."""
        return self.label("license", name) if name.startswith("LicenseRef-") else name

    # ------------------------------------------------------------ cells

    def shower(self, here: str) -> Callable[[Column, Any], str]:
        """Return the function that turns a cell's value into Markdown with links, as seen from the page `here`."""

        def show(column: Column, value: Any) -> str:
            if column.form == "record":
                if column.facet == "results" and value in self.records:
                    return self.link(here, value, value)
                return self.link(here, str(value), self.short_name(str(value)))
            if column.form == "word":
                return self.words(here, column.facet, [value], short=True)
            if column.form == "license":
                return escape(self.license(value))
            return escape(plain_text(column, value))

        return show

    def chosen(self, kind: str, *keys: str) -> tuple[Column, ...]:
        """Return the named columns of one kind, or those that are shown by default."""
        return columns(kind, keys) if keys else tuple(column for column in columns(kind) if column.shown)


def state_mark(which: State) -> str:
    """Return the words for a missing value; each state has words and a look of its own."""
    return f'<span class="state state-{which.replace(" ", "-")}" title="{attribute(MEANING[which])}">{which}</span>'


def abbreviation(term: Term) -> str:
    """Return the first synonym where it is short for the label, else the label.

    Short for it means that its letters stand in the label in that order: CT and ECG are, PubMed is not short for
    biomedical literature.

    >>> abbreviation(Term(id="ecg", label="Electrocardiogram", synonyms=("ECG", "EKG")))
    'ECG'
    >>> abbreviation(Term(id="angiography", label="Angiography", synonyms=("DSA",)))
    'Angiography'
    """
    first = term.synonyms[0] if term.synonyms else ""
    letters = [letter for letter in first.lower() if letter.isalnum()]
    if len(first) > 6 or " " in first or sum(letter.isupper() for letter in first) < 2:
        return term.label
    rest = iter(term.label.lower())
    is_short = term.label[0].lower() == letters[0] and all(letter in rest for letter in letters)
    return first if is_short else term.label


def anchor(key: str) -> str:
    """Return the anchor of a BibTeX key on the references page.

    >>> anchor("chen2024uni")
    'ref-chen2024uni'
    """
    return "ref-" + "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in key)


def rendered(page: str) -> str:
    """Return the address that a page has after rendering.

    >>> rendered("../tasks/segmentation.md#models")
    '../tasks/segmentation.html#models'
    """
    path, mark, rest = page.partition("#")
    return (path.removesuffix(".md") + ".html" if path.endswith(".md") else path) + mark + rest
