"""Was this test set seen in training: by the model, by any model it was made from, through any dataset made from another?

Works on edges and JSON records, so the command line asks the index and imports no record types. Four answers are kept apart:
an overlap that follows from the records, one that is possible (the same patients, or two parts of one dataset), none known
although all training data are named, and training data that are not named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["overlap", "possible", "none known", "undisclosed"]
_ORDER: dict[Verdict, int] = {"overlap": 0, "possible": 1, "undisclosed": 2, "none known": 3}

# What is in the first dataset comes from the second. (`contains` says the same the other way round.)
_FROM = ("subset-of", "derived-from", "annotates")
_ANCESTRY = ("initialized-from", "finetuned-from", "distilled-from", "uses-encoder", "merged-from")


@dataclass(frozen=True)
class Step:
    """One reference on the way from the model to the test set.

    Attributes:
        source, relation, target: such as "conch", "trained-on:pretraining", "pmc-oa".
        details: split or part, where the record names it.
        read_at: the evidence of the record that holds the reference.
    """

    source: str
    relation: str
    target: str
    details: str
    read_at: str


@dataclass(frozen=True)
class Exposure:
    """One answer, with the way that leads to it.

    Attributes:
        verdict: see the module.
        path: from the model to the dataset; empty for "none known".
        sentence: the answer in words.
    """

    verdict: Verdict
    path: tuple[Step, ...]
    sentence: str


def exposures(
    model: str,
    dataset: str,
    edges: Iterable[Mapping[str, str]],
    record: Callable[[str], Mapping[str, Any]],
) -> list[Exposure]:
    """Return every way in which a model may have seen a dataset, the most certain first; never an empty list.

    Args:
        model: id of the model that is tested.
        dataset: id of the dataset that it is tested on.
        edges: all references, as `Index.edges` gives them.
        record: gives a record's JSON values by its id.
    """
    known = [*edges]
    above = _sources(known)
    relatives = {frozenset((e["source"], e["target"])) for e in known if e["relation"] == "same-cohort-as"}
    found: list[Exposure] = []
    ways = _ancestors(model, known, record)
    for ancestor, way in ways.items():
        for edge in known:
            if edge["source"] == ancestor and edge["relation"].startswith("trained-on:"):
                step = _step(edge, record)
                link = _between(edge["target"], dataset, above, relatives, record)
                if link is not None:
                    verdict, steps = link
                    path = (*way, step, *steps)
                    found.append(Exposure(verdict, path, _sentence(verdict, model, dataset, path)))
    for ancestor, way in ways.items():
        missing = _missing(record(ancestor))
        if missing:
            whose = (
                "its training data are" if ancestor == model else f"the training data of its ancestor {ancestor} are"
            )
            found.append(Exposure("undisclosed", way, f"{model}: {whose} {missing}, so nothing can be ruled out"))
    if not found:
        sentence = f"{model} and its ancestors name all their training data; none of it is known to share anything with {dataset}"
        trained = {e["target"] for e in known if e["source"] in ways and e["relation"].startswith("trained-on:")}
        closed = sorted(id for id in trained if (record(id).get("access") or {}).get("status") == "closed")
        if closed:
            verb = "is" if len(closed) == 1 else "are"
            sentence += f"; of {', '.join(closed)}, which {verb} closed, only what the authors say is known"
        found.append(Exposure("none known", (), sentence))
    return sorted(found, key=lambda exposure: (_ORDER[exposure.verdict], len(exposure.path)))


def _ancestors(
    model: str, edges: list[Mapping[str, str]], record: Callable[[str], Mapping[str, Any]]
) -> dict[str, tuple[Step, ...]]:
    """Return the model and everything it was made from, each with the shortest way there."""
    ways: dict[str, tuple[Step, ...]] = {model: ()}
    waiting = [model]
    while waiting:
        node = waiting.pop(0)
        for edge in edges:
            if edge["source"] == node and edge["relation"] in _ANCESTRY and edge["target"] not in ways:
                ways[edge["target"]] = (*ways[node], _step(edge, record))
                waiting.append(edge["target"])
    return ways


def _sources(edges: list[Mapping[str, str]]) -> dict[str, list[tuple[str, Mapping[str, str]]]]:
    """Return, for each dataset, the datasets that what is in it comes from."""
    above: dict[str, list[tuple[str, Mapping[str, str]]]] = {}
    for edge in edges:
        if edge["relation"] in _FROM:
            above.setdefault(edge["source"], []).append((edge["target"], edge))
        elif edge["relation"] == "contains":
            above.setdefault(edge["target"], []).append((edge["source"], edge))
    return above


def _origins(
    dataset: str, above: Mapping[str, list[tuple[str, Mapping[str, str]]]], record: Callable[[str], Mapping[str, Any]]
) -> dict[str, tuple[Step, ...]]:
    """Return the dataset and everything that its contents come from, each with the way there."""
    ways: dict[str, tuple[Step, ...]] = {dataset: ()}
    waiting = [dataset]
    while waiting:
        node = waiting.pop(0)
        for origin, edge in above.get(node, ()):
            if origin not in ways:
                ways[origin] = (*ways[node], _step(edge, record))
                waiting.append(origin)
    return ways


def _between(
    trained: str,
    tested: str,
    above: Mapping[str, list[tuple[str, Mapping[str, str]]]],
    relatives: set[frozenset[str]],
    record: Callable[[str], Mapping[str, Any]],
) -> tuple[Verdict, tuple[Step, ...]] | None:
    """Return how two datasets share data: one comes from the other, both from a third, or from the same patients."""
    of_trained, of_tested = _origins(trained, above, record), _origins(tested, above, record)
    if tested in of_trained:
        return "overlap", of_trained[tested]
    if trained in of_tested:
        return "overlap", of_tested[trained]
    common = [origin for origin in of_trained if origin in of_tested]
    if common:
        return "possible", (*of_trained[common[0]], *of_tested[common[0]])
    for a, way in of_trained.items():
        for b, other in of_tested.items():
            if frozenset((a, b)) in relatives:
                return "possible", (*way, Step(a, "same-cohort-as", b, "", _evidence(record(a))), *other)
    return None


def _step(edge: Mapping[str, str], record: Callable[[str], Mapping[str, Any]]) -> Step:
    read_at = _evidence(
        record(edge["source"]), "training.data" if edge["relation"].startswith("trained-on") else "derived_from"
    )
    return Step(edge["source"], edge["relation"], edge["target"], edge["details"], read_at)


def _evidence(record: Mapping[str, Any], field: str = "derived_from") -> str:
    notes = {**record["derived"], **record["evidence"]}
    return next((str(notes[path]) for path in (field, field.partition(".")[0], f"{field}[0]") if path in notes), "")


def _missing(record: Mapping[str, Any]) -> str:
    """Return how a model's training data are missing; "" when they are named."""
    training = record.get("training") or {}
    if training.get("data"):
        return ""
    hidden = {"training", "training.data"} & {*record["undisclosed"]}
    return "undisclosed" if hidden else "not looked up yet"


def _sentence(verdict: Verdict, model: str, dataset: str, path: tuple[Step, ...]) -> str:
    trained = next(step for step in path if step.relation.startswith("trained-on:"))
    who = model if trained.source == model else f"{trained.source}, which {model} was made from,"
    role = trained.relation.partition(":")[2]
    what = trained.target + (f" ({trained.details})" if trained.details else "")
    if trained.target == dataset:
        return f"{who} saw {what} itself in {role}; compare the splits"
    how = "shares data with" if verdict == "overlap" else "may share data or patients with"
    return f"{who} saw {what} in {role}, which {how} {dataset}"
