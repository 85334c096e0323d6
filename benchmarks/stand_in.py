"""Makes a folder with any number of MIDI files: a stand-in for a large corpus whose right answers are known.

    python -m benchmarks.stand_in --output=DIR [--files=100000] [--seed=0] [--pop909=DIR] [--processes=2]

A piece is a random span of 4 to 64 bars of a song by musicjax's composer. If --pop909 names a folder of MIDI such as
POP909, half of the pieces come from its files instead. Each piece is transposed, some of its notes are left out or
moved by an octave, so that no two pieces are the same, and it gets its own tempo, programs and resolution. Of the
files, 3 % are damaged and 5 % are copies of an earlier piece, with equal bytes, or with the same notes in another key
at another tempo. File k depends only on the seed, k and the folder of --pop909, so a smaller folder has the first files
of a larger one. Each subfolder has 1,000 files.

Prints, as its last line, one JSON object with how many files of each kind there are.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import multiprocessing
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import contestants
from musicjax.music import bar_position, builtin_clips, midi
from musicjax.music.builtin_clips import SECTIONS
from musicjax.music.notes import NEGLIGIBLE_BEATS, Notes, from_beats, one_meter

# The share of each kind of file. A copy is of a "piece" with a lower number.
COPIES = {"same_bytes": 0.02, "same_notes": 0.03}
DAMAGES = {"truncated": 0.01, "flipped_byte": 0.01, "garbage": 0.005, "empty": 0.005}
KINDS = {"piece": 1 - sum(COPIES.values()) - sum(DAMAGES.values()), **COPIES, **DAMAGES}
FOLDER = 1_000  # files
SONGS = 2_000  # that the composer makes
FEWEST_BARS, MOST_BARS, FEWEST_NOTES = 4, 64, 32
LEFT_OUT, OCTAVE_MOVED, LOWEST, HIGHEST = 0.08, 0.05, 24, 108  # shares of notes; the pitches that such a move may reach
TRANSPOSED = range(-5, 7)
TEMPOS_BPM = (50, 180)
RESOLUTIONS = (96, 120, 192, 240, 384, 480, 960)
MELODIC_PROGRAMS = 104  # of General MIDI, before its percussive instruments and noises
MOST_PARTS = 9  # the number of channels before the drum channel
ONE_TRACK = 0.3  # share of files


class Score(NamedTuple):
    """A piece as written: pitch, velocity, part, onset and end of N notes by onset, int64 [N]; times in ticks.

    Attributes:
        meter: numerator and denominator.
        programs: General MIDI, of each part.
        one_track: whether it is written as type 0, else as type 1.
    """

    pitch: np.ndarray
    velocity: np.ndarray
    part: np.ndarray
    onset: np.ndarray
    end: np.ndarray
    ticks_per_beat: int
    bpm: float
    meter: tuple[int, int]
    programs: list[int]
    one_track: bool


def main() -> None:
    asked = contestants.arguments(__doc__, output="", files=100_000, seed=0, pop909="", processes=2)
    if not asked.output:
        raise SystemExit("--output is missing: expected a new or empty folder")
    folder = Path(asked.output)
    if folder.exists() and any(folder.iterdir()):
        raise SystemExit(f"--output={folder}: expected a new or empty folder")
    if asked.pop909 and not _paths(asked.pop909):
        raise SystemExit(f"--pop909={asked.pop909}: expected a folder with .mid files")
    began = time.perf_counter()
    starts = range(0, asked.files, FOLDER)
    write = functools.partial(write_folder, folder, asked.seed, asked.pop909, asked.files)
    total: collections.Counter[str] = collections.Counter()
    with multiprocessing.get_context("spawn").Pool(min(asked.processes, len(starts))) as pool:
        for done, made in enumerate(pool.imap_unordered(write, starts), 1):
            total += made
            print(f"{done} of {len(starts)} folders", file=sys.stderr, flush=True)
    facts = {name: total.pop(name) for name in ("notes", "bytes")}
    settings = {"seed": asked.seed, "pop909": len(_paths(asked.pop909))}
    kinds = {kind: total[kind] for kind in KINDS}
    result = {"files": asked.files, "kinds": kinds, **facts, "seconds": round(time.perf_counter() - began, 1)}
    contestants.finish("stand_in", {**result, "settings": settings}, asked.save)


def write_folder(folder: Path, seed: int, pop909: str, files: int, start: int) -> collections.Counter[str]:
    """Writes FOLDER files from number `start` on, but stops before number `files`.

    Returns the counts of each kind, of "notes" in pieces and their copies, and of "bytes" in all.
    """
    inside = folder / f"{start // FOLDER:04}"
    inside.mkdir(parents=True)
    made: collections.Counter[str] = collections.Counter()
    for number in range(start, min(start + FOLDER, files)):
        kind, content, notes = file_of(seed, number, pop909)
        (inside / f"{number:07}.mid").write_bytes(content)
        made.update({kind: 1, "notes": notes, "bytes": len(content)})
    return made


def kind_of(seed: int, number: int) -> str:
    """The kind of file of this number; the first is a piece."""
    drawn = np.random.default_rng([seed, number, 0]).random() if number else 0.0
    return list(KINDS)[int(np.searchsorted(np.cumsum(list(KINDS.values()))[:-1], drawn, side="right"))]


def file_of(seed: int, number: int, pop909: str = "") -> tuple[str, bytes, int]:
    """(kind, content, number of notes) of one file; a damaged one counts as 0 notes."""
    kind = kind_of(seed, number)
    rng = np.random.default_rng([seed, number, 1])
    original = number
    while kind in COPIES and (original == number or kind_of(seed, original) != "piece"):
        original = int(rng.integers(number))
    score = score_of(seed, original, pop909)
    if kind == "same_notes":
        bpm = score.bpm * (0.7 if score.bpm > 100 else 1.4)
        score = score._replace(pitch=score.pitch + _semitones(rng, score.pitch), bpm=bpm)
    content = midi_of(score)
    if kind in DAMAGES:
        return kind, _damaged(rng, kind, content), 0
    return kind, content, len(score.pitch)


def _damaged(rng: np.random.Generator, kind: str, content: bytes) -> bytes:
    if kind == "truncated":
        return content[: int(rng.uniform(0.1, 0.95) * len(content))]
    if kind == "flipped_byte":
        place, changed = int(rng.integers(len(content))), int(rng.integers(1, 256))
        return content[:place] + bytes([content[place] ^ changed]) + content[place + 1 :]
    return rng.bytes(len(content)) if kind == "garbage" else b""


def score_of(seed: int, number: int, pop909: str = "") -> Score:
    """The piece of this number."""
    rng = np.random.default_rng([seed, number, 2])
    songs = _paths(pop909)
    is_composed = not songs or rng.random() < 0.5
    song = _song(seed, int(rng.integers(SONGS))) if is_composed else _read(songs[int(rng.integers(len(songs)))])
    lines = bar_position.lines(song.meters, song.onset_beats[-1])
    bars = round(FEWEST_BARS * (MOST_BARS / FEWEST_BARS) ** rng.random())
    first = int(rng.integers(max(len(lines) - 1 - bars, 0) + 1))
    begin = lines[first]
    low, high = np.searchsorted(song.onset_beats, (begin, lines[min(first + bars, len(lines) - 1)])).tolist()
    low = max(min(low, len(song) - FEWEST_NOTES), 0)  # the last bars may be silent
    notes = song[low : max(high, low + FEWEST_NOTES)]
    kept = rng.random(len(notes)) >= LEFT_OUT
    kept[0] = True
    notes = notes[kept]
    pitch = notes.pitch.astype(np.int64)
    moved = pitch + 12 * rng.choice([-1, 0, 1], len(pitch), p=[OCTAVE_MOVED / 2, 1 - OCTAVE_MOVED, OCTAVE_MOVED / 2])
    pitch = np.where((moved >= LOWEST) & (moved <= HIGHEST), moved, pitch)
    resolution = int(rng.choice(RESOLUTIONS))
    onset = notes.onset_beats - min(begin, notes.onset_beats[0])
    onset, end = (np.rint(times * resolution).astype(np.int64) for times in (onset, onset + notes.duration_beats))
    numerator, denominator = notes.meters[0, 1:].astype(int).tolist()
    return Score(
        pitch=pitch + _semitones(rng, pitch),
        velocity=np.clip(notes.velocity + rng.integers(-20, 21), 1, 127).astype(np.int64),
        part=notes.program.astype(np.int64),
        onset=onset,
        end=np.maximum(end, onset + 1),
        ticks_per_beat=resolution,
        bpm=float(rng.integers(*TEMPOS_BPM)),
        meter=(numerator, denominator),
        programs=rng.integers(MELODIC_PROGRAMS, size=MOST_PARTS).tolist(),
        one_track=bool(rng.random() < ONE_TRACK),
    )


def _semitones(rng: np.random.Generator, pitch: np.ndarray) -> int:
    """How far pitches [N] are moved; all stay in MIDI's range."""
    low, high = max(TRANSPOSED[0], -int(pitch.min())), min(TRANSPOSED[-1], 127 - int(pitch.max()))
    return int(rng.integers(low, high + 1))


@functools.cache
def _paths(folder: str) -> tuple[Path, ...]:
    return tuple(sorted(Path(folder).rglob("*.mid"))) if folder else ()


@functools.cache
def _read(path: Path) -> Notes:
    """A file's notes, their parts as programs."""
    notes = midi.read(path, percussion=False, tracks="apart")
    return _in_parts(notes, np.unique(notes.program, return_inverse=True)[1])


@functools.cache
def _song(seed: int, number: int) -> Notes:
    """A song of the composer, its parts as programs: verse, chorus, and both again."""
    clips = [builtin_clips.compose(seed, len(SECTIONS) * number + section) for section in range(len(SECTIONS))] * 2
    bar = float(bar_position.beats_per_bar(np.array([(0, *clips[0].meter)]))[0])
    columns, begin = [], 0.0
    for clip in clips:
        ends = 0.0
        for part, notes in enumerate(clip.parts):
            onset = begin + notes.onset_beats
            columns.append(np.stack([notes.pitch, notes.velocity, onset, notes.duration_beats, 0 * onset + part]))
            ends = max(ends, float((onset + notes.duration_beats).max()))
        begin = np.ceil(ends / bar - NEGLIGIBLE_BEATS) * bar
    pitch, velocity, onset, duration, part = np.concatenate(columns, axis=1)
    notes = from_beats(pitch, velocity, onset, duration)  # by onset, stably
    notes = dataclasses.replace(notes, meters=one_meter(*clips[0].meter))
    return _in_parts(notes, part[np.argsort(onset, kind="stable")])


def _in_parts(notes: Notes, part: np.ndarray) -> Notes:
    return dataclasses.replace(notes, program=np.minimum(part, MOST_PARTS - 1).astype(np.int16))


# MIDI bytes. `midi.write` gives each note a channel of its own where it needs one, and takes twenty times as long.


def midi_of(score: Score) -> bytes:
    """The piece as a MIDI file of one track, or of one for each part and one for tempo and meter."""
    tempo = round(60e6 / score.bpm).to_bytes(3, "big")
    numerator, denominator = score.meter
    head = b"\x00\xff\x51\x03" + tempo
    head += b"\x00\xff\x58\x04" + bytes([numerator, denominator.bit_length() - 1, 24, 8])
    parts = np.unique(score.part).tolist()
    changes = {part: bytes([0, 0xC0 + part, score.programs[part]]) for part in parts}
    if score.one_track:
        tracks = [head + b"".join(changes.values()) + _events(score, np.ones(len(score.part), bool))]
    else:
        tracks = [head, *(changes[part] + _events(score, score.part == part) for part in parts)]
    chunks = [b"MTrk" + (len(track) + 4).to_bytes(4, "big") + track + b"\x00\xff\x2f\x00" for track in tracks]
    numbers = (int(not score.one_track), len(tracks), score.ticks_per_beat)
    return b"MThd\x00\x00\x00\x06" + b"".join(number.to_bytes(2, "big") for number in numbers) + b"".join(chunks)


def _events(score: Score, which: np.ndarray) -> bytes:
    """The notes of a mask [N] as events with running status, where velocity 0 ends a note."""
    pitch, velocity, part, onset, end = (column[which] for column in score[:5])
    tick = np.concatenate([end, onset])  # at the same tick, endings come first
    order = np.argsort(tick, kind="stable")
    delta = np.diff(tick[order], prepend=0)
    status = np.tile(0x90 + part, 2)[order]
    events = np.zeros((len(order), 7), np.uint8)  # a delta time of four bytes, status, pitch, velocity
    events[:, :4] = (delta[:, None] >> np.array([21, 14, 7, 0])) & 0x7F
    events[:, :3] |= 0x80
    events[:, 4], events[:, 5] = status, np.tile(pitch, 2)[order]
    events[:, 6] = np.concatenate([0 * velocity, velocity])[order]
    is_written = np.ones(events.shape, bool)
    is_written[:, :3] = delta[:, None] >= 2 ** np.array([21, 14, 7])
    is_written[1:, 4] = status[1:] != status[:-1]
    return events[is_written].tobytes()


if __name__ == "__main__":
    main()
