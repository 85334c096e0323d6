"""A search over fields: what it finds, that it goes on where it was, and that several processes share it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import json
import math
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

import musicjax
import musicjax.search
from musicjax import config as config_lib
from musicjax import config_files, main
from musicjax.search import claims, outcome, results
from musicjax.search import group as group_lib
from musicjax.search.progress import Standing
from musicjax.search.results import Record, State
from musicjax.search.space import Range, Search
from musicjax.store import checkpoint as checkpoint_lib
from musicjax.store import lock
from tests import tiny_runs
from tests.test_end_to_end import documented

pytestmark = pytest.mark.usefixtures("own_signal_handlers")

EPOCHS = 4
ASKED: dict[str, Any] = {
    "fields": {
        "train.learning_rate": {"low": 1e-4, "high": 3e-2, "scale": "log"},
        "model.dropout": {"low": 0.0, "high": 0.5},
        "train.batch_size": [64, 128],
    },
    "trials": 6,
    "epochs": EPOCHS,
    "halving": 2,
}
RUNGS = [[6, 1], [3, 2], [2, 4]]


class Found(NamedTuple):
    """A search that has ended: its workdir, its summary, the lines of trials.jsonl by trial."""

    workdir: Path
    summary: dict[str, Any]
    trials: list[dict[str, Any]]


def argv_of(clips: Path, workdir: Path, outputs: int = 0, **changes: Any) -> list[str]:
    """The command of the tiny search; outputs: how many samples; changes: other keys of search.json."""
    path = workdir.with_suffix(".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**ASKED, **changes}))
    flags = tiny_runs.flags(workdir, clips, **{"sample.page": False, "sample.num_outputs": outputs})
    return [f"--search={path}", *(flag for flag in flags if not flag.startswith("--config.train."))]


def found_in(workdir: Path, summary: dict[str, Any]) -> Found:
    trials = [json.loads(line) for line in (workdir / "trials.jsonl").read_text().splitlines()]
    return Found(workdir, summary, trials)


def searched(clips: Path, workdir: Path, capsys: pytest.CaptureFixture[str], **changes: Any) -> Found:
    assert main.main(argv_of(clips, workdir, **changes)) == 0
    return found_in(workdir, json.loads(capsys.readouterr().out))


def in_process(argv: list[str], code: str = "") -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, after this code."""
    start = "import sys\nfrom musicjax import main\nsys.exit(main.main(sys.argv[1:]))\n"
    command = [sys.executable, "-c", code + start, *argv]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def left_alone(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """The tiny search, which nothing interrupts, with samples."""
    workdir, printed = tmp_path_factory.mktemp("search") / "w", io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main.main(argv_of(clips, workdir, outputs=1)) == 0
    return found_in(workdir, json.loads(printed.getvalue()))


# What it finds.


def test_the_best_of_each_rung_go_on(left_alone):
    assert left_alone.summary["rungs"] == RUNGS
    assert sorted(one["epochs"] for one in left_alone.trials) == [1, 1, 1, 2, 4, 4]
    assert [one["trial"] for one in left_alone.trials] == list(range(6))
    for (_, epochs), (count, _) in itertools.pairwise(RUNGS):
        in_rung = [one for one in left_alone.trials if one["epochs"] >= epochs]
        lowest = {one["trial"]: min(one["validation_losses"][:epochs]) for one in in_rung}
        went_on = {one["trial"] for one in in_rung if one["epochs"] > epochs}
        assert went_on == set(sorted(lowest, key=lambda trial: lowest[trial])[:count])
    best = min(left_alone.trials, key=lambda one: one["loss"])
    assert left_alone.summary["best_trial"] == best["trial"] and best["epochs"] == EPOCHS and best["rung"] == 3
    assert left_alone.summary["best_validation_loss"] == best["loss"] == min(best["validation_losses"])
    assert left_alone.summary["minimised"] == {"loss": best["loss"]} and left_alone.summary["diverged"] == 0


def test_the_guide_names_every_field_that_a_search_prints(left_alone):
    named = documented("search")
    assert named.keys() == left_alone.summary.keys() and set(named.values()) == {"always"}


def test_a_trial_that_went_on_from_rung_to_rung_is_the_run_that_its_config_describes(left_alone, tmp_path):
    config = config_lib.with_fields(config_files.load(left_alone.summary["config"]), {"sample.num_outputs": 0})
    lines: list[dict] = []
    musicjax.train(config, tmp_path / "w", on_epoch=lambda one: lines.append({"train": one.train, "valid": one.valid}))
    best = left_alone.trials[left_alone.summary["best_trial"]]
    assert [line["valid"]["loss"] for line in lines] == pytest.approx(best["validation_losses"], rel=1e-5)
    assert [line["train"]["loss"] for line in lines] == pytest.approx(best["train_losses"], rel=1e-5)
    ours, alone = (checkpoint_lib.restore(place).arrays for place in (left_alone.workdir / "best", tmp_path / "w"))
    for kept, wanted in zip(jax.tree.leaves(ours), jax.tree.leaves(alone), strict=True):
        assert kept.shape == wanted.shape and kept.dtype == wanted.dtype
        np.testing.assert_allclose(kept, wanted, rtol=1e-3, atol=1e-5)
    recorded = [json.loads(line) for line in (left_alone.workdir / "best" / "metrics.jsonl").read_text().splitlines()]
    by_itself = [json.loads(line) for line in (tmp_path / "w" / "metrics.jsonl").read_text().splitlines()]
    assert [line.keys() for line in recorded] == [line.keys() for line in by_itself]
    assert [line["step"] for line in recorded] == [line["step"] for line in by_itself]


def test_what_it_leaves_is_a_run_a_config_music_and_a_page(left_alone, tmp_path, capsys):
    workdir = left_alone.workdir
    assert main.main(["generate", f"--workdir={workdir / 'best'}", "--num_outputs=1", f"--output_dir={tmp_path}"]) == 0
    assert len(list(tmp_path.glob("*.mid"))) == 1
    assert len(list((workdir / "best" / "samples").glob("*.mid"))) == 1
    shown = sorted(path.parent.name for path in (workdir / "samples").glob("*/*.mid"))
    full = sorted((one for one in left_alone.trials if one["epochs"] == EPOCHS), key=lambda one: one["loss"])
    assert shown == sorted(f"trial{one['trial']}" for one in full)
    text = (workdir / "search.html").read_text()
    assert text.count('data-place="') == 6 and text.count('class="card sample"') == 2
    assert not (workdir / "states").exists() and not list(workdir.rglob("*.partial"))
    capsys.readouterr()


def test_a_search_that_has_ended_trains_nothing_more(left_alone, clips, capsys, monkeypatch):
    monkeypatch.setattr(group_lib.Group, "train", None)
    assert main.main(argv_of(clips, left_alone.workdir, outputs=1)) == 0
    assert json.loads(capsys.readouterr().out) == left_alone.summary


@pytest.mark.long
def test_another_metric_may_be_minimised(clips, tmp_path, capsys):
    found = searched(clips, tmp_path / "w", capsys, minimise="pitch_error_semitones", trials=3, epochs=2, halving=0)
    lowest = [min(one["minimised"]) for one in found.trials]
    assert [one["pitch_error_semitones"] for one in found.trials] == lowest
    best = found.trials[found.summary["best_trial"]]
    assert found.summary["minimised"] == {"pitch_error_semitones": min(lowest)}
    assert found.summary["best_epoch"] == best["best_epoch"] == 1 + best["minimised"].index(min(lowest))
    saved = checkpoint_lib.read_metadata(found.workdir / "best")
    assert (saved.best_epoch, saved.best_loss) == (best["best_epoch"], found.summary["best_validation_loss"])
    assert found.summary["rungs"] == [[3, 2]] and all(one["epochs"] == 2 for one in found.trials)


@pytest.mark.long
def test_trials_side_by_side_learn_what_each_learns_alone_in_whole_batches(left_alone, clips, tmp_path, capsys):
    drawn = [one["fields"]["train.batch_size"] for one in left_alone.trials[:4]]
    fields = {**ASKED["fields"], "train.batch_size": [max(set(drawn), key=drawn.count)]}
    argv = [
        *argv_of(clips, tmp_path / "w", fields=fields, trials=4, epochs=1, halving=0),
        "--config.train.trial_group=4",
        "--config.train.accumulate=2",
    ]
    assert main.main(argv) == 0
    found = found_in(tmp_path / "w", json.loads(capsys.readouterr().out))
    pairs = [
        pair for pair in zip(found.trials, left_alone.trials, strict=False) if pair[0]["fields"] == pair[1]["fields"]
    ]
    assert len(pairs) >= 2
    for ours, alone in pairs:
        assert ours["validation_losses"] == pytest.approx(alone["validation_losses"][:1], rel=1e-5)
        assert ours["train_losses"] == pytest.approx(alone["train_losses"][:1], rel=1e-5)


def test_a_trial_whose_losses_are_not_finite_ends_and_the_others_go_on(clips, tmp_path, capsys, monkeypatch):
    add = group_lib.Group._add

    def poisoned(self, record, number, train, scores):
        loss = np.float32("nan") if (record.trial, number) in ((0, 0), (4, 1)) else scores.loss
        return add(self, record, number, train, scores._replace(loss=loss))

    monkeypatch.setattr(group_lib.Group, "_add", poisoned)
    found = searched(clips, tmp_path / "w", capsys, halving=0, epochs=2)
    assert [one["diverged"] for one in found.trials] == [1, 0, 0, 0, 2, 0] and found.summary["diverged"] == 2
    assert [one["epochs"] for one in found.trials] == [0, 2, 2, 2, 1, 2]
    assert found.trials[0]["loss"] is None and found.summary["best_trial"] not in (0, 4)
    monkeypatch.setattr(group_lib.math, "isfinite", lambda value: False)
    assert main.main(argv_of(clips, tmp_path / "none", trials=1)) == 1
    assert "the losses of all trials are not finite; search lower learning rates" in capsys.readouterr().err


def test_a_trial_that_diverged_counts_until_then_so_that_rungs_before_stay_as_they_were():
    losses = [{"loss": loss} for loss in (0.3, 0.1, 0.2)]
    record = Record(0, {}, losses, losses, diverged=4)
    assert [record.lowest("loss", epochs) for epochs in (1, 2, 3, 4, 9)] == [0.3, 0.1, 0.1, math.inf, math.inf]
    assert record.is_done(9) and [record.best_epoch("loss", epochs) for epochs in (1, 3)] == [1, 2]
    assert Record(0, {}).lowest("loss", 3) == math.inf and not Record(0, {}).is_done(1)


# That it goes on.

KILLED = """
import os, signal
from musicjax.search import results
count, pack, write = 0, results._packed, results.files.write
def packed(record, state):
    global count
    count += 1
    if count == 3 and WHEN == "before the state":
        os.kill(os.getpid(), signal.SIGKILL)
    return pack(record, state)
def dying(path, text):
    if count == 3 and path.parent.name == "results" and WHEN == "before the record":
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, text)
results._packed, results.files.write = packed, dying
"""


@pytest.mark.parametrize("when", [pytest.param("before the state", marks=pytest.mark.long), "before the record"])
def test_a_search_that_is_killed_goes_on_and_ends_as_one_left_alone(left_alone, clips, tmp_path, capsys, when):
    killed = in_process(argv_of(clips, tmp_path / "w"), f"WHEN = {when!r}{KILLED}")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(list((tmp_path / "w" / "results").iterdir())) == 2 and not (tmp_path / "w" / "trials.jsonl").exists()
    assert main.main(argv_of(clips, tmp_path / "w")) == 0
    told = capsys.readouterr()
    assert "starts over" not in told.err
    assert (tmp_path / "w" / "trials.jsonl").read_bytes() == (left_alone.workdir / "trials.jsonl").read_bytes()
    ours, alone = (json.loads((place / "best.json").read_text()) for place in (tmp_path / "w", left_alone.workdir))
    assert {**ours, "sample": alone["sample"]} == alone
    summary = json.loads(told.out)
    assert all(summary[name] == left_alone.summary[name] for name in ("best_trial", "minimised", "fields", "rungs"))


@pytest.mark.long
def test_a_damaged_state_costs_its_trial_alone(left_alone, clips, tmp_path, capsys, monkeypatch):
    ended, write = [], results.write

    def cut_short(workdir, record, state):
        write(workdir, record, state)
        if record.epochs == 2:
            ended.append(record.trial)
            raise KeyboardInterrupt

    monkeypatch.setattr(results, "write", cut_short)
    assert main.main(argv_of(clips, tmp_path / "w")) == 130
    monkeypatch.setattr(results, "write", write)
    states = sorted((tmp_path / "w" / "states").iterdir())
    assert len(states) == 3, "of the trials that may go on"
    for path in states:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    capsys.readouterr()
    assert main.main(argv_of(clips, tmp_path / "w")) == 0
    assert capsys.readouterr().err.count("starts over: its state is damaged or gone") == 3
    assert (tmp_path / "w" / "trials.jsonl").read_bytes() == (left_alone.workdir / "trials.jsonl").read_bytes()


def test_a_state_comes_back_as_it_was_or_not_at_all(tmp_path):
    params = {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}
    state: Any = State((params, np.int32(7)), params, np.zeros(2, np.float32), np.ones(2, np.float32))  # type: ignore[arg-type]
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)
    record = Record(3, {"model.units": 8}, [{"loss": 0.1}], [{"loss": 0.3}])
    results.write(tmp_path, record, state)
    found = results.read(tmp_path, 3)
    assert found is not None and found[0] == record and results.read(tmp_path, 4) is None
    again, kept = results.restore(tmp_path, 3, shapes)
    assert again == record and jax.tree.structure(kept) == jax.tree.structure(state)
    for ours, wanted in zip(jax.tree.leaves(kept), jax.tree.leaves(state), strict=True):
        assert ours.dtype == wanted.dtype and ours.tolist() == wanted.tolist()
    other = shapes._replace(deviation=jax.ShapeDtypeStruct((3,), np.float32))
    assert results.restore(tmp_path, 3, other) is None
    path = next((tmp_path / "states").iterdir())
    whole = path.read_bytes()
    for damaged in (
        whole[:-1],
        whole[:-1] + bytes([whole[-1] ^ 1]),
        whole[: len(whole) // 2],
        b"",
        whole[:70] + b"\0" + whole[71:],
        b"\n" * 9,
    ):
        path.write_bytes(damaged)
        assert results.restore(tmp_path, 3, shapes) is None
    results.forget(tmp_path, [3, 4])
    assert not path.exists() and results.read(tmp_path, 3) == found


def test_only_records_that_changed_are_read_again(tmp_path, monkeypatch):
    asked = Search({"model.dropout": Range(0.0, 0.5, False, False)}, trials=3, epochs=EPOCHS, halving=2)
    for trial in range(3):
        results.write(tmp_path, Record(trial, {}, [{}], [{"loss": 0.5}]), None)
    standing, loads, read = Standing(asked, tmp_path), json.loads, []
    monkeypatch.setattr(json, "loads", lambda text: read.append(loads(text)) or loads(text))
    standing.refresh([0, 1, 2], EPOCHS)
    assert not read
    results.write(tmp_path, Record(1, {}, [{}], [{"loss": 0.5}], diverged=2), None)
    standing.refresh([0, 1, 2], EPOCHS)
    assert [found["trial"] for found in read] == [1] and standing.records[1].diverged == 2
    results.write(tmp_path, Record(2, {}, [{}] * 2, [{"loss": 0.5}, {"loss": 0.4}]), None)
    standing.refresh([0, 1, 2], EPOCHS)
    assert [found["trial"] for found in read] == [1, 2] and standing.records[2].epochs == 2


# What it refuses.


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config=auto"], "--search with --config=auto, which has trials of its own"),
        (["--init_from=builtin"], "--search with --init_from: each trial begins with random weights"),
        (["--distributed=auto"], "--search with --coordinator or --distributed: processes share a search through"),
        (["--minutes=3"], "--minutes is for --config=auto alone"),
        (["--config=small", "--config.train.trials=2"], "config.train.trials=2 with --search"),
        (
            ["--config=small", "--config.train.shard_parameters=true"],
            "config.train.shard_parameters=True with --search",
        ),
        (["--config=small", "--config.train.accumulate=3"], "cannot be divided evenly over 1 device with train.accum"),
        (["--search="], "--search= is empty: expected a path"),
    ],
)
def test_what_does_not_go_with_a_search_is_refused_by_name(tmp_path, capsys, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.json").write_text(json.dumps(ASKED))
    assert main.main(["--search=s.json", *flags]) == 2
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["s.json"]


def test_every_mistake_of_the_file_is_printed(tmp_path, capsys):
    path = tmp_path / "s.json"
    path.write_text('{"fields": {"model.unit": [8], "seed": [1]}, "trials": 0}')
    assert main.main([f"--search={path}", "--config=small", f"--workdir={tmp_path / 'w'}"]) == 2
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 3 and all(line.startswith(f"musicjax: {path}: ") for line in err)
    assert not (tmp_path / "w").exists()


def test_a_workdir_that_holds_something_else_is_refused(left_alone, clips, trained_notes, tmp_path, capsys):
    argv = argv_of(clips, tmp_path / "w")

    def refused(workdir: Path, *changes: str) -> str:
        flags = [flag for flag in argv if not flag.startswith("--workdir")]
        assert main.main([*flags, f"--workdir={workdir}", *changes]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    assert "holds a run, not a search" in refused(trained_notes)
    kept = shutil.copytree(left_alone.workdir, tmp_path / "kept")
    assert "config.data.window is 8 in the run, 9 here" in refused(kept, "--config.data.window=9")
    argv = argv_of(clips, tmp_path / "w", trials=7)
    assert "holds another search: trials is 6 in the search, 7 here" in refused(kept)


def test_a_search_of_other_data_is_refused(left_alone, clips, tmp_path, capsys):
    fewer = tmp_path / "fewer"
    fewer.mkdir()
    for path in sorted(clips.iterdir())[:8]:
        shutil.copy(path, fewer)
    kept = shutil.copytree(left_alone.workdir, tmp_path / "w")
    assert main.main(argv_of(fewer, kept)) == 1
    assert f"workdir {kept} was trained on other data" in capsys.readouterr().err


# Several processes.


@pytest.fixture
def without_optuna(monkeypatch):
    """Optuna is not installed."""
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "musicjax.search.journal", raising=False)
    monkeypatch.delattr(musicjax.search, "journal", raising=False)


def test_without_optuna_a_search_works_in_one_process_and_says_what_several_need(
    left_alone, clips, tmp_path, capsys, without_optuna
):
    few = argv_of(clips, tmp_path / "w", trials=2, epochs=1, halving=0)
    assert main.main(few) == 0
    told = capsys.readouterr()
    assert (
        "in this process alone; several can share it with Optuna installed: pip install 'musicjax[search]'" in told.err
    )
    for ours, with_optuna in zip(found_in(tmp_path / "w", {}).trials, left_alone.trials, strict=False):
        assert ours["fields"] == with_optuna["fields"]
        assert ours["validation_losses"] == with_optuna["validation_losses"][:1]
    assert not (tmp_path / "w" / claims.JOURNAL).exists()
    (tmp_path / "w" / claims.JOURNAL).touch()
    assert main.main(few) == 1
    assert "has a journal, which processes share through Optuna, and Optuna is not installed" in capsys.readouterr().err


def test_a_search_without_optuna_keeps_others_out(clips, tmp_path, capsys, without_optuna):
    with lock.held(tmp_path / "w"):
        assert main.main(argv_of(clips, tmp_path / "w")) == 1
    assert "processes share a search only where Optuna is installed: pip install" in capsys.readouterr().err


@pytest.mark.long
def test_two_processes_share_a_search_and_one_that_is_killed_loses_nothing(left_alone, clips, tmp_path):
    pytest.importorskip("optuna")
    argv = argv_of(clips, tmp_path / "w")
    start = "import sys\nfrom musicjax import main\nsys.exit(main.main(sys.argv[1:]))\n"
    command = [sys.executable, "-c", start, *argv]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    killed = subprocess.Popen([sys.executable, "-c", f"WHEN = 'before the state'{KILLED}{start}", *argv], **pipes)
    others = [subprocess.Popen(command, **pipes) for _ in range(2)]
    told = [one.communicate(timeout=600) for one in (killed, *others)]
    assert [one.returncode for one in others] == [0, 0], told
    assert killed.returncode in (0, -signal.SIGKILL), told[0]
    assert (tmp_path / "w" / "trials.jsonl").read_bytes() == (left_alone.workdir / "trials.jsonl").read_bytes()
    first, second = (json.loads(out) for out, _ in told[1:])
    assert first == second and first["best_trial"] == left_alone.summary["best_trial"]
    assert {field.name for field in dataclasses.fields(Record)} <= set(
        json.loads((tmp_path / "w" / "results" / "00000.json").read_text())
    )
    assert outcome.exists(tmp_path / "w")
