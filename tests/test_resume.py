"""A run that was cut off and started again ends as the run that was left alone, byte for byte."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import musicjax
from musicjax.errors import RunError
from musicjax.run import epoch as epoch_lib
from musicjax.store import checkpoint as checkpoint_lib
from musicjax.training import optimizer as optimizer_lib
from tests import tiny_runs

EPOCHS = 7
GUIDE = Path(__file__).parents[1] / "docs" / "guide.md"
SOUND = {"sample.audio": "wav"}
# Where a process is cut off: a function of `when` and the two numbers it is called with, and how the process ends.
CUT_OFF = """
import os, signal, sys
from musicjax import main
from musicjax.store import checkpoint, checksums, recorder

def killed_in_save(epoch):  # its files are written, its checksums are not
    write = checksums.write
    def dying(folder):
        if folder.name == f"{epoch}.partial":
            os.kill(os.getpid(), signal.SIGKILL)
        write(folder)
    checksums.write = dying

def killed_before_save(epoch):  # the epoch's lines are in metrics.jsonl, and must be taken back
    write = recorder.Recorder.write
    def dying(self, split, number, *rest):
        write(self, split, number, *rest)
        if (split, number) == ("valid", epoch):
            os.kill(os.getpid(), signal.SIGKILL)
    recorder.Recorder.write = dying

def terminated(epoch):
    write = recorder.Recorder.write
    def signalled(self, split, number, *rest):
        if (split, number) == ("train", epoch):
            os.kill(os.getpid(), signal.SIGTERM)
        write(self, split, number, *rest)
    recorder.Recorder.write = signalled

globals()[sys.argv[1]](int(sys.argv[2]))
sys.exit(main.main(sys.argv[3:]))
"""


def train(clips: Path, workdir: Path, **changes: Any) -> Path:
    musicjax.train(tiny_runs.config_of(clips, **{"train.epochs": EPOCHS, **SOUND, **changes}), workdir)
    return workdir


def cut_off(clips: Path, workdir: Path, how: str, epoch: int) -> subprocess.CompletedProcess[str]:
    """A process that trains and is cut off at this epoch, in a way of CUT_OFF."""
    argv = tiny_runs.flags(workdir, clips, **{"train.epochs": EPOCHS, **SOUND})
    return subprocess.run(
        [sys.executable, "-c", CUT_OFF, how, str(epoch), *argv],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def slowed(workdir: Path) -> Path:
    """The run as if its epochs so far had taken an hour longer each, so that no measured time is equal by luck."""
    path = workdir / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    timed = [line | {"seconds": line["seconds"] + 3600} if "seconds" in line else line for line in lines]
    assert timed != lines
    path.write_text("".join(json.dumps(line) + "\n" for line in timed))
    return workdir


def final_bytes(workdir: Path) -> list[bytes]:
    arrays = checkpoint_lib.restore(workdir).arrays
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(arrays)]


def untimed_metrics(workdir: Path) -> list[dict]:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "windows_per_second")} for line in lines]


def promised() -> dict[str, bool]:
    """Of each kind of file in the table of the guide, whether it is equal."""
    table = GUIDE.read_text().split("<!-- resumed -->")[1].split("\n\n")[1]
    return {name: equal == "yes" for name, equal in re.findall(r"^\| `(\S+)` \| (yes|no) \|", table, re.MULTILINE)}


def files_of(workdir: Path) -> dict[str, dict[str, bytes]]:
    """The bytes of each file, by its kind in the guide; raises unless each file is of one kind."""
    found: dict[str, dict[str, bytes]] = {kind: {} for kind in promised()}
    for path in workdir.rglob("*"):
        if path.is_file():
            name = path.relative_to(workdir).as_posix()
            (kind,) = [kind for kind in found if fnmatch.fnmatch(name, kind)]
            found[kind][name] = path.read_bytes()
    return found


def saved_metadata(workdir: Path) -> dict[str, bytes]:
    return {path.parts[-3]: path.read_bytes() for path in (workdir / "checkpoints").glob("*/metadata/metadata")}


def assert_same(workdir: Path, left_alone: Path) -> None:
    assert final_bytes(workdir) == final_bytes(left_alone)
    assert saved_metadata(workdir) == saved_metadata(left_alone)
    assert untimed_metrics(workdir) == untimed_metrics(left_alone)
    ours, theirs = files_of(workdir), files_of(left_alone)
    assert {kind: ours[kind] == theirs[kind] for kind in ours} == promised()
    music = [Path(name) for name in theirs["samples/*"]]
    assert {path.parent.name for path in music} == {"samples", "real"}
    assert {path.suffix for path in music} == {".mid", ".wav", ".json"}
    assert not [path.name for path in workdir.rglob("*") if "partial" in path.name or "tmp" in path.name]


@pytest.fixture(scope="module")
def left_alone(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(clips, tmp_path_factory.mktemp("alone") / "w")


@pytest.fixture
def halfway(trained_notes: Path, tmp_path: Path) -> Path:
    """A run of the first three epochs."""
    return shutil.copytree(trained_notes, tmp_path / "half")


def test_a_run_that_is_stopped_and_killed_and_started_again_ends_byte_for_byte_as_one_left_alone(
    clips: Path, left_alone: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "w"
    stopped = cut_off(clips, workdir, "terminated", 3)
    assert stopped.returncode == 143
    assert stopped.stderr.splitlines()[-1].startswith("musicjax: stopped by SIGTERM")
    # The signal came inside a save, which was finished first.
    assert checkpoint_lib.read_metadata(workdir).epoch == 3
    for how, epoch, saved in (("killed_in_save", 5, 4), ("killed_before_save", 6, 5)):
        killed = cut_off(clips, workdir, how, epoch)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert checkpoint_lib.read_metadata(workdir).epoch == saved
    assert len(untimed_metrics(workdir)) == 2 * 6, "the last epoch was recorded but not saved"
    assert_same(train(clips, slowed(workdir)), left_alone)


@pytest.mark.parametrize("how", [pytest.param("returns True", marks=pytest.mark.long), "raises"])
def test_a_run_that_on_epoch_ends_is_saved_and_goes_on_as_one_left_alone(
    clips: Path, left_alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    config, workdir = tiny_runs.config_of(clips, **{"train.epochs": EPOCHS, **SOUND}), tmp_path / "w"
    seen: list[musicjax.FinishedEpoch] = []

    def on_epoch(finished: musicjax.FinishedEpoch) -> bool | None:
        assert checkpoint_lib.read_metadata(workdir).epoch == finished.epoch, "it is saved before"
        seen.append(finished)
        if finished.epoch == 3 and how == "raises":
            raise KeyError("mine")
        return True if finished.epoch == 3 else None

    if how == "raises":
        with pytest.raises(KeyError, match="mine"):
            musicjax.train(config, workdir, on_epoch=on_epoch)
    else:
        summary = musicjax.train(config, workdir, on_epoch=on_epoch)
        assert summary["epochs"] == 3 and len(summary["samples"]) == 1 and Path(summary["report"]).is_file()
        assert "stopped early: as on_epoch asked" in capsys.readouterr().err
    assert checkpoint_lib.read_metadata(workdir).epoch == 3
    musicjax.train(config, workdir, on_epoch=on_epoch)
    assert [finished.epoch for finished in seen] == list(range(1, EPOCHS + 1))
    assert_same(workdir, left_alone)
    recorded = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    named = [
        {"split": split, "epoch": finished.epoch, **metrics}
        for finished in seen
        for split, metrics in (("train", finished.train), ("valid", finished.valid))
    ]
    assert named == [{name: value for name, value in line.items() if name != "step"} for line in recorded]
    assert [one.windows_per_second for one in seen] == [one.train["windows_per_second"] for one in seen]


def test_a_longer_run_goes_on_where_the_shorter_one_ended(clips: Path, left_alone: Path, halfway: Path) -> None:
    assert_same(train(clips, slowed(halfway)), left_alone)


def test_a_finished_run_whose_metrics_are_damaged_says_so_and_has_a_page_without_their_curves(
    halfway: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = halfway / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:100])
    (halfway / "report.html").unlink()
    summary = musicjax.train(tiny_runs.config_of(clips), halfway)
    assert Path(summary["report"]).is_file()
    told = capsys.readouterr().err
    assert f"metrics  {path} is damaged: line 1 cannot be read and is removed; the curves lack 3 epochs, " in told
    assert f"left out the curves: no line in {path} can be read\n" in told


# Controls: what the tests above would not notice, they would not test.


@pytest.mark.long
def test_a_restore_that_forgets_the_optimizer_state_is_noticed(clips: Path, left_alone: Path, halfway: Path) -> None:
    arrays, metadata = checkpoint_lib.restore(halfway)
    fresh = optimizer_lib.rmsprop(metadata.config.train.learning_rate).init(arrays.state.params)
    shutil.rmtree(checkpoint_lib.folder(halfway) / str(metadata.epoch))
    store = checkpoint_lib.Store(halfway)
    forgetful = arrays._replace(state=arrays.state._replace(opt_state=fresh))
    store.save(checkpoint_lib.Checkpoint(forgetful, metadata))
    store.close()
    train(clips, halfway)
    assert checkpoint_lib.read_metadata(halfway).epoch == EPOCHS
    assert final_bytes(halfway) != final_bytes(left_alone)


@pytest.mark.long
def test_a_restore_that_forgets_its_place_in_the_data_is_noticed(
    clips: Path, left_alone: Path, halfway: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that goes on, but with its windows in the order of the first epochs."""
    start = epoch_lib.start
    monkeypatch.setattr(
        epoch_lib,
        "start",
        lambda programs, state, number, *rest, **named: start(programs, state, number - 3, *rest, **named),
    )
    train(clips, halfway)
    assert checkpoint_lib.read_metadata(halfway).epoch == EPOCHS
    assert final_bytes(halfway) != final_bytes(left_alone)


def test_other_constants_than_the_data_give_now_are_refused(clips: Path, halfway: Path) -> None:
    """As after a change of how they are learned."""
    arrays, metadata = checkpoint_lib.restore(halfway)
    scaling = {**metadata.learned["scaling"], "span": [2 * span for span in metadata.learned["scaling"]["span"]]}
    shutil.rmtree(checkpoint_lib.folder(halfway) / str(metadata.epoch))
    store = checkpoint_lib.Store(halfway)
    store.save(checkpoint_lib.Checkpoint(arrays, dataclasses.replace(metadata, learned={"scaling": scaling})))
    store.close()
    with pytest.raises(RunError, match="now give other scaling than it was trained with"):
        train(clips, halfway)
