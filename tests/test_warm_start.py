"""A run that begins with the weights of another: what it takes over, what is recorded, and what does not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

import musicjax
from musicjax import main
from musicjax.encodings import encoding
from musicjax.errors import UsageError
from musicjax.model import network
from musicjax.music import learned_bins, midi
from musicjax.music.notes import from_beats, from_seconds
from musicjax.run import start, warm_start
from musicjax.store import checkpoint as checkpoint_lib
from musicjax.store import metadata as metadata_lib
from musicjax.store import model as model_lib
from musicjax.store import pretrained
from tests import tiny_events, tiny_runs

pytestmark = pytest.mark.usefixtures("own_signal_handlers")


def leaves(params: dict) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(params)]


def assert_equal(one: dict, other: dict) -> None:
    assert leaves(one) == leaves(other)


@pytest.fixture(scope="module")
def others(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five of the clips, higher and slower: longer rests than the other run has seen."""
    folder = tmp_path_factory.mktemp("others")
    for path in sorted(clips.iterdir())[:5]:
        notes = midi.read(path)
        slow = from_seconds(notes.pitch + 1, notes.velocity, notes.onset * 3, notes.duration)
        midi.write(slow, folder / path.name)
    return folder


@pytest.fixture(scope="module")
def tuned(others: Path, trained_notes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict, str]:
    """A run of one epoch on these, its summary, and what it said; it began with the tiny run of notes."""
    workdir = tmp_path_factory.mktemp("tuned") / "w"
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr(musicjax.console, "say", lambda label, text: said.append(f"{label} {text}"))
        summary = musicjax.train(config_of(others), workdir, init_from=trained_notes)
    return workdir, summary, "\n".join(said)


def config_of(source: Path, name: str = "notes", **changes: Any):
    return tiny_runs.config_of(source, name, **{"train.epochs": 1, "train.learning_rate": 1e-5, **changes})


def at_its_start(workdir: Path, target: Path) -> Path:
    """A copy of a run as it was before its first epoch."""
    shutil.copytree(workdir, target)
    shutil.rmtree(checkpoint_lib.folder(target) / "1")
    return target


# What it takes over.


def test_it_begins_with_the_best_weights_and_the_scaling_of_the_other(
    tuned, trained_notes: Path, tmp_path: Path
) -> None:
    workdir, _, said = tuned
    other = model_lib.load(trained_notes)
    arrays, metadata = checkpoint_lib.restore(at_its_start(workdir, tmp_path / "w"))
    assert metadata.epoch == 0 and int(arrays.state.step) == 0
    assert_equal(arrays.state.params, other.params)
    assert_equal(arrays.best_params, other.params)
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(arrays.state.opt_state)), "a fresh optimizer"
    assert metadata.learned == other.metadata.learned != {}
    np.testing.assert_array_equal(arrays.best_deviation, other.deviation)
    assert metadata.config.train.learning_rate == 1e-5 != other.config.train.learning_rate
    assert f"weights those of {trained_notes}, epoch {other.metadata.best_epoch}, " in said and "its scaling" in said
    assert "training notes are outside the range" in said


def test_what_it_began_with_is_recorded_and_shown(tuned, trained_notes: Path) -> None:
    workdir, summary, _ = tuned
    origin = checkpoint_lib.read_metadata(workdir).origin
    assert origin is not None and origin.path == summary["init_from"] == str(trained_notes)
    assert origin.epoch == checkpoint_lib.read_metadata(trained_notes).best_epoch and len(origin.sha256) == 64
    assert json.loads((workdir / "init_from.json").read_text())["sha256"] == origin.sha256
    page = (workdir / "report.html").read_text()
    assert "began with" in page and f"the weights of {trained_notes}" in page


def test_it_learns_on_from_there(tuned, trained_notes: Path) -> None:
    """At this rate a run that begins at random is far away after an epoch."""
    workdir, _, _ = tuned
    began, now = (jax.tree.leaves(model_lib.load(place).params) for place in (trained_notes, workdir))
    moved = max(float(np.abs(a - b).max()) for a, b in zip(began, now, strict=True))
    assert 0 < moved < 0.01


def test_trials_all_begin_with_the_same_weights(clips: Path) -> None:
    params = tiny_events.model().params
    config = config_of(clips, "events", **{"train.trials": 3})
    state = start._first_state(encoding.of(config), params)
    for trial in range(3):
        assert_equal(jax.tree.map(lambda leaf: leaf[trial], state.params), params)  # noqa: B023
    assert state.step.tolist() == [0, 0, 0]
    like = jax.eval_shape(lambda: start._first_state(encoding.of(config), None))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), like
    )


@pytest.mark.long
def test_trials_that_begin_with_the_same_weights_are_trained(clips: Path, trained_notes: Path, tmp_path: Path) -> None:
    argv = tiny_runs.flags(tmp_path / "w", clips, **{"train.trials": 2, "train.epochs": 1})
    assert main.main([*argv, f"--init_from={trained_notes}"]) == 0
    learned, other = model_lib.load(tmp_path / "w"), model_lib.load(trained_notes)
    assert learned.metadata.trials[0].best_loss != learned.metadata.trials[1].best_loss
    arrays, _ = checkpoint_lib.restore(at_its_start(tmp_path / "w", tmp_path / "start"))
    for trial in range(2):
        assert_equal(jax.tree.map(lambda leaf: leaf[trial], arrays.state.params), other.params)  # noqa: B023


def test_notes_off_the_bins_of_the_other_run_move_to_the_nearest_and_are_counted(tmp_path: Path, capsys) -> None:
    for number in range(3):
        notes = from_beats([60, 62, 64, 65 + number] * 5, [77] * 20, np.arange(20) * 0.7, [0.5] * 20)
        midi.write(notes, tmp_path / f"{number}.mid")
    bins = learned_bins.learn(tiny_events.pieces())
    own = encoding.of(config_of(tmp_path, "events"), tiny_events.model().metadata.learned)
    data = own.dataset()
    assert data.encoding.bins == bins
    assert "the model rounds 60 of 60 notes to the nearest that it knows: onset of 48 by" in capsys.readouterr().err


def test_the_model_that_comes_along_fits_the_config_that_it_was_trained_with(capsys) -> None:
    began = warm_start.load(warm_start.BUILTIN, musicjax.load_config("demo"))
    assert_equal(began.model.params, pretrained.load().params)
    assert began.origin.path == "builtin" and "its bins" in capsys.readouterr().err


def test_another_precision_is_no_matter(clips: Path, tmp_path: Path) -> None:
    source = str(tiny_events.save(tmp_path / "other"))
    for precision in ("bfloat16", "float32"):
        config = config_of(clips, "events", **{"model.precision": precision})
        assert warm_start.load(source, config).model.params["lstm"] is not None


def test_evaluating_it_repeats_the_recorded_validation(tuned) -> None:
    """With the scaling of the other run, as it was trained."""
    workdir, summary, _ = tuned
    assert musicjax.evaluate(workdir)["loss"] == pytest.approx(summary["best_validation_loss"], rel=1e-5)


# Going on.


def test_to_go_on_it_needs_only_its_own_workdir(tuned, others: Path, tmp_path: Path, capsys) -> None:
    """The folder of the other run is gone; the same command goes on and ends like a run that was never cut off."""
    workdir, _, _ = tuned
    copy = at_its_start(workdir, tmp_path / "w")
    path = next((copy / "checkpoints" / "0").glob("metadata/metadata"))
    gone = str(tmp_path / "gone")
    saved = json.loads(path.read_text())
    saved["origin"]["path"] = gone
    path.write_text(json.dumps(saved))
    checkpoint_lib.checksums.write(path.parents[1])
    musicjax.train(config_of(others), copy, init_from=gone)
    assert f"resume   0 epochs are done; it began with the weights of {gone}" in capsys.readouterr().err
    once, twice = (checkpoint_lib.restore(place).arrays for place in (workdir, copy))
    assert leaves(once) == leaves(twice)


def test_a_run_goes_on_with_the_same_weights_wherever_they_lie_and_without_the_flag(
    tuned, others: Path, trained_notes: Path, tmp_path: Path
) -> None:
    workdir = shutil.copytree(tuned[0], tmp_path / "w")
    moved = shutil.copytree(trained_notes, tmp_path / "moved")
    for init_from in (trained_notes, moved, None):
        assert musicjax.train(config_of(others), workdir, init_from=init_from)["init_from"] == str(trained_notes)


# What is refused, in one line.


def fails(capsys, argv: list[str], status: int, *words: str) -> None:
    capsys.readouterr()
    assert main.main(argv) == status
    out, err = capsys.readouterr()
    (told,) = [line for line in err.splitlines() if line.startswith("musicjax: ")]
    assert not out and err.splitlines()[-1] == told and "Traceback" not in err
    for word in words:
        assert word in told


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """The workdir of a model of events."""
    return tiny_events.save(tmp_path / "events")


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("events", {"model.units": 9}, "config.model.units is 8 there, 9 here"),
        ("events", {"model.layers": 2}, "config.model.layers is 1 there, 2 here"),
        ("events", {"model.head_units": 7, "model.embedding": 6}, "embedding is 8 there, 6 here"),
        ("notes", {}, "config.data.encoding is 'events' there, 'notes' here; use"),
        ("frames", {}, "config.data.encoding is 'events' there, 'frames' here; use"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(events, clips, tmp_path, capsys, name, changes, told) -> None:
    argv = [*tiny_runs.flags(tmp_path / "w", clips, name, **changes), f"--init_from={events}"]
    fails(capsys, argv, 2, f"init_from={events}: its weights do not fit", told, "config.json")
    assert not (tmp_path / "w" / "checkpoints").exists()


def test_the_model_that_comes_along_does_not_fit_another_size(clips, tmp_path, capsys) -> None:
    argv = [*tiny_runs.flags(tmp_path / "w", clips, "events"), "--init_from=builtin"]
    fails(capsys, argv, 2, "init_from=builtin", "config.model.units is 256 there, 8 here", "--config=demo")


@pytest.mark.parametrize(
    ("name", "changes", "fit"),
    [
        ("notes", {"data.duration": False}, False),
        ("notes", {"data.window": 9, "train.optimizer": "adam", "data.split": "windows"}, True),
        ("frames", {"model.head": "nade"}, False),
        ("frames", {"data.onsets": False}, False),
        ("frames", {"data.per_beat": 2}, False),
        ("frames", {"data.match_share": 0.0}, False),
        ("frames", {"data.match_share": 0.5, "model.head_units": 9, "data.transpose": 2}, True),
        ("events", {"data.match_share": 0.0, "data.transpose": 0, "model.dropout": 0.1}, True),
    ],
)
def test_only_fields_that_the_weights_depend_on_must_be_the_same(clips: Path, name: str, changes, fit: bool) -> None:
    before, after = (encoding.of(config_of(clips, name, **fields)) for fields in ({}, changes))
    other: Any = SimpleNamespace(encoding=before, config=before.config)
    if fit:
        warm_start._require_fit(other, after.config, "x")
        shapes = [jax.eval_shape(_params_of(one.network())) for one in (before, after)]
        assert jax.tree.map(np.shape, shapes[0]) == jax.tree.map(np.shape, shapes[1])
        return
    with pytest.raises(UsageError) as refused:
        warm_start._require_fit(other, after.config, "x")
    assert str(refused.value).count(" there, ") == 1 and f"config.{next(iter(changes))} is " in str(refused.value)


def _params_of(net):
    return lambda: network.init(net, jax.random.key(0), 8)


def test_a_folder_without_a_model(clips, tmp_path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for name in ("empty", "file", "absent"):
        argv = [*tiny_runs.flags(tmp_path / "w", clips, "events"), f"--init_from={tmp_path / name}"]
        fails(capsys, argv, 1, f"init_from={tmp_path / name}: no checkpoint in it", "or builtin")
    assert not (tmp_path / "w" / "checkpoints").exists()


@pytest.mark.parametrize("init_from", ["", b"x", 3])
def test_what_is_no_path_is_no_model(clips: Path, tmp_path: Path, init_from) -> None:
    with pytest.raises(UsageError, match=r"init_from=.*expected the workdir of a trained model, or builtin"):
        musicjax.train(config_of(clips), tmp_path / "w", init_from=init_from)


def test_a_damaged_checkpoint(events, clips, tmp_path, capsys) -> None:
    (metadata,) = events.glob("checkpoints/*/state/_METADATA")
    metadata.write_bytes(metadata.read_bytes()[:100])
    argv = [*tiny_runs.flags(tmp_path / "w", clips, "events"), f"--init_from={events}"]
    fails(capsys, argv, 1, "is damaged", "state/_METADATA", "name another model with --init_from=DIR")
    assert not (tmp_path / "w" / "checkpoints").exists()


def test_a_run_does_not_begin_with_itself(events, clips, tmp_path, capsys) -> None:
    (tmp_path / "link").symlink_to(events)
    for place in (events, tmp_path / "link"):
        argv = [*tiny_runs.flags(events, clips, "events"), f"--init_from={place}"]
        fails(capsys, argv, 2, f"init_from={place} is the workdir itself", "leave it out to go on")


def test_a_run_does_not_go_on_with_other_weights(tuned, others, trained_notes, events, tmp_path, capsys) -> None:
    workdir = shutil.copytree(tuned[0], tmp_path / "w")
    argv = tiny_runs.flags(workdir, others, **{"train.epochs": 1, "train.learning_rate": 1e-5})
    for other in (events, tmp_path / "absent", "builtin"):
        fails(capsys, [*argv, f"--init_from={other}"], 2, f"began with the weights of {trained_notes}", "leave it out")
    plain = shutil.copytree(trained_notes, tmp_path / "plain")
    told = "did not begin with the weights of another"
    fails(capsys, [f"--workdir={plain}", f"--init_from={events}"], 2, told, "leave it out to go on")


@pytest.mark.parametrize("origin", [{"path": 3, "sha256": "", "epoch": 1}, {"path": ""}, "x", [1]])
def test_a_damaged_origin_is_noticed(origin) -> None:
    saved = json.loads(json.dumps(metadata_lib.to_saved(tiny_events.checkpoint().metadata)))
    assert metadata_lib.from_saved(saved).origin is None
    with pytest.raises(ValueError, match="its metadata are not those of a run"):
        metadata_lib.from_saved({**saved, "origin": origin})
