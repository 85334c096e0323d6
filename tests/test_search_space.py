"""search.json: what it may say, what is said of its mistakes, and what trials draw."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicjax import config as config_lib
from musicjax import config_files
from musicjax.config import Config
from musicjax.encodings import encoding as encoding_lib
from musicjax.search import space
from musicjax.search.space import Choice, Range, Search

RATE: dict[str, Any] = {"train.learning_rate": {"low": 1e-5, "high": 1e-2, "scale": "log"}}
PAPER: dict[str, Any] = {
    "fields": {**RATE, "model.dropout": {"low": 0.0, "high": 0.8}, "model.units": [64, 128, 256]},
    "trials": 200,
    "epochs": 90,
    "minimise": "loss",
    "halving": 3,
    "seed": 0,
}


def read(folder: Path, asked: Any, config: Config | None = None, given: tuple = ()) -> tuple[Search | None, list[str]]:
    path = folder / "search.json"
    path.write_text(asked if isinstance(asked, str) else json.dumps(asked))
    return space.read(path, config or config_files.load("small"), given)


def search_of(folder: Path, **changes: Any) -> Search:
    found, wrong = read(folder, {"fields": RATE, "trials": 3, **changes})
    assert found is not None and not wrong
    return found


# What it says.


def test_every_key_means_what_it_says(tmp_path):
    found, wrong = read(tmp_path, PAPER)
    assert not wrong and found is not None
    assert found.fields == {
        "train.learning_rate": Range(1e-5, 1e-2, is_log=True, is_whole=False),
        "model.dropout": Range(0.0, 0.8, is_log=False, is_whole=False),
        "model.units": Choice((64, 128, 256)),
    }
    assert (found.trials, found.epochs, found.minimise, found.halving, found.rungs, found.seed) == (
        *(200, 90, "loss", 3),
        *(0, 0),
    )


def test_what_is_left_out_has_a_default(tmp_path):
    found = search_of(tmp_path)
    small = config_files.load("small")
    assert (found.epochs, found.minimise, found.halving, found.seed) == (small.train.epochs, "loss", 3, 0)


def test_older_names_of_fields_work(tmp_path):
    found, _ = read(tmp_path, {"fields": {"data.louder": [0, 2]}, "trials": 1}, config_files.load("events"))
    assert found is not None and found.fields == {"data.velocity_shift_bins": Choice((0, 2))}


WRONG: list[tuple[Any, str]] = [
    ("{", "expected the JSON of a search, such as {"),
    ("[]", "expected a JSON object, found list"),
    ({}, '"trials" is missing: expected a number'),
    ({"fields": RATE, "trials": 0}, "trials=0: expected a whole number in 1..10000"),
    ({"fields": RATE, "trials": 2.5}, "trials=2.5: expected a whole number"),
    ({"fields": RATE, "trials": True}, "trials=True: expected a whole number"),
    ({"fields": RATE, "trials": 3, "epochs": 0}, "epochs=0: expected a whole number in 1..100000"),
    ({"fields": RATE, "trials": 3, "halving": -1}, "halving=-1: expected a whole number in 0..100"),
    ({"fields": RATE, "trials": 3, "epochs": 8, "rungs": 3}, "rungs=3: expected at most 2, since there are 8 epochs"),
    ({"fields": RATE, "trials": 3, "halving": 0, "rungs": 2}, "rungs=2: expected at most 1"),
    ({"fields": RATE, "trials": 3, "seed": "a"}, "seed='a': expected a whole number"),
    ({"fields": RATE, "trials": 3, "minimize": "loss"}, "unknown key 'minimize': did you mean 'minimise'?"),
    ({"fields": RATE, "trials": 3, "x": 1}, "unknown key 'x': expected fields, minimise, trials"),
    ({"fields": RATE, "trials": 3, "minimise": "pitch_error"}, "did you mean 'pitch_error_semitones'?"),
    ({"fields": RATE, "trials": 3, "minimise": "accuracy"}, "minimise='accuracy' is not a validation metric for which"),
    ({"fields": RATE, "trials": 3, "minimise": "nats_per_note"}, "minimise='nats_per_note' is not a validation metric"),
    ({"fields": RATE, "trials": 3, "minimise": 1}, "minimise=1: expected one of loss, pitch_error_semitones"),
    ({"trials": 3}, "fields=None: expected fields with ranges or lists"),
    ({"fields": {}, "trials": 3}, "fields={}: expected fields with ranges or lists"),
    ({"fields": {"model.unit": [1]}, "trials": 3}, "unknown field config.model.unit: did you mean config.model.units?"),
    ({"fields": {"model": [1]}, "trials": 3}, "config.model is a section: expected one of its fields"),
    ({"fields": {"model.units": []}, "trials": 3}, "config.model.units=[]: expected at least one value"),
    ({"fields": {"model.units": [8, 8]}, "trials": 3}, "config.model.units=[8, 8]: expected each value once"),
    ({"fields": {"model.units": [0]}, "trials": 3}, "config.model.units=0: expected 1..65536"),
    ({"fields": {"model.units": [8.5]}, "trials": 3}, "config.model.units=8.5 is not of type int"),
    ({"fields": {"model.units": 64}, "trials": 3}, 'expected a list of values, or {"low": ..., "high": ...}'),
    ({"fields": {"model.units": {"low": 8}}, "trials": 3}, '"high" is missing'),
    ({"fields": {"model.units": {"low": 9, "high": 9}}, "trials": 3}, "the range is empty, low=9 and high=9"),
    ({"fields": {"model.dropout": {"low": 0.5, "high": 1.5}}, "trials": 3}, "config.model.dropout=1.5: expected 0.0.."),
    ({"fields": {"model.dropout": {"low": math.nan, "high": 0.5}}, "trials": 3}, "config.model.dropout=nan: expected"),
    ({"fields": {"model.dropout": {"low": 0, "high": 0.5, "scale": "log"}}, "trials": 3}, "low=0 on a logarithmic"),
    (
        {"fields": {"model.dropout": {"low": 0, "high": 0.5, "scale": "lin"}}, "trials": 3},
        "scale='lin': expected",
    ),
    (
        {"fields": {"model.dropout": {"low": 0, "top": 0.5}}, "trials": 3},
        "unknown key 'top': expected low",
    ),
    ({"fields": {"train.optimizer": {"low": 0, "high": 1}}, "trials": 3}, "expected a list of values"),
    ({"fields": {"train.optimizer": ["sgd"]}, "trials": 3}, "expected one of rmsprop, adam"),
    ({"fields": {"model.embedding": [8]}, "trials": 3}, "the encoding notes has no such field; these have it: events"),
    ({"fields": {"train.half_life": [5.0]}, "trials": 3}, "trial 0 draws half_life 5: config.train.half_life and"),
]


@pytest.mark.parametrize(("asked", "message"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
def test_a_mistake_is_one_line_that_names_it(tmp_path, asked, message):
    found, wrong = read(tmp_path, asked)
    assert found is None
    assert any(message in line for line in wrong), wrong
    assert all(line.startswith(f"{tmp_path / 'search.json'}: ") and "\n" not in line for line in wrong)


def test_every_mistake_has_its_line(tmp_path):
    fields = {"model.unit": [1], "model.units": [], "seed": [1], **RATE}
    _, wrong = read(tmp_path, {"fields": fields, "trials": 0, "minimise": "x", "trails": 1})
    assert len(wrong) == 6 and len(set(wrong)) == 6


def test_a_missing_file_is_named(tmp_path):
    _, wrong = space.read(tmp_path / "none.json", config_files.load("small"))
    assert wrong[0].startswith(f"{tmp_path / 'none.json'}: No such file or directory; expected the JSON of a search")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "train.learning_rate",
            "config.train.learning_rate is searched, and the command sets it: expected only one of them",
        ),
        (
            "train.epochs",
            '"epochs" is in the file, and the command sets config.train.epochs: expected only one of them',
        ),
        ("train.patience", 'the command sets config.train.patience: leave it out, "halving" decides when a trial ends'),
    ],
)
def test_what_the_search_decides_the_command_does_not_set(tmp_path, given, message):
    _, wrong = read(tmp_path, {"fields": RATE, "trials": 3, "epochs": 9}, given=(given,))
    assert wrong == [f"{tmp_path / 'search.json'}: {message}"]
    assert read(tmp_path, {"fields": RATE, "trials": 3}, given=("train.epochs", "model.units"))[0]


def test_seeds_have_room(tmp_path):
    config = config_lib.with_fields(config_files.load("small"), {"seed": 2**31 - 2})
    assert read(tmp_path, {"fields": RATE, "trials": 2}, config)[0]
    assert "leaves room for 2" in read(tmp_path, {"fields": RATE, "trials": 3}, config)[1][0]


@pytest.mark.parametrize("name", ["small", "events", "frames_nade_match"])
def test_every_field_is_searched_or_says_why_not(tmp_path, name):
    config, searched = config_files.load(name), []
    for path, field, value in config_lib.fields(config):
        listed = value if isinstance(value, tuple) else [value]
        found, wrong = read(tmp_path, {"fields": {path: listed}, "trials": 1}, config)
        if found is None:
            assert f"config.{path} cannot be searched: " in wrong[0], wrong
        else:
            searched.append(path)
            assert not field.metadata["may_change"]
    assert {"model.units", "model.dropout", "train.learning_rate", "train.batch_size", "data.window"} <= set(searched)
    assert not {"seed", "data.source", "train.epochs", "train.trials", "data.encoding", "model.precision"} & set(
        searched
    )


@pytest.mark.parametrize("encoding", ["notes", "frames", "events"])
def test_what_may_be_minimised_is_what_training_records(request, encoding):
    lines = (request.getfixturevalue(f"trained_{encoding}") / "metrics.jsonl").read_text().splitlines()
    recorded = json.loads(lines[1]).keys()
    config = config_files.load(str(request.getfixturevalue(f"trained_{encoding}") / "config.json"))
    measures = encoding_lib.of(config).measures
    assert measures and set(measures) <= recorded
    others = {"split", "epoch", "step", "loss", "accuracy", "majority_accuracy"}
    assert set(measures) == recorded - others


# What trials draw.


@given(st.integers(0, 2**31 - 1), st.integers(0, 99_999), st.floats(1e-9, 1.0), st.floats(1e-9, 1.0), st.booleans())
def test_draws_stay_in_their_range(seed, trial, one, other, is_log):
    low, high = sorted((one, other))
    search = Search({"x": Range(low, high, is_log, False), "n": Range(3, 9, is_log, True), "c": Choice("abc")}, 1, 1)
    drawn = Search(search.fields, 1, 1, seed=seed).drawn(trial)
    assert low <= drawn["x"] <= high
    assert float(f"{drawn['x']:.4g}") == drawn["x"] or drawn["x"] in (low, high)
    assert drawn["n"] in range(3, 10) and type(drawn["n"]) is int
    assert drawn["c"] in "abc"


def test_draws_are_spread_over_the_whole_range_as_its_scale_says():
    fields = {"log": Range(1e-5, 1e-2, True, False), "n": Range(1, 4, False, True), "c": Choice((1, 2))}
    drawn = [Search(fields, 4000, 1).drawn(trial) for trial in range(4000)]
    decades = np.histogram(np.log10([one["log"] for one in drawn]), bins=[-5, -4, -3, -2])[0]
    counts = np.bincount([one["n"] for one in drawn])[1:]
    assert len(counts) == 4
    for found, expected in ((decades, 4000 / 3), (counts, 1000), (np.bincount([one["c"] for one in drawn])[1:], 2000)):
        assert np.abs(found - expected).max() < 5 * math.sqrt(expected), "five deviations of a Poisson count"
    log, n = np.array([[math.log(one["log"]), one["n"]] for one in drawn]).T
    assert abs(np.corrcoef(log, n)[0, 1]) < 0.08, "fields are drawn apart"


def test_a_draw_depends_on_the_seed_the_trial_and_the_field_alone(tmp_path):
    few, many = search_of(tmp_path), search_of(tmp_path, trials=50, epochs=7, halving=2)
    more = search_of(tmp_path, fields={"model.units": [8, 16], **RATE})
    for trial in range(3):
        rate = few.drawn(trial)["train.learning_rate"]
        assert rate == many.drawn(trial)["train.learning_rate"] == more.drawn(trial)["train.learning_rate"]
        assert rate != search_of(tmp_path, seed=1).drawn(trial)["train.learning_rate"]


def test_draws_stay_as_they_were(tmp_path):
    """Golden: if this fails, a search that goes on under a new version would draw other trials than it began with."""
    found, _ = read(tmp_path, PAPER)
    assert found is not None
    assert [list(found.drawn(trial).values()) for trial in (0, 1, 199)] == [
        [0.0001486, 0.4827, 256],
        [1.042e-05, 0.512, 256],
        [1.561e-05, 0.3939, 64],
    ]


def test_a_trial_is_an_ordinary_config_with_a_seed_of_its_own(tmp_path):
    small = config_lib.with_fields(config_files.load("small"), {"seed": 7, "train.patience": 5})
    found, _ = read(tmp_path, PAPER, small)
    assert found is not None
    config, drawn = found.config_of(3, small), found.drawn(3)
    assert (config.seed, config.name, config.train.epochs, config.train.patience) == (10, "small_best", 90, 0)
    assert [config.train.learning_rate, config.model.dropout, config.model.units] == list(drawn.values())
    own = {"seed", "name", "train.epochs", "train.patience", *drawn}
    values = {path: value for path, _, value in config_lib.fields(config)}
    assert all(values[path] == value for path, _, value in config_lib.fields(small) if path not in own)


def test_trials_of_one_shape_differ_in_what_one_program_takes(tmp_path):
    found, _ = read(tmp_path, PAPER)
    assert found is not None
    assert {space.shape(found.drawn(trial)) for trial in range(50)} == {(("model.units", n),) for n in (64, 128, 256)}
    assert space.text(found.drawn(0)) == "learning_rate 0.0001486, dropout 0.4827, units 256"
