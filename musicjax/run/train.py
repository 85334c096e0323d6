"""The one visible loop: read data, restore or start, then epoch, validate, record, save; at last samples."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import musicjax
from musicjax import config as config_lib
from musicjax.config import Config
from musicjax.errors import RunError, UsageError
from musicjax.model import network
from musicjax.music.corpus import Outcome
from musicjax.music.note_matrix import Scaling
from musicjax.run import checkpoint as checkpoint_lib
from musicjax.run import data as data_lib
from musicjax.run import generate as generate_lib
from musicjax.run import screen, signals
from musicjax.run.checkpoint import Arrays, Checkpoint, Facts
from musicjax.run.record import Recorder
from musicjax.training import optimizer as optimizer_lib
from musicjax.training import step as step_lib
from musicjax.training.step import StepMetrics, TrainState, Validation
from musicjax.training.windows import Windows


def train(config: Config, workdir: str | Path) -> dict[str, Any]:
    """Trains in a workdir, going on from its checkpoint if there is one, and writes samples into it.

    Returns:
        {"workdir", "epochs", "best_epoch", "best_validation_loss", "windows_per_second", "samples", ...}.

    Raises:
        UsageError: the config is not valid, or the workdir holds a run of another config.
        RunError: no usable data, a loss that is not finite, or files that cannot be read or written.
    """
    config, workdir = config_lib.validate(config), Path(workdir)
    going_on = goes_on(workdir, config)
    device = jax.devices()[0]
    screen.say("musicjax", f"{musicjax.__version__}  config {config.name}  workdir {workdir}")
    screen.say(
        "device",
        f"1 of {jax.device_count()} {device.platform} ({device.device_kind}), {config.model.precision}, "
        f"jax {jax.__version__}",
    )
    data = data_lib.prepare(config)

    # 1. Restore or start.
    net = checkpoint_lib.network_of(config)
    arrays, facts = _restored(config, workdir, data) if going_on else _started(config, data)
    write_settings(workdir, config, data.outcomes)
    parameters = network.count(arrays.best_params)
    shape = f"LSTM {config.model.units} -> dropout {config.model.dropout:g} -> Dense {net.columns}"
    screen.say("model", f"{shape}: {parameters:,} parameters")

    # 2. Epochs.
    arrays, facts, speed = _epochs(config, workdir, data, arrays, facts)

    # 3. Music.
    model = generate_lib.Model(net, arrays.best_params, arrays.best_deviation, arrays.primers, facts)
    sample = config.sample
    pieces = generate_lib.generate(
        model,
        num_outputs=sample.num_outputs,
        num_notes=sample.num_notes,
        seed=config.seed,
        temperature=sample.temperature,
    )
    paths = generate_lib.write(pieces, workdir / "samples", config.seed)
    screen.say("samples", f"{len(paths)} MIDI files in {workdir / 'samples'}")
    return {
        "workdir": str(workdir),
        "epochs": facts.epoch,
        "best_epoch": facts.best_epoch,
        "best_validation_loss": facts.best_loss,
        "parameters": parameters,
        "train_windows": len(data.train),
        "validation_windows": len(data.validation),
        "windows_per_second": speed,
        "samples": [str(path) for path in paths],
    }


def goes_on(workdir: Path, config: Config) -> bool:
    """Whether the workdir holds a checkpoint of this config's run to go on from.

    Raises:
        UsageError: it holds another run; names each field that differs.
        RunError: it is no folder, or its checkpoint cannot be read.
    """
    place = next(path for path in (workdir.absolute(), *workdir.absolute().parents) if path.exists())
    if not place.is_dir():
        raise RunError(f"workdir {workdir} cannot be made: {place} is not a folder; name another with --workdir=DIR")
    if not checkpoint_lib.exists(workdir):
        return False
    require_same_config(checkpoint_lib.read_facts(workdir).config, config, workdir)
    return True


def write_settings(workdir: Path, config: Config, outcomes: list[Outcome]) -> None:
    """Makes the workdir with config.json and data.jsonl; raises RunError if it cannot be written."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        partial = workdir / "config.json.partial"
        partial.write_text(json.dumps(config_lib.to_dict(config), indent=2) + "\n")
        partial.replace(workdir / "config.json")
    except OSError as error:
        raise RunError(
            f"workdir {workdir} cannot be written: {error.strerror}; name another with --workdir=DIR"
        ) from error
    data_lib.write_report(outcomes, workdir / "data.jsonl")


def require_same_config(saved: Config, present: Config, workdir: Path) -> None:
    """Raises UsageError if the two would not be one run."""
    differing = config_lib.differences(saved, present)
    if differing:
        named = "; ".join(f"config.{path} is {old!r} there, {new!r} here" for path, old, new in differing)
        raise UsageError(f"workdir {workdir} holds another run: {named}; use the same values, or another --workdir")


def _started(config: Config, data: data_lib.Data) -> Checkpoint:
    """What a run has before its first step."""
    net, keys, window = checkpoint_lib.network_of(config), step_lib.keys(config.seed), config.data.window
    state = step_lib.init(net, optimizer_lib.rmsprop(config.train.learning_rate), keys.init, window)
    starts = np.asarray(jax.random.choice(keys.primers, data.train, (checkpoint_lib.PRIMERS,)))
    primers = jnp.asarray(data.rows[starts[:, None] + np.arange(window)])
    unknown = jnp.zeros(net.columns)
    facts = Facts(0, 0, math.inf, config, data.scaling, data.fingerprint, checkpoint_lib.versions())
    return Checkpoint(Arrays(state, state.params, unknown, unknown, primers), facts)


def _restored(config: Config, workdir: Path, data: data_lib.Data) -> Checkpoint:
    """What the workdir's latest checkpoint holds, under the present config and versions."""
    arrays, facts = checkpoint_lib.restore(workdir)
    data_lib.require_same(data, config.data.source, facts.fingerprint, facts.config.data.source, workdir)
    best = f"best validation loss {facts.best_loss:.5f}"
    screen.say("resume", f"{facts.epoch} epochs are done, {best}")
    versions = checkpoint_lib.versions()
    for name, version in versions.items():
        if facts.versions.get(name) != version:
            before = facts.versions.get(name, "unknown")
            screen.say("resume", f"{name} {before} then, {version} now: the last bits of numbers may differ")
    return Checkpoint(arrays, dataclasses.replace(facts, config=config, versions=versions))


def _epochs(
    config: Config, workdir: Path, data: data_lib.Data, arrays: Arrays, facts: Facts
) -> tuple[Arrays, Facts, float]:
    """Trains until the config's last epoch or early stop; returns the last checkpoint and windows/s (median)."""
    settings, net = config.train, checkpoint_lib.network_of(config)
    rows = jnp.asarray(data.rows)
    training, validation = (Windows(rows, jnp.asarray(starts)) for starts in (data.train, data.validation))
    if facts.epoch >= settings.epochs:
        screen.say("train", f"all {settings.epochs} epochs are done; a higher --config.train.epochs goes on")
        return arrays, facts, 0.0
    keys = step_lib.keys(config.seed)
    started = time.perf_counter()
    optimizer, window = optimizer_lib.rmsprop(settings.learning_rate), config.data.window
    epoch_function = step_lib.make_epoch(net, optimizer, settings.batch_size, window)
    validate_function = step_lib.make_validation(net, settings.batch_size, window)
    epoch = epoch_function.lower(arrays.state, training, keys, jnp.int32(0)).compile()
    validate = validate_function.lower(arrays.state.params, validation).compile()
    screen.say("compile", f"{time.perf_counter() - started:.1f} s")
    speeds = []
    with contextlib.ExitStack() as closing:
        recorder = closing.enter_context(contextlib.closing(Recorder(workdir, facts.epoch, int(arrays.state.step))))
        store = closing.enter_context(contextlib.closing(checkpoint_lib.Store(workdir)))
        with screen.bar("train", settings.epochs, facts.epoch) as update:
            while facts.epoch < settings.epochs and not _out_of_patience(facts, settings.patience):
                started = time.perf_counter()
                state, sums = _wait(epoch(arrays.state, training, keys, jnp.int32(facts.epoch)))
                seconds = time.perf_counter() - started
                scores = _wait(validate(state.params, validation))
                number = facts.epoch + 1
                trained = train_metrics(sums, seconds, settings.learning_rate)
                scored = valid_metrics(scores, data.scaling)
                _require_finite(trained["loss"], scored["loss"], number, workdir)
                arrays, facts = _advance(arrays, facts, state, scores)
                with signals.held():
                    recorder.write("train", number, int(state.step), trained)
                    recorder.write("valid", number, int(state.step), scored)
                    store.save(Checkpoint(arrays, facts))
                speeds.append(trained["windows_per_second"])
                seconds_left = (settings.epochs - number) * (time.perf_counter() - started)
                update(number, _line(trained, scored, seconds_left))
    if facts.epoch < settings.epochs:
        screen.say("train", f"stopped early: no lower validation loss since epoch {facts.best_epoch}")
    screen.say("train", f"best validation loss {facts.best_loss:.5f} at epoch {facts.best_epoch}")
    return arrays, facts, float(np.median(speeds)) if speeds else 0.0


def _wait(result):
    """The result once the device has computed it; stays open to signals meanwhile."""
    leaf = jax.tree.leaves(result)[0]
    pause_seconds = 0.0005
    while not leaf.is_ready():
        time.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 1.5, 0.002)
    return jax.block_until_ready(result)


def _advance(arrays: Arrays, facts: Facts, state: TrainState, scores: Validation) -> tuple[Arrays, Facts]:
    """What the next checkpoint holds after an epoch that ended in `state`."""
    number, loss = facts.epoch + 1, float(scores.loss)
    deviation = jnp.sqrt(jnp.maximum(scores.residual_square - scores.residual**2, 0.0))
    if loss < facts.best_loss:
        # A copy: the next epoch takes over the buffers of the state.
        best = (jax.tree.map(jnp.copy, state.params), deviation)
        facts = dataclasses.replace(facts, epoch=number, best_epoch=number, best_loss=loss)
    else:
        best = (arrays.best_params, arrays.best_deviation)
        facts = dataclasses.replace(facts, epoch=number)
    return Arrays(state, best[0], deviation, best[1], arrays.primers), facts


def _out_of_patience(facts: Facts, patience: int) -> bool:
    return patience > 0 and facts.epoch - facts.best_epoch >= patience


def _require_finite(train_loss: float, valid_loss: float, epoch: int, workdir: Path) -> None:
    if not (math.isfinite(train_loss) and math.isfinite(valid_loss)):
        kept = (
            f"the checkpoint of epoch {epoch - 1} is kept in {workdir}" if epoch > 1 else "there is no checkpoint yet"
        )
        raise RunError(
            f"epoch {epoch}: loss {train_loss}, validation loss {valid_loss}, expected finite numbers; {kept}; "
            "start anew in another --workdir with a lower --config.train.learning_rate"
        )


def train_metrics(sums: StepMetrics, seconds: float, learning_rate: float) -> dict[str, float]:
    """Means over an epoch from its sums by step, and the speed from its seconds."""
    loss, agreement, weight = (np.asarray(values, np.float64).sum() for values in sums)
    return {
        "loss": float(loss / weight),
        "accuracy": float(agreement / weight),
        "argmax_agreement": float(agreement / weight),
        "learning_rate": learning_rate,
        "seconds": round(seconds, 4),
        "windows_per_second": round(float(weight / seconds), 2),
    }


def valid_metrics(scores: Validation, scaling: Scaling) -> dict[str, float]:
    """Mean loss and agreement, and mean absolute errors in the columns' own units."""
    units = {"pitch": "semitones", "velocity": "steps", "interval": "seconds", "duration": "seconds"}
    sizes = np.asarray(scores.residual_size, np.float64) * scaling.span
    errors = {f"{name}_error_{units[name]}": float(size) for name, size in zip(scaling.columns, sizes, strict=True)}
    agreement = float(scores.agreement)
    return {"loss": float(scores.loss), "accuracy": agreement, "argmax_agreement": agreement, **errors}


def _line(train: dict[str, float], valid: dict[str, float], seconds_left: float) -> str:
    minutes, seconds = divmod(round(seconds_left), 60)
    return (
        f"loss {train['loss']:.5f}  validation {valid['loss']:.5f}  "
        f"{train['windows_per_second']:,.0f} windows/s  {minutes}:{seconds:02d} left"
    )
