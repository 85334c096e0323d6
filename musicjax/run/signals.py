"""SIGINT, SIGTERM and SIGHUP end the program immediately, except during a save, which is finished first.

Nothing is raised and nothing is tidied up: where a library catches everything, an exception can be lost or abort the
process, and a run that is killed loses nothing that was saved. A second signal ends a save too.
Signals belong to the process, and so does what is known about them: the state of this module.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

from musicjax import console

# It comes when the terminal or the ssh session closes; Windows has none.
HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)
NUMBERS = (signal.SIGINT, signal.SIGTERM, *([] if HANGUP is None else [HANGUP]))
SHOW_CURSOR = "\x1b[?25h\n"  # which a progress bar hides
_holding = False
_received: int | None = None
_told = ""


def install(told: str = "") -> None:
    """From now on the signals end the program with status 128 + their number and one line, which ends in `told`.

    A program that `nohup` has started goes on when the session closes, as it should.
    """
    global _received, _told
    _received, _told = None, told
    for number in NUMBERS:
        if number == HANGUP and signal.getsignal(number) == signal.SIG_IGN:
            continue
        with contextlib.suppress(ValueError):  # a thread that is not the main one can set no handlers
            signal.signal(number, _receive)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """A signal that comes inside the block ends the program at the end of the block."""
    global _holding
    _holding = True
    try:
        yield
    finally:
        _holding = False
    if _received is not None:
        _end(_received)


def _receive(number: int, frame: object) -> None:
    global _received
    if _received is not None:
        os._exit(128 + number)
    _received = number
    if not _holding:
        _end(number)


def _end(number: int) -> None:
    line = f"musicjax: stopped by {signal.Signals(number).name}{_told}\n"
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
        os.write(2, (SHOW_CURSOR + line if console.is_terminal() else line).encode())
    # Not sys.exit: it would wait for the epoch that a device may be working on.
    os._exit(128 + number)
