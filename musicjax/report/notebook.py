"""Pieces in a notebook: their piano rolls, and a player."""

from __future__ import annotations

import html
from collections.abc import Sequence

from musicjax import arguments
from musicjax.music import notes as notes_lib
from musicjax.music.notes import Notes
from musicjax.report import page
from musicjax.report.pieces import Sample

# Of a frame that shows one piece or several.
HEIGHT_OF_ONE, HEIGHT_OF_SEVERAL = 420, 640


class Shown:
    """Pieces that a notebook shows as the page that plays them."""

    def __init__(self, pieces: Sequence[Notes]) -> None:
        self.pieces = list(pieces)

    def __repr__(self) -> str:
        notes = ", ".join(f"{len(piece):,}" for piece in self.pieces) or "0"
        return f"Shown(pieces of {notes} notes): a notebook plays it; elsewhere, Notes.write makes a MIDI file"

    def _repr_html_(self) -> str:
        samples = [Sample(f"piece {number}", piece) for number, piece in enumerate(self.pieces)]
        text = page.html(page.Page(title="musicjax", samples=samples, is_run=False))
        height = HEIGHT_OF_ONE if len(samples) == 1 else HEIGHT_OF_SEVERAL
        # The frame keeps the styles of the notebook and of the page apart.
        return (
            f'<iframe title="Pieces" sandbox="allow-scripts" style="width: 100%; height: {height}px; border: 0" '
            f'srcdoc="{html.escape(text)}"></iframe>'
        )


def show(pieces: Notes | Sequence[Notes]) -> Shown:
    """Shows one piece or several in a notebook: piano rolls, and a player that works offline.

    Raises:
        UsageError: an argument is no `Notes`, or its values are out of range.
    """
    several = (
        [pieces]
        if isinstance(pieces, Notes)
        else arguments.list_of("pieces", pieces, Notes, "Notes, or a list of them")
    )
    for number, piece in enumerate(several):
        notes_lib.check(piece, "Notes" if isinstance(pieces, Notes) else f"pieces[{number}]")
    return Shown(several)
