"""What several processes, on one machine or on several, do of a search: a journal in the workdir that they share.

The only importer of Optuna. Its journal puts what all of them write into one order. A process takes trials by a line
that names them; if two lines name the same trial, the first one of a process that still works counts. So a trial is
taken over as soon as its process is gone. What the trials gave is in their own files (`results`): the journal may be
lost.

When the search has ended, the journal also holds all of its trials as the study "search", for Optuna's own tools.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState, create_trial

from musicjax.errors import RunError
from musicjax.search.halving import Rung
from musicjax.search.results import Record
from musicjax.search.space import Range, Search
from musicjax.search.workers import Workers

NAME = "journal.log"
# The studies in it: who trains what, and at the end the trials themselves.
WORK, SEARCH = "work", "search"
# A lock of the journal older than this was left by a process that was killed while it wrote a line.
LOCKED_S = 10


class Journal:
    """The journal of a workdir, which this process shares with others."""

    def __init__(self, workdir: Path, workers: Workers):
        self._path, self._workers = workdir / NAME, workers
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        path = str(self._path.absolute())
        with self._told():
            backend = JournalFileBackend(path, JournalFileOpenLock(path, grace_period=LOCKED_S))
            self._storage = optuna.storages.JournalStorage(backend)
            self._work = optuna.create_study(storage=self._storage, study_name=WORK, load_if_exists=True)

    def free(self, rung: int, trials: Sequence[int]) -> list[int]:
        """Those of the trials that no other process trains in this rung."""
        with self._told():
            taken = {one for claim in self._claims() if self._is_of(claim, rung) for one in claim.user_attrs["trials"]}
        return [trial for trial in trials if trial not in taken]

    @contextlib.contextmanager
    def taken(self, rung: int, trials: Sequence[int]) -> Iterator[list[int]]:
        """Takes trials for this process; yields those that are its own, fewer if another process was faster."""
        with self._told():
            told = {"worker": self._workers.own, "rung": rung, "trials": list(trials)}
            self._work.add_trial(create_trial(state=TrialState.RUNNING, user_attrs=told))
            claims = [claim for claim in self._claims() if self._is_of(claim, rung)]
            # None: this process was still for so long that another one took it for gone, and ended its claim.
            own = max((one.number for one in claims if one.user_attrs["worker"] == self._workers.own), default=None)
            before = [claim for claim in claims if own is None or claim.number < own]
            earlier = {trial for claim in before for trial in claim.user_attrs["trials"]}
        try:
            yield [] if own is None else [trial for trial in trials if trial not in earlier]
        finally:
            if own is not None:
                with self._told():
                    self._end(own)

    def others(self) -> int:
        """How many other processes work on the search."""
        return self._workers.others()

    def publish(self, search: Search, rungs: Sequence[Rung], records: Mapping[int, Record]) -> None:
        """Adds the trials of a search that has ended, for Optuna's own tools."""
        with self._told(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna's, of values that it would rather have written otherwise
            names = optuna.get_all_study_names(storage=self._storage)
            study = optuna.create_study(storage=self._storage, study_name=SEARCH, load_if_exists=True)
            if SEARCH in names and len(study.get_trials(deepcopy=False)) == search.trials:
                return
            if SEARCH in names:
                optuna.delete_study(study_name=SEARCH, storage=self._storage)
                study = optuna.create_study(storage=self._storage, study_name=SEARCH)
            distributions = {path: _distribution(where) for path, where in search.fields.items()}
            for trial in sorted(records):
                study.add_trial(_as_trial(records[trial], search, rungs[-1].epochs, distributions))

    def _claims(self) -> list[FrozenTrial]:
        """What processes that still work have taken; the lines of others are ended."""
        running = self._work.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        alive = {name: self._workers.is_alive(name) for name in {claim.user_attrs["worker"] for claim in running}}
        for claim in running:
            if not alive[claim.user_attrs["worker"]]:
                self._end(claim.number)
        return [claim for claim in running if alive[claim.user_attrs["worker"]]]

    def _is_of(self, claim: FrozenTrial, rung: int) -> bool:
        return claim.user_attrs["rung"] == rung

    def _end(self, number: int) -> None:
        """Ends a line, whether or not its trials are done: their own files tell."""
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):  # another process ended it
            self._work.tell(number, state=TrialState.PRUNED, skip_if_finished=True)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What is wrong with the file becomes one line."""
        try:
            yield
        except (OSError, ValueError, KeyError, AssertionError) as error:
            reason = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            raise RunError(
                f"journal {self._path} cannot be read or written: {reason}; end all processes of this search, remove "
                "the file and start again: finished trials are not lost"
            ) from error


def _distribution(where: object) -> BaseDistribution:
    if not isinstance(where, Range):
        return CategoricalDistribution(where.values)  # type: ignore[attr-defined]
    if where.is_whole:
        return IntDistribution(int(where.low), int(where.high), log=where.is_log)
    return FloatDistribution(where.low, where.high, log=where.is_log)


def _as_trial(record: Record, search: Search, epochs: int, distributions: dict[str, BaseDistribution]) -> FrozenTrial:
    """A trial in Optuna's terms: complete if it was trained to the end, pruned if others were better."""
    lowest = record.lowest(search.minimise, epochs)
    full = record.epochs >= epochs and not record.diverged
    state = TrialState.COMPLETE if full else TrialState.FAIL if record.diverged else TrialState.PRUNED
    return create_trial(
        params=record.fields,
        distributions=distributions,
        value=lowest if full else None,
        state=state,
        intermediate_values={epoch: line[search.minimise] for epoch, line in enumerate(record.valid, 1)},
        user_attrs={"trial": record.trial},
    )
