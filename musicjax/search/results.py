"""What a search has found so far, on disk: a file of losses for each trial, and the states of those that may go on.

Each file is written whole, and everything else follows from these files. So nothing is lost but what was under way.

    WORKDIR/results/00017.json    the record of trial 17
    WORKDIR/states/00017.state    its state after its last epoch, as long as it may go on
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from musicjax import files
from musicjax.errors import RunError
from musicjax.run import signals
from musicjax.training.step import TrainState

RESULTS, STATES = "results", "states"


@dataclasses.dataclass
class Record:
    """What is known of a trial.

    Attributes:
        fields: what it drew, by path.
        train, valid: the metrics of each epoch by name, as many lines as it has trained epochs.
        diverged: the epoch whose losses were not finite, which has no lines; 0: none.
    """

    trial: int
    fields: dict[str, Any]
    train: list[dict[str, float]] = dataclasses.field(default_factory=list)
    valid: list[dict[str, float]] = dataclasses.field(default_factory=list)
    diverged: int = 0

    @property
    def epochs(self) -> int:
        """How many epochs it has trained."""
        return len(self.valid)

    def is_done(self, epochs: int) -> bool:
        """Whether nothing is left to train until that epoch."""
        return self.epochs >= epochs or self.diverged > 0

    def best_epoch(self, metric: str, epochs: int) -> int:
        """The epoch with the lowest value of a validation metric, of the first `epochs`; 0: there is none."""
        values = [line[metric] for line in self.valid[:epochs]]
        return 1 + int(np.argmin(values)) if values else 0

    def lowest(self, metric: str, epochs: int) -> float:
        """The lowest value of a validation metric until that epoch; inf if the trial diverged before."""
        best = self.best_epoch(metric, epochs)
        return math.inf if 0 < self.diverged <= epochs or not best else self.valid[best - 1][metric]


class State(NamedTuple):
    """What training a trial goes on from, as arrays on the host.

    state: after its last epoch; best_params: after its best one; deviation, best_deviation: float32 [C], of the
    validation residual under both.
    """

    state: TrainState
    best_params: dict
    deviation: np.ndarray
    best_deviation: np.ndarray


class Version(NamedTuple):
    """What tells a record's file from the one that took its place."""

    inode: int
    changed_ns: int
    bytes: int


def read(workdir: Path, trial: int, version: Version | None = None) -> tuple[Record, Version] | None:
    """The record of a trial and the version of its file; None if there is none, or if it still has `version`.

    Raises:
        RunError: the file is not what `write` writes.
    """
    path = _record_path(workdir, trial)
    try:
        with path.open("rb") as stream:  # opening it makes a network file system look for the newest
            status = os.fstat(stream.fileno())
            found = Version(status.st_ino, status.st_mtime_ns, status.st_size)
            return None if found == version else (Record(**json.loads(stream.read())), found)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise RunError(
            f"{path} cannot be read: {error}; remove it and start again: trial {trial} starts over"
        ) from error


def write(workdir: Path, record: Record, state: State | None) -> None:
    """Keeps what a trial has come to; state: None if it cannot go on.

    Raises:
        RunError: it cannot be written.
    """
    with told(workdir), signals.held():
        for folder in (RESULTS, STATES):
            (workdir / folder).mkdir(exist_ok=True)
        if state is not None:
            # It need not reach the disk now: a checksum shows damage by a power cut, and then the trial starts over.
            with files.whole(_state_path(workdir, record.trial)) as partial:
                partial.write_bytes(_packed(record, state))
        files.write(_record_path(workdir, record.trial), json.dumps(dataclasses.asdict(record)))


def restore(workdir: Path, trial: int, shapes: State) -> tuple[Record, State] | None:
    """The state from which a trial continues; None if none of these shapes is intact: it then starts over."""
    try:
        return _unpacked(_state_path(workdir, trial).read_bytes(), shapes)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _packed(record: Record, state: State) -> bytes:
    """The sha256 of what follows, a line of JSON, and the bytes of the arrays one after the other.

    The record goes along, so that a state that is newer than the record's own file is still known.
    """
    arrays = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
    head = {"record": dataclasses.asdict(record), "arrays": [_kind(array) for array in arrays]}
    content = b"".join([json.dumps(head).encode(), b"\n", *(array.tobytes() for array in arrays)])
    return hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def _unpacked(packed: bytes, shapes: State) -> tuple[Record, State]:
    """The inverse of `_packed`; raises ValueError, KeyError or TypeError if it is damaged or of other shapes."""
    digest, _, content = packed.partition(b"\n")
    line, _, rest = content.partition(b"\n")
    if hashlib.sha256(content).hexdigest().encode() != digest:
        raise ValueError("damaged")
    head = json.loads(line)
    leaves, tree = jax.tree.flatten(shapes)
    if head["arrays"] != [_kind(leaf) for leaf in leaves]:
        raise ValueError("of another model")
    ends = np.cumsum([leaf.size * leaf.dtype.itemsize for leaf in leaves])
    parts = (rest[end - leaf.size * leaf.dtype.itemsize : end] for end, leaf in zip(ends, leaves, strict=True))
    found = [np.frombuffer(part, leaf.dtype).reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
    return Record(**head["record"]), jax.tree.unflatten(tree, found)


def _kind(array: Any) -> list:
    return [str(array.dtype), list(array.shape)]


def forget(workdir: Path, trials: list[int]) -> None:
    """Removes the states of trials that will not go on."""
    for trial in trials:
        with contextlib.suppress(OSError):
            _state_path(workdir, trial).unlink()


@contextlib.contextmanager
def told(workdir: Path) -> Iterator[None]:
    """What the system refuses becomes one line."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"workdir {workdir} cannot be written: {error.strerror}; check space and permissions there and "
            "start again: the search goes on with what is not finished"
        ) from error


def _record_path(workdir: Path, trial: int) -> Path:
    return workdir / RESULTS / f"{trial:05d}.json"


def _state_path(workdir: Path, trial: int) -> Path:
    return workdir / STATES / f"{trial:05d}.state"
