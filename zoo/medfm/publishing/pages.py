"""The whole site as plain Markdown and JSON, written from the catalog; a renderer turns it into HTML.

`write` makes every file of `site/pages`: a page for each record, an index for each kind, the words, the survey's
chapters, the data files, and the navigation that `site/mkdocs.yml` inherits. The same catalog always gives the same
bytes.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from medfm.catalog.facets import KIND_NAMES
from medfm.catalog.store import Catalog
from medfm.errors import CatalogError, OutputExistsError, Problem
from medfm.publishing.chapters import FOLDER, articles, chapter_pages, title_of
from medfm.publishing.data_files import data_files
from medfm.publishing.disagreements import disagreements_page
from medfm.publishing.overviews import home_page, index_page, word_pages
from medfm.publishing.prose import quoted
from medfm.publishing.record_pages import record_page
from medfm.publishing.reference_pages import downloads_page, references_page, taxonomy_page, timeline_page
from medfm.publishing.site import Site

MARKER = ".medfm-pages"
"""A file in every folder that `write` made: only such a folder is ever replaced."""


def write(catalog: Catalog, root: Path, target: Path, *, check: bool = False) -> list[Path]:
    """Write all pages to `target`, or tell which of them are not as they should be.

    The pages are written beside the target and then put in its place, so a reader never sees half of them.

    Args:
        catalog: what the pages say.
        root: the content root: `survey/chapters` is read there and, where it exists, `site/text` and `site/assets`.
        target: the folder; it must not exist, be empty, or have been written by this function.
        check: write nothing.

    Returns:
        The files that were written or, with `check`, those that are missing, differ or do not belong; sorted.

    Raises:
        CatalogError: chapters name records, words, columns or references that do not exist.
        OutputExistsError: the target holds something else.
    """
    _refuse_foreign(target)
    made = dict(files(catalog, root))
    if check:
        return sorted(_differing(made, target))
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        fresh.chmod(0o755)  # mkdtemp hides it from everybody else
        for name, content in made.items():
            path = fresh / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        _swap(fresh, target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return sorted(target / name for name in made)


def files(catalog: Catalog, root: Path) -> Iterator[tuple[str, bytes]]:
    """Give every file of the site: its path and its bytes.

    Raises:
        CatalogError: chapters name something unknown.
    """
    site = Site(catalog)
    problems: list[Problem] = []
    chapters = list(chapter_pages(site, root, problems))
    written_on = articles(site, root, problems)
    if problems:
        raise CatalogError(problems)
    texts = sorted((root / "site" / "text").glob("*.md"))
    pages: list[tuple[str, str]] = [
        ("index.md", home_page(site, about=any(path.name == "about.md" for path in texts))),
        *chapters,
    ]
    pages += [(f"{KIND_NAMES[kind]}/index.md", index_page(site, kind)) for kind in catalog.records]
    pages += [(site.page(record.id), record_page(site, record, written_on.get(record.id, ""))) for record in site.all()]
    pages += word_pages(site)
    pages += [
        ("taxonomy.md", taxonomy_page(site)),
        ("timeline.md", timeline_page(site)),
        ("disagreements.md", disagreements_page(site)),
        ("references.md", references_page(site)),
        ("downloads.md", downloads_page(site)),
    ]
    pages += data_files(site)
    pages.append(("nav.yml", _navigation(root, texts)))
    pages.append((MARKER, "Written by `medfm pages`; whatever is changed here is lost with the next run.\n"))
    for name, text in pages:
        yield name, text.encode()
    for path in texts:
        yield path.name, path.read_bytes()
    assets = root / "site" / "assets"
    for path in sorted(assets.rglob("*")):
        if path.is_file():
            yield f"assets/{path.relative_to(assets).as_posix()}", path.read_bytes()


def _navigation(root: Path, texts: list[Path]) -> str:
    """Return the navigation for the renderer: record pages stay out, which keeps 2,000 of them fast to build."""
    chapters = [
        (title_of(path.read_text(encoding="utf-8")) or path.stem, f"survey/{path.name}") for path in _chapters(root)
    ]
    written = [(title_of(path.read_text(encoding="utf-8")) or path.stem, path.name) for path in texts]
    about = sorted(written, key=lambda entry: (entry[1] != "about.md", entry[1]))
    tabs: list[tuple[str, str | list[tuple[str, str]]]] = [
        ("Home", "index.md"),
        ("Models", "models/index.md"),
        ("Datasets", "datasets/index.md"),
        ("Results", "results/index.md"),
        ("Metrics", "metrics/index.md"),
        ("Survey", [("Overview", "survey/index.md"), *chapters]),
        (
            "Explore",
            [
                ("Tasks", "tasks/index.md"),
                ("Modalities", "modalities/index.md"),
                ("Challenges", "challenges/index.md"),
                ("Competitions", "competitions/index.md"),
                ("Samples", "samples/index.md"),
                ("Where libraries disagree", "disagreements.md"),
                ("Timeline", "timeline.md"),
                ("Taxonomy", "taxonomy.md"),
            ],
        ),
        ("About", [*about, ("References", "references.md"), ("Downloads", "downloads.md")]),
    ]
    lines = ["# Written by `medfm pages`; site/mkdocs.yml inherits it.", "nav:"]
    for title, entry in tabs:
        if isinstance(entry, str):
            lines.append(f"  - {quoted(title)}: {entry}")
        else:
            lines.append(f"  - {quoted(title)}:")
            lines += [f"      - {quoted(inner)}: {page}" for inner, page in entry]
    return "\n".join(lines) + "\n"


def _chapters(root: Path) -> list[Path]:
    return sorted((root / FOLDER).glob("*.md"))


def _refuse_foreign(target: Path) -> None:
    if target.exists() and not (target / MARKER).exists() and not (target.is_dir() and not any(target.iterdir())):
        raise OutputExistsError(str(target))


def _differing(made: dict[str, bytes], target: Path) -> Iterator[Path]:
    for name, content in made.items():
        path = target / name
        if not path.is_file() or path.read_bytes() != content:
            yield path
    if target.is_dir():
        yield from (p for p in target.rglob("*") if p.is_file() and p.relative_to(target).as_posix() not in made)


def _swap(fresh: Path, target: Path) -> None:
    """Put a folder in the place of another one; the old one is deleted only when the new one stands."""
    if not target.exists():
        fresh.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
    target.rename(old / "pages")
    fresh.rename(target)
    shutil.rmtree(old)
