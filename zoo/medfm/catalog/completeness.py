"""How much of a record was looked up: the state of each field, and the share of the fields that matter.

Works on the record's JSON values (`model_dump(mode="json")`, or what the index gives) and imports no pydantic, so the
command line can use it for look-ups.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["value", "undisclosed", "not applicable", "not looked up"]

MEANING: dict[State, str] = {
    "value": "Read at a source, or derived from what was.",
    "undisclosed": "Looked for in the sources of this record; they do not say.",
    "not applicable": "Has no meaning for this record.",
    "not looked up": "Nobody has looked for it yet; it may well be published.",
}
"""What each state says, for legends and tooltips."""

CORE: dict[str, tuple[str, ...]] = {
    "model": (
        "release.year",
        "organizations",
        "category",
        "modalities",
        "tasks",
        "architecture",
        "parameters",
        "training.data",
        "training.methods",
        "license.weights",
        "license.code",
        "license.gate",
        "links",
        "papers",
    ),
    "dataset": (
        "year",
        "organizations",
        "modalities",
        "tasks",
        "size",
        "labels",
        "access.status",
        "access.license",
        "collected",
        "links",
        "papers",
    ),
    "metric": ("tasks", "definition", "range", "direction", "aggregation", "pitfalls", "implementation", "papers"),
    "challenge": ("question", "findings", "approaches", "open_questions"),
    "competition": (
        "year",
        "organizers",
        "datasets",
        "tasks",
        "metrics",
        "ranking",
        "participants",
        "winners",
        "links",
    ),
    "results": ("source", "tables"),
    "sample": ("origin", "license", "modalities", "anatomy", "shows"),
}
"""Kind -> the fields that count; a record without one of them is usable, but says less than it should."""

# Fields that say the same thing in another way: one of them is enough.
_INSTEAD = {"labels": "label_count"}


@dataclass(frozen=True)
class Completeness:
    """The states of the core fields of one record."""

    states: Mapping[str, State]

    @property
    def known(self) -> int:
        """How many fields were looked up: undisclosed and not applicable are answers, too."""
        return sum(state != "not looked up" for state in self.states.values())

    @property
    def total(self) -> int:
        """How many fields count."""
        return len(self.states)

    @property
    def percent(self) -> int:
        """The share of fields that were looked up, rounded down, so that 100 means all."""
        return 100 * self.known // self.total if self.total else 100

    @property
    def missing(self) -> list[str]:
        """The fields that nobody has looked up yet."""
        return [field for field, state in self.states.items() if state == "not looked up"]


def completeness(record: Mapping[str, Any], kind: str) -> Completeness:
    """Return the states of the core fields of a record of that kind.

    >>> completeness({"question": "Why?", "findings": []}, "challenge").missing
    ['findings', 'approaches', 'open_questions']
    """
    return Completeness({field: _core_state(record, field) for field in CORE[kind]})


def state(record: Mapping[str, Any], path: str) -> State:
    """Return the state of the field at a path such as `training.data[0].amount`.

    >>> state({"training": {"data": []}, "undisclosed": ["training"]}, "training.data")
    'undisclosed'
    """
    if has_value(_value(record, path)):
        return "value"
    if any(_covers(above, path) for above in record.get("undisclosed", ())):
        return "undisclosed"
    if any(_covers(above, path) for above in record.get("not_applicable", ())):
        return "not applicable"
    return "not looked up"


def has_value(value: object) -> bool:
    """Return whether a JSON value says anything: empty texts, lists and objects of nothing do not, 0 and False do."""
    if isinstance(value, Mapping):
        return any(has_value(inner) for inner in value.values())
    if isinstance(value, list | tuple):
        return len(value) > 0
    return value is not None and value != ""


def _core_state(record: Mapping[str, Any], field: str) -> State:
    instead = _INSTEAD.get(field)
    if instead and has_value(record.get(instead)):
        return "value"
    return state(record, field)


def _covers(above: str, path: str) -> bool:
    return path == above or path.startswith((above + ".", above + "["))


def _value(record: object, path: str) -> object:
    for part in re.findall(r"[^.\[\]]+", path):
        if isinstance(record, Mapping):
            record = record.get(part)
        elif isinstance(record, list | tuple) and part.isdigit() and int(part) < len(record):
            record = record[int(part)]
        else:
            return None
    return record


def report(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return completeness by kind and field as text: filled, undisclosed, not applicable and not looked up, in percent.

    Args:
        records: kind -> records as JSON values.
    """
    lines = []
    for kind, found in records.items():
        if not found:
            continue
        states = [completeness(record, kind).states for record in found]
        looked_up = sum(c != "not looked up" for s in states for c in s.values())
        total = sum(len(s) for s in states)
        lines.append(f"\n{kind}: {len(found)} records, {100 * looked_up / total:.1f} % of the core fields looked up")
        lines.append(f"  {'field':<20}{'filled':>10}{'undisclosed':>13}{'not appl.':>11}{'not looked up':>15}")
        for field in CORE[kind]:
            counts = [sum(s[field] == state for s in states) for state in MEANING]
            shares = [f"{100 * count / len(found):.0f} %" for count in counts]
            lines.append(f"  {field:<20}{shares[0]:>10}{shares[1]:>13}{shares[2]:>11}{shares[3]:>15}")
    return "\n".join(lines)
