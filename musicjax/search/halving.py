"""Successive halving: which trials train for how many epochs.

All trials train for a few epochs, the best share of them goes on for a multiple of these, and so on until the last few
have trained for all (Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
AISTATS 2016).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

# If no number of rungs is given, it is the smallest that takes at most this share of the epochs of full trials: the
# longer the first rung, the more its losses say about the last.
SHARE = 0.3


class Rung(NamedTuple):
    """How many trials take part, and how many epochs each has trained at its end, those of earlier rungs included."""

    trials: int
    epochs: int


def rungs(trials: int, epochs: int, halving: int, count: int = 0) -> list[Rung]:
    """The rungs of a search, the first one first.

    Args:
        epochs: of a full trial.
        halving: 1 in this many trials goes on after each rung; 0 or 1: all trials are full.
        count: of rungs; 0: see SHARE. There are never more than the epochs allow.
    """
    most = most_rungs(epochs, halving)
    if count:
        return _rungs(trials, epochs, halving, min(count, most))
    for number in range(1, most + 1):
        found = _rungs(trials, epochs, halving, number)
        if total_epochs(found) <= SHARE * trials * epochs:
            return found
    return found


def most_rungs(epochs: int, halving: int) -> int:
    """The most rungs such that the first has an epoch and each later one `halving` times as many."""
    count = 1
    while halving > 1 and halving**count <= epochs:
        count += 1
    return count


def _rungs(trials: int, epochs: int, halving: int, count: int) -> list[Rung]:
    found = [Rung(trials, epochs // max(halving, 1) ** (count - 1))]
    for further in reversed(range(count - 1)):
        found.append(Rung(math.ceil(found[-1].trials / halving), epochs // halving**further))
    return found


def total_epochs(found: list[Rung]) -> int:
    """The epochs of all trials together."""
    before = [0, *(rung.epochs for rung in found[:-1])]
    return sum(rung.trials * (rung.epochs - done) for rung, done in zip(found, before, strict=True))


def best(losses: Mapping[int, float], most: int) -> list[int]:
    """The trials with the lowest losses, at most `most`, the best first; of equal ones the first trial.

    A trial whose loss is not finite is not among them.
    """
    finite = [trial for trial, loss in losses.items() if math.isfinite(loss)]
    return sorted(finite, key=lambda trial: (losses[trial], trial))[:most]


def outdone(losses: Mapping[int, float], most: int) -> list[int]:
    """The trials that will not be among the best `most`, whatever trials are yet to come."""
    kept = set(best(losses, most))
    return [trial for trial in losses if trial not in kept]
