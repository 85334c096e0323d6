"""Notes -> sound as sums of partials: plain instruments that need nothing but NumPy.

Shape legend: S samples, K partials, J blocks of a tone, B samples in a block.
"""

from __future__ import annotations

import math

import numpy as np

from musicjax.music.notes import DRUMS, Notes
from musicjax.report import timbres
from musicjax.report.timbres import PIANO, Timbre

RATE = 44_100  # samples a second
MOST_SECONDS = 1800.0  # of a piece; the rest is left out (318 MB at RATE)
RELEASE_SECONDS = 0.1  # from the end of a note to silence
ATTACK_SECONDS = PIANO.attack_seconds
LONGEST_TONE_SECONDS = 12.0  # a note that is held longer has died away
LONGEST_STEADY_SECONDS = 60.0  # of a note that does not
PEAK = 0.9  # of full scale, at the loudest sample
PARTIALS = 12
BLOCK = 1024


def render(notes: Notes, rate: int = RATE) -> np.ndarray:
    """The sound of the notes that begin before MOST_SECONDS.

    Each instrument has the timbre of its family. A key that is struck again while it sounds starts over, as on a piano;
    of two simultaneous strokes, the louder one sounds. So the length of the piece bounds the work, however many notes
    there are.

    Args:
        notes: N notes.
        rate: samples a second.

    Returns:
        float32 [S], S = ceil((min(notes.seconds, MOST_SECONDS) + RELEASE_SECONDS) * rate), mono; the loudest sample is
        PEAK, or all are 0 if no note sounds. Equal notes give equal samples.
    """
    seconds = min(notes.seconds, MOST_SECONDS)
    samples = np.zeros(math.ceil((seconds + RELEASE_SECONDS) * rate), np.float32)
    played = notes[notes.onset < MOST_SECONDS]
    for program in np.unique(played.program).tolist():
        of_program = played if (played.program == program).all() else played[played.program == program]
        for pitch in np.unique(of_program.pitch).tolist():
            _add_key(samples, of_program[of_program.pitch == pitch], pitch, program, rate)
    peak = max(float(samples.max()), -float(samples.min()))
    if peak > 0.0:
        samples *= np.float32(PEAK / peak)
    return samples


def _add_key(samples: np.ndarray, notes: Notes, pitch: int, program: int, rate: int) -> None:
    """Adds the notes of one key of an instrument to samples, float32 [S]."""
    start = np.rint(notes.onset * rate).astype(np.int64)
    order = np.lexsort((notes.velocity, start))
    start, velocity = start[order], notes.velocity[order].astype(np.float64)
    release = (np.linspace(1.0, 0.0, int(RELEASE_SECONDS * rate)) ** 2).astype(np.float32)
    held = np.rint(_held_seconds(notes, pitch, program)[order] * rate).astype(np.int64)
    if program == DRUMS:  # the sound of the piece may end before theirs
        held = np.minimum(held, len(samples) - len(release) - start)
    until_next = np.diff(start, append=np.iinfo(np.int64).max)
    struck = until_next > 0
    held = np.minimum(held, until_next)[struck]
    loudness = ((velocity / 127.0) ** 1.8).astype(np.float32)[struck]
    length = int(held.max()) + len(release)
    tone = timbres.drum(pitch, length, rate) if program == DRUMS else _tone(pitch, length, rate, timbres.of(program))
    for first, length, loud in zip(start[struck].tolist(), held.tolist(), loudness, strict=True):
        sound = loud * tone[: length + len(release)]
        sound[length:] *= release
        place = samples[first : first + len(sound)]
        place += sound[: len(place)]


def _held_seconds(notes: Notes, pitch: int, program: int) -> np.ndarray:
    """How long the notes of one key sound before they are released, float64 [N]."""
    if program == DRUMS:
        return np.full(len(notes), timbres.drum_seconds(pitch))
    longest = LONGEST_TONE_SECONDS if timbres.of(program).ring_seconds else LONGEST_STEADY_SECONDS
    return np.minimum(notes.duration, longest)


def _tone(pitch: int, length: int, rate: int, timbre: Timbre = PIANO) -> np.ndarray:
    """The sound of a key that is never released: float32 [length].

    Each partial is the imaginary part of a * exp(z n) at sample n. With n = B j + b the exponential is a product of one
    of j and one of b, so that the sum over all partials is a single product of [J, 2K] and [2K, B].
    """
    fundamental = 440.0 * 2.0 ** ((pitch - 69) / 12)
    partial = np.arange(1, PARTIALS + 1)
    stiffness = timbre.stiffness  # of strings: high partials lie sharp
    stretch = np.sqrt((1.0 + stiffness * partial**2) / (1.0 + stiffness))
    hertz = fundamental * partial * stretch
    partial, hertz = partial[hertz < 0.45 * rate], hertz[hertz < 0.45 * rate]
    ring_seconds = np.clip(timbre.ring_seconds * 2.0 ** ((69 - pitch) / 24), 0.15, 3.0)
    ring_seconds = ring_seconds / (1.0 + timbre.damping * (partial - 1)) if timbre.ring_seconds else np.inf
    z = (-1.0 / ring_seconds + 2j * np.pi * hertz) / rate
    blocks = -(-length // BLOCK)
    amplitude = timbre.level * partial**-timbre.slope * np.where(partial % 2, 1.0, timbre.even)
    coarse = amplitude * np.exp(np.outer(np.arange(blocks) * BLOCK, z))
    fine = np.exp(np.outer(z, np.arange(BLOCK)))
    left = np.concatenate([coarse.real, coarse.imag], axis=1).astype(np.float32)
    right = np.concatenate([fine.imag, fine.real]).astype(np.float32)
    tone = np.einsum("jk,kb->jb", left, right).reshape(-1)[:length]  # not BLAS, whose threads cost more than they save
    attack = np.linspace(0.0, 1.0, int(timbre.attack_seconds * rate), dtype=np.float32)[:length]
    tone[: len(attack)] *= attack
    return tone
