"""The pieces of a list -> a shard: their notes, and the rows of note events that training reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from musicjax import files
from musicjax.music import note_bins, note_rows
from musicjax.music.note_bins import Bins
from musicjax.shards import read_task, shards, write_shard
from musicjax.shards.shards import Index
from musicjax.shards.tasks import Task


def request(
    work_folder: Path, task: Task, output: Path, number: int, uses: Sequence[int], learned: Path, result: Path
) -> dict[str, Any]:
    """The task of writing a shard.

    Args:
        number: of the shard.
        uses: of each piece; what is neither TRAINING nor VALIDATION is left out.
        learned: the file of the bins, see `learn_task`.
        result: the file that says that it is done, without its suffix.
    """
    return {
        "work": str(work_folder),
        "digest": task.digest,
        "output": str(output),
        "number": number,
        "uses": [*uses],
        "learned": str(learned),
        "result": str(result),
    }


def work(task: dict[str, Any]) -> None:
    """Writes the shard, its index, and the digests and the sizes of its files."""
    bins = note_bins.from_saved(json.loads(Path(task["learned"]).read_text())["bins"])
    output, number = Path(task["output"]), task["number"]
    index = write_shard.write(output, number, _pieces(task, bins), len(bins.sizes))
    shards.save_index(Path(f"{task['result']}.npz"), index)
    names = [shards.ROWS.format(number), shards.NOTES.format(number)]
    told = {
        "digests": {name: files.sha256(output / name) for name in names},
        "sizes": {name: (output / name).stat().st_size for name in names},
    }
    files.write(Path(f"{task['result']}.json"), json.dumps(told))


def _pieces(task: dict[str, Any], bins: Bins) -> Iterator[write_shard.Piece]:
    """The pieces that are used, in turn."""
    folder, read = Path(task["work"]), Task(task["digest"], 0)
    uses = iter(task["uses"])
    with read_task.notes_of(folder, read).open("rb") as stream:
        for row in read_task.rows(folder, read):
            for name, place in zip(row.names, row.pieces, strict=True):
                use = next(uses)
                if use in (shards.TRAINING, shards.VALIDATION):
                    sent = read_task.sent(stream, place.start, place.size)
                    notes = read_task.notes(stream, sent)
                    rows, _ = note_rows.encode(notes, bins)
                    if len(rows) > 1:  # else none of them is a target
                        yield write_shard.Piece(name, notes, rows, *note_rows.room(rows), use, sent)


class Shard(NamedTuple):
    """A shard that is written: its part of the index, and the sha256 and the bytes of its files, by their names."""

    part: Index
    digests: dict[str, str]
    sizes: dict[str, int]


def result(path: str) -> Shard | None:
    """The shard whose task has this result; None if it is not done."""
    try:
        told = json.loads(Path(f"{path}.json").read_text())
        return Shard(shards.load_index(Path(f"{path}.npz")), told["digests"], told["sizes"])
    except (OSError, ValueError, KeyError):
        return None
