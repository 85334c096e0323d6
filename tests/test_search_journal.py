"""The journal of a search: no two processes train one trial, and what a killed one had taken is free at once."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from musicjax.errors import RunError
from musicjax.search import workers as workers_lib
from musicjax.search.halving import Rung
from musicjax.search.results import Record
from musicjax.search.space import Choice, Range, Search
from musicjax.search.workers import Workers

optuna = pytest.importorskip("optuna")
from musicjax.search import journal as journal_lib  # noqa: E402
from musicjax.search.journal import Journal  # noqa: E402

HOLDER = """
import sys, time
from pathlib import Path
from musicjax.search.journal import Journal
from musicjax.search.workers import Workers
workers = Workers(Path(sys.argv[1]))
with workers.present(), Journal(Path(sys.argv[1]), workers).taken(0, [1, 2]) as own:
    print(own, flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def joined(workdir: Path) -> Iterator[Journal]:
    """The journal as one more process sees it."""
    workers = Workers(workdir)
    with workers.present():
        yield Journal(workdir, workers)


def test_a_trial_is_taken_once_in_a_rung_until_it_is_given_back(tmp_path):
    with joined(tmp_path) as one, joined(tmp_path) as other:
        assert one.others() == other.others() == 1
        with one.taken(0, [1, 2]) as own:
            assert own == [1, 2]
            assert other.free(0, [0, 1, 2, 3]) == [0, 3] == one.free(0, [0, 1, 2, 3])
            assert other.free(1, [1, 2]) == [1, 2], "another rung"
            with other.taken(0, [2, 3]) as fewer:  # as if it had looked before the first took them
                assert fewer == [3]
            assert other.free(0, [1, 2, 3]) == [3]
        assert other.free(0, [1, 2, 3]) == [1, 2, 3]


def test_a_trial_whose_training_fails_is_given_back(tmp_path):
    with joined(tmp_path) as one, joined(tmp_path) as other:
        with pytest.raises(KeyError), one.taken(0, [1]):
            raise KeyError
        assert other.free(0, [1]) == [1]


def test_many_threads_never_have_the_same_trial(tmp_path):
    """Each thread is a process of its own to the journal."""
    done: list[int] = []
    clashes: list[int] = []
    under_way: set[int] = set()

    def work(number: int) -> None:
        draw = random.Random(number)
        with joined(tmp_path) as journal:
            while free := journal.free(0, [trial for trial in range(12) if trial not in done]):
                with journal.taken(0, draw.sample(free, min(2, len(free)))) as own:
                    for trial in own:
                        clashes.extend([trial] * (trial in under_way))
                        under_way.add(trial)
                    time.sleep(0.002)
                    for trial in own:
                        under_way.discard(trial)
                        done.append(trial)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not clashes and set(done) == set(range(12))


def test_what_a_killed_process_had_taken_is_free_at_once(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "[1, 2]\n"
    with joined(tmp_path) as journal:
        assert journal.others() == 1 and journal.free(0, [0, 1, 2]) == [0]
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert journal.free(0, [0, 1, 2]) == [0, 1, 2] and journal.others() == 0
        with joined(tmp_path):
            assert len(list((tmp_path / workers_lib.FOLDER).iterdir())) == 2, "its file is removed"
        with journal.taken(0, [1]) as own:
            assert own == [1]


def test_a_process_on_another_machine_is_gone_when_its_file_is_no_longer_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(workers_lib, "SILENT_S", 0.2)
    workers = Workers(tmp_path)
    with workers.present():
        name = "elsewhere-1-abcd"
        path = tmp_path / workers_lib.FOLDER / name
        path.touch()
        assert workers.is_alive(name) and workers.others() == 1
        for beat in range(3):
            time.sleep(0.12)
            os.utime(path, (beat, beat))  # its clock says something else altogether
            assert workers.is_alive(name)
        time.sleep(0.25)
        assert not workers.is_alive(name) and workers.others() == 0
        os.utime(path)
        assert workers.is_alive(name), "it was only slow"
        assert not workers.is_alive(f"{socket.gethostname()}-1-abcd"), "here no file says that it is there"
        assert [one.name for one in path.parent.iterdir() if one != path] == [workers.own]
    assert list(path.parent.iterdir()) == [path]


def test_a_process_that_ends_as_it_is_looked_at_is_gone(tmp_path, monkeypatch):
    workers, name = Workers(tmp_path), f"{socket.gethostname()}-1-abcd"
    with workers.present():
        (tmp_path / workers_lib.FOLDER / name).touch()
        touched = workers_lib._touched

        def ends(path):
            found = touched(path)
            path.unlink()
            return found

        monkeypatch.setattr(workers_lib, "_touched", ends)
        assert not workers.is_alive(name)


def test_a_process_touches_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(workers_lib, "BEAT_S", 0.02)
    workers = Workers(tmp_path)
    with workers.present():
        path = tmp_path / workers_lib.FOLDER / workers.own
        before = path.stat().st_mtime_ns
        until = time.monotonic() + 5
        while path.stat().st_mtime_ns == before and time.monotonic() < until:
            time.sleep(0.01)
        assert path.stat().st_mtime_ns > before


def test_a_damaged_journal_is_one_line_that_says_what_to_do(tmp_path):
    with joined(tmp_path):
        pass
    with (tmp_path / journal_lib.NAME).open("ab") as file:
        file.write(b'{"op_code":4,"worker\n{}\n')
    message = "cannot be read or written: .*; end all processes of this search, remove the file"
    with pytest.raises(RunError, match=message), joined(tmp_path):
        pass


def test_a_lock_that_a_killed_process_left_is_broken(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_lib, "LOCKED_S", 3)
    with joined(tmp_path) as journal:
        (tmp_path / f"{journal_lib.NAME}.lock").touch()
        began = time.monotonic()
        monkeypatch.setattr(journal_lib.optuna.storages.journal._file.time, "sleep", lambda seconds: None)
        journal._storage._backend._lock.grace_period = 0.1
        with journal.taken(0, [1]) as own:
            assert own == [1] and time.monotonic() - began < 5


def test_a_search_that_has_ended_is_a_study_that_optunas_own_tools_read(tmp_path):
    fields = {"train.learning_rate": Range(1e-5, 1e-2, True, False), "model.units": Choice((64, 128))}
    search = Search({**fields, "data.window": Range(8, 32, False, True)}, 3, 4)
    records = {
        trial: Record(trial, search.drawn(trial), [{"loss": 1.0}] * epochs, [{"loss": 1.0 / (trial + 1)}] * epochs)
        for trial, epochs in enumerate((4, 2, 1))
    }
    records[2].diverged = 2
    with joined(tmp_path) as journal:
        for _ in range(2):
            journal.publish(search, [Rung(3, 2), Rung(1, 4)], records)
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / journal_lib.NAME))
    )
    study = optuna.load_study(study_name=journal_lib.SEARCH, storage=storage)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED", "FAIL"]
    assert study.best_trial.params == records[0].fields and study.best_value == 1.0
    assert study.trials[1].intermediate_values == {1: 0.5, 2: 0.5}
