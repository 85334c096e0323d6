"""Signals: the first ends what runs, but not a save; the second ends the process there and then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from musicjax.run import signals


@pytest.fixture(autouse=True)
def _own_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in signals.NUMBERS}
    signals.install()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    signals.settle()
    signals._received = None


@pytest.mark.parametrize("number", signals.NUMBERS)
def test_a_signal_interrupts_what_runs(number):
    with pytest.raises(signals.Stopped) as stopped:
        os.kill(os.getpid(), number)
        pytest.fail("went on")
    assert stopped.value.number == number


def test_a_save_is_finished_first():
    done = []
    with pytest.raises(signals.Stopped), signals.held():
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("saved")
    assert done == ["saved"]


class Dropping:
    """What is raised while an object is freed goes nowhere."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000):  # the handler runs between two instructions
            pass


@pytest.fixture
def dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal has come and what it raised was lost."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    Dropping()


def test_what_python_dropped_is_raised_again(dropped):
    started = time.monotonic()
    with pytest.raises(signals.Stopped):
        time.sleep(20)
    assert time.monotonic() - started < 10


def test_what_python_dropped_ends_the_run_before_the_next_save(dropped):
    with pytest.raises(signals.Stopped), signals.held():
        pytest.fail("a new save began")


def test_a_save_is_finished_however_often_it_is_raised_again(monkeypatch):
    monkeypatch.setattr(signals, "AGAIN_SECONDS", 0.01)
    done = []
    with pytest.raises(signals.Stopped), signals.held():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
        done.append("saved")
    assert done == ["saved"]


SECOND = """
import os, signal, sys, time
from musicjax.run import signals
signals.install()
try:
    if sys.argv[1] == "held":
        with signals.held():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(30)
except signals.Stopped:  # it tidies up, and that takes long
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)
"""


@pytest.mark.parametrize("where", ["held", "tidying"])
def test_a_second_signal_leaves_at_once(where):
    done = subprocess.run([sys.executable, "-c", SECOND, where], timeout=20, capture_output=True, check=False)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
