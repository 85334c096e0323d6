"""Trains the trials of a search, as many as the ledger gives to this process, and keeps what they come to."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from musicjax import config as config_lib
from musicjax import console
from musicjax.config import Config
from musicjax.console import Show
from musicjax.encodings.encoding import Dataset
from musicjax.search import group as group_lib
from musicjax.search import results, space
from musicjax.search.claims import Ledger
from musicjax.search.group import Group, Loaded
from musicjax.search.progress import Standing
from musicjax.search.results import Record, State

# How many shapes keep their compiled programs in memory.
SHAPES_KEPT = 8
# How often the table is drawn while trials train, and how long to wait for trials of other processes.
REDRAWN_S, PAUSE_S = 0.5, 1.0
# Trials of about this many seconds in all are taken together, and each is kept as soon as it is done.
TAKEN_S = 5.0


class Data:
    """The data sets of a search, read once for each choice of the fields of config.data."""

    def __init__(self) -> None:
        self._sets: dict[str, Loaded] = {}

    def of(self, config: Config) -> Loaded:
        """The data of a config; raises RunError if there are none that can be used."""
        key = repr(config.data)
        if key not in self._sets:
            self._sets[key] = group_lib.load(config)
        return self._sets[key]


class Trainer:
    """One process's part in a search.

    Args:
        config: which the fields of the trials are set in.
        kept: for how many of the best trials the states are needed when all are done.
    """

    def __init__(self, config: Config, data: Data, standing: Standing, ledger: Ledger, workdir: Path, kept: int):
        self._config, self._data, self._standing = config, data, standing
        self._ledger, self._workdir, self._kept = ledger, workdir, kept
        self._groups: OrderedDict[tuple, Group] = OrderedDict()
        self._forgotten: set[int] = set()
        self._shown = 0.0  # when the table was drawn

    def climb(self, number: int, show: Show) -> None:
        """Returns once all trials of a rung, from 0, have come to its end, here or in other processes."""
        standing, trials, tenths = self._standing, self._standing.taking_part(number), 0
        while True:
            standing.refresh(trials, standing.rungs[number].epochs)
            self._forget(standing.outdone(number, trials, self._kept))
            left = standing.undecided(number, trials)
            done = len(trials) - len(left)
            told, line = standing.told(1 + self._ledger.others()), ""
            if 10 * done // len(trials) > tenths:
                tenths = 10 * done // len(trials)
                line = f"rung {number + 1} of {len(standing.rungs)}, {done} of {len(trials)} trials; {told}"
            show(standing.rows(), told, line)
            if not left:
                return
            free = self._ledger.free(number, left)
            if not free:
                time.sleep(PAUSE_S)
                continue
            group = self._group(free[0], trials)
            same = [trial for trial in free if self._shape(trial) == self._shape(free[0])]
            with self._ledger.taken(number, same[: self._share(number, group, len(same))]) as own:
                standing.refresh(own, standing.rungs[number].epochs)  # another process may have done them meanwhile
                self._train(group, standing.undecided(number, own), number, show)

    def trained(self, trial: int) -> tuple[Dataset, Record, State]:
        """(the data of a trial, its record, its state after the last epoch), trained anew if its state is gone."""
        record, group = self._standing.records[trial], self._group(trial, [trial])
        config = self._standing.search.config_of(trial, self._config)
        kept = results.restore(self._workdir, trial, group.shapes)
        if kept is None or kept[0].epochs < record.epochs:
            self._say_anew(trial)
            kept = group.train([config], [(Record(trial, record.fields), None)], record.epochs, lambda: None)[0]
        return group.data_of(config), *kept

    def _train(self, group: Group, trials: Sequence[int], number: int, show: Show) -> None:
        """Trains trials of one shape until the end of a rung and keeps what they come to."""
        standing, until = self._standing, self._standing.rungs[number].epochs
        for together in self._begun(group, trials):

            def tell(count: int = len(together)) -> None:
                standing.count_epoch(count)
                if time.monotonic() - self._shown > REDRAWN_S:
                    self._shown = time.monotonic()
                    show(standing.rows(), standing.told(1 + self._ledger.others()))

            configs = [standing.search.config_of(record.trial, self._config) for record, _ in together]
            for record, state in group.train(configs, together, until, tell):
                results.write(self._workdir, record, None if record.diverged else state)
                standing.records[record.trial] = record

    def _begun(self, group: Group, trials: Sequence[int]) -> list[list[tuple[Record, State | None]]]:
        """What trials go on from: in parts that are equally far, each as many as are trained side by side."""
        by_epoch: dict[int, list[tuple[Record, State | None]]] = {}
        for trial in trials:
            known = self._standing.records[trial]
            begin: tuple[Record, State | None] | None = results.restore(self._workdir, trial, group.shapes)
            if begin is None or begin[0].epochs < known.epochs:
                if known.epochs:
                    self._say_anew(trial)
                begin = Record(trial, known.fields), None
            by_epoch.setdefault(begin[0].epochs, []).append(begin)
        return [each[k : k + group.most] for each in by_epoch.values() for k in range(0, len(each), group.most)]

    def _share(self, number: int, group: Group, count: int) -> int:
        """How many of the trials to take together: those of some seconds, and never all while other processes work."""
        seconds = self._standing.seconds_per_epoch()
        if seconds is None:
            return group.most
        before = self._standing.rungs[number - 1].epochs if number else 0
        soon = int(TAKEN_S / (seconds * (self._standing.rungs[number].epochs - before)))
        return max(group.most, min(soon, count // (2 * (1 + self._ledger.others()))))

    def _shape(self, trial: int) -> tuple:
        return space.shape(self._standing.records[trial].fields)

    def _group(self, trial: int, trials: Sequence[int]) -> Group:
        """The programs for the shape of a trial; trials: of this rung, with others of its shape."""
        shape = self._shape(trial)
        if shape not in self._groups:
            config = config_lib.with_fields(self._config, {**dict(shape), "train.patience": 0})
            count = sum(self._shape(one) == shape for one in trials)
            self._groups[shape] = Group(config, self._data.of(config), self._standing.search.minimise, count)
            if len(self._groups) > SHAPES_KEPT:
                self._groups.popitem(last=False)
        self._groups.move_to_end(shape)
        return self._groups[shape]

    def _forget(self, trials: list[int]) -> None:
        results.forget(self._workdir, [trial for trial in trials if trial not in self._forgotten])
        self._forgotten |= set(trials)

    def _say_anew(self, trial: int) -> None:
        console.say("search", f"trial {trial} starts over: its state is damaged or gone")
