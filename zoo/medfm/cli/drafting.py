"""`medfm draft`: a first record from a hub's card and metadata, or from what a registry knows of a paper."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from medfm import content
from medfm.cli.arguments import Parser


def draft(arguments: list[str]) -> int:
    parser = Parser(
        "draft",
        "Write a first record of a model from what its hub repository says (commit, files with sha256, license, gate, task), or "
        "from its paper (title, authors, venue; the BibTeX entry goes into survey/references.bib). What these do not say is left "
        "out, or left to you as a comment; `medfm check FILE` tells what is missing.",
        ["model --hub owkin/phikon-v2", "model --paper 10.1038/s41591-024-02857-3", "model --paper 2308.15474 -o -"],
    )
    parser.add_argument("kind", choices=["model"], help="what to draft")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--hub", metavar="ORG/NAME", help="repository of the hub")
    source.add_argument("--paper", metavar="DOI|ARXIV", help="DOI or arXiv number of the paper")
    parser.add_argument(
        "-o", "--output", type=Path, help="file (default: catalog/models/<id>.yaml of the checkout; - prints it)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    given = parser.parse_args(arguments)
    from medfm.catalog.export import write
    from medfm.catalog.store import Catalog

    entry = ""
    if given.hub:
        from medfm.runtime.drafts import from_hub

        id, text = from_hub(given.hub, Catalog.load())
    else:
        from medfm.runtime.papers import draft as from_paper

        id, text, entry = from_paper(given.paper, Catalog.load())
    if given.output is not None and str(given.output) == "-":
        print(text + (f"\n# for survey/references.bib\n{entry}" if entry else ""), end="")
        return 0
    path = write(given.output or content.root() / "catalog" / "models" / f"{id}.yaml", text, overwrite=given.overwrite)
    if entry:
        _add_entry(entry)
    print(path)
    print(f"now fill in what the comments ask for, then run: medfm check {path}", file=sys.stderr)
    return 0


def _add_entry(entry: str) -> None:
    """Add an entry to the bibliography, whose entries are sorted by key."""
    from medfm.files import writing

    path = content.root() / "survey" / "references.bib"
    text = path.read_text(encoding="utf-8")
    starts = [(match.group(1), match.start()) for match in re.finditer(r"(?m)^@\w+\{([^,\s]+),", text)]
    key = entry.partition("{")[2].partition(",")[0]
    at = next((start for known, start in starts if known > key), len(text))
    before = text[:at].rstrip("\n")
    joined = "\n\n".join(part for part in (before, entry.rstrip("\n"), text[at:].rstrip("\n")) if part)
    with writing(path, overwrite=True) as temporary:
        temporary.write_text(joined + "\n", encoding="utf-8")
