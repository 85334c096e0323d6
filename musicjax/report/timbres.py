"""What the instruments of the built-in synthesiser sound like: partials for each family, sines and noise for drums."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from musicjax.music.instruments import family_of


class Timbre(NamedTuple):
    """What the partials of an instrument are like.

    Attributes:
        slope: partial k has the amplitude k ** -slope.
        ring_seconds: time in which the first partial of A4 decays to 1 / e; 0: it sounds as long as it is held.
        damping: partial k decays 1 + damping * (k - 1) times as fast as the first.
        stiffness: inharmonicity, by which high partials lie sharp, as on struck strings.
        even: factor of the amplitudes of partials 2, 4, 6 ...
        attack_seconds: time to full loudness.
        level: factor of all amplitudes; 1: as loud as the piano.
    """

    slope: float = 1.4
    ring_seconds: float = 1.2
    damping: float = 0.35
    stiffness: float = 3e-4
    even: float = 1.0
    attack_seconds: float = 0.003
    level: float = 1.0


PIANO = Timbre()
_PLUCKED = Timbre(slope=1.1, ring_seconds=0.8, damping=0.6, stiffness=5e-5)
_BELL = Timbre(slope=1.7, ring_seconds=1.0, damping=0.8, stiffness=8e-3)
_BASS = Timbre(slope=1.6, ring_seconds=0.9, damping=0.9, stiffness=1e-4, level=1.3)
_ORGAN = Timbre(slope=1.0, ring_seconds=0, stiffness=0, even=0.6, attack_seconds=0.008, level=0.3)
_BOWED = Timbre(slope=1.1, ring_seconds=0, stiffness=0, attack_seconds=0.06, level=0.3)
_PAD = Timbre(slope=1.5, ring_seconds=0, stiffness=0, attack_seconds=0.15, level=0.35)
_BRASS = Timbre(slope=0.8, ring_seconds=0, stiffness=0, attack_seconds=0.03, level=0.25)
_REED = Timbre(slope=0.9, ring_seconds=0, stiffness=0, even=0.25, attack_seconds=0.02, level=0.3)
_PIPE = Timbre(slope=2.4, ring_seconds=0, stiffness=0, even=0.7, attack_seconds=0.03, level=0.4)
_LEAD = Timbre(slope=1.0, ring_seconds=0, stiffness=0, even=0.5, attack_seconds=0.005, level=0.25)
_OF_FAMILY = {
    "piano": PIANO,
    "chromatic percussion": _BELL,
    "organ": _ORGAN,
    "guitar": _PLUCKED,
    "bass": _BASS,
    "strings": _BOWED,
    "ensemble": _BOWED,
    "brass": _BRASS,
    "reed": _REED,
    "pipe": _PIPE,
    "synth lead": _LEAD,
    "synth pad": _PAD,
    "synth effects": _PAD,
    "ethnic": _PLUCKED,
    "percussive": _BELL,
    "sound effects": _PAD,
}


class _Drum(NamedTuple):
    """A drum: a sine that falls to `hertz`, and noise.

    Attributes:
        seconds: time in which both decay to 1 / e.
        tone, noise: the amplitude of each.
        bright: whether the noise has no low frequencies.
    """

    seconds: float
    hertz: float = 0.0
    tone: float = 0.0
    noise: float = 0.0
    bright: bool = False


_KICK = _Drum(0.11, hertz=48.0, tone=1.2, noise=0.04)
_SNARE = _Drum(0.09, hertz=185.0, tone=0.35, noise=0.45)
_CLOSED_HAT, _OPEN_HAT = _Drum(0.035, noise=0.3, bright=True), _Drum(0.2, noise=0.3, bright=True)
_CYMBAL = _Drum(0.45, noise=0.3, bright=True)
_OTHER = _Drum(0.05, noise=0.35)
# By the numbers that General MIDI gives them.
_DRUMS = (
    dict.fromkeys((35, 36), _KICK)
    | dict.fromkeys((37, 38, 39, 40), _SNARE)
    | dict.fromkeys((42, 44), _CLOSED_HAT)
    | {46: _OPEN_HAT}
    | dict.fromkeys((49, 51, 52, 53, 55, 57, 59), _CYMBAL)
    | {
        pitch: _Drum(0.18, hertz=float(70 + 8 * (pitch - 41)), tone=0.9, noise=0.03)
        for pitch in (41, 43, 45, 47, 48, 50)
    }
)
_SILENT_AFTER = 6.0  # times that decay, at 1/400 of the amplitude


def of(program: int) -> Timbre:
    """The timbre of a General MIDI program, 0..127."""
    return _OF_FAMILY[family_of(program)]


def drum_seconds(pitch: int) -> float:
    """How long a drum sounds, however long it is held."""
    return _SILENT_AFTER * _DRUMS.get(pitch, _OTHER).seconds


def drum(pitch: int, length: int, rate: int) -> np.ndarray:
    """The sound of a drum, float32 [length]; the same each time.

    Args:
        pitch: its number in General MIDI, 0..127.
        rate: samples a second.
    """
    kind = _DRUMS.get(pitch, _OTHER)
    seconds = np.arange(length) / rate
    # The integral of the frequency, which falls from 4 * hertz to hertz.
    fallen = kind.hertz * (seconds + 3 * 0.03 * (1 - np.exp(-seconds / 0.03)))
    noise = np.random.default_rng(pitch).standard_normal(length + 1)
    noise = np.diff(noise) if kind.bright else noise[1:]
    sound = kind.tone * np.sin(2 * np.pi * fallen) + kind.noise * noise
    return (sound * np.exp(-seconds / kind.seconds)).astype(np.float32)
