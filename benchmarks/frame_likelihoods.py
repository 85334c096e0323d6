"""The likelihood that networks give each frame: of one network, of one given transposed music, and of mixtures.

A mixture gives a frame the mean of the probabilities from its parts. Each part predicts the frame only from the frames
before it, and so does the mixture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import baselines
from musicjax.corpus.frame_sets import Polyphonic
from musicjax.model import network
from musicjax.music import piano_roll
from musicjax.training import sequences

_score = jax.jit(sequences.score, static_argnums=0)


class Frames(NamedTuple):
    """Nats float64 [F] of each predicted frame and its piece, int64 [F], in the same order for all networks."""

    nats: np.ndarray
    piece: np.ndarray

    @property
    def costs(self) -> baselines.Costs:
        """Nats [P] and predicted frames [P] of the pieces that have any."""
        sums, frames = np.bincount(self.piece, self.nats), np.bincount(self.piece)
        return sums[frames > 0], frames[frames > 0]


def frames_of(
    net: network.Network, params: dict, data: Polyphonic, split: str, frames_a_bar: int = 1, semitones: int = 0
) -> Frames:
    """The predicted frames of a split under a network that sees the music moved by `semitones`.

    A key that leaves the keyboard is predicted by how often it is on in the training frames. A key that enters at the
    other end is silent. The network may expect notes there, which costs nats, so the figure is an upper bound.
    """
    pieces = data.pieces(split)
    frames, offsets = np.concatenate(pieces), np.cumsum([0, *map(len, pieces)])
    rows = moved(frames, semitones)
    rows = piano_roll.with_matches(rows, offsets) if net.match_lengths else rows
    rows = piano_roll.with_positions(rows, offsets, frames_a_bar) if net.position_columns else rows
    streams = sequences.streams(rows, offsets, np.ones(len(pieces), bool))
    placed = jax.tree.map(jnp.asarray, streams)
    nats = np.asarray(_score(net, params, placed).nats, np.float64)
    counted = np.asarray(streams.weight) > 0
    seen = np.asarray(streams.seen)[counted]
    left = moved(np.ones((1, frames.shape[1])), -semitones)[0] == 0  # moving back leaves these keys empty
    on = baselines.shares(data.pieces("train"))[left]
    of_left = -np.log(np.where(frames[seen + 1][:, left] > 0, on, 1 - on)).sum(axis=1)
    return Frames(nats[counted] + of_left, np.searchsorted(offsets, seen, side="right") - 1)


def moved(frames: np.ndarray, semitones: int) -> np.ndarray:
    """Moves frames [N, K] up by a number of keys, and drops what leaves the keyboard."""
    found = np.zeros_like(frames)
    keys = frames.shape[1]
    found[:, max(semitones, 0) : keys + min(semitones, 0)] = frames[:, max(-semitones, 0) : keys - max(semitones, 0)]
    return found


def mixture(found: Sequence[Frames]) -> Frames:
    """Gives each frame the mean of the probabilities that the parts give it."""
    nats = np.log(len(found)) - np.logaddexp.reduce([-frames.nats for frames in found], axis=0)
    return found[0]._replace(nats=nats)
