"""What a model needs of its input: the command `contract`."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

from medfm.catalog.facets import as_text
from medfm.catalog.index import Index
from medfm.cli import printing
from medfm.cli.arguments import Parser, add_formats
from medfm.cli.options import add_options, options
from medfm.errors import CapabilityError, UsageError


def contract(arguments: list[str]) -> int:
    parser = Parser(
        "contract",
        "Show what a model needs of its input, step by step, what it gives, and the hash over both.",
        ["deepbet", "deepbet --explain t1.nii.gz", "sceptr --json", "--disagreements", "virchow2 --disagreements"],
    )
    parser.add_argument("model", nargs="?", help="id of a model; may be left out with --disagreements")
    parser.add_argument("--disagreements", action="store_true",
                        help="where other libraries run a model otherwise than its authors, and what medfm does")  # fmt: skip
    parser.add_argument("--explain", metavar="FILE", help="run the steps on a file and say what each did to it")
    add_formats(parser)
    add_options(parser)
    given = parser.parse_args(arguments)
    if given.disagreements:
        return _disagreements(given)
    if given.model is None:
        raise UsageError("name a model, such as: medfm contract deepbet")
    with Index.open() as index:
        record = index.record(given.model)
    if not record.get("contract"):
        raise CapabilityError(record["id"], "be run yet, so it has no contract", ())
    if given.explain:
        return _explain(record["id"], given)
    if given.format == "json":
        print(printing.as_json({key: record[key] for key in ("id", "contract", "input", "output")}))
        return 0
    if given.format == "csv":
        steps = [{"part": "input", "name": step["step"], "values": _values(step)} for step in record["input"]]
        gives = [{"part": "output", "name": name, "values": _values(v)} for name, v in record["output"].items() if v]
        printing.rows(steps + gives, ["part", "name", "values"], "csv")
        return 0
    print(f"{record['name']}   contract {record['contract']}\n\ninput")
    for number, step in enumerate(record["input"], start=1):
        print(f"  {number}. {step['step']}: {_values(step)}")
    print("\noutput")
    for name, values in record["output"].items():
        if values:
            print(f"  {name}: {_values(values)}")
    parity = record["parity"]
    print(f"\nparity with the authors' code: {parity['status']}")
    if parity["reference"]:
        reference = parity["reference"]
        source = (
            f"{reference['distribution']}=={reference['version']}"
            if reference["distribution"]
            else reference["repository"]
        )
        print(
            f"  against {source}: largest difference {parity['largest_difference']:g}, tolerance {parity['tolerance']:g}"
        )
    return 0


def _disagreements(given: Namespace) -> int:
    """List what other libraries do otherwise, of one model or of all."""
    with Index.open() as index:
        records = [index.record(given.model)] if given.model else list(index.records("model"))
    lines = []
    for record in records:
        for item in record["disagreements"]:
            source, _, place = item["source"].partition(":")
            read = record["sources"][source.strip()]
            commit = f" at {read['commit'][:12]}" if read.get("commit") else ""
            lines.append(
                {
                    "model": record["id"],
                    "about": item["about"],
                    "authors": item["authors"],
                    "library": item["library"],
                    "theirs": item["theirs"],
                    "medfm": item["ours"] or "as the authors",
                    "read in": f"{read['url'] or read['cite']}{commit}{', ' + place.strip() if place else ''}",
                }
            )
    if not lines and given.model:
        print(f"no disagreement of other libraries with the authors of {given.model} is recorded", file=sys.stderr)
    printing.rows(lines, ["model", "about", "authors", "library", "theirs", "medfm", "read in"], given.format)
    return 0


def _values(step: dict[str, Any]) -> str:
    parts = []
    for name, value in step.items():
        if name in ("step", "kind") or value is None or value == "":
            continue
        if isinstance(value, list) and value and isinstance(value[0], dict):
            inner = "; ".join(f"{item['step']}({_values(item)})" for item in value)
            parts.append(f"{name} [{inner}]")
        elif isinstance(value, dict) and value and all(isinstance(v, list) for v in value.values()) and name == "paths":
            parts += [
                f"{key} <- " + "; ".join(f"{i['step']}({_values(i)})" for i in items) for key, items in value.items()
            ]
        else:
            parts.append(f"{name} {as_text(value)}")
    return ", ".join(parts)


def _explain(id: str, given: Namespace) -> int:
    from medfm.runtime.explaining import explain
    from medfm.runtime.loading import load

    lines = explain(load(id, offline=given.offline), given.explain, **options(given))
    printing.rows(lines, ["step", "shape", "range", "effect"], given.format)
    return 0
