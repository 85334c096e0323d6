"""Signals: they end the program there and then, wherever it is, but let a save be finished once."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading

import pytest

from musicjax.run import signals

# What the program is at when the signal comes, and what must not happen.
PROGRAM = """
import os, signal, sys, time
from musicjax.run import signals

def send(number):
    os.kill(os.getpid(), number)
    for _ in range(1000):  # the handler runs between two instructions
        pass

number = signal.Signals[sys.argv[1]]
signal.signal(signal.SIGHUP, signal.{at_first})  # whatever these tests themselves were started by
signals.install("; and so on")
{body}
print("went on", flush=True)
time.sleep(30)
"""
BODIES = {
    "anything": "send(number)",
    "a library that catches everything": """
try:
    send(number)
except BaseException:
    pass
""",
    "an object being freed": """
class Freed:
    def __del__(self):
        send(number)
Freed()
""",
    "after a save": """
with signals.held():
    pass
send(number)
""",
}


def ended(body: str, number: signal.Signals, at_first: str = "SIG_DFL") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("{at_first}", at_first).replace("{body}", body), number.name],
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
    )


@pytest.mark.parametrize("number", signals.NUMBERS)
@pytest.mark.parametrize("where", BODIES)
def test_a_signal_ends_the_program_where_it_is(where, number):
    done = ended(BODIES[where], number)
    assert done.returncode == 128 + number, done.stderr
    assert (done.stdout, done.stderr) == ("", f"musicjax: stopped by {number.name}; and so on\n")


def test_a_save_is_finished_first():
    done = ended("with signals.held():\n    send(number)\n    print('saved', flush=True)", signal.SIGTERM)
    assert done.returncode == 143
    assert (done.stdout, done.stderr) == ("saved\n", "musicjax: stopped by SIGTERM; and so on\n")


def test_a_second_signal_ends_a_save_too():
    done = ended("with signals.held():\n    send(number)\n    send(signal.SIGTERM)\n    time.sleep(30)", signal.SIGINT)
    assert done.returncode == 143
    assert (done.stdout, done.stderr) == ("", "")


def test_nohup_keeps_a_program_going_when_its_session_closes():
    body = "send(signal.SIGHUP)\nprint('goes on', flush=True)\nsend(number)"
    done = ended(body, signal.SIGTERM, "SIG_IGN")
    assert (done.returncode, done.stdout) == (143, "goes on\n")


def test_a_terminal_that_is_gone_takes_no_line_and_the_status_stays():
    controller, terminal = pty.openpty()
    program = PROGRAM.replace("{at_first}", "SIG_DFL").replace("{body}", "sys.stdin.read(1)\nsend(number)")
    command = [sys.executable, "-c", program, "SIGHUP"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=terminal)
    os.close(terminal)
    os.close(controller)
    process.communicate(b"x", timeout=25)
    assert process.returncode == 128 + signal.SIGHUP


def test_a_command_runs_in_a_thread_too_which_can_set_no_handlers():
    before = [signal.getsignal(number) for number in signals.NUMBERS]
    failed: list[BaseException] = []

    def install() -> None:
        try:
            signals.install()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=install)
    thread.start()
    thread.join()
    assert not failed
    assert [signal.getsignal(number) for number in signals.NUMBERS] == before
