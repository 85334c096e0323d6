"""A run that was cut off and started again ends as the run that was left alone, byte for byte."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from musicjax.store import checkpoint as checkpoint_lib
from musicjax.training import optimizer as optimizer_lib

EPOCHS = 12


def command(clips: Path, workdir: Path) -> list[str]:
    fields = (
        "model.units=32",
        "data.window=20",
        "train.batch_size=16",
        f"train.epochs={EPOCHS}",
        "sample.num_outputs=1",
    )
    return [
        *(sys.executable, "-m", "musicjax.main", "--config=small", f"--workdir={workdir}"),
        *(f"--config.{field}" for field in (*fields, f"data.source={clips}", "sample.num_notes=10")),
    ]


def final_bytes(workdir: Path) -> list[bytes]:
    arrays = checkpoint_lib.restore(workdir).arrays
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(arrays)]


def untimed_metrics(workdir: Path) -> list[dict]:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "windows_per_second")} for line in lines]


def cut_off(clips: Path, workdir: Path, number: signal.Signals, epochs: int) -> subprocess.CompletedProcess[str]:
    """Starts a run and sends it a signal once so many epochs are recorded."""
    process = subprocess.Popen(command(clips, workdir), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        path = workdir / "metrics.jsonl"
        if path.is_file() and path.read_text().count("\n") >= 2 * epochs:
            break
        time.sleep(0.005)
    os.kill(process.pid, number)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="module")
def left_alone(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("alone") / "w"
    subprocess.run(command(clips, workdir), check=True, capture_output=True)
    return workdir


def test_killed_runs_that_are_started_again_end_byte_for_byte_the_same(
    clips: Path, left_alone: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "w"
    for epochs in (1, 4, 7):
        assert cut_off(clips, workdir, signal.SIGKILL, epochs).returncode == -signal.SIGKILL
    assert checkpoint_lib.read_facts(workdir).epoch < EPOCHS
    subprocess.run(command(clips, workdir), check=True, capture_output=True)
    assert final_bytes(workdir) == final_bytes(left_alone)
    assert untimed_metrics(workdir) == untimed_metrics(left_alone)
    for path in (left_alone / "samples").iterdir():
        assert (workdir / "samples" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_run_with_a_line_and_its_status(
    clips: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    done = cut_off(clips, tmp_path / "w", number, 1)
    assert done.returncode == status
    assert done.stderr.splitlines()[-1].startswith(f"musicjax: stopped by {number.name}")
    assert "Traceback" not in done.stderr
    assert checkpoint_lib.exists(tmp_path / "w")


def test_a_restore_that_forgets_the_optimizer_state_is_noticed(clips: Path, left_alone: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "w"
    cut_off(clips, workdir, signal.SIGKILL, 4)
    arrays, facts = checkpoint_lib.restore(workdir)
    fresh = optimizer_lib.rmsprop(facts.config.train.learning_rate).init(arrays.state.params)
    shutil.rmtree(checkpoint_lib.folder(workdir) / str(facts.epoch))
    store = checkpoint_lib.Store(workdir)
    forgetful = arrays._replace(state=arrays.state._replace(opt_state=fresh))
    store.save(checkpoint_lib.Checkpoint(forgetful, facts))
    store.close()
    subprocess.run(command(clips, workdir), check=True, capture_output=True)
    assert final_bytes(workdir) != final_bytes(left_alone)


# A run that goes on, but with its windows in the order of the first epochs.
FORGETFUL = """
import sys
from musicjax import main
from musicjax.run import epoch, train

first, start, restored = [0], epoch.start, train._restored

def counted_from_zero(programs, state, number, *rest, **named):
    return start(programs, state, number - first[0], *rest, **named)

def remembered(*arguments):
    checkpoint = restored(*arguments)
    first[0] = checkpoint.facts.epoch
    return checkpoint

epoch.start, train._restored = counted_from_zero, remembered
sys.exit(main.main(sys.argv[1:]))
"""


def test_a_restore_that_forgets_the_place_in_the_data_is_noticed(clips: Path, left_alone: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "w"
    cut_off(clips, workdir, signal.SIGKILL, 4)
    argv = command(clips, workdir)[3:]
    subprocess.run([sys.executable, "-c", FORGETFUL, *argv], check=True, capture_output=True)
    assert checkpoint_lib.read_facts(workdir).epoch == EPOCHS
    assert final_bytes(workdir) != final_bytes(left_alone)


def test_a_longer_run_goes_on_where_the_shorter_one_ended(clips: Path, left_alone: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "w"
    short = [*command(clips, workdir), "--config.train.epochs=5"]
    subprocess.run(short, check=True, capture_output=True)
    subprocess.run(command(clips, workdir), check=True, capture_output=True)
    assert final_bytes(workdir) == final_bytes(left_alone)


def test_other_data_is_not_mixed_into_a_run(clips: Path, tmp_path: Path) -> None:
    workdir, music = tmp_path / "w", tmp_path / "music"
    shutil.copytree(clips, music)
    subprocess.run([*command(music, workdir), "--config.train.epochs=1"], check=True, capture_output=True)
    sorted(music.iterdir())[0].unlink()
    done = subprocess.run(command(music, workdir), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "was trained on other data" in done.stderr
    assert checkpoint_lib.read_facts(workdir).epoch == 1
