"""Estimates from a few steps how long frame networks take to train, and shares a budget among them."""

from __future__ import annotations

import contextlib
import functools
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from musicjax import config_files, cores
from musicjax.config import Config
from musicjax.encodings import encoding as encoding_lib
from musicjax.run import device
from musicjax.training import optimizer as optimizer_lib
from musicjax.training import step
from musicjax.training import windows as windows_lib

# Steps to time, after the same number of untimed ones.
STEPS = 2
# Scoring a frame costs about a third of training on it.
SCORING_SHARE = 1 / 3


class Job(NamedTuple):
    """One network: its name, its epochs so far, the epochs it is to have, and the core-hours of one epoch."""

    name: str
    done: int
    wanted: int
    hours_an_epoch: float


def job(name: str, config: Config, workdir: Path) -> Job:
    """The job of a config, timed by its epochs so far or, if it has none, by a few steps."""
    of_training = [line for line in recorded(workdir) if line["split"] == "train"]
    done = len(of_training)
    if not open_epochs(config, workdir):
        return Job(name, done, done, 0.0)
    seconds = float(np.median([line["seconds"] for line in of_training])) if done else seconds_an_epoch(config)
    return Job(name, done, config.train.epochs, seconds * processors() / 3600)


def open_epochs(config: Config, workdir: Path) -> int:
    """Epochs left to train; 0 if the training has stopped early."""
    losses = [line["loss"] for line in recorded(workdir) if line["split"] == "valid"]
    done, patience = len(losses), config.train.patience
    stopped = patience and done - int(np.argmin(losses or [0])) > patience
    return 0 if stopped else max(config.train.epochs - done, 0)


def recorded(workdir: Path) -> list[dict[str, Any]]:
    """The metrics lines of a workdir, none if it is new. Leaves out damaged lines, which training repairs."""
    path, found = workdir / "metrics.jsonl", list[dict[str, Any]]()
    for line in path.read_text(errors="replace").splitlines() if path.is_file() else ():
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


def processors() -> int:
    """Processor cores that this process may use; an accelerator counts as one."""
    if jax.default_backend() != "cpu":
        return jax.device_count()
    return cores.usable()


def seconds_an_epoch(config: Config) -> float:
    """An estimate from STEPS steps of the config's own training and the frames that each epoch scores. It is the same
    for all seeds."""
    return _seconds(json.dumps(config_files.to_dict(config) | {"seed": 0}))


@functools.cache
def _seconds(fields: str) -> float:
    config, _ = device.with_precision(config_files.from_dict(json.loads(fields)), None)
    dataset = encoding_lib.of(config).dataset()
    net, train, window = dataset.encoding.network(), config.train, config.data.window
    windows = len(dataset.training.starts)
    steps = windows_lib.steps_per_epoch(windows, train.batch_size)
    optimizer = optimizer_lib.of(train, train.learning_rate, steps)
    some = dataset.training.only(np.arange(min(STEPS * train.batch_size, windows)))
    some = jax.tree.map(jnp.asarray, some)
    state = jax.jit(functools.partial(step.init, net, optimizer, window=window))(step.keys(config.seed).init)
    epoch = step.make_epoch(net, optimizer, train.batch_size, window, accumulate=train.accumulate)
    for number in range(2):
        began = time.perf_counter()
        state, sums = jax.block_until_ready(epoch(state, some, step.keys(config.seed), jnp.int32(number)))
    of_step = (time.perf_counter() - began) / len(sums.loss)
    scored = sum(dataset.encoding.count(dataset.validation.rows).values()) / (windows * window)
    return of_step * steps * (1 + SCORING_SHARE * scored)


def plan(jobs: list[Job], budget: float) -> dict[str, int]:
    """{name: epochs of each job at the end}. The jobs share the remaining budget evenly, the cheapest first.

    Raises:
        SystemExit: the budget, in core-hours, is too small for one epoch of a job.
    """
    open_ = sorted((one for one in jobs if one.wanted > one.done), key=lambda one: one.hours_an_epoch)
    least = {one.name: one.hours_an_epoch for one in open_}
    short, left = dict[str, float](), budget
    epochs = {one.name: one.done for one in jobs}
    for number, one in enumerate(open_):
        more = max(0, min(one.wanted - one.done, int(left / (len(open_) - number) / one.hours_an_epoch)))
        short |= {} if more else {one.name: one.hours_an_epoch}
        epochs[one.name] += more
        left -= more * one.hours_an_epoch
    if short:
        named = ", ".join(f"{name} ({hours:.2g})" for name, hours in short.items())
        raise SystemExit(
            f"--budget_core_hours={budget:g} is too small for one epoch of {named}; expected more than "
            f"{max(least.values()) * len(least):.2g}, or fewer --rows, --sets or --seeds"
        )
    return epochs


def told(jobs: list[Job], epochs: dict[str, int], budget: float) -> str:
    """The plan as text, with a line for each unfinished job."""
    lines = [f"budget of {budget:g} core-hours on {processors()} cores, estimated:"]
    for one in jobs:
        more = epochs[one.name] - one.done
        if one.wanted > one.done:
            lines.append(
                f"  {one.name:<28} epochs {one.done + 1} to {epochs[one.name]} of {one.wanted}, "
                f"{more * one.hours_an_epoch:.2f} core-hours ({one.hours_an_epoch:.3f} each)"
            )
    return "\n".join(lines if len(lines) > 1 else [f"{lines[0]} nothing is left to train"])
