"""The figures of a run: which arrays are drawn, exactly; that pictures are pictures, lightly."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import hypothesis
import matplotlib
import numpy as np
import pytest
from hypothesis import strategies
from PIL import Image
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter
from tensorboardX.summary import histogram

from musicjax.errors import RunError
from musicjax.main import main
from musicjax.music.notes import from_seconds
from musicjax.report import curves, figures, pictures
from musicjax.report.authors import AUTHORS
from musicjax.report.event_files import Histogram

REPOSITORY = Path(__file__).parents[1]
FROM_METRICS = ["loss.png", "accuracy.png", "validation.png"]
FROM_EVENTS = ["batch_loss.png", "batch_accuracy.png"]
FROM_EVENTS += [f"{kind}_{layer}.png" for layer in ("dense", "lstm") for kind in ("distributions", "histograms")]


def line(split: str, epoch: int, **metrics: float) -> dict:
    return {"split": split, "epoch": epoch, "step": 10 * epoch, **metrics}


def epochs(count: int) -> list[dict]:
    """Lines as a run of the paper's model writes them."""
    lines = []
    for epoch in range(1, count + 1):
        agreement = 1 - 0.5 / epoch
        lines.append(line("train", epoch, loss=0.03 / epoch, accuracy=agreement, argmax_agreement=agreement, seconds=1))
        share = {"majority_agreement": 0.625, "pitch_error_semitones": 4.0 / epoch}
        lines.append(line("valid", epoch, loss=0.02 / epoch, accuracy=0.75, argmax_agreement=0.75, **share))
    return lines


def workdir_of(folder: Path, lines: list[dict], name: str = "paper_code", with_events: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    (folder / "config.json").write_text(json.dumps({"name": name, "seed": 1}))
    if with_events:
        (folder / "tensorboard").mkdir(exist_ok=True)
        writer = RecordWriter(str(folder / "tensorboard" / "events.out.tfevents.1700000000.host"))
        writer.write(Event(step=1, session_log=SessionLog(status=SessionLog.START)).SerializeToString())
        generator = np.random.default_rng(0)
        for step in range(1, lines[-1]["step"] + 1):
            values = [Summary.Value(tag="batch/loss", simple_value=1 / step)]
            values += [Summary.Value(tag="batch/accuracy", simple_value=1 - 1 / step)]
            if step % 10 == 0:
                for tag in ("lstm/kernel", "lstm/recurrent_kernel", "lstm/bias", "dense/kernel", "dense/bias"):
                    values += histogram(tag, generator.normal(size=500), "auto").value
            writer.write(Event(step=step, summary=Summary(value=values)).SerializeToString())
        writer.close()
    return folder


def size(png: bytes) -> tuple[int, int]:
    """Width and height of a whole PNG file."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR") and png.endswith(b"IEND\xaeB`\x82")
    Image.open(io.BytesIO(png)).load()
    return struct.unpack_from(">II", png, 16)


# Arrays.


def test_a_metric_of_one_model_is_its_lines(tmp_path):
    curve = curves.over_epochs(epochs(3), "train", "loss")
    assert curve.epochs.tolist() == [1, 2, 3]
    assert curve.mean.tolist() == curve.low.tolist() == curve.high.tolist() == [0.03, 0.015, 0.03 / 3]
    assert curve.trials == 1
    assert curves.over_epochs(epochs(3), "valid", "nats_per_frame") is None


def test_of_several_trials_it_is_their_mean_and_a_band_that_holds_all():
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


def test_the_authors_printed_what_their_notebook_shows():
    assert AUTHORS[1] == (0.0286, 0.7156, 0.0145, 0.8922)
    assert AUTHORS[200] == (0.0021, 0.9723, 0.0070, 0.9690)


@pytest.mark.parametrize("name", ["demo", "custom", None])
def test_other_configs_are_not_held_against_the_authors(name):
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


def test_accuracy_has_its_honest_name():
    assert curves.accuracy_field(epochs(1)) == ("argmax_agreement", "argmax agreement (what Keras calls accuracy)")
    of_frames = [line("valid", 1, loss=8.0, accuracy=0.9, key_agreement=0.9)]
    assert curves.accuracy_field(of_frames) == ("key_agreement", "key agreement (share of the keys that are right)")
    assert curves.accuracy_field([line("valid", 1, accuracy=0.5)]) == ("accuracy", "accuracy")
    assert curves.accuracy_field([line("valid", 1, loss=0.5)]) is None


def test_the_majority_baseline_is_what_the_lines_say():
    naming = "always naming the commonest column, validation"
    assert curves.majority(epochs(2), "argmax_agreement") == (naming, 0.625)
    assert curves.majority(epochs(2), "key_agreement") == ("no key at all, validation", 0.625)
    assert curves.majority([line("valid", 1, loss=1.0)], "accuracy") is None


def test_other_fields_are_what_was_measured_and_not_drawn_elsewhere():
    lines = [line("train", 1, loss=1.0, speed=2.0), line("valid", 1, trial=0, seed=1, loss=1.0, b=1.0, a=2.0, c="x")]
    assert curves.other_fields(lines, set()) == ["b", "a"]
    assert curves.other_fields(lines, {"b"}) == ["a"]


def test_bins_hold_every_update_once_and_skip_what_is_not_finite():
    steps, values = np.arange(1, 11), np.array([1, 2, 3, np.nan, 5, 6, 7, 8, 9, np.inf])
    curve = curves.binned(steps, values, 4)
    assert curve.epochs.tolist() == [1.5, 4.0, 6.5, 8.5]
    assert curve.mean.tolist() == [1.5, 4.0, 6.5, 8.5]
    assert curve.low.tolist() == [1, 3, 6, 8] and curve.high.tolist() == [2, 5, 7, 9]
    assert curves.binned(steps, values, 100).mean.tolist() == values[np.isfinite(values)].tolist()


def test_quantiles_of_even_buckets_are_exact():
    shares = np.array([0, 0.125, 0.25, 0.5, 0.75, 1])
    even = Histogram(np.array([0.0, 1, 2, 4]), np.array([1.0, 1, 2]))
    assert curves.quantiles(even, shares).tolist() == [0, 0.5, 1, 2, 3, 4]
    gap = Histogram(np.array([0.0, 0, 1, 3, 4, 4]), np.array([0.0, 2, 0, 2, 0]))
    assert curves.quantiles(gap, np.array([0, 0.25, 0.5, 0.75, 1])).tolist() == [0, 0.5, 1, 3.5, 4]
    point = Histogram(np.array([2.0, 2, 2]), np.array([0.0, 7]))
    assert curves.quantiles(point, shares).tolist() == [2] * 6


buckets = strategies.lists(strategies.tuples(strategies.floats(0, 5), strategies.integers(0, 9)), min_size=1).filter(
    lambda rows: sum(count for _, count in rows) > 0
)


@hypothesis.given(buckets, strategies.floats(-10, 10))
@hypothesis.settings(deadline=None, derandomize=True)
def test_quantiles_invert_the_share_below_and_ridges_keep_the_values(rows, first):
    widths, counts = np.array(rows, np.float64).T
    found = Histogram(first + np.concatenate([[0], np.cumsum(widths)]), counts)
    lines = curves.quantiles(found)
    assert (np.diff(lines) >= -1e-9).all()
    below = np.array([_share_below(found, value) for value in lines])
    at_most = np.array([_share_below(found, value, inclusive=True) for value in lines])
    assert (below <= curves.SHARES + 1e-6).all() and (at_most >= curves.SHARES - 1e-6).all()
    edges, cells = curves.ridges([found, found], 50)
    assert edges.shape == (51,) and cells.shape == (2, 50)
    assert (cells >= 0).all() and (np.diff(edges) > 0).all()
    assert 0.9979 * counts.sum() <= cells[0].sum() <= counts.sum() + 1e-6


def _share_below(found: Histogram, value: float, inclusive: bool = False) -> float:
    """Share of the values below (or up to) a value, with a margin for rounding."""
    value += 1e-7 if inclusive else -1e-7
    total = 0.0
    for left, right, count in zip(found.edges[:-1], found.edges[1:], found.counts, strict=True):
        total += count * (np.clip((value - left) / (right - left), 0, 1) if right - left > 1e-9 else value >= left)
    return total / found.counts.sum()


def test_ridges_share_a_grid_on_which_every_value_lies_where_it_was():
    low = Histogram(np.array([0.0, 1, 2]), np.array([1000.0, 3000]))
    high = Histogram(np.array([2.0, 4]), np.array([4000.0]))
    edges, cells = curves.ridges([low, high], 8)
    assert edges[0] == pytest.approx(0.004) and edges[-1] == pytest.approx(3.998)
    left, right, width = edges[:-1], edges[1:], edges[1] - edges[0]
    for row, begin, end, per_unit in ((0, 0, 1, 1000), (0, 1, 2, 3000), (0, 2, 4, 0), (1, 0, 2, 0), (1, 2, 4, 2000)):
        inside = (left >= begin) & (right <= end)
        assert inside.any()
        np.testing.assert_allclose(cells[row][inside], per_unit * width)


def test_a_ridge_of_equal_values_is_one_cell():
    point = Histogram(np.array([2.0, 2]), np.array([7.0]))
    edges, cells = curves.ridges([point], 5)
    assert (edges[0], edges[-1]) == (1.5, 2.5)
    assert cells.tolist() == [[0, 0, 7, 0, 0]]


@pytest.mark.parametrize("count, most", [(1, 24), (5, 24), (24, 24), (25, 24), (200, 24)])
def test_spread_keeps_the_first_and_the_last(count, most):
    places = curves.spread(list(range(count)), most)
    assert places[0] == 0 and places[-1] == count - 1
    assert len(places) == min(count, most)
    assert places == sorted(set(places))


# metrics.jsonl.


def test_a_line_that_is_being_written_does_not_count(tmp_path):
    workdir_of(tmp_path, epochs(2), with_events=False)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"split": "train", "epo')
    assert curves.read_metrics(tmp_path) == epochs(2)


@pytest.mark.parametrize(
    "bad", ["{", "[1]", "7", '{"epoch": 1}', '{"split": "a", "epoch": "1", "step": 1}', "[" * 9999]
)
def test_a_line_that_is_none_is_named(tmp_path, bad):
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line("train", 1)) + f"\n{bad}\n")
    with pytest.raises(RunError, match=r"metrics\.jsonl, line 2: expected an object"):
        curves.read_metrics(tmp_path)


# The command.


def test_a_run_gives_all_figures_and_their_paths(tmp_path, capsys):
    workdir = workdir_of(tmp_path / "run", epochs(4))
    assert main(["report", f"--workdir={workdir}"]) == 0
    out, err = capsys.readouterr()
    *figure_paths, page = out.splitlines()
    assert figure_paths == [str(workdir / "report" / name) for name in FROM_METRICS + FROM_EVENTS]
    assert err == ""
    for path in figure_paths:
        width, height = size(Path(path).read_bytes())
        assert width == 900 and height >= 360
    assert sorted(figure_paths) == sorted(map(str, (workdir / "report").iterdir()))
    assert page == str(workdir / "report.html") and "No samples were written" in Path(page).read_text()


def test_what_is_drawn_by_epoch_is_the_curves_the_authors_points_and_the_baseline(tmp_path, monkeypatch):
    drawn = {}
    for function in ("epochs_png", "updates_png"):
        monkeypatch.setattr(pictures, function, lambda title, *rest, **more: drawn.update({title: rest}) or b"")
    figures.draw(workdir_of(tmp_path, epochs(10)))
    unit, by_split, authors = drawn["Loss per epoch, config paper_code"]
    assert unit == "mean squared error"
    assert by_split["valid"].mean.tolist() == [0.02 / epoch for epoch in range(1, 11)]
    assert authors["train"].mean.tolist() == [0.0286, 0.0206, 0.0135, 0.0126]
    unit, by_split, authors, baseline = drawn["Accuracy per epoch, config paper_code"]
    assert "what Keras calls accuracy" in unit
    assert authors["valid"].mean.tolist() == [0.8922, 0.8914, 0.9388, 0.932]
    assert baseline[1] == 0.625
    _, curve, updates, is_loss = drawn["Loss per batch, config paper_code"]
    assert updates == 100 and is_loss
    np.testing.assert_allclose(curve.mean, 1 / np.arange(1, 101), rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "unit", "others"), [(9.0, "nats per frame", None), (0.04, "mean squared error", ["nats_per_frame"])]
)
def test_of_frames_nothing_is_drawn_twice(tmp_path, monkeypatch, loss, unit, others):
    drawn = {}
    for function in ("epochs_png", "panels_png"):
        monkeypatch.setattr(pictures, function, lambda title, *rest, **more: drawn.update({title: rest}) or b"")
    both = {"accuracy": 0.95, "key_agreement": 0.95}
    lines = [line("train", 1, loss=loss, **both)]
    lines += [line("valid", 1, loss=loss, nats_per_frame=9.0, **both, majority_agreement=0.94)]
    figures.draw(workdir_of(tmp_path, lines, name="frames_nade", with_events=False))
    suffix = " per epoch, config frames_nade"
    assert drawn["Loss" + suffix][0] == unit
    assert drawn["Accuracy" + suffix][0] == "key agreement (share of the keys that are right)"
    assert drawn["Accuracy" + suffix][3] == ("no key at all, validation", 0.94)
    panels = drawn.get("Validation metrics" + suffix)
    assert (panels and list(panels[0])) == others


@pytest.mark.parametrize("trials", [1, 3, 1000])
def test_the_legend_stays_inside_the_picture(tmp_path, trials):
    lines = [{**one, "trial": trial} for one in epochs(10) for trial in range(trials)]
    drawn, _ = figures.draw(workdir_of(tmp_path, lines, with_events=False))
    for name in ("loss.png", "accuracy.png"):
        below = pixels(drawn[name])[-90:]
        assert (below[:, 60:840] < 128).any()
        assert (below[:, :6] == 255).all() and (below[:, -6:] == 255).all()


def test_weights_are_drawn_over_epochs(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(pictures, "distributions_png", lambda title, panels: drawn.update(panels) or b"")
    figures.draw(workdir_of(tmp_path, epochs(5)))
    assert set(drawn) == {"lstm/kernel", "lstm/recurrent_kernel", "lstm/bias", "dense/kernel", "dense/bias"}
    at, lines = drawn["lstm/kernel"]
    assert at.tolist() == [1, 2, 3, 4, 5]
    assert lines.shape == (5, 9)
    # Of 500 values of a normal distribution.
    np.testing.assert_allclose(lines[:, 1:-1].mean(axis=0), [-1.5, -1, -0.5, 0, 0.5, 1, 1.5], atol=0.15)


def test_drawing_twice_gives_equal_bytes_whatever_the_users_settings(tmp_path):
    workdir = workdir_of(tmp_path, epochs(3))
    once, _ = figures.draw(workdir)
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 20, "savefig.dpi": 30, "axes.facecolor": "black"}):
        again, _ = figures.draw(workdir)
    assert once == again
    assert len(once) == 9 and all(b"Software" not in png and b"Date" not in png for png in once.values())
    other, _ = figures.draw(workdir_of(tmp_path, epochs(4)))
    assert all(other[name] != once[name] for name in once)


def test_without_event_files_the_rest_is_drawn_and_the_lack_is_said(tmp_path, capsys):
    workdir = workdir_of(tmp_path / "run", epochs(3), with_events=False)
    assert main(["report", f"--workdir={workdir}", f"--output_dir={tmp_path / 'out'}"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [str(tmp_path / "out" / name) for name in FROM_METRICS]
    for word in ("batch_loss.png", "batch_accuracy.png", "distributions and histograms"):
        assert sum(word in told and told.startswith("left out ") for told in err.splitlines()) == 1
    assert not (workdir / "report").exists() and not (workdir / "report.html").exists()


def test_an_event_file_that_is_cut_off_counts_up_to_there(tmp_path, capsys):
    workdir = workdir_of(tmp_path, epochs(3))
    (path,) = (workdir / "tensorboard").iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    assert main(["report", f"--workdir={workdir}"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == len([*FROM_METRICS, *FROM_EVENTS, "report.html"])
    assert "the file is cut off" in err and path.name in err


@pytest.mark.parametrize(
    "lines",
    [
        [line("train", 1, loss=9.0), line("valid", 1, loss=8.0, nats_per_frame=8.0, frame_accuracy=0.3)],
        [line("valid", 1, nats_per_frame=8.0)],
        [line("train", 1, loss=0.5)],
        [line("train", 1, loss=float("nan")), line("valid", 1, loss=float("inf"))],
        [line("train", 1, loss=0.0), line("valid", 1, loss=-3.0)],
        [line("train", epoch, trial=k, loss=1.0 + k) for epoch in (1, 2) for k in (0, 1)],
        [line("train", 1)],
        [line("valid", 1, loss="low", accuracy=None)],
        [line("valid", 1, **{f"metric_{k}": k / 7 for k in range(11)})],
        [{"split": "test", "epoch": 0, "step": 0, "loss": 1.0}],
    ],
)
def test_lines_of_any_head_are_drawn_as_far_as_they_go(tmp_path, lines):
    drawn, left_out = figures.draw(workdir_of(tmp_path, lines, with_events=False))
    for png in drawn.values():
        size(png)
    has_loss = any(np.isfinite(curves._number(one, "loss") or np.nan) or "nats_per_frame" in one for one in lines)
    assert "accuracy.png" not in drawn and any(told.startswith("accuracy.png") for told in left_out)
    assert ("loss.png" in drawn) == (has_loss and lines[0]["split"] != "test")


def test_without_a_config_the_authors_are_left_out_and_that_is_said(tmp_path):
    workdir = workdir_of(tmp_path, epochs(2), with_events=False)
    with_name, _ = figures.draw(workdir)
    for text in (None, "{", "[]", '{"name": 3}'):
        (workdir / "config.json").unlink(missing_ok=True)
        if text:
            (workdir / "config.json").write_text(text)
        drawn, left_out = figures.draw(workdir)
        assert "config.json" in left_out[0] and "authors" in left_out[0]
        assert drawn["loss.png"] != with_name["loss.png"]


def test_layers_whose_tags_are_no_file_names_are_drawn(tmp_path):
    workdir = workdir_of(tmp_path, epochs(1), with_events=False)
    (workdir / "tensorboard").mkdir()
    writer = RecordWriter(str(workdir / "tensorboard" / "events.1"))
    for tag in ("../../x", "ü" * 300, "a b/$k^", "outputs"):
        summary = histogram(tag, np.ones(3), "auto")
        summary.value[0].tag = tag
        writer.write(Event(step=10, summary=summary).SerializeToString())
    writer.close()
    paths, _ = figures.write(workdir, workdir / "report")
    assert all(path.parent == workdir / "report" and path.is_file() for path in paths)
    assert "histograms_a_b.png" in [path.name for path in paths]


@pytest.mark.parametrize(
    "words, status, told",
    [
        ([], 2, "--workdir is missing"),
        (["--workdir=run", "--config=demo"], 2, "report takes no config"),
        (["--workdir=run", "--config.seed=3"], 2, "report takes no config"),
        (["--workdir=absent"], 1, "workdir absent is not there"),
        (["--workdir=file"], 1, "workdir file is not there"),
        (["--workdir=empty"], 1, "nothing to draw in empty"),
        (["--workdir=unfinished"], 1, "nothing to draw in unfinished"),
        (["--workdir=run", "--output_dir=file"], 1, "figures cannot be written to file"),
        (["--workdir=run", "--output_dir=file/below"], 1, "figures cannot be written to file/below"),
    ],
)
def test_what_cannot_be_drawn_is_told_in_one_line(tmp_path, monkeypatch, capsys, words, status, told):
    monkeypatch.chdir(tmp_path)
    workdir_of(Path("run"), epochs(1))
    Path("file").write_text("")
    Path("empty").mkdir()
    Path("unfinished").mkdir()
    Path("unfinished", "metrics.jsonl").write_text("")
    assert main(["report", *words]) == status
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"musicjax: {told}") and err.count("\n") == 1
    assert not Path("run", "report").exists()


def test_it_starts_without_jax(tmp_path):
    workdir = workdir_of(tmp_path, epochs(1))
    script = f"""
import sys
from musicjax.main import main
assert main(["report", "--workdir={workdir}"]) == 0
slow = {{"jax", "jaxlib", "flax", "orbax", "mido", "matplotlib.pyplot"}}
assert not slow & set(sys.modules), slow & set(sys.modules)
"""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "DISPLAY": "", "MPLBACKEND": "Agg"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Piano rolls.

LEFT, BOTTOM, COLUMNS, ROWS = pictures.ROLL_BOX


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), np.int32)


def test_a_note_is_where_and_as_loud_as_it_sounds():
    notes = from_seconds([60, 72], [20, 120], [0.0, 6.0], [4.0, 2.0])
    roll = pixels(pictures.piano_roll_png(notes, "two notes"))
    assert roll.shape == (360, 900, 3)
    lowest, highest = pictures._pitch_range(notes)
    assert lowest <= 58 and highest >= 74

    def at(seconds: float, pitch: int) -> np.ndarray:
        row = 360 - BOTTOM - (pitch - lowest + 0.5) / (highest - lowest + 1) * ROWS
        return roll[int(row), LEFT + int(seconds / 8 * COLUMNS)]

    for seconds, pitch, velocity in ((0.1, 60, 20), (3.9, 60, 20), (6.1, 72, 120), (7.9, 72, 120)):
        colour = np.array(pictures.LOUDNESS(velocity // pictures.VELOCITY_STEP)[:3]) * 255
        assert abs(at(seconds, pitch) - colour).max() < 12
    for seconds, pitch in ((4.1, 60), (5.9, 72), (6.5, 60), (1, 72), (1, 61), (1, 59)):
        assert at(seconds, pitch).min() > 220


def test_equal_notes_give_equal_bytes_and_other_notes_others():
    notes = from_seconds([60, 64, 67], [80, 81, 100], [0.0, 0.5, 1.0], [0.5, 0.5, 1.0])
    png = pictures.piano_roll_png(notes, "a")
    assert size(png) == (900, 360)
    assert png == pictures.piano_roll_png(notes, "a")
    assert png != pictures.piano_roll_png(notes[:2], "a")
    assert png != pictures.piano_roll_png(notes, "b")


def test_no_notes_give_a_picture_that_says_so():
    png = pictures.piano_roll_png(from_seconds([], [], [], []))
    assert size(png) == (900, 360)
    assert (pixels(png) < 100).any(axis=2).sum() > 200  # letters and axes


def test_a_note_of_no_length_is_seen():
    png = pictures.piano_roll_png(from_seconds([60], [127], [0.0], [0.0]))
    loud = np.array(pictures.LOUDNESS(7)[:3]) * 255
    inside = pixels(png)[:, LEFT + 1 : LEFT + COLUMNS]
    assert (abs(pixels(png)[:, LEFT : LEFT + 2] - loud).max(axis=2) < 12).sum() >= 3
    assert (abs(inside - loud).max(axis=2) < 12).sum() < 20


@pytest.mark.parametrize("count, longest", [(1, 1.0), (300, 1.0), (20_000, 1.0), (200_000, 0.3), (200_000, 3.0)])
def test_a_piano_roll_stays_below_60_kilobytes(count, longest):
    generator = np.random.default_rng(1)
    pitch, velocity = generator.integers(0, 128, count), generator.integers(1, 128, count)
    onset, duration = generator.uniform(0, 600, count), generator.uniform(0.01, longest, count)
    png = pictures.piano_roll_png(from_seconds(pitch, velocity, onset, duration), "W" * 200)
    assert size(png) == (900, 360)
    assert len(png) < 60_000


@pytest.mark.parametrize("title", ["$x^$", "音楽", "\udcff", "a\nb\t\0", "W" * 500, r"\frac"])
def test_any_title_is_drawn(title):
    assert size(pictures.piano_roll_png(from_seconds([60], [80], [0.0], [1.0]), title)) == (900, 360)


# Pictures that are kept.


@pytest.mark.parametrize("name", ["paper-loss.png", "paper-accuracy.png"])
def test_the_kept_pictures_are_small(name):
    png = (REPOSITORY / "docs" / name).read_bytes()
    assert size(png) == (900, 560)
    assert len(png) < 120_000
