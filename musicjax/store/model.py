"""A trained model: its encoding, network and parameters, loaded from a workdir."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax

from musicjax import arguments, jax_environment
from musicjax.config import Config
from musicjax.encodings import encoding as encoding_lib
from musicjax.encodings.encoding import Encoding
from musicjax.errors import RunError, UsageError
from musicjax.model.network import MusicLSTM
from musicjax.store import checkpoint
from musicjax.store.checkpoint import Arrays
from musicjax.store.metadata import Metadata


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """All that is needed to use a trained model.

    Attributes:
        encoding: with the constants learned from its training data.
        net, params: the network and the parameters chosen.
        deviation: float32 [C], standard deviation of the validation residual under these parameters.
        primers: float32 [M, T, C], windows of the training data.
        metadata: the config, and what else was saved with the parameters.
    """

    encoding: Encoding
    net: MusicLSTM
    params: dict
    deviation: jax.Array
    primers: jax.Array
    metadata: Metadata

    @property
    def config(self) -> Config:
        """The config that it was trained with."""
        return self.metadata.config


def of(arrays: Arrays, metadata: Metadata, which: str = "best", config: Config | None = None) -> Model:
    """The model of a checkpoint, as `load` gives it."""
    own = encoding_lib.of(config or metadata.config, metadata.learned)
    best = which == "best"
    params = arrays.best_params if best else _latest_of_best(arrays, metadata)
    deviation = arrays.best_deviation if best else arrays.deviation
    return Model(own, own.network(), params, deviation, arrays.primers, metadata)


def load(workdir: str | Path, which: str = "best", config: Config | None = None) -> Model:
    """The model of a workdir: the "best" parameters by validation loss, or the "latest".

    Args:
        config: of the encoding, which reads data with it; other than the saved one in fields that may change alone.

    Raises:
        UsageError: which is neither, no workdir is named, or JAX has settings that musicjax cannot work with.
        RunError: no checkpoint, or one that cannot be restored.
    """
    check_which(which)
    jax_environment.require()
    workdir = arguments.path_of("workdir", workdir, "the folder of a trained model")
    return of(*checkpoint.restore(workdir), which, config)


def check_which(which: str) -> None:
    """Raises UsageError unless `which` is best or latest."""
    if which not in ("best", "latest"):
        raise UsageError(f"checkpoint {which!r}: expected best or latest")


def _latest_of_best(arrays: Arrays, metadata: Metadata) -> dict:
    """The latest parameters of the best trial; raises RunError if they are not finite."""
    diverged = metadata.trials[metadata.best_trial].diverged
    if diverged:
        raise RunError(
            f"trial {metadata.best_trial}, the best of this run, diverged at epoch {diverged}: "
            "its latest parameters are not finite; use --checkpoint=best"
        )
    if metadata.config.train.trials == 1:
        return arrays.state.params
    return jax.tree.map(lambda leaf: leaf[metadata.best_trial], arrays.state.params)
