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
from musicjax.studio import curve as curve_lib
from musicjax.studio import run_state
from musicjax.studio import training_progress as stage_lib
from musicjax.studio.curve import Curve


def lines_of(epochs):
    """metrics.jsonl of `epochs` epochs."""
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
        grown = curve_lib.refreshed(grown, path)
    assert grown == curve_lib.refreshed(Curve(), path)
    assert grown.epoch == epochs and [point["epoch"] for point in grown.shown()] == list(range(1, epochs + 1))


def test_a_curve_begins_anew_with_a_file_that_is_another_one_or_shorter(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(lines_of(5))
    curve = curve_lib.refreshed(Curve(), path)
    path.write_bytes(lines_of(2))
    curve = curve_lib.refreshed(curve, path)
    assert curve.epoch == 2
    (tmp_path / "new").write_bytes(lines_of(7))
    (tmp_path / "new").replace(path)
    assert curve_lib.refreshed(curve, path).epoch == 7
    path.unlink()
    assert curve_lib.refreshed(curve, path) == Curve()


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
    curve = curve_lib.refreshed(Curve(), path)
    assert curve.epoch == 2
    json.dumps([curve.shown(), curve.windows_per_second], allow_nan=False)
    assert curve.seconds == [2.0, 2.0]


@pytest.mark.parametrize(
    "text", ["", "[]", "[" * 9000, '{"train": {"epochs": 1e999}}', f'{{"train": {{"epochs": 1{"0" * 400}}}}}']
)
def test_a_config_that_is_damaged_tells_no_number_of_epochs(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    assert run_state._epochs(tmp_path) == 0


def test_a_folder_that_cannot_be_looked_at_hides_no_run(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").touch()
    (tmp_path / "loop").symlink_to("loop")
    assert run_state.folders(tmp_path) == {"run": tmp_path / "run"}


@given(st.text(min_size=1, max_size=80).filter(lambda name: "\0" not in name and "/" not in name))
def test_ids_are_plain_words_and_names_that_are_plain_are_their_own(name):
    found = run_state.id_of(name)
    assert found.replace("-", "").replace("_", "").isalnum() and found.isascii() and len(found) <= 64
    assert run_state.id_of(found) == found


@given(st.text(max_size=50))
def test_new_folders_have_names_that_lead_nowhere_else(tmp_path_factory, wanted):
    root = tmp_path_factory.getbasetemp()
    name = run_state.new_name(root, wanted)
    assert (root / name).parent == root and not name.startswith(".") and run_state.id_of(name) == name


def state_of(tmp_path, epochs, log="", out="", record=None, of=0):
    """The state of a run that has finished `epochs` of its `of` epochs."""
    workdir = tmp_path / "run"
    workdir.mkdir()
    (workdir / "metrics.jsonl").write_bytes(lines_of(epochs))
    if of:
        (workdir / "config.json").write_text(json.dumps({"train": {"epochs": of}}))
    (tmp_path / "run.err").write_text(log)
    (tmp_path / "run.out").write_text(out)
    curve = curve_lib.refreshed(Curve(), workdir / "metrics.jsonl")
    return run_state.state("run", workdir, curve, record or {}, tmp_path / "run.log", None)


RECORD = {"folder": "run", "name": "run", "data": "d", "minutes": 2, "began": 1.0, "stopped": False}


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
        (0, "auto     chooses by trials", "", RECORD, "failed", "without a message"),
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
    assert state["was_stopped"] == said.startswith("Stopped")
    json.dumps(state, allow_nan=False)


def test_the_log_of_a_run_that_went_on_elsewhere_tells_nothing_any_more(tmp_path):
    state = state_of(tmp_path, 3, "musicjax: no space left", "", RECORD, of=9)
    assert state["status"] == "failed"
    now = (tmp_path / "run.err").stat().st_mtime
    os.utime(tmp_path / "run.err", (now, now - 2 * run_state.STALE_S))
    curve = curve_lib.refreshed(Curve(), tmp_path / "run" / "metrics.jsonl")
    state = run_state.state("run", tmp_path / "run", curve, RECORD, tmp_path / "run.log", None)
    assert (state["status"], "ended from outside" in state["message"]) == ("paused", True)


class Alive:
    """A training that goes on."""

    def poll(self):
        return None


def live_state(tmp_path, epochs, log, ago=0, record=RECORD, of=26):
    """The state of a running training; `ago` sets how long ago it began, printed a line and ended an epoch."""
    state_of(tmp_path, epochs, log, "", record, of)
    begun, printed, trained = ago if isinstance(ago, tuple) else (ago, ago, ago)
    now = time.time()
    for path, seconds in (("run.out", begun), ("run.err", printed), ("run/metrics.jsonl", trained)):
        os.utime(tmp_path / path, (now, now - seconds))
    curve = curve_lib.refreshed(Curve(), tmp_path / "run" / "metrics.jsonl")
    return run_state.state("run", tmp_path / "run", curve, record, tmp_path / "run.log", Alive())


# What a training of two minutes on a busy machine printed.
CHOSE = """auto     chooses by trials within 2 minutes; samples decide, not the loss
data     runs/.studio/uploads/c/files: kept 40 of 40 files, recovered 0, skipped 0; 7,705 notes
events   6,290 notes to train in 113 windows of up to 64, 791 notes and 5 ends to validate; bins: 12 intervals
trial    1/1  units 256, dropout 0.4, transpose 0: score 0.747, 20.0 epochs
candidate                            score  samples drawn at            epochs
units 256, dropout 0.4, transpose 0  0.747  temperature 0.9, min_p 0.1  20.0    chosen
auto     takes units 256, dropout 0.4, transpose 0, samples at temperature 0.9, min_p 0.1: these are most like
auto     after training, choosing how samples are drawn, and the samples of the run take about 3:55
auto     this machine is slow or busy: the command will take longer than it was given, about 5 minutes, 0.4 of them for
auto     trains 26 epochs, with a half-life of 8.67
musicjax 0.2.0  config auto  workdir runs/tunes
device   1 of 1 cpu (cpu), bfloat16 (1.39 times as fast as float32 here), jax 0.10.2
data     runs/.studio/uploads/c/files: kept 40 of 40 files, recovered 0, skipped 0; 7,705 notes
model    LSTM 256 -> dropout 0.4 -> Dense 320 -> categorical: 558,096 parameters
compile  40.4 s
""".splitlines()
TRAINED = """train    1/26  loss 11.36317  validation 8.09822  71 windows/s  0:52 left
train    26/26  loss 2.29037  validation 2.52569  115 windows/s  0:00 left
train    best validation loss 2.52569 at epoch 26
sampling draws 16 pieces in each of 7 ways; the way most like the data wins
sampling 4/7  temperature 0.8, min_p 0.2: score 0.610  2:38 left
sampling 7/7  temperature 0.5, min_p 0.1: score 0.730  0:00 left
samples drawn at             overlap  scale  in_chord  repeats  ending  own   score
sampling takes temperature 0.8, min_p 0.05: these samples are most like the training pieces
sampling 104 of 128 tries, 0:26 left
samples  8 MIDI files in runs/tunes/samples
copies   longest run shared with the training data: 16 notes, in seed0-004
""".splitlines()


@pytest.mark.parametrize(
    ("lines", "epochs", "ago", "stage", "left"),
    [
        (CHOSE[:0], 0, 0, "starts", None),
        (CHOSE[:1], 0, 10, "reads", 110),
        (CHOSE[:3], 0, 40, "tries settings", 80),
        (CHOSE[:4], 0, 70, "tries settings", None),
        (CHOSE[:10], 0, (100, 5, 0), "gets ready", 200),
        (CHOSE[:11], 0, (100, 5, 0), "reads", 200),
        (CHOSE[:14], 0, (100, 5, 0), "gets ready", 200),
        (CHOSE, 0, (310, 5, 0), "learns", None),
        (CHOSE + TRAINED[:1], 1, (200, 1, 1), "learns", 285),  # 25 epochs of 2 s, and what follows them
        (CHOSE + TRAINED[:2], 26, (250, 0, 0), "writes pieces", 235),
        (CHOSE + TRAINED[:4], 26, (250, 0, 0), "chooses how to play", 235),
        (CHOSE + TRAINED[:5], 26, (500, 8, 230), "chooses how to play", 150),
        (CHOSE + TRAINED[:6], 26, (660, 8, 390), "chooses how to play", None),
        (CHOSE + TRAINED[:8], 26, (660, 8, 390), "writes pieces", None),
        (CHOSE + TRAINED[:9], 26, (690, 6, 420), "writes pieces", 20),
        (CHOSE + TRAINED[:10], 26, (720, 8, 450), "writes pieces", None),
    ],
)
def test_what_a_training_is_at_and_how_long_it_takes_is_what_it_says_itself(tmp_path, lines, epochs, ago, stage, left):
    state = live_state(tmp_path, epochs, "\n".join(lines), ago)
    assert (state["stage"], state["seconds_left"]) == (stage, left)


@given(st.integers(0, len(CHOSE + TRAINED)), st.integers(0, 2000), st.integers(0, 2000), st.booleans())
def test_no_training_that_goes_on_has_no_time_left(count, begun, printed, is_first):
    found = stage_lib.told((CHOSE + TRAINED)[:count])
    left = stage_lib.seconds_left(found, None, stage_lib.Passed(begun, printed, printed), is_first)
    assert left is None or left > 0


def test_a_run_that_goes_on_gets_no_new_time_and_remembers_what_follows_its_epochs(tmp_path, monkeypatch):
    gone_on = {**RECORD, "began": 0.0}
    (tmp_path / "before").mkdir()
    assert live_state(tmp_path / "before", 0, CHOSE[0], 0, gone_on)["seconds_left"] is None
    (tmp_path / "run" / "checkpoints" / "3").mkdir(parents=True)
    (tmp_path / "run.err").write_text("\n".join(CHOSE))
    monkeypatch.setattr(run_state.processes, "command", lambda *_: ["true"])
    run_state.start(tmp_path / "run", [], tmp_path / "run.log").wait()
    assert run_state.log_lines(tmp_path / "run.err") == [CHOSE[7]]
    assert run_state.log_lines(tmp_path / "run.out") == []


def test_a_run_without_a_log_is_known_by_its_other_files(tmp_path):
    for name, epochs, of, stage in (("a", 3, 9, "learns"), ("b", 9, 9, "writes pieces"), ("c", 0, 9, "gets ready")):
        (tmp_path / name).mkdir()
        log = tmp_path / name / "run.err"
        live_state(tmp_path / name, epochs, "", 0, {}, of)
        log.unlink()
        workdir, curve = (
            tmp_path / name / "run",
            curve_lib.refreshed(Curve(), tmp_path / name / "run" / "metrics.jsonl"),
        )
        state = run_state.state("run", workdir, curve, {}, log.with_suffix(".log"), Alive())
        assert (state["stage"], state["seconds_left"]) == (stage, 10 if stage == "learns" else None)


def test_a_run_that_holds_its_lock_trains_and_is_interrupted_by_its_number(tmp_path):
    code = "import sys, time\nfrom pathlib import Path\nfrom musicjax.store import lock\n"
    code += "with lock.held(Path(sys.argv[1])):\n    print(1, flush=True)\n    time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        assert lock.holder(tmp_path / "run") == process.pid
        assert run_state.folders(tmp_path) == {"run": tmp_path / "run"}
        run_state.interrupt(tmp_path / "run", None)
        assert process.wait(20) == -15
    assert lock.holder(tmp_path / "run") is None, "the file is left, the lock is not"
    with pytest.raises(UsageError, match="not training on this machine"):
        run_state.interrupt(tmp_path / "run", None)


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
    lines = run_state.last_lines(tmp_path / "log")
    assert lines[-1] == "line 4999" and len(lines) == run_state.LOG_LINES
    assert run_state.last_lines(tmp_path / "none") == []
