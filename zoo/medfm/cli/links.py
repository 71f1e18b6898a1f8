"""The command that checks the catalog's addresses: links."""

from __future__ import annotations

import os
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medfm import content
from medfm.cli import printing
from medfm.cli.arguments import Parser, add_formats
from medfm.errors import SourceError, UsageError, did_you_mean, near_misses

if TYPE_CHECKING:
    from argparse import Namespace

    from tqdm import tqdm

_COLUMNS = ["address", "status", "code", "moved_to", "first_seen", "last_ok", "last_checked", "failures", "used_by"]


def links(arguments: list[str]) -> int:
    parser = Parser(
        "links",
        "Check the catalog's addresses politely, and keep a ledger: first seen, last ok, moved, gone. A run that was "
        "interrupted, or that reached its limit, is taken up by the next one.",
        ["", "--dry-run", "--limit 100", "--only github.com --older-than 0", "--json"],
    )
    parser.add_argument("--limit", type=int, default=500, metavar="N", help="ask at most N addresses (default 500)")
    parser.add_argument("--hosts", type=int, default=4, metavar="N", help="ask N hosts at the same time (default 4)")
    parser.add_argument(
        "--pause", type=float, default=1.0, metavar="SECONDS", help="between two requests to one host (default 1)"
    )
    parser.add_argument("--ledger", type=Path, metavar="FILE", help="default: catalog/links.json of the checkout")
    parser.add_argument(
        "--older-than", type=float, default=30, metavar="DAYS", help="leave out what was asked since (default 30)"
    )
    parser.add_argument("--only", metavar="HOST", help="only the addresses of one host")
    parser.add_argument("--dry-run", action="store_true", help="list what would be asked; open no socket")
    add_formats(parser)
    given = parser.parse_args(arguments)
    _refuse_nonsense(given)
    from medfm.catalog.addresses import addresses
    from medfm.catalog.store import Catalog
    from medfm.runtime.links import Ledger, check

    used = _only(addresses(Catalog.load()), given.only)
    ledger = Ledger(given.ledger or _default_ledger())
    due = ledger.due(used, timedelta(days=given.older_than))
    now, later = due[: given.limit], due[given.limit :]
    if given.dry_run:
        printing.rows([{"address": a, "used_by": used[a]} for a in now], ["address", "used_by"], given.format)
        print(f"{len(now)} of {len(used)} addresses would be asked", file=sys.stderr)
        return 0
    if os.environ.get("MEDFM_OFFLINE", "") not in ("", "0"):
        raise SourceError("links cannot be checked: offline mode is on (MEDFM_OFFLINE)")
    ledger.see(used)
    bar = _bar(len(now))
    try:
        for batch in check(ledger, now, hosts=given.hosts, pause=given.pause):
            if bar is not None:
                bar.update(len(batch))
    finally:
        if bar is not None:
            bar.close()
    found: list[dict[str, Any]] = [
        {"address": a, **ledger.entries[a].model_dump(mode="json"), "used_by": used[a]}
        for a in used
        if ledger.entries[a].status is not None
    ]
    if given.format:
        printing.rows(found, _COLUMNS, given.format)
    else:
        shown = [row for row in found if row["status"] != "ok"]
        printing.rows(shown, ["status", "code", "address", "moved_to", "last_ok", "used_by"], None)
    counts = Counter(row["status"] for row in found)
    said = ", ".join(f"{counts[status]} {status}" for status in sorted(counts)) or "nothing known yet"
    more = f"; {len(later)} more are due: run it again" if later else ""
    print(f"{len(now)} asked, {len(used)} in all: {said}{more} ({ledger.path})", file=sys.stderr)
    return 1 if counts["gone"] else 0


def _refuse_nonsense(given: Namespace) -> None:
    for option, least in (("limit", 1), ("hosts", 1), ("pause", 0), ("older_than", 0)):
        if not least <= getattr(given, option) < 1e6:
            raise UsageError(f"--{option.replace('_', '-')} must be at least {least} and below a million")


def _only(used: dict[str, list[str]], host: str | None) -> dict[str, list[str]]:
    """Return the addresses of one host, named with or without its port; all of them where none is named."""
    if host is None:
        return used
    from medfm.runtime.links import host_of

    wanted = host.lower()
    found = {a: places for a, places in used.items() if wanted in (host_of(a), host_of(a).partition(":")[0])}
    if not found:
        offered = did_you_mean(near_misses(wanted, {host_of(a) for a in used}))
        raise UsageError(f"the catalog has no address at {host}{offered}")
    return found


def _default_ledger() -> Path:
    root = content.root()
    if root.is_relative_to(content.PACKAGE):
        raise UsageError("an installed medfm keeps no ledger of links; name one with --ledger FILE")
    return root / "catalog" / "links.json"


def _bar(total: int) -> tqdm[Any] | None:
    """Return a progress bar where there are a terminal and tqdm."""
    if not sys.stderr.isatty():
        return None
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(total=total, desc="links", unit="address", leave=False)
