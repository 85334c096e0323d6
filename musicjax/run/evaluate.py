"""Metrics of a trained model on data, with the validation code of training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from musicjax.errors import UsageError
from musicjax.run import generate as generate_lib
from musicjax.run import measures, metrics, splits
from musicjax.training import step as step_lib
from musicjax.training.sequences import Lanes


def evaluate(workdir: str | Path, data: str | None = None, which: str = "best") -> dict[str, Any]:
    """The model of a workdir on its own validation windows, or on every window of other data.

    Args:
        data: builtin or a directory; its windows stay inside their pieces and are scaled with the
            constants saved with the model. A polyphonic data set: its test split. None: the validation split of the
            run's own data.
        which: best or latest parameters.

    Returns:
        {"loss", "accuracy", "pitch_error_semitones" or "nats_per_frame", ..., "windows" or "frames", "pieces", "data",
        "epoch", "checkpoint"}; of notes also "music": the mean of each metric of music over the pieces.

    Raises:
        UsageError, RunError: as for training and generating.
    """
    model = generate_lib.load(workdir, which)
    config, scaling, encoding = model.facts.config, model.facts.scaling, model.facts.config.data.encoding
    if data is None:
        prepared = splits.prepare(config)
        source = config.data.source
        splits.require_same(prepared, source, model.facts.fingerprint, source, Path(workdir))
        windows, pieces, majority = prepared.validating, prepared.validation_pieces, prepared.majority
        split, notes = "validation", prepared.music.held_out if prepared.music else []
    else:
        if data.startswith("polyphonic:") and (config.data.onsets or encoding != "frames"):
            raise UsageError(
                f"data {data} do not tell where notes begin, and this model was trained on that; expected builtin or a "
                "directory of MIDI files"
            )
        other = dataclasses.replace(config.data, source=data)
        if encoding == "events":
            assert model.facts.bins is not None
            windows, notes, majority, split = splits.all_events(other, model.facts.bins)
            pieces = len(notes)
        elif encoding == "frames":
            windows, pieces, notes, majority, split = splits.all_frames(other)
        else:
            windows, notes, majority, split = splits.all_notes(other, scaling)
            pieces = len(notes)
    placed: Any = jax.tree.map(jnp.asarray, windows)
    scores = step_lib.make_validation(model.net, config.train.batch_size, config.data.window)(model.params, placed)
    if isinstance(windows, Lanes):
        count = {"notes" if encoding == "events" else "frames": int(windows.weight.sum())}
    else:
        count = {"windows": len(windows.starts)}
    return metrics.of_validation(scores, scaling, majority, encoding) | {
        **count,
        "pieces": pieces,
        "data": data or config.data.source,
        "split": split,
        "epoch": model.facts.best_epoch if which == "best" else model.facts.epoch,
        "checkpoint": which,
        **({"music": measures.of_data(notes)} if notes else {}),
    }
