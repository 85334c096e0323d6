"""Successive halving: how many trials train for how long, and which of them go on."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from musicjax.search import halving
from musicjax.search.halving import Rung

losses = st.dictionaries(st.integers(0, 50), st.floats(allow_nan=True, allow_infinity=True), max_size=30)
sizes = {"trials": st.integers(1, 500), "epochs": st.integers(1, 300), "factor": st.integers(2, 8)}


def test_two_hundred_trials_take_the_epochs_of_less_than_sixty_full_ones():
    found = halving.rungs(200, 90, 3)
    assert found == [Rung(200, 10), Rung(67, 30), Rung(23, 90)]
    assert halving.total_epochs(found) == 200 * 10 + 67 * 20 + 23 * 60 < 60 * 90


@pytest.mark.parametrize("factor", [0, 1])
def test_without_halving_all_trials_are_full(factor):
    assert halving.rungs(7, 5, factor) == [Rung(7, 5)] == halving.rungs(7, 5, factor, 3)


@given(**sizes, count=st.integers(0, 9))
def test_rungs_begin_with_all_trials_and_end_with_all_epochs(trials, epochs, factor, count):
    found = halving.rungs(trials, epochs, factor, count)
    assert found[0].trials == trials and found[-1].epochs == epochs and found[0].epochs >= 1
    assert not count or len(found) == min(count, halving.most_rungs(epochs, factor))
    for rung, after in itertools.pairwise(found):
        assert after.trials == math.ceil(rung.trials / factor)
        assert rung.epochs < after.epochs and rung.epochs == after.epochs // factor
    trained = [epochs if trial < found[-1].trials else 0 for trial in range(trials)]
    for rung, after in itertools.pairwise(found):
        trained[after.trials : rung.trials] = [rung.epochs] * (rung.trials - after.trials)
    assert halving.total_epochs(found) == sum(trained)


@given(**sizes)
def test_without_a_number_there_are_the_fewest_rungs_that_keep_the_search_short(trials, epochs, factor):
    found = halving.rungs(trials, epochs, factor)
    most = halving.most_rungs(epochs, factor)
    assert factor ** (most - 1) <= epochs < factor**most
    if len(found) < most:
        assert halving.total_epochs(found) <= halving.SHARE * trials * epochs
    for fewer in range(1, len(found)):
        assert halving.total_epochs(halving.rungs(trials, epochs, factor, fewer)) > halving.SHARE * trials * epochs


@given(losses, st.integers(0, 10))
def test_the_best_are_those_below_which_none_is_left_out(found, most):
    best = halving.best(found, most)
    finite = {trial for trial, loss in found.items() if math.isfinite(loss)}
    assert len(best) == len(set(best)) == min(most, len(finite)) and set(best) <= finite
    assert [found[trial] for trial in best] == sorted(found[trial] for trial in best)
    assert all(found[trial] >= found[best[-1]] for trial in finite - set(best) if best)
    assert best == halving.best(dict(reversed(found.items())), most), "whatever order they come in"


@given(losses, losses, st.integers(1, 10))
def test_a_trial_that_is_outdone_stays_so_whatever_comes_after_it(found, later, most):
    assume(not found.keys() & later.keys())
    outdone = halving.outdone(found, most)
    assert set(outdone) | set(halving.best(found, most)) == found.keys()
    assert not set(outdone) & set(halving.best({**found, **later}, most))
