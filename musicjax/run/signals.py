"""SIGINT and SIGTERM: they interrupt what runs, except a save, which is finished first.

Signals belong to the process, so what is known about them does too: the state of this module.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

NUMBERS = (signal.SIGINT, signal.SIGTERM)
_holding = False
_waiting: int | None = None


class Stopped(BaseException):
    """Raised where the program was when the signal came; `number` is the signal's."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


def install() -> None:
    """From now on the signals raise Stopped in the main thread; a second one, while the first waits, ends at once."""
    for number in NUMBERS:
        signal.signal(number, _receive)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """A signal that comes inside is raised at the end."""
    global _holding, _waiting
    _holding = True
    try:
        yield
    finally:
        _holding = False
    if _waiting is not None:
        number, _waiting = _waiting, None
        raise Stopped(number)


def _receive(number: int, frame: object) -> None:
    global _waiting
    if not _holding:
        raise Stopped(number)
    if _waiting is not None:
        os._exit(128 + number)
    _waiting = number
