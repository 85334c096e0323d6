"""Who trains what: this process alone, or several through a journal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from musicjax import console
from musicjax.errors import RunError
from musicjax.search.halving import Rung
from musicjax.search.results import Record
from musicjax.search.space import Search
from musicjax.search.workers import Workers
from musicjax.store import lock

EXTRA = "pip install 'musicjax[search]'"
# The file of `journal`, a module that cannot be imported without Optuna.
JOURNAL = "journal.log"
# How long other processes may take to join.
PATIENCE_S = 10.0


class Ledger(Protocol):
    """What `Alone` and `journal.Journal` have in common; the latter says what each does."""

    def free(self, rung: int, trials: Sequence[int]) -> list[int]: ...
    def taken(self, rung: int, trials: Sequence[int]) -> AbstractContextManager[list[int]]: ...
    def others(self) -> int: ...
    def publish(self, search: Search, rungs: Sequence[Rung], records: Mapping[int, Record]) -> None: ...


class Alone:
    """One process, which needs nobody's leave."""

    def free(self, rung: int, trials: Sequence[int]) -> list[int]:
        """All of them."""
        return list(trials)

    @contextlib.contextmanager
    def taken(self, rung: int, trials: Sequence[int]) -> Iterator[list[int]]:
        """All of them."""
        yield list(trials)

    def others(self) -> int:
        """None."""
        return 0

    def publish(self, search: Search, rungs: Sequence[Rung], records: Mapping[int, Record]) -> None:
        """Nothing."""


def opened(workdir: Path, held: contextlib.ExitStack, settle: Callable[[], None]) -> Ledger:
    """The ledger of a workdir, as long as `held` is open: a journal where Optuna is installed.

    Args:
        settle: called before, while no other process can open it.

    Raises:
        RunError: something else trains in the workdir, or this process would have to share it without Optuna.
    """
    try:
        from musicjax.search import journal
    except ImportError:
        return _alone(workdir, held, settle)
    workers = Workers(workdir)
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            with lock.held(workdir):  # where a process works alone, it holds the workdir until its end
                settle()
                held.enter_context(workers.present())
                return journal.Journal(workdir, workers)
        except lock.Taken:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def _alone(workdir: Path, held: contextlib.ExitStack, settle: Callable[[], None]) -> Ledger:
    try:
        held.enter_context(lock.held(workdir))
    except lock.Taken as error:
        raise RunError(f"{error}; processes share a search only where Optuna is installed: {EXTRA}") from error
    if (workdir / JOURNAL).exists():
        raise RunError(
            f"search {workdir} has a journal, which processes share through Optuna, and Optuna is not installed here: "
            f"{EXTRA}; or, if no other process works on it, remove {workdir / JOURNAL}"
        )
    settle()
    console.say("search", f"runs in this process alone; several can share it with Optuna installed: {EXTRA}")
    return Alone()
