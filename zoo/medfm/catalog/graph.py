"""The graph: every record a node, every reference an edge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from medfm.catalog.records import Competition, Dataset, Model, Record, Results, Sample
from medfm.errors import MissingExtraError

if TYPE_CHECKING:
    import networkx

    from medfm.catalog.store import Catalog


class Edge(NamedTuple):
    """One reference: `source` was made from, trained on, scored on, ... `target`."""

    source: str
    relation: str
    target: str
    details: str


def edges_of(record: Record) -> Iterator[Edge]:
    """Give the references of one record."""
    if isinstance(record, Model):
        for ancestor in record.derived_from:
            yield Edge(record.id, ancestor.relation, ancestor.model, ancestor.details or "")
        for item in record.training.data if record.training else ():
            yield Edge(record.id, f"trained-on:{item.role}", item.dataset, item.split or "")
        for member in record.members:
            yield Edge(record.id, "has-member", member, "")
        for challenge in record.challenges:
            yield Edge(record.id, "addresses", challenge, "")
        if record.release and record.release.superseded_by:
            yield Edge(record.id, "superseded-by", record.release.superseded_by, "")
    elif isinstance(record, Dataset):
        for link in record.derived_from:
            yield Edge(record.id, link.relation, link.dataset, link.split or "")
    elif isinstance(record, Competition):
        for dataset in record.datasets:
            yield Edge(record.id, "uses-dataset", dataset, "")
        for metric in record.metrics:
            yield Edge(record.id, "ranks-by", metric, "")
    elif isinstance(record, Results):
        for table in record.tables:
            for score in table.scores:
                yield Edge(score.model, "scored-on", table.protocol.dataset, f"{table.metric} in {record.id}")
    elif isinstance(record, Sample):
        for model in record.models:
            yield Edge(record.id, "suits", model, "")


def edges(catalog: Catalog) -> list[Edge]:
    """Return every reference between records, each once, in the order of the records."""
    return list(dict.fromkeys(edge for record in catalog.all() for edge in edges_of(record)))


def to_networkx(catalog: Catalog) -> networkx.MultiDiGraph[str]:
    """Return the graph: nodes with `kind` and `name`, edges with the relation as key and `details`."""
    try:
        import networkx
    except ImportError:
        raise MissingExtraError("networkx", "tables", why="making the graph") from None
    graph: networkx.MultiDiGraph[str] = networkx.MultiDiGraph()
    for record in catalog.all():
        graph.add_node(record.id, kind=record.kind, name=record.name)
    for edge in edges(catalog):
        graph.add_edge(edge.source, edge.target, key=edge.relation, details=edge.details)
    return graph


__all__ = ["Edge", "edges", "edges_of", "to_networkx"]
