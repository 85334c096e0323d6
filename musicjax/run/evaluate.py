"""Metrics of a trained model on data, with the validation code of training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from musicjax import console
from musicjax.corpus import cache, datasets
from musicjax.corpus.split import Music
from musicjax.encodings import dataset
from musicjax.errors import RunError, UsageError
from musicjax.generation import generate as generate_lib
from musicjax.generation.generate import Model
from musicjax.run import epoch_metrics, sample_metrics
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
        "epoch", "checkpoint"}; of notes also "music": the mean of each metric of music over the pieces, and "copies":
        what they share with the training data, if those are still there.

    Raises:
        UsageError, RunError: as for training and generating.
    """
    model = generate_lib.load(workdir, which)
    config, scaling, encoding = model.facts.config, model.facts.scaling, model.facts.config.data.encoding
    if data is None:
        prepared = dataset.prepare(config)
        source = config.data.source
        dataset.require_same(prepared.fingerprint, source, model.facts.fingerprint, source, Path(workdir))
        windows, pieces, majority = prepared.validating, prepared.validation_pieces, prepared.majority
        split, music = "validation", prepared.music
    else:
        if data.startswith("polyphonic:") and (config.data.onsets or encoding != "frames"):
            raise UsageError(
                f"data {data} do not tell where notes begin, and this model was trained on that; expected builtin or a "
                "directory of MIDI files"
            )
        other = dataclasses.replace(config.data, source=data)
        if encoding == "events":
            assert model.facts.bins is not None
            windows, music, majority, split = dataset.all_events(other, model.facts.bins)
            pieces = len(music.held_out)
        elif encoding == "frames":
            windows, pieces, music, majority, split = dataset.all_frames(other)
        else:
            windows, music, majority, split = dataset.all_notes(other, scaling)
            pieces = len(music.held_out)
    placed: Any = jax.tree.map(jnp.asarray, windows)
    scores = step_lib.make_validation(model.net, config.train.batch_size, config.data.window)(model.params, placed)
    if isinstance(windows, Lanes):
        count = {"notes" if encoding == "events" else "frames": int(windows.weight.sum())}
    else:
        count = {"windows": len(windows.starts)}
    return epoch_metrics.of_validation(scores, scaling, majority, encoding) | {
        **count,
        "pieces": pieces,
        "data": data or config.data.source,
        "split": split,
        "epoch": model.facts.best_epoch if which == "best" else model.facts.epoch,
        "checkpoint": which,
        **_heard(music, model, None if data is None else Path(workdir)),
    }


def _heard(music: Music | None, model: Model, workdir: Path | None) -> dict[str, Any]:
    """What the pieces measure, and what they share with the training data.

    Args:
        workdir: whose training data they are compared with; None: those are in `music` too.
    """
    if music is None or not music.held_out:
        return {}
    told: dict[str, Any] = {"music": sample_metrics.of_data(music.held_out)}
    known: Music | None = music
    if workdir is not None:
        data = model.facts.config.data
        if data.source.startswith("polyphonic:"):
            console.say("copies", "not looked for: what the model was trained on is frames alone")
            return told
        if datasets.is_missing(data.source, cache.cache_folder(data)):
            console.say("copies", f"not looked for: the training data, {data.source}, are not on this machine")
            return told
        console.say("copies", f"are looked for in the training data, {data.source}")
        try:
            known = dataset.music(model.facts.config, model.facts.fingerprint, workdir)
        except (UsageError, RunError) as error:
            console.say("copies", f"not looked for: {error}")
            return told
    if known is not None and (found := sample_metrics.copied(music.held_out, music.held_out_names, known)):
        told["copies"] = found
    return told
