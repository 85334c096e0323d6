"""Defaults from the data: what is chosen, by which pieces, what is kept, and what a command line asks for."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from musicjax import config as config_lib
from musicjax import config_files, main
from musicjax.cli import flags
from musicjax.cli import train as train_command
from musicjax.config import Config
from musicjax.corpus.split import Music
from musicjax.encodings import encoding as encoding_lib
from musicjax.encodings.plan import Length
from musicjax.errors import RunError, UsageError
from musicjax.generation import generate
from musicjax.music import copies, likeness, midi
from musicjax.music.notes import Notes, from_beats
from musicjax.run import candidate_trial, candidates, choose_config, sampling_choice
from musicjax.run.candidate_trial import Trial
from musicjax.run.choose_config import Clock, Speed
from musicjax.store import model as model_lib

TINY = {
    "data.window": 8,
    "data.workers": 1,
    "model.precision": "float32",
    "model.head_units": 8,
    "model.embedding": 8,
    "train.epochs": 1,
    "train.batch_size": 64,
    "sample.num_outputs": 1,
    "sample.num_notes": 16,
    "sample.audio": "none",
}
LONG_AGO = -1000.0  # seconds


def _trial(fields: dict, score: float = 0.5, epochs: float = 20.0, best_epoch: float = 20.0) -> Trial:
    sampling = {"sample.temperature": 0.8, "sample.min_p": 0.2}
    return Trial(fields, sampling, score, {"overlap": score}, epochs, best_epoch, 3.0, 100.0, 30.0, 10.0, 1000.0)


def _config(source: Path, **changes) -> Config:
    config = config_files.load("auto")
    config_lib.set_fields(config, {**TINY, "data.source": str(source), **changes})
    return config_lib.validate(config)


def _choose(source: Path, workdir: Path, minutes: float = 10.0, **pinned) -> Config:
    return choose_config.choose(_config(source, **pinned), workdir, minutes, pinned, time.monotonic())


@pytest.fixture
def tried(monkeypatch) -> list[dict]:
    """No trial trains; what would have been tried, in order. The second candidate is the best."""
    calls: list[dict] = []

    def run(config, dataset, standard, fields, sampling, seconds):
        calls.append({"config": config, "dataset": dataset, "fields": dict(fields), "seconds": seconds})
        return _trial(dict(fields), 0.9 if fields["model.dropout"] == 0.6 else 0.5)

    monkeypatch.setattr(candidate_trial, "run", run)
    return calls


@pytest.fixture
def measured(monkeypatch) -> None:
    """The speed is known without training."""

    def train(config, dataset, seconds):
        return candidate_trial.Trained(None, 1.0, 1.0, 3.0, 100.0, 1.0)  # type: ignore[arg-type]

    monkeypatch.setattr(candidate_trial, "train", train)


# What a command line asks for.


def test_data_without_a_config_choose_for_themselves():
    assert flags.parse(["--data=songs"]).config.name == "auto"
    assert flags.parse(["--config.data.source=songs", "--workdir=run"]).chooses
    assert flags.parse(["--config=auto"]).config.data.source == "builtin"
    for argv in ([], ["--workdir=run"], ["--data=songs", "--init_from=builtin"], ["evaluate", "--data=x"]):
        call = flags.parse(argv)
        assert (call.config.name, call.chooses) == ("demo", False)
    assert not flags.parse(["--data=songs", "--config=small"]).chooses


def test_a_run_that_begins_with_the_weights_of_another_has_its_config(trained_notes):
    call = flags.parse([f"--init_from={trained_notes}", "--data=songs"])
    assert (call.config.name, call.config.model.units, call.config.data.source) == ("small", 8, "songs")
    assert not call.chooses


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--minutes=5"], "--minutes is for --config=auto alone"),
        (["--config=small", "--data=x", "--minutes=5"], "--minutes is for --config=auto alone"),
        (["--data=x", "--minutes=0.5"], "minutes=0.5: expected 1..1440"),
        (["--data=x", "--minutes=nan"], "minutes=nan: expected 1..1440"),
        (["generate", "--minutes=5"], "generate takes no flag --minutes; it belongs to train"),
        (["--config=auto", "--init_from=builtin"], "--init_from with --config=auto"),
        (["--data=x", "--coordinator=a:1", "--num_processes=2", "--process_id=0"], "works in one process only"),
        (["--data=x", "--config.data.encoding=frames"], "config.data.encoding='frames': config auto chooses among"),
        (["--data=polyphonic:jsb:x"], "holds frames, not notes"),
    ],
)
def test_what_does_not_go_with_choosing_is_refused_by_name(capsys, tmp_path, monkeypatch, argv, message):
    monkeypatch.chdir(tmp_path)
    assert main.main(argv) == 2
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["--data=/music/My songs (2)"], "My_songs_2"),
        (["--data=/music/songs/"], "songs"),
        (["--data=pop909"], "pop909"),
        (["--data=/"], "auto"),
        (["--config=auto"], "auto"),
        (["--config=paper", "--data=songs"], "paper"),
        ([], "demo"),
    ],
)
def test_the_workdir_is_named_after_the_folder_where_the_data_choose(argv, name):
    assert train_command._own_name(flags.parse(argv)) == name


# Choosing.


def test_the_candidate_with_the_best_samples_is_chosen_and_kept(tried, clips, tmp_path, capsys):
    config = _choose(clips, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "trials.jsonl").read_text().splitlines()]
    assert [line["fields"] for line in lines] == candidates.of(0, {}) == [call["fields"] for call in tried]
    assert {"score", "parts", "epochs", "seconds", "data", "options"} <= set(lines[0])
    assert (config.model.dropout, config.sample.temperature, config.sample.min_p) == (0.6, 0.8, 0.2)
    said = capsys.readouterr().err
    assert "takes units 256, dropout 0.6, transpose 0, samples at temperature 0.8, min_p 0.2" in said
    for call in tried:
        values = {path: value for path, _, value in config_lib.fields(call["config"])}
        assert all(values[path] == value for path, value in call["fields"].items())
        assert call["seconds"] <= choose_config.TRIALS_SHARE * 600 / len(tried)


def test_what_is_reported_on_takes_no_part_in_choosing(tried, clips, tmp_path):
    _choose(clips, tmp_path)
    run = encoding_lib.of(_config(clips)).dataset().validation.music
    assert run is not None
    for call in tried:
        inside = call["dataset"].validation.music
        assert set(inside.names) | set(inside.held_out_names) == set(run.names)
        assert not set(inside.names) & set(inside.held_out_names)
        assert len(inside.held_out_names) >= 2
        assert not (set(inside.names) | set(inside.held_out_names)) & set(run.held_out_names)


def test_a_trial_that_is_transposed_learns_from_data_that_are(tried, clips, tmp_path):
    _choose(clips, tmp_path)
    for call in tried:
        assert bool(call["dataset"].training.up.any()) == bool(call["fields"]["data.transpose"])


def test_interrupted_trials_are_not_tried_again(tried, monkeypatch, clips, tmp_path, capsys):
    run = candidate_trial.run

    def stops(config, dataset, standard, fields, *rest):
        if fields["model.dropout"] == 0.6:
            raise KeyboardInterrupt
        return run(config, dataset, standard, fields, *rest)

    monkeypatch.setattr(candidate_trial, "run", stops)
    with pytest.raises(KeyboardInterrupt):
        _choose(clips, tmp_path)
    assert len(tried) == 1
    monkeypatch.setattr(candidate_trial, "run", run)
    _choose(clips, tmp_path)
    assert [call["fields"] for call in tried] == candidates.of(0, {})
    assert "1 trial is done already" in capsys.readouterr().err
    _choose(clips, tmp_path)
    assert len(tried) == len(candidates.of(0, {}))


@pytest.mark.parametrize("what", ["minutes", "a field", "data", "damage"])
def test_trials_of_something_else_begin_anew(what, tried, clips, tmp_path, capsys):
    _choose(clips, tmp_path / "run")
    before, source, pinned = len(tried), clips, {}
    if what == "a field":
        pinned = {"train.learning_rate": 1e-3}
    elif what == "data":
        source = tmp_path / "fewer"
        source.mkdir()
        for path in sorted(clips.iterdir())[:8]:
            shutil.copy(path, source)
    elif what == "damage":
        (tmp_path / "run" / "trials.jsonl").write_text("{")
    _choose(source, tmp_path / "run", 20.0 if what == "minutes" else 10.0, **pinned)
    assert len(tried) == 2 * before
    assert "starts the trials over" in capsys.readouterr().err


def test_what_is_asked_for_is_the_same_in_all_candidates_and_in_the_run(tried, clips, tmp_path):
    pinned = {"model.units": 32, "data.transpose": 3, "sample.min_p": 0.05, "train.epochs": 7, "train.half_life": 5.0}
    config = _choose(clips, tmp_path, **pinned)
    assert [call["fields"]["model.dropout"] for call in tried] == [0.4, 0.6]
    for call in tried:
        assert (call["config"].model.units, call["config"].data.transpose) == (32, 3)
    values = {path: value for path, _, value in config_lib.fields(config)}
    assert {path: values[path] for path in pinned} == pinned
    assert all(way["sample.min_p"] == 0.05 for way in candidates.sampling(pinned))


@pytest.mark.parametrize("notes", [1, candidates.MANY_NOTES])
def test_candidates_are_few_valid_and_different(notes):
    found = candidates.of(notes, {})
    assert 3 <= len(found) <= 6
    assert all(one != other for k, one in enumerate(found) for other in found[:k])
    for fields in found:
        for way in candidates.sampling({}):
            config = config_files.load("auto")
            config_lib.set_fields(config, {**fields, **way})
            config_lib.validate(config)


def test_too_few_minutes_for_a_trial_take_the_defaults(tried, measured, clips, tmp_path, capsys):
    config = _choose(clips, tmp_path, 1.0)
    assert not tried and not (tmp_path / "trials.jsonl").exists()
    assert "no time for a trial within 1 minute: takes the defaults" in capsys.readouterr().err
    assert config.model.units == config_files.load("auto").model.units


def test_a_machine_on_which_compiling_takes_too_long_takes_the_defaults(measured, monkeypatch, clips, tmp_path, capsys):
    monkeypatch.setattr(candidate_trial, "run", lambda *_: None)
    assert _choose(clips, tmp_path).model.units == config_files.load("auto").model.units
    assert "too short for a trial here" in capsys.readouterr().err


def test_where_compiling_takes_long_there_are_fewer_trials_which_take_longer(tried, monkeypatch, clips, tmp_path):
    run, seconds = candidate_trial.run, []

    def slow(*arguments):
        seconds.append(arguments[-1])
        return None if len(seconds) == 1 else run(*arguments)

    monkeypatch.setattr(candidate_trial, "run", slow)
    _choose(clips, tmp_path)
    assert tried[0]["fields"] == candidates.of(0, {})[0]
    assert seconds[1] > 1.5 * seconds[0]


def test_where_compiling_takes_all_the_time_there_is_no_second_try(measured, monkeypatch, clips, tmp_path, capsys):
    tries, real = [], time.monotonic

    def slow(*arguments):
        tries.append(arguments)
        monkeypatch.setattr(choose_config.time, "monotonic", lambda: real() + 10_000)

    monkeypatch.setattr(candidate_trial, "run", slow)
    assert _choose(clips, tmp_path).model.units == config_files.load("auto").model.units
    assert len(tries) == 1 and "too short for a trial here: continues without more trials" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["one piece", "two pieces"])
def test_too_few_pieces_take_the_defaults(what, tried, measured, clips, tmp_path, capsys):
    folder = tmp_path / "few"
    folder.mkdir()
    for path in sorted(clips.iterdir())[: 1 if what == "one piece" else 2]:
        shutil.copy(path, folder)
    _choose(folder, tmp_path / "run")
    assert not tried
    assert "too few training pieces" in capsys.readouterr().err


def _written(folder: Path, pieces: list[Notes]) -> Path:
    folder.mkdir()
    for number, piece in enumerate(pieces):
        midi.write(piece, folder / f"{number:02}.mid")
    return folder


def _chord(root: int, third: int = 4) -> Notes:
    return from_beats([root, root + third, root + 7], [80] * 3, [0.0] * 3, [4.0] * 3)


def test_music_of_drums_alone_and_of_a_chord_each_is_tried_like_any_other(tried, clips, tmp_path):
    drums = [midi.read(path) for path in sorted(clips.iterdir())]
    for piece in drums:
        piece.program[:] = 128
    chords = [_chord(60, third) for third in range(1, 7)]
    for name, pieces in {"drums": drums, "chords": chords}.items():
        before = len(tried)
        _choose(_written(tmp_path / name, pieces), tmp_path / f"run of {name}")
        assert len(tried) > before


def test_the_same_chord_in_every_piece_is_refused_by_name(tmp_path):
    folder = _written(tmp_path / "chords", [_chord(root) for root in range(50, 58)])
    with pytest.raises(RunError, match="8 pieces that count as one"):
        _choose(folder, tmp_path / "run")


def test_a_folder_without_music_is_refused_by_name_and_leaves_nothing(tmp_path):
    with pytest.raises(RunError, match=r"data source .*absent: no such folder"):
        _choose(tmp_path / "absent", tmp_path / "run")
    assert not list(tmp_path.iterdir())


# What follows from the trials.


def test_a_later_candidate_needs_more_than_chance():
    first, near, better = _trial({}, 0.7), _trial({}, 0.7 + choose_config.MARGIN / 2), _trial({}, 0.8)
    assert choose_config.best_of([first, near]) is first
    assert choose_config.best_of([first, near, better]) is better


def test_epochs_fill_the_time_unless_the_trial_has_seen_them_overfit():
    clock, speed = Clock(time.monotonic(), 600.0), Speed(1000, 100.0, 200.0)
    fitting = choose_config.epochs_of(speed, clock, _trial({}), 1)
    assert 0.9 < fitting / (choose_config.TRAINING_SHARE * 400 * 100 / 1000) <= 1
    assert choose_config.epochs_of(speed, clock, _trial({}), 3) == fitting // 3
    assert choose_config.epochs_of(speed, clock, _trial({}, epochs=20, best_epoch=5), 1) == 10
    fast = Speed(1, 1e9, 0.0)
    assert choose_config.epochs_of(fast, clock, _trial({}, epochs=20, best_epoch=19), 1) == 38
    assert choose_config.epochs_of(fast, clock, _trial({}, epochs=2, best_epoch=2), 1) == choose_config.ENOUGH_EPOCHS
    assert choose_config.epochs_of(fast, clock, None, 1) == choose_config.MOST_EPOCHS


def test_a_run_trains_for_a_while_even_if_the_time_is_over(capsys):
    clock = Clock(time.monotonic() + LONG_AGO, 600.0)
    assert choose_config.epochs_of(Speed(1000, 100.0, 0.0), clock, None, 1) == int(
        choose_config.LEAST_SHARE * 600 * 100 / 1000
    )
    assert "will take longer" in capsys.readouterr().err
    assert choose_config.epochs_of(Speed(10**9, 100.0, 0.0), clock, None, 1) == 1


def test_time_is_set_aside_for_what_comes_after_training_and_that_is_said(tried, clips, tmp_path, capsys, monkeypatch):
    """Seven ways of sixteen pieces, and the sample of the run, of sixteen tries each; and once more compiling."""
    asked: list[float] = []
    monkeypatch.setattr(choose_config, "epochs_of", lambda speed, *_: asked.append(speed.other_seconds) or 1)
    notes = int(np.median([len(midi.read(path)) for path in clips.iterdir()]))
    for number, (pinned, pieces) in enumerate((({}, 7 * 16 + 1), ({"sample.min_p": 0.1}, 1))):
        _choose(clips, tmp_path / str(number), **pinned)
        seconds = pieces * 16 * sampling_choice.ROWS_OF_WHOLE * notes / 1000.0 + 10.0
        said = [line for line in capsys.readouterr().err.splitlines() if "after training" in line]
        assert asked[-1] == pytest.approx(seconds + 10.0, rel=0.1, abs=10.0)  # a part of the clips is held out
        assert len(said) == 1 and ("choosing how samples are drawn" in said[0]) == (not pinned)


def test_the_half_life_follows_the_epochs():
    config = choose_config.settled(config_files.load("auto"), {}, None, 30)
    assert (config.train.epochs, config.train.half_life) == (30, 10.0)
    without = config_files.load("auto")
    without.train.half_life = 0.0
    assert choose_config.settled(without, {}, None, 30).train.half_life == 0


def test_a_set_of_stretches_passes_over_all_windows_alike():
    stretches = candidate_trial._stretches(2 * candidate_trial.STRETCH_WINDOWS, 0)
    first, second = next(stretches), next(stretches)
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(2 * candidate_trial.STRETCH_WINDOWS))
    few = candidate_trial._stretches(3, 0)
    assert [sorted(next(few).tolist()) for _ in range(3)] == [[0, 1, 2]] * 3


@pytest.mark.long
def test_a_trial_trains_and_scores_each_way_to_draw_samples(monkeypatch, clips):
    monkeypatch.setattr(candidate_trial, "SAMPLES", 2)
    monkeypatch.setattr(candidate_trial, "MOST_COMPILING", 1e9)
    config = _config(clips, **{"model.units": 8})
    dataset = encoding_lib.of(config).inside(0.2)
    assert dataset is not None and dataset.validation.music is not None
    music, ways = dataset.validation.music, candidates.sampling({"sample.min_p": 0.1})
    standard = likeness.standard(music.held_out, copies.index(music.training, music.names), 12)
    trial = candidate_trial.run(config, dataset, standard, {"model.units": 8}, ways, 0.1)
    assert trial is not None and trial.sampling in ways
    assert 0 < trial.score <= 1 and trial.score == pytest.approx(sum(trial.parts.values()) / len(trial.parts), abs=1e-3)
    assert 0 < trial.best_epoch <= trial.epochs and trial.windows_per_second > 0
    assert 0 < trial.overhead_seconds < trial.seconds
    assert Trial(**json.loads(json.dumps(trial.__dict__))) == trial


# How a trained model draws its samples.


def _tunes(first: int, notes: int = 40) -> list[Notes]:
    """Eight tunes in C major, each of which repeats one phrase."""
    found = []
    for seed in range(first, first + 8):
        phrase = np.random.default_rng(seed).choice([60, 62, 64, 65, 67, 69, 71, 72], 8)
        pitch = np.append(np.resize(phrase, notes - 1), 72)
        found.append(from_beats(pitch, np.full(notes, 80), np.arange(notes), np.ones(notes)))
    return found


@pytest.mark.parametrize(("notes", "exact"), [(40, False), (2 * sampling_choice.CUT_NOTES, True)])
def test_the_way_is_taken_whose_samples_are_like_the_training_pieces(monkeypatch, capsys, notes, exact):
    config, asked = config_files.load("auto"), set()
    config_lib.set_fields(config, {"sample.fit": True, "seed": 3})

    def new_pieces(model, params, length, seed):
        assert (model.config.seed, seed, len(params)) == (3, 3, sampling_choice.SAMPLES)
        asked.add(length)
        noise = [from_beats(np.arange(40, 100), np.full(60, 80), np.arange(60), np.ones(60))]
        return _tunes(100, notes) if params[0].temperature == 0.7 else noise * 8

    monkeypatch.setattr(generate, "new_pieces", new_pieces)
    training = _tunes(0, notes)
    music = Music(training, tuple("abcdefgh"), [], ())
    found = sampling_choice.of(SimpleNamespace(config=config), music)  # type: ignore[arg-type]
    assert config_lib.differences(config, found) == []
    assert (found.sample.temperature, found.sample.min_p, found.sample.fit) == (0.7, 0.1, False)
    assert (config.sample.temperature, config.sample.fit) == (0.9, True)
    assert asked == {Length(num_notes=min(notes, sampling_choice.CUT_NOTES), exact=exact)}
    said = capsys.readouterr().err
    assert "takes temperature 0.7, min_p 0.1" in said
    assert said.count(" left\n") == len(candidates.sampling_of_trained()) and "  0:00 left\n" in said


@pytest.mark.parametrize("count", [1, 2, likeness.ONE_IN])
def test_with_too_few_training_pieces_nothing_is_drawn_to_choose(monkeypatch, capsys, count):
    monkeypatch.setattr(generate, "new_pieces", lambda *_: pytest.fail("drawn"))
    config = config_files.load("auto")
    config_lib.set_field(config, "sample.fit", True)
    music = Music(_tunes(0)[:count], ("a",) * count, [], ())
    found = sampling_choice.of(SimpleNamespace(config=config), music)  # type: ignore[arg-type]
    assert (found.sample.temperature, found.sample.min_p, found.sample.fit) == (0.9, 0.2, False)
    assert "too few training pieces" in capsys.readouterr().err


def test_one_more_piece_is_enough_to_choose(monkeypatch):
    monkeypatch.setattr(generate, "new_pieces", lambda *_: _tunes(100))
    music = Music(_tunes(0)[: likeness.ONE_IN + 1], tuple("abcdef"), [], ())
    found = sampling_choice.of(SimpleNamespace(config=config_files.load("auto")), music)  # type: ignore[arg-type]
    assert (found.sample.temperature, found.sample.min_p) == (1.0, 0.03), "of equal ones the first"


def test_a_temperature_given_to_a_run_that_goes_on_is_not_chosen_over():
    saved = config_files.load("auto")
    config_lib.set_field(saved, "sample.fit", True)
    given = {"sample.temperature": 0.8}
    assert train_command._asked(SimpleNamespace(given=given), saved) == {"sample.fit": False, **given}
    again = {"sample.fit": True, **given}
    assert train_command._asked(SimpleNamespace(given=again), saved) == again
    for config in (None, config_files.load("auto"), config_files.load("small")):
        assert train_command._asked(SimpleNamespace(given=given), config) == given


@pytest.mark.parametrize("pinned", [{}, {"sample.temperature": 1.0}, {"sample.min_p": 0.1}])
def test_samples_choose_nothing_that_was_asked_for(pinned):
    config = choose_config.settled(config_files.load("auto"), pinned, _trial({}), 30)
    assert config.sample.fit == (not pinned)


# The whole command.


@pytest.mark.long
def test_a_command_chooses_trains_and_then_generates_with_what_was_chosen(monkeypatch, clips, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(candidates, "OF_FEW_NOTES", ((8, 0.4, 0), (8, 0.2, 0)))
    monkeypatch.setattr(choose_config, "LEAST_TRIAL_S", 0.01)
    monkeypatch.setattr(choose_config, "TRIALS_SHARE", 0.001)
    monkeypatch.setattr(choose_config, "MOST_NOTES", 12)
    monkeypatch.setattr(candidate_trial, "MOST_COMPILING", 1e9)
    monkeypatch.setattr(candidate_trial, "SAMPLES", 2)
    monkeypatch.setattr(sampling_choice, "SAMPLES", 2)
    monkeypatch.setattr(sampling_choice, "WHOLE_NOTES", 12)
    monkeypatch.setattr(sampling_choice, "CUT_NOTES", 12)
    given = [f"--config.{path}={value}" for path, value in TINY.items()]
    shutil.copytree(clips, tmp_path / "songs")
    assert main.main(["--data=songs", "--minutes=30", *given]) == 0
    run = tmp_path / "runs" / "songs"
    config = json.loads((run / "config.json").read_text())
    lines = [json.loads(line) for line in (run / "trials.jsonl").read_text().splitlines()]
    best = max(lines, key=lambda line: line["score"])
    assert (config["name"], config["model"]["units"], config["train"]["epochs"]) == ("auto", 8, 1)
    assert config["data"]["encoding"] == "events"
    if len(lines) == 1 or abs(lines[0]["score"] - lines[1]["score"]) > choose_config.MARGIN:
        assert config["model"]["dropout"] == best["fields"]["model.dropout"]
    assert not config["sample"]["fit"]
    drawn = {name: config["sample"][name.split(".")[1]] for name in candidates.SAMPLING_NAMES}
    assert drawn in candidates.sampling_of_trained()
    assert model_lib.load(run).config.sample.min_p == config["sample"]["min_p"]
    assert main.main(["generate", "--workdir=runs/songs", "--num_outputs=2", "--num_notes=12", "--audio=none"]) == 0
    assert len(list((run / "generated").glob("*.mid"))) == 2
    # The run goes on as it is, and another folder of this name does not meet it.
    capsys.readouterr()
    assert main.main(["--data=songs", "--config.train.epochs=2"]) == 0
    assert "continues with its own config" in capsys.readouterr().err
    assert json.loads((run / "config.json").read_text())["train"]["epochs"] == 2
    (tmp_path / "other").mkdir()
    shutil.copytree(clips, tmp_path / "other" / "songs", ignore=lambda _, names: sorted(names)[:3])
    assert main.main(["--data=other/songs"]) == 1
    assert "was trained on other data" in capsys.readouterr().err


def test_a_run_of_another_config_is_not_taken_for_one_that_was_chosen(trained_notes):
    call = flags.parse(["--config=auto", f"--workdir={trained_notes}"])
    with pytest.raises(UsageError, match=r"holds a run of config small, not of auto: leave --config out"):
        train_command.run(call)
