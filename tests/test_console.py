"""Lines, tables and bars on standard error."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import types

import pytest

from musicjax import console


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


def test_on_a_terminal_a_bar_shows_its_text_as_text(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with console.bar("train", 3) as update:
        update(2, "loss [red]3\x07")
    shown = terminal.getvalue()
    assert "2/3" in shown and "loss [red]3\\x07" in shown and "\x07" not in shown


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
