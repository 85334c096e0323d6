"""A note-event model with random parameters, and a workdir that holds it: nothing is trained or compiled."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import numpy as np

from musicjax import config as config_lib
from musicjax import config_files
from musicjax.encodings import encoding
from musicjax.music import learned_bins, note_rows
from musicjax.music.notes import Notes, from_beats, one_meter
from musicjax.store import checkpoint as checkpoint_lib
from musicjax.store import model as model_lib
from musicjax.store.checkpoint import Arrays, Checkpoint
from musicjax.store.metadata import Metadata
from musicjax.store.model import Model
from musicjax.training import optimizer as optimizer_lib
from musicjax.training import step as step_lib

WINDOW, PIECES, NOTES = 12, 8, 80


def pieces(meter: tuple[int, int] = (4, 4)) -> list[Notes]:
    """Chords and lines on a grid of sixteenths, in C major, at 97 quarter notes a minute."""
    generator = np.random.default_rng(5)
    made = []
    for _ in range(PIECES):
        onset = np.cumsum(generator.choice([0, 0, 1, 2, 4], NOTES)) / 4
        pitch = generator.choice([48, 52, 55, 60, 62, 64, 65, 67, 69, 71, 72], NOTES)
        duration, velocity = generator.choice([0.25, 0.5, 1.0, 4.0], NOTES), generator.choice([60, 80, 100], NOTES)
        notes = from_beats(pitch, velocity, onset, duration, 97.0)
        made.append(dataclasses.replace(notes, meters=one_meter(*meter)))
    return made


def checkpoint(meter: tuple[int, int] = (4, 4)) -> Checkpoint:
    """What a run on music in this meter would have saved."""
    config = config_files.load("events")
    config.model.units, config.model.head_units, config.model.embedding = 8, 8, 8
    config.model.precision, config.data.window = "float32", WINDOW
    config.sample.min_p, config.sample.no_repeat, config.sample.temperature_factors = 0.0, 0, ()
    config = config_lib.validate(config)
    bins = learned_bins.learn(pieces(meter))
    optimizer, net = optimizer_lib.of(config.train, 1e-3), encoding.of(config).network()
    shapes = jax.eval_shape(lambda: step_lib.init(net, optimizer, jax.random.key(0), WINDOW))
    generator = np.random.default_rng(1)
    state = jax.tree.map(lambda leaf: generator.normal(0, 0.5, leaf.shape).astype(leaf.dtype), shapes)
    rows = [note_rows.encode(piece, bins)[0] for piece in pieces(meter)]
    starts = generator.integers(0, NOTES - WINDOW, checkpoint_lib.PRIMERS)
    windows = [rows[k % PIECES][start : start + WINDOW] for k, start in enumerate(starts)]
    ones = np.ones(net.columns, np.float32)
    arrays = Arrays(state, state.params, ones, ones, np.stack(windows).astype(np.float32))
    return Checkpoint(arrays, Metadata(1, 1, 3.0, config, {"bins": dataclasses.asdict(bins)}, "none", {}))


def model() -> Model:
    """The model, as loading its workdir gives it."""
    arrays, metadata = checkpoint()
    return model_lib.of(arrays._replace(primers=jax.numpy.asarray(arrays.primers)), metadata)


def save(workdir: Path, meter: tuple[int, int] = (4, 4)) -> Path:
    """A workdir that holds the model."""
    workdir.mkdir(parents=True)
    store = checkpoint_lib.Store(workdir)
    store.save(checkpoint(meter))
    store.close()
    return workdir
