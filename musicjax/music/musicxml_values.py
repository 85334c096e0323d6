"""What the elements of a score say, as numbers: durations, pitches, tempos, meters. None where they say nothing."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TYPE_CHECKING

from musicjax.music.bar_position import is_meter

if TYPE_CHECKING:
    from musicjax.music.musicxml_file import Element

SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
# Quarter notes in each value of a note, from the longest.
VALUES = (
    *("maxima", "long", "breve", "whole", "half", "quarter", "eighth"),
    *("16th", "32nd", "64th", "128th", "256th", "512th", "1024th"),
)
QUARTERS = {name: Fraction(32) / 2**place for place, name in enumerate(VALUES)}
MOST_DIVISIONS = 16_383  # of a quarter note, as the format says
MOST_BEATS = 1_000_000  # of one duration and of a piece: far above any music
LEAST_BPM, MOST_BPM = 1, 10_000  # quarter notes a minute
Meter = tuple[int, int]  # numerator, denominator


def number(text: str | None, low: float, high: float) -> float | None:
    """The number in low..high that a text is."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if low <= value <= high else None  # None also where it is nan


def duration(item: Element, divisions: int) -> Fraction | None:
    """The <duration> of an element, quarter notes, each of `divisions` divisions."""
    value = number(item.findtext("duration"), 0, MOST_BEATS * divisions)
    return None if value is None else Fraction(value) / divisions


def value(item: Element, name: str = "type", dot: str = "dot") -> Fraction | None:
    """Quarter notes in the value of a note: its type, its dots, and the tuplet that it is in."""
    quarters = QUARTERS.get(item.findtext(name, "").strip())
    if quarters is None:
        return None
    quarters *= 2 - Fraction(1, 2 ** min(len(item.findall(dot)), 8))
    actual = number(item.findtext("time-modification/actual-notes", "1"), 1, 1000)
    normal = number(item.findtext("time-modification/normal-notes", "1"), 1, 1000)
    return quarters * Fraction(normal) / Fraction(actual) if actual and normal else quarters


def pitch(note: Element) -> float | None:
    """The pitch of a note as it is written: a MIDI number, or one between two."""
    semitones = SEMITONES.get(note.findtext("pitch/step", "").strip().upper())
    octave = number(note.findtext("pitch/octave"), -10, 20)
    alter = number(note.findtext("pitch/alter", "0"), -12, 12)
    if semitones is None or octave is None or alter is None:
        return None
    return 12 * (octave + 1) + semitones + alter


def transposition(transpose: Element) -> int | None:
    """Semitones from what is written to what sounds."""
    chromatic = number(transpose.findtext("chromatic", "0"), -127, 127)
    octaves = number(transpose.findtext("octave-change", "0"), -10, 10)
    return None if chromatic is None or octaves is None else round(chromatic + 12 * octaves)


def tempos(item: Element) -> list[float | None]:
    """The tempos in a <direction> or <sound>, quarter notes a minute.

    What is to be played (<sound tempo>) counts, and where that is missing or cannot be read, what is to be seen
    (<metronome>). A metronome mark that only says that two values last equally long is no tempo, and not in the list.
    """
    stated = [sound.get("tempo") for sound in item.iter("sound")]
    heard = [number(tempo, LEAST_BPM, MOST_BPM) for tempo in stated if tempo is not None]
    if any(tempo is not None for tempo in heard):
        return heard
    marks = [mark for mark in item.iter("metronome") if mark.find("per-minute") is not None]
    return heard + [_metronome(mark) for mark in marks]


def _metronome(mark: Element) -> float | None:
    """The tempo of a mark such as "quarter = 90" or "half = c. 60"; of a range, where it begins."""
    quarters = value(mark, "beat-unit", "beat-unit-dot")
    found = re.search(r"\d+([.,]\d+)?", mark.findtext("per-minute", ""))
    if quarters is None or not found:
        return None
    return number(str(float(found[0].replace(",", ".")) * float(quarters)), LEAST_BPM, MOST_BPM)


def meter(time: Element) -> Meter | None:
    """The meter of a <time>: its <beats>, perhaps a sum such as 3+2, over its <beat-type>; several pairs add up."""
    beats = [_sum(element.text) for element in time.findall("beats")]
    types = [_sum(element.text) for element in time.findall("beat-type")]
    if not beats or len(beats) != len(types) or not all(beats) or not all(is_meter(1, kind) for kind in types):
        return None
    denominator = max(types)
    numerator = sum(count * denominator // kind for count, kind in zip(beats, types, strict=True))
    return (numerator, denominator) if is_meter(numerator, denominator) else None


def _sum(text: str | None) -> int:
    """The sum of the whole numbers in a text such as 3+2; 0 if it is not one, or a number in it is 0."""
    if not re.fullmatch(r"\s*\d{1,3}\s*(\+\s*\d{1,3}\s*)*", text or ""):
        return 0
    counts = [int(word) for word in (text or "").split("+")]
    return sum(counts) if all(counts) else 0
