"""Commands for people who write records: check, schema, export."""

from __future__ import annotations

import sys
from pathlib import Path

from medfm import content
from medfm.cli import printing
from medfm.cli.arguments import Parser, add_formats
from medfm.errors import CatalogError, Problem, UsageError


def check(arguments: list[str]) -> int:
    parser = Parser(
        "check",
        "Check the catalog and say everything that is wrong with it, each with file, field and what to do.",
        ["", "catalog/models/uni2-h.yaml", "--report", "--json"],
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="only the problems of these files")
    parser.add_argument("--root", type=Path, help="another folder with catalog/ and survey/")
    parser.add_argument("--report", action="store_true", help="print completeness by kind and field too")
    add_formats(parser)
    given = parser.parse_args(arguments)
    from medfm.catalog.store import read

    root = given.root or content.root()
    for file in given.files:
        if not Path(file).is_file():
            raise UsageError(f"{file}: there is no such file")
    catalog = read(root)
    problems = catalog.problems
    if given.files:
        names = {Path(file).resolve() for file in given.files}
        outside = [name for name in names if not name.is_relative_to(root.resolve())]
        problems = [p for p in problems if (root / p.file).resolve() in names]
        problems += [problem for name in outside for problem in _alone(name)]
    if given.format:
        rows = [{"file": p.file, "field": p.field, "problem": p.what} for p in problems]
        printing.rows(rows, ["file", "field", "problem"], given.format)
    else:
        for problem in problems:
            print(problem)
        counts = ", ".join(f"{len(records)} {kind}" for kind, records in catalog.records.items() if records)
        said = str(CatalogError(problems)).splitlines()[0] if problems else "no problems"
        print(f"{said}; {counts} records", file=sys.stderr)
    if given.report:
        from medfm.catalog.completeness import report
        from medfm.catalog.indexing import to_json

        print(report({k: [to_json(r, catalog.files[r.id]) for r in rs.values()] for k, rs in catalog.records.items()}))
    return 1 if problems else 0


def _alone(path: Path) -> list[Problem]:
    """Check a file outside the catalog by itself: fields and types, not references."""
    from medfm.catalog.store import read_one

    return read_one(path, str(path))[1]


def schema(arguments: list[str]) -> int:
    parser = Parser(
        "schema",
        "Write the JSON Schema of every kind of record, for editors and other programs.",
        ["", "--check", "--print model"],
    )
    parser.add_argument("--output", type=Path, help="folder (default: catalog/schema of the checkout)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is out of date")
    parser.add_argument("--print", dest="kind", help="print the schema of one kind instead")
    given = parser.parse_args(arguments)
    from medfm.catalog.export import schemas

    found = schemas()
    if given.kind:
        from medfm.catalog.facets import kind_named

        print(found[kind_named(given.kind)], end="")
        return 0
    folder = given.output or content.root() / "catalog" / "schema"
    stale = [
        kind for kind, text in found.items()
        if not (folder / f"{kind}.json").exists() or (folder / f"{kind}.json").read_text(encoding="utf-8") != text
    ]  # fmt: skip
    if given.check:
        for kind in stale:
            print(f"{folder / kind}.json is out of date; run: medfm schema")
        return 1 if stale else 0
    from medfm.catalog.export import write

    for kind in stale:
        print(write(folder / f"{kind}.json", found[kind], overwrite=True))
    return 0


def export(arguments: list[str]) -> int:
    parser = Parser(
        "export",
        "Export the whole catalog, or one kind, to a file.",
        ["catalog.json", "models.csv --kind models", "catalog.sqlite", "references.bib"],
    )
    parser.add_argument("file", type=Path, help="file to write; its suffix chooses json, csv, sqlite or bib")
    parser.add_argument("--kind", help="only one kind; needed for CSV")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    given = parser.parse_args(arguments)
    from medfm.catalog.export import export as export_catalog
    from medfm.catalog.facets import kind_named
    from medfm.catalog.store import Catalog

    path = export_catalog(
        Catalog.load(), given.file, kind=kind_named(given.kind) if given.kind else None, overwrite=given.overwrite
    )
    print(path)
    return 0
