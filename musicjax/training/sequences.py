"""Sequences whose every row is a target: windows of pieces for training, whole pieces side by side for scoring.

Shape legend: N rows, C columns, W windows, B windows a batch, T rows a window, S steps, L lanes, H units.
Columns are frames of KEYS keys, one or more frames side by side (such as sounding and beginning), and where they have
an echo as many again and fewer than KEYS for its length; or, where there are Tables, the bins (interval, place, pitch,
duration, velocity, echo of four of them, its length) of a note.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

KEYS = 88
# Pieces scored side by side, and steps whose outputs are computed at once.
LANES, CHUNK = 64, 16


class Tables(NamedTuple):
    """How rows of bins are changed in training: looked up, not computed.

    interval, duration: int32 [F, bins], the bin that each becomes at each of F tempos; steps: int32 [bins], of each
    interval; places: int32, steps of a bar; velocities: int32, bins of velocity; louder: int32, most bins by which a
    window is played louder or softer; echo: float32, share of windows that keep their echo.
    """

    interval: jax.Array
    duration: jax.Array
    steps: jax.Array
    places: jax.Array
    velocities: jax.Array
    louder: jax.Array
    echo: jax.Array


class Sequences(NamedTuple):
    """Windows of pieces.

    rows: uint8 [N, C], all pieces end to end; starts: int32 [W], first row of each window; first, end: int32 [W], of
    its piece; down, up: int32 [W], keys by which the whole piece can be moved without losing a note; tables: of rows
    that are bins; echo: float32, share of windows that keep their echo, of frames that have one.
    """

    rows: jax.Array
    starts: jax.Array
    first: jax.Array
    end: jax.Array
    down: jax.Array
    up: jax.Array
    tables: Tables | None = None
    echo: jax.Array | None = None


class Lanes(NamedTuple):
    """Whole pieces, one behind the other in L lanes.

    rows: uint8 [N, C]; seen: int32 [S, L], the row that each lane sees at each step; fresh: bool [S, L], whether a
    piece begins with it; weight: float32 [S, L], 0 where no row of the piece follows.
    """

    rows: jax.Array
    seen: jax.Array
    fresh: jax.Array
    weight: jax.Array


def windows(
    rows: np.ndarray,
    offsets: np.ndarray,
    chosen: np.ndarray,
    window: int,
    transpose: int,
    pitches: tuple[int, int, int] | None = None,
    tables: Tables | None = None,
    echo: float | None = None,
) -> Sequences:
    """Windows that tile the chosen pieces, bool [P]: rows uint8 [N, C], offsets [P + 1].

    A window is T + 1 rows, of which the last T are targets; the last of a piece may be shorter. Every row of a piece
    but its first is a target of one window. Pieces of one row, or none, give no window.

    Args:
        transpose: most keys by which `gather` moves a window up or down.
        pitches, tables: of rows of bins: the column of the pitch and its lowest and highest; how they are changed.
        echo: of frames that have one: the share of windows that keep it.
    """
    found: list[tuple[int, int, int, int, int]] = []
    chosen = chosen & (np.diff(offsets) > 1)
    for first, end in zip(offsets[:-1][chosen].tolist(), offsets[1:][chosen].tolist(), strict=True):
        down, up = _room(rows[first:end], pitches)
        room = min(down, transpose), min(up, transpose)
        found += [(start, first, end, *room) for start in range(first, end - 1, window)]
    columns = np.array(found, np.int32).reshape(-1, 5).T
    arrays: Any = (rows, *columns, tables, None if echo is None else np.float32(echo))
    return Sequences(*arrays)


def _room(rows: np.ndarray, pitches: tuple[int, int, int] | None) -> tuple[int, int]:
    """Keys by which a piece, uint8 [M, C], can be moved down and up without losing a note."""
    if pitches is not None:
        column, low, high = pitches
        return max(int(rows[:, column].min()) - low, 0), max(high - int(rows[:, column].max()), 0)
    used = np.flatnonzero(_frames(rows).any(axis=(0, 1)))
    return (int(used[0]), KEYS - 1 - int(used[-1])) if len(used) else (0, 0)


def gather(
    sequences: Sequences, index: jax.Array, window: int, draws: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(inputs [B, T, C], targets [B, T, C], weight [B, T]) of the windows with these indices, [B].

    Args:
        draws: float32 [B, kinds] in 0..1: where a window lies around its place, up to half a window to either side,
            and by how many keys it is moved, among those that lose no note; of bins also its tempo and how loud it
            is; then whether it keeps its echo. Rows outside of the piece have weight 0.
    """
    starts, first, end, down, up = (field[index] for field in sequences[1:6])
    moved = starts + jnp.floor((draws[:, 0] - 0.5) * window).astype(jnp.int32)
    starts = jnp.clip(moved, first, jnp.maximum(end - window - 1, first))
    place = starts[:, None] + jnp.arange(window + 1)
    inside = place < end[:, None]
    rows = sequences.rows[jnp.minimum(place, end[:, None] - 1)] * inside[..., None].astype(sequences.rows.dtype)
    keys = jnp.floor(draws[:, 1] * (down + up + 1)).astype(jnp.int32) - down
    if sequences.tables is None:
        changed = _moved_frames(rows, keys)
        if sequences.echo is not None:
            is_own = jnp.arange(changed.shape[-1]) < (changed.shape[-1] - changed.shape[-1] % KEYS) // 2
            changed = changed * (is_own | (draws[:, 2] < sequences.echo)[:, None, None])
    else:
        changed = _changed_bins(sequences.tables, rows.astype(jnp.int32), keys, draws[:, 2:])
    return changed[:, :-1], changed[:, 1:], inside[:, 1:].astype(jnp.float32)


def _frames(rows: Any) -> Any:
    """The columns [..., C] that are keys, [..., frames, KEYS]."""
    whole = rows.shape[-1] // KEYS
    return rows[..., : whole * KEYS].reshape(*rows.shape[:-1], whole, KEYS)


def _moved_frames(rows: jax.Array, keys: jax.Array) -> jax.Array:
    """uint8 [B, T + 1, C] moved up by keys [B]: float32."""
    frames = _frames(rows)
    source = (jnp.arange(KEYS) - keys[:, None]) % KEYS
    moved = jnp.take_along_axis(frames, source[:, None, None, :], axis=-1).reshape(*rows.shape[:-1], -1)
    return jnp.concatenate([moved, rows[..., moved.shape[-1] :]], axis=-1).astype(jnp.float32)


def _changed_bins(tables: Tables, rows: jax.Array, keys: jax.Array, draws: jax.Array) -> jax.Array:
    """int32 [B, T + 1, C] moved up by keys [B]; tempo, loudness and whether it is told echoes as drawn, [B, 3]."""
    tempo, loud, echo = (draws[:, [kind]] for kind in range(3))
    which = jnp.floor(tempo * tables.interval.shape[0]).astype(jnp.int32)
    louder = jnp.floor(loud * (2 * tables.louder + 1)).astype(jnp.int32) - tables.louder

    def changed(columns: tuple[int, int, int, int]) -> tuple[jax.Array, ...]:
        interval, pitch, duration, velocity = (rows[..., column] for column in columns)
        velocity = jnp.clip(velocity + louder, 0, tables.velocities - 1)
        return tables.interval[which, interval], pitch + keys[:, None], tables.duration[which, duration], velocity

    interval, *rest = changed((0, 2, 3, 4))
    steps = jnp.cumsum(tables.steps[interval].at[:, 0].set(0), axis=1)
    place, length = (rows[:, :1, 1] + steps) % tables.places, rows[..., 9]
    heard = (length > 0) & (echo < tables.echo)
    echoes = [jnp.where(heard, column, 0) for column in (*changed((5, 6, 7, 8)), length)]
    return jnp.stack([interval, place, *rest, *echoes], axis=-1).astype(jnp.float32)


def kinds(sequences: Sequences) -> int:
    """How many things are random about each window."""
    if sequences.tables is not None:
        return 5
    return 2 if sequences.echo is None else 3


def draws(key: jax.Array, epoch: jax.Array | int, count: int, kinds: int = 2) -> jax.Array:
    """What is random about each of the windows in an epoch, float32 [W, kinds]."""
    return jax.random.uniform(jax.random.fold_in(key, epoch), (count, kinds))


def lanes(rows: np.ndarray, offsets: np.ndarray, chosen: np.ndarray) -> Lanes:
    """The chosen pieces of more than one row, bool [P], in LANES lanes of about equal length."""
    lengths = np.diff(offsets) * chosen
    steps = [0] * LANES
    placed: list[tuple[int, int, int]] = []
    for piece in sorted(np.flatnonzero(lengths > 1).tolist(), key=lambda piece: (-lengths[piece], piece)):
        lane = steps.index(min(steps))
        placed.append((piece, lane, steps[lane]))
        steps[lane] += int(lengths[piece]) - 1
    longest = -(-max(steps) // CHUNK) * CHUNK
    seen, fresh = np.zeros((longest, LANES), np.int32), np.zeros((longest, LANES), bool)
    weight = np.zeros((longest, LANES), np.float32)
    for piece, lane, step in placed:
        inputs = np.arange(offsets[piece], offsets[piece + 1] - 1)
        seen[step : step + len(inputs), lane] = inputs
        fresh[step, lane] = True
        weight[step : step + len(inputs), lane] = 1.0
    arrays: Any = (rows, seen, fresh, weight)
    return Lanes(*arrays)


def part(lanes: Lanes, place: jax.Array | int, shares: int) -> Lanes:
    """The place-th of `shares` equal parts of the lanes."""
    size = lanes.seen.shape[1] // shares
    columns = [lax.dynamic_slice_in_dim(array, place * size, size, axis=1) for array in lanes[1:]]
    return Lanes(lanes.rows, *columns)
