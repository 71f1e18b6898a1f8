"""Reading the catalog: YAML to typed records, every reference resolved, every problem reported at once."""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pydantic
import yaml

from medfm import content
from medfm.catalog import citations
from medfm.catalog.records import (
    KINDS,
    Challenge,
    Competition,
    Dataset,
    Metric,
    Model,
    Record,
    Results,
    Sample,
)
from medfm.catalog.rules import check
from medfm.catalog.vocabulary import Taxonomy
from medfm.errors import CatalogError, Problem, UnknownIdError, did_you_mean, near_misses

if TYPE_CHECKING:
    import networkx
    import pandas

    from medfm.catalog.leakage import Exposure

R = TypeVar("R", bound=Record)

BIBLIOGRAPHY = "survey/references.bib"
TAXONOMY = "survey/taxonomy.yaml"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # C where libyaml is there
    """Safe YAML without the traps of YAML 1.1 (`NO` is a country here, 1:30 a text), and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        if len(mapping) != len(node.value):
            seen: set[str] = set()
            for key, _ in node.value:
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} stands twice", key.start_mark
                    )
                seen.add(key.value)
        return mapping


def _core_schema_resolvers() -> dict[str, list[tuple[str, Any]]]:
    import re

    rules = [
        ("tag:yaml.org,2002:bool", r"^(?:true|True|false|False)$", "tTfF"),
        ("tag:yaml.org,2002:null", r"^(?:~|null|Null|)$", "~nN\0"),
        ("tag:yaml.org,2002:int", r"^[-+]?(?:0|[1-9][0-9_]*)$", "-+0123456789"),
        (
            "tag:yaml.org,2002:float",
            # an exponent needs a point or a sign: 12e4567 is a commit, not infinity
            r"^[-+]?[0-9]*\.[0-9]+(?:[eE][-+]?[0-9]+)?$|^[-+]?[0-9]+\.$|^[-+]?[0-9]+[eE][-+][0-9]+$",
            "-+.0123456789",
        ),
        ("tag:yaml.org,2002:timestamp", r"^\d{4}-\d\d-\d\d$", "0123456789"),
        ("tag:yaml.org,2002:merge", r"^(?:<<)$", "<"),
    ]
    resolvers: dict[str, list[tuple[str, Any]]] = {}
    for tag, pattern, firsts in rules:
        for first in firsts:
            resolvers.setdefault("" if first == "\0" else first, []).append((tag, re.compile(pattern)))
    return resolvers


_Loader.yaml_implicit_resolvers = _core_schema_resolvers()


class Catalog:
    """All records, typed and resolved.

    >>> catalog = Catalog.load()
    >>> catalog.models["deepbet"].tasks
    ('brain-extraction',)

    Attributes:
        records: kind -> id -> record.
        files: record id -> file, relative to the content root.
        taxonomy: the controlled vocabulary.
        bibliography: BibTeX key -> entry.
        problems: everything that is wrong, in the order of the files; empty after `load`.
    """

    def __init__(
        self,
        records: Mapping[str, dict[str, Record]],
        files: Mapping[str, str],
        taxonomy: Taxonomy,
        bibliography: Mapping[str, citations.Entry],
        problems: Iterable[Problem],
    ) -> None:
        self.records, self.files = records, files
        self.taxonomy, self.bibliography = taxonomy, bibliography
        self.problems = list(problems)

    @classmethod
    def load(cls, root: Path | None = None) -> Catalog:
        """Read the catalog of the checkout or the installed package (or another one at `root`).

        Raises:
            CatalogError: something is wrong; `problems` lists everything, each with file, field and what to do.
        """
        catalog = read(root or content.root())
        if catalog.problems:
            raise CatalogError(catalog.problems)
        return catalog

    @property
    def models(self) -> Mapping[str, Model]:
        """Models by id."""
        return Shelf("model", self.records["model"])

    @property
    def datasets(self) -> Mapping[str, Dataset]:
        """Datasets by id."""
        return Shelf("dataset", self.records["dataset"])

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Metrics by id."""
        return Shelf("metric", self.records["metric"])

    @property
    def challenges(self) -> Mapping[str, Challenge]:
        """The twelve dimensions of challenge and trend by id."""
        return Shelf("challenge", self.records["challenge"])

    @property
    def competitions(self) -> Mapping[str, Competition]:
        """Competitions by id."""
        return Shelf("competition", self.records["competition"])

    @property
    def results(self) -> Mapping[str, Results]:
        """Published and measured scores by the id of their source."""
        return Shelf("results", self.records["results"])

    @property
    def samples(self) -> Mapping[str, Sample]:
        """Real inputs that ship inside packages, by id."""
        return Shelf("sample", self.records["sample"])

    def __getitem__(self, id: str) -> Record:
        """Return the record of that id, whatever its kind.

        Raises:
            UnknownIdError: there is none; it offers near misses.
        """
        for records in self.records.values():
            if id in records:
                return records[id]
        raise UnknownIdError("record", id, near_misses(id, self.files))

    def all(self) -> Iterator[Record]:
        """Give every record, kind by kind."""
        for kind in self.records.values():
            yield from kind.values()

    def select(self, kind: str = "model", **filters: object) -> list[Record]:
        """Return the records of one kind that pass all filters; see `medfm.catalog.select`."""
        from medfm.catalog.select import select

        return select(self, kind, **filters)

    def search(self, text: str, kind: str | None = None, limit: int = 20) -> list[Record]:
        """Return the records that fit the words best, best first: names, synonyms and summaries count."""
        from medfm.catalog.index import Index

        with Index.of(self) as index:
            return [self[hit["id"]] for hit in index.search(text, kind=kind, limit=limit)]

    def leakage(self, model: str, dataset: str) -> list[Exposure]:
        """Return every way in which a model may have seen a dataset in training, the most certain first.

        >>> Catalog.load().leakage("stu-net-l", "totalsegmentator-v1")[0].verdict
        'overlap'

        Raises:
            UnknownIdError: there is no such model or dataset.
        """
        from medfm.catalog.graph import edges
        from medfm.catalog.indexing import to_json
        from medfm.catalog.leakage import exposures

        known = [edge._asdict() for edge in edges(self)]
        ids = self.models[model].id, self.datasets[dataset].id
        return exposures(*ids, known, lambda name: to_json(self[name], self.files[name]))

    @property
    def graph(self) -> networkx.MultiDiGraph[str]:
        """The graph of all records and how they refer to each other (imports networkx)."""
        from medfm.catalog.graph import to_networkx

        return to_networkx(self)

    def to_pandas(self, kind: str = "model") -> pandas.DataFrame:
        """Return one row a record, its fields in columns with dotted names (imports pandas)."""
        from medfm.catalog.export import to_pandas

        return to_pandas(self, kind)


class Shelf(Mapping[str, R]):
    """The records of one kind by id; an unknown id gets near misses."""

    def __init__(self, kind: str, records: Mapping[str, Record]) -> None:
        self._kind, self._records = kind, records

    def __getitem__(self, id: str) -> R:
        try:
            return self._records[id]  # type: ignore[return-value]  # a shelf holds one kind
        except KeyError:
            raise UnknownIdError(self._kind, id, near_misses(id, self._records)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, id: object) -> bool:
        return id in self._records

    def __repr__(self) -> str:
        return f"<{len(self)} records of kind {self._kind}>"


def read(root: Path) -> Catalog:
    """Read everything below `root` (the folder with `catalog/` and `survey/`).

    Problems are collected, never raised: look at `problems`.
    """
    problems: list[Problem] = []
    with _collector_off():  # the cyclic collector costs more than the parsing
        taxonomy = _taxonomy(root, problems)
        bibliography, found = citations.read(root / BIBLIOGRAPHY, BIBLIOGRAPHY)
        problems += found
        records: dict[str, dict[str, Record]] = {cls.kind: {} for cls in KINDS}
        files: dict[str, str] = {}
        for cls in KINDS:
            for path in sorted((root / "catalog" / cls.folder).glob("*.y*ml")):
                file = path.relative_to(root).as_posix()
                record = _record(cls, path, file, problems)
                if record is None:
                    continue
                if record.id in files:
                    problems.append(Problem(file, "", f"the id {record.id} is taken by {files[record.id]}"))
                    continue
                records[cls.kind][record.id] = record
                files[record.id] = file
        catalog = Catalog(records, files, taxonomy, bibliography, problems)
        catalog.problems += check(catalog)
    return catalog


def read_one(path: Path, file: str) -> tuple[Record | None, list[Problem]]:
    """Read one record file by itself; its kind is the name of the folder it lies in.

    References and words are not resolved: `read` does that for the whole catalog.
    """
    kinds = {cls.folder: cls for cls in KINDS}
    folder = path.resolve().parent.name
    problems: list[Problem] = []
    if folder not in kinds:
        hint = did_you_mean(near_misses(folder, kinds)) or f"; one of {', '.join(kinds)}"
        return None, [Problem(file, "", f"the folder {folder} is no kind of record{hint}")]
    return _record(kinds[folder], path, file, problems), problems


def parse_yaml(path: Path, file: str) -> dict[str, Any]:
    """Read one YAML file that holds a mapping.

    Raises:
        Problem: it is no YAML, or no mapping; the message has the line.
    """
    try:
        data = yaml.load(path.read_bytes(), Loader=_Loader)  # noqa: S506  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise Problem(file, "", f"not valid YAML{where}: {error.problem or error.context}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Problem(file, "", f"not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise Problem(file, "", f"expected fields like `name: ...`, found {type(data).__name__}")
    return data


def _record(cls: type[Record], path: Path, file: str, problems: list[Problem]) -> Record | None:
    try:
        data = parse_yaml(path, file)
    except Problem as problem:
        problems.append(problem)
        return None
    if "id" in data:
        problems.append(Problem(file, "id", "leave it out: the file's name is the id"))
        return None
    try:
        return cls.model_validate(data | {"id": path.stem})
    except pydantic.ValidationError as error:
        problems += typing_problems(cls, error, file)
        return None


def _taxonomy(root: Path, problems: list[Problem]) -> Taxonomy:
    try:
        return Taxonomy.model_validate(parse_yaml(root / TAXONOMY, TAXONOMY))
    except Problem as problem:
        problems.append(problem)
    except FileNotFoundError:
        problems.append(Problem(TAXONOMY, "", "the file is missing"))
    except pydantic.ValidationError as error:
        problems += typing_problems(Taxonomy, error, TAXONOMY)
    return Taxonomy(sources={}, facets={})


def typing_problems(cls: type[pydantic.BaseModel], error: pydantic.ValidationError, file: str) -> list[Problem]:
    """Turn pydantic's errors into problems with near misses for unknown fields."""
    problems = []
    for detail in error.errors():
        location, message = detail["loc"], detail["msg"]
        path = field_path(location)
        if detail["type"] == "extra_forbidden":
            known = _fields_at(cls, location[:-1])
            message = f"no such field{_offer(str(location[-1]), known)}"
        elif detail["type"] == "missing":
            message = "the field is missing"
        elif detail["type"] == "union_tag_invalid":
            context = detail.get("ctx", {})
            tag, expected = str(context.get("tag")), str(context.get("expected_tags", ""))
            names = [name.strip(" '") for name in expected.split(",")]
            message = f"{tag!r} is unknown{_offer(tag, names)}"
        elif detail["type"] == "literal_error":
            expected = str(detail.get("ctx", {}).get("expected", "")).replace(" or ", ", ")
            names = [name.strip(" '") for name in expected.split(",")]
            message = f"{detail['input']!r} is unknown{_offer(str(detail['input']), names)}"
        elif detail["type"] == "string_pattern_mismatch":
            message = f"{detail['input']!r} has not the form {detail.get('ctx', {}).get('pattern')}"
        elif detail["type"] == "string_type" and isinstance(detail["input"], int | float):
            message = f"expected text, found the number {detail['input']}: put it in quotes"
        elif detail["type"] == "value_error":
            message = str(detail.get("ctx", {}).get("error", message))
        problems.append(Problem(file, path, message[0].lower() + message[1:]))
    return problems


def _offer(word: str, known: Collection[str]) -> str:
    """Return the tail of a sentence with near misses or, where there are none, all of a short list."""
    short = f"; one of {', '.join(sorted(known))}" if 0 < len(known) < 20 else ""
    return did_you_mean(near_misses(word, known)) or short


def field_path(location: tuple[int | str, ...]) -> str:
    """Return a field path as records write it.

    >>> field_path(("training", "data", 0, "dataset"))
    'training.data[0].dataset'
    """
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _fields_at(cls: type[pydantic.BaseModel], location: tuple[int | str, ...]) -> set[str]:
    """Return the fields that exist where `location` points; unions give the fields of all their members."""
    from medfm.catalog.rules import parts_of

    classes = {cls}
    for part in location:
        if isinstance(part, int):
            continue
        reached = {
            inner
            for outer in classes
            if part in outer.model_fields
            for inner in parts_of(outer.model_fields[part].annotation)
        }
        tagged = {c for c in classes if part in _tags(c)}
        classes = reached or tagged or classes
    return {field.alias or name for c in classes for name, field in c.model_fields.items()}


def _tags(cls: type[pydantic.BaseModel]) -> set[object]:
    return {cls.model_fields[name].default for name in ("family", "kind", "step") if name in cls.model_fields}


@contextmanager
def _collector_off() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
