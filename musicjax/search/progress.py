"""How a search stands: which trials take part in which rung, what they have come to, and how much is left."""

from __future__ import annotations

import itertools
import math
import time
from pathlib import Path
from typing import NoReturn

from musicjax import console
from musicjax.errors import RunError
from musicjax.search import halving, results, space
from musicjax.search.results import Record, Version
from musicjax.search.space import Search

HEADER = ("rung", "epochs", "trials", "done", "lowest")


class Standing:
    """What is known of the trials of a search, read from the workdir as other processes add to it.

    Attributes:
        records: of every trial, by its number.
    """

    def __init__(self, search: Search, workdir: Path):
        self.search, self._workdir = search, workdir
        self.rungs = halving.rungs(search.trials, search.epochs, search.halving, search.rungs)
        self.records = {trial: Record(trial, search.drawn(trial)) for trial in range(search.trials)}
        self._versions: dict[int, Version] = {}  # of the files that the records were read from
        self._began, self._trained = time.monotonic(), 0  # of this process: when, and epochs since
        self.refresh(list(self.records), search.epochs)

    def refresh(self, trials: list[int], epochs: int) -> None:
        """Reads the records that changed, of those trials that are not known to have come so far."""
        for trial in trials:
            if not self.records[trial].is_done(epochs):
                found = results.read(self._workdir, trial, self._versions.get(trial))
                if found is not None:
                    self.records[trial], self._versions[trial] = found

    def taking_part(self, number: int) -> list[int]:
        """The trials of a rung, from 0, whose predecessor is done; those of one shape stand together.

        Raises:
            RunError: none is left.
        """
        trials = list(self.records)
        for rung, after in itertools.pairwise(self.rungs[: number + 1]):
            trials = halving.best(self._losses(trials, rung.epochs), after.trials)
        if not trials:
            self._none_left()
        return sorted(trials, key=lambda trial: (str(space.shape(self.records[trial].fields)), trial))

    def undecided(self, number: int, trials: list[int]) -> list[int]:
        """Those of a rung's trials that have not come to its end."""
        return [trial for trial in trials if not self.records[trial].is_done(self.rungs[number].epochs)]

    def outdone(self, number: int, trials: list[int], kept: int) -> list[int]:
        """Those that are done with a rung and will not go on; kept: how many go on after the last one."""
        rung = self.rungs[number]
        most = self.rungs[number + 1].trials if number + 1 < len(self.rungs) else kept
        done = [trial for trial in trials if self.records[trial].is_done(rung.epochs)]
        return halving.outdone(self._losses(done, rung.epochs), most)

    def ranked(self) -> list[int]:
        """The trials that were trained to the end, the best first; raises RunError if there is none."""
        losses = self._losses(list(self.records), self.search.epochs)
        full = {trial: loss for trial, loss in losses.items() if self.records[trial].epochs >= self.search.epochs}
        return halving.best(full, len(full)) or self._none_left()

    def lowest(self, trial: int) -> float:
        """The lowest value of what is minimised that a trial has come to."""
        return self.records[trial].lowest(self.search.minimise, self.search.epochs)

    def leader(self) -> int | None:
        """The trial with the lowest value so far; None if there is none."""
        return next(iter(halving.best(self._losses(list(self.records), self.search.epochs), 1)), None)

    def rung_of(self, trial: int) -> int:
        """How many rungs a trial has come through."""
        return sum(self.records[trial].epochs >= rung.epochs for rung in self.rungs)

    def count_epoch(self, trials: int) -> None:
        """Tells that this process has trained `trials` trials for one more epoch."""
        self._trained += trials

    def rows(self) -> list[tuple]:
        """A row for each rung, see HEADER."""
        rows, before = [], 0
        for number, rung in enumerate(self.rungs, 1):
            reached = [trial for trial, record in self.records.items() if record.epochs >= rung.epochs]
            diverged = sum(before < record.diverged <= rung.epochs for record in self.records.values())
            low = min(self._losses(reached, rung.epochs).values(), default=math.inf)
            shown = f"{low:.5f}" if math.isfinite(low) else ""
            rows.append((f"{number} of {len(self.rungs)}", rung.epochs, rung.trials, len(reached) + diverged, shown))
            before = rung.epochs
        return rows

    def told(self, processes: int) -> str:
        """The best so far with its fields, and the time left."""
        leader = self.leader()
        best = "no trial is done"
        if leader is not None:
            best = f"{self.search.minimise} {self.lowest(leader):.5f}, trial {leader}: "
            best += space.text(self.records[leader].fields)
        seconds = self.seconds_left(processes)
        return best if seconds is None else f"{best}; {console.duration(seconds)} left"

    def seconds_per_epoch(self) -> float | None:
        """What an epoch of a trial takes this process; None if it has trained none yet."""
        return (time.monotonic() - self._began) / self._trained if self._trained else None

    def seconds_left(self, processes: int) -> float | None:
        """About how long `processes` processes still take; None if this one has trained nothing yet."""
        seconds = self.seconds_per_epoch()
        left = halving.total_epochs(self.rungs) - sum(record.epochs for record in self.records.values())
        return None if seconds is None else max(left, 0) * seconds / processes

    def _none_left(self) -> NoReturn:
        raise RunError(
            f"search {self._workdir}: the losses of all trials are not finite; search lower learning rates, in another "
            "--workdir"
        )

    def _losses(self, trials: list[int], epochs: int) -> dict[int, float]:
        return {trial: self.records[trial].lowest(self.search.minimise, epochs) for trial in trials}
