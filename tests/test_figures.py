"""The figures of a run: what is drawn from which records, what is left out, and the command that draws them."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter
from tensorboardX.summary import histogram

from musicjax import config as config_lib
from musicjax import console
from musicjax.main import main
from musicjax.music import midi
from musicjax.music.notes import from_beats
from musicjax.report import curves, figures, pictures

REPOSITORY = Path(__file__).parents[1]
FROM_METRICS = ["loss.png", "accuracy.png", "validation.png"]
FROM_EVENTS = ["batch_loss.png", "batch_accuracy.png"]
FROM_EVENTS += [f"{kind}_{layer}.png" for layer in ("dense", "lstm") for kind in ("distributions", "histograms")]
PNG = b"\x89PNG\r\n\x1a\n"


def line(split: str, epoch: int, **metrics: float) -> dict:
    return {"split": split, "epoch": epoch, "step": 10 * epoch, **metrics}


def epochs(count: int) -> list[dict]:
    """Lines as a run of the paper's model writes them."""
    lines = []
    for epoch in range(1, count + 1):
        lines.append(line("train", epoch, loss=0.03 / epoch, accuracy=1 - 0.5 / epoch, seconds=1))
        more = {"majority_accuracy": 0.625, "pitch_error_semitones": 4.0 / epoch}
        lines.append(line("valid", epoch, loss=0.02 / epoch, accuracy=0.75, **more))
    return lines


def workdir_of(
    folder: Path, lines: list[dict], name: str = "paper_code", encoding: str = "notes", with_events: bool = True
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    (folder / "config.json").write_text(json.dumps({"name": name, "data": {"encoding": encoding}}))
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


@pytest.fixture
def drawn(monkeypatch) -> dict[str, tuple]:
    """What pictures are asked to draw, by title; they draw nothing."""
    asked: dict[str, tuple] = {}

    def record(title: str, *rest: Any, **more: Any) -> bytes:
        asked[title] = (*rest, *more.values())
        return PNG

    for name in ("epochs_png", "updates_png", "panels_png", "distributions_png", "ridges_png"):
        monkeypatch.setattr(pictures, name, record)
    return asked


# What is drawn.


def test_by_epoch_the_curves_the_authors_points_and_the_baseline_are_drawn(tmp_path, drawn):
    figures.draw(workdir_of(tmp_path, epochs(10)))
    unit, by_split, authors, is_loss = drawn["Loss per epoch, config paper_code"]
    assert unit == "mean squared error" and is_loss
    assert by_split["valid"].mean.tolist() == [0.02 / epoch for epoch in range(1, 11)]
    assert authors["train"].mean.tolist() == [0.0286, 0.0206, 0.0135, 0.0126]
    unit, by_split, authors, baseline = drawn["Accuracy per epoch, config paper_code"]
    meaning, constant = config_lib.accuracy_meaning("notes")
    assert unit == meaning and baseline == (f"{constant} (validation)", 0.625)
    assert authors["valid"].mean.tolist() == [0.8922, 0.8914, 0.9388, 0.932]
    _, curve, updates, is_loss = drawn["Loss per batch, config paper_code"]
    assert updates == 100 and is_loss
    np.testing.assert_allclose(curve.mean, 1 / np.arange(1, 101), rtol=1e-6)
    assert drawn["Accuracy per batch, config paper_code"][0] == meaning


@pytest.mark.parametrize(
    ("loss", "unit", "others"), [(9.0, "nats per frame", None), (0.04, "mean squared error", ["Nats per frame"])]
)
def test_of_frames_nothing_is_drawn_twice(tmp_path, drawn, loss, unit, others):
    lines = [line("train", 1, loss=loss, accuracy=0.95)]
    lines += [line("valid", 1, loss=loss, nats_per_frame=9.0, accuracy=0.95, majority_accuracy=0.94)]
    figures.draw(workdir_of(tmp_path, lines, "frames_nade", "frames", with_events=False))
    suffix = " per epoch, config frames_nade"
    assert drawn["Loss" + suffix][0] == unit
    meaning, constant = config_lib.accuracy_meaning("frames")
    assert drawn["Accuracy" + suffix][0] == meaning
    assert drawn["Accuracy" + suffix][3] == (f"{constant} (validation)", 0.94)
    panels = drawn.get("Validation metrics" + suffix)
    assert (panels and list(panels[0])) == others


def test_weights_are_drawn_over_epochs(tmp_path, drawn):
    figures.draw(workdir_of(tmp_path, epochs(5)))
    (lstm,), (dense,) = (
        drawn[f"Distributions of {layer} over epochs, config paper_code"] for layer in ("lstm", "dense")
    )
    assert set(lstm | dense) == {"lstm/kernel", "lstm/recurrent_kernel", "lstm/bias", "dense/kernel", "dense/bias"}
    at, lines = lstm["lstm/kernel"]
    assert at.tolist() == [1, 2, 3, 4, 5]
    assert lines.shape == (5, 9)
    # Of 500 values of a normal distribution.
    np.testing.assert_allclose(lines[:, 1:-1].mean(axis=0), [-1.5, -1, -0.5, 0, 0.5, 1, 1.5], atol=0.15)


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
        [line("valid", 1, **{f"metric_{k}": k / 7 for k in range(4)})],
        [{"split": "test", "epoch": 0, "step": 0, "loss": 1.0}],
    ],
)
def test_lines_of_any_model_are_drawn_as_far_as_they_go(tmp_path, lines):
    drawn, left_out = figures.draw(workdir_of(tmp_path, lines, with_events=False))
    for png in drawn.values():
        assert png.startswith(PNG) and png.endswith(b"IEND\xaeB`\x82")
    has_loss = any(np.isfinite(curves.number(one, "loss") or np.nan) or "nats_per_frame" in one for one in lines)
    assert "accuracy.png" not in drawn and any(told.startswith("accuracy.png") for told in left_out)
    assert ("loss.png" in drawn) == (has_loss and lines[0]["split"] != "test")


@pytest.mark.parametrize("text", [None, "{", "[]", '{"name": 3}'])
def test_without_a_readable_config_the_authors_are_left_out_and_a_line_says_so(tmp_path, drawn, text):
    workdir = workdir_of(tmp_path, epochs(2), with_events=False)
    (workdir / "config.json").unlink()
    if text:
        (workdir / "config.json").write_text(text)
    _, left_out = figures.draw(workdir)
    assert any("config.json" in told and "authors" in told for told in left_out)
    assert drawn["Loss per epoch"][2] == {} and drawn["Accuracy per epoch"][0] == "accuracy"


def test_layers_whose_tags_cannot_be_file_names_are_drawn(tmp_path, drawn):
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


# The command.


def test_a_run_gives_all_figures_and_their_paths(tmp_path, capsys):
    workdir = workdir_of(tmp_path / "run", epochs(2))
    assert main(["report", f"--workdir={workdir}"]) == 0
    out, err = capsys.readouterr()
    *figure_paths, page = out.splitlines()
    assert figure_paths == [str(workdir / "report" / name) for name in FROM_METRICS + FROM_EVENTS]
    assert all(line.startswith("drawing ") for line in err.splitlines()), "how far it is, on a slow machine"
    assert all(Path(path).read_bytes().startswith(PNG) for path in figure_paths)
    assert sorted(figure_paths) == sorted(map(str, (workdir / "report").iterdir()))
    assert page == str(workdir / "report.html") and "No samples were written" in Path(page).read_text()


def test_a_report_that_takes_long_tells_how_far_it_is(tmp_path, drawn, capsys, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(console, "time", types.SimpleNamespace(monotonic=lambda: 3.0 * next(clock)))
    assert main(["report", f"--workdir={workdir_of(tmp_path / 'run', epochs(3), with_events=False)}"]) == 0
    count = len(FROM_METRICS)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("drawing ")]
    assert told == [
        f"drawing  {done} of {count} figures, {console.duration(3.0 * (count - done))} left" for done in range(1, count)
    ]


def test_without_event_files_the_rest_is_drawn_and_lines_say_what_is_missing(tmp_path, drawn, capsys):
    workdir = workdir_of(tmp_path / "run", epochs(3), with_events=False)
    assert main(["report", f"--workdir={workdir}", f"--output_dir={tmp_path / 'out'}"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [str(tmp_path / "out" / name) for name in FROM_METRICS]
    for word in ("batch_loss.png", "batch_accuracy.png", "distributions and histograms"):
        assert sum(word in told and told.startswith("left out ") for told in err.splitlines()) == 1
    assert not (workdir / "report").exists() and not (workdir / "report.html").exists()


def test_an_event_file_that_is_cut_off_counts_up_to_there(tmp_path, drawn, capsys):
    workdir = workdir_of(tmp_path, epochs(3))
    (path,) = (workdir / "tensorboard").iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    assert main(["report", f"--workdir={workdir}"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == len([*FROM_METRICS, *FROM_EVENTS, "report.html"])
    assert "the file is cut off" in err and path.name in err


@pytest.mark.parametrize("text", ["", '{"split": "train", "ep', "[]\n"])
def test_where_no_line_of_metrics_can_be_read_the_page_still_has_the_samples(tmp_path, capsys, text):
    workdir = workdir_of(tmp_path / "run", epochs(3))
    (workdir / "metrics.jsonl").write_text(text)
    (workdir / "samples").mkdir()
    notes = from_beats(np.array([60, 64]), np.array([80, 80]), np.array([0.0, 1.0]), np.ones(2))
    midi.write(notes, workdir / "samples" / "seed0-000.mid")
    assert main(["report", f"--workdir={workdir}"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{workdir / 'report.html'}\n" and "samples/seed0-000.mid" in (workdir / "report.html").read_text()
    assert f"left out the curves: no line in {workdir / 'metrics.jsonl'} can be read\n" in err
    assert not (workdir / "report").exists(), "an empty folder says nothing"
    assert err.count("left out the figures") == 1 and err.count("line 1") == bool(text)


@pytest.mark.parametrize(
    "words, status, told",
    [
        ([], 2, "--workdir is missing"),
        (["--workdir=run", "--config=demo"], 2, "report takes no config"),
        (["--workdir=run", "--config.seed=3"], 2, "report takes no config"),
        (["--workdir=absent"], 1, "workdir absent does not exist"),
        (["--workdir=file"], 1, "workdir file is a file"),
        (["--workdir=empty"], 1, "nothing to draw in empty"),
        (["--workdir=unfinished"], 1, "nothing to draw in unfinished"),
        (["--workdir=run", "--output_dir=file"], 1, "figures cannot be written to file"),
        (["--workdir=run", "--output_dir=file/below"], 1, "figures cannot be written to file/below"),
    ],
)
def test_one_line_says_why_nothing_can_be_drawn(tmp_path, drawn, monkeypatch, capsys, words, status, told):
    monkeypatch.chdir(tmp_path)
    workdir_of(Path("run"), epochs(1), with_events=False)
    Path("file").write_text("")
    Path("empty").mkdir()
    Path("unfinished").mkdir()
    Path("unfinished", "metrics.jsonl").write_text("")
    assert main(["report", *words]) == status
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"musicjax: {told}") and err.count("\n") == 1
    assert not Path("run", "report").exists()


@pytest.mark.parametrize(
    ("work", "unneeded"),
    [
        ("from musicjax.main import main; assert main(['report', '--workdir=run']) == 0", ["matplotlib.pyplot"]),
        ("from musicjax.report import page; page.write(Path('run'))", ["matplotlib", "tensorboardX", "google"]),
    ],
)
def test_drawing_waits_for_no_library_that_it_does_not_need(tmp_path, work, unneeded):
    workdir_of(tmp_path / "run", [line("train", 1, loss=1.0)], with_events=False)
    script = f"""
import sys
from pathlib import Path
{work}
loaded = {{"jax", "flax", "orbax", "mido", *{unneeded}}} & set(sys.modules)
assert not loaded, loaded
"""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "DISPLAY": "", "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
