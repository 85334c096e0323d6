"""A training with an accident: `python -m tests.reliability.victim ACCIDENT NUMBER NUMBER TRAINING-FLAGS...`.

The accidents end the process with SIGKILL, or change what it does; each is a function of two numbers below.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from musicjax import main
from musicjax.run import epoch as epoch_lib
from musicjax.run import start as start_lib
from musicjax.store import checkpoint as checkpoint_lib
from musicjax.store import lock
from musicjax.training import optimizer

# What Python tells of a process' dealings with files.
FILE_EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.listdir", "os.scandir"}


def digest(checkpoint: checkpoint_lib.Checkpoint) -> str:
    """sha256 over all arrays and what else must be equal."""
    hashed = hashlib.sha256()
    for leaf in jax.tree.leaves(checkpoint.arrays):
        hashed.update(np.asarray(leaf).tobytes())
    of = checkpoint.metadata
    hashed.update(json.dumps([of.epoch, of.best_epoch, of.best_loss, of.best_trial]).encode())
    hashed.update(json.dumps([list(vars(progress).values()) for progress in of.trials]).encode())
    return hashed.hexdigest()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_after(seconds: float) -> None:
    threading.Thread(target=lambda: (time.sleep(seconds), _die()), daemon=True).start()


def _at_save(number: float, accident) -> None:
    """Calls accident() at the begin of this save, counted from 1."""
    save, count = checkpoint_lib.Store.save, 0

    def saved(self, checkpoint) -> None:
        nonlocal count
        count += 1
        if count == number:
            accident()
        save(self, checkpoint)

    checkpoint_lib.Store.save = saved  # type: ignore[method-assign]


def in_start(number: float, seconds: float) -> None:
    """Killed this many seconds after the workdir was taken, before or in the first epochs."""
    held = lock.held

    def taken(workdir: Path):
        _die_after(seconds)
        return held(workdir)

    lock.held = taken


def in_time(number: float, seconds: float) -> None:
    """Killed this many seconds after the beginning of a save, in it or after it."""
    _at_save(number, lambda: _die_after(seconds))


def in_save(number: float, event: float) -> None:
    """Killed at the n-th dealing with files since the begin of a save."""
    seen, counting = 0, False

    def hook(name: str, arguments: tuple) -> None:
        nonlocal seen
        if counting and name in FILE_EVENTS:
            seen += 1
            if seen == event:
                _die()

    def begin() -> None:
        nonlocal counting
        counting = True

    sys.addaudithook(hook)
    _at_save(number, begin)


def digests(number: float, seconds: float) -> None:
    """No accident; writes the digest of each epoch's checkpoint to standard error."""
    save = checkpoint_lib.Store.save

    def saved(self, checkpoint) -> None:
        save(self, checkpoint)
        print(f"digest {checkpoint.metadata.epoch} {digest(checkpoint)}", file=sys.stderr, flush=True)

    checkpoint_lib.Store.save = saved  # type: ignore[method-assign]


def forget_optimizer(number: float, seconds: float) -> None:
    """A control: goes on with a fresh optimizer state."""
    restored = start_lib.restored

    def forgetful(dataset, workdir):
        arrays, metadata = restored(dataset, workdir)
        fresh = optimizer.rmsprop(metadata.config.train.learning_rate).init(arrays.state.params)
        return checkpoint_lib.Checkpoint(arrays._replace(state=arrays.state._replace(opt_state=fresh)), metadata)

    start_lib.restored = forgetful


def forget_place(number: float, seconds: float) -> None:
    """A control: goes on with the data in the order of the first epochs."""
    restored, begin, first = start_lib.restored, epoch_lib.start, 0

    def remembered(dataset, workdir):
        nonlocal first
        checkpoint = restored(dataset, workdir)
        first = checkpoint.metadata.epoch
        return checkpoint

    start_lib.restored = remembered
    epoch_lib.start = lambda programs, state, turn, *rest, **named: begin(programs, state, turn - first, *rest, **named)


def poison(number: float, seconds: float) -> None:
    """One parameter is not a number from this epoch on, counted from 1."""
    begin = epoch_lib.start

    def poisoned(programs, state, turn, *rest, **named):
        if turn + 1 >= number:
            params = jax.tree.map(functools.partial(jnp.multiply, jnp.nan), state.params)
            state = state._replace(params=params)
        return begin(programs, state, turn, *rest, **named)

    epoch_lib.start = poisoned


if __name__ == "__main__":
    accident, first, second, *argv = sys.argv[1:]
    globals()[accident](float(first), float(second))
    sys.argv[1:] = argv
    sys.exit(main.main())
