"""What frames cost without a network: examples worked out by hand, and the known figures of the four data sets."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks import baselines
from musicjax.corpus import frame_sets

# Nats per frame of the test splits, which other code computed from the same files.
KNOWN = {
    "jsb": (11.09, 10.49),
    "nottingham": (10.26, 5.15),
    "musedata": (11.51, 8.56),
    "piano_midi": (11.05, 8.27),
}


def _piece(*rows: tuple[int, ...]) -> np.ndarray:
    return np.array(rows, np.uint8)


def test_even_chances_cost_88_bits_a_predicted_frame():
    nats, frames = baselines.uniform([np.zeros((3, 88), np.uint8), np.ones((1, 88), np.uint8)])
    np.testing.assert_allclose(nats, [2 * 88 * math.log(2), 0.0], rtol=1e-14)
    assert frames.tolist() == [2, 0]  # the first frame of a piece is not predicted


def test_the_marginal_is_each_keys_share_of_all_training_frames():
    train = [_piece((1, 0), (1, 0)), _piece((0, 1), (1, 0))]
    test = [_piece((0, 0), (1, 0), (0, 1)), _piece((1, 1), (1, 1))]
    # Of 4 frames the first key has 3 on, the second 1: (3 + 1) / (4 + 2) and (1 + 1) / (4 + 2) when one is added.
    nats, frames = baselines.marginal(train, test, smoothing=1.0)
    of_10, of_01, of_11 = 2 / 3 * 2 / 3, 1 / 3 * 1 / 3, 2 / 3 * 1 / 3
    np.testing.assert_allclose(nats, [-math.log(of_10) - math.log(of_01), -math.log(of_11)], rtol=1e-14)
    assert frames.tolist() == [2, 1]


def test_markov_counts_what_follows_on_and_what_follows_off_and_never_across_pieces():
    train = [_piece((1,), (1,), (0,), (0,)), _piece((1,), (1,))]
    # After on: on, off, on. After off: off. The 0 -> 1 between the pieces is no transition.
    on_after_on, on_after_off = (2 + 0.5) / (3 + 1), (0 + 0.5) / (1 + 1)
    nats, frames = baselines.markov(train, [_piece((1,), (1,), (0,), (1,), (1,)), _piece((0,), (0,))])
    expected = [on_after_on, 1 - on_after_on, on_after_off, on_after_on]
    np.testing.assert_allclose(nats, [-np.log(expected).sum(), -math.log(1 - on_after_off)], rtol=1e-14)
    assert frames.tolist() == [4, 1]


def test_the_average_is_over_frames_and_not_over_pieces():
    assert baselines.per_frame(np.array([9.0, 1.0]), np.array([9, 3])) == 10 / 12


def test_the_interval_is_of_whole_pieces_drawn_anew():
    nats, frames = np.array([1.0, 30.0]), np.array([1, 10])
    # Two pieces give 1 / 1, 31 / 11 and 30 / 10, the outer ones in a quarter of the draws each.
    assert baselines.bootstrap(nats, frames, seed=0) == (1.0, 3.0)
    rng = np.random.default_rng(1)
    frames = rng.integers(20, 200, 400)
    nats = frames * (5 + rng.normal(0, 1, 400))
    low, high = baselines.bootstrap(nats, frames, seed=0, draws=4000)
    share = frames / frames.sum()
    error = np.sqrt((share**2 * (nats / frames - baselines.per_frame(nats, frames)) ** 2).sum())
    np.testing.assert_allclose(
        [low, high], baselines.per_frame(nats, frames) + error * np.array([-1.96, 1.96]), atol=0.02
    )
    assert error > 0.05
    assert baselines.bootstrap(nats, frames, seed=0, draws=4000) == (low, high)
    assert baselines.bootstrap(nats, frames, seed=1, draws=4000) != (low, high)


@pytest.mark.parametrize(
    "name", [name if name == "jsb" else pytest.param(name, marks=pytest.mark.long) for name in frame_sets.NAMES]
)
def test_the_figures_of_the_four_data_sets(shared_data: Path, name: str):
    data = frame_sets.read(f"polyphonic:{name}:{shared_data / 'polyphonic'}")
    train, test = data.pieces("train"), data.pieces("test")
    assert baselines.per_frame(*baselines.uniform(test)) == pytest.approx(88 * math.log(2), rel=1e-12)
    for baseline, known in zip((baselines.marginal, baselines.markov), KNOWN[name], strict=True):
        nats, frames = baseline(train, test)
        figure = baselines.per_frame(nats, frames)
        assert figure == pytest.approx(known, abs=0.03), baseline.__name__
        low, high = baselines.bootstrap(nats, frames, seed=0)
        assert low < figure < high


@pytest.mark.long
def test_the_smoothing_is_the_best_of_three_on_the_valid_splits(shared_data: Path):
    candidates = (baselines.SMOOTHING, 1.0, 1e-6)
    costs = []
    for name in frame_sets.NAMES:
        data = frame_sets.read(f"polyphonic:{name}:{shared_data / 'polyphonic'}")
        train, valid = data.pieces("train"), data.pieces("valid")
        for baseline in (baselines.marginal, baselines.markov):
            costs.append([baselines.per_frame(*baseline(train, valid, smoothing)) for smoothing in candidates])
    assert np.sum(costs, axis=0).argmin() == 0
    assert np.ptp(costs, axis=1).max() < 0.01
