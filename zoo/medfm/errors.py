"""The errors that medfm raises: each is also the builtin a caller would expect.

Every error has a message of one sentence or two (what was wrong, where, what to do next) and keeps the values it
speaks of as attributes, so that programs need not parse text.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost look-ups 3 ms
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


_SHOWN = 20  # problems that the message of a CatalogError lists; `problems` has all


class MedfmError(Exception):
    """The base of every error that medfm raises on purpose."""


class UnknownIdError(MedfmError, KeyError):
    """No record, word or command of that name; `suggestions` holds the near misses."""

    def __init__(self, kind: str, id: str, suggestions: Sequence[str] = ()) -> None:
        self.kind, self.id, self.suggestions = kind, id, tuple(suggestions)
        super().__init__(f"no {kind} is named {id!r}{did_you_mean(suggestions)}")

    def __str__(self) -> str:  # KeyError would print the repr
        return str(self.args[0])


class Problem(MedfmError, ValueError):
    """One thing that is wrong in one record: file, field and what to do.

    Attributes:
        file: the file, relative to the content root.
        field: the path of the field (`training.data[0].dataset`), or "" for the file as a whole.
        what: what is wrong, a sentence without a final stop.
    """

    def __init__(self, file: str, field: str, what: str) -> None:
        self.file, self.field, self.what = file, field, what
        super().__init__(f"{file}: {field + ': ' if field else ''}{what}")


class CatalogError(MedfmError, ExceptionGroup[Problem]):
    """The catalog has problems; `problems` lists all of them, not just the first."""

    def __new__(cls, problems: Sequence[Problem]) -> CatalogError:  # noqa: D102  # as the class says
        return super().__new__(cls, _count(problems), problems)

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)

    def derive(self, excs: Sequence[Problem]) -> CatalogError:  # type: ignore[override]  # a group of Problems only
        """Return a group of the same kind around other problems (used by `except*`)."""
        return CatalogError(excs)

    def __str__(self) -> str:
        shown = [f"  {problem}" for problem in self.problems[:_SHOWN]]
        more = len(self.problems) - _SHOWN
        return "\n".join(
            [_count(self.problems), *shown, *([f"  and {more} more: run medfm check"] if more > 0 else [])]
        )


class InputError(MedfmError, ValueError):
    """The input cannot be used as it is: a wrong kind, shape, unit, geometry or letter."""

    def __init__(self, what: str, *, path: str = "", flag: str = "") -> None:
        self.path, self.flag = path, flag
        super().__init__(f"{path}: {what}" if path else what)


class SourceError(MedfmError, OSError):
    """The bytes of a model or a sample cannot be had: no network, no such file, a cut transfer, a full disk."""


class IntegrityError(SourceError):
    """The bytes are not the ones that the record promises: their sha256 differs."""

    def __init__(self, name: str, expected: str, found: str) -> None:
        self.name, self.expected, self.found = name, expected, found
        super().__init__(
            f"{name}: sha256 is {found}, but the record says {expected}; the file was not used. "
            "Delete it and try again; if it stays so, the source was changed: report it"
        )


class GateError(SourceError, PermissionError):
    """The weights are behind a gate: what to accept, where, and how to log in."""


class CheckpointError(MedfmError, ValueError):
    """The checkpoint does not fit the network; `missing`, `extra` and `misshapen` list the keys."""

    def __init__(
        self,
        where: str,
        *,
        missing: Iterable[str] = (),
        extra: Iterable[str] = (),
        misshapen: Iterable[str] = (),
    ) -> None:
        self.missing, self.extra, self.misshapen = sorted(missing), sorted(extra), sorted(misshapen)
        parts = [
            f"{len(keys)} {word} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
            for word, keys in (
                ("missing", self.missing),
                ("not expected", self.extra),
                ("of another shape", self.misshapen),
            )
            if keys
        ]
        super().__init__(f"{where}: the checkpoint does not fit the network: {'; '.join(parts)}")


class UnsafeFileError(MedfmError, ValueError):
    """The file could run code when it is opened, so it was not opened."""


class MissingExtraError(MedfmError, ImportError):
    """A library that this model needs is not installed; the message names the command that installs it."""

    def __init__(self, library: str, extra: str, *, why: str = "") -> None:
        self.library, self.extra = library, extra
        super().__init__(
            f"{why + ': ' if why else ''}{library} is not installed; run: pip install 'medfm[{extra}]'", name=library
        )


class CapabilityError(MedfmError, TypeError):
    """The model cannot do what was asked; `can` lists what it can."""

    def __init__(self, model: str, asked: str, can: Sequence[str]) -> None:
        self.model, self.asked, self.can = model, asked, tuple(can)
        super().__init__(f"{model} cannot {asked}; it can {', '.join(can) or 'not be run'}")


class OutputExistsError(MedfmError, FileExistsError):
    """The output path exists already and was left as it is."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"{path} exists and was left as it is; choose another path, or allow it with overwrite")


class UsageError(MedfmError, ValueError):
    """A command or a call was used in a way that has no meaning."""


def did_you_mean(suggestions: Sequence[str]) -> str:
    """Return the tail of a sentence that offers near misses, or "".

    >>> did_you_mean(["uni", "uni2-h"])
    '; did you mean uni or uni2-h?'
    """
    return f"; did you mean {' or '.join(suggestions)}?" if suggestions else ""


def near_misses(word: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Return the known words closest to `word`, best first.

    >>> near_misses("biomedclp", ["biomedclip", "plip", "uni"])
    ['biomedclip']
    """
    from difflib import get_close_matches  # only errors pay for this import

    lowered = {name.lower(): name for name in known}
    found = get_close_matches(word.lower(), lowered, n=count, cutoff=0.6)
    return [lowered[name] for name in found]


def _count(problems: Sequence[Problem]) -> str:
    files = len({problem.file for problem in problems})
    return f"{len(problems)} problem{'s' if len(problems) != 1 else ''} in {files} file{'s' if files != 1 else ''}"
