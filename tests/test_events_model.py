"""A note-event model as a user meets it: trained, continued, evaluated, and folders that are a split."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from musicjax import config as config_lib
from musicjax import config_files, console
from musicjax.config import Config
from musicjax.corpus import load as data_lib
from musicjax.corpus import split as split_lib
from musicjax.encodings import encoding
from musicjax.errors import RunError, UsageError
from musicjax.main import main
from musicjax.music import learned_bins, midi, note_bins
from musicjax.run import evaluate as evaluate_lib
from musicjax.run import train as train_lib
from musicjax.store import checkpoint as checkpoint_lib

FIELDS = {
    "data.workers": 1,
    "data.window": 16,
    "data.velocity_shift_bins": 1,
    "data.tempo_stretch_percent": 10,
    "model.units": 12,
    "model.head_units": 8,
    "model.embedding": 8,
    "model.precision": "float32",
    "train.batch_size": 16,
    "train.epochs": 2,
    "train.histograms": False,
    "sample.num_outputs": 3,
    "sample.num_notes": 20,
    "sample.audio": "none",
}
TIMED = ("seconds", "windows_per_second")


def _config(source: Path, **more) -> Config:
    config = config_files.load("events")
    config.data.source = str(source)
    for path, value in {**FIELDS, **{name.replace("__", "."): value for name, value in more.items()}}.items():
        config_lib.set_field(config, path, value)
    return config_lib.validate(config)


@pytest.fixture(scope="module")
def folders(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clips in train/, valid/ and test/."""
    folder = tmp_path_factory.mktemp("splits")
    paths = sorted(clips.iterdir())
    for number, path in enumerate(paths):
        split = "test" if number < 2 else "valid" if number < 4 else "train"
        (folder / split).mkdir(exist_ok=True)
        shutil.copy(path, folder / split / path.name)
    return folder


@pytest.fixture(scope="module")
def run(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    workdir = tmp_path_factory.mktemp("events") / "w"
    return workdir, train_lib.train(_config(folders), workdir)


def _lines(workdir: Path) -> list[dict]:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMED} for line in lines]


def test_it_learns_and_leaves_music_with_metrics_and_a_page(run):
    workdir, summary = run
    valid = [line for line in _lines(workdir) if line["split"] == "valid"]
    assert valid[-1]["nats_per_note"] < valid[0]["nats_per_note"]
    columns = sum(valid[-1][f"{name}_nats"] for name in map(note_bins.COLUMNS.__getitem__, note_bins.PREDICTED))
    assert columns == pytest.approx(valid[-1]["nats_per_note"], rel=1e-5)
    assert valid[-1]["loss"] == valid[-1]["nats_per_note"] and 0 < valid[-1]["majority_accuracy"] < 1
    found = json.loads((workdir / "samples" / "metrics.json").read_text())
    assert len(found["samples"]) == len(summary["samples"]) == 3
    assert found["compared_with"] == "held-out pieces"
    assert "seed0-000" in Path(summary["report"]).read_text()


@pytest.mark.long
def test_a_run_that_is_continued_ends_byte_for_byte_as_one_left_alone(run, folders, tmp_path):
    workdir, _ = run
    train_lib.train(_config(folders, train__epochs=1), tmp_path / "w")
    train_lib.train(_config(folders), tmp_path / "w")
    whole, resumed = (checkpoint_lib.restore(place) for place in (workdir, tmp_path / "w"))
    leaves = zip(jax.tree.leaves(whole.arrays), jax.tree.leaves(resumed.arrays), strict=True)
    assert all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in leaves)
    assert whole.metadata.learned == resumed.metadata.learned and "bins" in whole.metadata.learned
    assert _lines(workdir) == _lines(tmp_path / "w")
    for path in (workdir / "samples").glob("*.mid"):
        assert path.read_bytes() == (tmp_path / "w" / "samples" / path.name).read_bytes()


def test_evaluate_gives_the_validation_loss_again_and_that_of_any_folder(run, folders, capsys):
    workdir, _ = run
    best = min(line["loss"] for line in _lines(workdir) if line["split"] == "valid")
    own = evaluate_lib.evaluate(workdir)
    assert own["nats_per_note"] == pytest.approx(best, rel=1e-5)
    assert own["split"] == "validation" and own["pieces"] == 2 and set(own["music"]) > {"polyphony"}
    assert main(["evaluate", f"--workdir={workdir}", f"--data={folders / 'test'}"]) == 0
    other = json.loads(capsys.readouterr().out)
    assert other["pieces"] == 2 and other["nats_per_note"] != own["nats_per_note"]
    assert own["copies"]["pieces"] == other["copies"]["pieces"] == 2
    assert main(["evaluate", f"--workdir={workdir}", f"--data={folders}"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["pieces"] > 2 and "also uses the pieces outside test/" in err


def test_evaluate_shows_how_far_it_is_and_what_it_scores(run, folders, monkeypatch, capsys):
    monkeypatch.setattr(console, "SOON_SECONDS", -1)
    told = evaluate_lib.evaluate(run[0], folders / "test")
    said = capsys.readouterr().err
    pieces = [midi.read(path) for path in (folders / "test").glob("*.mid")]
    assert told["notes"] == sum(map(len, pieces)) and told["ends"] == told["pieces"] == len(pieces)
    assert f"scoring  {told['notes']:,} notes and {told['ends']} ends\n" in said
    for label in ("rows", "metrics", "copies"):
        assert f"{label:<9}1 of 2 pieces, 0:0" in said


def test_evaluate_finds_what_was_copied_from_the_training_data(run, folders, tmp_path, capsys):
    workdir, _ = run
    path = min((folders / "train").glob("*.mid"))
    shutil.copy(path, tmp_path / "stolen.mid")
    scored = evaluate_lib.evaluate(workdir, str(tmp_path))
    told, real = scored["copies"], scored["held_out_copies"]
    assert told["longest"]["name"] == "stolen.mid" and told["longest"]["piece"] == f"train/{path.name}"
    assert told["longest"]["length"] == told["median_notes"] == len(midi.read(path))
    own = evaluate_lib.evaluate(workdir)
    assert real == own["copies"] and "held_out_copies" not in own
    assert real == json.loads((workdir / "samples" / "metrics.json").read_text())["held_out_copies"]
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "longest run" in line)
    whose = f"{len(midi.read(path))} notes, in stolen.mid; they match train/{path.name} from note 1; real music held"
    assert whose in line and f"shares up to {real['longest']['length']}, typically" in line
    hidden = folders.rename(folders.with_name("hidden"))
    try:
        capsys.readouterr()
        alone = evaluate_lib.evaluate(workdir, str(tmp_path))
    finally:
        hidden.rename(folders)
    assert "music" in alone and "copies" not in alone
    assert "not looked for: " in capsys.readouterr().err


def test_bins_and_training_are_of_the_training_pieces_alone(folders):
    config = _config(folders)
    data, (corpus, _) = encoding.of(config).dataset(), data_lib.read(config.data)
    own = split_lib.folders(corpus.names)
    training = [corpus.piece(p) for p in np.flatnonzero(own == 0)]
    assert data.encoding.bins == learned_bins.learn(training)
    music = data.validation.music
    assert music is not None and len(music.training) == len(training) and len(music.held_out) == 2
    seen = np.zeros(len(np.asarray(data.training.rows)), bool)
    for first, end in zip(data.training.first, data.training.end, strict=True):
        seen[first:end] = True
    assert seen.sum() == sum(len(piece) + 2 for piece in training), "an edge before and after each"


@pytest.mark.long
def test_trials_side_by_side_are_the_runs_they_would_be_alone(folders, tmp_path):
    both = _config(folders, train__trials=2, seed=7)
    train_lib.train(both, tmp_path / "both")
    train_lib.train(_config(folders, seed=8), tmp_path / "second")
    alone = [line["loss"] for line in _lines(tmp_path / "second")]
    together = [line["loss"] for line in _lines(tmp_path / "both") if line["trial"] == 1]
    np.testing.assert_allclose(together, alone, rtol=1e-4)


# Folders that are a split.


def test_folders_decide_and_test_pieces_take_no_part(folders):
    corpus, _ = data_lib.read(_config(folders).data)
    own = split_lib.folders(corpus.names)
    assert own is not None and sorted(set(own.tolist())) == [0, 1, 2]
    kept = split_lib.without_tests(corpus)
    assert len(kept) == (own != 2).sum() and not any(name.startswith("test/") for name in kept.names)
    assert sum(len(kept.piece(p)) for p in range(len(kept))) == len(kept.notes)
    held_out = split_lib.held_out(kept, _config(folders).data, np.diff(kept.offsets) > 1)
    np.testing.assert_array_equal(held_out, [name.startswith("valid") for name in kept.names])


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("train/a.mid", "valid/b.mid", "c.mid"), "c.mid is outside"),
        (("train/a.mid", "test/b.mid"), "no piece in valid/"),
        (("valid/a.mid", "test/b.mid"), "no piece in train/"),
        (("train/a.mid", "valid/b.mid", "more/c.mid"), "more/c.mid is outside"),
    ],
)
def test_half_a_split_is_refused(names, told):
    with pytest.raises(RunError, match=told):
        split_lib.folders(names)


@pytest.mark.parametrize("names", [("a.mid", "b.mid"), ("train/a.mid", "train/b.mid"), ("x/a.mid", "train.mid")])
def test_other_folders_are_no_split(names):
    assert split_lib.folders(names) is None


def test_pieces_that_change_sides_are_other_data(folders, tmp_path):
    moved = shutil.copytree(folders, tmp_path / "moved")
    last = sorted((moved / "valid").iterdir())[-1]
    before = data_lib.read(_config(folders).data)[0].fingerprint
    last.rename(moved / "train" / f"0{last.name}")
    assert data_lib.read(_config(moved).data)[0].fingerprint != before


def test_windows_across_files_do_not_go_with_folders(folders):
    config = config_files.load("small")
    config.data.source, config.data.split, config.data.workers = str(folders), "windows", 1
    with pytest.raises(UsageError, match="has folders train/ and valid/"):
        encoding.of(config_lib.validate(config)).dataset()
