"""The melody of a clip: rhythm and contour from motifs, pitches from a shortest path over its chords.

Time is counted in sixteenths. Shapes: M melody notes, S pitches that the melody may use, H half bars.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

VELOCITY = 102
SEMITONES_PER_STEP = 12 / 7  # of a scale, on average

Cells = Mapping[tuple[int, ...], float]  # durations in sixteenths, negative for rests, and their weights

# Half a bar of melody.
CELLS = {
    (2, 2, 2, 2): 18, (4, 4): 16, (4, 2, 2): 14, (2, 2, 4): 15, (2, 4, 2): 6, (6, 2): 11, (2, 6): 5, (8,): 10,
    (-2, 2, 2, 2): 8, (-4, 2, 2): 7, (-4, 4): 5, (2, 2, -2, 2): 3, (2, 2, 2, -2): 5, (2, 2, -4): 6,
}  # fmt: skip
SIXTEENTH_CELLS = {
    (3, 3, 2): 10, (3, 1, 4): 9, (2, 1, 1, 4): 11, (2, 2, 2, 1, 1): 8, (1, 1, 2, 2, 2): 7, (2, 2, 3, 1): 6,
    (1, 1, 2, 4): 7, (3, 1, 2, 2): 7, (-2, 1, 1, 2, 2): 8,
}  # fmt: skip
ENDINGS = {(8, 4, -4): 3, (8, -8): 4, (4, 4, 4, -4): 2, (2, 2, 4, 4, -4): 3, (4, 2, 2, 8): 2, (12, -4): 3}
PICKUPS = {(8, -4, 2, 2): 3, (4, 4, -4, 2, 2): 3, (2, 2, 4, -4, 2, 2): 3, (8, -4, 4): 1}
# A bar of a waltz, and half a bar of 6/8.
WALTZ_CELLS = {
    (4, 4, 4): 16, (8, 4): 18, (4, 8): 5, (12,): 7, (6, 2, 4): 9, (4, 2, 2, 4): 8, (4, 4, 2, 2): 7, (4, 2, 2, 2, 2): 5,
    (2, 2, 4, 4): 6, (-4, 4, 4): 6, (2, 2, 2, 2, 2, 2): 5, (8, 2, 2): 8,
}  # fmt: skip
JIG_CELLS = {(2, 2, 2): 24, (4, 2): 20, (6,): 10, (3, 1, 2): 8, (2, 4): 4, (-2, 2, 2): 5, (2, 1, 1, 2): 4}
THREE_ENDINGS = {(8, -4): 4, (12,): 3, (4, 4, -4): 2, (6, 2, -4): 2}
THREE_PICKUPS = {(8, 4): 3, (4, -4, 2, 2): 3, (8, 2, 2): 2}
SIX_ENDINGS = {(6, 4, -2): 3, (6, -6): 4, (2, 2, 2, 4, -2): 3, (10, -2): 3}
SIX_PICKUPS = {(6, -4, 2): 3, (6, -2, 2, 2): 3, (4, 2, -4, 2): 2}
STEPS = {0: 26, 1: 16, -1: 20, 2: 9, -2: 10, 3: 6, -3: 5, 4: 4, -4: 3}  # scale steps between contour targets
LAYOUTS = {"abac": 4, "aabc": 3, "aaac": 1, "abbc": 2}  # bars of a phrase; c ends it
ARCS = {(0, 0, 1, 0): 3, (0, 1, 0, -1): 3, (0, 1, 2, 0): 2, (1, 0, 0, -1): 2, (0, -1, 1, 0): 2}

Item = TypeVar("Item")
Event = tuple[int, int, int, int]  # onset and duration in sixteenths, pitch, velocity


class Meter(NamedTuple):
    """A time signature and the melody's rhythms in it.

    Attributes:
        signature: numerator and denominator.
        half, beat, strong: sixteenths in half a bar, in a beat, and from one strong beat to the next.
        cells: half a bar of melody each, or a whole bar.
        lively_cells: those that lively songs have besides.
        endings, pickups: the last bar of a phrase, and one that leads into the next.
    """

    signature: tuple[int, int]
    half: int
    beat: int
    strong: int
    cells: Cells
    lively_cells: Cells
    endings: Cells
    pickups: Cells


FOUR_FOUR = Meter((4, 4), 8, 4, 8, CELLS, SIXTEENTH_CELLS, ENDINGS, PICKUPS)
THREE_FOUR = Meter((3, 4), 6, 4, 12, WALTZ_CELLS, {}, THREE_ENDINGS, THREE_PICKUPS)
SIX_EIGHT = Meter((6, 8), 6, 6, 6, JIG_CELLS, {}, SIX_ENDINGS, SIX_PICKUPS)


@dataclasses.dataclass(frozen=True)
class Motif:
    """One bar of melody: durations in sixteenths (negative: rest), one contour step for each note."""

    rhythm: tuple[int, ...]
    contour: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Chord:
    """A triad as pitch classes, root first, and the scale to play over it."""

    triad: tuple[int, int, int]
    scale: frozenset[int]


def draw(rng: np.random.Generator, weights: Mapping[Item, float]) -> Item:
    """One key of `weights`, in proportion to its weight."""
    edges = np.cumsum(list(weights.values()))
    return list(weights)[int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))]


def rhythms(rng: np.random.Generator, meter: Meter) -> list[tuple[int, ...]]:
    """The rhythms of a song's two motifs, a bar each."""
    cells = {**meter.cells, **meter.lively_cells} if rng.random() < 0.6 else meter.cells
    found = []
    for _ in range(2):
        rhythm: tuple[int, ...] = ()
        while sum(map(abs, rhythm)) < 2 * meter.half:
            rhythm += draw(rng, cells)
        found.append(rhythm)
    return found


def motif(rng: np.random.Generator, rhythm: tuple[int, ...]) -> Motif:
    """A contour for a rhythm: a walk in scale steps around 0."""
    walk = np.cumsum([draw(rng, STEPS) for duration in rhythm if duration > 0])
    return Motif(rhythm, tuple((walk - int(np.rint(walk.mean()))).tolist()))


def bars(rng: np.random.Generator, main: Motif, second: Motif, pickups: bool, form: str, meter: Meter) -> list[Motif]:
    """One motif for each bar of a form, its contour moved along the arc of its phrase.

    Args:
        main, second: the motif that leads, and the one that answers it.
        pickups: whether phrases lead into the next one with short notes.
        form: a letter for each phrase.
    """
    layout, arc = draw(rng, LAYOUTS), draw(rng, ARCS)
    played = []
    for index, letter in enumerate(form):
        if letter == "C":
            played.append(Motif((2 * meter.half - 4, -4), (0,)))
            continue
        ending = motif(rng, draw(rng, meter.pickups if pickups and index < len(form) - 1 else meter.endings))
        contrast = letter == "B"
        motifs = {"a": second, "b": main, "c": ending} if contrast else {"a": main, "b": second, "c": ending}
        for name, shift in zip(layout, arc, strict=True):
            bar = motifs[name]
            played.append(Motif(bar.rhythm, tuple(step + shift + contrast for step in bar.contour)))
    return played


def line(played: Sequence[Motif], chords: Sequence[Chord], centre: int, meter: Meter) -> list[Event]:
    """Melody events: the rhythm of the bars, and pitches near their contour around a central pitch.

    Args:
        played: a motif for each bar.
        chords: the chord of each half bar [H].
        centre: MIDI number.
    """
    rhythm = np.array([duration for bar in played for duration in bar.rhythm])
    steps = np.array([step for bar in played for step in bar.contour])
    onsets = (np.cumsum(np.abs(rhythm)) - np.abs(rhythm))[rhythm > 0]
    durations = rhythm[rhythm > 0]
    tones = set().union(*(chord.scale for chord in chords))
    lowest, highest = max(centre - 8, 43), min(centre + 9, 91)
    pitches = np.array([pitch for pitch in range(lowest, highest + 1) if pitch % 12 in tones])
    over = [chords[onset // meter.half] for onset in onsets]
    strong = (onsets % meter.strong == 0) | (durations >= 4)
    weights = strong, onsets % meter.beat == 0
    cost, outside = _note_costs(pitches, centre + steps * SEMITONES_PER_STEP, weights, over)
    cost[-1] += 3.0 * (pitches % 12 != chords[-1].triad[0])
    chosen = pitches[_shortest_path(pitches, cost, outside)].tolist()
    return list(zip(onsets.tolist(), durations.tolist(), chosen, [VELOCITY] * len(chosen), strict=True))


def _note_costs(
    pitches: np.ndarray, targets: np.ndarray, weights: tuple[np.ndarray, np.ndarray], over: Sequence[Chord]
) -> tuple[np.ndarray, np.ndarray]:
    """Cost [M, S] of each pitch at each note, and bool [M, S]: is it outside the chord?

    Args:
        weights: which notes are on a strong beat or long, and which are on a beat, bool [M] each.
    """
    strong, on_beat = (weight[:, None] for weight in weights)
    triads = np.array([chord.triad for chord in over])
    above = (pitches[None, :, None] - triads[:, None, :]) % 12  # semitones above each chord tone [M, S, 3]
    outside = (above != 0).all(2)
    clash = outside & np.isin(above, (1, 11)).any(2)
    foreign = np.array([[pitch % 12 not in chord.scale for pitch in pitches.tolist()] for chord in over])
    cost = 0.4 * np.abs(pitches[None, :] - targets[:, None])
    cost += outside * np.where(strong, 6.0, np.where(on_beat, 2.0, 0.4))
    cost += clash * np.where(strong | on_beat, 6.0, 0.3)
    return cost + 30.0 * foreign, outside


def _shortest_path(pitches: np.ndarray, cost: np.ndarray, outside: np.ndarray) -> list[int]:
    """Indices [M] into pitches [S]: the cheapest line under the cost of notes [M, S] and of motion.

    Steps are cheap, leaps are dear unless a step back follows, and a note outside the chord
    is left by step. Motion is judged on three notes, so the path runs over pairs of pitches.
    """
    size = np.abs(pitches[:, None] - pitches[None, :])
    motion = np.interp(size, [0, 1, 2, 4, 5, 7, 9, 12, 16], [0.5, 0.0, 0.0, 0.5, 0.8, 1.0, 2.5, 3.0, 8.0])
    motion[size == 6] = 4.0
    rise = np.sign(pitches[None, :] - pitches[:, None])
    turned_back = (rise[:, :, None] * rise[None, :, :] <= 0) & (size[None, :, :] <= 2)
    leap = 2.0 * ((size[:, :, None] >= 5) & ~turned_back)
    unresolved = np.where(size > 2, 3.0, 0.0) + np.where(size == 0, 1.0, 0.0)
    best = cost[0][:, None] + motion + cost[1][None, :] + outside[0][:, None] * unresolved
    pointers = []
    for index in range(2, len(cost)):
        total = best[:, :, None] + leap
        pointers.append(total.argmin(0))
        step = motion + outside[index - 1][:, None] * unresolved
        best = total.min(0) + step + cost[index][None, :]
    before, last = np.unravel_index(int(best.argmin()), best.shape)
    path = [int(last), int(before)]
    for pointer in reversed(pointers):
        path.append(int(pointer[path[-1], path[-2]]))
    return path[::-1]
