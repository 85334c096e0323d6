"""Training from shards: the numbers of the folder that they come from, and blocks that follow from the seed alone."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import musicjax
from musicjax import main
from musicjax.errors import RunError, UsageError
from musicjax.shards import shards
from musicjax.shards.blocks import Blocks
from musicjax.shards.shards import Shards
from musicjax.store import checkpoint
from tests import tiny_runs, tiny_shards
from tests.test_resume import CUT_OFF

pytest.importorskip("array_record")
pytest.importorskip("grain")

WINDOW = 8
# What is learned is compared, and no music.
SILENT = {"train.epochs": 1, "sample.num_outputs": 0, "sample.page": False}
# So many windows a block that some epochs are a pass.
STREAMED = {**SILENT, "data.resident_mib": 0, "data.block_rows": 800}


@pytest.fixture(scope="module")
def of_clips(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of the clips, their records small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "RECORD_ROWS", 400)
        return tiny_shards.write(tiny_runs.config_of(clips, "events"), tmp_path_factory.mktemp("shards") / "s")


@pytest.fixture(autouse=True)
def _small_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of records as small as those that were written."""
    monkeypatch.setattr("musicjax.shards.blocks.RECORD_ROWS", 400)


def metrics_of(workdir: Path) -> list[dict]:
    timed = ("seconds", "windows_per_second")
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if name not in timed} for line in lines]


def streamed(folder: Path, share: tuple[int, int] = (0, 1)) -> Blocks:
    return Blocks(Shards(folder), WINDOW, 7, 0, 800, share)


@pytest.fixture(scope="module")
def folder_run(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the folder of clips."""
    workdir = tmp_path_factory.mktemp("folder") / "run"
    musicjax.train(tiny_runs.config_of(clips, "events", **SILENT), workdir)
    return workdir


def test_shards_that_fit_into_memory_train_as_their_folder_does(folder_run, of_clips, tmp_path):
    musicjax.train(tiny_runs.config_of(of_clips, "events", **SILENT), tmp_path)
    assert metrics_of(tmp_path) == metrics_of(folder_run)


def test_each_record_is_in_one_block_of_each_pass(of_clips):
    found, index = streamed(of_clips), Shards(of_clips).index
    drawn = [found._order()[number][0] for number in range(30)]
    places = np.concatenate(drawn)
    count = int((index.record_use == shards.TRAINING).sum())
    for first in range(0, len(places) - count, count):
        assert sorted(places[first : first + count].tolist()) == list(range(count))
    assert drawn[0].tolist() != drawn[-1].tolist()


def test_a_block_holds_whole_windows_of_pieces_that_train(of_clips):
    """Every window of every block is one of those that all shards have, its piece around it."""
    everything = Blocks(Shards(of_clips), WINDOW, 7, 2**30, 800)
    assert everything.is_resident and not streamed(of_clips).is_resident
    whole = everything.whole(0)

    def told(block):
        parts = zip(*(side.tolist() for side in block[1:]), strict=True)
        return {(start - first, block.rows[first:end].tobytes(), down, up) for start, first, end, down, up in parts}

    known, seen = told(whole), set()
    assert len(whole.starts) == everything.total
    for number in range(12):
        block = streamed(of_clips).whole(number)
        assert len(block.starts) == streamed(of_clips).windows
        assert told(block) <= known
        seen |= told(block)
    assert seen == known


def test_a_block_is_the_same_whatever_was_read_before_it(of_clips):
    one, other = streamed(of_clips), streamed(of_clips)
    for number in (0, 1, 2, 5, 6, 1):
        jax.tree.map(np.testing.assert_array_equal, one.part(number), other.whole(number))


@pytest.mark.parametrize("number", [0, 5, 1_000_000])
def test_a_block_has_at_least_a_record(of_clips, number):
    """However few rows are asked for; and any block can be the first that is read."""
    found = Blocks(Shards(of_clips), WINDOW, 7, 0, 1)
    assert len(found._order()[number][0]) == 1 and len(found.whole(number).starts) == found.windows
    jax.tree.map(np.testing.assert_array_equal, found.part(number), found.whole(number))


@pytest.mark.parametrize("processes", [2, 3])
def test_the_parts_of_all_processes_are_the_block(of_clips, processes):
    whole = streamed(of_clips).whole(3)
    parts = [streamed(of_clips, (process, processes)).part(3) for process in range(processes)]
    assert len({len(part.rows) for part in parts}) == 1
    joined = np.concatenate([part.rows for part in parts])
    np.testing.assert_array_equal(joined[: len(whole.rows)], whole.rows)
    assert not joined[len(whole.rows) :].any()
    for part in parts:
        jax.tree.map(np.testing.assert_array_equal, part[1:], whole[1:])


def test_a_run_from_shards_goes_on_as_if_it_had_never_stopped(of_clips, tmp_path, capsys):
    config = tiny_runs.config_of(of_clips, "events", **{**STREAMED, "train.epochs": 5})
    musicjax.train(config, tmp_path / "whole")
    assert "epochs are a pass over all of them" in capsys.readouterr().err
    musicjax.train(tiny_runs.config_of(of_clips, "events", **{**STREAMED, "train.epochs": 2}), tmp_path / "parts")
    musicjax.train(config, tmp_path / "parts")
    whole, parts = (checkpoint.restore(tmp_path / name)[0].state for name in ("whole", "parts"))
    jax.tree.map(np.testing.assert_array_equal, whole.params, parts.params)
    assert metrics_of(tmp_path / "whole") == metrics_of(tmp_path / "parts")


@pytest.mark.long
def test_a_run_from_shards_that_is_killed_goes_on_to_the_same_bytes(of_clips, tmp_path):
    fields = {**STREAMED, "train.epochs": 5}
    argv = tiny_runs.flags(tmp_path / "killed", of_clips, "events", **fields)
    killed = subprocess.run([sys.executable, "-c", CUT_OFF, "killed_in_save", "3", *argv], check=False)
    assert killed.returncode == -signal.SIGKILL
    for name in ("killed", "whole"):
        command = [
            sys.executable,
            "-m",
            "musicjax.main",
            *tiny_runs.flags(tmp_path / name, of_clips, "events", **fields),
        ]
        subprocess.run(command, check=True)
    killed, whole = (checkpoint.restore(tmp_path / name)[0] for name in ("killed", "whole"))
    jax.tree.map(np.testing.assert_array_equal, killed, whole)
    assert metrics_of(tmp_path / "killed") == metrics_of(tmp_path / "whole")


@pytest.mark.long
def test_a_model_without_matches_sees_none_in_shards(clips, of_clips, tmp_path):
    for name, source in (("folder", clips), ("shards", of_clips)):
        config = tiny_runs.config_of(source, "events", **{**SILENT, "data.match_share": 0.0})
        musicjax.train(config, tmp_path / name)
    assert metrics_of(tmp_path / "shards") == metrics_of(tmp_path / "folder")


def test_a_model_is_scored_on_the_held_out_pieces_of_shards(folder_run, of_clips):
    own = musicjax.evaluate(folder_run)
    scores = musicjax.evaluate(folder_run, data=of_clips)
    assert scores["loss"] == pytest.approx(own["loss"], rel=1e-6)
    assert (scores["pieces"], scores["notes"]) == (own["pieces"], own["notes"])


def with_settings(folder: Path, output: Path, **settings) -> Path:
    """The same shards, as if these fields had shaped them."""
    shutil.copytree(folder, output)
    manifest = json.loads((output / shards.MANIFEST).read_text())
    manifest["settings"] |= {f"data.{name}": value for name, value in settings.items()}
    (output / shards.MANIFEST).write_text(json.dumps(manifest))
    return output


def test_a_run_takes_the_split_of_its_shards_unless_it_asks_for_another(of_clips, tmp_path, capsys):
    folder = with_settings(of_clips, tmp_path / "s", validation_fraction=0.1, split_seed=5)
    argv = tiny_runs.flags(tmp_path / "w", folder, "events", **SILENT)
    for _ in range(2):  # the second start finds the run that the first one left
        assert main.main(argv) == 0
        assert "the split of these shards: validation_fraction=0.1, split_seed=5" in capsys.readouterr().err
    assert musicjax.load_config(str(tmp_path / "w" / "config.json")).data.validation_fraction == 0.1
    assert main.main([*argv[:1], f"--workdir={tmp_path / 'x'}", *argv[2:], "--config.data.split_seed=6"]) == 2
    assert "config.data.split_seed is 5 in the shards" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["--config=events", "--config.data.split_seed=6"], "config.data.split_seed is 5 in the shards"),
        (["--config=events", "--config.data.instruments=merge"], "config.data.instruments is 'keep' in the shards"),
        (["--config=small"], "which contain note events"),
        ([], "config auto tries settings on music files"),
    ],
)
def test_a_run_that_is_refused_is_told_of_no_split(of_clips, tmp_path, capsys, asked, told):
    folder = with_settings(of_clips, tmp_path / "s", validation_fraction=0.1, split_seed=5)
    assert main.main([f"--data={folder}", f"--workdir={tmp_path / 'w'}", *asked]) == 2
    err = capsys.readouterr().err
    assert told in err and "the split of these shards" not in err


@pytest.mark.long
def test_weights_of_a_run_on_shards_begin_runs_on_them_and_on_a_folder(of_clips, clips, tmp_path):
    musicjax.train(tiny_runs.config_of(of_clips, "events", **SILENT), tmp_path / "first")
    for name, source in (("shards", of_clips), ("folder", clips)):
        summary = musicjax.train(tiny_runs.config_of(source, "events", **SILENT), tmp_path / name, tmp_path / "first")
        assert summary["init_from"] == str(tmp_path / "first")
    bins = json.loads((of_clips / shards.MANIFEST).read_text())["learned"]["bins"]
    other = with_settings(of_clips, tmp_path / "s")
    manifest = json.loads((other / shards.MANIFEST).read_text())
    manifest["learned"]["bins"] = {**bins, "bpm": bins["bpm"] + 1}
    (other / shards.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(RunError, match="their bins differ from those of the --init_from weights"):
        musicjax.train(tiny_runs.config_of(other, "events", **SILENT), tmp_path / "x", tmp_path / "first")


@pytest.mark.parametrize("asked", ["keep", "together"])
def test_copies_that_shards_leave_out_are_not_to_be_had(of_clips, tmp_path, capsys, asked):
    argv = [*tiny_runs.flags(tmp_path / "w", of_clips, "events", **SILENT), f"--config.data.duplicates={asked}"]
    assert main.main(argv) == 2
    assert f"config.data.duplicates is 'drop' in the shards {of_clips}, '{asked}' here" in capsys.readouterr().err


def test_a_model_is_scored_on_shards_of_another_split(folder_run, of_clips, tmp_path):
    folder = with_settings(of_clips, tmp_path / "s", validation_fraction=0.1, split_seed=5, duplicates="keep")
    assert musicjax.evaluate(folder_run, data=folder)["split"] == "validation"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data.instruments": "merge"}, "config.data.instruments is 'keep' in the shards"),
        ({"data.duplicates": "keep"}, "config.data.duplicates is 'drop' in the shards"),
        ({"data.encoding": "notes"}, "which contain note events; expected music files, or a note-event config"),
    ],
)
def test_a_config_that_shards_do_not_fit_is_refused(of_clips, tmp_path, changes, said):
    config = tiny_runs.config_of(of_clips, "events")
    for path, value in changes.items():
        config = musicjax.config.with_fields(config, {path: value})
    with pytest.raises(UsageError, match=said):
        musicjax.train(config, tmp_path)


def test_settings_are_not_tried_on_shards(of_clips, tmp_path, capsys):
    assert main.main([f"--data={of_clips}", f"--workdir={tmp_path / 'w'}"]) == 2
    assert "config auto tries settings on music files" in capsys.readouterr().err
