"""Parsing command lines: one parser a command, with examples, filters from the facets, and near misses for options."""

from __future__ import annotations

import argparse

from medfm.catalog.facets import BOUNDS, FACETS, KIND_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """argparse, except that mistakes become `UsageError` with near misses."""

    def __init__(self, command: str, description: str, examples: Sequence[str] = ()) -> None:
        text = "examples:\n" + "\n".join(f"  medfm {command} {example}".rstrip() for example in examples)
        super().__init__(
            prog=f"medfm {command}",
            description=description,
            epilog=text if examples else None,
            # a fixed width: argparse would import shutil to ask for the terminal's, even when no help is printed
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=110),
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print.

        Raises:
            UsageError: always.
        """
        from medfm.errors import UsageError, did_you_mean, near_misses

        if message.startswith("unrecognized arguments:"):
            wrong = message.split(":", 1)[1].split()[0]
            known = [option for action in self._actions for option in action.option_strings]
            message = f"there is no option {wrong}{did_you_mean(near_misses(wrong, known))}"
        raise UsageError(f"{message} (see {self.prog} --help)")


def add_filters(parser: Parser, kinds: Sequence[str]) -> None:
    """Add one option a filter of the kinds."""
    filters: dict[str, str] = {}
    bounds: dict[str, str] = {}
    for kind in kinds:
        for name, text in FACETS[kind].items():
            filters.setdefault(name, text)
        for name, (_, _, text) in BOUNDS.get(kind, {}).items():
            bounds.setdefault(name, text)
    group = parser.add_argument_group(
        "filters", "words may be ids, labels or synonyms; repeat a filter to allow several"
    )
    for name, text in filters.items():
        group.add_argument(f"--{name}", action="append", metavar="WORD", help=text)
    for name, text in bounds.items():
        group.add_argument(f"--{name}", action="append", metavar="NUMBER", help=text)


def filters(namespace: argparse.Namespace, kind: str) -> list[tuple[str, list[str]]]:
    """Return the filters that were given.

    Raises:
        UsageError: a filter of another kind was given.
    """
    given = []
    names = {name for kinds in (FACETS, BOUNDS) for group in kinds.values() for name in group}
    for name in sorted(names):
        words = getattr(namespace, name.replace("-", "_"), None)
        if words:
            if name not in FACETS[kind] and name not in BOUNDS.get(kind, {}):
                from medfm.errors import UsageError

                raise UsageError(f"{KIND_NAMES[kind]} have no filter --{name}")
            given.append((name, words))
    return given


def add_formats(parser: Parser, *more: str) -> None:
    """Add --json, --csv and, where a command has them, further formats; one may be given."""
    group = parser.add_mutually_exclusive_group()
    for name in ("json", "csv", *more):
        group.add_argument(f"--{name}", dest="format", action="store_const", const=name, help=f"print {name.upper()}")
