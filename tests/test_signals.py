"""Signals: the first ends what runs, but not a save; the second ends the process there and then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
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


def test_a_signal_that_python_dropped_ends_the_run_at_the_next_save():
    class Dropping:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(1000):  # the handler runs between two instructions
                pass

    unraisable, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        Dropping()  # what is raised while an object is freed goes nowhere
    finally:
        sys.unraisablehook = unraisable
    with pytest.raises(signals.Stopped), signals.held():
        pytest.fail("a new save began")


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
