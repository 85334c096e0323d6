"""SIGINT and SIGTERM: they interrupt what runs, except a save, which is finished first; a second one ends at once.

Signals belong to the process, so what is known about them does too: the state of this module.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

NUMBERS = (signal.SIGINT, signal.SIGTERM)
# What is raised may be lost: where Python frees an object, or in a library that catches everything. So it is raised
# again this often until the program ends.
AGAIN_SECONDS = 0.5
_holding = False
_received: int | None = None


class Stopped(BaseException):
    """Raised where the program was when the signal came; `number` is the signal's."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


def install() -> None:
    """From now on the first of the signals raises Stopped in the main thread, and the next ends the process there."""
    global _received
    _received = None
    for number in NUMBERS:
        signal.signal(number, _receive)
    if hasattr(signal, "setitimer"):  # not on Windows
        signal.signal(signal.SIGALRM, lambda number, frame: None if _holding else _raise_if_received())


def settle() -> None:
    """Nothing more is raised: Stopped has arrived where the program ends."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """A signal that comes inside is raised at the end."""
    global _holding
    _raise_if_received()
    _holding = True
    try:
        yield
    finally:
        _holding = False
    _raise_if_received()


def _receive(number: int, frame: object) -> None:
    global _received
    if _received is not None:
        os._exit(128 + number)
    _received = number
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS, AGAIN_SECONDS)
    if not _holding:
        raise Stopped(number)


def _raise_if_received() -> None:
    if _received is not None:
        raise Stopped(_received)
