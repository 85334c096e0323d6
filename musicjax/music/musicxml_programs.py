"""Who plays each note of a score: what its list of parts says -> programs, and the numbers of drums."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from musicjax.music import instruments
from musicjax.music.midi_programs import PERCUSSION_CHANNEL
from musicjax.music.notes import DRUMS

if TYPE_CHECKING:
    from musicjax.music.musicxml_file import Element


class Player(NamedTuple):
    """What plays a note.

    Attributes:
        program: General MIDI program, or DRUMS.
        unpitched: the MIDI number of notes without a pitch; None if the score states none.
    """

    program: int = 0
    unpitched: int | None = None


# The players of a part by the ids of its instruments; that of notes that name none of them is under "".
Players = dict[str, Player]


def of_parts(root: Element) -> dict[str, Players]:
    """The players of each part of a score by its id.

    An instrument on MIDI's percussion channel is drums. Any other has the program that is stated for it, or else the
    one whose General MIDI name it has, or else the one whose name its part has, or else 0, piano.
    """
    return {part.get("id", ""): _of_part(part) for part in root.findall("part-list/score-part")}


def player_of(note: Element, players: Players) -> Player:
    """The one that a note names, or else the first of its part."""
    instrument = note.find("instrument")
    first = players.get("", Player())
    return first if instrument is None else players.get(instrument.get("id", ""), first)


def _of_part(part: Element) -> Players:
    own_name = instruments.named(part.findtext("part-name") or "") or 0
    found = {one.get("id", ""): Player(_or(_named(one), own_name)) for one in part.findall("score-instrument")}
    for played in part.findall("midi-instrument"):
        name = played.get("id", "")
        program = _or(_stated(played), found.get(name, Player(own_name)).program)
        found[name] = Player(program, _counted_from_1(played, "midi-unpitched"))
    return {"": next(iter(found.values()), Player(own_name))} | found


def _or(program: int | None, other: int) -> int:
    return other if program is None else program


def _named(instrument: Element) -> int | None:
    return instruments.named(instrument.findtext("instrument-name") or "")


def _stated(played: Element) -> int | None:
    """The program of a midi-instrument; None if it states none."""
    if _counted_from_1(played, "midi-channel") == PERCUSSION_CHANNEL:
        return DRUMS
    return _counted_from_1(played, "midi-program")


def _counted_from_1(element: Element, tag: str) -> int | None:
    """A number that MusicXML counts from 1, 1..128, as MIDI counts it; None if the element does not say it."""
    text = (element.findtext(tag) or "").strip()
    is_number = text.isascii() and text.isdigit() and len(text) < 4
    return int(text) - 1 if is_number and 1 <= int(text) <= instruments.PROGRAMS else None
