"""The built-in corpus: short pop clips, each a pure function of a seed and a number.

A song has a meter, a key, a tempo, instruments, a register, two melodic motifs and an accompaniment; its verse and its
chorus are two clips. Inside a clip, harmony comes first (a Markov grammar of scale degrees with cadences), then the
accompaniment, then a melody (`musicjax.music.builtin_melody`). Each clip ends with its last bar.

Time is counted in sixteenths, four to a quarter note. Shape legend: H half bars.

Raise `COMPOSER_VERSION` (in musicjax.music) whenever the same seed would compose other music.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from musicjax.music import builtin_melody, midi
from musicjax.music.builtin_melody import FOUR_FOUR, SIX_EIGHT, THREE_FOUR, Chord, Event, Meter, Motif, draw
from musicjax.music.notes import Notes, from_beats

STRONG_VELOCITY, MEDIUM_VELOCITY, SOFT_VELOCITY = 81, 59, 31
BASS_LOW = 41  # the bass has one octave, BASS_LOW..BASS_LOW + 11: one pitch for each pitch class
CHORD_LOW, CHORD_HIGH, CHORD_CENTRE = 57, 69, 61.5
PART_NAMES = ("melody", "chords", "bass")
# General MIDI programs of the three parts: piano, flute, violin, clarinet, nylon guitar; strings; acoustic bass, cello.
ENSEMBLES = {
    (0, 0, 32): 40, (73, 0, 32): 14, (40, 0, 42): 10, (71, 24, 32): 10, (73, 24, 32): 8, (0, 48, 32): 10,
    (24, 24, 32): 8,
}  # fmt: skip
SECTIONS = ("verse", "chorus")
CHORUS_HIGHER = 2  # semitones that the melody of a chorus lies above that of its verse
PITCH_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11), "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10), "minor": (0, 2, 3, 5, 7, 8, 10),
}  # fmt: skip
# Tonic and mode with its weight. Most share the white keys, since note models are not told the key.
KEYS = {
    (0, "major"): 36, (9, "minor"): 28, (7, "mixolydian"): 8, (2, "dorian"): 7,
    (7, "major"): 6, (5, "major"): 6, (4, "minor"): 5, (2, "minor"): 4,
}  # fmt: skip
# From a degree (0 = tonic) to the next one, with weights; diminished triads are left out.
GRAMMAR = {
    "major": {
        0: {3: 5, 4: 4, 5: 4, 1: 2, 2: 2}, 1: {4: 4, 3: 2, 5: 2, 0: 1}, 2: {5: 3, 3: 4, 1: 1},
        3: {0: 4, 4: 5, 5: 2, 1: 1}, 4: {5: 5, 0: 3, 3: 4}, 5: {3: 7, 4: 4, 1: 2, 2: 2},
    },
    "mixolydian": {
        0: {6: 5, 3: 5, 4: 2, 1: 2}, 1: {3: 3, 6: 2, 4: 1}, 3: {0: 5, 6: 3, 1: 1}, 4: {3: 3, 6: 2},
        6: {3: 5, 0: 3},
    },
    "dorian": {
        0: {3: 5, 6: 4, 2: 2, 1: 1}, 1: {2: 2, 3: 1, 0: 1}, 2: {3: 4, 6: 2}, 3: {0: 4, 6: 3, 2: 1},
        4: {0: 2, 3: 3}, 6: {3: 4, 0: 3, 4: 1},
    },
    "minor": {
        0: {5: 6, 6: 4, 3: 3, 2: 2, 4: 1}, 2: {6: 5, 5: 3, 3: 2}, 3: {0: 2, 4: 3, 5: 3, 6: 3},
        4: {0: 4, 5: 4}, 5: {6: 5, 2: 5, 3: 3, 4: 1}, 6: {0: 4, 5: 5, 2: 2},
    },
}  # fmt: skip
# Degrees that end an open phrase and that lead into the tonic at the end of a closed one.
LEADING = {"major": (4, 3), "mixolydian": (6, 3), "dorian": (3, 6), "minor": (4, 6)}

# Letters are phrases of four bars: A open, Z as A but closed, B a contrast; C is one closing bar.
FORMS = {"AZ": 48, "AZC": 10, "AZBZ": 24, "ABZ": 9, "Z": 10}
HARMONIC_RHYTHM = {1: 25, 2: 58, 4: 17}  # half bars a chord lasts
WALTZ_HARMONIC_RHYTHM = {2: 75, 4: 25}
TEMPOS_BPM = {120: 46, 100: 2, 125: 2}
REGISTERS = {57: 5, 61: 38, 64: 24, 71: 18, 76: 10, 80: 4, 84: 1}  # central pitch of the melody

# How a bar is played: sixteenths at which the chords and the bass strike, each sounding until the next.
Pattern = tuple[tuple[int, ...], tuple[int, ...]]
PULSE: Pattern = (0, 4, 8, 12), (0, 6, 8, 14)
LONG: Pattern = (0,), (0,)
HALVES: Pattern = (0, 8), (0, 8)
PATTERNS: dict[Pattern, float] = {
    PULSE: 45, ((0, 4, 8, 12), (0, 2, 4, 6, 8, 10, 12, 14)): 3, ((0, 4, 8, 12), (0, 8)): 3,
    ((0, 4, 6, 12), (0, 6, 14)): 8, LONG: 20, HALVES: 13, ((0, 6, 12), (0, 6, 12)): 5,
    ((0, 3, 6, 8, 11, 14), (0, 6, 8, 14)): 1,
}  # fmt: skip
# The last bar of a phrase; None: as the others.
FILLS = {None: 5, LONG: 3, ((0, 4, 8, 12, 14), (0, 6, 8, 14)): 3, HALVES: 2}
WALTZ_PATTERNS: dict[Pattern, float] = {
    ((4, 8), (0,)): 45, ((0, 4, 8), (0,)): 25, LONG: 15, ((0, 4, 8), (0, 8)): 10, ((0, 8), (0, 8)): 5,
}  # fmt: skip
SIX_HALVES: Pattern = (0, 6), (0, 6)
JIG_PATTERNS: dict[Pattern, float] = {
    SIX_HALVES: 45,
    ((0, 4, 6, 10), (0, 6)): 30,
    ((2, 4, 8, 10), (0, 6)): 10,
    LONG: 10,
}


@dataclasses.dataclass(frozen=True, eq=False)
class Style:
    """How songs of a meter are accompanied; halves: the pattern where the chord changes in the middle of a bar."""

    meter: Meter
    harmonic_rhythm: Mapping[int, float]
    patterns: Mapping[Pattern, float]
    fills: Mapping[Pattern | None, float]
    halves: Pattern


POP = Style(FOUR_FOUR, HARMONIC_RHYTHM, PATTERNS, FILLS, HALVES)
WALTZ = Style(THREE_FOUR, WALTZ_HARMONIC_RHYTHM, WALTZ_PATTERNS, {None: 5, LONG: 3}, LONG)
JIG = Style(SIX_EIGHT, HARMONIC_RHYTHM, JIG_PATTERNS, {None: 5, LONG: 2, SIX_HALVES: 3}, SIX_HALVES)
STYLES = {POP: 72, WALTZ: 16, JIG: 12}
# Style and instruments are drawn separately, so that a song in 4/4 has the notes that version 1 gave it.
STYLE_STREAM = 17


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """A verse or a chorus.

    Attributes:
        name: unique within a seed, such as "song-017-verse".
        bpm: tempo in quarter notes per minute.
        parts: melody, chords and bass.
        key: tonic and mode, such as "A minor".
        meter: numerator and denominator.
        programs: the instrument of each part, numbers of General MIDI.
    """

    name: str
    bpm: float
    parts: tuple[Notes, Notes, Notes]
    key: str
    meter: tuple[int, int]
    programs: tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Song:
    """What a verse and its chorus have in common."""

    style: Style
    programs: tuple[int, int, int]
    tonic: int  # pitch class
    mode: str
    bpm: float
    register: int  # central pitch of the melody
    motifs: tuple[Motif, Motif]  # the verse leads with the first, the chorus with the second
    pattern: Pattern
    pickups: bool  # whether phrases lead into the next one with short notes
    walking: float  # odds that the bass leaves the root between beats
    leading_tone: bool  # whether a dominant in minor is a major triad
    accented: bool  # whether the middle of a bar is as loud as its start


def write_corpus(folder: Path, seed: int = 0, clips: int = 126) -> None:
    """Writes clips 0..clips - 1 of a seed as <name>.mid into an existing folder."""
    for number in range(clips):
        clip = compose(seed, number)
        path = Path(folder) / f"{clip.name}.mid"
        # A file without a time signature is in 4/4.
        states = clip.meter != FOUR_FOUR.signature
        midi.write(clip.parts, path, bpm=clip.bpm, programs=clip.programs, names=PART_NAMES, state_meter=states)


def compose(seed: int, number: int) -> Clip:
    """Clip `number` of a seed: even numbers are verses, the odd number after it is the song's chorus."""
    song_number, section = divmod(number, len(SECTIONS))
    style_rng = np.random.default_rng([seed, song_number, STYLE_STREAM])
    song = _song(np.random.default_rng([seed, song_number]), draw(style_rng, STYLES), draw(style_rng, ENSEMBLES))
    rng = np.random.default_rng([seed, song_number, 1 + section])
    shares_harmony = section == 1 and rng.random() < 0.3
    harmony_rng = np.random.default_rng([seed, song_number, 0 if shares_harmony else section, 1])
    form = draw(rng, FORMS)
    chords = _harmony(harmony_rng, song, form, section)
    meter = song.style.meter
    pattern = song.pattern if rng.random() < 0.7 else draw(rng, song.style.patterns)
    main, second = song.motifs if section == 0 else song.motifs[::-1]
    bars = builtin_melody.bars(rng, main, second, song.pickups, form, meter)
    tune = builtin_melody.line(bars, chords, song.register + CHORUS_HIGHER * section, meter)
    comping, bass = _accompaniment(rng, song, chords, pattern)
    return Clip(
        name=f"song-{song_number:03d}-{SECTIONS[section]}",
        bpm=song.bpm,
        parts=(_notes(tune, song), _notes(comping, song), _notes(bass, song)),
        key=f"{PITCH_NAMES[song.tonic]} {song.mode}",
        meter=meter.signature,
        programs=song.programs,
    )


def _notes(events: Sequence[Event], song: Song) -> Notes:
    onset, duration, pitch, velocity = np.array(events).T
    notes = from_beats(pitch, velocity, onset / 4, duration / 4, song.bpm)
    return dataclasses.replace(notes, meters=np.array([(0.0, *song.style.meter.signature)]))


def _song(rng: np.random.Generator, style: Style, programs: tuple[int, int, int]) -> Song:
    tonic, mode = draw(rng, KEYS)
    rhythms = builtin_melody.rhythms(rng, style.meter)
    return Song(
        style=style,
        programs=programs,
        tonic=tonic,
        mode=mode,
        bpm=float(draw(rng, TEMPOS_BPM)),
        register=draw(rng, REGISTERS) + int(rng.integers(-1, 2)),
        motifs=(builtin_melody.motif(rng, rhythms[0]), builtin_melody.motif(rng, rhythms[1])),
        pattern=draw(rng, style.patterns),
        pickups=bool(rng.random() < 0.5),
        walking=float(rng.choice([0.0, 0.0, 0.4, 0.8])),
        leading_tone=bool(rng.random() < 0.5),
        accented=bool(rng.random() < 0.45),
    )


def _harmony(rng: np.random.Generator, song: Song, form: str, section: int) -> list[Chord]:
    """The chord of each half bar [H]; the last chord of a phrase lasts a bar at least."""
    halves = draw(rng, song.style.harmonic_rhythm)
    length = 8 // halves - (halves == 1)
    row, leading = GRAMMAR[song.mode][0], LEADING[song.mode]
    start = 0 if rng.random() < (0.65, 0.5)[section] else draw(rng, row)
    opening = _progression(rng, song.mode, start, length, leading)
    before = GRAMMAR[song.mode][opening[-3 % length]]
    closing = [*opening[:-2], draw(rng, {degree: before.get(degree, 1) for degree in leading}), 0]
    contrast = _progression(rng, song.mode, draw(rng, row), length, leading)
    phrases = {"A": opening, "Z": closing, "B": contrast}
    degrees: list[int] = []
    for letter in form:
        phrase = [degree for degree in phrases.get(letter, ()) for _ in range(halves)]
        degrees += [0, 0] if letter == "C" else phrase + phrase[-1:] * (8 - len(phrase))
    return [_chord(song, degrees, index) for index in range(len(degrees))]


def _progression(rng: np.random.Generator, mode: str, start: int, length: int, goals: Sequence[int]) -> list[int]:
    """A walk through the grammar from `start` to one of `goals`, drawn with its true probability."""
    weights = np.zeros((7, 7))
    for degree, row in GRAMMAR[mode].items():
        weights[degree, list(row)] = np.array(list(row.values())) / sum(row.values())
    reach = [np.isin(np.arange(7), goals).astype(float)]  # reach[k]: odds of a goal after k more steps
    for _ in range(length - 1):
        reach.append(weights @ reach[-1])
    degrees = [start]
    for steps_left in range(length - 2, -1, -1):
        odds = weights[degrees[-1]] * reach[steps_left]
        if not odds.any():
            odds = reach[steps_left]
        degrees.append(draw(rng, dict(enumerate(odds))))
    return degrees


def _chord(song: Song, degrees: Sequence[int], index: int) -> Chord:
    """The triad on a degree; in minor, a dominant that falls to the tonic may raise the seventh degree."""
    scale = list(SCALES[song.mode])
    degree = degrees[index]
    following = next((later for later in degrees[index:] if later != degree), None)
    if song.mode == "minor" and song.leading_tone and degree == 4 and following == 0:
        scale[6] += 1
    pitch_classes = [(song.tonic + offset) % 12 for offset in scale]
    root, third, fifth = (pitch_classes[(degree + skip) % 7] for skip in (0, 2, 4))
    return Chord((root, third, fifth), frozenset(pitch_classes))


def _accompaniment(
    rng: np.random.Generator, song: Song, chords: Sequence[Chord], pattern: Pattern
) -> tuple[list[Event], list[Event]]:
    """Chord and bass events, bar by bar."""
    parts: tuple[list[Event], list[Event]] = [], []
    voicings = _voicings(chords)
    bars = len(chords) // 2
    half = song.style.meter.half
    fill, last = draw(rng, song.style.fills), draw(rng, {LONG: 3, pattern: 2})
    for bar in range(bars):
        played = last if bar == bars - 1 else fill if fill and bar % 4 == 3 else pattern
        if chords[2 * bar] != chords[2 * bar + 1] and not all(half in strikes for strikes in played):
            played = PULSE if song.style is POP and played != LONG else song.style.halves
        for events, strikes, weakest in zip(parts, played, (SOFT_VELOCITY, MEDIUM_VELOCITY), strict=True):
            for onset, end in zip(strikes, (*strikes[1:], 2 * half), strict=True):
                index = 2 * bar + onset // half
                accent = song.accented or chords[index] != chords[index - 1]
                at_middle = STRONG_VELOCITY if accent else MEDIUM_VELOCITY
                velocity = {0: STRONG_VELOCITY, song.style.meter.strong: at_middle}.get(onset, weakest)
                bass = events is parts[1]
                pitches = (_bass_pitch(rng, song, chords, index, onset % half),) if bass else voicings[index]
                events += [(2 * half * bar + onset, end - onset, pitch, velocity) for pitch in pitches]
    return parts


def _bass_pitch(rng: np.random.Generator, song: Song, chords: Sequence[Chord], half: int, onset: int) -> int:
    """Roots, and in walking songs fifths off the beat and steps into the root of the next chord."""
    chord = chords[half]
    pitch_class = chord.triad[0]
    if onset and rng.random() < song.walking:
        following = chords[(half + 1) % len(chords)]
        if following != chord and onset >= song.style.meter.half - 2:
            root, goal = _bass_register(pitch_class), _bass_register(following.triad[0])
            steps = [goal + step for step in (-2, -1, 1, 2) if (goal + step) % 12 in chord.scale]
            inside = [pitch for pitch in steps if BASS_LOW <= pitch < BASS_LOW + 12]
            return min(inside, key=lambda pitch: abs(pitch - root))
        pitch_class = chord.triad[2]
    return _bass_register(pitch_class)


def _bass_register(pitch_class: int) -> int:
    return BASS_LOW + (pitch_class - BASS_LOW) % 12


def _voicings(chords: Sequence[Chord]) -> list[tuple[int, ...]]:
    """Close voicings [H] of three pitches each, every one the nearest to the voicing before it."""
    voicings: list[tuple[int, ...]] = []
    for chord in chords:
        candidates = []
        for inversion in range(3):
            order = chord.triad[inversion:] + chord.triad[:inversion]
            lowest = CHORD_LOW + (order[0] - CHORD_LOW) % 12
            voicing = tuple(lowest + (pitch_class - order[0]) % 12 for pitch_class in order)
            if voicing[-1] <= CHORD_HIGH:
                candidates.append(voicing)
        previous = voicings[-1] if voicings else (CHORD_CENTRE,) * 3
        voicings.append(min(candidates, key=lambda voicing: _movement(voicing, previous)))
    return voicings


def _movement(voicing: tuple[int, ...], previous: tuple[float, ...]) -> float:
    """Semitones that the voices move, with a pull towards the middle of the range."""
    moved = sum(abs(to - start) for to, start in zip(voicing, previous, strict=True))
    return moved + 2 * abs(sum(voicing) / 3 - CHORD_CENTRE)
