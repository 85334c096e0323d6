"""metrics.jsonl, of this version or an older one, gives exactly the curves that are drawn."""

from __future__ import annotations

import json

import numpy as np
import pytest

from musicjax import config as config_lib
from musicjax import config_files
from musicjax.report import curves, records
from musicjax.report.curves import AUTHORS


def line(split: str, epoch: int, **metrics: float) -> dict:
    return {"split": split, "epoch": epoch, "step": 10 * epoch, **metrics}


def losses(count: int) -> list[dict]:
    return [line("train", epoch, loss=0.03 / epoch) for epoch in range(1, count + 1)]


# Lines.


def test_a_line_that_is_still_being_written_does_not_count(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in losses(2)) + '{"split": "tr')
    left_out: list[str] = []
    assert records.read_metrics(tmp_path, left_out) == losses(2)
    assert left_out == [
        f"{tmp_path / 'metrics.jsonl'}: line 3 has no end: it is still being written, or the file is damaged"
    ]


@pytest.mark.parametrize("own", ["argmax_agreement", "key_agreement", "bin_agreement"])
def test_lines_of_older_versions_are_read_by_the_present_names(tmp_path, own):
    old = line("valid", 1, loss=1.0, accuracy=0.5, majority_agreement=0.25, **{own: 0.5})
    (tmp_path / "metrics.jsonl").write_text(json.dumps(old) + "\n")
    assert records.read_metrics(tmp_path, []) == [line("valid", 1, loss=1.0, accuracy=0.5, majority_accuracy=0.25)]


@pytest.mark.parametrize(
    "bad", ["{", "[1]", "7", '{"epoch": 1}', '{"split": "a", "epoch": "1", "step": 1}', "[" * 9999]
)
def test_lines_that_are_no_lines_of_metrics_are_left_out_and_named(tmp_path, bad):
    path, left_out = tmp_path / "metrics.jsonl", list[str]()
    path.write_text(json.dumps(line("train", 1)) + f"\n{bad}\n\n{bad}\n" + json.dumps(line("valid", 1)) + "\n")
    assert records.read_metrics(tmp_path, left_out) == [line("train", 1), line("valid", 1)]
    (told,) = left_out
    assert told.startswith(f"{path} is damaged: line 2 and 1 more; expected an object")


# Curves.


def test_a_metric_of_one_model_is_its_lines():
    curve = curves.over_epochs(losses(3), "train", "loss")
    assert curve.epochs.tolist() == [1, 2, 3]
    assert curve.mean.tolist() == curve.low.tolist() == curve.high.tolist() == [0.03, 0.015, 0.03 / 3]
    assert curve.trials == 1
    assert curves.over_epochs(losses(3), "valid", "loss") is None


def test_a_metric_of_several_trials_is_their_mean_and_a_band_that_holds_all():
    nan, inf = float("nan"), float("inf")
    table = {1: (1.0, 2.0, 6.0), 2: (1.0, nan, 3.0), 3: (nan, inf, -inf), 4: (0.5, 0.5, 0.5)}
    lines = [line("valid", epoch, trial=k, loss=loss) for epoch, row in table.items() for k, loss in enumerate(row)]
    curve = curves.over_epochs(lines, "valid", "loss")
    assert curve.trials == 3
    np.testing.assert_array_equal(curve.mean, [3.0, 2.0, np.nan, 0.5])
    np.testing.assert_array_equal(curve.low, [1.0, 1.0, np.nan, 0.5])
    np.testing.assert_array_equal(curve.high, [6.0, 3.0, np.nan, 0.5])
    assert curves.over_epochs([line("valid", 1, loss=nan)], "valid", "loss") is None


@pytest.mark.parametrize("name", ["paper", "paper_code"])
@pytest.mark.parametrize("quantity, columns", [("loss", (0, 2)), ("accuracy", (1, 3))])
def test_the_authors_points_are_those_they_printed(name, quantity, columns):
    points = curves.authors(name, quantity, last_epoch=200)
    assert list(points) == ["train", "valid"]
    for curve, column in zip(points.values(), columns, strict=True):
        assert dict(zip(curve.epochs.tolist(), curve.mean.tolist(), strict=True)) == {
            epoch: row[column] for epoch, row in AUTHORS.items()
        }
    assert curves.authors(name, quantity, last_epoch=49)["valid"].epochs.tolist() == [1, 2, 8, 10]
    assert curves.authors(name, quantity, last_epoch=0) == {}


@pytest.mark.parametrize("name", ["demo", "custom", None])
def test_other_configs_are_not_compared_with_the_authors(name):
    assert curves.authors(name, "loss", 200) == {}


@pytest.mark.parametrize(
    "metrics, expected",
    [
        ({"loss": 0.02}, ("loss", "mean squared error")),
        ({"loss": 8.5, "nats_per_frame": 8.6}, ("loss", "nats per frame")),
        ({"loss": 0.04, "nats_per_frame": 9.0}, ("loss", "mean squared error")),
        ({"loss": 100.0, "nats_per_frame": 405.0}, ("loss", "mean squared error")),
        ({"nats_per_frame": 9.0}, ("nats_per_frame", "nats per frame")),
    ],
)
def test_the_loss_is_named_by_its_unit(metrics, expected):
    assert curves.loss_field([line("train", 1, loss=1.0), line("valid", 1, **metrics)]) == expected


@pytest.mark.parametrize("encoding", ["notes", "frames", "events"])
def test_accuracy_is_called_what_it_is_for_the_encoding_of_the_run(encoding):
    settings = config_files.to_dict(config_files.load("demo"))
    settings["data"]["encoding"] = encoding
    assert records.accuracy_meaning(settings) == config_lib.accuracy_meaning(encoding)


@pytest.mark.parametrize(
    "settings", [{}, {"data": 3}, {"data": {}}, {"data": {"encoding": "x"}}, {"data": {"encoding": []}}]
)
def test_accuracy_has_its_plain_name_where_no_config_tells_more(settings):
    assert records.accuracy_meaning(settings) == ("accuracy", "always the same answer")


def test_the_majority_accuracy_is_the_last_that_was_measured():
    lines = [line("valid", epoch, majority_accuracy=value) for epoch, value in enumerate((0.5, 0.625, np.nan), 1)]
    assert curves.majority(lines) == 0.625
    assert curves.majority([line("valid", 1, loss=1.0)]) is None


def test_other_curves_are_what_was_measured_in_validation_and_not_drawn_elsewhere():
    measured = {"loss": 1.0, "accuracy": 0.5, "majority_accuracy": 0.25, "nats_per_note": 1.0, "pitch_nats": 2.0}
    lines = [
        line("train", 1, speed=2.0),
        line("valid", 1, trial=0, seed=1, b=1.0, pitch_error_steps=2.0, c="x", **measured),
    ]
    found = curves.other_curves(lines)
    assert list(found) == ["b", "pitch_error_steps", "pitch_nats"]
    assert [curves.title(field) for field in found] == ["B", "Pitch error, steps", "Pitch, nats"]


def test_bins_hold_every_update_once_and_skip_what_is_not_finite():
    steps, values = np.arange(1, 11), np.array([1, 2, 3, np.nan, 5, 6, 7, 8, 9, np.inf])
    curve = curves.binned(steps, values, 4)
    assert curve.epochs.tolist() == [1.5, 4.0, 6.5, 8.5]
    assert curve.mean.tolist() == [1.5, 4.0, 6.5, 8.5]
    assert curve.low.tolist() == [1, 3, 6, 8] and curve.high.tolist() == [2, 5, 7, 9]
    assert curves.binned(steps, values, 100).mean.tolist() == values[np.isfinite(values)].tolist()
