"""What a notebook shows of pieces."""

from __future__ import annotations

import html
import re

import pytest

import musicjax
from musicjax.errors import UsageError
from musicjax.music.notes import from_beats


def test_a_notebook_gets_a_frame_with_a_page_that_plays_the_pieces():
    pieces = [from_beats([60, 64, 67][:notes], [80] * notes, range(notes), [1.0] * notes) for notes in (2, 3)]
    shown = musicjax.show(pieces)
    (frame,) = re.findall(
        r'^<iframe [^>]*sandbox="allow-scripts"[^>]* srcdoc="([^"]*)"></iframe>$', shown._repr_html_()
    )
    page = html.unescape(frame)
    assert page.count('class="play"') == 2 and "Play piece 1" in page and "script-src" in page
    assert repr(shown).startswith("Shown(pieces of 2, 3 notes): a notebook plays it; elsewhere, Notes.write")
    assert "model wrote" not in page
    assert musicjax.show(pieces[0])._repr_html_().count("Play piece") == 1


def test_a_piece_shows_itself_as_show_does():
    piece = from_beats([60, 64], [80, 80], [0, 1], [1.0, 1.0])
    assert piece._repr_html_() == piece.play()._repr_html_() == musicjax.show(piece)._repr_html_()
    assert from_beats([], [], [], []).play()._repr_html_().startswith("<iframe")


def test_a_piece_whose_notes_are_none_is_refused_by_the_entry():
    piece = from_beats([60], [80], [0], [1.0])
    piece.velocity[0] = 0
    with pytest.raises(UsageError, match=r"^Notes\.velocity\[0\]=0: expected 1\.\.127"):
        piece.play()


def test_what_is_no_piece_is_refused_by_name():
    with pytest.raises(UsageError, match=r"pieces='song.mid': expected Notes, or a list of them"):
        musicjax.show("song.mid")
