"""Generated blocks in the documentation: what stands between `<!-- block: NAME -->` and `<!-- end -->` is made here.

Usage: python scripts/blocks.py [--check]
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

from medfm import Catalog
from medfm.catalog.completeness import CORE, completeness
from medfm.catalog.facets import KIND_NAMES
from medfm.catalog.graph import edges
from medfm.catalog.indexing import to_json
from medfm.catalog.records import Model
from medfm.cli import COMMANDS

ROOT = Path(__file__).parents[1]
FILES = ("README.md", "CONTRIBUTING.md", "catalog/README.md", "site/text/architecture.md")


def commands(_: Catalog) -> str:
    """Return the commands with their one line of help."""
    return "\n".join(
        ["| command | what it does |", "| --- | --- |", *(f"| `medfm {n}` | {t} |" for n, (_, t) in COMMANDS.items())]
    )


def counts(catalog: Catalog) -> str:
    """Return how many records there are, and how much of them was looked up."""
    lines = ["| kind | records | core fields looked up |", "| --- | ---: | ---: |"]
    for kind, records in catalog.records.items():
        values = [completeness(to_json(r, catalog.files[r.id]), kind) for r in records.values()]
        known, total = sum(v.known for v in values), sum(v.total for v in values)
        lines.append(f"| {KIND_NAMES[kind]} | {len(values)} | {100 * known / total:.0f} % |")
    lineage = sum(len(dataset.derived_from) for dataset in catalog.datasets.values())
    scores = sum(len(table.scores) for results in catalog.results.values() for table in results.tables)
    lines += [
        "",
        f"{scores} published scores, {lineage} edges of lineage between datasets, {len(edges(catalog))} references in all, "
        f"{len(catalog.bibliography)} papers.",
    ]
    return "\n".join(lines)


def loadable(catalog: Catalog) -> str:
    """Return the models that `medfm.load` runs, with their parity."""
    lines = ["| model | does | parity with the authors' code | largest difference |", "| --- | --- | --- | ---: |"]
    for model in catalog.select("model", loadable=True):
        assert isinstance(model, Model)
        reference = model.parity.reference
        against = f"{reference.distribution} {reference.version}" if reference and reference.distribution else ""
        difference = "" if model.parity.largest_difference is None else f"{model.parity.largest_difference:g}"
        lines.append(
            f"| `{model.id}` | {', '.join(model.tasks)} | {model.parity.status} against {against} | {difference} |"
        )
    return "\n".join(lines)


def core(_: Catalog) -> str:
    """Return the fields that count for completeness."""
    return "\n".join(
        f"- **{KIND_NAMES[kind]}**: {', '.join(f'`{field}`' for field in fields)}" for kind, fields in CORE.items()
    )


BLOCKS: dict[str, Callable[[Catalog], str]] = {
    "commands": commands,
    "counts": counts,
    "loadable": loadable,
    "core": core,
}


def main() -> int:
    """Fill the blocks, or check them; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a block is out of date")
    check = parser.parse_args().check
    catalog = Catalog.load(ROOT)
    stale = []
    for name in FILES:
        path = ROOT / name
        text = path.read_text(encoding="utf-8")

        def fill(match: re.Match[str], name: str = name) -> str:
            if match.group(1) not in BLOCKS:
                raise SystemExit(f"{name}: there is no block {match.group(1)!r}; one of {', '.join(BLOCKS)}")
            return f"<!-- block: {match.group(1)} -->\n{BLOCKS[match.group(1)](catalog)}\n<!-- end -->"

        new = re.sub(r"<!-- block: ([\w-]+) -->\n.*?<!-- end -->", fill, text, flags=re.DOTALL)
        if new != text:
            stale.append(name)
            if not check:
                path.write_text(new, encoding="utf-8")
    for name in stale:
        print(f"{name}: {'out of date; run: python scripts/blocks.py' if check else 'written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
