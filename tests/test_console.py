"""Lines, tables and bars on standard error."""

from __future__ import annotations

import asyncio
import io
import itertools
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import musicjax
from musicjax import console

_NEEDS_FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.setattr(console, "_muted", False)
    monkeypatch.setattr(console, "_said", set())


def test_a_line_says_what_it_is_about_and_shows_control_characters(capsys):
    console.say("data", "kept 3\n\x1b[31mred")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "data     kept 3\\n\\x1b[31mred\n")


def test_a_text_is_said_once(capsys):
    for _ in range(2):
        console.say_once("warning", "old")
    console.say_once("warning", "new")
    assert capsys.readouterr().err.splitlines() == ["warning  old", "warning  new"]


def test_a_muted_process_says_nothing(capsys):
    console.mute()
    console.say("data", "a")
    with console.bar("train", 3) as update:
        update(1, "loss 3")
    assert capsys.readouterr().err == ""


def test_the_columns_of_a_table_are_aligned(capsys):
    console.table([("skipped", "no notes", 12), ("kept", "", 3)], ("status", "reason", "files"))
    assert capsys.readouterr().err.splitlines() == [
        "status   reason    files",
        "skipped  no notes  12",
        "kept               3",
    ]


def test_off_a_terminal_a_bar_is_a_line_for_each_text(capsys):
    with console.bar("train", 3) as update:
        update(1, "loss 3")
        update(2)
        update(3, "loss 1", 4)
    assert capsys.readouterr().err.splitlines() == ["train    1/3  loss 3", "train    3/4  loss 1"]


def test_off_a_terminal_a_bar_of_units_is_a_line_for_each_tenth_once_it_takes_long(capsys, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(console, "time", types.SimpleNamespace(monotonic=lambda: float(next(clock))))
    with console.bar("sampling", 30, unit="pieces") as update:
        for done in (1, 2, 6, 7, 8, 24, 30):
            update(done)
    assert capsys.readouterr().err.splitlines() == [
        "sampling 6 of 30 pieces, 0:12 left",
        "sampling 24 of 30 pieces, 0:02 left",
    ]


def test_items_in_turn_move_a_bar_which_a_failure_closes(capsys, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(console, "time", types.SimpleNamespace(monotonic=lambda: 3.0 * next(clock)))
    with pytest.raises(ZeroDivisionError) as failure, console.each("rows", [2, 1, 0], "pieces") as items:
        [1 / item for item in items]
    with console.each("copies", "abc", "pieces") as items:
        assert list(items) == ["a", "b", "c"]
    assert failure.traceback and capsys.readouterr().err.splitlines() == [
        "rows     1 of 3 pieces, 0:06 left",
        "rows     2 of 3 pieces, 0:03 left",
        "copies   1 of 3 pieces, 0:06 left",
        "copies   2 of 3 pieces, 0:03 left",
    ]


@_NEEDS_FULL
def test_a_standard_error_that_takes_nothing_ends_no_work(monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        console.say("data", "kept 3")
        console.table([("a",)], ("name",))
        console.complain("no")
        assert console.end(0) == 0


def test_a_bar_within_a_bar_shows_nothing_and_the_next_one_does(capsys):
    for _ in range(2):
        with console.bar("train", 3) as update:
            with console.bar("sampling", 8) as inner:
                inner(1, "hidden")
            update(1, "loss 3")
    assert capsys.readouterr().err.splitlines() == ["train    1/3  loss 3"] * 2


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("name", ["dumb", "unknown"])
def test_on_a_terminal_that_takes_only_lines_a_bar_is_lines(monkeypatch, name):
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", name)
    with console.bar("train", 3) as update:
        update(1, "loss 3")
        update(2, "loss 2")
    assert terminal.getvalue().splitlines() == ["train    1/3  loss 3", "train    2/3  loss 2"]


def test_a_clock_runs_on_a_terminal_unless_a_bar_is_there(monkeypatch):
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with console.clock("compile"):
        pass
    assert "compile" in terminal.getvalue() and "0:00:00" in terminal.getvalue()
    with console.bar("train", 3), console.clock("scoring"):
        pass
    assert "scoring" not in terminal.getvalue()


def test_off_a_terminal_a_clock_shows_nothing_and_lets_a_failure_pass(capsys):
    with pytest.raises(ZeroDivisionError), console.clock("compile"):
        _ = 1 / 0
    with console.bar("train", 3) as update:
        update(1, "loss 3")
    assert capsys.readouterr().err.splitlines() == ["train    1/3  loss 3"]


def test_on_a_terminal_a_bar_shows_its_text_as_text(monkeypatch):
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with console.bar("train", 3) as update:
        update(2, "loss [red]3\x07")
    shown = terminal.getvalue()
    assert "2/3" in shown and "loss [red]3\\x07" in shown and "\x07" not in shown


def test_on_a_terminal_a_live_table_is_drawn_anew_with_the_text_below_it(monkeypatch):
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with console.live_table("search", ("rung", "done")) as show:
        show([("1 of 2", 3)], "", "a line")
        with console.bar("train", 3) as update:
            update(1, "within")
        show([("1 of 2", 4), ("2 of 2\x1b", 0)], "best [1]")
    shown = terminal.getvalue()
    for text in ("rung", "done", "1 of 2", "best [1]", "2 of 2\\x1b"):
        assert text in shown
    assert "a line" not in shown and "within" not in shown


def test_off_a_terminal_a_live_table_is_its_lines(capsys):
    with console.live_table("search", ("rung",)) as show:
        show([("1 of 2",)], "below")
        show([("1 of 2",)], "below", "3 of 4 trials")
    assert capsys.readouterr().err == "search   3 of 4 trials\n"


def test_only_the_complaints_of_orphans_are_dropped(monkeypatch):
    seen = []
    monkeypatch.setattr(console, "_unraisable", seen.append)
    orphan = asyncio.sleep(0)
    for complaint in (
        types.SimpleNamespace(object=orphan, exc_value=ValueError("lost")),
        types.SimpleNamespace(object=None, exc_value=RuntimeError("Event loop is closed")),
        types.SimpleNamespace(object=None, exc_value=ValueError("ours")),
    ):
        console._but_for_orphans(complaint)
    orphan.close()
    assert [str(complaint.exc_value) for complaint in seen] == ["ours"]


def test_a_reserved_standard_output_has_what_python_prints_and_not_what_c_writes():
    script = "import os; from musicjax import console; console.reserve_stdout(); os.write(1, b'gloo'); print('result')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "result\n"


# Streams that are not what a terminal has.


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_letter_that_a_stream_has_no_code_for_is_an_escape(monkeypatch, encoding):
    written = {name: io.BytesIO() for name in ("stdout", "stderr")}
    for name, content in written.items():
        monkeypatch.setattr(sys, name, io.TextIOWrapper(content, encoding, newline=""))
    console.result("\u97f3\u697d/Dvo\u0159\u00e1k.mid")
    console.say("data", "\u97f3")
    console.complain("no \u97f3")
    console.table([("\u97f3",)], ("name",))
    accented = {"cp1252": b"\xe1", "ascii": b"\\xe1"}[encoding]
    assert written["stdout"].getvalue() == b"\\u97f3\\u697d/Dvo\\u0159" + accented + b"k.mid\n"
    assert written["stderr"].getvalue() == b"data     \\u97f3\nmusicjax: no \\u97f3\nname\n\\u97f3\n"


def test_pictures_are_drawn_whatever_way_to_show_them_the_environment_names():
    script = "from musicjax import console; console.quiet_libraries(); from musicjax.report import pictures"
    env = {**os.environ, "MPLBACKEND": "sundial"}
    subprocess.run([sys.executable, "-c", script], check=True, env=env)


class _Bare:
    """What some services put in the place of a stream."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None: ...


def _closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


def _everything() -> None:
    console.result("result")
    console.say("data", "kept 3")
    console.complain("no")
    console.table([("a",)], ("name",))
    with console.bar("train", 3) as update:
        update(1, "loss 3")


@pytest.mark.parametrize("stream", [None, _closed()], ids=["none", "closed"])
def test_where_there_is_no_stream_nothing_is_printed(monkeypatch, stream):
    seen = io.StringIO()
    for absent, other in (("stderr", "stdout"), ("stdout", "stderr")):
        monkeypatch.setattr(sys, absent, stream)
        monkeypatch.setattr(sys, other, seen)
        _everything()
    lines = ["data     kept 3", "musicjax: no", "name", "a", "train    1/3  loss 3"]
    assert seen.getvalue().splitlines() == ["result", *lines], "each stream has its own and nothing of the other"


def test_a_stream_that_can_only_be_written_to_is_enough(monkeypatch):
    bare = _Bare()
    monkeypatch.setattr(sys, "stderr", bare)
    _everything()
    assert bare.text.splitlines()[-1] == "train    1/3  loss 3"


# The program whose standard streams are full, or have lost their readers. Python writes what it holds as it exits.
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
RESULTS = """
import sys
from musicjax import console
console.say("model", "trained")
for result in ("a.mid", "b.mid"):
    console.result(result)
console.say("page", "written")
sys.exit(console.end(int(sys.argv[1])))
"""


def _ended(shell: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Runs the program in a shell that sets up its streams; "$@" is the program."""
    command = ["bash", "-c", shell, "bash", sys.executable, "-c", RESULTS, str(status)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=BUFFERED)


@_NEEDS_FULL
def test_results_that_standard_output_cannot_take_are_on_standard_error():
    done = _ended('"$@" >/dev/full')
    assert done.returncode == console.UNWRITTEN
    said, complaint, *rest = done.stderr.splitlines()
    assert said == "model    trained"
    assert complaint.startswith("musicjax: standard output cannot be written: No space left on device;")
    assert rest == ["a.mid", "b.mid", "page     written"]


def test_a_reader_that_has_gone_ends_no_work():
    done = _ended('set -o pipefail; { sleep 0.2; "$@"; } | true')
    assert done.returncode == console.UNREAD
    assert done.stderr.splitlines() == ["model    trained", "page     written"]


@_NEEDS_FULL
@pytest.mark.parametrize("shell", ['"$@" 2>/dev/full', '"$@" 2>&-', 'set -o pipefail; { "$@" 2>&1 >&3 | true; } 3>&1'])
def test_a_standard_error_that_takes_nothing_leaves_results_and_status_as_they_are(shell):
    done = _ended(shell)
    assert (done.returncode, done.stdout) == (0, "a.mid\nb.mid\n")


@_NEEDS_FULL
@pytest.mark.parametrize("shell", ['"$@" >/dev/full', '"$@" >/dev/full 2>&1', '"$@" >&-'])
def test_the_status_of_a_failure_stays_whatever_becomes_of_the_results(shell):
    assert _ended(shell, 2).returncode == 2


# The program where all three standard streams are closed: a file that it opens later must not get the number of one.
STREAMS = """
import os, sys
from musicjax import console
console.hold_streams()
print("lost"); print("lost", file=sys.stderr)
with open(sys.argv[1], "w") as file:
    os.write(2, b"of a library")
    file.write(str(file.fileno()))
"""


def test_a_file_never_gets_the_number_of_a_standard_stream_that_was_closed(tmp_path):
    closed = ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    subprocess.run([*closed, sys.executable, "-c", STREAMS, str(tmp_path / "a")], check=True)
    assert int((tmp_path / "a").read_text()) > 2


def test_a_reserved_standard_output_keeps_its_encoding():
    script = "from musicjax import console; console.reserve_stdout(); console.result(chr(0x97f3))"
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=env)
    assert done.stdout == "\\u97f3\n"


PATH = r"""
import os
from musicjax import console
path = os.fsdecode(b"m\xc3\xbc \xff\x1b[31m/a.mid")
console.result("first")
console.result_path(path)
console.say("page", path)
"""
SHOWN = "m\\udcc3\\udcbc \\udcff\\x1b[31m/a.mid"  # in the C locale every byte above 127 is undecodable
C_LOCALE = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_a_path_is_its_bytes_for_programs_and_escapes_on_standard_error():
    done = subprocess.run([sys.executable, "-c", PATH], capture_output=True, check=True, env=C_LOCALE)
    assert done.stdout == b"first\nm\xc3\xbc \xff\x1b[31m/a.mid\n"
    assert done.stderr.decode() == f"page     {SHOWN}\n"


@_NEEDS_FULL
def test_a_path_that_standard_output_cannot_take_is_escaped_on_standard_error():
    command = ["bash", "-c", '"$@" >/dev/full', "bash", sys.executable, "-c", PATH]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=C_LOCALE)
    assert done.stderr.splitlines()[1:] == ["first", SHOWN, f"page     {SHOWN}"]


def test_a_path_is_escapes_on_a_terminal():
    terminal, end = os.openpty()
    subprocess.run([sys.executable, "-c", PATH], stdout=end, stderr=subprocess.DEVNULL, check=True, env=C_LOCALE)
    os.close(end)
    assert os.read(terminal, 1000).decode() == f"first\r\n{SHOWN}\r\n"
    os.close(terminal)


@pytest.mark.parametrize(
    ("count", "words", "text"),
    [
        (0, ("note",), "0 notes"),
        (1, ("note",), "1 note"),
        (2, ("note",), "2 notes"),
        (1204, ("note",), "1,204 notes"),
        (1, ("epoch is", "epochs are"), "1 epoch is"),
        (2, ("epoch is", "epochs are"), "2 epochs are"),
    ],
)
def test_what_is_counted_has_its_plural(count, words, text):
    assert console.counted(count, *words) == text


def test_several_counts_are_one_text_without_those_that_are_0():
    assert console.each_counted({"notes": 1204, "ends": 1}) == "1,204 notes and 1 end"
    assert console.each_counted({"notes": 1, "ends": 0}) == "1 note"


# Counts that are never 1.
SEVERAL = {
    "copies.py: {len(pieces)} pieces",
    "frame_sets.py: {pieces:,} pieces",
    "primer.py: {len(keys)} files",
    "split.py: {count} pieces",
}


def test_no_message_counts_one_of_several_things():
    """A count in front of a plural would read "1 notes"; what comes after "of" may."""
    plural = re.compile(
        r"(?<!of )(?<!first )\{(len\([^{}]*\)|[a-z_]+)(:,)?\} "
        r"(?:MIDI )?(notes|files|epochs|pieces|samples|values|windows|outputs|trials|tries|silences)\b"
    )
    sources = sorted(Path(musicjax.__file__).parent.rglob("*.py"))
    found = {f"{path.name}: {match[0]}" for path in sources for match in plural.finditer(path.read_text())}
    assert found == SEVERAL
