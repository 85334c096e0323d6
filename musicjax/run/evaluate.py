"""Scores a trained model on data, with the validation code of training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypedDict, cast

import jax
import jax.numpy as jnp

from musicjax import arguments, console
from musicjax import config as config_lib
from musicjax.corpus import cache, datasets
from musicjax.corpus.split import Music
from musicjax.encodings.encoding import require_same
from musicjax.errors import RunError, UsageError
from musicjax.run import epoch, sample_metrics
from musicjax.store import model as model_lib
from musicjax.store.model import Model
from musicjax.training import step


class Scores(TypedDict, total=False):
    """What scoring gives; fields that do not apply to the model or the data are absent.

    Losses, accuracies and errors are means over what is scored; NAME_nats are nats a note of one column.
    """

    loss: float
    accuracy: float
    majority_accuracy: float
    pitch_error_semitones: float
    velocity_error_steps: float
    interval_error_seconds: float
    duration_error_seconds: float
    nats_per_frame: float
    nats_per_note: float
    interval_nats: float
    instrument_nats: float
    pitch_nats: float
    duration_nats: float
    velocity_nats: float
    windows: int
    frames: int
    notes: int
    ends: int
    pieces: int
    data: str
    split: str
    epoch: int
    checkpoint: str
    music: dict[str, float]
    copies: dict[str, Any]
    held_out_copies: dict[str, Any]


def evaluate(workdir: str | Path, data: str | Path | None = None, which: str = "best") -> Scores:
    """Scores the model of a workdir on its own validation data, on another source, or on the held-out pieces of shards.

    Args:
        data: a source; its windows stay inside their pieces, and rows are made with the constants saved with the
            model. Of a polyphonic data set only the test split counts. None: the validation split of the run's data.
        which: best or latest parameters.

    Returns:
        {"loss", "accuracy", "pitch_error_semitones" or "nats_per_frame", ..., "windows", "frames", or "notes" and
        "ends", "pieces", "data", "epoch", "checkpoint"}; where the data are notes also "music": the mean of each metric
        over the pieces, and "copies": what they share with the training data, if those are at hand, and for other data
        "held_out_copies": the same of the pieces that the run held out.

    Raises:
        UsageError, RunError: as for training and generating.
    """
    if workdir == model_lib.BUILTIN and data is None:
        raise UsageError(
            f"evaluate {model_lib.BUILTIN}: its own data are not on this machine; expected data=..., a folder or "
            "a data set"
        )
    model = model_lib.load(workdir, which)
    return score(model, arguments.path_of("workdir", workdir, "the folder of a trained model"), data, which)


def score(model: Model, workdir: Path, data: str | Path | None, which: str) -> Scores:
    """`evaluate` for a loaded model; its encoding's config may differ from the run's in the fields that may change.

    Raises:
        UsageError: the source of that config has other data than the run.
    """
    config, metadata = model.encoding.config, model.metadata
    source = config.data.source if data is None else _source(data)
    if data is None:
        _require_own_data(model, workdir)
        dataset = model.encoding.dataset()
        require_same(dataset.fingerprint, source, metadata.fingerprint, source, workdir)
        scored = dataset.validation
    else:
        scored = model.encoding.scored(dataclasses.replace(config.data, source=source))
    validate = step.make_validation(model.network, config.train.batch_size, config.data.window)
    rows: Any = jax.tree.map(jnp.asarray, scored.rows)
    counts = model.encoding.count(scored.rows)
    console.say("scoring", console.each_counted(counts))
    # A bar would need several programs, which would add up in another order than training's one program. The loss must
    # equal that of training, digit for digit.
    with console.clock("scoring"):
        metrics = epoch.scores_as_metrics(model.encoding, validate(model.params, rows), scored.majority)
    told: dict[str, Any] = metrics | {
        **counts,
        "pieces": scored.pieces,
        "data": source,
        "split": scored.split,
        "epoch": metadata.best_epoch if which == "best" else metadata.epoch,
        "checkpoint": which,
        **_of_music(scored.music, model, None if data is None else workdir),
    }
    return cast(Scores, told)


def _source(data: str | Path) -> str:
    """The data as a source of a config; raises UsageError if they cannot be one."""
    source = str(data) if isinstance(data, Path) else data
    config_lib.require_valid("data.source", source)
    return source


def _require_own_data(model: Model, workdir: Path) -> None:
    """Raises UsageError if the config names another source than the run's, with other data."""
    source, saved = model.encoding.config.data.source, model.config.data.source
    if source == saved:
        return
    found = model.encoding.music()[1]
    if model.metadata.fingerprint not in (found.sha256, *found.earlier):
        raise UsageError(
            f"config.data.source is {saved!r} in the run, {source!r} here, and the data differ; expected the run's own "
            f"data, of which workdir {workdir} held some out; score other data with --data={source}"
        )


def _of_music(music: Music | None, model: Model, workdir: Path | None) -> dict[str, Any]:
    """The metrics of the pieces, and what they share with the training data.

    Args:
        workdir: the run whose training data they are compared with; None: those in `music`.
    """
    if music is None or not music.held_out:
        return {}
    found: dict[str, Any] = {"music": sample_metrics.of_data(music.held_out)}
    known = music if workdir is None else _training_music(model, workdir)
    most = sample_metrics.MOST_COPIED if workdir is None else len(music.held_out)  # all of what was asked about
    if known is None or not (copied := sample_metrics.copied(music.held_out, music.held_out_names, known, most)):
        return found
    found["copies"] = copied
    if workdir is not None:
        real = sample_metrics.copied(known.held_out, known.held_out_names, known)
        sample_metrics.say_copy(copied["longest"], real)
        found |= {"held_out_copies": real} if real else {}
    return found


def _training_music(model: Model, workdir: Path) -> Music | None:
    """The training data of a model as notes; None, and a line that says why, if they are not at hand."""
    data = model.encoding.config.data
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
