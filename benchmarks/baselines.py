"""Frame likelihoods without a network: keys are independent, and each is on with probability 1/2, as often as in
training, or depending on its state in the frame before.

Nats per frame of 88 independent keys, summed over the keys, for frames 2..T of each piece: the measure by which
networks are compared on the sets of musicjax.corpus.frame_sets. The figure for a split is the sum over its pieces
divided by the number of predicted frames, so long pieces count for more.

Shape legend: P pieces; T frames of one piece.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Pieces = Sequence[np.ndarray]
Costs = tuple[np.ndarray, np.ndarray]

# Added to each count of on and of off. On the valid splits of the four sets, 1/2 is the best of 1, 1/2 and 1e-6; the
# three differ by less than .01 nats on each.
SMOOTHING = 0.5
INTERVAL_PERCENT = (2.5, 97.5)


def uniform(pieces: Pieces) -> Costs:
    """Every key is on with probability 1/2: 88 ln 2 nats a frame.

    Args:
        pieces: P arrays of zeros and ones, [T, keys].

    Returns:
        float64 [P], the nats of all predicted frames of each piece, and int64 [P], their number. The other models
        return the same.
    """
    return _costs(pieces, lambda before: np.full(before.shape, 0.5))


def marginal(train_pieces: Pieces, test_pieces: Pieces, smoothing: float = SMOOTHING) -> Costs:
    """Each key is on as often as in all training frames, first frames included."""
    on = shares(train_pieces, smoothing)
    return _costs(test_pieces, lambda before: np.broadcast_to(on, before.shape))


def shares(train_pieces: Pieces, smoothing: float = SMOOTHING) -> np.ndarray:
    """How often each key is on in all training frames, first frames included: float64 [keys]."""
    frames = np.concatenate(train_pieces).astype(bool)
    return _share(frames.sum(axis=0), len(frames), smoothing)


def markov(train_pieces: Pieces, test_pieces: Pieces, smoothing: float = SMOOTHING) -> Costs:
    """Each key is on as often as in the training frames that follow a frame where it had the same state."""
    before = np.concatenate([piece[:-1] for piece in train_pieces]).astype(bool)
    after = np.concatenate([piece[1:] for piece in train_pieces]).astype(bool)
    was_on = before.sum(axis=0)
    on_after_on = _share((after & before).sum(axis=0), was_on, smoothing)
    on_after_off = _share((after & ~before).sum(axis=0), len(before) - was_on, smoothing)
    return _costs(test_pieces, lambda before: np.where(before, on_after_on, on_after_off))


def per_frame(nats: np.ndarray, frames: np.ndarray) -> float:
    """Nats per frame of a split, from the nats [P] and the predicted frames [P] of its pieces."""
    return float(nats.sum() / frames.sum())


def bootstrap(nats: np.ndarray, frames: np.ndarray, seed: int, draws: int = 1000) -> tuple[float, float]:
    """The 95 % bootstrap interval of `per_frame` over the P pieces."""
    chosen = np.random.default_rng(seed).integers(len(nats), size=(draws, len(nats)))
    low, high = np.percentile(nats[chosen].sum(axis=1) / frames[chosen].sum(axis=1), INTERVAL_PERCENT)
    return float(low), float(high)


def _share(count: np.ndarray, total: np.ndarray | int, smoothing: float) -> np.ndarray:
    return (count + smoothing) / (total + 2 * smoothing)


def _costs(pieces: Pieces, probability_of_on: Callable[[np.ndarray], np.ndarray]) -> Costs:
    """Nats and predicted frames of each piece; the function takes all frames but the last, bool [T - 1, keys]."""
    nats = np.zeros(len(pieces))
    for index, piece in enumerate(pieces):
        played = piece.astype(bool)
        on = probability_of_on(played[:-1])
        nats[index] = -np.log(np.where(played[1:], on, 1 - on)).sum()
    return nats, np.array([len(piece) - 1 for piece in pieces], np.int64)
