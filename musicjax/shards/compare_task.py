"""Groups of pieces that may be the same -> which of them are. The notes of one piece are read at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from musicjax import files
from musicjax.music import identity
from musicjax.music.notes import Notes
from musicjax.shards import read_task

# Where a piece is: the number of a file of notes, where it begins there, and its bytes.
Place = tuple[int, int, int]


def request(notes: Sequence[str], groups: Path, result: Path) -> dict[str, Any]:
    """The task of comparing the pieces of each group; groups: a file of lists of places in files of notes, as JSON."""
    return {"notes": notes, "groups": str(groups), "result": str(result)}


def work(task: dict[str, Any]) -> None:
    """Writes for each piece of each group the place in the group of the first one that is the same, or its own."""
    groups = json.loads(Path(task["groups"]).read_text())
    found = [identity.first_of(pieces(task["notes"], group)).tolist() for group in groups]
    with files.whole(Path(task["result"])) as partial:
        partial.write_text(json.dumps(found))


def pieces(notes: Sequence[str], places: Iterable[Place]) -> Iterator[Notes]:
    """The pieces at these places, in turn; one file is open at a time."""
    opened, stream = -1, None
    try:
        for number, *place in places:
            if stream is None or number != opened:
                if stream is not None:
                    stream.close()
                opened, stream = number, open(notes[number], "rb")  # noqa: SIM115 - closed below
            yield read_task.notes(stream, read_task.sent(stream, *place))
    finally:
        if stream is not None:
            stream.close()
