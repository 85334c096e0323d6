"""MusicXML file -> Notes: .musicxml, or .mxl, which is a zip archive with one inside (MusicXML 4.0, W3C).

What is read: pitches as they sound, tied notes as one, times from divisions, and tempo marks. Measures begin
together in all parts and are as long as what is written in them, so an upbeat is as short as it is. Repeats are
played once; grace notes and notes without pitch are left out; every velocity is VELOCITY, since a score has none.

`READER_VERSION` (in musicjax.music) counts for this file too: raise it whenever the same bytes would give other notes.
"""

from __future__ import annotations

import dataclasses
import io
import math
import os
import re
from collections import defaultdict
from fractions import Fraction
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from musicjax.music.notes import NoNotesError, Notes
from musicjax.music.tempo_map import seconds_at

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

VELOCITY = 80
DEFAULT_BPM = 120.0  # quarter notes a minute, until a score says otherwise
MOST_BYTES = 32 * 2**20  # of one file
MOST_XML_BYTES = 64 * 2**20  # of the score inside an archive, of which a few bytes can hold any number
MOST_DIVISIONS = 16_383  # of a quarter note, as the format says
MOST_BEATS = 1_000_000  # of one duration and of a piece: far above any music
CONTAINER = "META-INF/container.xml"
SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


class MusicXmlError(NoNotesError):
    """A file that is no score, or one that gives no notes."""


@dataclasses.dataclass
class _Note:
    """Times in quarter notes since the start of the piece, exact."""

    pitch: int
    onset: Fraction
    end: Fraction


@dataclasses.dataclass
class _Part:
    """What a part carries from one measure into the next.

    Attributes:
        divisions: units of duration in a quarter note.
        transpose: semitones from what is written to what sounds.
        tied: notes that wait for the one they are tied to, by (pitch, end).
    """

    divisions: int = 1
    transpose: int = 0
    tied: dict[tuple[int, Fraction], list[_Note]] = dataclasses.field(default_factory=lambda: defaultdict(list))


@dataclasses.dataclass
class _Score:
    """What is found in all parts; tempos are (quarter notes since the start, quarter notes a minute)."""

    notes: list[_Note] = dataclasses.field(default_factory=list)
    tempos: list[tuple[Fraction, float]] = dataclasses.field(default_factory=list)
    mended: dict[str, str] = dataclasses.field(default_factory=dict)


def read(path: str | os.PathLike) -> tuple[Notes, dict[str, str]]:
    """The notes of one score, all parts merged, and {code: words} of what was mended to read it.

    Notes that start together keep the order of the file, part by part.

    Raises:
        MusicXmlError: the file gives no notes, with the reason.
        OSError: it cannot be opened.
    """
    with open(path, "rb") as stream:
        data = stream.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise MusicXmlError("too_many_bytes", f"has more than {MOST_BYTES:,} bytes")
    if os.fspath(path).lower().endswith(".mxl"):
        data = _unzip(data)
    score, start = _Score(), Fraction(0)
    measures = _measures(_parse(data))
    parts = [_Part() for _ in measures]
    for together in zip_longest(*measures):
        lengths = [
            _read_measure(measure, part, start, score)
            for measure, part in zip(together, parts, strict=True)
            if measure is not None
        ]
        start += max(lengths, default=Fraction(0))
        if start > MOST_BEATS:
            raise MusicXmlError("too_long", f"lasts longer than {MOST_BEATS:,} quarter notes")
    if not score.notes:
        raise MusicXmlError("no_notes", "holds no notes")
    return _notes(score), score.mended


def count_parts(path: str | os.PathLike) -> int:
    """How many parts an .mxl file announces; raises as `read`."""
    with open(path, "rb") as stream:
        return len(re.findall(rb"<score-part\s", _unzip(stream.read(MOST_BYTES))))


def _unzip(data: bytes) -> bytes:
    """The score inside an archive, which its container file names."""
    import zipfile  # with xml's, the imports that only such files need

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            container = _parse(_member(archive, CONTAINER))
            names = [node.get("full-path", "") for node in container.iter() if node.tag.endswith("rootfile")]
            if not names:
                raise MusicXmlError("no_score", f"its {CONTAINER} names no score")
            return _member(archive, names[0])
    except KeyError as error:
        raise MusicXmlError("no_score", f"no compressed MusicXML: {error.args[0]}") from error
    except (MusicXmlError, MemoryError):
        raise
    except Exception as error:  # zipfile and what it unpacks with have a dozen kinds for damage
        raise MusicXmlError("bad_archive", f"no zip archive, or a damaged one: {error}") from error


def _member(archive, name: str) -> bytes:
    with archive.open(name) as stream:
        data = stream.read(MOST_XML_BYTES + 1)
    if len(data) > MOST_XML_BYTES:
        raise MusicXmlError("too_many_bytes", f"holds a score of more than {MOST_XML_BYTES:,} bytes")
    return data


def _parse(data: bytes) -> Element:
    """The tree of an XML document; entities, which could grow without end or name other files, are refused."""
    from xml.etree.ElementTree import TreeBuilder
    from xml.parsers import expat

    def refuse(name: str, *rest: object) -> None:
        raise MusicXmlError("entities", f"declares the entity {name[:40]!r}, which no score needs")

    parser, builder = expat.ParserCreate(), TreeBuilder()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise MusicXmlError("bad_xml", f"no XML, or damaged: {error}") from error
    except (LookupError, ValueError) as error:  # an encoding that there is not
        raise MusicXmlError("bad_xml", f"no XML that can be read: {error}") from error
    return builder.close()


def _measures(root: Element) -> list[list[Element]]:
    """The measures of each part."""
    if root.tag == "score-partwise":
        return [part.findall("measure") for part in root.findall("part")]
    if root.tag != "score-timewise":
        raise MusicXmlError("not_musicxml", f"no score: expected score-partwise, found {root.tag[:40]!r}")
    rows = [{part.get("id"): part for part in measure.findall("part")} for measure in root.findall("measure")]
    names = list(dict.fromkeys(name for row in rows for name in row))
    empty = type(root)("part")
    return [[row.get(name, empty) for row in rows] for name in names]


def _read_measure(measure: Element, part: _Part, start: Fraction, score: _Score) -> Fraction:
    """Adds what a measure of a part holds; its length in quarter notes."""
    now = longest = before = Fraction(0)  # before: where the last note began, for those that sound with it
    for item in measure:
        if item.tag == "attributes":
            _read_attributes(item, part)
        elif item.tag == "backup":
            now = max(now - _duration(item, part), Fraction(0))
        elif item.tag == "forward":
            now += _duration(item, part)
        elif item.tag in ("direction", "sound"):
            _read_tempo(item, start + now, score)
        elif item.tag == "note" and item.find("grace") is None:
            duration = _duration(item, part)
            if item.find("chord") is None:
                before, now = now, now + duration
            if item.find("pitch") is not None and item.find("cue") is None:
                _read_note(item, start + before, duration, part, score)
        longest = max(longest, now)
    return longest


def _read_attributes(attributes: Element, part: _Part) -> None:
    divisions = attributes.findtext("divisions")
    if divisions is not None:
        part.divisions = int(_number(divisions, "divisions", 1, MOST_DIVISIONS))
    transpose = attributes.find("transpose")
    if transpose is not None:
        chromatic = _number(transpose.findtext("chromatic", "0"), "transpose", -127, 127)
        octaves = _number(transpose.findtext("octave-change", "0"), "transpose", -10, 10)
        part.transpose = round(chromatic + 12 * octaves)


def _read_tempo(item: Element, at: Fraction, score: _Score) -> None:
    for sound in item.iter("sound"):
        tempo = sound.get("tempo")
        if tempo is None:
            continue
        try:
            score.tempos.append((at, _number(tempo, "tempo", 1, 10_000)))
        except MusicXmlError as error:
            score.mended.setdefault("bad_tempo", f"{error}; left out")


def _read_note(item: Element, onset: Fraction, duration: Fraction, part: _Part, score: _Score) -> None:
    step = item.findtext("pitch/step", "").strip()
    if step not in SEMITONES:
        raise MusicXmlError("bad_number", f"step {step[:40]!r}: expected a letter from A to G")
    octave = _number(item.findtext("pitch/octave"), "octave", -10, 20)
    alter = _number(item.findtext("pitch/alter", "0"), "alter", -12, 12)
    if alter != round(alter):
        score.mended.setdefault("microtone", "pitches between the keys moved to the nearest")
    pitch = round(12 * (octave + 1) + SEMITONES[step] + alter) + part.transpose
    if not 0 <= pitch <= 127:
        score.mended.setdefault("pitch_range", "pitches that MIDI has no number for left out")
        return
    if not duration:
        score.mended.setdefault("no_duration", "notes of no duration left out")
        return
    ties = {tie.get("type") for tie in item.findall("tie") or item.findall("notations/tied")}
    waiting = part.tied[pitch, onset] if "stop" in ties else []
    if waiting:
        note = waiting.pop(0)
        note.end = onset + duration
    else:
        note = _Note(pitch, onset, onset + duration)
        score.notes.append(note)
    if "start" in ties:
        part.tied[pitch, note.end].append(note)


def _duration(item: Element, part: _Part) -> Fraction:
    """Quarter notes."""
    value = _number(item.findtext("duration"), "duration", 0, MOST_BEATS * part.divisions)
    return Fraction(value) / part.divisions


def _number(text: str | None, what: str, low: float, high: float) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise MusicXmlError("bad_number", f"{what} {(text or '')[:40]!r}: expected a number in {low}..{high}")
    return value


def _notes(score: _Score) -> Notes:
    found = sorted(score.notes, key=lambda note: note.onset)
    onset_beats = np.array([note.onset for note in found], np.float64)
    end_beats = np.array([note.end for note in found], np.float64)
    changes = [(0.0, 60 / DEFAULT_BPM), *((float(beat), 60 / bpm) for beat, bpm in score.tempos)]
    onset, end = (seconds_at(beats, changes) for beats in (onset_beats, end_beats))
    pitch = np.array([note.pitch for note in found], np.int16)
    velocity = np.full(len(found), VELOCITY, np.int16)
    duration_beats = np.array([note.end - note.onset for note in found], np.float64)
    return Notes(pitch, velocity, onset, end - onset, onset_beats, duration_beats)
