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
from musicjax import config as config_lib
from musicjax import main
from musicjax.store import checkpoint as checkpoint_lib

TINY: dict[str, Any] = {
    "seed": 3,
    "data.workers": 1,
    "data.window": 8,
    "sample.audio": "none",
    "model.units": 8,
    "model.dropout": 0.5,
    "model.precision": "float32",
    "train.epochs": 3,
    "train.batch_size": 96,
    "train.learning_rate": 1e-3,
    "sample.num_outputs": 1,
    "sample.num_notes": 4,
}
# By name: what differs from TINY. All numbers of windows are odd, so no last batch is full on any devices.
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
# Requests that cannot be met by eight devices: fields, and what the line must hold.
REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({"train.batch_size": 100}, ["train.batch_size=100", "8 devices", "96 or 104", "--config.train.devices"]),
    ({"train.batch_size": 3}, ["train.batch_size=3", "such as 8"]),
    ({"train.batch_size": 98, "train.devices": 4}, ["train.batch_size=98", "4 devices", "96 or 100"]),
    ({"train.devices": 9}, ["devices=9", "there are 8", "1..8"]),
]
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


def command(clips: Path, workdir: Path, **fields: Any) -> list[str]:
    values = {**TINY, "data.source": str(clips), **fields}
    listed = {path: ",".join(map(str, value)) if type(value) is tuple else value for path, value in values.items()}
    return ["--config=small", f"--workdir={workdir}", *(f"--config.{path}={value}" for path, value in listed.items())]


def on_one_device(clips: Path, workdir: Path, **fields: Any) -> Path:
    """The same run in this process, which has one device."""
    assert jax.device_count() == 1
    config = musicjax.load_config("small")
    for path, value in {**TINY, "data.source": str(clips), **fields}.items():
        config_lib.set_field(config, path, value)
    musicjax.train(config, workdir)
    return workdir


def assert_same_run(got: Path, expected: Path) -> None:
    """Losses within 1e-5, best parameters within 1e-4 of their norm."""
    ours, alone = (
        [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        for workdir in (got, expected)
    )
    for line, wanted in zip(ours, alone, strict=True):
        for name in ("split", "epoch", "step", "trial", "seed"):
            assert line.get(name) == wanted.get(name)
        assert line["loss"] == pytest.approx(wanted["loss"], rel=1e-5)
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


@pytest.fixture(scope="module")
def alone(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each of RUNS on one device."""
    folder = tmp_path_factory.mktemp("alone")
    return {name: on_one_device(clips, folder / name, **fields) for name, fields in RUNS.items()}


@pytest.fixture(scope="module")
def eight(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Result]]:
    """Where SPREAD was run in a process of eight devices, and what became of it and of REFUSED."""
    folder = tmp_path_factory.mktemp("eight")
    argvs = [
        command(clips, folder / f"{name}-{devices}", **RUNS[name], **{"train.devices": devices})
        for name, devices in SPREAD
    ]
    argvs += [command(clips, folder / f"refused-{k}", **fields) for k, (fields, _) in enumerate(REFUSED)]
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS],
        input=json.dumps(argvs),
        env=environment(8),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder, [Result(*result) for result in json.loads(done.stdout)]


# Devices.


@pytest.mark.parametrize(("name", "devices"), SPREAD)
def test_a_run_on_several_devices_is_that_on_one(name, devices, eight, alone):
    folder, results = eight
    result = results[SPREAD.index((name, devices))]
    assert result.status == 0, result.err
    assert f"device   {devices or 8} of 8 cpu" in result.err
    assert_same_run(folder / f"{name}-{devices}", alone[name])


def test_the_cases_of_several_devices_are_those_that_are_hard(eight):
    """Last batches are not full, also where a batch has room for all windows; dropout drops; trials differ."""
    _, results = eight
    windows = {
        name: json.loads(results[SPREAD.index(place)].out)["train_windows"] for place in SPREAD for name in [place[0]]
    }
    assert windows["plain"] % 96 % 8 and windows["few"] % 8 and windows["few"] < 8000
    assert TINY["model.dropout"] == 0.5


def test_another_seed_is_another_run_on_several_devices_too(eight, alone, clips, tmp_path):
    folder, _ = eight
    other = on_one_device(clips, tmp_path / "w", **{"seed": 4})
    with pytest.raises(AssertionError):
        assert_same_run(folder / "plain-4", other)


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_the_devices_cannot_do_is_refused_in_one_line(number, eight):
    folder, results = eight
    result, (_, words) = results[len(SPREAD) + number], REFUSED[number]
    assert result.status == 2
    for word in words:
        assert word in result.line()
    assert not (folder / f"refused-{number}").exists()


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
            [sys.executable, "-m", "musicjax.main", *argv, place, "--num_processes=2", f"--process_id={k}"],
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
    return folder, two_processes([command(clips, folder / name) for name in ("first", "second")])


def test_a_run_of_two_processes_is_that_of_one(of_two, alone):
    folder, (first, second) = of_two
    assert (first.status, second.status) == (0, 0), first.err + second.err
    assert "device   2 of 2 cpu (cpu) in 2 processes" in first.err
    assert_same_run(folder / "first", alone["plain"])


def test_only_the_first_of_two_processes_speaks_and_writes(of_two):
    folder, (first, second) = of_two
    assert json.loads(first.out)["epochs"] == 3
    assert "samples  1 MIDI files" in first.err and list((folder / "first" / "samples").glob("*.mid"))
    assert second.out == ""
    assert not [line for line in second.err.splitlines() if line.startswith(("samples", "train ", "compile", "data"))]
    assert not (folder / "second").exists()


@pytest.mark.long
def test_one_process_goes_on_with_a_run_of_two(of_two, clips, tmp_path):
    folder, _ = of_two
    workdir = shutil.copytree(folder / "first", tmp_path / "w")
    on_one_device(clips, workdir, **{"train.epochs": 5})
    assert_same_run(workdir, on_one_device(clips, tmp_path / "whole", **{"train.epochs": 5}))


def test_two_processes_go_on_with_a_run_of_one(clips, tmp_path, alone):
    workdir = on_one_device(clips, tmp_path / "w", **{"train.epochs": 1})
    results = two_processes([command(clips, workdir)] * 2)
    assert [result.status for result in results] == [0, 0], results
    assert "resume   1 epochs are done" in results[0].err
    assert_same_run(workdir, alone["plain"])


def test_processes_that_do_not_agree_are_refused_and_none_waits_for_ever(clips, tmp_path):
    results = two_processes([command(clips, tmp_path / str(k), seed=k) for k in (0, 1)])
    for result in results:
        assert result.status == 1
        assert "processes 1 do not agree with process 0" in result.line()
        assert "same flags" in result.line()
    assert not checkpoint_lib.exists(tmp_path / "0")


@pytest.mark.long
def test_two_processes_with_other_patience_would_wait_for_each_other_and_are_refused(clips, tmp_path):
    results = two_processes([command(clips, tmp_path / "w", **{"train.patience": patience}) for patience in (0, 3)])
    for result in results:
        assert result.status == 1
        assert "processes 1 do not agree with process 0" in result.line()


def test_where_one_process_cannot_begin_the_other_does_not_wait_for_it(clips, tmp_path):
    results = two_processes([command(source, tmp_path / "w") for source in (clips, tmp_path / "absent")])
    assert [result.status for result in results] == [1, 1] or [result.status for result in results] == [1, 2]
    assert "process 1 failed before training" in results[0].line()
    assert "absent" in results[1].line()


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
