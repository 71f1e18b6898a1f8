"""The rules that look across records: references, words, evidence, licenses, duplicates and impossible values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, get_args

import pydantic

from medfm.catalog.records import EDITORIAL, Challenge, Dataset, Model, Record, Results
from medfm.catalog.vocabulary import Ref, Taxonomy, Word, spelling
from medfm.errors import Problem, did_you_mean, near_misses

if TYPE_CHECKING:
    from medfm.catalog.store import Catalog


def check(catalog: Catalog) -> list[Problem]:
    """Return everything that is wrong across the records, file by file."""
    known: dict[str, Any] = {kind: records.keys() for kind, records in catalog.records.items()}
    known["paper"] = catalog.bibliography.keys()
    problems: list[Problem] = []
    for record in catalog.all():
        file = catalog.files[record.id]
        problems += _marks(record, file, known, catalog.taxonomy)
        problems += _evidence(record, file)
        problems += _licenses(record, file)
        problems += _impossible(record, file, catalog)
    problems += _duplicate_names(catalog)
    problems += _circles(catalog)
    problems += _twelve(catalog)
    problems += _words(catalog.taxonomy)
    return problems


# ---------------------------------------------------------------- references and words


def _marks(record: Record, file: str, known: dict[str, Any], taxonomy: Taxonomy) -> Iterator[Problem]:
    for path, value, mark in marked(record):
        if isinstance(mark, Ref):
            if value not in known[mark.kind]:
                hint = did_you_mean(near_misses(value, known[mark.kind]))
                what = "BibTeX entry in survey/references.bib" if mark.kind == "paper" else mark.kind
                yield Problem(file, path, f"no {what} is named {value!r}{hint}")
        elif value not in (terms := taxonomy.terms(mark.facet)):
            same = sorted(taxonomy.within(mark.facet, value) & terms.keys(), key=list(terms).index)[:1]
            hint = did_you_mean(same or near_misses(value, terms))
            yield Problem(file, path, f"{value!r} is no {mark.facet} of survey/taxonomy.yaml{hint}")


def marked(part: pydantic.BaseModel, prefix: str = "") -> Iterator[tuple[str, str, Ref | Word]]:
    """Give every marked string inside `part` with its field path and its mark."""
    for name, mark, nested in _plan(type(part)):
        value = getattr(part, name)
        if value is None or value == ():
            continue
        path = prefix + name
        if mark is not None:
            if isinstance(value, str):
                yield path, value, mark
            else:
                yield from ((f"{path}[{i}]", item, mark) for i, item in enumerate(value))
        elif nested:
            for inner, item in _items(path, value):
                if isinstance(item, pydantic.BaseModel):
                    yield from marked(item, inner + ".")


def _items(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, tuple):
        yield from ((f"{path}[{i}]", item) for i, item in enumerate(value))
    elif isinstance(value, dict):
        yield from ((f"{path}.{key}", item) for key, item in value.items())
    else:
        yield path, value


@cache
def _plan(cls: type[pydantic.BaseModel]) -> list[tuple[str, Ref | Word | None, bool]]:
    """Which fields of a type are marked, and which lead to other types; computed once a type."""
    plan = []
    for name, field in cls.model_fields.items():
        mark = next((m for m in field.metadata if isinstance(m, Ref | Word)), None) or _mark_in(field.annotation)
        nested = mark is None and any(_leads_to_mark(inner) for inner in parts_of(field.annotation))
        if mark is not None or nested:
            plan.append((name, mark, nested))
    return plan


def _leads_to_mark(cls: type[pydantic.BaseModel]) -> bool:
    return bool(_plan(cls))


def _mark_in(annotation: Any) -> Ref | Word | None:
    for argument in get_args(annotation):
        if isinstance(argument, Ref | Word):
            return argument
        if (mark := _mark_in(argument)) is not None:
            return mark
    return None


def parts_of(annotation: Any) -> set[type[pydantic.BaseModel]]:
    """Return the record parts that a type annotation leads to, through tuples, dicts and unions."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return {annotation}
    return {cls for argument in get_args(annotation) for cls in parts_of(argument)}


# ---------------------------------------------------------------- evidence


def facts(part: pydantic.BaseModel, prefix: str = "") -> Iterator[str]:
    """Give the path of every fact that has a value: leaves of nested parts, whole lists and dicts of plain values."""
    for name in type(part).model_fields:
        if not prefix and name in EDITORIAL:
            continue
        value = getattr(part, name)
        if value is None or value == () or value == {}:
            continue
        if name == "qualifier" and prefix:  # says how the counts beside it are put
            continue
        path = prefix + name
        if isinstance(value, pydantic.BaseModel):
            yield from facts(value, path + ".")
        elif isinstance(value, tuple) and isinstance(value[0], pydantic.BaseModel):
            for i, item in enumerate(value):
                yield from facts(item, f"{path}[{i}].")
        else:
            yield path


def covering(path: str) -> Iterator[str]:
    """Give the path and every path above it, nearest first.

    >>> list(covering("training.data[0].amount"))
    ['training.data[0].amount', 'training.data[0]', 'training.data', 'training']
    """
    while path:
        yield path
        path = path[: max(path.rfind("."), path.rfind("["), 0)]


def source_of(note: str) -> str:
    """Return the source id of an evidence note.

    >>> source_of("paper: Methods, Pretraining")
    'paper'
    """
    return note.partition(":")[0].strip()


def _evidence(record: Record, file: str) -> Iterator[Problem]:
    used: set[str] = set()
    notes = [(f"evidence.{path}", note) for path, note in record.evidence.items()]
    for i, conflict in enumerate(record.conflicts):
        notes += [(f"conflicts[{i}]", claim.source) for claim in conflict.claims]
        notes += [(f"conflicts[{i}]", conflict.follows)] if conflict.follows else []
    if isinstance(record, Model):
        notes += [(f"disagreements[{i}]", item.source) for i, item in enumerate(record.disagreements)]
    if isinstance(record, Challenge):
        notes += [(f"findings[{i}]", finding.source) for i, finding in enumerate(record.findings)]
    if isinstance(record, Results):
        notes.append(("source", record.source))
    for where, note in notes:
        used.add(source := source_of(note))
        used |= {source_of(part) for part in note.split("; ")} & record.sources.keys()  # a note may name several
        if source not in record.sources:
            yield Problem(
                file, where, f"no source {source!r} in sources{did_you_mean(near_misses(source, record.sources))}"
            )
    for source in record.sources.keys() - used:
        yield Problem(file, f"sources.{source}", "nothing cites this source; cite it in evidence, or leave it out")
    paths = list(facts(record))
    reached = {above for path in paths for above in covering(path)}
    if not isinstance(record, Results):
        proven = record.evidence.keys() | record.derived.keys()
        skipped = {"findings", "approaches", "open_questions", "number", "named_by", "question"}
        for path in paths:
            if not proven.intersection(covering(path)) and path.partition("[")[0] not in skipped:
                yield Problem(
                    file, path, "a fact without evidence: name its source under evidence, or how it was derived"
                )
    for path in proven_paths(record):
        if (
            path not in reached
            and not any(known.startswith(path + ".") for known in reached)
            and not _plain(record, path)
        ):
            yield Problem(file, path, f"has evidence but no value{did_you_mean(near_misses(path, reached))}")
    for name in ("undisclosed", "not_applicable"):
        for path in getattr(record, name):
            if path in reached:
                yield Problem(file, path, f"has a value and stands in {name}")
            elif not _exists(type(record), path):
                fields = type(record).model_fields
                yield Problem(file, f"{name}: {path}", f"no such field{did_you_mean(near_misses(path, fields))}")


def proven_paths(record: Record) -> Iterator[str]:
    """Give every path that evidence or derived name."""
    yield from record.evidence
    yield from record.derived


def _plain(record: Record, path: str) -> bool:
    """Whether the path names an editorial field or a key of a dict: both may carry evidence without needing it."""
    first = re.split(r"[.\[]", path)[0]
    if first in EDITORIAL and getattr(record, first, None):
        return True
    value: Any = record
    for part in re.findall(r"[^.\[\]]+", path):
        if isinstance(value, tuple):
            value = value[int(part)] if part.isdigit() and int(part) < len(value) else None
        else:
            value = value.get(part) if isinstance(value, dict) else getattr(value, part, None)
    return value not in (None, (), {})


def _exists(cls: type[pydantic.BaseModel], path: str) -> bool:
    classes: set[type[pydantic.BaseModel]] = {cls}
    for part in re.sub(r"\[\d+\]", "", path).split("."):
        fields = [c.model_fields[part].annotation for c in classes if part in c.model_fields]
        if not fields:
            return False
        classes = {inner for annotation in fields for inner in parts_of(annotation)}
    return True


# ---------------------------------------------------------------- single rules


def _licenses(record: Record, file: str) -> Iterator[Problem]:
    if isinstance(record, Model) and record.license:
        for part in ("code", "weights", "data"):
            name = getattr(record.license, part)
            if name and name.startswith("LicenseRef-") and part not in record.license.terms:
                yield Problem(file, f"license.terms.{part}", f"{name} needs the address of its terms")
    if isinstance(record, Dataset) and record.access and not record.access.terms:
        name = record.access.license
        if name and name.startswith("LicenseRef-"):
            yield Problem(file, "access.terms", f"{name} needs the address of its terms")


# Parameters of the backbones by their usual names, in millions, with room for heads and registers.
_BACKBONES = (
    (re.compile(r"\bViT-Ti\b"), 5, 8),
    (re.compile(r"\bViT-S\b"), 20, 30),
    (re.compile(r"\bViT-B\b"), 80, 120),
    (re.compile(r"\bViT-L\b"), 290, 330),
    (re.compile(r"\bViT-H\b"), 600, 700),
    (re.compile(r"\bViT-g\b"), 1000, 1200),
    (re.compile(r"\bViT-G\b"), 1800, 2000),
)


def _impossible(record: Record, file: str, catalog: Catalog) -> Iterator[Problem]:
    if isinstance(record, Model):
        backbone = record.architecture.backbone if record.architecture else None
        alone = record.architecture is not None and set(record.architecture.family) <= {"vit", "transformer"}
        if backbone and record.parameters and alone:
            for pattern, low, high in _BACKBONES:
                if pattern.match(backbone) and not low <= record.parameters / 1e6 <= high:
                    yield Problem(
                        file,
                        "parameters",
                        f"{record.parameters:,} cannot be a {backbone}: expected {low} to {high} million",
                    )
        if record.output and record.output.embedding and record.output.embedding.dimension != record.embedding_dim:
            yield Problem(
                file,
                "embedding_dim",
                f"is {record.embedding_dim}, but output.embedding.dimension is {record.output.embedding.dimension}",
            )
    if isinstance(record, Dataset) and record.collected and record.collected.years:
        first, last = record.collected.years
        if first > last:
            yield Problem(file, "collected.years", f"{first} is after {last}")
    if isinstance(record, Results):
        yield from _impossible_scores(record, file, catalog)


def _impossible_scores(record: Results, file: str, catalog: Catalog) -> Iterator[Problem]:
    metrics = catalog.records["metric"]
    for i, table in enumerate(record.tables):
        low, high = getattr(metrics.get(table.metric), "range", None) or (None, None)
        scale = 100.0 if table.unit == "percent" else 1.0
        for j, score in enumerate(table.scores):
            where = f"tables[{i}].scores[{j}]"
            if (low is not None and score.value < low * scale) or (high is not None and score.value > high * scale):
                yield Problem(file, where, f"{score.value} {table.unit} is outside the range of {table.metric}")
            if score.ci and not score.ci[0] <= score.value <= score.ci[1]:
                yield Problem(file, where, f"{score.value} is outside its own interval {list(score.ci)}")


def _duplicate_names(catalog: Catalog) -> Iterator[Problem]:
    for records in catalog.records.values():
        taken: dict[str, str] = {}
        for record in records.values():
            for name in {spelling(n) for n in (record.id, record.name, *record.aliases)}:
                if taken.setdefault(name, record.id) != record.id:
                    yield Problem(
                        catalog.files[record.id], "name", f"{name!r} is a name of {catalog.files[taken[name]]} too"
                    )


def _circles(catalog: Catalog) -> Iterator[Problem]:
    for kind, target in (("model", "model"), ("dataset", "dataset")):
        parents: dict[str, list[str]] = {
            record.id: [
                getattr(link, target)
                for link in record.derived_from  # type: ignore[attr-defined]  # both kinds have it
                if getattr(link, "relation", "") not in ("same-cohort-as", "contains")
            ]
            for record in catalog.records[kind].values()
        }
        for start in parents:
            if _reaches(start, start, parents.__getitem__, parents):
                yield Problem(catalog.files[start], "derived_from", f"{start} descends from itself")


def _reaches(start: str, goal: str, above: Callable[[str], list[str]], known: dict[str, list[str]]) -> bool:
    seen: set[str] = set()
    waiting = list(above(start))
    while waiting:
        node = waiting.pop()
        if node == goal:
            return True
        if node in known and node not in seen:
            seen.add(node)
            waiting += above(node)
    return False


def _twelve(catalog: Catalog) -> Iterator[Problem]:
    numbers: dict[int, str] = {}
    for record in catalog.records["challenge"].values():
        assert isinstance(record, Challenge)
        if numbers.setdefault(record.number, record.id) != record.id:
            yield Problem(
                catalog.files[record.id], "number", f"{numbers[record.number]} has number {record.number} already"
            )


def _words(taxonomy: Taxonomy) -> Iterator[Problem]:
    file = "survey/taxonomy.yaml"
    for facet in taxonomy.facets:
        spellings: dict[str, str] = {}
        for term in taxonomy.terms(facet).values():
            for name in (term.id, term.label, *term.synonyms):
                if (owner := spellings.setdefault(spelling(name), term.id)) != term.id:
                    yield Problem(file, f"{facet}.{term.id}", f"{name!r} is a name of {owner} too")
            for code in term.codes:
                if code.source not in taxonomy.sources:
                    yield Problem(file, f"{facet}.{term.id}", f"no source {code.source!r} for its {code.system} code")
