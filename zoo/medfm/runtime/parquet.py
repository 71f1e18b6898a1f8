"""Tables of many results as Parquet: one row an input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfm.errors import MissingExtraError


def vectors(names: Sequence[str], values: NDArray[np.float32]) -> Any:
    """Return a table with the columns `name` and `vector`, a list of fixed length.

    Args:
        names: of the inputs.
        values: (inputs, dimension).
    """
    arrow = library()
    flat = arrow.array(np.ascontiguousarray(values, dtype=np.float32).reshape(-1))
    return arrow.table({"name": list(names), "vector": arrow.FixedSizeListArray.from_arrays(flat, values.shape[1])})


def scores(names: Sequence[str], values: Mapping[str, NDArray[np.float32]], groups: Mapping[str, Sequence[str]]) -> Any:
    """Return a table with the column `name` and one column a label, `group: label` where there are several groups.

    Args:
        names: of the inputs.
        values: group -> (inputs, labels).
        groups: group -> labels.
    """
    columns: dict[str, Any] = {"name": list(names)}
    for group, labels in groups.items():
        for i, label in enumerate(labels):
            columns[f"{group}: {label}" if len(groups) > 1 else label] = values[group][:, i].astype(np.float32)
    return library().table(columns)


def write(path: Path, table: Any, metadata: Mapping[str, str]) -> None:
    """Write a table with metadata about its making."""
    from pyarrow import parquet

    parquet.write_table(table.replace_schema_metadata(dict(metadata)), path)


def names_in(path: Path) -> list[str]:
    """Return the names of the inputs in a table."""
    library()
    from pyarrow import parquet

    found: list[str] = parquet.read_table(path, columns=["name"])["name"].to_pylist()
    return found


def merge(parts: Sequence[Path], target: Path, metadata: Mapping[str, str]) -> None:
    """Write the rows of all parts into one file, part by part: they need not fit into memory together."""
    library()
    from pyarrow import parquet

    schema = parquet.read_schema(parts[0]).with_metadata(dict(metadata))
    with parquet.ParquetWriter(target, schema) as writer:
        for part in parts:
            writer.write_table(parquet.read_table(part).replace_schema_metadata(dict(metadata)))


def library() -> Any:
    """Return pyarrow.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pyarrow
    except ImportError:
        raise MissingExtraError("pyarrow", "tables", why="writing Parquet") from None
    return pyarrow
