"""Several devices and several processes: the numbers of one device alone, and requests that cannot be met."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

import musicjax
from musicjax import main
from musicjax.store import checkpoint as checkpoint_lib
from tests import tiny_runs, tiny_shards

pytestmark = pytest.mark.usefixtures("own_signal_handlers")

# By name: what differs from the tiny run of notes. No last batch is full on any devices.
RUNS: dict[str, dict[str, Any]] = {
    "plain": {},
    "few": {"train.batch_size": 8000, "model.units": 7},
    "trials": {
        "train.trials": 3,
        "train.trial_group": 2,
        "train.learning_rates": (1e-3, 1e-4),
        "train.epochs": 2,
        "model.layers": 2,
    },
}
# Which run on how many of eight devices.
SPREAD = [("plain", 4), ("few", 0), ("trials", 4)]
LONG = SPREAD[1:]
# Requests that cannot be met by eight devices: fields, and what the line must hold.
REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({"train.batch_size": 100}, ["train.batch_size=100", "8 devices", "96 or 104", "--config.train.devices"]),
    ({"train.batch_size": 3}, ["train.batch_size=3", "such as 8"]),
    ({"train.batch_size": 98, "train.devices": 4}, ["train.batch_size=98", "4 devices", "96 or 100"]),
    ({"train.devices": 9}, ["devices=9", "there are 8", "1..8"]),
    (
        {"train.batch_size": 100, "train.devices": 2, "train.accumulate": 4},
        ["train.batch_size=100", "2 devices", "train.accumulate=4", "a multiple of 8", "96 or 104"],
    ),
]
# What Python is started with where several processes train.
PROGRAM = ["-m", "musicjax.main"]
# Runs each command of a JSON list in this one process: (exit status, stdout, stderr) of each.
COMMANDS = """
import contextlib, io, json, sys
from musicjax import main

results = []
for argv in json.loads(sys.stdin.read()):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main.main(argv)
    results.append((status, out.getvalue(), err.getvalue()))
print(json.dumps(results))
"""


class Result(NamedTuple):
    """What became of a command."""

    status: int
    out: str
    err: str

    def line(self) -> str:
        """The one line that says why it failed."""
        assert "Traceback" not in self.err
        told = [line for line in self.err.splitlines() if line.startswith("musicjax: ")]
        assert told == [self.err.splitlines()[-1]], self.err
        assert self.out == ""
        return told[0]


def environment(devices: int) -> dict[str, str]:
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }


def on_one_device(clips: Path, workdir: Path, **fields: Any) -> Path:
    """The same run in this process, which has one device."""
    assert jax.device_count() == 1
    musicjax.train(tiny_runs.config_of(clips, **fields), workdir)
    return workdir


def assert_same_run(got: Path, expected: Path, within: float = 1e-5) -> None:
    """Asserts that losses differ by at most `within` of their size, and parameters by at most 1e-4 of their norm."""
    ours, alone = (
        [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        for workdir in (got, expected)
    )
    for line, wanted in zip(ours, alone, strict=True):
        for name in ("split", "epoch", "step", "trial", "seed"):
            assert line.get(name) == wanted.get(name)
        assert line["loss"] == pytest.approx(wanted["loss"], rel=within)
    ours, alone = (checkpoint_lib.restore(workdir) for workdir in (got, expected))
    assert (ours.metadata.best_trial, ours.metadata.best_epoch) == (
        alone.metadata.best_trial,
        alone.metadata.best_epoch,
    )
    assert_near(ours.arrays.best_params, alone.arrays.best_params)
    assert_near(ours.arrays.state.params, alone.arrays.state.params)
    np.testing.assert_allclose(ours.arrays.best_deviation, alone.arrays.best_deviation, rtol=1e-5)


def assert_near(got: dict, expected: dict) -> None:
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert one.shape == other.shape
        assert np.linalg.norm(one - other) <= 1e-4 * np.linalg.norm(other)


def on_eight_devices(argvs: list[list[str]]) -> list[Result]:
    """What became of these commands in one process of eight devices."""
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS],
        input=json.dumps(argvs),
        env=environment(8),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Result(*result) for result in json.loads(done.stdout)]


def assert_spread_as_alone(clips: Path, folder: Path, name: str, devices: int, result: Result, alone: Path) -> None:
    assert result.status == 0, result.err
    assert f"device   {devices or 8} of 8 cpu" in result.err
    fields = tiny_runs.config_of(clips, **RUNS[name])
    windows = json.loads(result.out)["train_windows"]
    assert windows % fields.train.batch_size % (devices or 8), "the last batch is full on each device"
    assert fields.model.dropout > 0, "nothing is drawn"
    assert_same_run(folder, alone)


@pytest.fixture(scope="module")
def spread(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """Where the first of SPREAD was run, and what became of it."""
    workdir, (name, devices) = tmp_path_factory.mktemp("eight") / "run", SPREAD[0]
    (result,) = on_eight_devices([tiny_runs.flags(workdir, clips, **RUNS[name], **{"train.devices": devices})])
    return workdir, result


@pytest.fixture(scope="module")
def refused(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Result]]:
    """What became of REFUSED."""
    folder = tmp_path_factory.mktemp("refused")
    argvs = [tiny_runs.flags(folder / str(k), clips, **fields) for k, (fields, _) in enumerate(REFUSED)]
    return folder, on_eight_devices(argvs)


# Devices.


@pytest.mark.long
def test_a_run_on_several_devices_is_that_on_one(spread, clips, trained_notes):
    workdir, result = spread
    assert_spread_as_alone(clips, workdir, *SPREAD[0], result, trained_notes)


@pytest.mark.long
@pytest.mark.parametrize(("name", "devices"), LONG)
def test_few_windows_and_trials_on_several_devices_are_those_on_one(name, devices, clips, tmp_path):
    """Few: the batch has room for all windows. Trials: they differ, and the last group has one alone."""
    words = tiny_runs.flags(tmp_path / "run", clips, **RUNS[name], **{"train.devices": devices})
    (result,) = on_eight_devices([words])
    alone = on_one_device(clips, tmp_path / "alone", **RUNS[name])
    assert_spread_as_alone(clips, tmp_path / "run", name, devices, result, alone)


@pytest.mark.long
def test_another_seed_is_another_run_on_several_devices_too(spread, clips, tmp_path):
    workdir, _ = spread
    other = on_one_device(clips, tmp_path / "w", seed=4)
    with pytest.raises(AssertionError):
        assert_same_run(workdir, other)


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_the_devices_cannot_do_is_refused_in_one_line(number, refused):
    folder, results = refused
    result, (_, words) = results[number], REFUSED[number]
    assert result.status == 2
    for word in words:
        assert word in result.line()
    assert not (folder / str(number)).exists()


# Processes.


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def two_processes(argvs: list[list[str]]) -> list[Result]:
    """Two processes of one training, with these flags, of one device each."""
    place = f"--coordinator=127.0.0.1:{free_port()}"
    started = [
        subprocess.Popen(
            [sys.executable, *PROGRAM, *argv, place, "--num_processes=2", f"--process_id={k}"],
            env=environment(1),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for k, argv in enumerate(argvs)
    ]
    try:
        # Whoever hangs is waited for in vain.
        return [Result(process.wait(120), *process.communicate()) for process in started]
    finally:
        for process in started:
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def of_two(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Result]]:
    """A run of two processes, of which the second was given a workdir of its own."""
    folder = tmp_path_factory.mktemp("two")
    return folder, two_processes([tiny_runs.flags(folder / name, clips) for name in ("first", "second")])


@pytest.mark.long
def test_a_run_of_two_processes_is_that_of_one(of_two, trained_notes):
    folder, (first, second) = of_two
    assert (first.status, second.status) == (0, 0), first.err + second.err
    assert "device   2 of 2 cpu (cpu) in 2 processes" in first.err
    assert_same_run(folder / "first", trained_notes)


@pytest.mark.long
def test_only_the_first_of_two_processes_speaks_and_writes(of_two):
    folder, (first, second) = of_two
    assert json.loads(first.out)["epochs"] == 3
    assert "samples  1 MIDI file in" in first.err and list((folder / "first" / "samples").glob("*.mid"))
    assert second.out == ""
    assert not [line for line in second.err.splitlines() if line.startswith(("samples", "train ", "compile", "data"))]
    assert not (folder / "second").exists()


@pytest.mark.long
def test_one_process_goes_on_with_a_run_of_two(of_two, clips, tmp_path):
    folder, _ = of_two
    workdir = shutil.copytree(folder / "first", tmp_path / "w")
    on_one_device(clips, workdir, **{"train.epochs": 5})
    assert_same_run(workdir, on_one_device(clips, tmp_path / "whole", **{"train.epochs": 5}))


@pytest.mark.long
def test_two_processes_go_on_with_a_run_of_one(clips, tmp_path, trained_notes):
    workdir = on_one_device(clips, tmp_path / "w", **{"train.epochs": 1})
    results = two_processes([tiny_runs.flags(workdir, clips)] * 2)
    assert [result.status for result in results] == [0, 0], results
    assert "resume   1 epoch is done" in results[0].err
    assert_same_run(workdir, trained_notes)


@pytest.mark.long
def test_processes_that_do_not_agree_are_refused_and_none_waits_for_ever(clips, tmp_path):
    results = two_processes([tiny_runs.flags(tmp_path / str(k), clips, seed=k) for k in (0, 1)])
    for result in results:
        assert result.status == 1
        assert "processes 1 do not agree with process 0" in result.line()
        assert "same flags" in result.line()
    assert not checkpoint_lib.exists(tmp_path / "0")


@pytest.mark.long
def test_two_processes_with_other_patience_would_wait_for_each_other_and_are_refused(clips, tmp_path):
    results = two_processes(
        [tiny_runs.flags(tmp_path / "w", clips, **{"train.patience": patience}) for patience in (0, 3)]
    )
    for result in results:
        assert result.status == 1
        assert "processes 1 do not agree with process 0" in result.line()


@pytest.mark.long
def test_where_one_process_cannot_begin_the_other_does_not_wait_for_it(clips, tmp_path):
    results = two_processes([tiny_runs.flags(tmp_path / "w", source) for source in (clips, tmp_path / "absent")])
    assert [result.status for result in results] == [1, 1] or [result.status for result in results] == [1, 2]
    assert "process 1 failed before training" in results[0].line()
    assert "absent" in results[1].line()


@pytest.mark.long
def test_two_processes_train_in_the_precision_that_the_first_chooses(clips, tmp_path, trained_notes):
    results = two_processes([tiny_runs.flags(tmp_path / "w", clips, **{"model.precision": "auto"})] * 2)
    assert [result.status for result in results] == [0, 0], results
    assert_same_run(tmp_path / "w", trained_notes)


@pytest.mark.long
def test_where_one_fails_or_goes_on_while_the_other_waits_for_its_precision_none_waits_for_ever(
    clips, tmp_path, trained_notes
):
    auto = {"model.precision": "auto"}
    no_font = {"sample.audio": "wav", "sample.soundfont": str(tmp_path / "none.sf2")}
    first, second = two_processes([tiny_runs.flags(tmp_path / "w", clips, **auto, **own) for own in (no_font, {})])
    assert first.status == 2 and "none.sf2" in first.line()
    assert second.status == 1 and "process 0 failed before training" in second.line()
    begun = shutil.copytree(trained_notes, tmp_path / "begun")
    results = two_processes([tiny_runs.flags(workdir, clips, **auto) for workdir in (begun, tmp_path / "empty")])
    assert [result.status for result in results] == [1, 1], results
    assert "one workdir that all share" in results[0].line() and "one workdir that all share" in results[1].line()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--coordinator=127.0.0.1:1234", "--distributed=maybe"], ["distributed='maybe'"]),
        (["--num_processes=2"], ["--coordinator=HOST:PORT"]),
        (["--process_id=0"], ["--coordinator=HOST:PORT"]),
        (["--coordinator=127.0.0.1", "--num_processes=2", "--process_id=0"], ["coordinator='127.0.0.1'", "HOST:PORT"]),
        (["--coordinator=127.0.0.1:1234"], ["num_processes=None", "how many processes"]),
        (["--coordinator=127.0.0.1:1234", "--num_processes=2"], ["process_id=None", "counted from 0"]),
        (["--coordinator=127.0.0.1:1234", "--num_processes=2", "--process_id=2"], ["process_id=2", "counted from 0"]),
        (["--coordinator=127.0.0.1:1234", "--num_processes=2", "--process_id=-1"], ["process_id=-1", "counted from 0"]),
        (["--coordinator=127.0.0.1:1234", "--num_processes=0", "--process_id=0"], ["num_processes=0"]),
        (["--num_processes=two"], ["num_processes", "expected a whole number"]),
        (["--distributed=maybe"], ["distributed='maybe'", "expected off or auto"]),
    ],
)
def test_flags_that_do_not_describe_processes_are_refused(words, parts, tmp_path, capsys):
    status = main.main([f"--workdir={tmp_path / 'w'}", *words])
    result = Result(status, *capsys.readouterr())
    assert status == 2
    for part in parts:
        assert part in result.line()
    assert not (tmp_path / "w").exists()


def test_looking_for_processes_where_there_are_none_is_refused(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "musicjax.main", "--distributed=auto", f"--workdir={tmp_path / 'w'}"],
        env=environment(1),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 2
    assert "--coordinator=HOST:PORT" in Result(done.returncode, done.stdout, done.stderr).line()


@pytest.mark.long
def test_two_processes_that_each_read_a_part_of_the_shards_train_as_one(clips, tmp_path):
    """Records of 16,384 rows, one a shard, so that both processes have some to read of each block."""
    config = tiny_runs.config_of(clips, "events")
    shards = tiny_shards.write(config, tmp_path / "shards", pieces_a_shard=2)
    small = {"data.resident_mib": 0, "data.block_rows": 1500, "train.epochs": 4}
    argv = tiny_runs.flags(tmp_path / "two", shards, "events", **small)
    results = two_processes([argv] * 2)
    assert [result.status for result in results] == [0, 0], results
    assert "are read block by block" in results[0].err
    musicjax.train(tiny_runs.config_of(shards, "events", **small), tmp_path / "one")
    assert_same_run(tmp_path / "two", tmp_path / "one", within=1e-6)
