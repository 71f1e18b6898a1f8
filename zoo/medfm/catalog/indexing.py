"""Building the index that `medfm.catalog.index` reads."""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from medfm.catalog import store
from medfm.catalog.facets import COLUMNS, VOCABULARY, as_text, value_at
from medfm.catalog.graph import edges
from medfm.catalog.index import content_digest
from medfm.catalog.records import Model, Record
from medfm.catalog.select import facets_of, numbers_of
from medfm.catalog.store import Catalog
from medfm.catalog.vocabulary import Taxonomy, spelling
from medfm.errors import CatalogError, SourceError

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE records (id TEXT UNIQUE, kind TEXT, name TEXT, summary TEXT, json TEXT);
CREATE TABLE lists (kind TEXT, id TEXT, cells TEXT, columns TEXT, PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE TABLE names (spelling TEXT, id TEXT);
CREATE TABLE facets (filter TEXT, word TEXT, id TEXT);
CREATE TABLE numbers (name TEXT, value REAL, id TEXT);
CREATE TABLE words (facet TEXT, spelling TEXT, word TEXT);
CREATE TABLE edges (source TEXT, relation TEXT, target TEXT, details TEXT);
CREATE TABLE papers (key TEXT PRIMARY KEY, label TEXT, url TEXT, bibtex TEXT) WITHOUT ROWID;
CREATE VIRTUAL TABLE texts USING fts5(names, words, summary, content='', tokenize='porter unicode61 remove_diacritics 2');
"""
_KEYS = """
CREATE INDEX by_kind ON records (kind, id);
CREATE INDEX by_name ON names (spelling);
CREATE INDEX by_word ON facets (filter, word, id);
CREATE INDEX by_number ON numbers (name, value, id);
CREATE INDEX by_spelling ON words (facet, spelling);
CREATE INDEX by_source ON edges (source);
CREATE INDEX by_target ON edges (target);
"""


def build_file(root: str, target: str) -> str:
    """Build the index of the content at `root` as `target`; where that cannot be written, as a temporary file.

    Returns:
        The path of the index.

    Raises:
        CatalogError: the catalog has problems.
    """
    path = Path(target)
    catalog = store.read(Path(root))
    if catalog.problems:
        raise CatalogError(catalog.problems)
    digest = content_digest(root)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    except OSError:  # a read-only home: the index lives as long as the machine keeps its temporary files
        handle, name = tempfile.mkstemp(suffix=".sqlite")
        path = Path(name)
    os.close(handle)
    temporary = Path(name)
    try:
        connection = sqlite3.connect(temporary)
        try:
            build(catalog, connection, digest)
        finally:
            connection.close()
        temporary.replace(path)
    except (OSError, sqlite3.Error) as error:
        temporary.unlink(missing_ok=True)
        raise SourceError(f"the index could not be written to {path.parent}: {error}") from None
    return str(path)


def build(catalog: Catalog, connection: sqlite3.Connection, digest: str = "") -> None:
    """Fill an empty database with the index of a catalog."""
    taxonomy = catalog.taxonomy
    connection.executescript(_TABLES)
    insert = connection.execute
    insert("INSERT INTO meta VALUES ('digest', ?)", (digest,))
    for record in catalog.all():
        values = to_json(record, catalog.files[record.id])
        columns = {name: value_at(values, path) for name, path in COLUMNS[record.kind].items()}
        cursor = insert(
            "INSERT INTO records VALUES (?, ?, ?, ?, ?)",
            (record.id, record.kind, record.name, record.summary, dump(values)),
        )
        cells = "\t".join(" ".join(as_text(value).split()) for value in columns.values())
        insert("INSERT INTO lists VALUES (?, ?, ?, ?)", (record.kind, record.id, cells, dump(columns)))
        facets = facets_of(record, taxonomy)
        connection.executemany(
            "INSERT INTO facets VALUES (?, ?, ?)",
            [(name, word, record.id) for name, words in facets.items() for word in sorted(words)],
        )
        connection.executemany(
            "INSERT INTO numbers VALUES (?, ?, ?)", [(n, v, record.id) for n, v in numbers_of(record).items()]
        )
        names = dict.fromkeys((record.id, record.name, *record.aliases))
        connection.executemany("INSERT INTO names VALUES (?, ?)", {(spelling(name), record.id) for name in names})
        insert(
            "INSERT INTO texts (rowid, names, words, summary) VALUES (?, ?, ?, ?)",
            (cursor.lastrowid, " ".join(names), _searchable(facets, taxonomy), record.summary),
        )
    for facet in taxonomy.facets:
        for term in taxonomy.terms(facet).values():
            spellings = {spelling(name) for name in (term.id, term.label, *term.synonyms)}
            connection.executemany(
                "INSERT INTO words VALUES (?, ?, ?)", [(facet, s, term.id) for s in sorted(spellings)]
            )
    connection.executemany("INSERT INTO edges VALUES (?, ?, ?, ?)", edges(catalog))
    connection.executemany(
        "INSERT INTO papers VALUES (?, ?, ?, ?)",
        [(e.key, e.label, e.url, e.bibtex()) for e in catalog.bibliography.values()],
    )
    connection.executescript(_KEYS)
    connection.commit()


def to_json(record: Record, file: str) -> dict[str, Any]:
    """Return a record as JSON values, with its kind, its file and what is computed from it."""
    values: dict[str, Any] = {"kind": record.kind, **record.model_dump(mode="json", by_alias=True), "file": file}
    if isinstance(record, Model):
        values |= {"loadable": record.loadable, "contract": record.contract}
    return values


def _searchable(facets: dict[str, set[str]], taxonomy: Taxonomy) -> str:
    """Return every word, label and synonym under which a record may be looked for."""
    found: dict[str, None] = {}
    for filter_, words in facets.items():
        terms = taxonomy.terms(VOCABULARY.get(filter_, filter_))
        for word in sorted(words):
            term = terms.get(word)
            found |= dict.fromkeys((term.label, *term.synonyms, term.id) if term else (word,))
    return " ".join(found)


def dump(values: object) -> str:
    """Return compact JSON."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))
