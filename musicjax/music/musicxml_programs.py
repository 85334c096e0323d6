"""Which instrument plays each note of a score: what its list of parts says -> programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from musicjax.music import instruments
from musicjax.music.midi_programs import PERCUSSION_CHANNEL
from musicjax.music.notes import DRUMS

if TYPE_CHECKING:
    from musicjax.music.musicxml_file import Element

# The programs of a part by the names of its instruments; the one of notes that name none is under "".
Programs = dict[str, int]


def of_parts(root: Element) -> dict[str, Programs]:
    """The programs of each part of a score by its id.

    An instrument has the program that is stated for it. If none is, it has the one whose General MIDI name it has, or
    else its part. It is drums on MIDI's percussion channel, and piano if nothing is known.
    """
    return {part.get("id", ""): _of_part(part) for part in root.findall("part-list/score-part")}


def _of_part(part: Element) -> Programs:
    named = instruments.named(part.findtext("part-name") or "")
    own = {one.get("id", ""): _named(one) for one in part.findall("score-instrument")}
    for played in part.findall("midi-instrument"):
        name, program = played.get("id", ""), _stated(played)
        if program is not None:
            own[name] = program
    found = {name: named or 0 if program is None else program for name, program in own.items()}
    return {"": next(iter(found.values()), named or 0)} | found


def _named(instrument: Element) -> int | None:
    return instruments.named(instrument.findtext("instrument-name") or "")


def _stated(played: Element) -> int | None:
    """What a midi-instrument says; it counts channels and programs from 1."""
    if _number(played, "midi-channel") == PERCUSSION_CHANNEL + 1:
        return DRUMS
    program = _number(played, "midi-program")
    return program - 1 if program is not None and 1 <= program <= instruments.PROGRAMS else None


def _number(element: Element, tag: str) -> int | None:
    text = (element.findtext(tag) or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else None
