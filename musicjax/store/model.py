"""A trained model: its encoding, network and parameters, loaded from a workdir."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from musicjax import arguments, jax_environment
from musicjax.config import Config
from musicjax.encodings import encoding as encoding_lib
from musicjax.encodings.encoding import Encoding
from musicjax.errors import RunError, UsageError
from musicjax.model import network
from musicjax.model.network import Network
from musicjax.music import notes as notes_lib
from musicjax.music.notes import Notes
from musicjax.store import checkpoint
from musicjax.store.checkpoint import Arrays
from musicjax.store.metadata import Metadata
from musicjax.training import mesh, sequences

# The name of the model that comes with the package; ./builtin is a folder.
BUILTIN = "builtin"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Model:
    """All that is needed to use a trained model.

    Attributes:
        encoding: with the constants learned from its training data.
        network, params: the Flax module and the parameters chosen; `network.apply({"params": params}, windows)` gives
            its outputs.
        deviation: float32 [C], standard deviation of the validation residual under these parameters.
        primers: float32 [M, T, C], windows of the training data.
        metadata: the config, and what else was saved with the parameters.
    """

    encoding: Encoding
    network: Network
    params: dict
    deviation: jax.Array
    primers: jax.Array
    metadata: Metadata

    def __repr__(self) -> str:
        told = f"{self.config.name} of {self.config.data.source}, epoch {self.metadata.best_epoch}"
        return f"Model({told}, {network.count(self.params):,} parameters)"

    @property
    def config(self) -> Config:
        """The config that it was trained with."""
        return self.metadata.config

    def log_prob(self, notes: Notes) -> dict[str, np.ndarray]:
        """Log-likelihood of a piece, row by row: {column: float32 [L - 1]}, nats, for its L rows after the first.

        Entry k scores row k + 1, given rows 0 to k, and follows from `hidden_states(notes)[k]`. For note events,
        the rows are an edge, the N notes by onset, instrument and pitch, and another edge: entry k, from 0, scores
        note k, and entry N scores the end. Frames, and note events in models that do not know form, have no edges, so
        nothing scores the first row. Frames have one column, "frame". What the model does not know is replaced by the
        nearest that it knows; printed lines count the changes.

        Raises:
            UsageError: the model predicts a mean and no distribution, or the piece has fewer than two rows.
            RunError: none of the notes can be written in the encoding.
        """
        names = self.encoding.likelihoods
        if not names:
            raise UsageError(
                "log_prob: this model predicts the mean of what follows, which has no likelihood; expected a "
                "note-event model, or a frame model with the head bernoulli, nade, note_lstm or tied_nade"
            )
        rows, count = self._rows(notes)
        if count < 2:
            raise UsageError("log_prob: the piece has fewer than two rows; expected two notes that begin apart")
        found = np.asarray(_log_probs(self.network, self.params, rows[0]))[: count - 1]
        return dict(zip(names, found.T, strict=True))

    def hidden_states(self, notes: Notes) -> np.ndarray:
        """The last LSTM layer's output after each of the L rows of a piece, from a zero state on: float32 [L, H].

        Where each of K keys has LSTM layers of its own, with tied weights, it is [L, K H], the lowest key first.

        Row k is what the model knows before entry k of `log_prob`, which describes the rows. Note events: L = N + 2,
        row 0 comes before the first note, row k + 1 after note k, and the last after the end.

        Raises:
            RunError: none of the notes can be written in the encoding.
        """
        rows, count = self._rows(notes)
        return np.asarray(_hidden(self.network, self.params, rows))[0, :count]

    def order(self, notes: Notes) -> np.ndarray:
        """Which of the N notes of a piece is in each of its rows, edges aside: int64 [N], indices of `notes`.

        Raises:
            UsageError: the model reads frames, which hold all notes of a moment.
        """
        arguments.require("notes", notes, Notes, "Notes, such as musicjax.read gives")
        notes_lib.check(notes, "notes")
        order = self.encoding.order(notes)
        if order is None:
            raise UsageError(
                "order: this model reads frames, which hold all notes of a moment; expected a model of notes"
            )
        return order

    def _rows(self, notes: Notes) -> tuple[np.ndarray, int]:
        """(a piece as rows [1, L or more, C], L). The padding comes last, so it changes nothing before it."""
        arguments.require("notes", notes, Notes, "Notes, such as musicjax.read gives")
        notes_lib.check(notes, "notes")
        rows = self.encoding.rows(notes)
        padded = max(_power_of_two(len(rows)), sequences.CHUNK)
        return np.pad(rows, ((0, padded - len(rows)), (0, 0)))[None], len(rows)


def _power_of_two(least: int) -> int:
    """The smallest power of two that is not below `least`, so that pieces of many lengths share a few programs."""
    return 1 << max(least - 1, 0).bit_length()


@functools.partial(jax.jit, static_argnums=0)
def _log_probs(net: Network, params: dict, rows: jax.Array) -> jax.Array:
    """Log-likelihood of each row of a piece, [L, C], after the first, given those before it: [L - 1, A].

    A is 1, or the number of columns that the head predicts one by one. What is in memory at a time does not
    grow with the piece, since `sequences.score` goes through it in chunks. L is a multiple of its CHUNK.
    """
    seen = jnp.arange(len(rows))[:, None]
    piece = sequences.Streams(rows, seen, seen == 0, jnp.ones(seen.shape))
    score = sequences.score(net, params, piece)
    by_column = score.nats[..., None] if score.nats_by_column is None else score.nats_by_column
    return -by_column[:-1, 0]


_hidden = jax.jit(lambda net, params, rows: net.hidden(params, rows), static_argnums=0)


def of(arrays: Arrays, metadata: Metadata, which: str = "best", config: Config | None = None) -> Model:
    """The model of a checkpoint, as `load` gives it."""
    own = encoding_lib.of(config or metadata.config, metadata.learned)
    best = which == "best"
    params = arrays.best_params if best else _latest_of_best(arrays, metadata)
    deviation = arrays.best_deviation if best else arrays.deviation
    params, deviation, primers = mesh.local((params, deviation, arrays.primers))
    return Model(own, own.network(), params, deviation, primers, metadata)


def load(workdir: str | Path, which: str = "best", config: Config | None = None) -> Model:
    """The model of a workdir: the "best" parameters by validation loss, or the "latest".

    Args:
        workdir: the folder of a run; "builtin": the model that comes with musicjax ("./builtin" is a folder).
        config: the one the encoding reads data with; may differ from the saved one only in fields that may change.

    Raises:
        UsageError: which is neither, no workdir is named, or JAX has settings that musicjax cannot work with.
        RunError: no checkpoint, or one that cannot be restored.
    """
    check_which(which)
    jax_environment.require()
    named, workdir = workdir, arguments.path_of("workdir", workdir, "the folder of a trained model")
    if named == BUILTIN:
        if which != "best" or config is not None:
            raise UsageError(
                f"{BUILTIN}: it has only its best parameters and its own config; leave out which and config"
            )
        from musicjax.store import pretrained  # which loads with this module

        return pretrained.load()
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
