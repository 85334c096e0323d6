"""What a key drops of a part of a batch: what it drops of that part in the whole batch."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from musicjax.model import dropout


@pytest.mark.parametrize("counted", [dropout.COUNTED, 10])
@pytest.mark.parametrize("shape", [(4,), (3, 5), (2, 7, 11)], ids=str)
def test_a_part_is_drawn_as_jax_draws_it_in_the_whole(shape, counted, monkeypatch):
    """Also where a batch has more numbers than are counted: then the whole is drawn, and cut."""
    monkeypatch.setattr(dropout, "COUNTED", counted)
    key = jax.random.key(7)
    whole = np.asarray(jax.random.bernoulli(key, 0.3, (3 * shape[0], *shape[1:])))
    drawn = jax.jit(lambda key, place: dropout.kept(key, 0.3, shape, (place, 3)))
    for place in range(3):
        np.testing.assert_array_equal(drawn(key, place), whole[place * shape[0] :][: shape[0]])


@pytest.mark.parametrize("at_once", [1, 7, 64, 10**6])
@pytest.mark.parametrize("shares", [1, 2])
def test_what_is_dropped_is_the_same_however_much_is_drawn_at_once(at_once, shares, monkeypatch):
    monkeypatch.setattr(dropout, "AT_ONCE", at_once)
    key, shape = jax.random.key(7), (4, 5, 13)
    whole = np.asarray(jax.random.bernoulli(key, 0.3, (shares * shape[0], *shape[1:])))
    drawn = jax.jit(lambda key, place: dropout.kept(key, 0.3, shape, (place, shares)))
    for place in range(shares):
        np.testing.assert_array_equal(drawn(key, place), whole[place * shape[0] :][: shape[0]])


def test_a_part_takes_the_memory_of_a_part():
    def planned(shares):
        shape = (1024 // shares, 32)
        program = jax.jit(lambda key, place: dropout.kept(key, 0.3, shape, (place, shares)).sum())
        return program.lower(jax.random.key(7), 0).compile().memory_analysis().temp_size_in_bytes

    assert planned(16) < 0.1 * planned(1)
