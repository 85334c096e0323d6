"""What people see: lines and progress bars on standard error, results on standard output. The only importer of rich.

Bars are drawn on a terminal that can move its cursor; elsewhere the same text comes as plain lines. Services and
programs without a window have no standard streams, and then nothing is printed. A character that a stream cannot encode
becomes an escape. A stream that fails never ends the work: `end` gives the exit status for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from types import CoroutineType
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
# Work that takes less than this needs no progress line.
SOON_SECONDS = 2.0
# Values of TERM of terminals that can only print lines; rich draws no bars there.
DUMB = ("dumb", "unknown")
# Exit statuses for results that nobody got: the disk was full, or the reader had closed the pipe, as SIGPIPE has it.
UNWRITTEN, UNREAD = 1, 141

_muted = False
_is_bar_open = False
_said: set[str] = set()
_failed = 0
_unraisable = sys.unraisablehook


def printable(text: str) -> str:
    """The text with control characters and undecodable bytes written as escapes, for a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def mute() -> None:
    """Makes this process print nothing but errors: another process of the same training speaks."""
    global _muted
    _muted = True


def quiet_libraries() -> None:
    """Keeps libraries from printing what they raise, for which the program has a line, and from looking for a display.

    Only the program itself calls this, so that other programs may import the package without losing their messages.
    """
    # orbax and what it runs on; and matplotlib, which tells each user without a home folder where it writes instead
    for name in ("absl", "asyncio", "concurrent.futures", "matplotlib"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    os.environ["MPLBACKEND"] = "agg"  # matplotlib would end a run whose environment names a way to show that it lacks
    if sys.unraisablehook is not _but_for_orphans:
        global _unraisable
        _unraisable, sys.unraisablehook = sys.unraisablehook, _but_for_orphans


def hold_streams() -> None:
    """Opens the standard streams that are closed, on the null device.

    Otherwise a file that the program opens would get their numbers, and what libraries print there would go into the
    file. Only the program itself calls this, before it opens any file.
    """
    handle = os.open(os.devnull, os.O_RDWR)
    while handle <= 2:
        os.set_inheritable(handle, True)
        handle = os.dup(handle)
    os.close(handle)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - as long as the program runs
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


def reserve_stdout() -> None:
    """Keeps standard output for what Python prints; whatever C libraries write there is dropped from now on.

    Gloo, which joins the CPUs of several processes, reports its connections there.
    """
    results, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    sys.stdout = os.fdopen(results, "w", encoding=getattr(sys.stdout, "encoding", None))


def _but_for_orphans(complaint: Any) -> None:
    """After a failure, coroutines and threads of orbax go on and complain that nobody waits for them any more."""
    if not isinstance(complaint.object, CoroutineType) and str(complaint.exc_value) != "Event loop is closed":
        _unraisable(complaint)


class Update(Protocol):
    """update(done, text, total): moves a bar."""

    def __call__(self, done: int, text: str = "", total: int | None = None) -> None: ...


def say(label: str, text: str) -> None:
    """Prints one line: what it is about, and what happened."""
    if not _muted:
        _tell(f"{label:<9}{printable(text)}")


def say_once(label: str, text: str) -> None:
    """`say`, unless this process has printed the text before."""
    if text not in _said:
        _said.add(text)
        say(label, text)


def complain(text: str) -> None:
    """Prints the one line that tells the user why the program ends."""
    _tell(printable(f"musicjax: {text}"))


def result(text: str, data: bytes | None = None) -> None:
    """Prints a result, a line or several, on standard output, or on standard error if that cannot be written.

    The work goes on where the reader has closed the pipe (as `head` does): it may be a training of many hours.

    Args:
        data: what standard output gets in place of the text.
    """
    global _failed
    try:
        if not _failed and data is None:
            _print(text, sys.stdout)
        elif not _failed and data is not None:
            _write(data, sys.stdout)
    except BrokenPipeError:
        _failed = UNREAD
    except OSError as error:
        _failed = UNWRITTEN
        complain(f"standard output cannot be written: {error.strerror}; the results follow on standard error")
    if _failed:
        _discard(sys.stdout)
    if _failed == UNWRITTEN:
        _tell(text)


def result_path(path: str | os.PathLike[str]) -> None:
    """Prints a path as a result: for other programs its bytes, so that they find the file; escapes on a terminal."""
    is_read = hasattr(sys.stdout, "buffer") and not sys.stdout.isatty()
    result(printable(os.fspath(path)), os.fsencode(path) if is_read else None)


def end(status: int) -> int:
    """The exit status of a program that would exit with `status`: UNWRITTEN or UNREAD instead of 0 where that is so.

    Nothing is left for Python to flush as it exits: where it could not, it would exit with 120.
    """
    global _failed
    failed, _failed = _failed, 0
    for stream in (sys.stdout, sys.stderr):
        try:
            if _is_open(stream):
                stream.flush()
        except OSError:
            _discard(stream)
    return status or failed


def is_terminal() -> bool:
    """Whether standard error is a terminal that can move its cursor."""
    is_dumb = os.environ.get("TERM", "").lower() in DUMB
    return not is_dumb and _is_open(sys.stderr) and getattr(sys.stderr, "isatty", bool)()


def table(rows: Sequence[Sequence[object]], header: Sequence[str]) -> None:
    """Prints aligned columns as plain lines."""
    cells = [[printable(str(cell)) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        _tell("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def counted(count: int, one: str, several: str = "") -> str:
    """A count and what is counted, such as "1 note" or "1,204 notes"; several: the plural, if it is not one + s."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def each_counted(counts: Mapping[str, int]) -> str:
    """Counts by their units in the plural, such as "1,204 notes and 1 end"; without those that are 0."""
    return " and ".join(counted(count, unit.removesuffix("s")) for unit, count in counts.items() if count)


def duration(seconds: float) -> str:
    """Seconds as minutes and seconds, such as 1:05."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


@contextlib.contextmanager
def bar(label: str, total: int | None = None, done: int = 0, unit: str = "", rate: bool = False) -> Iterator[Update]:
    """A progress bar; yields update(done, text, total). Without a terminal, each update with a text prints a line.

    A bar within another one shows nothing.

    Args:
        unit: what is counted, such as "files". Such a bar shows the time left; off a terminal it is a line for each
            tenth of the way, unless it ends soon.
        rate: whether it shows how many units are done in a second, too.
    """
    global _is_bar_open
    if _is_bar_open:
        yield lambda done, text="", total=None: None
        return
    _is_bar_open = True
    try:
        is_drawn = not _muted and is_terminal()
        with _bar(label, total, done, unit, rate) if is_drawn else _lines(label, total, unit, rate) as update:
            yield update
    finally:
        _is_bar_open = False


@contextlib.contextmanager
def each(label: str, items: Sequence[T], unit: str) -> Iterator[Iterator[T]]:
    """A progress bar of how many items are done; yields the items in turn. unit: as in `bar`."""
    with bar(label, len(items), unit=unit) as update:

        def in_turn() -> Iterator[T]:
            for done, item in enumerate(items, 1):
                yield item
                update(done)

        yield in_turn()


@contextlib.contextmanager
def clock(label: str) -> Iterator[None]:
    """Counts the seconds of the block on a terminal, for work that does not tell how far it is; elsewhere nothing."""
    global _is_bar_open
    if _is_bar_open or _muted or not is_terminal():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    columns, shown_on = (TextColumn("{task.description:<8}"), TimeElapsedColumn()), Console(stderr=True)
    _is_bar_open = True
    try:
        with Progress(*columns, console=shown_on, redirect_stdout=False, transient=True) as progress:
            progress.add_task(label, total=None)
            yield
    finally:
        _is_bar_open = False


class Show(Protocol):
    """show(rows, below, line): redraws the table and a text below it; off a terminal prints the line, if any."""

    def __call__(self, rows: Sequence[Sequence[object]], below: str, line: str = "") -> None: ...


@contextlib.contextmanager
def live_table(label: str, header: Sequence[str]) -> Iterator[Show]:
    """A table that changes in place on a terminal; elsewhere lines. Bars within it show nothing."""
    global _is_bar_open
    if _is_bar_open or _muted or not is_terminal():
        yield lambda rows, below, line="": say(label, line) if line else None
        return
    from rich.console import Console, Group
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    def show(rows: Sequence[Sequence[object]], below: str, line: str = "") -> None:
        drawn = Table(*header, box=None, pad_edge=False, header_style="bold")
        for row in rows:
            drawn.add_row(*(Text(printable(str(cell))) for cell in row))
        shown.update(Group(drawn, Text(printable(below))))

    _is_bar_open = True
    try:
        with Live(console=Console(stderr=True, highlight=False), redirect_stdout=False) as shown:
            yield show
    finally:
        _is_bar_open = False


@contextlib.contextmanager
def _lines(label: str, total: int | None, unit: str, rate: bool) -> Iterator[Update]:
    """A bar as lines."""
    began, tenths = time.monotonic(), 0

    def line(done: int, text: str = "", total: int | None = total) -> None:
        nonlocal tenths
        seconds = time.monotonic() - began
        if text:
            say(label, f"{done}/{total}  {text}")
        elif unit and total and 0 < done < total and seconds > SOON_SECONDS and 10 * done // total > tenths:
            tenths = 10 * done // total
            speed = f", {_speed(done, seconds)}" if rate else ""
            say(label, f"{done} of {total} {unit}{speed}, {duration(seconds * (total - done) / done)} left")

    yield line


def _speed(done: int, seconds: float) -> str:
    return f"{done / max(seconds, 1e-3):,.0f}/s"


@contextlib.contextmanager
def _bar(label: str, total: int | None, done: int, unit: str, rate: bool) -> Iterator[Update]:
    """A bar on a terminal."""
    from rich.console import Console  # here, because importing it takes a tenth of a cached start
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<8}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        *([TimeRemainingColumn(compact=True)] if unit else []),
    )
    # Standard output stays the caller's: a library call must not send what others print elsewhere.
    with Progress(*columns, console=Console(stderr=True, highlight=False), redirect_stdout=False) as progress:
        task = progress.add_task(label, total=total, completed=done, text=unit)

        began, before = time.monotonic(), done

        def draw(done: int, text: str = "", total: int | None = total) -> None:
            if rate and not text:
                text = f"{unit}, {_speed(done - before, time.monotonic() - began)}"
            progress.update(task, completed=done, text=escape(printable(text)) or unit, total=total)

        yield draw


def _is_open(stream: Any) -> bool:
    return stream is not None and not getattr(stream, "closed", False)


def _discard(stream: Any) -> None:
    """Sends nowhere what a stream still holds and whatever comes after it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # a stream without a file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _tell(text: str) -> None:
    """Prints a line on standard error. A full disk or a closed pipe does not stop the program."""
    with contextlib.suppress(OSError):
        _print(text, sys.stderr)


def _print(text: str, stream: Any) -> None:
    if _is_open(stream):
        encoding = getattr(stream, "encoding", None) or "utf-8"
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


def _write(data: bytes, stream: Any) -> None:
    if _is_open(stream):
        stream.flush()
        stream.buffer.write(data + b"\n")
        stream.buffer.flush()
