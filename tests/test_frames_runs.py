"""Runs on frames, as users start them: MIDI files or polyphonic data in, a workdir with a model and music out."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.io

import musicjax
from musicjax import config as config_lib
from musicjax.corpus import frame_sets
from musicjax.encodings import encoding, frame_rolls
from musicjax.errors import UsageError
from musicjax.generation import generate as generate_lib
from musicjax.generation import primer
from musicjax.main import main
from musicjax.model import network
from musicjax.music import piano_roll
from musicjax.music.notes import Notes, from_seconds
from musicjax.store import checkpoint as checkpoint_lib
from musicjax.store import model as model_lib
from musicjax.store.metadata import Metadata
from musicjax.store.model import Model
from tests import tiny_runs

pytestmark = pytest.mark.usefixtures("own_signal_handlers")

# Frames in each piece, of which the one with a single frame is skipped.
LENGTHS = {"train": (30, 21, 40, 17, 25, 33), "valid": (24, 30), "test": (26, 1, 26, 26)}
# How each run differs from the tiny run of frames, which is of MIDI files, with onsets and the longest match; the first
# are of the polyphonic data below.
POLYPHONIC = {"data.per_beat": 1, "data.onsets": False}
TWO_AXES = {"data.bar_position": True, "model.head_units": 8, "model.layers": 2}
RUNS: dict[str, dict[str, Any]] = {
    "nade_match": {**POLYPHONIC, "model.head": "nade", "model.head_units": 8, "data.match_share": 0.5},
    "regression": {**POLYPHONIC, "model.head": "regression", "data.match_share": 0.0},
    "bernoulli": {**POLYPHONIC, "data.match_share": 0.0},
    "midi": {"data.onsets": False, "data.match_share": 0.0},
    "tied_nade": {**POLYPHONIC, **TWO_AXES, "model.head": "tied_nade", "data.match_share": 0.0},
    "note_lstm": {
        **TWO_AXES,
        "model.head": "note_lstm",
        "model.layer_dropout": 0.25,
        "data.match_share": 0.5,
        "data.keys": 78,
        "train.batch_size": 4,
    },
    "match": {},
}
LONG = ("regression", "nade_match", "midi", "tied_nade")
NAMES = [pytest.param(name, marks=pytest.mark.long) if name in LONG else name for name in RUNS]
PER_BEAT = {name: 1 if fields.get("data.per_beat") else 4 for name, fields in RUNS.items()}
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

    def __init__(self, clips: Path, jsb: str, trained_frames: Path, folder: Path):
        self._clips, self._jsb, self._match, self._folder = clips, jsb, trained_frames, folder
        self._few = folder / "few"  # for the network that takes longest
        self._few.mkdir()
        for path in sorted(clips.glob("*.mid"))[::11]:
            shutil.copy(path, self._few)

    def __getitem__(self, name: str) -> Path:
        workdir = self._match if name == "match" else self._folder / name
        if not workdir.exists():
            source = self._jsb if RUNS[name].get("data.per_beat") else self._few if name == "note_lstm" else self._clips
            musicjax.train(tiny_runs.config_of(source, "frames", **RUNS[name]), workdir)
        return workdir


@pytest.fixture(scope="module")
def runs(clips: Path, jsb: str, trained_frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(clips, jsb, trained_frames, tmp_path_factory.mktemp("runs"))


def metrics(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def generate(workdir: Path, folder: Path, *flags: str) -> dict[str, bytes]:
    assert main(["generate", f"--workdir={workdir}", f"--output_dir={folder}", "--audio=none", *flags]) == 0
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.mid"))}


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


@pytest.mark.parametrize("name", NAMES)
def test_training_writes_music_on_the_keys_and_on_the_grid(runs: Trained, name: str) -> None:
    workdir, per_beat = runs[name], PER_BEAT[name]
    pieces = notes_in(workdir / "samples")
    assert len(pieces) == 1
    for notes in pieces:
        assert len(notes) and notes.pitch.min() >= 21 and notes.pitch.max() <= 108
        for times in (notes.onset, notes.onset + notes.duration):
            frames = times * 2 * per_beat  # at 120 beats a minute
            np.testing.assert_allclose(frames, np.rint(frames), atol=0.01)
        assert notes.seconds * 2 * per_beat <= 32.01


@pytest.mark.parametrize("name", NAMES)
def test_every_epoch_is_scored_in_nats_and_in_keys(runs: Trained, name: str) -> None:
    lines = metrics(runs[name])
    assert [(line["split"], line["epoch"]) for line in lines] == [
        (split, epoch) for epoch in (1, 2, 3) for split in ("train", "valid")
    ]
    for line in lines:
        assert 0 < line["accuracy"] <= 1 and "pitch_error_semitones" not in line
    for line in lines[1::2]:
        assert 0 < line["nats_per_frame"] < 88 * 2 * np.log(100)  # of 176 keys that are all wrong, nearly for sure
        assert (line["loss"] == line["nats_per_frame"]) == (name != "regression")
        assert 0.5 < line["majority_accuracy"] < 1
    assert lines[-1]["loss"] < lines[1]["loss"]


def test_a_run_that_goes_on_ends_as_one_left_alone(runs: Trained, clips: Path, tmp_path: Path) -> None:
    alone, workdir = runs["match"], shutil.copytree(runs["match"], tmp_path / "w")
    shutil.rmtree(workdir / "checkpoints" / "3")
    musicjax.train(tiny_runs.config_of(clips, "frames"), workdir)

    def untimed(folder: Path) -> list[dict]:
        return [{key: value for key, value in line.items() if key not in TIMED} for line in metrics(folder)]

    assert untimed(workdir) == untimed(alone)
    here, there = (jax.tree.leaves(checkpoint_lib.restore(folder).arrays) for folder in (workdir, alone))
    assert [np.asarray(leaf).tobytes() for leaf in here] == [np.asarray(leaf).tobytes() for leaf in there]
    for path in (alone / "samples").glob("*.mid"):
        assert (workdir / "samples" / path.name).read_bytes() == path.read_bytes()


# Generating.


@pytest.mark.long
def test_output_k_is_the_same_file_whatever_the_count(runs: Trained, tmp_path: Path) -> None:
    one = generate(runs["bernoulli"], tmp_path / "1", "--num_outputs=1", "--num_notes=32", "--seed=3")
    nine = generate(runs["bernoulli"], tmp_path / "9", "--num_outputs=9", "--num_notes=32", "--seed=3")  # in two groups
    assert list(one) == ["seed3-000.mid"]
    assert {file: nine[file] for file in one} == one
    assert len(set(nine.values())) == 9
    other = generate(runs["bernoulli"], tmp_path / "4", "--num_outputs=1", "--num_notes=32", "--seed=4")
    assert not set(other.values()) & set(nine.values())


@pytest.mark.parametrize("seconds", [pytest.param(4, marks=pytest.mark.long), 3.9])
def test_a_length_in_seconds_ends_there(runs: Trained, tmp_path: Path, seconds: float) -> None:
    generate(runs["match"], tmp_path, "--num_outputs=1", f"--seconds={seconds}")
    (end,) = [notes.seconds for notes in notes_in(tmp_path)]
    assert end == pytest.approx(seconds, abs=0.002)


def test_a_primer_is_continued(clips: Path) -> None:
    """By an untrained network with large weights, whose every frame is another: what it predicts of all before."""
    path = sorted(clips.glob("*.mid"))[0]
    own = encoding.of(tiny_runs.config_of(clips, "frames", **RUNS["midi"], **{"data.window": 16}))
    params = jax.tree.map(lambda leaf: 3 * leaf, network.init(own.network(), jax.random.key(0), window=16))
    metadata = Metadata(1, 1, 1.0, own.config, {}, "", {})
    strong = Model(own, own.network(), params, jnp.zeros(88), jnp.zeros((1, 16, 88)), metadata)
    (made,) = generate_lib.generate(strong, num_outputs=1, num_notes=32, temperature=0, primer=path)
    seen, _ = piano_roll.frames(musicjax.read_midi(path), per_beat=4)
    frames = np.concatenate([seen[-16:], np.zeros((32, 88))]).astype(np.float32)
    apply = jax.jit(lambda rows: network.apply(strong.network, strong.params, rows[None])[0])
    for place in range(16, 48):
        frames[place] = apply(frames)[place - 1] > 0
    again, _ = piano_roll.frames(made, per_beat=4)
    np.testing.assert_array_equal(again, frames[16 : 16 + len(again)])
    assert not frames[16 + len(again) :].any() and len(np.unique(frames[16:], axis=0)) > 2


def test_a_primer_shorter_than_the_window_comes_after_silence(runs: Trained, tmp_path: Path) -> None:
    musicjax.write_midi(from_seconds([60, 10], [80, 80], [0.0, 0.5], [0.5, 0.5]), tmp_path / "short.mid")
    model = model_lib.load(runs["match"])
    window = model.encoding.primer_of(primer.read(tmp_path / "short.mid", model))[:, :176]
    assert window.shape == (8, 176)
    assert np.argwhere(window).tolist() == [[4, 39], [4, 88 + 39], [5, 39], [6, 39], [7, 39]]


def test_frames_with_a_match_go_on_from_a_primer_of_any_length(runs: Trained, clips: Path, tmp_path: Path) -> None:
    musicjax.write_midi(from_seconds([60] * 3, [80] * 3, [0.0, 0.25, 0.5], [0.25] * 3), tmp_path / "short.mid")
    model = model_lib.load(runs["match"])
    assert model.network.columns == 361 and model.network.predicted == 176
    for path in (tmp_path / "short.mid", max(clips.glob("*.mid"))):
        seen, _ = piano_roll.frames(musicjax.read_midi(path), 4, onsets=True)
        window = model.encoding.primer_of(primer.read(path, model))
        assert len(window) == max(len(seen), 8)
        rows = piano_roll.with_matches(seen, np.array([0, len(seen)]))
        np.testing.assert_array_equal(window[len(window) - len(seen) :], rows)
        assert not window[: len(window) - len(seen)].any() and window[:, 176:].any()
    path = tmp_path / "short.mid"  # the longer one would be another program
    generate(runs["match"], tmp_path / "out", "--num_outputs=1", "--num_notes=32", f"--primer={path}")
    assert all(len(notes) for notes in notes_in(tmp_path / "out"))


def test_a_primer_beside_the_keys_is_refused(runs: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    musicjax.write_midi(from_seconds([5], [80], [0.0], [1.0]), tmp_path / "low.mid")
    argv = ["generate", f"--workdir={runs['match']}", f"--output_dir={tmp_path}", f"--primer={tmp_path / 'low.mid'}"]
    assert "none of its notes is on the 88 keys" in refused(capsys, argv, 1)


@pytest.mark.parametrize("decode", ["staggered", pytest.param("carry", marks=pytest.mark.long)])
def test_a_past_that_was_not_learned_from_is_said(
    runs: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str], decode: str
) -> None:
    generate(runs["match"], tmp_path, "--num_outputs=1", "--num_notes=32", f"--decode={decode}")
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("decode ")]
    told = f"{decode}, but this model was trained to predict"
    assert len(said) == (decode == "staggered") and all(told in line and "carry" in line for line in said)


# Evaluating.


def test_evaluating_repeats_the_recorded_validation(runs: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    workdir = runs["match"]
    capsys.readouterr()
    assert main(["evaluate", f"--workdir={workdir}", "--checkpoint=latest"]) == 0
    scores, recorded = json.loads(capsys.readouterr().out), metrics(workdir)[-1]
    assert scores["split"] == "validation" and scores["epoch"] == 3
    for field in ("loss", "nats_per_frame", "accuracy", "majority_accuracy"):
        assert scores[field] == pytest.approx(recorded[field], rel=1e-5)


@pytest.mark.parametrize(("per_beat", "bar_position"), [(1, True), (4, True), (4, False)])
def test_another_grid_than_that_of_a_polyphonic_set_is_told(
    jsb: str, capsys, per_beat: int, bar_position: bool
) -> None:
    own = config_lib.FramesData(per_beat=per_beat, bar_position=bar_position)
    frame_rolls.read_rolls(config_lib.DataConfig(source=jsb, own=own))
    said = capsys.readouterr().err
    assert ("jsb has 1 frame a quarter note, the config has 4: samples get another tempo" in said) == (per_beat == 4)
    assert ("wrong places in the bar" in said) == (per_beat == 4 and bar_position)


@pytest.mark.parametrize("head", NAMES[:3])
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
    if model.network.match_lengths:
        seen = np.stack(
            [piano_roll.with_matches(piece.astype(np.uint8), np.array([0, len(piece)])) for piece in pieces]
        )
    outputs = network.apply(model.network, model.params, jnp.asarray(seen[:, :-1], jnp.float32))
    own = network.head_params(model.params)
    nats = -model.network.head.log_prob(own, outputs, jnp.asarray(pieces[:, 1:]))
    assert scores["nats_per_frame"] == pytest.approx(float(nats.mean()), rel=1e-4)
    assert scores["majority_accuracy"] == pytest.approx(1 - pieces[:, 1:].mean(), rel=1e-6)


def test_other_midi_files_are_scored_whole(runs: Trained, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workdir = runs["match"]
    capsys.readouterr()
    assert main(["evaluate", f"--workdir={workdir}", f"--data={clips}"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert (scores["split"], scores["pieces"]) == ("all", 12)
    assert 0 < scores["nats_per_frame"] < 176


def test_polyphonic_data_is_refused_for_models_of_onsets(
    runs: Trained, jsb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, ["evaluate", f"--workdir={runs['match']}", f"--data={jsb}"], 2)
    assert jsb in said and "expected" in said and "MIDI files" in said


@pytest.mark.parametrize("name", ["notes", "events"])
def test_polyphonic_data_is_refused_for_models_of_notes(clips: Path, jsb: str, name: str) -> None:
    config = tiny_runs.config_of(clips, name)
    with pytest.raises(UsageError, match="frames, not notes; expected"):
        encoding.of(config).scored(dataclasses.replace(config.data, source=jsb))


# Models along two axes.


def test_a_model_along_two_axes_is_used_as_any_other(
    runs: Trained, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir, path = runs["note_lstm"], sorted(clips.glob("*.mid"))[0]
    flags = [f"--primer={path}", "--num_notes=24", "--temperature=0.8", "--seed=3"]
    assert model_lib.load(workdir).network.predicted == 2 * 78
    two = generate(workdir, tmp_path / "2", "--num_outputs=2", *flags)
    assert generate(workdir, tmp_path / "1", "--num_outputs=1", *flags).items() < two.items()
    assert len(set(two.values())) == 2 and sum(len(notes) for notes in notes_in(tmp_path / "2"))
    capsys.readouterr()
    assert main(["evaluate", f"--workdir={workdir}", "--checkpoint=latest"]) == 0
    scores, recorded = json.loads(capsys.readouterr().out), metrics(workdir)[-1]
    assert scores["nats_per_frame"] == pytest.approx(recorded["nats_per_frame"], rel=1e-5)
    model = model_lib.load(workdir)
    rows = model.encoding.rows(musicjax.read_midi(path))
    log_prob = model.log_prob(musicjax.read_midi(path))["frame"]
    assert log_prob.shape == (len(rows) - 1,) and (log_prob < 0).all()
    assert model.hidden_states(musicjax.read_midi(path)).shape == (len(rows), 78 * 8)


@pytest.mark.long
@pytest.mark.parametrize("name", ["balstm", "tp_lstm_nade", "lstm_nade", "kotecha_young"])
def test_a_config_of_the_papers_trains_is_evaluated_and_generates(
    name: str, jsb: str, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As trials that go on, in parts of a batch; kotecha_young needs music that tells where notes begin."""
    source = str(clips) if name == "kotecha_young" else jsb
    small = {**tiny_runs.FIELDS, "model.head_units": 8, "train.batch_size": 8, "train.accumulate": 2, "train.trials": 2}
    small |= {"data.source": source, "sample.num_notes": 32}
    flags = [f"--config={name}", f"--workdir={tmp_path / 'w'}", *(f"--config.{path}={small[path]}" for path in small)]
    assert main([*flags, "--config.train.epochs=1"]) == 0
    assert main(flags) == 0
    scored = [line for line in metrics(tmp_path / "w") if line["split"] == "valid"]
    assert [(line["epoch"], line["trial"]) for line in scored] == [(k // 2 + 1, k % 2) for k in range(6)]
    assert scored[-1]["loss"] < scored[1]["loss"]
    assert len(generate(tmp_path / "w", tmp_path / "out", "--num_outputs=2", "--num_notes=16")) == 2
    capsys.readouterr()
    assert main(["evaluate", f"--workdir={tmp_path / 'w'}"]) == 0
    assert 0 < json.loads(capsys.readouterr().out)["nats_per_frame"] < 88


def test_a_file_that_cannot_hold_a_model_along_two_axes_is_refused_by_its_name(
    runs: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = ["export", f"--workdir={runs['note_lstm']}"]
    said = refused(capsys, [*export, f"--output={tmp_path / 'model.onnx'}"], 2)
    assert "no ONNX graph for a model with the head note lstm" in said and "model.safetensors" in said
    said = refused(capsys, [*export, f"--output={tmp_path / 'model.html'}"], 2)
    assert "model.safetensors" in said
    assert main([*export, f"--output={tmp_path / 'model.safetensors'}"]) == 0


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


def test_no_real_piece_stands_beside_a_sample_where_the_data_are_frames_alone(runs: Trained) -> None:
    workdir = runs["bernoulli"]
    assert (workdir / "samples" / "seed0-000.mid").is_file() and not (workdir / "samples" / "real").exists()
    assert "real piece that the model" not in (workdir / "report.html").read_text()


# What does not go together; fields that an encoding lacks are refused in test_config.py.


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--config=small", "--config.data.source=polyphonic:jsb:x"], "holds frames, not notes"),
        (
            ["--config=frames_bernoulli", "--config.data.source=polyphonic:jsb:x", "--config.data.onsets=true"],
            "config.data.onsets=True",
        ),
        (["--config=frames_bernoulli", "--config.data.source=polyphonic:jbs:x"], "did you mean jsb?"),
        (["--config=frames_bernoulli", "--config.data.source=polyphonic:jsb"], "polyphonic:jsb:DIR"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], told: str
) -> None:
    said = refused(capsys, [f"--workdir={tmp_path / 'w'}", *flags], 2)
    assert told in said and ("expected" in said or "leave it out" in said)
    assert not list((tmp_path / "w").glob("checkpoints/*"))


def test_frames_wider_than_the_keys_of_a_network_are_refused_before_training(
    jsb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = tiny_runs.flags(tmp_path / "w", jsb, "frames", **POLYPHONIC, **{"data.keys": 78})
    said = refused(capsys, argv, 1)
    assert "frames with keys beyond the 78 keys from pitch 24 to 101" in said and "--config.data.keys=88" in said
    assert not list((tmp_path / "w").glob("checkpoints/*"))


def test_a_polyphonic_file_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = f"--config.data.source=polyphonic:musedata:{tmp_path}"
    said = refused(capsys, [f"--workdir={tmp_path / 'w'}", "--config=frames_bernoulli", source], 1)
    assert "MuseData.mat" in said and "expected" in said
