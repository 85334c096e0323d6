"""What a run starts from: random weights, those of another run, or its own latest checkpoint."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from musicjax import config as config_lib
from musicjax import console
from musicjax.encodings import encoding as encoding_lib
from musicjax.encodings.encoding import Dataset, Encoding
from musicjax.errors import RunError
from musicjax.run.warm_start import Beginning
from musicjax.store import checkpoint as checkpoint_lib
from musicjax.store import metadata as metadata_lib
from musicjax.store.checkpoint import Arrays, Checkpoint
from musicjax.store.metadata import Metadata, Progress
from musicjax.training import optimizer as optimizer_lib
from musicjax.training import step as step_lib
from musicjax.training.step import TrainState


def constants(saved: Metadata | None, began: Beginning | None) -> dict[str, Any] | None:
    """The constants of the encoding that came with the weights of another run, now or when this one began.

    Other constants are learned again, so that a change of the data is noticed.
    """
    if saved is not None:
        return None if saved.origin is None else saved.learned
    return None if began is None else began.model.metadata.learned


def started(dataset: Dataset, began: Beginning | None) -> Checkpoint:
    """What a run has before its first step; began: the weights of another run, None for random ones."""
    config, net = dataset.encoding.config, dataset.encoding.network()
    state = _first_state(dataset.encoding, None if began is None else began.model.params)
    best = state.params if config.train.trials == 1 else jax.tree.map(lambda leaf: leaf[0], state.params)
    chosen = jax.random.choice(
        step_lib.keys(config.seed).primers, len(dataset.training.starts), (checkpoint_lib.PRIMERS,)
    )
    primers = jnp.asarray(dataset.encoding.primers(dataset.training, np.asarray(chosen)))
    deviation = jnp.zeros(net.columns) if began is None else began.model.deviation
    metadata = Metadata(
        0,
        0,
        math.inf,
        config,
        dataset.encoding.learned,
        dataset.fingerprint.sha256,
        metadata_lib.versions(),
        trials=(Progress(),) * config.train.trials,
        origin=None if began is None else began.origin,
    )
    return Checkpoint(Arrays(state, best, deviation, deviation, primers), metadata)


def _first_state(encoding: Encoding, params: dict | None) -> TrainState:
    """The state before the first step, stacked for several trials; params: None for random ones."""
    config, net = encoding.config, encoding.network()
    optimizer = optimizer_lib.of(config.train, config.train.learning_rate)
    if config.train.trials == 1:
        if params is not None:
            return step_lib.begin(optimizer, params)
        # As one program: operation by operation it takes three times as long, and caching does not help.
        init = jax.jit(step_lib.init, static_argnums=(0, 1, 3))
        return init(net, optimizer, step_lib.keys(config.seed).init, config.data.window)
    from musicjax.training import trials  # not needed for one model

    if params is not None:
        return trials.begin(optimizer, params, config.train.trials)
    init = jax.jit(trials.init, static_argnums=(0, 1, 3))
    return init(net, optimizer, trials.of(config_lib.trials(config)), config.data.window)


def restored(dataset: Dataset, workdir: Path) -> Checkpoint:
    """What the workdir's latest checkpoint holds, under the present config and versions."""
    arrays, metadata = checkpoint_lib.restore(workdir)
    config, saved = dataset.encoding.config, metadata.config
    source, writer = config.data.source, metadata.versions.get("musicjax", "unknown")
    encoding_lib.require_same(dataset.fingerprint, source, metadata.fingerprint, saved.data.source, workdir, writer)
    best = f", best validation loss {metadata.best_loss:.5f}" if metadata.epoch else ""
    began = f"; it began with the weights of {metadata.origin.path}" if metadata.origin else ""
    console.say("resume", f"{console.counted(metadata.epoch, 'epoch is', 'epochs are')} done{best}{began}")
    if dataset.encoding.learned != metadata.learned:
        names = " and ".join(metadata.learned)
        raise RunError(
            f"the data of workdir {workdir} now give other {names} than it was trained with; go on with "
            f"musicjax {writer}, which trained it, or use another --workdir"
        )
    versions = metadata_lib.versions()
    for name, version in versions.items():
        if metadata.versions.get(name) != version:
            before = metadata.versions.get(name, "unknown")
            console.say("resume", f"{name} {before} then, {version} now: the last bits of numbers may differ")
    return Checkpoint(arrays, dataclasses.replace(metadata, config=config, versions=versions))
