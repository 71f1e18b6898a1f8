"""What records can be filtered by: the same words in Python, on the command line and on the site.

This module holds names and help texts only, so that the command line can show them without importing the record types.
"""

from __future__ import annotations

# kind -> filter -> what it means. Filters that name a facet of the taxonomy also find everything below the word.
FACETS: dict[str, dict[str, str]] = {
    "model": {
        "category": "the survey's class: pretrained, vision, vision-language, multimodal, language",
        "domain": "medical or general",
        "modality": "what it reads, such as ct, chest-x-ray, ecg",
        "anatomy": "the part of the body, such as brain, lung",
        "dimension": "1d, 2d, 3d, video, text, graph, table",
        "task": "what it does, such as segmentation, classification",
        "architecture": "family of networks, such as vit, clip",
        "method": "how it was trained, such as self-supervised",
        "objective": "training objective, such as dinov2, mae",
        "status": "open, gated, closed or withdrawn",
        "gate": "what the weights ask for: none, form, approval, credentialed",
        "license": "license of the weights, such as Apache-2.0",
        "code-license": "license of the code",
        "organization": "who made it",
        "year": "year of release",
        "family": "loader family",
        "loadable": "yes or no: whether medfm.load runs it",
        "parity": "verified, recorded or untested",
        "trained-on": "id of a dataset it saw",
        "ancestor": "id of a model it was made from",
        "challenge": "id of a challenge it addresses",
    },
    "dataset": {
        "data-category": "the survey's kind of data: imaging, vision-language, ehr, physiological-signal, bioinformatics",
        "modality": "what it holds, such as ct, he, text",
        "anatomy": "the part of the body",
        "dimension": "1d, 2d, 3d, video, text, graph, table",
        "task": "what it is labeled for",
        "access": "open, registration, credentialed, request or closed",
        "license": "license of the data",
        "organization": "who published it",
        "country": "where it was collected (ISO 3166-1 alpha-2)",
        "year": "year of release",
        "origin": "id of a dataset it was made from",
    },
    "metric": {"task": "what it measures", "direction": "higher, lower or target"},
    "challenge": {"named-by": "survey or project"},
    "competition": {
        "series": "series of competitions, such as BraTS",
        "modality": "what the data show",
        "anatomy": "the part of the body",
        "task": "what was asked",
        "year": "year",
        "dataset": "id of a dataset",
        "metric": "id of a metric",
    },
    "results": {
        "dataset": "id of the tested dataset",
        "model": "id of a scored model",
        "metric": "id of a metric",
        "task": "what was tested",
        "setting": "zero-shot, few-shot, linear-probe, knn, finetune, ...",
        "reported-by": "first-party, third-party or measured",
    },
    "sample": {
        "modality": "what it shows",
        "anatomy": "the part of the body",
        "license": "license of the file",
        "model": "id of a model it suits",
    },
}

# Filters on numbers: filter -> (field, lowest or highest).
BOUNDS: dict[str, dict[str, tuple[str, str, str]]] = {
    "model": {
        "since": ("year", ">=", "released in this year or later"),
        "until": ("year", "<=", "released in this year or earlier"),
        "max-parameters": ("parameters", "<=", "at most this many weights, such as 300M"),
        "min-parameters": ("parameters", ">=", "at least this many weights"),
    },
    "dataset": {
        "since": ("year", ">=", "released in this year or later"),
        "until": ("year", "<=", "released in this year or earlier"),
    },
    "competition": {
        "since": ("year", ">=", "held in this year or later"),
        "until": ("year", "<=", "held in this year or earlier"),
    },
}

# Filter -> facet of the taxonomy whose words it takes, where the names differ.
VOCABULARY = {"code-license": "license"}

KIND_NAMES = {kind: ("results" if kind == "results" else f"{kind}s") for kind in FACETS}
"""Kind -> plural, as commands and pages call it."""


def kind_named(word: str) -> str:
    """Return the kind that a singular or plural names.

    >>> kind_named("datasets")
    'dataset'

    Raises:
        UnknownIdError: there is no such kind.
    """
    from medfm.errors import UnknownIdError, near_misses

    names = {name: kind for kind, plural in KIND_NAMES.items() for name in (kind, plural)}
    if word in names:
        return names[word]
    raise UnknownIdError("kind", word, near_misses(word, names) or sorted(KIND_NAMES.values()))


def number(text: str | float) -> float:
    """Return a number that may be written with K, M or B.

    >>> number("300M")
    300000000.0

    Raises:
        UsageError: it is no number.
    """
    from medfm.errors import UsageError

    factor = {"K": 1e3, "M": 1e6, "B": 1e9}.get(str(text)[-1:].upper(), 1.0)
    try:
        return float(str(text)[:-1] if factor != 1.0 else text) * factor
    except ValueError:
        raise UsageError(f"{text!r} is no number; write it like 2024 or 300M") from None


# kind -> column -> dotted path in the record's JSON: what `medfm list` shows. `*` joins over the items of a list.
COLUMNS: dict[str, dict[str, str]] = {
    "model": {
        "id": "id",
        "year": "release.year",
        "category": "category",
        "modalities": "modalities",
        "tasks": "tasks",
        "parameters": "parameters",
        "status": "release.status",
        "license": "license.weights",
        "loadable": "loadable",
    },
    "dataset": {
        "id": "id",
        "year": "year",
        "data category": "data_category",
        "modalities": "modalities",
        "tasks": "tasks",
        "access": "access.status",
        "license": "access.license",
    },
    "metric": {"id": "id", "name": "name", "tasks": "tasks", "range": "range", "direction": "direction"},
    "challenge": {"id": "id", "number": "number", "name": "name", "named by": "named_by"},
    "competition": {"id": "id", "year": "year", "series": "series", "tasks": "tasks", "datasets": "datasets"},
    "results": {
        "id": "id",
        "datasets": "tables.*.protocol.dataset",
        "metrics": "tables.*.metric",
        "models": "tables.*.scores.*.model",
    },
    "sample": {"id": "id", "name": "name", "modalities": "modalities", "license": "license", "models": "models"},
}


def value_at(record: object, path: str) -> object:
    """Return what lies at a dotted path of a record's JSON; a `*` collects over a list, each value once.

    >>> value_at({"tables": [{"metric": "dice"}, {"metric": "dice"}]}, "tables.*.metric")
    ['dice']
    """
    first, _, rest = path.partition(".")
    if first == "*":
        found: list[object] = []
        for item in record if isinstance(record, list) else []:
            value = value_at(item, rest)
            found += value if isinstance(value, list) else [value]
        return list(dict.fromkeys(found))
    inner = record.get(first) if isinstance(record, dict) else None
    return value_at(inner, rest) if rest and inner is not None else inner


def as_text(value: object, joint: str = ", ") -> str:
    """Return a JSON value as text; "" for what is absent."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return joint.join(as_text(item) for item in value)
    if isinstance(value, dict):
        return joint.join(f"{key} {as_text(item)}" for key, item in value.items() if item is not None)
    if isinstance(value, int) and abs(value) >= 100_000:
        return f"{value:,}" if joint == ", " else str(value)
    return str(value)
