"""`medfm draft`: a first record from a hub's card and metadata."""

from __future__ import annotations

import sys
from pathlib import Path

from medfm import content
from medfm.cli.arguments import Parser


def draft(arguments: list[str]) -> int:
    parser = Parser(
        "draft",
        "Write a first record of a model from what its hub repository says: commit, files with sha256, license, gate, task. What "
        "the hub does not say is left out, or left to you as a comment; `medfm check FILE` tells what is missing.",
        ["model --hub owkin/phikon-v2", "model --hub owkin/phikon-v2 -o catalog/models/phikon-v2.yaml"],
    )
    parser.add_argument("kind", choices=["model"], help="what to draft")
    parser.add_argument("--hub", required=True, metavar="ORG/NAME", help="repository of the hub")
    parser.add_argument(
        "-o", "--output", type=Path, help="file (default: catalog/models/<id>.yaml of the checkout; - prints it)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    given = parser.parse_args(arguments)
    from medfm.catalog.export import write
    from medfm.catalog.store import Catalog
    from medfm.runtime.drafts import from_hub

    id, text = from_hub(given.hub, Catalog.load())
    if given.output is not None and str(given.output) == "-":
        print(text, end="")
        return 0
    path = write(given.output or content.root() / "catalog" / "models" / f"{id}.yaml", text, overwrite=given.overwrite)
    print(path)
    print(f"now fill in what the comments ask for, then run: medfm check {path}", file=sys.stderr)
    return 0
