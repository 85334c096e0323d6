"""How rows of frames are drawn: what the head draws, followed by the columns that are given and not predicted.

Shape legend: G outputs, T rows of a window, C columns.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from musicjax.model import running_match
from musicjax.model.network import Network
from musicjax.model.sample import Draw, HeadDraw


class MatchedDraw(NamedTuple):
    """Draws a frame as the head does, followed by the columns of its longest match; see `model.sample.Draw`."""

    head: HeadDraw
    controls: tuple = ()

    def start(self, net: Network, windows: jax.Array) -> running_match.Past:
        """The frames of windows [G, T, C] are remembered."""
        rows = windows.swapaxes(0, 1)[..., : net.predicted]
        # Silence that fills a window before the piece begins is no part of the piece: -1 equals no frame.
        rows = jnp.where(jnp.cumsum(rows.any(axis=-1), axis=0)[..., None] > 0, rows, -1)
        past = running_match.start(len(windows), net.predicted, jnp.int8)
        return lax.scan(lambda past, rows: (with_match(rows, past, net.match_lengths)[1], None), past, rows)[0]

    def __call__(self, net, own, outputs, noise, last, memory):
        """As `model.sample.Draw`."""
        rows, _ = self.head(net, own, outputs, noise, last, None)
        return with_match(rows, memory, net.match_lengths)


class PlacedDraw(NamedTuple):
    """Draws a row as `drawn` does, followed by its place in the bar, one after that of the row before it; bar: int32,
    frames in a bar."""

    drawn: Draw
    bar: jax.Array
    controls: tuple = ()

    def start(self, net: Network, windows: jax.Array) -> Any:
        """As `model.sample.Draw`."""
        return self.drawn.start(net, windows)

    def __call__(self, net, own, outputs, noise, last, memory):
        """As `model.sample.Draw`."""
        rows, memory = self.drawn(net, own, outputs, noise, last, memory)
        digits = jnp.arange(net.position_columns)
        before = jnp.sum(last[:, -net.position_columns :].astype(jnp.int32) << digits, axis=1)
        place = ((before + 1) % self.bar)[:, None] >> digits & 1
        return jnp.concatenate([rows, place.astype(jnp.float32)], axis=1), memory


def with_match(
    frames: jax.Array, past: running_match.Past, lengths: tuple[int, ...]
) -> tuple[jax.Array, running_match.Past]:
    """(frames float32 [G, keys] followed by the columns of their longest match, [G, C]; the past after them).

    Args:
        lengths: each has a column, which is 1 if the match is at least as long.
    """
    match, past = running_match.advance(frames.astype(jnp.int8), past, frames.shape[1])
    reached = (match.length[:, None] >= jnp.asarray(lengths)).astype(jnp.float32)
    return jnp.concatenate([frames, match.followed.astype(jnp.float32) * reached[:, :1], reached], axis=1), past
