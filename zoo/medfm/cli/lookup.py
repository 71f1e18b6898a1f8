"""Look-ups: list, show, search, compare, cite, graph. They read the index and import neither pydantic nor torch."""

from __future__ import annotations

import sys

from medfm.catalog.facets import COLUMNS, KIND_NAMES, as_text, kind_named
from medfm.catalog.index import Index
from medfm.cli import printing
from medfm.cli.arguments import Parser, add_filters, add_formats, filters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


def list_(arguments: list[str]) -> int:
    kind = kind_named(arguments[0]) if arguments and not arguments[0].startswith("-") else "model"
    parser = Parser(
        "list",
        f"List the records of one kind that pass all filters. Kinds: {', '.join(KIND_NAMES.values())}.",
        ["--modality ct --status open", "--task segmentation --max-parameters 100M --json", "datasets --access open"],
    )
    parser.add_argument("kind", nargs="?", default="models", help="what to list (default: models)")
    add_filters(parser, [kind])
    add_formats(parser)
    parser.add_argument("--count", action="store_true", help="print how many there are, nothing else")
    given = parser.parse_args(arguments)
    with Index.open() as index:
        if given.format:
            printing.rows(index.select(kind, filters(given, kind)), list(COLUMNS[kind]), given.format)
            return 0
        found = index.cells(kind, filters(given, kind))
    if given.count:
        print(len(found))
    else:
        printing.table(found, list(COLUMNS[kind]))
        if sys.stdout.isatty():
            print(f"\n{len(found)} {KIND_NAMES[kind]}")
    return 0


def search(arguments: list[str]) -> int:
    parser = Parser(
        "search",
        "Search names, aliases, synonyms of the vocabulary and summaries; the best match comes first.",
        ['"chest x-ray report"', '"skull stripping" --kind model', "PCam --json"],
    )
    parser.add_argument("text", nargs="+", help="words to look for")
    parser.add_argument("--kind", help=f"only one kind: {', '.join(KIND_NAMES.values())}")
    parser.add_argument("--limit", type=int, default=20, help="at most this many (default: 20)")
    add_formats(parser)
    given = parser.parse_args(arguments)
    with Index.open() as index:
        kind = kind_named(given.kind) if given.kind else None
        found = index.search(" ".join(given.text), kind=kind, limit=given.limit)
    printing.rows(found, ["id", "kind", "name", "summary"], given.format)
    if not found and not given.format:
        print("nothing found; try fewer or other words", file=sys.stderr)
    return 0


def show(arguments: list[str]) -> int:
    parser = Parser(
        "show",
        "Show one record: every fact with its source, what is undisclosed, and what was not looked up yet.",
        ["uni2-h", "pcam --json", "UNI2 --field training.data"],
    )
    parser.add_argument("id", help="id, name or alias of a record")
    parser.add_argument("--field", help="only this field, such as license or training.data")
    add_formats(parser)
    given = parser.parse_args(arguments)
    with Index.open() as index:
        record = index.record(given.id)
        edges = index.edges(record["id"])
        papers = index.papers(record["papers"])
    if given.field:
        return _field(record, given.field, given.format)
    if given.format == "json":
        print(printing.as_json(record))
    elif given.format == "csv":
        printing.rows([{"field": path, "value": value} for path, value in _flat(record)], ["field", "value"], "csv")
    else:
        _card(record, edges, papers)
    return 0


def _field(record: dict[str, Any], path: str, form: str | None) -> int:
    from medfm.errors import UsageError, did_you_mean, near_misses

    value: Any = record
    for part in path.replace("[", ".").replace("]", "").split("."):
        if isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            known = value if isinstance(value, dict) else ()
            raise UsageError(f"{record['id']} has no field {path}{did_you_mean(near_misses(part, known))}")
    if form == "csv":
        printing.rows([{"field": path, "value": value}], ["field", "value"], "csv")
    else:
        print(printing.as_json(value) if form == "json" or isinstance(value, dict | list) else value)
    return 0


# Fields that the card shows in other places.
_ASIDE = {
    *("kind", "id", "name", "aliases", "summary", "papers", "links", "checked", "file", "loadable", "contract"),
    *("sources", "evidence", "undisclosed", "not_applicable", "derived", "conflicts", "tables", "parity"),
}


def _card(record: dict[str, Any], edges: list[dict[str, str]], papers: list[dict[str, str]]) -> None:
    alias = f" ({', '.join(record['aliases'])})" if record["aliases"] else ""
    print(f"{record['name']}{alias}   {record['kind']} {record['id']}\n{record['summary']}\n")
    cells = []
    for path, value in _flat({key: value for key, value in record.items() if key not in _ASIDE}):
        note = _note(record, path)
        cells.append([path, as_text(value), note])
    if cells:
        printing.table(cells, ["field", "value", "source"])
    for name, title in (
        ("undisclosed", "undisclosed (looked for; the sources do not say)"),
        ("not_applicable", "not applicable"),
    ):
        if record[name]:
            print(f"\n{title}: {', '.join(record[name])}")
    for conflict in record["conflicts"]:
        claims = "; ".join(f"{claim['source']} says {claim['value']}" for claim in conflict["claims"])
        print(f"\nsources disagree on {conflict['field']}: {claims}. {conflict['reason']}")
    for table in record.get("tables", ()):
        protocol = table["protocol"]
        split = f" ({protocol['split']})" if protocol["split"] else ""
        print(
            f"\n{protocol['dataset']}{split}, {protocol['setting']}, {table['metric']} in {table['unit']}, {table['locator']}:"
        )
        printing.table([[s["model"], as_text(s["value"])] for s in table["scores"]], ["model", "value"])
    if record["sources"]:
        print("\nsources:")
        for id, source in record["sources"].items():
            print(f"  {id}: {source['url'] or source['cite']} ({source['kind']}, checked {source['checked']})")
    for paper in papers:
        print(f"paper: {paper['label']}. {paper['url'] or ''}")
    if record["kind"] == "model":
        parity, said = record["parity"], ""
        if parity["largest_difference"] is not None:
            said = f", largest difference {parity['largest_difference']:g}"
        print(f"\nloads with medfm.load: {'yes' if record['loadable'] else 'no'}")
        print(f"parity with the authors' code: {parity['status']}{said}")
    used = [edge for edge in edges if edge["target"] == record["id"]]
    if used:
        print(f"referred to by: {', '.join(sorted({edge['source'] for edge in used}))}")
    print(f"\nfile: {record['file']}; checked {record['checked']}")


def _note(record: dict[str, Any], path: str) -> str:
    """Return the source of a fact: the nearest evidence above it."""
    while path:
        for notes in (record["evidence"], record["derived"]):
            if path in notes:
                return str(notes[path])
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return ""


def _flat(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Give the leaves of a record with their paths; absent ones are left out."""
    for key, inner in value.items():
        path = f"{prefix}{key}"
        if inner is None or inner == [] or inner == {}:
            continue
        if isinstance(inner, dict):
            yield from _flat(inner, f"{path}.")
        elif isinstance(inner, list) and inner and isinstance(inner[0], dict):
            for i, item in enumerate(inner):
                yield from _flat(item, f"{path}[{i}].")
        else:
            yield path, inner


def compare(arguments: list[str]) -> int:
    parser = Parser(
        "compare",
        "Compare records of one kind side by side.",
        ["uni uni2-h virchow2", "uni uni2-h --markdown", "pcam camelyon16 --columns name,size,license --latex"],
    )
    parser.add_argument("ids", nargs="+", metavar="ID", help="ids, names or aliases")
    parser.add_argument("--columns", help="columns to show, separated by commas")
    add_formats(parser, "markdown", "latex")
    given = parser.parse_args(arguments)
    with Index.open() as index:
        records = [index.record(id) for id in given.ids]
    kinds = {record["kind"] for record in records}
    if len(kinds) > 1:
        from medfm.errors import UsageError

        raise UsageError(f"records of one kind can be compared, not {' and '.join(sorted(kinds))}")
    from medfm.cli.comparing import compare as print_comparison

    return print_comparison(records, given.columns, given.format)


def cite(arguments: list[str]) -> int:
    parser = Parser(
        "cite",
        "Print BibTeX for the papers of records, of what filters select, or of what a search finds.",
        ["uni2-h biomedclip", "--kind models --modality ct", '--search "chest x-ray"'],
    )
    parser.add_argument(
        "ids", nargs="*", metavar="ID", help="ids, names or aliases; of a results record: all it scores"
    )
    parser.add_argument("--search", metavar="TEXT", help="what `medfm search TEXT` finds")
    parser.add_argument("--kind", help="what `medfm list KIND` with these filters lists")
    add_filters(parser, ["model", "dataset", "metric", "competition", "results"])
    add_formats(parser)
    given = parser.parse_args(arguments)
    with Index.open() as index:
        kind = kind_named(given.kind) if given.kind else "model"
        chosen = filters(given, kind)
        records = [index.record(id) for id in given.ids]
        if given.search:
            records += [
                index.record(hit["id"]) for hit in index.search(given.search, kind=kind if given.kind else None)
            ]
        if given.kind or chosen:
            records += [index.record(row["id"]) for row in index.select(kind, chosen)]
        if not (given.ids or given.search or given.kind or chosen):
            from medfm.errors import UsageError

            raise UsageError("say what to cite: ids, --search TEXT, or --kind with filters (see medfm cite --help)")
        keys: dict[str, None] = {}
        for record in records:
            keys |= dict.fromkeys(record["papers"])
            keys |= dict.fromkeys(source["cite"] for source in record["sources"].values() if source["cite"])
            scored = {score["model"] for table in record.get("tables", ()) for score in table["scores"]}
            for model in sorted(scored):
                keys |= dict.fromkeys(index.record(model)["papers"])
        papers = index.papers(keys)
    if given.format:
        printing.rows(papers, ["key", "label", "url", "bibtex"], given.format)
    else:
        print("\n".join(paper["bibtex"] for paper in papers))
    return 0


def graph(arguments: list[str]) -> int:
    parser = Parser(
        "graph",
        "Show how records refer to each other: what one was made from, and what was made from it.",
        ["uni2-h", "pcam --up", "--json", "uni2-h --dot"],
    )
    parser.add_argument("id", nargs="?", help="id, name or alias (default: everything, with --json, --csv or --dot)")
    parser.add_argument("--up", action="store_true", help="only what it was made from")
    parser.add_argument("--down", action="store_true", help="only what was made from it")
    add_formats(parser, "dot")
    given = parser.parse_args(arguments)
    with Index.open() as index:
        edges = index.edges()
        start = index.record(given.id)["id"] if given.id else None
    if start is None and given.format is None:
        from medfm.errors import UsageError

        raise UsageError("name a record, or choose --json, --csv or --dot for the whole graph")
    above = {e["source"]: [x for x in edges if x["source"] == e["source"]] for e in edges}
    below = {e["target"]: [x for x in edges if x["target"] == e["target"]] for e in edges}
    if start is not None:
        reached = ([] if given.down else _reach(start, above, "target")) + (
            [] if given.up else _reach(start, below, "source")
        )
        edges = [dict(e) for e in dict.fromkeys(tuple(e.items()) for e in reached)]
    if given.format == "dot":
        lines = [f'  "{e["source"]}" -> "{e["target"]}" [label="{e["relation"]}"];' for e in edges]
        print("\n".join(["digraph medfm {", "  rankdir=BT;", *lines, "}"]))
    elif given.format:
        printing.rows(edges, ["source", "relation", "target", "details"], given.format)
    else:
        assert start is not None
        print(start)
        if not given.down:
            _tree(start, above, "target", "  ", {start})
        if not given.up and below.get(start):
            print("\nreferred to by:")
            _tree(start, below, "source", "  ", {start})
    return 0


_LINEAGE = ("initialized-from", "finetuned-from", "distilled-from", "uses-encoder", "merged-from", "trained-on",
            "subset-of", "derived-from", "contains", "annotates", "same-cohort-as")  # fmt: skip


def _reach(start: str, edges: dict[str, list[dict[str, str]]], end: str) -> list[dict[str, str]]:
    found, waiting, seen = [], [start], {start}
    while waiting:
        for edge in edges.get(waiting.pop(), ()):
            found.append(edge)
            follow = edge["relation"].startswith(_LINEAGE)
            if follow and edge[end] not in seen:
                seen.add(edge[end])
                waiting.append(edge[end])
    return found


def _tree(node: str, edges: dict[str, list[dict[str, str]]], end: str, indent: str, seen: set[str]) -> None:
    for edge in edges.get(node, ()):
        again = " (see above)" if edge[end] in seen else ""
        details = f" ({edge['details']})" if edge["details"] else ""
        print(f"{indent}{edge['relation']} {edge[end]}{details}{again}")
        if not again and edge["relation"].startswith(_LINEAGE):
            seen.add(edge[end])
            _tree(edge[end], edges, end, indent + "  ", seen)


def leakage(arguments: list[str]) -> int:
    parser = Parser(
        "leakage",
        "Tell whether a model may have seen a dataset in training: itself, through a model it was made from, or through a "
        "dataset made from another.",
        ["uni2-h pcam", "midnight-12k imagenet-1k", "stu-net-l totalsegmentator-v2 --json"],
    )
    parser.add_argument("model", help="id, name or alias of the model that is tested")
    parser.add_argument("dataset", help="id, name or alias of the dataset that it is tested on")
    add_formats(parser)
    given = parser.parse_args(arguments)
    from medfm.catalog.leakage import exposures

    with Index.open() as index:
        model, dataset = index.record(given.model), index.record(given.dataset)
        for record, kind in ((model, "model"), (dataset, "dataset")):
            if record["kind"] != kind:
                from medfm.errors import UsageError

                raise UsageError(f"{record['id']} is a {record['kind']}; give a model, then a dataset")
        found = exposures(model["id"], dataset["id"], index.edges(), index.record)
    rows = [
        {
            "verdict": exposure.verdict,
            "sentence": exposure.sentence,
            "path": " | ".join(f"{s.source} {s.relation} {s.target}" for s in exposure.path),
            "read at": " | ".join(s.read_at for s in exposure.path),
        }
        for exposure in found
    ]
    if given.format:
        printing.rows(rows, ["verdict", "sentence", "path", "read at"], given.format)
        return 0
    for exposure in found:
        print(f"{exposure.verdict}: {exposure.sentence}")
        for step in exposure.path:
            part = f" ({step.details})" if step.details else ""
            print(f"    {step.source} {step.relation} {step.target}{part}   [{step.read_at or 'no evidence note'}]")
    return 0
