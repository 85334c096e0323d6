"""metrics.jsonl and the TensorBoard event files, as they are read back."""

from __future__ import annotations

import errno
import json
import os
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.graph_pb2 import GraphDef
from tensorboardX.proto.node_def_pb2 import NodeDef

import musicjax
from musicjax import config as config_lib
from musicjax import config_files, console
from musicjax.encodings import encoding
from musicjax.errors import RunError
from musicjax.model import network
from musicjax.report import pictures
from musicjax.store import checkpoint as checkpoint_lib
from musicjax.store import tensorboard_graph as graph_lib
from musicjax.store.recorder import Recorder
from musicjax.training import histograms as histograms_lib
from tests import tiny_runs

# Written by hand, each in a way that json.dumps would not write it: what is kept must not be written anew.
LINES = [
    '{"epoch":1,"split":"train","step":10,"loss":0.50}\n',
    '{"loss": 4e-1, "split": "valid", "epoch": 1, "step": 10}\n',
    '{"split":  "train", "epoch": 2, "step": 20, "loss": 0.3}\n',
    '{"split": "valid", "epoch": 2, "step": 20, "note": "\\u00e9"}\n',
    '{"split": "train", "epoch": 3, "step": 30, "loss": 0.2}\n',
    '{"split": "valid", "epoch": 3, "step": 30, "loss": 0.25}\n',
]


def records(path: Path) -> list[bytes]:
    """The records of a TFRecord file: length, its checksum, data, its checksum."""

    def masked(data: bytes) -> int:
        checksum = crc32c(data)
        return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF

    data, place, found = path.read_bytes(), 0, []
    while place < len(data):
        header = data[place : place + 8]
        (length,) = struct.unpack("<Q", header)
        body = data[place + 12 : place + 12 + length]
        assert struct.unpack("<I", data[place + 8 : place + 12])[0] == masked(header)
        assert struct.unpack("<I", data[place + 12 + length : place + 16 + length])[0] == masked(body)
        found.append(body)
        place += 16 + length
    return found


def events(workdir: Path) -> list[Event]:
    """The events of all files of a workdir, oldest file first."""
    files = sorted((workdir / "tensorboard").iterdir())
    assert all(".tfevents." in file.name for file in files)
    return [Event.FromString(record) for file in files for record in records(file)]


def shown(workdir: Path) -> dict[tuple[str, int], Any]:
    """(tag, step) -> value as TensorBoard shows it: a start at a step hides what was there from that step on."""
    values: dict[tuple[str, int], Any] = {}
    for event in events(workdir):
        if event.session_log.status == SessionLog.START:
            values = {place: value for place, value in values.items() if place[1] < event.step}
        for value in event.summary.value:
            assert (value.tag, event.step) not in values, f"{value.tag} stands twice at step {event.step}"
            kind = value.WhichOneof("value")
            values[value.tag, event.step] = getattr(value, kind) if kind == "simple_value" else value
    return values


def next_file() -> None:
    """Event files are named by the second; a second run never starts within the first's."""
    second = int(time.time())
    while int(time.time()) == second:
        time.sleep(0.02)


def write_epochs(workdir: Path, done: int, epochs: range, loss: float) -> None:
    recorder = Recorder(workdir, done, 10 * done)
    for epoch in epochs:
        recorder.write("train", epoch, 10 * epoch, [{"loss": loss + epoch, "accuracy": 0.5}])
        recorder.write("valid", epoch, 10 * epoch, [{"loss": 2 * loss + epoch}])
    recorder.close()


def test_each_write_is_one_line(tmp_path):
    write_epochs(tmp_path, 0, range(1, 3), 0.25)
    text = (tmp_path / "metrics.jsonl").read_text()
    assert text.endswith("\n")
    assert [json.loads(line) for line in text.splitlines()] == [
        {"split": "train", "epoch": 1, "step": 10, "loss": 1.25, "accuracy": 0.5},
        {"split": "valid", "epoch": 1, "step": 10, "loss": 1.5},
        {"split": "train", "epoch": 2, "step": 20, "loss": 2.25, "accuracy": 0.5},
        {"split": "valid", "epoch": 2, "step": 20, "loss": 2.5},
    ]


def test_a_line_can_be_read_as_soon_as_it_is_written(tmp_path):
    recorder = Recorder(tmp_path, 0, 0)
    for epoch in (1, 2):
        recorder.write("train", epoch, 10 * epoch, [{"loss": 0.5}])
        last = (tmp_path / "metrics.jsonl").read_text().splitlines()[-1]
        assert json.loads(last) == {"split": "train", "epoch": epoch, "step": 10 * epoch, "loss": 0.5}
    recorder.close()


def test_scalars_are_on_the_disk_soon_after_they_are_written(tmp_path):
    recorder = Recorder(tmp_path, 0, 0)
    for epoch in (1, 2):
        recorder.write("train", epoch, 10 * epoch, [{"loss": 0.5}])
    try:
        end = time.monotonic() + 2
        while ("train/loss", 20) not in shown(tmp_path) and time.monotonic() < end:
            time.sleep(0.05)
        assert shown(tmp_path) == {("train/loss", 10): 0.5, ("train/loss", 20): 0.5}
    finally:
        recorder.close()


def test_event_files_hold_every_metric_at_its_step(tmp_path):
    write_epochs(tmp_path, 0, range(1, 3), 0.25)
    assert events(tmp_path)[0].file_version == "brain.Event:2"
    assert shown(tmp_path) == {
        ("train/loss", 10): 1.25,
        ("train/accuracy", 10): 0.5,
        ("valid/loss", 10): 1.5,
        ("train/loss", 20): 2.25,
        ("train/accuracy", 20): 0.5,
        ("valid/loss", 20): 2.5,
    }


TRIALS = [
    {"trial": 0, "seed": 7, "dropout": 0.5, "loss": 0.25, "learning_rate": 0.5},
    {"trial": 2, "seed": 9, "dropout": 0.0, "loss": 0.75, "learning_rate": 0.25},
]


def test_each_trial_has_its_line_and_tensorboard_shows_their_means(tmp_path):
    recorder = Recorder(tmp_path, 0, 0)
    recorder.write("train", 1, 10, TRIALS)
    recorder.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"split": "train", "epoch": 1, "step": 10, **trial} for trial in TRIALS]
    assert shown(tmp_path) == {("train/loss", 10): 0.5, ("train/learning_rate", 10): 0.375}


def test_the_lines_of_all_trials_up_to_the_restored_epoch_stay(tmp_path):
    recorder = Recorder(tmp_path, 0, 0)
    for epoch in (1, 2, 3):
        for split in ("train", "valid"):
            recorder.write(split, epoch, 10 * epoch, TRIALS)
    recorder.close()
    path = tmp_path / "metrics.jsonl"
    before = path.read_text().splitlines(keepends=True)
    path.write_text("".join(before) + before[0][:20])
    Recorder(tmp_path, 2, 20).close()
    assert path.read_text() == "".join(before[:8])


@pytest.mark.parametrize("epoch, kept", [(1, 2), (2, 4), (3, 6), (9, 6)])
@pytest.mark.parametrize(
    "cut",
    [
        "",
        "[1]",
        "7",
        '{"epoch": "1"}',
        "[" * 100_000,
        '{"split": "train", "epo',
        '{"split": "train", "epoch": 2',
        "{",
        "\0\0\0",
    ],
)
def test_lines_up_to_the_restored_epoch_stay_byte_for_byte_and_the_rest_goes(tmp_path, epoch, kept, cut):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(LINES) + cut)
    Recorder(tmp_path, epoch, 10 * epoch).close()
    assert path.read_bytes() == "".join(LINES[:kept]).encode()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["metrics.jsonl", "tensorboard"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LINES[0][:20], "line 1 cannot be read and is removed; the curves lack 3 epochs, the first of them epoch 1"),
        ("", "it holds no line; the curves lack 3 epochs, the first of them epoch 1"),
        (
            "".join(LINES[:3]) + "\0\n" + "".join(LINES[4:]),
            "line 4 cannot be read and is removed; the curves lack 1 epoch, epoch 2",
        ),
        ("".join(LINES) + "{", ""),
        ("".join(LINES), ""),
    ],
)
def test_a_damaged_line_of_a_finished_epoch_is_told_and_one_that_a_kill_cut_off_is_not(tmp_path, capsys, text, said):
    (tmp_path / "metrics.jsonl").write_text(text)
    Recorder(tmp_path, 3, 30).close()
    told = capsys.readouterr().err
    assert (f"metrics  {tmp_path / 'metrics.jsonl'} is damaged: {said}" in told) if said else told == ""


def test_a_line_that_lacks_only_its_end_is_ended(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(LINES[:4]).rstrip("\n"))
    recorder = Recorder(tmp_path, 2, 20)
    recorder.write("train", 3, 30, [{"loss": 0.2}])
    recorder.close()
    assert path.read_text() == "".join(LINES[:5])


def test_a_run_without_a_checkpoint_starts_its_lines_anew(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(LINES))
    Recorder(tmp_path, 0, 0).close()
    assert path.read_bytes() == b""


def test_epochs_after_the_restored_one_are_recorded_again(tmp_path):
    write_epochs(tmp_path, 0, range(1, 4), 0.25)
    next_file()
    write_epochs(tmp_path, 2, range(3, 5), 0.5)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 1, 2, 2, 3, 3, 4, 4]
    losses = {(line["split"], line["step"]): line["loss"] for line in lines}
    expected = {
        ("train", 10): 1.25, ("train", 20): 2.25, ("train", 30): 3.5, ("train", 40): 4.5,
        ("valid", 10): 1.5, ("valid", 20): 2.5, ("valid", 30): 4.0, ("valid", 40): 5.0,
    }  # fmt: skip
    assert losses == expected
    on_board = shown(tmp_path)
    assert {(split, step): on_board[f"{split}/loss", step] for split, step in expected} == expected
    assert len(on_board) == 12


def test_scalars_of_a_run_that_was_cut_off_before_its_first_checkpoint_are_hidden(tmp_path):
    write_epochs(tmp_path, 0, range(1, 2), 0.25)
    next_file()
    write_epochs(tmp_path, 0, range(1, 3), 0.5)
    assert shown(tmp_path)["train/loss", 10] == 1.5


@pytest.mark.parametrize("part", [0, 1, 30])
def test_a_disk_that_is_full_leaves_whole_lines(tmp_path, part):
    recorder = Recorder(tmp_path, 0, 0)
    recorder.write("train", 1, 10, [{"loss": 0.5}])
    before = (tmp_path / "metrics.jsonl").read_bytes()
    file = recorder._file

    class Full:
        """Takes this many bytes, then no more."""

        def write(self, data: bytes) -> int:
            if not part:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return file.write(data[:part])

        def __getattr__(self, name):
            return getattr(file, name)

    recorder._file = Full()
    with pytest.raises(RunError, match=r"metrics cannot be recorded in .*No space left on device"):
        recorder.write("valid", 1, 10, [{"loss": 0.25}])
    recorder.close()
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


# The board alone.


def png(width: int, height: int, kind: int = 2, channels: int = 3) -> bytes:
    """A black picture."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes(width * channels)) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def buckets(values: Any) -> histograms_lib.Buckets:
    return histograms_lib.buckets(np.asarray(values, np.float32))


def test_each_batch_has_its_scalars_up_to_the_step_given(tmp_path):
    recorder = Recorder(tmp_path, 1, 10)
    recorder.batches(13, {"loss": np.array([0.5, 0.25, 0.125]), "accuracy": np.array([0.0, 1.0, 0.5])})
    recorder.write("train", 2, 13, [{"loss": 0.5}])
    assert shown(tmp_path) == {
        ("batch/loss", 11): 0.5,
        ("batch/loss", 12): 0.25,
        ("batch/loss", 13): 0.125,
        ("batch/accuracy", 11): 0.0,
        ("batch/accuracy", 12): 1.0,
        ("batch/accuracy", 13): 0.5,
        ("train/loss", 13): 0.5,
    }
    recorder.close()


def test_thousands_of_batches_reach_the_disk_at_once(tmp_path, monkeypatch):
    recorder = Recorder(tmp_path, 0, 0)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    recorder.batches(5000, {"loss": np.arange(5000.0), "accuracy": np.zeros(5000)})
    recorder.histograms(5000, {"outputs": buckets([1.0, 2.0])})
    assert synced == []
    recorder.write("train", 1, 5000, [{"loss": 0.5}])
    assert len(synced) == 1
    assert sum(tag == "batch/loss" for tag, _ in shown(tmp_path)) == 5000
    recorder.close()


def test_a_histogram_is_read_back_as_it_was_counted(tmp_path):
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    counted = buckets(values)
    recorder = Recorder(tmp_path, 0, 0)
    recorder.histograms(7, {"lstm/kernel": counted})
    recorder.close()
    histogram = shown(tmp_path)["lstm/kernel", 7].histo
    assert (histogram.min, histogram.max, histogram.num) == (values.min(), values.max(), 1000)
    assert histogram.sum == pytest.approx(values.sum(dtype=float), rel=1e-4)
    assert histogram.sum_squares == pytest.approx((values.astype(float) ** 2).sum(), rel=1e-5)
    np.testing.assert_array_equal(histogram.bucket, np.histogram(values, counted.edges)[0])
    np.testing.assert_array_equal(histogram.bucket_limit, counted.edges[1:])


def test_numbers_that_are_not_finite_have_no_histogram_and_the_console_says_so_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(console, "_said", set())
    recorder = Recorder(tmp_path, 0, 0)
    for step in (1, 2):
        recorder.histograms(step, {"a/kernel": buckets([0.0, np.nan]), "b": buckets([1.0]), "c": buckets([np.inf])})
    recorder.close()
    assert set(shown(tmp_path)) == {("b", 1), ("b", 2)}
    said = capsys.readouterr().err
    assert said.count("no histogram of a/kernel") == said.count("no histogram of c:") == 1
    assert said.count("\n") == 2


@pytest.mark.parametrize(("kind", "channels"), [(0, 1), (2, 3), (6, 4)])
def test_a_picture_comes_back_byte_for_byte(tmp_path, kind, channels):
    picture = png(300, 7, kind, channels)
    recorder = Recorder(tmp_path, 0, 0)
    recorder.picture("samples/0", 3, picture)
    image = shown(tmp_path)["samples/0", 3].image
    assert image.encoded_image_string == picture
    assert (image.width, image.height, image.colorspace) == (300, 7, channels)
    recorder.close()


@pytest.mark.parametrize("data", [b"", b"GIF89a", png(3, 3)[:20], png(3, 3)[1:]])
def test_bytes_that_are_not_a_png_are_refused(tmp_path, data):
    recorder = Recorder(tmp_path, 0, 0)
    with pytest.raises(ValueError, match="samples/0: expected the bytes of a PNG file"):
        recorder.picture("samples/0", 3, data)
    recorder.close()
    assert shown(tmp_path) == {}


def test_a_recorder_of_the_same_second_leaves_the_file_of_the_one_before(tmp_path):
    for epoch in (0, 1, 2):
        write_epochs(tmp_path, epoch, range(epoch + 1, epoch + 2), 0.25)
    assert {step for _, step in shown(tmp_path)} == {10, 20, 30}


@pytest.mark.parametrize(
    "record",
    [
        lambda recorder: recorder.batches(1, {"loss": np.zeros(1)}),
        lambda recorder: recorder.histograms(1, {"a": buckets([1.0])}),
        lambda recorder: recorder.graph(GraphDef()),
        lambda recorder: recorder.picture("a", 1, png(2, 2)),
        lambda recorder: recorder.write("train", 1, 1, [{"loss": 0.5}]),
    ],
)
def test_a_summary_that_cannot_be_written_is_an_error(tmp_path, monkeypatch, record: Callable[[Recorder], None]):
    recorder = Recorder(tmp_path, 0, 0)

    def full(_: Event) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(recorder._board, "write_event", full)
    with pytest.raises(RunError, match=r"metrics cannot be recorded in .*No space left on device"):
        record(recorder)
    recorder.close()


# The board of a run.

FIELDS: dict[str, Any] = {"train.histograms": True, "train.epochs": 2, "sample.num_outputs": 5}
TAGS = ["dense/bias", "dense/kernel", "lstm/bias", "lstm/kernel", "lstm/recurrent_kernel", "outputs"]


def config_of(clips: Path, **more: Any) -> config_lib.Config:
    return tiny_runs.config_of(clips, **{**FIELDS, **more})


def lines_of(workdir: Path, split: str) -> list[dict]:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["split"] == split]


def assert_counted_by_numpy(value: Any, numbers: np.ndarray) -> None:
    """The histogram is that of these numbers, but for some that rounding brings over an edge."""
    assert value.histo.num == sum(value.histo.bucket) == numbers.size
    assert value.histo.min == pytest.approx(numbers.min(), rel=1e-5, abs=1e-7)
    assert value.histo.max == pytest.approx(numbers.max(), rel=1e-5, abs=1e-7)
    edges = [value.histo.min, *value.histo.bucket_limit]
    edges[-1] = max(edges[-1], float(numbers.max()))
    edges[0] = min(edges[0], float(numbers.min()))
    off = np.abs(np.histogram(numbers, edges)[0] - np.array(value.histo.bucket)).sum()
    assert off <= 0.02 * numbers.size


def assert_histograms_of_the_last_epoch(workdir: Path, config: config_lib.Config) -> None:
    arrays, metadata = checkpoint_lib.restore(workdir)
    on_board, step = shown(workdir), int(np.asarray(arrays.state.step).max())
    params = arrays.state.params
    if config.train.trials > 1:
        params = jax.tree.map(lambda leaf: leaf[0], params)
    for tag, leaf in zip(histograms_lib.tags(params), jax.tree.leaves(params), strict=True):
        assert_counted_by_numpy(on_board[tag, step], np.asarray(leaf).ravel())
    rows, starts = encoding.of(config).dataset().validation.rows
    seen = rows[starts[:200, None] + np.arange(config.data.window)]
    outputs = network.apply(encoding.of(metadata.config).network(), params, seen)
    assert_counted_by_numpy(on_board["outputs", step], np.asarray(outputs).ravel())


@pytest.fixture(scope="module")
def trained(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs that was then continued to a third."""
    workdir = tmp_path_factory.mktemp("board") / "w"
    musicjax.train(config_of(clips), workdir)
    next_file()
    musicjax.train(config_of(clips, **{"train.epochs": 3}), workdir)
    return workdir


def test_the_batches_of_a_run_are_those_that_its_epochs_are_means_of(trained):
    on_board, train = shown(trained), lines_of(trained, "train")
    last = train[-1]["step"]
    for name in ("loss", "accuracy"):
        assert [step for tag, step in on_board if tag == f"batch/{name}"] == list(range(1, last + 1))
        for before, line in zip([0, *(line["step"] for line in train)], train, strict=False):
            batches = [on_board[f"batch/{name}", step] for step in range(before + 1, line["step"] + 1)]
            # The last batch is smaller, and counts as much here.
            assert np.mean(batches) == pytest.approx(line[name], rel=0.1)
            assert len(set(batches)) > 1
            assert on_board[f"train/{name}", line["step"]] == pytest.approx(line[name], rel=1e-6)


def test_the_epochs_of_a_run_have_their_scalars(trained):
    on_board = shown(trained)
    for split in ("train", "valid"):
        for line in lines_of(trained, split):
            for name in set(line) - {"split", "epoch", "step"}:
                assert on_board[f"{split}/{name}", line["step"]] == pytest.approx(line[name], rel=1e-6)
    assert {"train/learning_rate", "train/windows_per_second", "valid/loss"} <= {tag for tag, _ in on_board}


def test_each_epoch_of_a_run_has_the_histograms_of_its_own_end(trained, clips):
    steps = [line["step"] for line in lines_of(trained, "train")]
    found = [place for place, value in shown(trained).items() if hasattr(value, "histo") and value.HasField("histo")]
    assert sorted(found) == sorted((tag, step) for tag in TAGS for step in steps)
    assert_histograms_of_the_last_epoch(trained, config_of(clips, **{"train.epochs": 3}))


def test_the_graph_of_a_run_is_there_once(trained, clips):
    (graph,) = [GraphDef.FromString(event.graph_def) for event in events(trained) if event.graph_def]
    arrays, metadata = checkpoint_lib.restore(trained)
    net = encoding.of(metadata.config).network()
    assert graph == graph_lib.of_network(
        net, arrays.best_params, metadata.config.train.batch_size, metadata.config.data.window
    )
    assert isinstance(graph.node[0], NodeDef)


def test_the_first_samples_of_a_run_are_shown(trained):
    on_board = shown(trained)
    steps = [line["step"] for line in lines_of(trained, "train")]
    images = {place for place in on_board if place[0].startswith("samples/")}
    assert images == {(f"samples/{k}", step) for k in range(4) for step in steps[1:]}
    paths = sorted((trained / "samples").glob("*.mid"))
    assert len(paths) == 5
    shapes = set()
    for k, path in enumerate(paths[:4]):
        image = on_board[f"samples/{k}", steps[-1]].image
        expected = pictures.piano_roll_png(musicjax.read_midi(path), path.stem)
        shapes.add((image.width, image.height))
        assert len(image.encoded_image_string) == pytest.approx(len(expected), rel=0.1)
    assert shapes == {(900, 360)}


@pytest.fixture(scope="module")
def watched(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, but it shows samples after each epoch."""
    workdir = tmp_path_factory.mktemp("watched") / "w"
    musicjax.train(config_of(clips, **{"train.epochs": 3, "sample.every": 1, "sample.num_outputs": 9}), workdir)
    return workdir


@pytest.fixture(scope="module")
def short(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its first epoch alone, without histograms."""
    workdir = tmp_path_factory.mktemp("short") / "w"
    config = config_of(clips, **{"train.epochs": 1, "train.histograms": False, "sample.num_outputs": 8})
    musicjax.train(config, workdir)
    return workdir


@pytest.mark.long
def test_samples_are_shown_and_measured_while_a_run_trains(watched, short):
    on_board, steps = shown(watched), [line["step"] for line in lines_of(watched, "train")]
    assert {place for place in on_board if place[0].startswith("samples/")} == {
        (f"samples/{k}", step) for k in range(4) for step in steps
    }
    for name in ("polyphony", "longest_copy_notes"):
        assert {step for tag, step in on_board if tag == f"music/{name}"} == set(steps), name
    # What was best after the first epoch is what a run of one epoch ends with.
    first = {place: value for place, value in shown(short).items() if place[0].startswith("music/")}
    assert first and all(on_board[place] == value for place, value in first.items())


@pytest.mark.long
def test_showing_samples_changes_nothing_that_is_trained(trained, watched):
    states = (checkpoint_lib.restore(workdir).arrays.state for workdir in (trained, watched))
    leaves = [[np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state.params)] for state in states]
    assert leaves[0] == leaves[1]


@pytest.mark.long
def test_of_several_trials_the_histograms_are_of_the_first_and_the_batches_means(clips, tmp_path):
    trials = {"train.trials": 2, "train.learning_rates": (1e-3, 1e-4)}
    config = config_of(clips, **trials, **{"train.epochs": 1, "sample.num_outputs": 0})
    musicjax.train(config, tmp_path / "w")
    assert_histograms_of_the_last_epoch(tmp_path / "w", config)
    on_board, lines = shown(tmp_path / "w"), lines_of(tmp_path / "w", "train")
    batches = [on_board["batch/loss", step] for step in range(1, lines[-1]["step"] + 1)]
    assert len(lines) == 2
    assert np.mean(batches) == pytest.approx(np.mean([line["loss"] for line in lines]), rel=0.1)


@pytest.mark.long
def test_without_histograms_a_run_has_the_same_scalars(watched, short):
    untimed = {
        place: value
        for place, value in shown(short).items()
        if not place[0].endswith(("seconds", "windows_per_second")) and not place[0].startswith("samples/")
    }
    assert all(isinstance(value, float) for value in untimed.values())
    with_histograms = shown(watched)
    assert untimed == {place: with_histograms[place] for place in untimed}


@pytest.mark.long
def test_a_run_of_frames_has_the_histograms_of_its_head_and_of_every_position(clips, tmp_path):
    config = config_files.load("frames_nade")
    changes = {
        "model.head_units": 6,
        "train.batch_size": 16,
        "train.epochs": 1,
        "sample.num_outputs": 0,
        "train.histograms": True,
    }
    config_lib.set_fields(config, {**tiny_runs.FIELDS, "data.source": str(clips), **changes})
    musicjax.train(config, tmp_path / "w")
    on_board = shown(tmp_path / "w")
    step = max(step for _, step in on_board)
    counts = {tag: on_board[tag, step].histo.num for tag in [*TAGS, "head/in", "head/out"]}
    streams = encoding.of(config).dataset().validation.rows
    assert counts["head/in"] == counts["head/out"] == 88 * 6
    assert counts["outputs"] == streams.seen.shape[1] * 8 * (88 + 6)
    arrays, _ = checkpoint_lib.restore(tmp_path / "w")
    assert_counted_by_numpy(on_board["head/in", step], np.asarray(arrays.state.params["head"]["in"]).ravel())
    (line,) = lines_of(tmp_path / "w", "train")
    batches = [on_board["batch/loss", batch] for batch in range(1, step + 1)]
    assert min(batches) <= line["loss"] <= max(batches)
