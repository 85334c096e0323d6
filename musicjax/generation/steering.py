"""What the user asks of the music -> Controls for each output.

Shape legend: K outputs, T rows of a window, C columns, V bins of all columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from musicjax.generation.sampling_params import Setting
from musicjax.model.controls import PITCH, Clock, Controls
from musicjax.model.sample import Steering
from musicjax.music import longest_match, note_bins
from musicjax.music.note_bins import Bins

PITCHES = note_bins.SIZES[PITCH]
ECHO_PITCH, ECHO_LENGTH = note_bins.MATCH_PITCH, note_bins.MATCH_LENGTH
FIRST_PITCH = sum(note_bins.SIZES[:PITCH])


def controls(bins: Bins, settings: Sequence[Setting]) -> Controls:
    """Controls of K outputs from a setting each."""
    allowed = np.tile(note_bins.valid(bins), (len(settings), 1))
    allowed[:, FIRST_PITCH : FIRST_PITCH + PITCHES] &= allowed_pitches(settings)

    def each(name: str, kind: type) -> jnp.ndarray:
        return jnp.asarray(np.array([getattr(setting, name) for setting in settings], kind))

    return Controls(
        jnp.asarray(np.array([setting.temperatures for setting in settings], np.float32)),
        each("top_k", np.int32),
        each("top_p", np.float32),
        each("min_p", np.float32),
        jnp.asarray(allowed),
        each("polyphony", np.int32),
        each("no_repeat", np.int32),
        each("echo", np.int32),
    )


def steering(bins: Bins, settings: Sequence[Setting], echo: bool = True) -> Steering:
    """The controls, and the time that the bins stand for; and whether the model knows its echo."""
    steps, sounds = (jnp.asarray(table, jnp.int32) for table in note_bins.steps_of(bins))
    lengths = jnp.asarray(longest_match.LENGTHS, jnp.int32) if echo else None
    return Steering(controls(bins, settings), Clock(steps, sounds, jnp.int32(bins.steps_per_bar), lengths))


def allowed_pitches(settings: Sequence[Setting]) -> np.ndarray:
    """bool [K, pitches]."""
    allowed = np.zeros((len(settings), PITCHES), bool)
    for row, setting in zip(allowed, settings, strict=True):
        row[list(setting.pitches)] = True
    return allowed


def fitted(windows: np.ndarray, settings: Sequence[Setting]) -> np.ndarray:
    """Windows float32 [K, T, C], each moved by the fewest semitones that bring most of its notes among those allowed.

    So what an output goes on from is in the key that it shall be in.
    """
    moved = np.array(windows)
    for window, allowed in zip(moved, allowed_pitches(settings), strict=True):
        pitch = window[:, PITCH].astype(int)
        shifts = sorted(range(-int(pitch.min()), PITCHES - int(pitch.max())), key=lambda shift: (abs(shift), shift))
        shift = max(shifts, key=lambda shift: int(allowed[pitch + shift].sum()))
        window[:, PITCH] += shift
        # An echo is of the same piece, so it moves along, at most to the end of the range.
        echoed = window[:, ECHO_LENGTH] > 0
        window[echoed, ECHO_PITCH] = (window[echoed, ECHO_PITCH] + shift).clip(0, PITCHES - 1)
    return moved
