"""MusicXML file -> Notes: .musicxml, .xml, or .mxl, which is a zip archive with one inside (MusicXML 4.0, W3C).

It reads pitches as they sound, tied notes as one, times from divisions, tempo marks and meters. Measures begin together
in all parts and are as long as what is written in them, so an upbeat stays short. It plays repeated passages once, and
leaves out grace notes, and notes without a pitch for which the score states no MIDI number. Every note gets VELOCITY,
since a score has none. An element that cannot be read is left out and counted.

`READER_VERSION` (in musicjax.music) counts for this file too: raise it whenever the same bytes would give other notes.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter, defaultdict
from fractions import Fraction
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from musicjax.music import long_rests, musicxml_bars, musicxml_file, musicxml_programs, musicxml_values, tempo_map
from musicjax.music.musicxml_bars import Bar
from musicjax.music.musicxml_file import Mended, MusicXmlError
from musicjax.music.musicxml_programs import Players
from musicjax.music.musicxml_values import MOST_BEATS, MOST_DIVISIONS, Meter
from musicjax.music.notes import DRUMS, Notes, one_tempo

if TYPE_CHECKING:
    from musicjax.music.musicxml_file import Element

VELOCITY = 80
# What each code of something odd in a score means, and what became of it.
WORDS = {
    "bad_pitch": ("notes whose pitch cannot be read", "left out"),
    "bad_duration": ("notes, rests and steps whose duration cannot be read", "left out"),
    "value_as_duration": ("durations that cannot be read", "taken from the value of the note"),
    "bad_backup": ("steps back whose duration cannot be read or leads out of the bar", "taken to its start"),
    "bad_divisions": ("divisions that cannot be read", "left out"),
    "bad_transpose": ("transpositions that cannot be read", "left out"),
    "bad_tempo": ("tempos that cannot be read", "left out"),
    "bad_meter": ("meters that cannot be read", "left out"),
    "contradicting_meters": ("meters that contradict the first part", "left out"),
    "microtone": ("pitches between the keys", "moved to the nearest"),
    "pitch_range": ("pitches that MIDI has no number for", "left out"),
    "no_duration": ("notes of no duration", "left out"),
    "too_long": (f"bars that end after {MOST_BEATS:,} quarter notes", "left out with all that follows"),
}


@dataclasses.dataclass
class _Note:
    """Times in quarter notes since the start of the piece, exact."""

    pitch: int
    onset: Fraction
    end: Fraction
    program: int


@dataclasses.dataclass
class _Part:
    """What a part carries from one measure into the next.

    Attributes:
        divisions: units of duration in a quarter note.
        transpose: semitones from what is written to what sounds.
        tied: notes that wait for the one they are tied to, by (pitch, end).
        meters: those that it states in this measure.
        players: see `musicxml_programs`.
    """

    divisions: int = 1
    transpose: int = 0
    tied: dict[tuple[int, Fraction], list[_Note]] = dataclasses.field(default_factory=lambda: defaultdict(list))
    meters: list[Meter] = dataclasses.field(default_factory=list)
    players: Players = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class _Score:
    """What is found in all parts; tempos are (quarter notes since the start, quarter notes a minute).

    `odd` counts what is odd by its code, and `first` has the index of the bar where each is found first.
    """

    notes: list[_Note] = dataclasses.field(default_factory=list)
    tempos: list[tuple[Fraction, float]] = dataclasses.field(default_factory=list)
    bars: list[Bar] = dataclasses.field(default_factory=list)
    odd: Counter[str] = dataclasses.field(default_factory=Counter)
    first: dict[str, int] = dataclasses.field(default_factory=dict)

    def say(self, code: str, bar: int | None = None) -> None:
        """Counts something odd, in the bar that is being read if no other is named."""
        self.odd[code] += 1
        self.first.setdefault(code, len(self.bars) if bar is None else bar)


def read(path: str | os.PathLike, *, percussion: bool = True) -> tuple[Notes, Mended]:
    """The notes of one score, all parts merged, and {code: words} of what was mended to read it.

    Notes that start together keep the order of the file, part by part.

    Args:
        percussion: whether to keep the notes of instruments on MIDI's percussion channel.

    Raises:
        MusicXmlError: the file gives no notes, with the reason.
        OSError: it cannot be opened.
    """
    mended: Mended = {}
    root = musicxml_file.read(path, mended)
    score = _Score()
    players = musicxml_programs.of_parts(root)
    names, measures = _measures(root)
    end = _read_parts(measures, [_Part(players=players.get(name, {})) for name in names], score)
    meters, contradicting = musicxml_bars.meters(score.bars, end)
    for bar in contradicting:
        score.say("contradicting_meters", bar)
    for code, count in score.odd.items():
        what, done = WORDS[code]
        mended[code] = f"{what}: {count} {done}, the first in bar {score.first[code] + 1}"
    if not score.notes:
        code, why = next(iter(mended.items()), ("no_notes", ""))
        raise MusicXmlError(code, f"holds no notes{why and ': '}{why}")
    if not percussion:
        score.notes = [note for note in score.notes if note.program != DRUMS]
        if not score.notes:
            raise MusicXmlError("only_percussion", "holds notes of percussion only")
    return long_rests.shortened(_notes(score, meters), mended), mended


def _measures(root: Element) -> tuple[list[str], list[list[Element]]]:
    """(the id of each part, its measures)."""
    if root.tag == "score-partwise":
        parts = root.findall("part")
        return [part.get("id", "") for part in parts], [part.findall("measure") for part in parts]
    rows = [{part.get("id", ""): part for part in measure.findall("part")} for measure in root.findall("measure")]
    names = list(dict.fromkeys(name for row in rows for name in row))
    empty = type(root)("part")
    return names, [[row.get(name, empty) for row in rows] for name in names]


def _read_parts(measures: list[list[Element]], parts: list[_Part], score: _Score) -> Fraction:
    """Adds what all parts hold, until the piece lasts longer than any music; returns the beat on which it ends."""
    start = Fraction(0)
    for together in zip_longest(*measures):
        notes, tempos = len(score.notes), len(score.tempos)
        lengths = [
            _read_measure(measure, part, start, score)
            for measure, part in zip(together, parts, strict=True)
            if measure is not None
        ]
        end = start + max(lengths, default=Fraction(0))
        if end > MOST_BEATS:
            score.say("too_long")
            del score.notes[notes:], score.tempos[tempos:]
            for note in score.notes:
                note.end = min(note.end, start)  # a tie may have led it on
            break
        stated = [(number, meter) for number, part in enumerate(parts) for meter in part.meters]
        score.bars.append(Bar(start, stated))
        start = end
    return start


def _read_measure(measure: Element, part: _Part, start: Fraction, score: _Score) -> Fraction:
    """Adds what a measure of a part holds; returns its length in quarter notes."""
    now = longest = before = Fraction(0)  # before: where the last note began, for those that sound with it
    waits = False  # whether that note's duration is not known, so that one that sounds with it tells it
    part.meters.clear()
    for item in measure:
        if item.tag == "attributes":
            _read_attributes(item, part, score)
        elif item.tag == "backup":
            step = musicxml_values.duration(item, part.divisions)
            if step is None or step > now:
                score.say("bad_backup")
            now = Fraction(0) if step is None else max(now - step, Fraction(0))
        elif item.tag == "forward":
            now += _duration(item, part, score) or 0
        elif item.tag in ("direction", "sound"):
            _read_tempo(item, start + now, score)
        elif item.tag == "note" and item.find("grace") is None:
            duration = _duration(item, part, score)
            if waits or item.find("chord") is None:
                before, waits = now, duration is None
                now += duration or 0
            if duration is not None and item.find("cue") is None:
                _read_note(item, start + before, duration, part, score)
        longest = max(longest, now)
    return longest


def _read_attributes(attributes: Element, part: _Part, score: _Score) -> None:
    divisions = attributes.findtext("divisions")
    if divisions is not None:
        stated = musicxml_values.number(divisions, 1, MOST_DIVISIONS)
        if stated is None:
            score.say("bad_divisions")
        part.divisions = part.divisions if stated is None else int(stated)
    transpose = attributes.find("transpose")
    if transpose is not None:
        semitones = musicxml_values.transposition(transpose)
        if semitones is None:
            score.say("bad_transpose")
        part.transpose = part.transpose if semitones is None else semitones
    for time in attributes.findall("time"):
        meter = musicxml_values.meter(time)
        if meter is not None:
            part.meters.append(meter)
        elif time.find("senza-misura") is None:  # which says that there is none
            score.say("bad_meter")


def _read_tempo(item: Element, at: Fraction, score: _Score) -> None:
    for tempo in musicxml_values.tempos(item):
        if tempo is None:
            score.say("bad_tempo")
        else:
            score.tempos.append((at, tempo))


def _read_note(item: Element, onset: Fraction, duration: Fraction, part: _Part, score: _Score) -> None:
    if item.find("rest") is not None:
        return
    player = musicxml_programs.player_of(item, part.players)
    pitch = player.unpitched if item.find("unpitched") is not None else _sounding_pitch(item, part, score)
    if pitch is None:
        return
    if not duration:
        score.say("no_duration")
        return
    ties = {tie.get("type") for tie in item.findall("tie") or item.findall("notations/tied")}
    waiting = part.tied[pitch, onset] if "stop" in ties else []
    if waiting:
        note = waiting.pop(0)
        note.end = onset + duration
    else:
        note = _Note(pitch, onset, onset + duration, player.program)
        score.notes.append(note)
    if "start" in ties:
        part.tied[pitch, note.end].append(note)


def _sounding_pitch(item: Element, part: _Part, score: _Score) -> int | None:
    """The MIDI number of a note with a pitch; None if it has none."""
    written = musicxml_values.pitch(item)
    if written is None:
        score.say("bad_pitch")
        return None
    if written != round(written):
        score.say("microtone")
    pitch = round(written) + part.transpose
    if not 0 <= pitch <= 127:
        score.say("pitch_range")
        return None
    return pitch


def _duration(item: Element, part: _Part, score: _Score) -> Fraction | None:
    """Quarter notes; what it says, else the value of the note, else None."""
    duration = musicxml_values.duration(item, part.divisions)
    if duration is not None:
        return duration
    value = musicxml_values.value(item)
    score.say("bad_duration" if value is None else "value_as_duration")
    return value


def _notes(score: _Score, meters: np.ndarray) -> Notes:
    found = sorted(score.notes, key=lambda note: note.onset)
    onset_beats = np.array([note.onset for note in found], np.float64)
    end_beats = np.array([note.end for note in found], np.float64)
    tempos = tempo_map.in_order([(float(beat), bpm) for beat, bpm in score.tempos], one_tempo()[0])
    paces = [(beat, 60 / bpm) for beat, bpm in tempos.tolist()]
    onset, end = (tempo_map.seconds_at(beats, paces) for beats in (onset_beats, end_beats))
    pitch = np.array([note.pitch for note in found], np.int16)
    velocity = np.full(len(found), VELOCITY, np.int16)
    duration_beats = np.array([note.end - note.onset for note in found], np.float64)
    program = np.array([note.program for note in found], np.int16)
    return Notes(pitch, velocity, onset, end - onset, onset_beats, duration_beats, tempos, meters, program)
