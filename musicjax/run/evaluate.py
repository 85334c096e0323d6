"""Metrics of a trained model on data, with the validation code of training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from musicjax.errors import RunError
from musicjax.run import data as data_lib
from musicjax.run import generate as generate_lib
from musicjax.run import metrics
from musicjax.training import step as step_lib
from musicjax.training import windows as windows_lib
from musicjax.training.windows import Windows


def evaluate(workdir: str | Path, data: str | None = None, which: str = "best") -> dict[str, Any]:
    """The model of a workdir on its own validation windows, or on every window of other data.

    Args:
        data: builtin or a directory; its windows stay inside their pieces and are scaled with the
            constants saved with the model. None: the validation split of the run's own data.
        which: best or latest parameters.

    Returns:
        {"loss", "accuracy", "pitch_error_semitones", ..., "windows", "pieces", "data", "epoch", "checkpoint"}.

    Raises:
        UsageError, RunError: as for training and generating.
    """
    model = generate_lib.load(workdir, which)
    config, scaling = model.facts.config, model.facts.scaling
    if data is None:
        prepared = data_lib.prepare(config)
        source = config.data.source
        data_lib.require_same(prepared, source, model.facts.fingerprint, source, Path(workdir))
        rows, starts, pieces = prepared.rows, prepared.validation, prepared.validation_pieces
    else:
        corpus, outcomes = data_lib.read(dataclasses.replace(config.data, source=data))
        data_lib.require_notes(corpus, outcomes, data)
        pieces = len(corpus)
        rows = data_lib.rows_of(corpus, scaling)
        starts, _ = windows_lib.starts_by_piece(corpus.offsets, np.zeros(pieces, bool), config.data.window)
        if not len(starts):
            raise RunError(f"data {data}: no piece of more than {config.data.window} notes; add files")
    windows = Windows(jnp.asarray(rows), jnp.asarray(starts))
    scores = step_lib.make_validation(model.net, config.train.batch_size, config.data.window)(model.params, windows)
    return metrics.of_validation(scores, scaling) | {
        "windows": len(starts),
        "pieces": pieces,
        "data": data or config.data.source,
        "split": "validation" if data is None else "all",
        "epoch": model.facts.best_epoch if which == "best" else model.facts.epoch,
        "checkpoint": which,
    }
