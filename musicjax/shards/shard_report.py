"""What became of each file that shards were written from, as Parquet: a row a file, a group of rows a shard.

The only importer of pyarrow.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from musicjax import files
from musicjax.corpus.corpus import Outcome
from musicjax.errors import UsageError
from musicjax.shards.read_task import Row
from musicjax.shards.settle import Pieces
from musicjax.shards.shards import EXTRA


def _libraries() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError(f"shards need the package pyarrow: expected it to be installed; {EXTRA}") from error
    return pyarrow, parquet


def require_library() -> None:
    """Raises UsageError if pyarrow is not installed."""
    _libraries()


def _schema(pyarrow: Any) -> Any:
    text, whole = pyarrow.string(), pyarrow.int64()
    return pyarrow.schema(
        {
            "path": text,
            "status": text,
            "code": text,
            "detail": text,
            "notes": whole,
            "seconds": pyarrow.float64(),
            "sha256": text,
            "same_as": text,
            "uses": pyarrow.list_(pyarrow.int8()),
        }
    )


def write(path: Path, tables: Iterable[Iterable[Row]], pieces: Pieces, alike: np.ndarray, uses: np.ndarray) -> None:
    """Writes the report: the fields of `Outcome`, and the uses of the pieces of each file, as in `split`.

    Args:
        alike: of each piece the first one that is the same, int64 [P].
        uses: int8 [P].
    """
    pyarrow, parquet = _libraries()
    schema, at = _schema(pyarrow), 0
    with (
        files.whole(path, durable=True) as partial,
        parquet.ParquetWriter(partial, schema, compression="zstd") as writer,
    ):
        for table in tables:
            found: list[dict[str, Any]] = []
            for row in table:
                own = slice(at, at + len(row.pieces))
                at = own.stop
                firsts = zip(alike[own].tolist(), range(own.start, at), strict=True)
                same_as = dict.fromkeys(pieces.names[first] for first, piece in firsts if first != piece)
                found.append(
                    {
                        "path": _text(row.path),
                        "status": row.status,
                        "code": row.code,
                        "detail": _text(row.detail),
                        "notes": sum(piece.notes for piece in row.pieces),
                        "seconds": row.seconds,
                        "sha256": row.sha256,
                        "same_as": _text(", ".join(same_as)),
                        "uses": uses[own].tolist(),
                    }
                )
            writer.write_table(pyarrow.Table.from_pylist(found, schema))


def _text(text: str) -> str:
    """A text as Unicode; bytes of a name that are not Unicode become escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def outcomes(path: Path) -> Iterator[tuple[Outcome, list[int]]]:
    """What became of each file, and the uses of its pieces, in order."""
    _, parquet = _libraries()
    with parquet.ParquetFile(path) as report:
        for group in range(report.num_row_groups):
            for row in report.read_row_group(group).to_pylist():
                uses = row.pop("uses")
                yield Outcome(**row), uses


def uses(path: Path, group: int) -> list[int]:
    """The uses of the pieces of the files of one shard."""
    _, parquet = _libraries()
    with parquet.ParquetFile(path) as report:
        return [use for own in report.read_row_group(group, ["uses"]).column(0).to_pylist() for use in own]


def reasons(path: Path) -> collections.Counter[tuple[str, str]]:
    """How many files have each (status, code)."""
    _, parquet = _libraries()
    found: collections.Counter[tuple[str, str]] = collections.Counter()
    with parquet.ParquetFile(path) as report:
        for group in range(report.num_row_groups):
            table = report.read_row_group(group, ["status", "code"])
            found.update(zip(*(column.to_pylist() for column in table.columns), strict=True))
    return found
