"""The index: every look-up of the command line, from one SQLite file with full text search.

Importing this module imports neither pydantic nor YAML. An index belongs to one state of the content: its file is named
after a digest of all content files, so it can be missing but never stale. It is built once into the user's cache, and the
wheel ships the one of its own content.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from medfm import content
from medfm.catalog.facets import BOUNDS, FACETS, VOCABULARY, number
from medfm.errors import UnknownIdError, UsageError, near_misses

if TYPE_CHECKING:
    from medfm.catalog.store import Catalog

LAYOUT = "6"
"""Raised whenever the tables, or the JSON in them, change: an index of another layout is never opened."""

SHIPPED = content.PACKAGE / "data" / "index.sqlite"


class Index:
    """An open index; use it in a `with` statement.

    >>> with Index.open() as index:
    ...     [hit["id"] for hit in index.search("skull stripping", kind="model")]
    ['deepbet']
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._db.row_factory = sqlite3.Row

    @classmethod
    def open(cls, root: Path | None = None) -> Index:
        """Open the index of the content, building it when this state of the content has none yet.

        Raises:
            CatalogError: the index has to be built and the catalog has problems.
        """
        return cls(_connect(_fresh(root or content.root())))

    @classmethod
    def of(cls, catalog: Catalog) -> Index:
        """Build an index of a catalog in memory."""
        from medfm.catalog.indexing import build

        connection = sqlite3.connect(":memory:")
        build(catalog, connection)
        return cls(connection)

    def __enter__(self) -> Index:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._db.close()

    def record(self, id: str) -> dict[str, Any]:
        """Return one record as JSON values, with `kind`, `file` and what was computed from it.

        Args:
            id: an id or, where only one record has it, a name or an alias in any case.

        Raises:
            UnknownIdError: there is none; it offers near misses.
        """
        row = self._db.execute("SELECT json FROM records WHERE id = ?", (id,)).fetchone()
        if row is None:
            rows = self._db.execute(
                "SELECT DISTINCT r.json FROM names n JOIN records r ON r.id = n.id WHERE n.spelling = ?", (_spelling(id),)
            ).fetchall()
            row = rows[0] if len(rows) == 1 else None
        if row is None:
            names = [r[0] for r in self._db.execute("SELECT id FROM records UNION SELECT name FROM records")]
            raise UnknownIdError("record", id, near_misses(id, names))
        return _json(row[0])

    def records(self, kind: str | None = None) -> Iterator[dict[str, Any]]:
        """Give all records of one kind, or all records, as JSON values in the order of their ids."""
        rows = self._db.execute("SELECT json FROM records WHERE ?1 IS NULL OR kind = ?1 ORDER BY id", (kind,))
        return (_json(row[0]) for row in rows)

    def select(self, kind: str, filters: Iterable[tuple[str, Sequence[str]]] = ()) -> list[dict[str, Any]]:
        """Return the columns (`medfm.catalog.facets.COLUMNS`) of the records that pass all filters, by id.

        Args:
            kind: one kind, in the singular.
            filters: filter and words; one of its words must fit.

        Raises:
            UsageError: there is no such filter.
            UnknownIdError: a word is not in the taxonomy.
        """
        where, values = ["kind = ?"], [kind]
        for name, words in filters:
            if name in FACETS[kind]:
                known = [self._word(name, word) for word in words]
                marks = ", ".join("?" * len(known))
                where.append(f"id IN (SELECT id FROM facets WHERE filter = ? AND word IN ({marks}))")
                values += [name, *known]
            elif name in BOUNDS.get(kind, {}):
                field, sign, _ = BOUNDS[kind][name]
                for word in words:
                    where.append(f"id IN (SELECT id FROM numbers WHERE name = ? AND value {sign} CAST(? AS REAL))")
                    values += [field, str(number(word))]
            else:
                offer = near_misses(name, [*FACETS[kind], *BOUNDS.get(kind, {})])
                raise UsageError(f"{kind} records have no filter {name!r}; try {' or '.join(offer or FACETS[kind])}")
        statement = f"SELECT columns FROM records WHERE {' AND '.join(where)} ORDER BY id"  # noqa: S608  # fixed words
        return [_json(row[0]) for row in self._db.execute(statement, values)]

    def _word(self, filter_: str, word: str) -> str:
        facet = VOCABULARY.get(filter_, filter_)
        known = self._db.execute("SELECT 1 FROM words WHERE facet = ? LIMIT 1", (facet,)).fetchone()
        if not known:
            return word
        row = self._db.execute(
            "SELECT word FROM words WHERE facet = ? AND spelling = ?", (facet, _spelling(word))
        ).fetchone()
        if row is None:
            words = [r[0] for r in self._db.execute("SELECT DISTINCT word FROM words WHERE facet = ?", (facet,))]
            raise UnknownIdError(facet, word, near_misses(word, words))
        return str(row[0])

    def search(self, text: str, kind: str | None = None, limit: int = 20) -> list[dict[str, Any]]:
        """Return `{id, kind, name, summary}` of the records that fit best, best first.

        All words must be found (each as the beginning of a word); when nothing has them all, any of them will do.
        """
        words = [w for w in "".join(c if c.isalnum() else " " for c in text.lower()).split() if w]
        if not words:
            return []
        for joint in (" AND ", " OR "):
            # "x-ray" is one term with two tokens; quoting keeps operators and signs out of the query language
            query = joint.join(f'"{word}"*' for word in words)
            rows = self._db.execute(
                "SELECT r.id, r.kind, r.name, r.summary FROM texts JOIN records r ON r.rowid = texts.rowid "
                "WHERE texts MATCH ?1 AND (?2 IS NULL OR r.kind = ?2) "
                "ORDER BY bm25(texts, 20.0, 4.0, 2.0), r.id LIMIT ?3",
                (query, kind, limit),
            ).fetchall()
            if rows:
                return [dict(row) for row in rows]
        return []

    def edges(self, id: str | None = None) -> list[dict[str, str]]:
        """Return the references from and to one record, or all: `{source, relation, target, details}`."""
        rows = self._db.execute(
            "SELECT source, relation, target, details FROM edges WHERE ?1 IS NULL OR source = ?1 OR target = ?1", (id,)
        )
        return [dict(row) for row in rows]

    def papers(self, keys: Iterable[str]) -> list[dict[str, str]]:
        """Return `{key, label, url, bibtex}` of the BibTeX keys that exist, in the order given."""
        found = (
            self._db.execute("SELECT key, label, url, bibtex FROM papers WHERE key = ?", (key,)).fetchone() for key in keys
        )
        return [dict(row) for row in found if row]

    def ids(self) -> list[str]:
        """Return all ids."""
        return [row[0] for row in self._db.execute("SELECT id FROM records ORDER BY id")]

    def words(self, facet: str) -> list[str]:
        """Return the words of a facet of the taxonomy."""
        return [r[0] for r in self._db.execute("SELECT DISTINCT word FROM words WHERE facet = ? ORDER BY word", (facet,))]


def _json(text: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(text)
    return value


def _spelling(word: str) -> str:  # as medfm.catalog.vocabulary.spelling, which imports pydantic
    return word.lower().replace("-", " ").replace("_", " ").strip()


# ---------------------------------------------------------------- which index is the right one


def _fresh(root: Path) -> Path:
    """Return the index file of the content at `root`, building it if need be.

    Reading every file at every start would be slow, so a stamp in the cache remembers for which names, sizes, times and
    inodes a digest was computed. Anything that differs leads to reading the files again.
    """
    folder = content.cache() / "index"
    stamp = folder / f"{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]}.stamp"
    state = _state(root)
    try:
        remembered, digest = stamp.read_text().split()
    except (OSError, ValueError):
        remembered = digest = ""
    if remembered != state:
        digest = content_digest(root)
    path = folder / f"{digest}.sqlite"
    if not path.exists():
        if _shipped_digest() == digest:
            path = SHIPPED
        else:
            from medfm.catalog.indexing import build_file

            path = build_file(root, path)
    if remembered != state:
        _write(stamp, f"{state} {digest}")
    return path


def _files(root: Path) -> list[os.DirEntry[str]]:
    folders = [root / "survey"]
    with os.scandir(root / "catalog") as entries:
        folders += [Path(entry.path) for entry in entries if entry.is_dir() and entry.name != "schema"]
    files: list[os.DirEntry[str]] = []
    for folder in sorted(folders):
        if folder.is_dir():
            with os.scandir(folder) as entries:
                files += [entry for entry in entries if entry.name.endswith((".yaml", ".yml", ".bib"))]
    return files


def _state(root: Path) -> str:
    parts = []
    for entry in _files(root):
        s = entry.stat()
        parts.append(f"{entry.path}{s.st_size}{s.st_mtime_ns}{s.st_ctime_ns}{s.st_ino}")
    parts.sort()
    return hashlib.blake2b("\n".join([LAYOUT, *parts]).encode(), digest_size=16).hexdigest()


def content_digest(root: Path) -> str:
    """Return 32 hex digits that change whenever any content file or the index's layout changes."""
    digest = hashlib.blake2b(LAYOUT.encode(), digest_size=16)
    for path in sorted(Path(entry.path) for entry in _files(root)):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()


def _shipped_digest() -> str | None:
    if not SHIPPED.exists():
        return None
    connection = _connect(SHIPPED)
    try:
        return str(connection.execute("SELECT value FROM meta WHERE key = 'digest'").fetchone()[0])
    finally:
        connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    # immutable: nothing writes to an index after it was renamed into place, so no locks are needed
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)


def _write(path: Path, text: str) -> None:
    """Remember the stamp; a cache that cannot be written to costs time, never correctness."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(text)
        temporary.replace(path)
    except OSError:
        pass
