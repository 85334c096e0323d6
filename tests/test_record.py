"""metrics.jsonl and the TensorBoard events, as they are read back."""

from __future__ import annotations

import errno
import json
import os
import struct
import time
from pathlib import Path

import pytest
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event, SessionLog

from musicjax.errors import RunError
from musicjax.run.record import Recorder

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


def shown(workdir: Path) -> dict[tuple[str, int], float]:
    """(tag, step) -> value as TensorBoard shows it: a start at a step hides what was there from that step on."""
    values: dict[tuple[str, int], float] = {}
    for event in events(workdir):
        if event.session_log.status == SessionLog.START:
            values = {place: value for place, value in values.items() if place[1] < event.step}
        for value in event.summary.value:
            assert (value.tag, event.step) not in values, f"{value.tag} stands twice at step {event.step}"
            values[value.tag, event.step] = value.simple_value
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


def test_events_are_on_disk_soon_after_they_are_written(tmp_path):
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


def test_each_trial_has_its_line_and_the_board_their_means(tmp_path):
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


def test_what_a_cut_off_run_recorded_too_much_is_recorded_again(tmp_path):
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


def test_events_of_a_run_cut_off_before_its_first_checkpoint_are_hidden(tmp_path):
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
        """Takes so many bytes, then no more."""

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
