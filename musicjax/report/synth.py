"""Notes -> sound as sums of decaying partials: a plain piano that needs nothing but NumPy.

Shape legend: S samples, K partials, J blocks of a tone, B samples in a block.
"""

from __future__ import annotations

import math

import numpy as np

from musicjax.music.notes import Notes

RATE = 44_100  # samples a second
MOST_SECONDS = 1800.0  # of a piece; the rest is left out (318 MB at RATE)
RELEASE_SECONDS = 0.1  # from the end of a note to silence
ATTACK_SECONDS = 0.003
LONGEST_TONE_SECONDS = 12.0  # a note that is held longer has died away
PEAK = 0.9  # of full scale, at the loudest sample
PARTIALS = 12
BLOCK = 1024


def render(notes: Notes, rate: int = RATE) -> np.ndarray:
    """The sound of the notes that begin before MOST_SECONDS.

    A key that is struck again while it sounds begins anew, as on a piano; if it is struck twice at once, the louder
    stroke sounds. So the length of the piece bounds the work, however many notes there are.

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
    for pitch in np.unique(played.pitch).tolist():
        _add_key(samples, played[played.pitch == pitch], pitch, rate)
    peak = max(float(samples.max()), -float(samples.min()))
    if peak > 0.0:
        samples *= np.float32(PEAK / peak)
    return samples


def _add_key(samples: np.ndarray, notes: Notes, pitch: int, rate: int) -> None:
    """Adds the notes of one key to samples, float32 [S]."""
    start = np.rint(notes.onset * rate).astype(np.int64)
    order = np.lexsort((notes.velocity, start))
    start, velocity = start[order], notes.velocity[order].astype(np.float64)
    held = np.rint(np.minimum(notes.duration[order], LONGEST_TONE_SECONDS) * rate).astype(np.int64)
    until_next = np.diff(start, append=np.iinfo(np.int64).max)
    struck = until_next > 0
    held = np.minimum(held, until_next)[struck]
    loudness = ((velocity / 127.0) ** 1.8).astype(np.float32)[struck]
    release = (np.linspace(1.0, 0.0, int(RELEASE_SECONDS * rate)) ** 2).astype(np.float32)
    tone = _tone(pitch, int(held.max()) + len(release), rate)
    for first, length, loud in zip(start[struck].tolist(), held.tolist(), loudness, strict=True):
        sound = loud * tone[: length + len(release)]
        sound[length:] *= release
        place = samples[first : first + len(sound)]
        place += sound[: len(place)]


def _tone(pitch: int, length: int, rate: int) -> np.ndarray:
    """The sound of a key that is never released: float32 [length].

    Each partial is the imaginary part of a * exp(z n) at sample n. With n = B j + b the exponential is a product of one
    of j and one of b, so that the sum over all partials is a single product of [J, 2K] and [2K, B].
    """
    fundamental = 440.0 * 2.0 ** ((pitch - 69) / 12)
    partial = np.arange(1, PARTIALS + 1)
    stretch = np.sqrt((1.0 + 3e-4 * partial**2) / (1.0 + 3e-4))  # strings are stiff: high partials lie sharp
    hertz = fundamental * partial * stretch
    partial, hertz = partial[hertz < 0.45 * rate], hertz[hertz < 0.45 * rate]
    ring_seconds = np.clip(1.2 * 2.0 ** ((69 - pitch) / 24), 0.15, 3.0) / (1.0 + 0.35 * (partial - 1))
    z = (-1.0 / ring_seconds + 2j * np.pi * hertz) / rate
    blocks = -(-length // BLOCK)
    coarse = partial**-1.4 * np.exp(np.outer(np.arange(blocks) * BLOCK, z))
    fine = np.exp(np.outer(z, np.arange(BLOCK)))
    left = np.concatenate([coarse.real, coarse.imag], axis=1).astype(np.float32)
    right = np.concatenate([fine.imag, fine.real]).astype(np.float32)
    tone = np.einsum("jk,kb->jb", left, right).reshape(-1)[:length]  # not BLAS, whose threads cost more than they save
    attack = np.linspace(0.0, 1.0, int(ATTACK_SECONDS * rate), dtype=np.float32)[:length]
    tone[: len(attack)] *= attack
    return tone
