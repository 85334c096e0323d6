"""The visible loop of a search: rung after rung, trials are trained, and the best of them go on.

Everything that is decided follows from the records on disk. So a search that is killed goes on where it was, and ends
the same however many processes work on it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from musicjax import console, jax_environment
from musicjax.config import Config
from musicjax.errors import UsageError
from musicjax.run import workdir as workdir_lib
from musicjax.search import beginning, outcome, space
from musicjax.search import claims as ledger_lib
from musicjax.search.claims import Ledger
from musicjax.search.progress import HEADER, Standing
from musicjax.search.space import Search
from musicjax.search.trainer import PAUSE_S, Data, Trainer

# From this many compiled programs on, a line says how to have fewer.
MANY_PROGRAMS = 12


def search(path: Path, config: Config, workdir: Path, given: Collection[str] = ()) -> dict[str, Any]:
    """Searches as a file asks, or goes on with the search in the workdir; returns its summary.

    Args:
        config: which the fields that are searched are set in.
        given: paths of the fields that the command sets.

    Raises:
        UsageError: the file has mistakes, of which all but the last are printed, or the workdir holds something else.
        RunError: no usable data, no trial whose losses are finite, or files that cannot be read or written.
    """
    asked = _read(path, config, given)
    jax_environment.require(jax_environment.TRAINING_KIB)
    workdir_lib.require_folder(workdir)
    config = beginning.as_it_began(asked, config, workdir)
    beginning.require_divisible(asked, config)
    with contextlib.ExitStack() as held:
        # 1. What the trials learn from, and who else works on them.
        console.say("search", f"{console.counted(asked.trials, 'trial')} of config {config.name}, workdir {workdir}")
        data = Data()
        dataset = data.of(asked.config_of(0, config)).dataset
        config = beginning.with_precision(asked, config)

        def settle() -> None:
            nonlocal config
            config = beginning.settled(asked, config, dataset, workdir)

        ledger = ledger_lib.opened(workdir, held, settle)
        standing = Standing(asked, workdir)
        _say_plan(standing, config)

        # 2. Rung after rung.
        trainer = Trainer(config, data, standing, ledger, workdir, outcome.SHOWN)
        with console.live_table("search", HEADER) as show:
            for number in range(len(standing.rungs)):
                trainer.climb(number, show)

        # 3. What follows from the trials: one process writes it.
        _write_once(standing, config, trainer, ledger, workdir)
        return outcome.summary(standing, workdir)


def _read(path: Path, config: Config, given: Collection[str]) -> Search:
    """What the file asks for; raises UsageError for its last mistake and prints the others."""
    if config.train.trials > 1:
        raise UsageError(
            f"config.train.trials={config.train.trials} with --search, which has trials of its own: expected 1"
        )
    if config.train.shard_parameters:
        raise UsageError(
            "config.train.shard_parameters=True with --search: the parameters of several trials cannot be sharded; "
            "expected False"
        )
    asked, wrong = space.read(path, config, given)
    if asked is None:
        for line in wrong[:-1]:
            console.complain(line)
        raise UsageError(wrong[-1])
    return asked


def _say_plan(standing: Standing, config: Config) -> None:
    """Which rungs there are, and how many programs are compiled."""
    programs = len({space.shape(record.fields) for record in standing.records.values()})
    rungs = ", then ".join(f"{rung.trials} until epoch {rung.epochs}" for rung in standing.rungs)
    console.say("rungs", f"{rungs}; {console.counted(programs, 'program')} to compile")
    if config.train.patience:
        console.say("rungs", f"config.train.patience={config.train.patience} has no effect; the rungs decide")
    if programs >= MANY_PROGRAMS:
        paths = [path for path in standing.search.fields if path not in space.SHARED]
        console.say(
            "rungs",
            f"one serves all values of {' and '.join(space.SHARED)}; fewer values of {' and '.join(paths)} need fewer",
        )


def _write_once(standing: Standing, config: Config, trainer: Trainer, ledger: Ledger, workdir: Path) -> None:
    """Returns once what follows from the trials is there, written here or by another process."""
    after = len(standing.rungs)
    while not outcome.exists(workdir):
        if not ledger.free(after, [0]):
            time.sleep(PAUSE_S)
            continue
        with ledger.taken(after, [0]) as own:
            if own and not outcome.exists(workdir):
                ledger.publish(standing.search, standing.rungs, standing.records)
                outcome.write(standing, config, trainer.trained, workdir)
