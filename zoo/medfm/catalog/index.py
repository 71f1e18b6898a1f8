"""The index: every look-up of the command line, from one SQLite file with full text search.

Importing this module imports neither pydantic nor YAML. An index belongs to one state of the content: its file is named
after a digest of all content files, so it can be missing but never stale. It is built once into the user's cache, and the
wheel ships the one of its own content.
"""

from __future__ import annotations

import os
import sqlite3

from medfm import content
from medfm.catalog.facets import BOUNDS, FACETS, VOCABULARY, number

TYPE_CHECKING = False  # importing typing would cost look-ups 3 ms
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import Any

    from medfm.catalog.store import Catalog

LAYOUT = "7"
"""Raised whenever the tables, or the JSON in them, change: an index of another layout is never opened."""

SEALED = "index.sqlite"
"""Name of the index that installed content carries beside `catalog/` and `survey/`."""

SUFFIXES = (".yaml", ".yml", ".bib")


class Index:
    """An open index; use it in a `with` statement.

    >>> with Index.open() as index:
    ...     index.search("skull stripping", kind="model")[0]["id"]
    'deepbet'
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._db.row_factory = sqlite3.Row

    @classmethod
    def open(cls, root: str | None = None) -> Index:
        """Open the index of the content, building it when this state of the content has none yet.

        Raises:
            CatalogError: the index has to be built and the catalog has problems.
        """
        return cls(_connect(_fresh(root or content.where())))

    @classmethod
    def of(cls, catalog: Catalog) -> Index:
        """Build an index of a catalog in memory."""
        from medfm.catalog.indexing import build

        connection = sqlite3.connect(":memory:")
        build(catalog, connection)
        return cls(connection)

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
                "SELECT DISTINCT r.json FROM names n JOIN records r ON r.id = n.id WHERE n.spelling = ?",
                (_spelling(id),),
            ).fetchall()
            row = rows[0] if len(rows) == 1 else None
        if row is None:
            from medfm.errors import UnknownIdError, near_misses

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
        where, values = self._where(kind, filters)
        return [_json(row[0]) for row in self._db.execute(f"SELECT columns FROM lists WHERE {where}", values)]  # noqa: S608

    def cells(self, kind: str, filters: Iterable[tuple[str, Sequence[str]]] = ()) -> list[list[str]]:
        """Return what `select` returns as texts, one list a record: thousands of them in milliseconds."""
        where, values = self._where(kind, filters)
        return [row[0].split("\t") for row in self._db.execute(f"SELECT cells FROM lists WHERE {where}", values)]  # noqa: S608

    def _where(self, kind: str, filters: Iterable[tuple[str, Sequence[str]]]) -> tuple[str, list[str]]:
        """Return the SQL condition, and the values in it, that filters stand for."""
        where, values = ["kind = ?"], [kind]
        for name, words in filters:
            if name in FACETS[kind]:
                known = [self._word(name, word) for word in words]
                marks = ", ".join("?" * len(known))
                where.append(f"id IN (SELECT id FROM facets WHERE filter = ? AND word IN ({marks}))")  # noqa: S608
                values += [name, *known]
            elif name in BOUNDS.get(kind, {}):
                field, sign, _ = BOUNDS[kind][name]
                for word in words:
                    where.append(f"id IN (SELECT id FROM numbers WHERE name = ? AND value {sign} CAST(? AS REAL))")  # noqa: S608
                    values += [field, str(number(word))]
            else:
                from medfm.errors import UsageError, near_misses

                offer = near_misses(name, [*FACETS[kind], *BOUNDS.get(kind, {})])
                raise UsageError(f"{kind} records have no filter {name!r}; try {' or '.join(offer or FACETS[kind])}")
        return f"{' AND '.join(where)} ORDER BY id", values

    def _word(self, filter_: str, word: str) -> str:
        facet = VOCABULARY.get(filter_, filter_)
        known = self._db.execute("SELECT 1 FROM words WHERE facet = ? LIMIT 1", (facet,)).fetchone()
        if not known:
            return word
        row = self._db.execute(
            "SELECT word FROM words WHERE facet = ? AND spelling = ?", (facet, _spelling(word))
        ).fetchone()
        if row is None:
            from medfm.errors import UnknownIdError, near_misses

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
            self._db.execute("SELECT key, label, url, bibtex FROM papers WHERE key = ?", (key,)).fetchone()
            for key in keys
        )
        return [dict(row) for row in found if row]

    def ids(self) -> list[str]:
        """Return all ids."""
        return [row[0] for row in self._db.execute("SELECT id FROM records ORDER BY id")]

    def words(self, facet: str) -> list[str]:
        """Return the words of a facet of the taxonomy."""
        return [
            r[0] for r in self._db.execute("SELECT DISTINCT word FROM words WHERE facet = ? ORDER BY word", (facet,))
        ]


def _json(text: str) -> dict[str, Any]:
    import json

    value: dict[str, Any] = json.loads(text)
    return value


def _spelling(word: str) -> str:  # as medfm.catalog.vocabulary.spelling, which imports pydantic
    return word.lower().replace("-", " ").replace("_", " ").strip()


# ---------------------------------------------------------------- which index is the right one


def _fresh(root: str) -> str:
    """Return the index file of the content at `root`, building it if need be.

    Reading every file at every start would be slow, so a stamp in the cache remembers for which names, sizes, times and
    inodes a digest was computed. Anything that differs leads to reading the files again.
    """
    folder = f"{content.cache_folder()}/index"
    stamp = f"{folder}/{root.strip('/').replace('/', '%')[-120:]}.stamp"
    state = _state(root)
    try:
        with open(stamp, encoding="utf-8") as file:  # noqa: PTH123  # pathlib costs look-ups 3 ms
            digest, _, remembered = file.read().partition("\n")
    except OSError:
        digest = remembered = ""
    if remembered != state:
        digest = content_digest(root)
    path = f"{folder}/{digest}.sqlite"
    if not os.path.exists(path):  # noqa: PTH110
        if _digest_of(sealed := f"{root}/{SEALED}") == digest:
            path = sealed
        else:
            from medfm.catalog.indexing import build_file

            path = build_file(root, path)
    if remembered != state:
        _remember(stamp, f"{digest}\n{state}")
    return path


def _folders(root: str) -> list[str]:
    with os.scandir(f"{root}/catalog") as entries:
        folders = [entry.path for entry in entries if entry.is_dir() and entry.name != "schema"]
    survey = f"{root}/survey"
    return [*([survey] if os.path.isdir(survey) else []), *sorted(folders)]  # noqa: PTH112


def _state(root: str) -> str:
    """Return a text that differs when a content file differs.

    Content that carries its index was installed, and belongs to the installer, which replaces whole folders: there the
    folders' own times say enough, and ten thousand files cost nothing. Anywhere else every file is looked at.
    """
    from zlib import crc32

    parts = [LAYOUT]
    alone = os.path.exists(f"{root}/{SEALED}")  # noqa: PTH110
    for folder in _folders(root):
        names = ["."] if alone else os.listdir(folder)  # noqa: PTH208  # a folder that stays as it is keeps its order
        if os.stat in os.supports_dir_fd:  # short names relative to the folder: half the time for the system
            handle = os.open(folder, os.O_RDONLY)
            try:
                states = [os.stat(name, dir_fd=handle) for name in names]
            finally:
                os.close(handle)
        else:
            states = [os.stat(f"{folder}/{name}") for name in names]  # noqa: PTH116
        # the system sets the time of change itself, whatever happens to the content; hashes of whole numbers are the same in
        # every process, those of texts are not
        values = hash(tuple([(s.st_ctime_ns, s.st_mtime_ns, s.st_size, s.st_ino) for s in states]))
        parts.append(f"{folder} {len(names)} {crc32('/'.join(names).encode())} {values}")
    return "\n".join(parts)


def content_digest(root: str) -> str:
    """Return 32 hex digits that change whenever any content file or the index's layout changes."""
    from hashlib import blake2b
    from pathlib import Path

    digest = blake2b(LAYOUT.encode(), digest_size=16)
    paths = [path for folder in _folders(root) for path in Path(folder).glob("*") if path.suffix in SUFFIXES]
    for path in sorted(paths):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()


def _digest_of(path: str) -> str | None:
    if not os.path.exists(path):  # noqa: PTH110
        return None
    connection = _connect(path)
    try:
        return str(connection.execute("SELECT value FROM meta WHERE key = 'digest'").fetchone()[0])
    finally:
        connection.close()


def _connect(path: str) -> sqlite3.Connection:
    # immutable: nothing writes to an index after it was renamed into place, so no locks are needed
    quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return sqlite3.connect(f"file:{quoted}?mode=ro&immutable=1", uri=True)


def _remember(path: str, text: str) -> None:
    """Write the stamp; a cache that cannot be written to costs time, never correctness."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        temporary = f"{path}.{os.getpid()}"
        with open(temporary, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(text)
        os.replace(temporary, path)  # noqa: PTH105
    except OSError:
        pass
