"""Filtering typed records by the words of `medfm.catalog.facets`."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import TYPE_CHECKING

from medfm.catalog.facets import BOUNDS, FACETS, VOCABULARY, kind_named, number
from medfm.catalog.records import Challenge, Competition, Dataset, Metric, Model, Record, Results, Sample
from medfm.errors import UnknownIdError, UsageError, near_misses

if TYPE_CHECKING:
    from medfm.catalog.store import Catalog
    from medfm.catalog.vocabulary import Taxonomy

_OPERATORS = {">=": operator.ge, "<=": operator.le}


def select(catalog: Catalog, kind: str, **filters: object) -> list[Record]:
    """Return the records of one kind that pass all filters, in the order of their ids.

    Args:
        catalog: where to look.
        kind: a kind, singular or plural.
        **filters: names as in `medfm.catalog.facets`, with underscores; a value may be a word or a list of words, of
            which one must fit. Words may be ids, labels or synonyms, and find everything below them.

    Raises:
        UsageError: there is no such filter, or a number is none.
        UnknownIdError: a word is not in the taxonomy; it offers near misses.

    >>> from medfm import Catalog
    >>> catalog = Catalog.load()
    >>> [model.id for model in catalog.select("model", loadable=True, task="brain-extraction")]
    ['deepbet']
    """
    kind = kind_named(kind)
    tests: list[tuple[str, set[str]]] = []
    limits: list[tuple[str, str, float]] = []
    for name, value in filters.items():
        filter_ = name.replace("_", "-")
        if value is None:
            continue
        if filter_ in FACETS[kind]:
            values = value if isinstance(value, list | tuple | set) else [value]
            tests.append((filter_, {resolve(catalog.taxonomy, filter_, _text(v)) for v in values}))
        elif filter_ in BOUNDS.get(kind, {}):
            field, sign, _ = BOUNDS[kind][filter_]
            limits.append((field, sign, number(str(value))))
        else:
            known = [*FACETS[kind], *BOUNDS.get(kind, {})]
            offer = near_misses(filter_, known) or known
            raise UsageError(f"{kind} records have no filter {name!r}; try {', '.join(offer)}")
    found = []
    for record in catalog.records[kind].values():
        have, numbers = facets_of(record, catalog.taxonomy), numbers_of(record)
        if all(words & have.get(filter_, set()) for filter_, words in tests) and all(
            field in numbers and _OPERATORS[sign](numbers[field], bound) for field, sign, bound in limits
        ):
            found.append(record)
    return sorted(found, key=lambda record: record.id)


def resolve(taxonomy: Taxonomy, filter_: str, word: str) -> str:
    """Return the id of the taxonomy's word that a filter's value names; other filters' values stay as they are."""
    facet = VOCABULARY.get(filter_, filter_)
    terms = taxonomy.terms(facet)
    if not terms:
        return word
    found = taxonomy.find(facet, word)
    if found is None:
        raise UnknownIdError(facet, word, near_misses(word, terms))
    return found.id


def facets_of(record: Record, taxonomy: Taxonomy) -> dict[str, set[str]]:
    """Return the words under which a record is found, by filter; words of the taxonomy with all words above them."""
    plain: dict[str, Iterable[object]] = {}
    if isinstance(record, Model):
        license_, training = record.license, record.training
        plain = {
            "category": [record.category],
            "domain": [record.domain],
            "modality": record.modalities,
            "anatomy": record.anatomy,
            "dimension": record.dimensions,
            "task": record.tasks,
            "architecture": record.architecture.family if record.architecture else (),
            "method": training.methods if training else (),
            "objective": training.objectives if training else (),
            "status": [record.release and record.release.status],
            "gate": [license_ and license_.gate],
            "license": [license_ and license_.weights],
            "code-license": [license_ and license_.code],
            "organization": record.organizations,
            "year": [record.release and record.release.year],
            "family": [record.weights.family if record.loadable and record.weights else None],
            "loadable": [record.loadable],
            "parity": [record.parity.status],
            "trained-on": [item.dataset for item in training.data] if training else (),
            "ancestor": [ancestor.model for ancestor in record.derived_from],
            "challenge": record.challenges,
        }
    elif isinstance(record, Dataset):
        plain = {
            "data-category": [record.data_category],
            "modality": record.modalities,
            "anatomy": record.anatomy,
            "dimension": record.dimensions,
            "task": record.tasks,
            "access": [record.access and record.access.status],
            "license": [record.access and record.access.license],
            "organization": record.organizations,
            "country": record.collected.countries if record.collected else (),
            "year": [record.year],
            "origin": [link.dataset for link in record.derived_from],
        }
    elif isinstance(record, Metric):
        plain = {"task": record.tasks, "direction": [record.direction]}
    elif isinstance(record, Challenge):
        plain = {"named-by": [record.named_by]}
    elif isinstance(record, Competition):
        plain = {
            "series": [record.series],
            "modality": record.modalities,
            "anatomy": record.anatomy,
            "task": record.tasks,
            "year": [record.year],
            "dataset": record.datasets,
            "metric": record.metrics,
        }
    elif isinstance(record, Results):
        plain = {
            "dataset": [table.protocol.dataset for table in record.tables],
            "model": [score.model for table in record.tables for score in table.scores],
            "metric": [table.metric for table in record.tables],
            "task": [table.protocol.task for table in record.tables],
            "setting": [table.protocol.setting for table in record.tables],
            "reported-by": [table.reported_by for table in record.tables],
        }
    elif isinstance(record, Sample):
        plain = {
            "modality": record.modalities,
            "anatomy": record.anatomy,
            "license": [record.license],
            "model": record.models,
        }
    return {
        filter_: {
            above
            for value in values
            if value is not None
            for above in taxonomy.above(VOCABULARY.get(filter_, filter_), _text(value))
        }
        for filter_, values in plain.items()
    }


def numbers_of(record: Record) -> dict[str, float]:
    """Return the numbers by which a record can be filtered and sorted."""
    numbers: dict[str, float | None] = {}
    if isinstance(record, Model):
        numbers = {"year": record.release.year if record.release else None, "parameters": record.parameters}
    elif isinstance(record, Dataset | Competition):
        numbers = {"year": record.year}
    return {name: value for name, value in numbers.items() if value is not None}


def _text(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
