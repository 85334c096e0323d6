"""What a search leaves: its best config and model, a line for each trial, music of the best few, and a page."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from musicjax import config_files, console, files
from musicjax.config import Config
from musicjax.encodings import sampling_params
from musicjax.encodings.encoding import Dataset
from musicjax.encodings.plan import Length
from musicjax.generation import generate
from musicjax.report import records
from musicjax.run import signals, start, train
from musicjax.search import results, space
from musicjax.search.progress import Standing
from musicjax.search.results import Record, State
from musicjax.store import checkpoint as checkpoint_lib
from musicjax.store import model as model_lib
from musicjax.store.checkpoint import Arrays, Checkpoint
from musicjax.store.metadata import Progress
from musicjax.store.recorder import Recorder

BEST, CONFIG, TRIALS, SAMPLES, PAGE = "best", "best.json", "trials.jsonl", "samples", "search.html"
# How many of the best trials have music, and how many pieces each.
SHOWN, PIECES = 3, 2
# (the data of a trial, its record, its state after the last epoch), by its number.
Trained = Callable[[int], tuple[Dataset, Record, State]]


def exists(workdir: Path) -> bool:
    """Whether all of it is there: the page comes last."""
    return all((workdir / name).is_file() for name in (TRIALS, CONFIG, PAGE))


def write(standing: Standing, config: Config, trained: Trained, workdir: Path) -> None:
    """Writes all of it.

    Args:
        config: which the trials' fields are set in.

    Raises:
        RunError: something cannot be written.
    """
    ranked = standing.ranked()
    write_trials(standing, workdir)
    best = standing.search.config_of(ranked[0], config)
    with results.told(workdir):
        files.write(workdir / CONFIG, json.dumps(config_files.to_dict(best), indent=2) + "\n")
    folders = []
    for place, trial in enumerate(ranked[:SHOWN]):
        checkpoint, record = _checkpoint(standing.search.config_of(trial, config), standing, *trained(trial))
        if not place:
            _write_run(checkpoint, record, workdir / BEST)
        if _write_music(checkpoint, workdir / SAMPLES / f"trial{trial}"):
            folders.append((trial, f"{SAMPLES}/trial{trial}"))
    train.train(best, workdir / BEST)  # nothing is left to train; it writes the run's samples and its page
    _write_page(standing, config, folders, workdir)
    results.forget(workdir, list(standing.records))
    with contextlib.suppress(OSError):
        (workdir / results.STATES).rmdir()


def write_trials(standing: Standing, workdir: Path) -> None:
    """Writes a line for each trial: what it drew, how many rungs it came through, and its losses."""
    metric = standing.search.minimise
    lines = []
    for trial, record in standing.records.items():
        lowest = standing.lowest(trial)
        line = {
            "trial": trial,
            "fields": record.fields,
            "rung": standing.rung_of(trial),
            "epochs": record.epochs,
            "diverged": record.diverged,
            "best_epoch": record.best_epoch(metric, record.epochs),
            metric: lowest if math.isfinite(lowest) else None,
            "train_losses": [one["loss"] for one in record.train],
            "validation_losses": [one["loss"] for one in record.valid],
        }
        if metric != "loss":
            line["minimised"] = [one[metric] for one in record.valid]
        lines.append(json.dumps(line) + "\n")
    with results.told(workdir):
        files.write(workdir / TRIALS, "".join(lines))


def summary(standing: Standing, workdir: Path) -> dict[str, Any]:
    """What the command prints as JSON; says the best trial and where everything is."""
    best = standing.ranked()[0]
    record, metric = standing.records[best], standing.search.minimise
    epoch = record.best_epoch(metric, record.epochs)
    console.say("best", f"{metric} {standing.lowest(best):.5f} at epoch {epoch}, trial {best}")
    console.say("best", space.text(record.fields))
    console.say("best", f"its model is in {workdir / BEST}; --config={workdir / CONFIG} trains it again, or for longer")
    console.say("page", f"{workdir / PAGE}: all trials, the best of them, what they compose; open it in a browser")
    return {
        "workdir": str(workdir),
        "trials": standing.search.trials,
        "rungs": [list(rung) for rung in standing.rungs],
        "diverged": sum(bool(one.diverged) for one in standing.records.values()),
        "best_trial": best,
        "best_epoch": epoch,
        "best_validation_loss": record.valid[epoch - 1]["loss"],
        "minimised": {metric: standing.lowest(best)},
        "fields": record.fields,
        "config": str(workdir / CONFIG),
        "best": str(workdir / BEST),
        "report": str(workdir / PAGE),
    }


def _checkpoint(
    config: Config, standing: Standing, dataset: Dataset, record: Record, state: State
) -> tuple[Checkpoint, Record]:
    """A trial as the checkpoint of a run of its own, after its last epoch."""
    arrays, metadata = start.started(dataset, None)
    epoch = record.best_epoch(standing.search.minimise, record.epochs)
    loss = record.valid[epoch - 1]["loss"]
    deviations = jnp.asarray(state.deviation), jnp.asarray(state.best_deviation)
    arrays = Arrays(state.state, state.best_params, *deviations, arrays.primers)
    metadata = dataclasses.replace(
        metadata,
        epoch=record.epochs,
        best_epoch=epoch,
        best_loss=loss,
        config=config,
        trials=(Progress(epoch, loss),),
    )
    return Checkpoint(arrays, metadata), record


def _write_run(checkpoint: Checkpoint, record: Record, workdir: Path) -> None:
    """Writes a trial as an ordinary run: its metrics, then its checkpoint. What was there is replaced."""
    with results.told(workdir):
        files.remove(checkpoint_lib.folder(workdir))
        workdir.mkdir(exist_ok=True)
    steps = int(np.asarray(checkpoint.arrays.state.step)) // record.epochs
    with contextlib.closing(Recorder(workdir, 0, 0)) as recorder, signals.held():
        for epoch, (train_line, valid_line) in enumerate(zip(record.train, record.valid, strict=True), 1):
            recorder.write("train", epoch, epoch * steps, [train_line])
            recorder.write("valid", epoch, epoch * steps, [valid_line])
        recorder.sync()
    with contextlib.closing(checkpoint_lib.Store(workdir)) as store, signals.held():
        store.save(checkpoint)


def _write_music(checkpoint: Checkpoint, folder: Path) -> int:
    """Writes pieces of a trial's best parameters as MIDI files; returns how many."""
    model = model_lib.of(*checkpoint)
    sample = model.config.sample
    params = [sampling_params.of_config(sample)] * min(sample.num_outputs, PIECES)
    if not params:
        return 0
    pieces = generate.new_pieces(model, params, Length(sample.num_notes), model.config.seed)
    paths = generate.write(pieces, folder, model.config.seed, whole_bars=model.encoding.has_form, replaces=True)
    return len(paths)


def _write_page(standing: Standing, config: Config, folders: list[tuple[int, str]], workdir: Path) -> None:
    from musicjax.report import search_page  # here, so that training does not wait for the import
    from musicjax.report.search_page import Field, SearchPage, Trial

    search = standing.search
    finite = [trial for trial in standing.records if math.isfinite(standing.lowest(trial))]
    ranked = sorted(finite, key=lambda trial: (standing.lowest(trial), trial))
    trials = [
        Trial(trial, standing.records[trial].fields, standing.lowest(trial), standing.records[trial].epochs)
        for trial in ranked
    ]
    fields = [
        Field(path, is_log=where.is_log) if isinstance(where, space.Range) else Field(path, where.values)
        for path, where in search.fields.items()
    ]
    leader = standing.records[standing.ranked()[0]]
    facts: list[tuple[str, Any]] = [
        ("config", f"{config.name}, {console.counted(search.trials, 'trial')}"),
        ("rungs", ", ".join(f"{rung.trials} until epoch {rung.epochs}" for rung in standing.rungs)),
        ("lowest", f"{search.minimise} {standing.lowest(leader.trial):.5f}, trial {leader.trial}"),
        ("with", space.text(leader.fields)),
    ]
    music = records.music_name(config.data.source)
    told = SearchPage(
        f"{music}: a search over {console.counted(search.trials, 'trial')}",
        facts,
        fields,
        trials,
        search.minimise,
        search.trials - len(finite),
        folders,
    )
    _, left_out = search_page.write(workdir, told)
    for fact in left_out:
        console.say("left out", fact)
