"""An epoch is on disk before the next one ends."""

from __future__ import annotations

import jax
import pytest

import musicjax
from musicjax.store import checkpoint
from tests import tiny_runs


@pytest.mark.usefixtures("own_signal_handlers")
def test_a_checkpoint_waits_for_nothing_that_the_next_epoch_computes(clips, tmp_path, monkeypatch):
    """While an epoch is saved the devices compute the next, so an array that a program makes then would be late."""
    config = tiny_runs.config_of(clips, "notes")
    config.model.units, config.train.epochs = 512, 3
    ready = []
    save = checkpoint.Store.save

    def saved(store, one):
        ready.append([leaf.is_ready() for leaf in jax.tree.leaves(one.arrays) if isinstance(leaf, jax.Array)])
        save(store, one)

    monkeypatch.setattr(checkpoint.Store, "save", saved)
    musicjax.train(config, tmp_path / "run")
    assert len(ready) >= 3 and all(map(all, ready))
