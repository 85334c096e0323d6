"""Runs on frames, as users start them: MIDI files or polyphonic data in, a workdir with a model and music out."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.io

import musicjax
from musicjax.corpus import frame_sets
from musicjax.generation import generate as generate_lib
from musicjax.generation import primer
from musicjax.main import main
from musicjax.model import network
from musicjax.music import piano_roll
from musicjax.music.notes import Notes, from_seconds
from musicjax.store import checkpoint as checkpoint_lib
from musicjax.store import model as model_lib

TINY = ("--config=frames_bernoulli", "--config.model.units=12", "--config.model.precision=float32")
TINY += ("--config.model.head_units=8", "--config.data.window=16", "--config.sample.num_outputs=2")
TINY += ("--config.sample.num_notes=32", "--config.train.learning_rate=0.01", "--config.train.histograms=false")
TINY += ("--config.sample.audio=none",)
# Frames in each piece, of which the one with a single frame is skipped.
LENGTHS = {"train": (30, 21, 40, 17, 25, 33), "valid": (24, 30), "test": (26, 1, 26, 26)}
# How each run differs: its data, and what else is set.
RUNS = {
    "midi": ("clips", "--config.data.per_beat=4"),
    "match": ("clips", "--config.data.per_beat=4", "--config.data.onsets=true", "--config.data.match_share=0.9"),
    "regression": ("jsb", "--config.model.head=regression"),
    "bernoulli": ("jsb", "--config.model.head=bernoulli"),
    "nade_match": ("jsb", "--config.model.head=nade", "--config.data.match_share=0.5"),
}
PER_BEAT = {"clips": 4, "jsb": 1}
TIMED = ("seconds", "windows_per_second")


def piece(generator: np.random.Generator, length: int) -> np.ndarray:
    """Chords that are held for four frames, uint8 [length, 88]."""
    chords = generator.random((length // 4 + 1, 88)) < np.where(np.abs(np.arange(88) - 40) < 20, 0.1, 0.0)
    chords[:, 0] = chords[:, 87] = True  # the lowest and the highest key
    return np.repeat(chords, 4, axis=0)[:length].astype(np.uint8)


@pytest.fixture(scope="module")
def jsb(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A source of a few short pieces, in a file such as the authors of the data sets give away."""
    folder, generator = tmp_path_factory.mktemp("polyphonic"), np.random.default_rng(0)
    variables = {}
    for split, lengths in LENGTHS.items():
        cells = np.empty((1, len(lengths)), object)
        cells[0, :] = [piece(generator, length) for length in lengths]
        variables[f"{split}data"] = cells
    scipy.io.savemat(folder / frame_sets.NAMES["jsb"], variables)
    return f"polyphonic:jsb:{folder}"


class Trained:
    """Workdirs of the runs, each trained when it is first asked for."""

    def __init__(self, sources: dict[str, str], folder: Path):
        self._sources, self._folder = sources, folder

    def __getitem__(self, name: str) -> Path:
        workdir = self._folder / name
        return workdir if workdir.exists() else self.train(name, workdir, epochs=2)

    def train(self, name: str, workdir: Path, epochs: int) -> Path:
        source, *more = RUNS[name]
        argv = [f"--workdir={workdir}", f"--config.data.source={self._sources[source]}", *TINY, *more]
        assert main([*argv, f"--config.train.epochs={epochs}"]) == 0
        return workdir


@pytest.fixture(scope="module")
def runs(clips: Path, jsb: str, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained({"clips": str(clips), "jsb": jsb}, tmp_path_factory.mktemp("runs"))


def metrics(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def generate(workdir: Path, folder: Path, *flags: str) -> dict[str, bytes]:
    assert main(["generate", f"--workdir={workdir}", f"--output_dir={folder}", "--audio=none", *flags]) == 0
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def notes_in(folder: Path) -> list[Notes]:
    """Of each file; one without any is refused where music is read."""
    return [musicjax.read_midi(path) for path in sorted(folder.glob("*.mid"))]


def refused(capsys: pytest.CaptureFixture[str], argv: list[str], status: int) -> str:
    """The one line that says why."""
    capsys.readouterr()
    assert main(argv) == status
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("musicjax: ")]
    assert out == "" and "Traceback" not in err and len(lines) == 1 and err.endswith(lines[0] + "\n")
    return lines[0]


# Training.


@pytest.mark.parametrize("name", list(RUNS))
def test_training_writes_music_on_the_keys_and_on_the_grid(runs: Trained, name: str) -> None:
    workdir, per_beat = runs[name], PER_BEAT[RUNS[name][0]]
    pieces = notes_in(workdir / "samples")
    assert len(pieces) == 2
    for notes in pieces:
        assert len(notes) and notes.pitch.min() >= 21 and notes.pitch.max() <= 108
        for times in (notes.onset, notes.onset + notes.duration):
            frames = times * 2 * per_beat  # at 120 beats a minute
            np.testing.assert_allclose(frames, np.rint(frames), atol=0.01)
        assert notes.seconds * 2 * per_beat <= 32.01


@pytest.mark.parametrize("name", list(RUNS))
def test_every_epoch_is_scored_in_nats_and_in_keys(runs: Trained, name: str) -> None:
    lines = metrics(runs[name])
    assert [(line["split"], line["epoch"]) for line in lines] == [
        (split, epoch) for epoch in (1, 2) for split in ("train", "valid")
    ]
    for line in lines:
        assert 0 < line["accuracy"] <= 1 and "pitch_error_semitones" not in line
    for line in lines[1::2]:
        assert 0 < line["nats_per_frame"] < 88 * 2 * np.log(100)  # of 176 keys that are all wrong, nearly for sure
        assert (line["loss"] == line["nats_per_frame"]) == (name != "regression")
        assert 0.5 < line["majority_accuracy"] < 1
    assert lines[-1]["loss"] < lines[1]["loss"]


def test_a_run_that_goes_on_ends_as_one_left_alone(runs: Trained, tmp_path: Path) -> None:
    name = "nade_match"
    alone, workdir = runs[name], runs.train(name, tmp_path / "w", epochs=1)
    assert [line["epoch"] for line in metrics(workdir)] == [1, 1]
    runs.train(name, workdir, epochs=2)

    def untimed(folder: Path) -> list[dict]:
        return [{key: value for key, value in line.items() if key not in TIMED} for line in metrics(folder)]

    assert untimed(workdir) == untimed(alone)
    here, there = (jax.tree.leaves(checkpoint_lib.restore(folder).arrays) for folder in (workdir, alone))
    assert [np.asarray(leaf).tobytes() for leaf in here] == [np.asarray(leaf).tobytes() for leaf in there]
    for path in (alone / "samples").iterdir():
        assert (workdir / "samples" / path.name).read_bytes() == path.read_bytes()


# Generating.


def test_output_k_is_the_same_file_whatever_the_count(runs: Trained, tmp_path: Path) -> None:
    two = generate(runs["nade_match"], tmp_path / "2", "--num_outputs=2", "--num_notes=32", "--seed=3")
    nine = generate(
        runs["nade_match"], tmp_path / "9", "--num_outputs=9", "--num_notes=32", "--seed=3"
    )  # in two groups
    assert list(two) == ["seed3-000.mid", "seed3-001.mid"]
    assert {file: nine[file] for file in two} == two
    assert len(set(nine.values())) == 9
    other = generate(runs["nade_match"], tmp_path / "4", "--num_outputs=2", "--num_notes=32", "--seed=4")
    assert not set(other.values()) & set(nine.values())


@pytest.mark.parametrize("seconds", [4, 3.9])
def test_a_length_in_seconds_ends_there(runs: Trained, tmp_path: Path, seconds: float) -> None:
    generate(runs["midi"], tmp_path, "--num_outputs=2", f"--seconds={seconds}")
    ends = [notes.seconds for notes in notes_in(tmp_path)]
    assert len(ends) == 2 and max(ends) == pytest.approx(seconds, abs=0.002)


def test_a_primer_is_continued(runs: Trained, clips: Path, tmp_path: Path) -> None:
    path, model = sorted(clips.glob("*.mid"))[0], model_lib.load(runs["midi"])
    flags = ("--num_outputs=2", "--num_notes=32", "--seed=3")
    files = generate(runs["midi"], tmp_path, *flags, f"--primer={path}")
    assert len(set(files.values())) == 2
    # Of an untrained network with large weights, whose every frame is another: what it predicts of all frames so far.
    params = jax.tree.map(lambda leaf: 3 * leaf, network.init(model.net, jax.random.key(0), window=16))
    strong = dataclasses.replace(model, params=params)
    (made,) = generate_lib.generate(strong, num_outputs=1, num_notes=32, temperature=0, primer=path)
    seen, _ = piano_roll.frames(musicjax.read_midi(path), per_beat=4)
    frames = np.concatenate([seen[-16:], np.zeros((32, 88))]).astype(np.float32)
    apply = jax.jit(lambda rows: network.apply(strong.net, strong.params, rows[None])[0])
    for place in range(16, 48):
        frames[place] = apply(frames)[place - 1] > 0
    again, _ = piano_roll.frames(made, per_beat=4)
    np.testing.assert_array_equal(again, frames[16 : 16 + len(again)])
    assert not frames[16 + len(again) :].any() and len(np.unique(frames[16:], axis=0)) > 2


def test_a_primer_shorter_than_the_window_comes_after_silence(runs: Trained, tmp_path: Path) -> None:
    musicjax.write_midi(from_seconds([60, 10], [80, 80], [0.0, 0.5], [0.5, 0.5]), tmp_path / "short.mid")
    model = model_lib.load(runs["match"])
    window = model.encoding.primer_of(primer.read(tmp_path / "short.mid", model))[:, :176]
    assert window.shape == (16, 176)
    assert np.argwhere(window).tolist() == [[12, 39], [12, 88 + 39], [13, 39], [14, 39], [15, 39]]


def test_frames_with_a_match_go_on_from_a_primer_of_any_length(runs: Trained, clips: Path, tmp_path: Path) -> None:
    musicjax.write_midi(from_seconds([60] * 3, [80] * 3, [0.0, 0.5, 1.0], [0.5] * 3), tmp_path / "short.mid")
    model = model_lib.load(runs["match"])
    assert model.net.columns == 361 and model.net.predicted == 176
    for path in (tmp_path / "short.mid", max(clips.glob("*.mid"))):
        seen, _ = piano_roll.frames(musicjax.read_midi(path), 4, onsets=True)
        window = model.encoding.primer_of(primer.read(path, model))
        assert len(window) == max(len(seen), 16)
        rows = piano_roll.with_matches(seen, np.array([0, len(seen)]))
        np.testing.assert_array_equal(window[len(window) - len(seen) :], rows)
        assert not window[: len(window) - len(seen)].any() and window[:, 176:].any()
        generate(runs["match"], tmp_path / path.stem, "--num_outputs=2", "--num_notes=32", f"--primer={path}")
        assert all(len(notes) for notes in notes_in(tmp_path / path.stem))


def test_a_primer_beside_the_keys_is_refused(runs: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    musicjax.write_midi(from_seconds([5], [80], [0.0], [1.0]), tmp_path / "low.mid")
    argv = ["generate", f"--workdir={runs['midi']}", f"--output_dir={tmp_path}", f"--primer={tmp_path / 'low.mid'}"]
    assert "none of its notes is on the 88 keys" in refused(capsys, argv, 1)


@pytest.mark.parametrize("decode", ["staggered", "carry"])
def test_a_past_that_was_not_learned_from_is_said(
    runs: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str], decode: str
) -> None:
    generate(runs["bernoulli"], tmp_path, "--num_outputs=2", "--num_notes=32", f"--decode={decode}")
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("decode ")]
    told = f"{decode}, but this model learned to predict"
    assert len(said) == (decode == "staggered") and all(told in line and "carry" in line for line in said)


# Evaluating.


def test_evaluating_repeats_the_recorded_validation(runs: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    workdir = runs["match"]
    capsys.readouterr()
    assert main(["evaluate", f"--workdir={workdir}", "--checkpoint=latest"]) == 0
    scores, recorded = json.loads(capsys.readouterr().out), metrics(workdir)[-1]
    assert scores["split"] == "validation" and scores["epoch"] == 2
    for field in ("loss", "nats_per_frame", "accuracy", "majority_accuracy"):
        assert scores[field] == pytest.approx(recorded[field], rel=1e-5)


@pytest.mark.parametrize("head", ["regression", "bernoulli", "nade_match"])
def test_other_polyphonic_data_is_scored_on_its_test_pieces(
    runs: Trained, jsb: str, head: str, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = runs[head]
    capsys.readouterr()
    assert main(["evaluate", f"--workdir={workdir}", f"--data={jsb}"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert (scores["split"], scores["data"], scores["pieces"], scores["frames"]) == ("test", jsb, 3, 3 * 25)
    model, pieces = model_lib.load(workdir), np.stack(frame_sets.read(jsb).pieces("test")).astype(np.float32)
    seen = pieces
    if model.net.match_lengths:
        seen = np.stack(
            [piano_roll.with_matches(piece.astype(np.uint8), np.array([0, len(piece)])) for piece in pieces]
        )
    outputs = network.apply(model.net, model.params, jnp.asarray(seen[:, :-1], jnp.float32))
    own = network.head_params(model.params)
    nats = -model.net.head.log_prob(own, outputs, jnp.asarray(pieces[:, 1:]))
    assert scores["nats_per_frame"] == pytest.approx(float(nats.mean()), rel=1e-4)
    assert scores["majority_accuracy"] == pytest.approx(1 - pieces[:, 1:].mean(), rel=1e-6)


def test_other_midi_files_are_scored_whole(runs: Trained, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workdir = runs["midi"]
    capsys.readouterr()
    assert main(["evaluate", f"--workdir={workdir}", f"--data={clips}"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert (scores["split"], scores["pieces"]) == ("all", 12)
    assert 0 < scores["nats_per_frame"] < 88


def test_polyphonic_data_is_refused_for_models_of_notes_and_of_onsets(
    runs: Trained, jsb: str, trained_notes: Path, trained_events: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["evaluate", f"--workdir={runs['match']}", f"--data={jsb}"]
    said = refused(capsys, argv, 2)
    assert jsb in said and "expected" in said and "MIDI files" in said
    for other in (trained_notes, trained_events):
        said = refused(capsys, ["evaluate", f"--workdir={other}", f"--data={jsb}"], 2)
        assert jsb in said and "frames, not notes" in said and "expected" in said


# Data.


def test_the_data_command_counts_pieces_that_add_up(jsb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", f"--data={jsb}", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out.splitlines()[-1])
    given = sum(len(lengths) for lengths in LENGTHS.values())
    assert counts["kept"] + counts["recovered"] + counts["skipped"] == given
    assert (counts["skipped"], counts["reasons"]["one-frame"]) == (1, 1)
    assert counts["pieces"] == {"train": 6, "valid": 2, "test": 3}
    assert sum(counts["pieces"].values()) == counts["kept"]
    assert counts["frames"] == sum(sum(lengths) for lengths in LENGTHS.values()) - 1
    assert counts["notes"] > counts["kept"]
    assert (counts["pitch_low"], counts["pitch_high"]) == (21, 108)
    assert main(["data", f"--data={jsb}"]) == 0
    assert capsys.readouterr().out == f"{counts['frames']} frames in 11 pieces: 6 train, 2 valid, 3 test\n"


def test_a_run_goes_on_when_its_polyphonic_file_has_moved_and_not_with_another(
    runs: Trained, jsb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = shutil.copytree(runs["bernoulli"], tmp_path / "w")
    moved = Path(shutil.copytree(jsb.removeprefix("polyphonic:jsb:"), tmp_path / "moved"))
    argv = [f"--workdir={workdir}", f"--config.data.source=polyphonic:jsb:{moved}"]
    assert main(argv) == 0
    path = moved / frame_sets.NAMES["jsb"]
    variables = {name: cells for name, cells in scipy.io.loadmat(path).items() if name in frame_sets.VARIABLES}
    variables["testdata"][0, 0][3, 50] ^= 1
    scipy.io.savemat(path, variables)
    assert "was trained on other data" in refused(capsys, argv, 1)


# What does not go together.


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--config=small", "--config.model.head=nade"], "config.model.head='nade'"),
        (["--config.model.head=bernoulli"], "config.model.head='bernoulli'"),
        (["--config=small", "--config.data.source=polyphonic:jsb:x"], "holds frames, not notes"),
        (["--config=paper", "--config.data.onsets=true"], "config.data.onsets=True"),
        (["--config=paper", "--config.data.transpose=2"], "config.data.transpose=2"),
        (["--config=frames_bernoulli", "--config.data.duration=true"], "config.data.duration=True"),
        (["--config=frames_mse", "--config.data.split=windows"], "config.data.split='windows'"),
        (
            ["--config=frames_bernoulli", "--config.data.source=polyphonic:jsb:x", "--config.data.onsets=true"],
            "config.data.onsets=True",
        ),
        (
            ["--config=paper", "--config.train.half_life=8"],
            "belong to adam",
        ),
        (
            ["--config=frames_mse", "--config.train.optimizer=rmsprop"],
            "belong to adam",
        ),
        (["--config=frames_bernoulli", "--config.data.source=polyphonic:jbs:x"], "did you mean jsb?"),
        (["--config=frames_bernoulli", "--config.data.source=polyphonic:jsb"], "polyphonic:jsb:DIR"),
        (["--config=frames_bernoulli", "--config.model.head=gaussian"], "config.model.head='gaussian'"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], told: str
) -> None:
    said = refused(capsys, [f"--workdir={tmp_path / 'w'}", *flags], 2)
    assert told in said and ("expected" in said or "leave it out" in said)
    assert not list((tmp_path / "w").glob("checkpoints/*"))


def test_a_polyphonic_file_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = f"--config.data.source=polyphonic:musedata:{tmp_path}"
    said = refused(capsys, [f"--workdir={tmp_path / 'w'}", "--config=frames_bernoulli", source], 1)
    assert "MuseData.mat" in said and "expected" in said
