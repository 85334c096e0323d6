"""What people see while it works: lines and progress bars on standard error. The only importer of rich.

Bars are drawn on a terminal only; elsewhere the same facts come as plain lines.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from types import CoroutineType
from typing import Any, Protocol

from musicjax.errors import printable

_silent = False
_unraisable = sys.unraisablehook
_said: set[str] = set()


def silence() -> None:
    """Nothing more is shown by this process, but for errors: another one of the same training speaks."""
    global _silent
    _silent = True


def hush() -> None:
    """Libraries that print what they raise, with tracebacks, do so no more in this process: we say it, once.

    It is for the program itself, not for programs that import us.
    """
    for name in ("absl", "asyncio", "concurrent.futures"):  # orbax and what it runs on
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    if sys.unraisablehook is not _but_for_late_ones:
        global _unraisable
        _unraisable, sys.unraisablehook = sys.unraisablehook, _but_for_late_ones


def keep_results_apart() -> None:
    """From now on standard output gets what Python prints and nothing else; what C libraries write there is dropped.

    Gloo, which joins the CPUs of several processes, tells its connections there.
    """
    results, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    sys.stdout = os.fdopen(results, "w")


def _but_for_late_ones(complaint: Any) -> None:
    """After a failure orbax's coroutines and threads go on, and complain that nobody waits for them any more."""
    if not isinstance(complaint.object, CoroutineType) and str(complaint.exc_value) != "Event loop is closed":
        _unraisable(complaint)


class Update(Protocol):
    """update(done, facts, total): moves a bar."""

    def __call__(self, done: int, facts: str = "", total: int | None = None) -> None: ...


def say(label: str, text: str) -> None:
    """One line: what it is about, and the fact."""
    if not _silent:
        print(f"{label:<9}{printable(text)}", file=sys.stderr, flush=True)


def say_once(label: str, text: str) -> None:
    """`say`, unless this process has said it before."""
    if text not in _said:
        _said.add(text)
        say(label, text)


def table(rows: Sequence[Sequence[object]], header: Sequence[str]) -> None:
    """Columns of text, aligned, as plain lines."""
    cells = [[printable(str(cell)) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), file=sys.stderr)


@contextlib.contextmanager
def bar(label: str, total: int | None = None, done: int = 0) -> Iterator[Update]:
    """A progress bar; gives update(done, facts, total). Off a terminal, each update that has facts is a line."""
    if _silent or not sys.stderr.isatty():

        def line(done: int, facts: str = "", total: int | None = total) -> None:
            if facts:
                say(label, f"{done}/{total}  {facts}")

        yield line
        return
    from rich.console import Console  # here, because importing it takes a tenth of a cached start
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description:<8}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}"),
    )
    with Progress(*columns, console=Console(stderr=True, highlight=False)) as progress:
        task = progress.add_task(label, total=total, completed=done, facts="")

        def draw(done: int, facts: str = "", total: int | None = total) -> None:
            progress.update(task, completed=done, facts=escape(facts), total=total)

        yield draw
