"""The whole job as users start it: a folder of MIDI in, a workdir with a model and music out."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import mido
import numpy as np
import pytest

import musicjax
from musicjax import config_files
from musicjax.encodings import encoding
from musicjax.errors import UsageError
from musicjax.main import main
from musicjax.model import network, sample
from musicjax.music.notes import from_seconds
from musicjax.run import epoch as epoch_lib
from musicjax.store import checkpoint as checkpoint_lib
from musicjax.store import model as model_lib
from tests import tiny_runs
from tests.test_mesh import assert_same_run

GUIDE = Path(__file__).parents[1] / "docs" / "guide.md"
pytestmark = pytest.mark.usefixtures("own_signal_handlers")


@pytest.fixture
def run(trained_notes: Path) -> Path:
    """The tiny run of notes, which no test here changes."""
    return trained_notes


def train(source: Path, workdir: Path, **changes: Any) -> Path:
    musicjax.train(tiny_runs.config_of(source, **changes), workdir)
    return workdir


def metrics(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.mid"))}


def generate(run: Path, folder: Path, *flags: str) -> dict[str, bytes]:
    assert main(["generate", f"--workdir={run}", f"--output_dir={folder}", "--audio=none", *flags]) == 0
    return contents(folder)


def test_a_workdir_holds_what_is_promised(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    assert config["model"]["units"] == 8
    assert config_files.load(str(run / "config.json")) == checkpoint_lib.read_metadata(run).config
    assert len(list((run / "samples").glob("*.mid"))) == 1
    assert list((run / "tensorboard").glob("events*"))
    assert (run / "report.html").is_file()
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["2", "3"]
    lines = metrics(run)
    assert [(line["split"], line["epoch"]) for line in lines] == [
        (split, epoch) for epoch in (1, 2, 3) for split in ("train", "valid")
    ]
    assert {"step", "loss", "accuracy", "windows_per_second"} <= set(lines[0])
    assert {"step", "loss", "accuracy", "majority_accuracy", "pitch_error_semitones"} <= set(lines[1])
    assert len((run / "data.jsonl").read_text().splitlines()) == 12


@pytest.mark.long
def test_a_run_in_parts_whose_gates_are_computed_again_is_the_run_itself(clips, trained_events, tmp_path, monkeypatch):
    """Each of four parts of a batch of 64 is 16 windows."""
    apply, seen = network.apply, set()

    def noticed(net, params, windows, dropout_key=None, *rest):
        seen.add((len(windows), net.remat_rows, dropout_key is not None))
        return apply(net, params, windows, dropout_key, *rest)

    monkeypatch.setattr(network, "apply", noticed)
    fields = {"train.accumulate": 4, "model.remat_rows": 3}
    musicjax.train(tiny_runs.config_of(clips, "events", **fields), tmp_path / "w")
    assert (16, 3, True) in seen
    assert_same_run(tmp_path / "w", trained_events)


def documented(command: str) -> dict[str, str]:
    """The fields of a command's JSON in the table of the guide, and when each is there."""
    table = GUIDE.read_text().split("<!-- json -->")[1].split("\n\n")[1]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {name: when for of, names, _, when in rows if of == command for name in re.findall(r"`(\w+)`", names)}


@pytest.mark.parametrize(
    "encoding", ["notes", *(pytest.param(one, marks=pytest.mark.long) for one in tiny_runs.ENCODINGS if one != "notes")]
)
def test_the_guide_names_every_field_that_training_and_evaluating_print(request, clips, tmp_path, capsys, encoding):
    workdir = shutil.copytree(request.getfixturevalue(f"trained_{encoding}"), tmp_path / "w")
    for command, argv in {
        "train": tiny_runs.flags(workdir, clips, encoding),
        "evaluate": [f"--workdir={workdir}"],
        "data": [f"--data={clips}", "--json"],
    }.items():
        assert main([command, *argv]) == 0
        printed, named = json.loads(capsys.readouterr().out).keys(), documented(command)
        assert printed <= named.keys(), command
        assert {name for name, when in named.items() if when == "always"} <= printed, command


@pytest.mark.long
def test_the_program_trains_on_a_folder_that_a_flag_names(clips: Path, tmp_path: Path) -> None:
    """The shortest command line, in a process of its own: the summary on standard output, all else beside it."""
    argv = [word for word in tiny_runs.flags(tmp_path / "w", clips) if "data.source" not in word]
    command = [sys.executable, "-m", "musicjax.main", "train", f"--data={clips}", *argv]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    summary = json.loads(done.stdout)
    assert summary["epochs"] == 3
    assert [Path(path).is_file() for path in summary["samples"]] == [True]
    assert done.stderr.startswith("musicjax ")


def test_training_lowers_the_loss(run: Path) -> None:
    losses = [line["loss"] for line in metrics(run) if line["split"] == "train"]
    assert losses[-1] < 0.8 * losses[0]


def test_the_same_seed_gives_the_same_numbers_and_music(clips: Path, run: Path, tmp_path: Path) -> None:
    again = train(clips, tmp_path / "again")
    other = train(clips, tmp_path / "other", seed=1)
    timed = ("seconds", "windows_per_second")

    def untimed(workdir: Path) -> list[dict]:
        return [{key: value for key, value in line.items() if key not in timed} for line in metrics(workdir)]

    assert untimed(again) == untimed(run)
    assert contents(again / "samples") == contents(run / "samples")
    assert untimed(other) != untimed(run)


@pytest.mark.long
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
    flags = ("--num_outputs=4", "--num_notes=60", "--temperature=0", primer)
    one = generate(run, tmp_path / "a", *flags, "--seed=1")
    two = generate(run, tmp_path / "b", *flags, "--seed=2")
    assert len({*one.values(), *two.values()}) == 1


def test_lengths_in_notes_and_in_seconds(run: Path, tmp_path: Path) -> None:
    generate(run, tmp_path / "notes", "--num_outputs=4", "--num_notes=60")
    for path in (tmp_path / "notes").glob("*.mid"):
        assert len(musicjax.read_midi(path)) == 60
    generate(run, tmp_path / "seconds", "--num_outputs=4", "--seconds=9")
    for path in (tmp_path / "seconds").glob("*.mid"):
        notes = musicjax.read_midi(path)
        assert 4 < notes.seconds <= 9.001
        assert len(notes)


def test_generated_files_end_every_note(run: Path, tmp_path: Path) -> None:
    generate(run, tmp_path, "--num_outputs=4", "--num_notes=60")
    for path in tmp_path.glob("*.mid"):
        sounding: dict[tuple[int, int], int] = {}
        for message in mido.MidiFile(path):
            if message.type in ("note_on", "note_off"):
                key = (message.channel, message.note)
                sounding[key] = sounding.get(key, 0) + (1 if message.type == "note_on" else -1)
                assert sounding[key] in (0, 1)
        assert not any(sounding.values())


def test_a_checkpoint_folder_alone_is_enough_to_generate(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "checkpoints", tmp_path / "checkpoints")
    assert len(generate(tmp_path, tmp_path / "out", "--num_outputs=1", "--num_notes=4")) == 1


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


def test_training_stops_early_when_validation_no_longer_improves(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read = epoch_lib.read

    def worse_after_the_second(under_way, dataset, number, since):
        epoch = read(under_way, dataset, number, since)
        if number > 1:
            epoch.valid[0]["loss"] = 10.0
        return epoch

    monkeypatch.setattr(epoch_lib, "read", worse_after_the_second)
    workdir = train(clips, tmp_path / "w", **{"train.epochs": 50, "train.patience": 3, "sample.num_outputs": 0})
    assert metrics(workdir)[-1]["epoch"] == 2 + 3
    assert "stopped early: no lower validation loss since epoch 2" in capsys.readouterr().err


def test_generating_compiles_no_loop_over_notes_that_training_has_compiled(clips: Path, tmp_path: Path) -> None:
    sample._sample_group.clear_cache()
    musicjax.train(tiny_runs.config_of(clips, **{"train.epochs": 1}), tmp_path / "w")
    compiled = sample._sample_group._cache_size()
    musicjax.generate(tmp_path / "w", num_outputs=1, num_notes=tiny_runs.FIELDS["sample.num_notes"])
    assert compiled and sample._sample_group._cache_size() == compiled


@pytest.mark.parametrize("trials", [1, pytest.param(2, marks=pytest.mark.long)])
def test_on_epoch_is_given_the_model_of_its_epoch_and_compiles_nothing_again(
    clips: Path, tmp_path: Path, trials: int
) -> None:
    config = tiny_runs.config_of(clips, "events", **{"train.trials": trials, "sample.num_outputs": 0})
    piece, kept, programs = musicjax.read(min(clips.glob("*.mid"))), [], []

    def on_epoch(finished: musicjax.FinishedEpoch) -> np.bool_:
        kept.append((finished, finished.model().log_prob(piece)))
        programs.append(model_lib._log_probs._cache_size())
        return np.bool_(False)

    musicjax.train(config, tmp_path / "w", on_epoch=on_epoch)
    assert [finished.epoch for finished, _ in kept] == [1, 2, 3] and len(set(programs)) == 1
    latest = model_lib.load(tmp_path / "w", "latest")
    for ours, saved in zip(jax.tree.leaves(kept[-1][0].model().params), jax.tree.leaves(latest.params), strict=True):
        np.testing.assert_array_equal(ours, saved)
    sums = [sum(values.sum() for values in found.values()) for _, found in kept]
    assert len(set(sums)) == 3, "each epoch has other parameters"
    for finished, found in kept:  # also after training has gone on
        assert all(np.array_equal(found[name], values) for name, values in finished.model().log_prob(piece).items())


@pytest.mark.parametrize(
    ("on_epoch", "told"),
    [
        (lambda finished: finished.valid["loss"], r"^on_epoch returned \d\S*: expected True to end training"),
        (3, "^on_epoch=3: expected a function of a FinishedEpoch, or None$"),
    ],
)
def test_an_on_epoch_that_is_no_rule_is_refused(clips: Path, tmp_path: Path, on_epoch: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        musicjax.train(tiny_runs.config_of(clips), tmp_path / "w", on_epoch=on_epoch)
    assert checkpoint_lib.exists(tmp_path / "w") == callable(on_epoch)


def test_a_run_that_is_done_says_no_speed_and_one_without_a_page_has_none(clips: Path, tmp_path: Path) -> None:
    changes = {"train.epochs": 2, "sample.num_outputs": 0, "sample.page": False}
    first, again = (musicjax.train(tiny_runs.config_of(clips, **changes), tmp_path / "w") for _ in range(2))
    speed = first["windows_per_second"]
    assert speed is not None and speed > 0 and speed == round(speed, 2)
    assert again["windows_per_second"] is None
    assert "report" not in first and not (tmp_path / "w" / "report.html").exists()


@pytest.mark.parametrize("first", [1, 3])
def test_a_loss_that_is_not_finite_ends_the_run_and_is_never_saved(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    start = epoch_lib.start

    def poisoned(programs, state, number, *rest, **named):
        if number + 1 >= first:
            state = state._replace(params=jax.tree.map(lambda leaf: leaf * np.nan, state.params))
        return start(programs, state, number, *rest, **named)

    monkeypatch.setattr(epoch_lib, "start", poisoned)
    assert main(tiny_runs.flags(tmp_path / "w", clips)) == 1
    err = capsys.readouterr().err
    assert f"epoch {first}" in err and "expected finite numbers" in err and "learning_rate" in err
    assert checkpoint_lib.exists(tmp_path / "w") == (first > 1)
    if first > 1:
        assert checkpoint_lib.read_metadata(tmp_path / "w").epoch == first - 1


def test_the_papers_network_has_the_papers_number_of_parameters() -> None:
    for name in ("paper", "paper_code"):
        net = encoding.of(config_files.load(name)).network()
        shapes = jax.eval_shape(lambda: network.init(net, jax.random.key(0), window=50))  # noqa: B023
        assert network.count(shapes) == 1_058_307


def test_the_papers_data_give_the_papers_number_of_windows(shared_data: Path) -> None:
    config = config_files.load("paper_code")
    config = dataclasses.replace(
        config, data=dataclasses.replace(config.data, source=str(shared_data / "pop_music_midi"))
    )
    dataset = encoding.of(config).dataset()
    assert len(dataset.training.starts) == 17_456
    assert len(dataset.training.starts) + len(dataset.validation.rows.starts) == 21_820


@pytest.mark.long
def test_an_epoch_of_the_papers_training_on_the_papers_data(shared_data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "musicjax.main", "--config=paper_code", f"--workdir={tmp_path / 'w'}"]
    command += [f"--config.data.source={shared_data / 'pop_music_midi'}", "--config.train.epochs=1"]
    command += ["--config.sample.num_outputs=1", "--config.sample.num_notes=10"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=500)
    assert json.loads(done.stdout)["parameters"] == 1_058_307
    train_line, valid = metrics(tmp_path / "w")
    assert 0.022 < train_line["loss"] < 0.030
    assert 0.013 < valid["loss"] < 0.018
    assert np.isfinite(valid["pitch_error_semitones"])


@pytest.mark.long
def test_a_model_trained_on_another_device_is_restored_on_this_one(run: Path, tmp_path: Path) -> None:
    """Saved again from the second of two simulated devices, restored where there is one."""
    script = """
import sys, jax
from pathlib import Path
from musicjax.store import checkpoint
arrays, metadata = checkpoint.restore(Path(sys.argv[1]))
arrays = jax.device_put(arrays, jax.devices()[1])
store = checkpoint.Store(Path(sys.argv[2]))
store.save(checkpoint.Checkpoint(arrays, metadata))
store.close()
"""
    environment = {
        **os.environ,
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2",
    }
    subprocess.run([sys.executable, "-c", script, str(run), str(tmp_path)], env=environment, check=True)
    here, there = checkpoint_lib.restore(run), checkpoint_lib.restore(tmp_path)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), here.arrays, there.arrays))


def test_one_long_rest_is_named(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    music = shutil.copytree(clips, tmp_path / "music")
    for number in range(2):  # two, so that one of them trains
        onset = np.arange(40) * 0.25 + np.where(np.arange(40) < 20, 0.0, 540.0 + number)
        notes = from_seconds(60 + np.arange(40) % (number + 5), np.full(40, 80), onset, np.full(40, 0.2))
        musicjax.write_midi(notes, music / f"rest{number}.mid")
    encoding.of(tiny_runs.config_of(music)).dataset()
    assert "rests for 5" in capsys.readouterr().err
