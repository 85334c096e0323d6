"""Which key music is in, and keys as people write them.

A key is a tonic, pitch class 0..11 with C = 0, and a mode, an index into MODES. `of` finds the keys of a piece: each
bar speaks for each of the 48 keys, by its pitch classes (Krumhansl's idea of key profiles, "Cognitive Foundations of
Musical Pitch", 1990) and by its bass; the last bar by its lowest note too. A dynamic programme then divides the piece
into as few stretches of one key as what the bars say allows.

Shape legend: N notes, B bars in which notes begin, K keys that are found, 48 candidates (tonic * 4 + mode).
"""

from __future__ import annotations

import difflib
import re

import numpy as np

from musicjax.errors import UsageError
from musicjax.music import bar_position, scales
from musicjax.music.notes import NEGLIGIBLE_BEATS, Notes

MODES = ("major", "minor", "dorian", "mixolydian")
CANDIDATES = 12 * len(MODES)
DRUMS = 128  # the program of percussion, where notes have programs

# Shares of the pitch classes above the tonic in music in major and in minor, measured on 490 pieces: J. Albrecht and
# D. Shanahan, "The Use of Large Corpora to Train a New Type of Key-Finding Algorithm", Music Perception 31, 2013.
MAJOR = (0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.080, 0.008, 0.081)
MINOR = (0.220, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052)
# Mixolydian has the seventh of major lowered; dorian has the sixth of minor raised, and no leading note.
MIXOLYDIAN = (*MAJOR[:10], MAJOR[11], MAJOR[10])
DORIAN = (*MINOR[:8], MINOR[9], MINOR[8], MINOR[10] + MINOR[11] - MAJOR[10], MAJOR[10])
LOWEST_SHARE = 0.006

LONGEST_BEATS = 1.0
BEAT_WEIGHT = 0.5
PRIOR = (0.0, 0.0, -3.0, -3.0)
BASS = {0: 1.0, 7: 0.4, 5: 0.5}
BASS_WEIGHT = 1.0
END_WEIGHT = 8.0
BEGIN_WEIGHT = 2.0
CHANGE = 25.0
SHORTEST_BEATS = 32.0


def _rolled(shares):
    """[48, 12]"""
    return np.stack([np.roll(row, tonic) for tonic in range(12) for row in shares])


def of(notes: Notes) -> np.ndarray:
    program = getattr(notes, "program", None)
    own = np.ones(len(notes), bool) if program is None else np.asarray(program) != DRUMS
    if not own.any():
        return np.zeros((0, 3))
    pitch, onset, duration = (getattr(notes, name)[own] for name in ("pitch", "onset_beats", "duration_beats"))
    first = int(pitch[0])
    bar, at, beats, lengths = _bars(onset, notes.meters)
    said = _evidence(pitch.astype(np.int64) - first, onset, duration, bar, at, lengths)
    places, keys = _stretches(said, beats)
    tonic, mode = np.divmod(keys, len(MODES))
    return np.stack([np.where(places, beats[places], 0.0), (tonic + first) % 12, mode], axis=1).astype(np.float64)


def _bars(onset, meters):
    which = bar_position.segments(onset, meters)
    length = bar_position.beats_per_bar(meters)
    number = np.floor((onset - meters[which, 0]) / length[which] + NEGLIGIBLE_BEATS)
    start = meters[which, 0] + number * length[which]
    beats, index, bar = np.unique(start, return_index=True, return_inverse=True)
    return bar, onset - start, beats, length[which[index]]


def _evidence(pitch, onset, duration, bar, at, lengths):
    bars = len(lengths)
    logs = np.log(np.maximum(_rolled((MAJOR, MINOR, DORIAN, MIXOLYDIAN)), LOWEST_SHARE))
    weight = np.minimum(duration, LONGEST_BEATS) + 0.05
    counted = np.bincount(bar * 12 + pitch % 12, weight, bars * 12).reshape(bars, 12)
    total = counted.sum(1)
    most = BEAT_WEIGHT * lengths
    counted *= (most / (most + total))[:, None]
    said = counted @ logs.T
    low = np.full(bars, 999)
    opening = at < 1 - NEGLIGIBLE_BEATS
    np.minimum.at(low, bar[opening], pitch[opening])
    row = np.zeros(12)
    row[list(BASS)] = list(BASS.values())
    bass = _rolled((row,) * len(MODES))  # [48, 12]
    has = low < 999
    said[has] += BASS_WEIGHT * (lengths[has] / 4)[:, None] * bass.T[low[has] % 12]
    said[0] += np.tile(PRIOR, 12)
    end = onset + duration
    last = end > end.max() - 1
    said[-1] += END_WEIGHT * bass.T[pitch[last].min() % 12]
    said[0] += BEGIN_WEIGHT * bass.T[low[has][0] % 12] if has.any() else 0
    return said


def _stretches(said, beats):
    total = np.concatenate([np.zeros((1, CANDIDATES)), np.cumsum(said, axis=0)])
    bars = len(beats)
    allowed = np.searchsorted(beats, beats - SHORTEST_BEATS + NEGLIGIBLE_BEATS, side="right") - 1
    allowed = np.append(allowed[1:], np.searchsorted(beats, beats[-1] + 2 - SHORTEST_BEATS, side="right") - 1)
    best = np.full(bars + 1, -np.inf)
    best[0] = 0
    ahead, since = total[0] * 0, np.zeros(CANDIDATES, np.int64)
    before = np.zeros(bars + 1, np.int64)
    nxt = 1
    for end in range(1, bars + 1):
        while nxt <= allowed[end - 1]:
            if best[nxt] > -np.inf:
                now = best[nxt] - CHANGE - total[nxt]
                better = now > ahead
                ahead[better], since[better] = now[better], nxt
            nxt += 1
        if allowed[end - 1] >= 0 or end == bars:
            value = ahead + total[end]
            key = int(value.argmax())
            best[end], before[end] = value[key], since[key]
    cuts = []
    end = bars
    while end > 0:
        end = int(before[end])
        cuts.append(end)
    cuts = np.array(cuts[::-1])
    while True:
        sums = np.diff(total[np.append(cuts, bars)], axis=0)
        keys = sums.argmax(1)
        sign = (keys // 4 + np.array([0, 3, -2, 5])[keys % 4]) % 12
        keep = np.append(True, sign[1:] != sign[:-1])
        if keep.all():
            return cuts, keys
        cuts = cuts[keep]
