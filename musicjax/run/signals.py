"""SIGINT and SIGTERM: they end the program there and then, except in a save, which is finished first.

Nothing is raised and nothing tidied up: an exception can be lost, or abort the process, where a library catches
everything, and a run that is killed loses nothing anyway. A second signal ends a save too.
Signals belong to the process, so what is known about them does too: the state of this module.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

NUMBERS = (signal.SIGINT, signal.SIGTERM)
SHOW_CURSOR = "\x1b[?25h\n"  # which a progress bar hides
_holding = False
_received: int | None = None
_told = ""


def install(told: str = "") -> None:
    """From now on the signals end the program with 128 + their number and one line, which `told` ends."""
    global _received, _told
    _received, _told = None, told
    for number in NUMBERS:
        signal.signal(number, _receive)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """A signal that comes inside ends the program at the end of it."""
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
        os.write(2, (SHOW_CURSOR + line if sys.stderr.isatty() else line).encode())
    # Not sys.exit: the device may be at work on an epoch, and leaving would wait for its end.
    os._exit(128 + number)
