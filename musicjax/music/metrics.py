"""Numbers that describe a piece, and how near a set of generated pieces comes to a set of real ones.

Definitions are those of muspy 0.5 (pitch, polyphony, scale, groove, empty beats) on the grid of sixteenths, sixteen
to a measure; where muspy gives no number, ours is finite, and described below. Sets are compared as by Yang and Lerch,
"On the evaluation of generative models in music", 2020.

Shape legend: N notes, T transitions from a note to the next (N - 1), G generated and R real pieces.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from musicjax.errors import RunError
from musicjax.music.notes import Notes
from musicjax.music.piano_roll import NEGLIGIBLE

STEPS_PER_BEAT = 4
STEPS_PER_MEASURE = 16
PITCHES = 128
GRAM_NOTES = 8
# Of a major scale from its root. A natural minor scale has the pitch classes of a major one, so 12 scales are all 24.
SCALE = (0, 2, 4, 5, 7, 9, 11)

# What each says, and what a difference from real pieces tells.
MEANINGS = {
    "pitch_range": "Semitones from the lowest note to the highest. Fewer than in real pieces: the music is cramped.",
    "pitches_used": "Different pitches. Fewer: the music keeps to a few notes.",
    "pitch_classes_used": "Different pitches within the octave, 12 at most. More: the music strays from its key.",
    "pitch_entropy": "How evenly the pitches are used, in bits. Lower: a few prevail. Higher: the music wanders.",
    "pitch_class_entropy": "The same within the octave. Higher: no key is clear.",
    "scale_consistency": "Share of the notes in one major or minor scale. Lower: wrong notes.",
    "most_frequent_pitch": "Share of the commonest pitch. Higher: one note is struck over and over.",
    "polyphony": "Pitches that sound at once, on average, while any does. Best when close to real pieces.",
    "polyphony_rate": "Share of the time in which three or more sound. Best when close to real pieces.",
    "groove_consistency": "How closely the rhythm of four beats matches the four before. Lower: no steady groove.",
    "empty_beat_rate": "Share of the beats without a note. Lower: the music rests less.",
    "note_density": "Notes per beat. Higher: the music is restless.",
    "mean_interval_beats": "Beats from one onset to the next. Best when close to real pieces.",
    "mean_duration_beats": "Beats that a note lasts. Best when close to real pieces.",
    "mean_velocity": "How hard the notes are struck, 1 to 127. Best when close to real pieces.",
    "longest_repeat": "Notes in the longest run that recurs. Few: no theme returns. Very many: a loop.",
    "most_repeated_8gram": "How often the commonest run of 8 notes occurs. Far more than in real pieces: a loop.",
}
NAMES = tuple(MEANINGS)

POINTS = 4096  # of the grid of a density
MARGIN_BANDWIDTHS = 5.0  # from the outermost value to the end of the grid
LEAST_BANDWIDTH = 1 / 200  # of the range of both sets: values that are all alike have a density, too
ALIKE = 1e-9  # metrics no further apart than this differ by rounding
LEAST_MASS = 1e-12


@dataclasses.dataclass(frozen=True)
class Overlap:
    """How a metric of generated pieces compares with that of real ones.

    Attributes:
        overlap_area: Yang and Lerch's: area (0..1) under both densities, of the distances among real pieces and of
            those from generated to real ones.
        kl_nats: Kullback-Leibler divergence from the former density to the latter.
        value_overlap_area: area (0..1) under both densities of the metric itself.
    """

    overlap_area: float
    kl_nats: float
    value_overlap_area: float


def on_grid(notes: Notes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pitch, onset and end of N notes in steps of a sixteenth; int64 [N] each, by onset, then pitch.

    Times go to the nearest step, from the middle upwards; a note lasts one step at least.
    """
    onset = _nearest_step(notes.onset_beats)
    end = np.maximum(_nearest_step(notes.onset_beats + notes.duration_beats), onset + 1)
    pitch = np.asarray(notes.pitch, np.int64)
    order = np.lexsort((end, pitch, onset))
    return pitch[order], onset[order], end[order]


def scale_consistency(pitch: np.ndarray) -> float:
    """The largest share of N notes, int [N], in one major or minor scale; 0 without notes."""
    classes = np.bincount(np.asarray(pitch, np.int64) % 12, minlength=12)
    scales = (np.arange(12)[:, None] + SCALE) % 12  # [roots, pitch classes in the scale]
    return float(classes[scales].sum(1).max() / max(len(pitch), 1))


def of_piece(notes: Notes) -> dict[str, float]:
    """The metrics NAMES of a piece, each a finite number.

    Without notes all are 0. Time runs from step 0 to the end of the note that ends last, its length.

    - pitch_range (semitones), pitches_used, pitch_classes_used; entropies (bits) of the notes' histograms;
      scale_consistency, the largest share of notes in one major or minor scale; most_frequent_pitch, the share of
      the commonest.
    - polyphony, pitches that sound on average while any does; polyphony_rate, share of all steps with more than two.
    - groove_consistency, 1 - mean share of bar positions that differ, by having an onset or not, between a measure and
      the next; 1 for a single measure. empty_beat_rate, share of beats without a note; as in muspy the beat in which a
      note ends is not empty, even if the note ends as it begins.
    - note_density (notes a beat of the length), mean_interval_beats between consecutive onsets (0 within a chord and
      for a single note), mean_duration_beats, mean_velocity.
    - longest_repeat, notes in the longest run that comes again later, in the same pitches and intervals, without
      sharing a note with its repeat; 0 or at least 2. most_repeated_8gram, how often the commonest run of 8 notes
      occurs; 0 in pieces of fewer.
    """
    if not len(notes):
        return dict.fromkeys(NAMES, 0.0)
    pitch, onset, end = on_grid(notes)
    found = _pitch_metrics(pitch) | _sounding_metrics(pitch, onset, end)
    found |= {
        "groove_consistency": _groove_consistency(onset, int(end.max())),
        "empty_beat_rate": _empty_beat_rate(onset, end),
        "note_density": len(pitch) * STEPS_PER_BEAT / int(end.max()),
        "mean_interval_beats": int(onset[-1] - onset[0]) / max(len(pitch) - 1, 1) / STEPS_PER_BEAT,
        "mean_duration_beats": (end - onset).mean() / STEPS_PER_BEAT,
        "mean_velocity": np.asarray(notes.velocity, np.float64).mean(),
    }
    found |= _repetition_metrics(pitch, onset)
    return {name: float(found[name]) for name in NAMES}


def compare(generated: Sequence[Mapping[str, float]], real: Sequence[Mapping[str, float]]) -> dict[str, Overlap]:
    """For each metric, how generated pieces compare with real ones.

    Distances are absolute differences: of all pairs of real pieces (intra-set, each pair once), and of every
    generated piece to every real one (inter-set). Densities are Gaussian kernel estimates with Scott's bandwidth
    (standard deviation times n^(-1/5)), but at least 1/200 of the range that both sets span; they are taken on the
    whole line, so that equal ones overlap by 1. If all values of both sets are equal the overlap is 1 and the
    divergence 0. No point of a density has less than 1e-12 of its mass in the divergence, which keeps it finite.

    Args:
        generated, real: metrics of G and of R pieces, under the same names.

    Raises:
        RunError: there is no generated piece, or fewer than two real ones.
    """
    if len(generated) < 1 or len(real) < 2:
        raise RunError(
            f"{len(generated)} generated and {len(real)} real pieces with notes; expected at least 1 and 2; "
            "add pieces to compare"
        )
    overlaps = {}
    for name in real[0]:
        ours = np.array([piece[name] for piece in generated], np.float64)
        theirs = np.array([piece[name] for piece in real], np.float64)
        first, second = np.triu_indices(len(theirs), 1)
        intra = np.abs(theirs[first] - theirs[second])
        inter = np.abs(ours[:, None] - theirs[None, :]).ravel()
        among, across = _densities(intra, inter)
        overlaps[name] = Overlap(_common(among, across), _divergence(among, across), _common(*_densities(ours, theirs)))
    return overlaps


def mean_overlap_area(overlaps: Mapping[str, Overlap]) -> float:
    """Mean of the overlap areas of distances over all metrics."""
    return float(np.mean([overlap.overlap_area for overlap in overlaps.values()]))


def _nearest_step(beats: np.ndarray) -> np.ndarray:
    return np.floor(np.asarray(beats, np.float64) * STEPS_PER_BEAT + (0.5 + NEGLIGIBLE)).astype(np.int64)


def _entropy_bits(counts: np.ndarray) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(abs(-(share * np.log2(share)).sum()))  # abs: a single pitch gives -0.0


def _pitch_metrics(pitch: np.ndarray) -> dict[str, float]:
    counts = np.bincount(pitch, minlength=PITCHES)
    classes = np.bincount(pitch % 12, minlength=12)
    return {
        "pitch_range": pitch.max() - pitch.min(),
        "pitches_used": np.count_nonzero(counts),
        "pitch_classes_used": np.count_nonzero(classes),
        "pitch_entropy": _entropy_bits(counts),
        "pitch_class_entropy": _entropy_bits(classes),
        "scale_consistency": scale_consistency(pitch),
        "most_frequent_pitch": counts.max() / len(pitch),
    }


def _union(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of the fewest intervals [start, end) that cover what the given ones cover; int64, by start."""
    order = np.argsort(start, kind="stable")
    start, reach = start[order], np.maximum.accumulate(end[order])
    opens = np.append(True, start[1:] > reach[:-1])
    return start[opens], reach[np.append(opens[1:], True)]


def _sounding_metrics(pitch: np.ndarray, onset: np.ndarray, end: np.ndarray) -> dict[str, float]:
    length = int(end.max())
    # Each pitch has a stretch of its own on one long line, so that notes of one pitch that overlap count once.
    lane = pitch * (length + 1)
    start, stop = (place % (length + 1) for place in _union(lane + onset, lane + end))
    time = np.concatenate([start, stop])
    order = np.argsort(time, kind="stable")
    sounding = np.cumsum(np.repeat([1, -1], len(start))[order])[:-1]
    steps = np.diff(time[order])
    return {
        "polyphony": (sounding * steps).sum() / steps[sounding > 0].sum(),
        "polyphony_rate": steps[sounding > 2].sum() / length,
    }


def _groove_consistency(onset: np.ndarray, length: int) -> float:
    measures = length // STEPS_PER_MEASURE + 1
    if measures < 2:
        return 1.0
    steps = np.unique(onset)
    measure = steps // STEPS_PER_MEASURE
    differ = np.count_nonzero((measure < measures - 1) & ~np.isin(steps + STEPS_PER_MEASURE, steps))
    differ += np.count_nonzero((measure > 0) & ~np.isin(steps - STEPS_PER_MEASURE, steps))
    return 1 - differ / (STEPS_PER_MEASURE * (measures - 1))


def _empty_beat_rate(onset: np.ndarray, end: np.ndarray) -> float:
    first, last = _union(onset // STEPS_PER_BEAT, end // STEPS_PER_BEAT + 1)
    return float(1 - (last - first).sum() / (int(end.max()) // STEPS_PER_BEAT + 1))


def _repetition_metrics(pitch: np.ndarray, onset: np.ndarray) -> dict[str, float]:
    """A run is known by its transitions (pitch, steps to the next note, its pitch): L notes have L - 1 of them."""
    transition = (np.diff(onset) * PITCHES + pitch[:-1]) * PITCHES + pitch[1:]
    doubled = _doubled_names(transition)
    grams = _run_names(doubled, GRAM_NOTES - 1) if len(pitch) >= GRAM_NOTES else np.zeros(0, np.int64)
    # In notes; what repeats does so in all shorter lengths, too. Nothing is as long as twice the widest named runs.
    longest, impossible = 1, min(len(pitch) // 2, 2 ** len(doubled)) + 1
    while impossible - longest > 1:
        length = (longest + impossible) // 2
        names = _run_names(doubled, length - 1)
        at = np.arange(len(names))
        last, first = np.zeros((2, len(names)), np.int64)
        last[names] = at
        first[names[::-1]] = at[::-1]
        if (last - first).max() >= length:
            longest = length
        else:
            impossible = length
    return {
        "longest_repeat": longest if longest > 1 else 0,
        "most_repeated_8gram": np.bincount(grams).max(initial=0),
    }


def _doubled_names(symbols: np.ndarray) -> list[np.ndarray]:
    """For 1, 2, 4, ... of T symbols a number for each run of that many, equal where runs are equal; int64 [runs].

    It ends with the first width at which all runs are different, or the last that T symbols have.
    """
    doubled = [_numbered(symbols)]
    while (width := 2 ** len(doubled)) <= len(symbols) and doubled[-1].max() < len(doubled[-1]) - 1:
        doubled.append(_run_names(doubled, width))
    return doubled


def _run_names(doubled: list[np.ndarray], width: int) -> np.ndarray:
    """A number for each run of `width` symbols, 1..T, equal where runs are equal; int64 [T - width + 1].

    Two shorter runs that cover a run identify it (Karp, Miller and Rosenberg 1972), unless all shorter ones differ.
    """
    names = doubled[min(width.bit_length(), len(doubled)) - 1]
    runs = len(doubled[0]) - width + 1
    return _numbered(names[:runs] * (len(names) + 1) + names[len(names) - runs :])


def _numbered(values: np.ndarray) -> np.ndarray:
    """Values [K] as numbers 0.. in the order of the values; int64 [K]."""
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _densities(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kernel density estimates of two sets of values on one grid that holds all of both; float64 [POINTS], sum 1."""
    low, high = min(one.min(), other.min()), max(one.max(), other.max())
    if high - low <= ALIKE:
        return np.ones(POINTS) / POINTS, np.ones(POINTS) / POINTS
    spreads = [values.std(ddof=1) if len(values) > 1 else 0.0 for values in (one, other)]
    bandwidths = [
        max(spread * len(values) ** -0.2, LEAST_BANDWIDTH * (high - low))
        for spread, values in zip(spreads, (one, other), strict=True)
    ]
    margin = MARGIN_BANDWIDTHS * max(bandwidths)
    step = (high - low + 2 * margin) / (POINTS - 1)
    densities = []
    for values, bandwidth in zip((one, other), bandwidths, strict=True):
        place = (values - low + margin) / step
        left = np.floor(place).astype(np.int64)
        right_share = place - left
        mass = np.bincount(left, 1 - right_share, POINTS) + np.bincount(left + 1, right_share, POINTS)
        reach = int(MARGIN_BANDWIDTHS * bandwidth / step)
        kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * step / bandwidth) ** 2)
        density = np.convolve(mass, kernel, "same")
        densities.append(density / density.sum())
    return densities[0], densities[1]


def _common(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.minimum(one, other).sum())


def _divergence(one: np.ndarray, other: np.ndarray) -> float:
    one, other = (np.maximum(density, LEAST_MASS) for density in (one, other))
    one, other = one / one.sum(), other / other.sum()
    return float((one * np.log(one / other)).sum())
