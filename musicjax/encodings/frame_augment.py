"""How training windows of frames change: by semitones, and whether they see their longest match.

Shape legend: M rows of a piece, B windows, T rows a window, C columns.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from musicjax.music.piano_roll import KEYS
from musicjax.training import sequences


def room(rows: np.ndarray, keys: int = KEYS) -> tuple[int, int]:
    """Semitones by which a piece, uint8 [M, C], can be moved down and up without losing a note."""
    used = np.flatnonzero(_by_key(rows, keys).any(axis=(0, 1)))
    return (int(used[0]), keys - 1 - int(used[-1])) if len(used) else (0, 0)


def _by_key(rows: Any, keys: int) -> Any:
    """The columns in whole groups of keys, [..., groups, keys]; those after the last group are left out."""
    whole = rows.shape[-1] // keys
    return rows[..., : whole * keys].reshape(*rows.shape[:-1], whole, keys)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class FrameAugment:
    """Moves windows by semitones, and hides the match of some; see `sequences.Augment`.

    match_share: float32, share of windows that keep their match; frame_columns: those of a frame itself, None without
    match; position_columns: those that tell the place in the bar, the last ones, which no window hides; keys: how many
    a frame has.
    """

    match_share: Any
    frame_columns: int | None = dataclasses.field(default=None, metadata={"static": True})
    position_columns: int = dataclasses.field(default=0, metadata={"static": True})
    keys: int = dataclasses.field(default=KEYS, metadata={"static": True})

    @property
    def random_numbers(self) -> int:
        """As `Augment.random_numbers`."""
        return 1 if self.frame_columns is None else 2

    def __call__(self, rows: jax.Array, down: jax.Array, up: jax.Array, random: jax.Array) -> jax.Array:
        """As `Augment`."""
        frames, semitones = _by_key(rows, self.keys), sequences.semitones(down, up, random[:, 0])
        source = (jnp.arange(self.keys) - semitones[:, None]) % self.keys
        moved = jnp.take_along_axis(frames, source[:, None, None, :], axis=-1).reshape(*rows.shape[:-1], -1)
        changed = jnp.concatenate([moved, rows[..., moved.shape[-1] :]], axis=-1).astype(jnp.float32)
        if self.frame_columns is None:
            return changed
        shown = (random[:, 1] < self.match_share)[:, None, None]
        column = jnp.arange(changed.shape[-1])
        always = (column < self.frame_columns) | (column >= changed.shape[-1] - self.position_columns)
        return changed * (always | shown)
