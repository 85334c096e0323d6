"""The state of a training, by what it has written."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicjax.errors import UsageError
from musicjax.store import lock
from musicjax.studio import runs
from musicjax.studio.runs import Curve


def lines_of(epochs):
    """metrics.jsonl of so many epochs."""
    told = []
    for epoch in range(1, epochs + 1):
        told.append(
            {
                "split": "train",
                "epoch": epoch,
                "step": epoch,
                "loss": 3 / epoch,
                "seconds": 2.0,
                "windows_per_second": 9.5,
            }
        )
        told.append({"split": "valid", "epoch": epoch, "step": epoch, "loss": 4 / epoch})
    return "".join(json.dumps(one) + "\n" for one in told).encode()


@given(st.integers(0, 12), st.lists(st.integers(0, 2000), max_size=6))
def test_a_curve_that_is_read_as_it_grows_is_the_curve_of_the_whole_file(tmp_path_factory, epochs, cuts):
    path = tmp_path_factory.mktemp("run") / "metrics.jsonl"
    whole, grown = lines_of(epochs), Curve()
    for end in [*sorted(cuts), len(whole)]:
        with path.open("ab") as stream:
            stream.write(whole[path.stat().st_size : end])
        grown = runs.refreshed(grown, path)
    assert grown == runs.refreshed(Curve(), path)
    assert grown.epoch == epochs and [point["epoch"] for point in grown.shown()] == list(range(1, epochs + 1))


def test_a_curve_begins_anew_with_a_file_that_is_another_one_or_shorter(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(lines_of(5))
    curve = runs.refreshed(Curve(), path)
    path.write_bytes(lines_of(2))
    curve = runs.refreshed(curve, path)
    assert curve.epoch == 2
    (tmp_path / "new").write_bytes(lines_of(7))
    (tmp_path / "new").replace(path)
    assert runs.refreshed(curve, path).epoch == 7
    path.unlink()
    assert runs.refreshed(curve, path) == Curve()


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\n",
        b"{}\n",
        b"[]\n",
        b'{"epoch": "x", "split": "train", "loss": 1}\n',
        b"[" * 9000 + b"\n",
        b'{"epoch": 1, "split": "valid", "loss": NaN}\n',
        b'{"epoch": 1e999, "split": "train", "loss": 1}\n',
        b'{"epoch": 1' + b"0" * 400 + b', "split": "valid", "loss": 1}\n',
        b'{"epoch": 1, "split": "train", "loss": 1, "seconds": NaN, "windows_per_second": 1}\n',
        b'{"epoch": 1, "split": "train", "loss": 1, "seconds": 1e999, "windows_per_second": 1}\n',
        b'{"epoch": 1, "split": "train", "loss": 1, "seconds": 1, "windows_per_second": NaN}\n',
    ],
)
def test_lines_that_are_no_metrics_do_no_harm(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(lines_of(2) + line)
    curve = runs.refreshed(Curve(), path)
    assert curve.epoch == 2
    json.dumps([curve.shown(), curve.windows_per_second], allow_nan=False)
    assert runs._seconds_left(curve, 4, {}) == 4


@pytest.mark.parametrize(
    "text", ["", "[]", "[" * 9000, '{"train": {"epochs": 1e999}}', f'{{"train": {{"epochs": 1{"0" * 400}}}}}']
)
def test_a_config_that_is_damaged_tells_no_number_of_epochs(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    assert runs._epochs(tmp_path) == 0


def test_a_folder_that_cannot_be_looked_at_hides_no_run(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").touch()
    (tmp_path / "loop").symlink_to("loop")
    assert runs.folders(tmp_path) == {"run": tmp_path / "run"}


def test_a_clock_that_is_set_back_adds_nothing_to_what_is_left():
    assert runs._seconds_left(Curve(), 0, {"minutes": 5, "began": time.time() + 10_000}) == 300


@given(st.text(min_size=1, max_size=80).filter(lambda name: "\0" not in name and "/" not in name))
def test_ids_are_plain_words_and_names_that_are_plain_are_their_own(name):
    found = runs.id_of(name)
    assert found.replace("-", "").replace("_", "").isalnum() and found.isascii() and len(found) <= 64
    assert runs.id_of(found) == found


@given(st.text(max_size=50))
def test_new_folders_have_names_that_lead_nowhere_else(tmp_path_factory, wanted):
    root = tmp_path_factory.getbasetemp()
    name = runs.new_name(root, wanted)
    assert (root / name).parent == root and not name.startswith(".") and runs.id_of(name) == name


def state_of(tmp_path, epochs, log="", out="", record=None, of=0):
    """The state of a run whose folder holds so many epochs, of `of` that it is to have."""
    workdir = tmp_path / "run"
    workdir.mkdir()
    (workdir / "metrics.jsonl").write_bytes(lines_of(epochs))
    if of:
        (workdir / "config.json").write_text(json.dumps({"train": {"epochs": of}}))
    (tmp_path / "run.err").write_text(log)
    (tmp_path / "run.out").write_text(out)
    curve = runs.refreshed(Curve(), workdir / "metrics.jsonl")
    return runs.state("run", workdir, curve, record or {}, tmp_path / "run.log", None)


RECORD = {"folder": "run", "name": "run", "data": "d", "minutes": 5, "began": 0.0, "stopped": False}


@pytest.mark.parametrize(
    ("epochs", "log", "out", "record", "status", "said"),
    [
        (3, "train    3/9  loss 1\nmusicjax: stopped by SIGTERM; the same command continues", "", RECORD, "paused", ""),
        (
            3,
            "musicjax: metrics cannot be recorded in x: No space left on device; check space",
            "",
            RECORD,
            "failed",
            "No space left",
        ),
        (0, "musicjax: data source x: no such folder", "", RECORD, "failed", "no such folder"),
        (3, "train    3/9  loss 1", "", RECORD, "paused", "ended from outside"),
        (0, "auto     chooses by trials", "", RECORD, "failed", "without a word"),
        (9, "page     report.html", '{"best_epoch": 4}\n', RECORD, "finished", ""),
        (5, "train    stops early", '{"best_epoch": 4}\n', RECORD, "finished", ""),
        (3, "musicjax: stopped by SIGTERM", "", {**RECORD, "stopped": True}, "finished", "Stopped after epoch 3"),
        (3, "", "", None, "paused", ""),
        (9, "", "", None, "finished", ""),
    ],
)
def test_how_a_run_ended_is_told_by_its_files(tmp_path, epochs, log, out, record, status, said):
    state = state_of(tmp_path, epochs, log, out, record, of=9)
    assert (state["status"], state["epoch"], state["epochs"]) == (status, epochs, 9)
    assert said in state["message"] and not state["message"].startswith("musicjax:")
    json.dumps(state, allow_nan=False)


def test_the_log_of_a_run_that_went_on_elsewhere_tells_nothing_any_more(tmp_path):
    state = state_of(tmp_path, 3, "musicjax: no space left", "", RECORD, of=9)
    assert state["status"] == "failed"
    now = (tmp_path / "run.err").stat().st_mtime
    os.utime(tmp_path / "run.err", (now, now - 2 * runs.STALE_S))
    curve = runs.refreshed(Curve(), tmp_path / "run" / "metrics.jsonl")
    state = runs.state("run", tmp_path / "run", curve, RECORD, tmp_path / "run.log", None)
    assert (state["status"], "ended from outside" in state["message"]) == ("paused", True)


def test_a_run_that_holds_its_lock_trains_and_is_interrupted_by_its_number(tmp_path):
    code = "import sys, time\nfrom pathlib import Path\nfrom musicjax.store import lock\n"
    code += "with lock.held(Path(sys.argv[1])):\n    print(1, flush=True)\n    time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        assert lock.holder(tmp_path / "run") == process.pid
        assert runs.folders(tmp_path) == {"run": tmp_path / "run"}
        runs.interrupt(tmp_path / "run", None)
        assert process.wait(20) == -15
    assert lock.holder(tmp_path / "run") is None, "the file is left, the lock is not"
    with pytest.raises(UsageError, match="not training on this machine"):
        runs.interrupt(tmp_path / "run", None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "process 1\n",
        "process 999999999999 on {here}\n",
        "process " + "9" * 5000 + " on {here}\n",
        "process {own} on elsewhere\n",
        "process {own} on {here}\n",
    ],
)
def test_a_lock_file_that_nobody_holds_names_no_process(tmp_path, text):
    (tmp_path / lock.NAME).write_text(text.format(own=os.getpid(), here=socket.gethostname()))
    assert lock.holder(tmp_path) is None


def test_a_long_log_shows_its_last_whole_lines(tmp_path):
    (tmp_path / "log").write_text("".join(f"line {n}\n" for n in range(5000)))
    lines = runs.last_lines(tmp_path / "log")
    assert lines[-1] == "line 4999" and len(lines) == runs.LOG_LINES
    assert runs.last_lines(tmp_path / "none") == []
