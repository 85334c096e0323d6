"""One training in a workdir at a time; a lock goes with the process that holds it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from musicjax.errors import RunError
from musicjax.main import main
from musicjax.store import lock
from tests import tiny_runs

HOLDER = """
import sys, time
from pathlib import Path
from musicjax.store import lock
with lock.held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen]:
    """Another process that holds the workdir `w`."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "w")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_refused_and_told_who_is_there(holder, tmp_path):
    with pytest.raises(RunError) as told, lock.held(tmp_path / "w"):
        pass
    for words in (str(tmp_path / "w"), f"process {holder.pid} on {socket.gethostname()}", "another --workdir"):
        assert words in str(told.value)
    assert holder.poll() is None
    with lock.held(tmp_path / "other"):
        pass


def test_a_second_training_is_refused_in_one_line(holder, clips, tmp_path, capsys, own_signal_handlers):
    assert main(tiny_runs.flags(tmp_path / "w", clips)) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"musicjax: workdir {tmp_path / 'w'} is in use: process {holder.pid} on ")
    assert err.count("\n") == 1
    assert [path.name for path in (tmp_path / "w").iterdir()] == [lock.NAME]


def test_a_lock_of_a_killed_process_does_not_stay(holder, tmp_path):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "w" / lock.NAME).read_text().startswith(f"process {holder.pid} ")
    with lock.held(tmp_path / "w"):
        assert (tmp_path / "w" / lock.NAME).read_text().startswith(f"process {os.getpid()} ")


def test_nothing_is_left_of_a_lock_and_of_a_workdir_in_which_nothing_was_written(tmp_path):
    with lock.held(tmp_path / "w"):
        pass
    with lock.held(tmp_path / "v"):
        (tmp_path / "v" / "a").write_text("")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "v"]


def test_a_lock_whose_file_was_removed_meanwhile_is_not_believed(tmp_path, monkeypatch):
    """Between opening and locking, the holder before us removed the file: the lock would be on no name."""
    take, opened = lock._lock, []

    def late(handle: int, path: Path) -> None:
        if not opened:
            path.unlink()
        opened.append(handle)
        take(handle, path)

    monkeypatch.setattr(lock, "_lock", late)
    with lock.held(tmp_path / "w"):
        assert len(opened) == 2
        with pytest.raises(RunError, match="is in use"), lock.held(tmp_path / "w"):
            pass


@pytest.mark.parametrize(("said", "told"), [("process 7 on there\n", "process 7 on there"), ("", "another process")])
def test_one_who_has_just_taken_the_lock_is_given_a_moment_to_say_who_it_is(tmp_path, monkeypatch, said, told):
    monkeypatch.setattr(lock, "PATIENCE_S", 0.5)
    path = tmp_path / lock.NAME
    path.touch()
    with path.open() as taken:
        lock._lock(taken.fileno(), path)
        late = threading.Timer(0.1, lambda: path.write_text(said))
        late.start()
        with pytest.raises(RunError, match=f"{told} trains in it"), lock.held(tmp_path):
            pass
        late.join()


def test_a_lock_is_not_written_through_a_link(tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "w" / lock.NAME).symlink_to(tmp_path / "mine")
    with pytest.raises(RunError, match="cannot be written"), lock.held(tmp_path / "w"):
        pass
    assert (tmp_path / "mine").read_text() == "precious"


def test_what_a_lock_file_says_cannot_write_on_the_terminal(holder, tmp_path):
    (tmp_path / "w" / lock.NAME).write_text("\x1b[31m\nred")
    with pytest.raises(RunError) as told, lock.held(tmp_path / "w"):
        pass
    assert "\x1b" not in str(told.value)


def test_without_locks_that_is_said_and_the_file_is_closed_before_it_is_removed(tmp_path, monkeypatch, capsys):
    """As on Windows, which has no flock and removes no open file."""
    monkeypatch.setattr(lock, "fcntl", None)
    unlink, opened = Path.unlink, []

    def as_on_windows(path: Path, missing_ok: bool = False) -> None:
        try:
            os.fstat(opened[-1])
        except OSError:  # it is closed
            unlink(path, missing_ok)
        else:
            raise PermissionError(13, "in use", str(path))

    take = lock._taken
    monkeypatch.setattr(lock, "_taken", lambda path: opened.append(take(path)) or opened[-1])
    monkeypatch.setattr(Path, "unlink", as_on_windows)
    with lock.held(tmp_path / "w"):
        assert (tmp_path / "w" / lock.NAME).read_text().startswith(f"process {os.getpid()} ")
    assert "cannot be locked on this system" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


def test_many_read_a_folder_at_once_and_nobody_removes_it_meanwhile(tmp_path):
    with lock.reading(tmp_path), lock.reading(tmp_path), lock.removing(tmp_path) as nobody:
        assert not nobody
    with lock.removing(tmp_path) as nobody:
        assert nobody


def test_a_folder_that_is_gone_is_told_as_gone(tmp_path):
    with pytest.raises(lock.Gone), lock.reading(tmp_path / "absent"):
        pass
