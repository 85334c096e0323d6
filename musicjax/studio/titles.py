"""What pieces are called: on the page, in the words of what can be undone, and as files."""

from __future__ import annotations

import re
from collections.abc import Sequence

# What a file name must not contain on common file systems.
NO_FILE_NAME = re.compile(r'[\\/:*?"<>|\x00-\x1f]')


def of_piece(number: int) -> str:
    """The title of a piece that somebody asked for; number: as the page counts, from 1."""
    return f"Piece {number}"


def of_sample(run: str, epoch: int) -> str:
    """The title of what a run wrote while it learned."""
    return f"{run}, round {epoch}"


def of_pieces(numbers: Sequence[int]) -> str:
    """Pieces within a sentence; numbers: in a row, at least one."""
    first, last = numbers[0], numbers[-1]
    return f"piece {first}" if first == last else f"pieces {first} to {last}"


def within_a_sentence(title: str) -> str:
    """A title as a sentence has it; the name of a run stays as it is."""
    return re.sub(r"^Piece (?=\d+$)", "piece ", title)


def file_name(title: str, key: str, suffix: str) -> str:
    """The name of a file; key: such as "D minor", empty: it has none."""
    return NO_FILE_NAME.sub("_", f"{title}, {key}" if key else title) + suffix
