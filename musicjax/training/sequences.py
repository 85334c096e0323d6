"""Sequences in which every row is a target: windows of pieces for training, whole pieces side by side for scoring.

Shape legend: N rows, C columns, P pieces, W windows, B windows a batch, T rows a window, S steps, L streams, A columns
that a categorical head predicts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from musicjax.model import network
from musicjax.model.heads import Score
from musicjax.model.network import Network, States
from musicjax.training import mesh
from musicjax.training.windows import Batch, Validation

# Pieces are scored side by side in a multiple of STREAMS_STEP streams, which up to 8 devices can divide, and in at most
# MOST_STREAMS. Outputs are computed for CHUNK steps at once.
MOST_STREAMS, STREAMS_STEP, CHUNK = 64, 8, 16


class Augment(Protocol):
    """How an encoding changes its rows in training. A pytree of arrays, so new numbers need no compiling."""

    @property
    def random_numbers(self) -> int:
        """How many random numbers it takes for each window, after the one that places the window."""
        ...

    def __call__(self, rows: jax.Array, down: jax.Array, up: jax.Array, random: jax.Array) -> jax.Array:
        """Rows uint8 [B, T + 1, C], moved by -down..up semitones, [B], as float32; random: [B, numbers]."""
        ...


class Sequences(NamedTuple):
    """Windows of pieces.

    rows: uint8 [N, C], all pieces end to end; starts: int32 [W], first row of each window; first, end: int32 [W],
    where its piece begins and ends; down, up: int32 [W], semitones by which it may be moved, so that no note of the
    piece is lost; augment: how rows change.
    """

    rows: jax.Array
    starts: jax.Array
    first: jax.Array
    end: jax.Array
    down: jax.Array
    up: jax.Array
    augment: Augment

    @property
    def random_numbers(self) -> int:
        """How many random numbers `gather` takes for each window."""
        return 1 + self.augment.random_numbers

    def targets(self, window: int) -> int:
        """How many targets a window of T rows has."""
        return window

    def gather(self, index: jax.Array, window: int, random: jax.Array) -> Batch:
        """The windows with these indices, [B]: inputs and targets [B, T, C], weight [B, T].

        Args:
            random: float32 [B, random_numbers] in 0..1. The first moves a window by up to half its length either
                way, within its piece; the others are for `augment`. Rows outside the piece have weight 0.
        """
        starts, first, end, down, up = (field[index] for field in self[1:6])
        moved = starts + jnp.floor((random[:, 0] - 0.5) * window).astype(jnp.int32)
        starts = jnp.clip(moved, first, jnp.maximum(end - window - 1, first))
        place = starts[:, None] + jnp.arange(window + 1)
        inside = place < end[:, None]
        rows = self.rows[jnp.minimum(place, end[:, None] - 1)] * inside[..., None].astype(self.rows.dtype)
        changed = self.augment(rows, down, up, random[:, 1:])
        return Batch(changed[:, :-1], changed[:, 1:], inside[:, 1:].astype(jnp.float32))

    def only(self, index: np.ndarray) -> Sequences:
        """The windows with these indices alone."""
        return self._replace(**{name: getattr(self, name)[index] for name in ("starts", "first", "end", "down", "up")})


def windows(
    rows: np.ndarray,
    offsets: np.ndarray,
    chosen: np.ndarray,
    window: int,
    transpose: int,
    room: Callable[[np.ndarray], tuple[int, int]],
    augment: Augment,
) -> Sequences:
    """Windows that tile the chosen pieces, bool [P]: rows uint8 [N, C], offsets [P + 1].

    A window is T + 1 rows, of which the last T are targets; the last window of a piece may be shorter. Every row of a
    piece but its first is a target of exactly one window. Pieces of one row, or none, give no window.

    Args:
        transpose: most semitones by which `gather` moves a window up or down.
        room: a piece's rows, uint8 [M, C] -> semitones by which it can be moved (down, up) without losing a note.
        augment: how rows change in training.
    """
    found: list[tuple[int, int, int, int, int]] = []
    chosen = chosen & (np.diff(offsets) > 1)
    for first, end in zip(offsets[:-1][chosen].tolist(), offsets[1:][chosen].tolist(), strict=True):
        down, up = (min(semitones, transpose) for semitones in room(rows[first:end]))
        found += [(start, first, end, down, up) for start in range(first, end - 1, window)]
    columns = np.array(found, np.int32).reshape(-1, 5).T
    arrays: Any = (rows, *columns, augment)
    return Sequences(*arrays)


def semitones(down: jax.Array, up: jax.Array, random: jax.Array) -> jax.Array:
    """How far each window moves, int32 [B]: any of -down..up, all equally likely."""
    return jnp.floor(random * (down + up + 1)).astype(jnp.int32) - down


class Streams(NamedTuple):
    """Whole pieces, one after the other in L streams.

    rows: uint8 [N, C]; seen: int32 [S, L], the row that each stream sees at each step; reset: bool [S, L], whether a
    piece begins with it; weight: float32 [S, L], 0 after the end of a stream.
    """

    rows: jax.Array
    seen: jax.Array
    reset: jax.Array
    weight: jax.Array

    def first_inputs(self, window: int) -> jax.Array:
        """The first rows of each stream, float32 [L, T, C]."""
        return self.rows[self.seen[:window].T].astype(jnp.float32)

    def validate(
        self, net: Network, batch_size: int, window: int, params: dict, axis_name: str | None = None
    ) -> Validation:
        """Means over all rows but the first of each piece."""
        place, shares = mesh.share(axis_name)
        if self.seen.shape[1] % shares:  # then every device scores them all
            axis_name, place, shares = None, 0, 1
        part = _part(self, place, shares)

        def total(array: jax.Array) -> jax.Array:
            weight = part.weight.reshape(*part.weight.shape, *(1,) * (array.ndim - 2))
            return jnp.sum(array * weight, axis=(0, 1))

        sums, weight = jax.tree.map(total, score(net, params, part)), jnp.sum(part.weight)
        if axis_name is not None:
            sums, weight = lax.psum((sums, weight), axis_name)
        mean = jax.tree.map(lambda value: value / weight, sums)
        none = jnp.zeros(net.columns)
        return Validation(mean.loss, mean.accuracy, none, none, none, mean.nats, mean.nats_by_column)


def streams(rows: np.ndarray, offsets: np.ndarray, chosen: np.ndarray) -> Streams:
    """The chosen pieces, bool [P], of more than one row, in the fewest streams as short as MOST_STREAMS would be."""
    steps_of = {piece: int(length) - 1 for piece, length in enumerate(np.diff(offsets) * chosen) if length > 1}
    longest, _ = _packed(steps_of, MOST_STREAMS)
    fewest = max(1, -(-sum(steps_of.values()) // max(longest, 1)))
    counts = range(-(-fewest // STREAMS_STEP) * STREAMS_STEP, MOST_STREAMS + 1, STREAMS_STEP)
    count, (_, placed) = next(found for found in ((n, _packed(steps_of, n)) for n in counts) if found[1][0] == longest)
    seen, reset = np.zeros((longest, count), np.int32), np.zeros((longest, count), bool)
    weight = np.zeros((longest, count), np.float32)
    for piece, stream, step in placed:
        inputs = np.arange(offsets[piece], offsets[piece + 1] - 1)
        seen[step : step + len(inputs), stream] = inputs
        reset[step, stream] = True
        weight[step : step + len(inputs), stream] = 1.0
    arrays: Any = (rows, seen, reset, weight)
    return Streams(*arrays)


def _packed(steps_of: dict[int, int], count: int) -> tuple[int, list[tuple[int, int, int]]]:
    """Pieces in `count` streams, each in the shortest one so far, the longest pieces first; steps_of: by piece.

    Returns:
        (steps of every stream, [(piece, its stream, the step that it begins with)]).
    """
    steps, placed = [0] * count, []
    for piece in sorted(steps_of, key=lambda piece: (-steps_of[piece], piece)):
        stream = steps.index(min(steps))
        placed.append((piece, stream, steps[stream]))
        steps[stream] += steps_of[piece]
    return -(-max(steps) // CHUNK) * CHUNK, placed


def score(net: Network, params: dict, streams: Streams) -> Score:
    """Scores [S, L], by column [S, L, A], of the row after each that a stream sees, given its piece so far."""
    weights, own = net.prepare(params), network.head_params(params)

    def see(states: States, now: tuple[jax.Array, jax.Array]):
        index, reset = now

        def begun(array: jax.Array) -> jax.Array:
            return jnp.where(reset.reshape(-1, *(1,) * (array.ndim - 1)), jnp.zeros_like(array), array)

        states = jax.tree.map(begun, states)
        states = net.advance(weights, net.inputs(params, streams.rows[index].astype(jnp.float32)), states)
        # As float32: XLA's CPU backend would convert a whole stack of bfloat16 at every step.
        return states, states[-1].h.astype(jnp.float32)

    def score_chunk(states: States, now: tuple[jax.Array, jax.Array]):
        states, last = lax.scan(see, states, now)
        outputs, following = net.read(params, last), streams.rows[now[0] + 1].astype(jnp.float32)
        return states, net.head.score(own, outputs, following[..., : net.predicted])

    # In chunks, so that only the outputs of a few steps are in memory at a time.
    seen, reset = (array.reshape(-1, CHUNK, array.shape[1]) for array in (streams.seen, streams.reset))
    found = lax.scan(score_chunk, net.start(weights, streams.seen.shape[1]), (seen, reset))[1]
    return jax.tree.map(lambda array: array.reshape(*streams.seen.shape, *array.shape[3:]), found)


def _part(streams: Streams, place: jax.Array | int, shares: int) -> Streams:
    """The place-th of `shares` equal parts of the streams."""
    size = streams.seen.shape[1] // shares
    columns = [lax.dynamic_slice_in_dim(array, place * size, size, axis=1) for array in streams[1:]]
    return Streams(streams.rows, *columns)
