"""Scores a trained model on data, with the validation code of training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from musicjax import console
from musicjax.corpus import cache, datasets
from musicjax.corpus.split import Music
from musicjax.encodings.encoding import require_same
from musicjax.errors import RunError, UsageError
from musicjax.run import epoch, sample_metrics
from musicjax.store import model as model_lib
from musicjax.store.model import Model
from musicjax.training import step


def evaluate(workdir: str | Path, data: str | None = None, which: str = "best") -> dict[str, Any]:
    """Scores the model of a workdir on its own validation data, or on all of other data.

    Args:
        data: a source; its windows stay inside their pieces, and rows are made with the constants saved with the
            model. Of a polyphonic data set only the test split counts. None: the validation split of the run's data.
        which: best or latest parameters.

    Returns:
        {"loss", "accuracy", "pitch_error_semitones" or "nats_per_frame", ..., "windows" or "frames", "pieces", "data",
        "epoch", "checkpoint"}; where the data are notes also "music": the mean of each metric over the pieces, and
        "copies": what they share with the training data, if those are at hand.

    Raises:
        UsageError, RunError: as for training and generating.
    """
    model = model_lib.load(workdir, which)
    config, metadata = model.config, model.metadata
    if data is None:
        dataset, source = model.encoding.dataset(), config.data.source
        require_same(dataset.fingerprint, source, metadata.fingerprint, source, Path(workdir))
        scored = dataset.validation
    else:
        scored = model.encoding.scored(dataclasses.replace(config.data, source=data))
    validate = step.make_validation(model.net, config.train.batch_size, config.data.window)
    rows: Any = jax.tree.map(jnp.asarray, scored.rows)
    return epoch.scores_as_metrics(model.encoding, validate(model.params, rows), scored.majority) | {
        **model.encoding.count(scored.rows),
        "pieces": scored.pieces,
        "data": data or config.data.source,
        "split": scored.split,
        "epoch": metadata.best_epoch if which == "best" else metadata.epoch,
        "checkpoint": which,
        **_of_music(scored.music, model, None if data is None else Path(workdir)),
    }


def _of_music(music: Music | None, model: Model, workdir: Path | None) -> dict[str, Any]:
    """The metrics of the pieces, and what they share with the training data.

    Args:
        workdir: the run whose training data they are compared with; None: those in `music`.
    """
    if music is None or not music.held_out:
        return {}
    found: dict[str, Any] = {"music": sample_metrics.of_data(music.held_out)}
    known = music if workdir is None else _training_music(model, workdir)
    if known is not None and (copies := sample_metrics.copied(music.held_out, music.held_out_names, known)):
        found["copies"] = copies
    return found


def _training_music(model: Model, workdir: Path) -> Music | None:
    """The training data of a model as notes; None, and a line that says why, if they are not at hand."""
    data = model.config.data
    if data.source.startswith("polyphonic:"):
        console.say("copies", "not looked for: the model was trained on frames alone")
        return None
    if not Path(data.source).is_dir() and datasets.is_missing(data.source, cache.cache_folder(data)):
        console.say("copies", f"not looked for: the training data, {data.source}, are not on this machine")
        return None
    console.say("copies", f"searches the training data, {data.source}")
    try:
        music, fingerprint = model.encoding.music()
        require_same(fingerprint, data.source, model.metadata.fingerprint, data.source, workdir)
    except (UsageError, RunError) as error:
        console.say("copies", f"not looked for: {error}")
        return None
    return music
