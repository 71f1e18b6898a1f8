"""`medfm pages`: the site as plain Markdown and JSON."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

_EXAMPLES = """\
examples:
  medfm pages                        write site/pages of the checkout (elsewhere ./medfm-pages)
  medfm pages --output /tmp/pages    write them to another folder
  medfm pages --check                write nothing; exit with 1 when a page is not up to date

The pages are Markdown and JSON. `make site` renders them with mkdocs-material to site/build.
"""


def pages(arguments: list[str]) -> int:
    """Write the site's pages, or check that they are up to date; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="medfm pages",
        description="Write plain Markdown and JSON for every record, the survey's chapters and one table a kind.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        help="the folder to write; it must be new, empty, or made by this command "
        "(default: site/pages of the checkout, else ./medfm-pages)",
    )
    parser.add_argument("--check", action="store_true", help="write nothing; list the files that are not up to date")
    options = parser.parse_args(arguments)

    from medfm import content
    from medfm.catalog.store import Catalog
    from medfm.publishing.pages import write

    root = content.root()
    in_checkout = (root / "site" / "mkdocs.yml").exists()
    target = options.output or (root / "site" / "pages" if in_checkout else Path("medfm-pages"))
    found = write(Catalog.load(), root, target, check=options.check)
    if options.check:
        for path in found:
            print(path)
        print(f"{len(found)} of the files are not up to date" if found else f"{target} is up to date", file=sys.stderr)
        return 1 if found else 0
    count = sum(path.suffix == ".md" for path in found)
    print(f"{target}: {count} pages, {len(found) - count} other files", file=sys.stderr)
    return 0
