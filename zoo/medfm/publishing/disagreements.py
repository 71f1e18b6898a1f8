"""Where other libraries run a model otherwise than its authors say, on one page for all models."""

from __future__ import annotations

from medfm.catalog.records import Model
from medfm.publishing.facts import disagreement_cells
from medfm.publishing.prose import link, page, table
from medfm.publishing.site import Site

TITLE = "Where libraries disagree"
_LEAD = (
    "The same model, other numbers: libraries that wrap a model do not always do what its authors do. Some differ on purpose; "
    "a user is seldom told. Each row was read in the library’s code at the commit that is named. medfm follows the authors "
    "unless its column says otherwise."
)


def disagreements_page(site: Site) -> str:
    """Return the page that lists every disagreement that the records know."""
    rows = [
        (link(record.name, site.page(record.id)), *_from_here(site, record, disagreement_cells(record, item)))
        for record in site.all("model")
        if isinstance(record, Model)
        for item in record.disagreements
    ]
    header = ("Model", "About", "The authors", "Library", "does", "medfm", "Read in")
    return page(TITLE, f"# {TITLE}", _LEAD, table(header, rows) if rows else "None is recorded yet.")


def _from_here(site: Site, record: Model, cells: tuple[str, ...]) -> tuple[str, ...]:
    """Let links to sources lead to the model's page, where the sources are listed."""
    return tuple(cell.replace("(#", f"({site.page(record.id)}#") for cell in cells)
