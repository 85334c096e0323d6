"""The whole job as users start it: a folder of MIDI in, a workdir with a model and music out."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import mido
import numpy as np
import pytest

import musicjax
from musicjax.main import main
from musicjax.music.notes import from_seconds
from musicjax.store import checkpoint as checkpoint_lib

TINY = ("--config.model.units=24", "--config.train.epochs=3", "--config.train.batch_size=64", "--config.data.window=20")
TINY += ("--config.sample.audio=none",)


def workdir_of(clips: Path, workdir: Path, *more: str) -> Path:
    assert main([f"--workdir={workdir}", f"--config.data.source={clips}", *TINY, *more]) == 0
    return workdir


@pytest.fixture(scope="module")
def run(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return workdir_of(clips, tmp_path_factory.mktemp("run") / "w", "--config=small")


def metrics(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.mid"))}


def generate(run: Path, folder: Path, *flags: str) -> dict[str, bytes]:
    assert main(["generate", f"--workdir={run}", f"--output_dir={folder}", "--audio=none", *flags]) == 0
    return contents(folder)


def test_workdir_holds_what_is_promised(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    assert config["model"]["units"] == 24
    assert len(list((run / "samples").glob("*.mid"))) == 8
    assert list((run / "tensorboard").glob("events*"))
    assert len(list((run / "checkpoints").iterdir())) == 2
    lines = metrics(run)
    assert [(line["split"], line["epoch"]) for line in lines] == [
        (split, epoch) for epoch in (1, 2, 3) for split in ("train", "valid")
    ]
    assert {"step", "loss", "accuracy", "windows_per_second"} <= set(lines[0])
    assert len((run / "data.jsonl").read_text().splitlines()) == 12


def test_training_lowers_the_loss(run: Path) -> None:
    train = [line["loss"] for line in metrics(run) if line["split"] == "train"]
    assert train[-1] < 0.8 * train[0]


def test_the_same_seed_gives_the_same_numbers_and_music(clips: Path, run: Path, tmp_path: Path) -> None:
    again = workdir_of(clips, tmp_path / "again", "--config=small")
    other = workdir_of(clips, tmp_path / "other", "--config=small", "--config.seed=1")
    timed = ("seconds", "windows_per_second")

    def untimed(workdir: Path) -> list[dict]:
        return [{key: value for key, value in line.items() if key not in timed} for line in metrics(workdir)]

    assert untimed(again) == untimed(run)
    assert contents(again / "samples") == contents(run / "samples")
    assert untimed(other) != untimed(run)


def test_output_k_is_the_same_file_whatever_the_batch(run: Path, tmp_path: Path) -> None:
    four = generate(run, tmp_path / "4", "--num_outputs=4", "--seed=7", "--num_notes=60")
    again = generate(run, tmp_path / "again", "--num_outputs=4", "--seed=7", "--num_notes=60")
    ten = generate(run, tmp_path / "10", "--num_outputs=10", "--seed=7", "--num_notes=60")
    assert four == again
    assert len(ten) == 10
    assert {name: ten[name] for name in four} == four
    assert len(set(ten.values())) == 10


def test_temperature_zero_is_the_mean_prediction_whatever_the_noise_key(run: Path, clips: Path, tmp_path: Path) -> None:
    primer = f"--primer={sorted(clips.glob('*.mid'))[0]}"
    flags = ("--num_outputs=2", "--num_notes=40", "--temperature=0", primer)
    one = generate(run, tmp_path / "a", *flags, "--seed=1")
    two = generate(run, tmp_path / "b", *flags, "--seed=2")
    assert len({*one.values(), *two.values()}) == 1


def test_lengths_in_notes_and_in_seconds(run: Path, tmp_path: Path) -> None:
    generate(run, tmp_path / "notes", "--num_outputs=3", "--num_notes=77")
    for path in (tmp_path / "notes").iterdir():
        assert len(musicjax.read_midi(path)) == 77
    generate(run, tmp_path / "seconds", "--num_outputs=3", "--seconds=9")
    for path in (tmp_path / "seconds").iterdir():
        notes = musicjax.read_midi(path)
        assert 4 < notes.seconds <= 9.001
        assert len(notes)


def test_generated_files_end_every_note(run: Path) -> None:
    for path in (run / "samples").glob("*.mid"):
        sounding: dict[tuple[int, int], int] = {}
        for message in mido.MidiFile(path):
            if message.type in ("note_on", "note_off"):
                key = (message.channel, message.note)
                sounding[key] = sounding.get(key, 0) + (1 if message.type == "note_on" else -1)
                assert sounding[key] in (0, 1)
        assert not any(sounding.values())


def test_a_checkpoint_folder_alone_is_enough_to_generate(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "checkpoints", tmp_path / "checkpoints")
    assert len(generate(tmp_path, tmp_path / "out", "--num_outputs=1", "--num_notes=20")) == 1


def test_evaluate_repeats_the_recorded_validation(run: Path, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", f"--workdir={run}", "--checkpoint=latest"]) == 0
    scores = json.loads(capsys.readouterr().out)
    recorded = metrics(run)[-1]
    assert scores["loss"] == pytest.approx(recorded["loss"], rel=1e-6)
    assert scores["epoch"] == recorded["epoch"]
    assert main(["evaluate", f"--workdir={run}", f"--data={clips}"]) == 0
    assert json.loads(capsys.readouterr().out)["pieces"] == 12


def test_data_command_reports_counts_that_add_up(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", f"--data={clips}", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert counts["kept"] + counts["recovered"] + counts["skipped"] == counts["files"] == 12
    assert counts["notes"] == sum(len(musicjax.read_midi(path)) for path in clips.glob("*.mid"))


def test_early_stop_ends_training_when_validation_no_longer_improves(clips: Path, tmp_path: Path) -> None:
    # A rate of 1e-12 changes no float32 parameter by enough to improve: the first epoch stays the best.
    workdir = workdir_of(
        clips,
        tmp_path / "w",
        "--config=small",
        "--config.train.epochs=50",
        "--config.train.patience=2",
        "--config.train.learning_rate=1e-12",
    )
    assert metrics(workdir)[-1]["epoch"] < 10


def test_a_loss_that_is_not_finite_stops_the_run_and_is_never_saved(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ["--config=small", f"--workdir={tmp_path / 'w'}", f"--config.data.source={clips}", *TINY]
    argv += ["--config.train.learning_rate=10", "--config.model.dropout=0", "--config.train.epochs=30"]
    from musicjax.model import heads

    original = heads.Regression.loss
    monkeypatch.setattr(heads.Regression, "loss", lambda *given: original(*given) / 0.0)
    assert main(argv) == 1
    assert "expected finite numbers" in capsys.readouterr().err
    assert not list((tmp_path / "w" / "checkpoints").glob("[0-9]*"))


def test_paper_window_and_parameter_counts_on_the_papers_data(shared_data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "musicjax.main", "--config=paper_code", f"--workdir={tmp_path / 'w'}"]
    command += [f"--config.data.source={shared_data / 'pop_music_midi'}", "--config.train.epochs=1"]
    command += ["--config.sample.num_outputs=1", "--config.sample.num_notes=10"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=500)
    summary = json.loads(done.stdout)
    assert summary["parameters"] == 1_058_307
    assert summary["train_windows"] == 17_456
    assert summary["train_windows"] + summary["validation_windows"] == 21_820
    train, valid = metrics(tmp_path / "w")
    assert 0.022 < train["loss"] < 0.030
    assert 0.013 < valid["loss"] < 0.018
    assert np.isfinite(valid["pitch_error_semitones"])


def test_a_model_trained_on_another_device_is_restored_on_this_one(run: Path, tmp_path: Path) -> None:
    """Saved again from the second of two simulated devices, restored where there is one."""
    script = """
import sys, jax
from pathlib import Path
from musicjax.store import checkpoint
arrays, facts = checkpoint.restore(Path(sys.argv[1]))
arrays = jax.device_put(arrays, jax.devices()[1])
store = checkpoint.Store(Path(sys.argv[2]))
store.save(checkpoint.Checkpoint(arrays, facts))
store.close()
"""
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    subprocess.run([sys.executable, "-c", script, str(run), str(tmp_path)], env=environment, check=True)
    here, there = checkpoint_lib.restore(run), checkpoint_lib.restore(tmp_path)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), here.arrays, there.arrays))


def test_evaluating_on_a_folder_that_has_changed_is_refused(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    music = shutil.copytree(clips, tmp_path / "music")
    workdir = workdir_of(music, tmp_path / "w", "--config=small", "--config.train.epochs=1")
    sorted(music.iterdir())[0].unlink()
    assert main(["evaluate", f"--workdir={workdir}"]) == 1
    assert "was trained on other data" in capsys.readouterr().err


def test_a_run_goes_on_when_its_folder_has_moved(clips: Path, run: Path, tmp_path: Path) -> None:
    workdir, moved = shutil.copytree(run, tmp_path / "w"), shutil.copytree(clips, tmp_path / "moved")
    assert main([f"--workdir={workdir}", f"--config.data.source={moved}"]) == 0


def test_one_long_rest_is_named(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    music = shutil.copytree(clips, tmp_path / "music")
    for name in ("rest1.mid", "rest2.mid"):  # two, so that one of them trains
        onset = np.arange(40) * 0.25 + np.where(np.arange(40) < 20, 0.0, 550.0 if name == "rest1.mid" else 540.0)
        musicjax.write_midi(from_seconds(np.full(40, 60), np.full(40, 80), onset, np.full(40, 0.2)), music / name)
    workdir_of(music, tmp_path / "w", "--config=small", "--config.train.epochs=1")
    assert "rests for 5" in capsys.readouterr().err


def test_float64_is_refused(run: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "JAX_ENABLE_X64": "1"}
    command = [sys.executable, "-m", "musicjax.main", "generate", f"--workdir={run}", f"--output_dir={tmp_path}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "JAX_ENABLE_X64" in done.stderr


def test_files_that_are_replaced_are_said(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate(run, tmp_path, "--num_outputs=2", "--num_notes=5")
    capsys.readouterr()
    generate(run, tmp_path, "--num_outputs=3", "--num_notes=5")
    assert "2 of 3 files" in capsys.readouterr().err
