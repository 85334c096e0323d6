"""TensorBoard event files, written by tensorboardX, are read as TensorBoard reads them."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import HistogramProto, Summary
from tensorboardX.record_writer import RecordWriter

from musicjax.report import tensorboard_files

HISTO = HistogramProto(min=-1, max=3, num=6, sum=1, sum_squares=2, bucket_limit=[0, 2, 3], bucket=[1, 2, 3])


def start(step: int) -> Event:
    return Event(step=step, session_log=SessionLog(status=SessionLog.START))


def scalar(tag: str, step: int, value: float) -> Event:
    return Event(step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]))


def histo(tag: str, step: int, message: HistogramProto = HISTO) -> Event:
    return Event(step=step, summary=Summary(value=[Summary.Value(tag=tag, histo=message)]))


def write(folder: Path, second: int, *found: Event) -> Path:
    """An event file that was begun at this second."""
    folder.mkdir(exist_ok=True)
    path = folder / f"events.out.tfevents.{1_700_000_000 + second}.host.1"
    writer = RecordWriter(str(path))
    for event in (Event(file_version="brain.Event:2"), *found):
        writer.write(event.SerializeToString())
    writer.close()
    return path


def test_scalars_and_histograms_are_read_back_in_the_order_of_steps(tmp_path):
    later = [scalar("b", 7, 0.125), scalar("a", 9, -2.0), histo("w", 9), Event(step=9, graph_def=b"graph")]
    write(tmp_path, 2, *later)
    write(tmp_path, 1, scalar("b", 8, 1.5), scalar("b", 3, 0.5))
    (tmp_path / "notes.txt").write_text("no event file")
    board = tensorboard_files.read(tmp_path)
    assert list(board.scalars) == ["a", "b"]
    assert list(board.scalars["b"].items()) == [(3, 0.5), (7, 0.125), (8, 1.5)]
    assert board.scalars["a"] == {9: -2.0}
    assert list(board.histograms) == ["w"] and list(board.histograms["w"]) == [9]
    assert board.histograms["w"][9].edges.tolist() == [-1, 0, 2, 3]
    assert board.histograms["w"][9].counts.tolist() == [1, 2, 3]
    assert board.complaints == []


def test_a_start_purges_what_was_recorded_at_its_step_or_later(tmp_path):
    write(tmp_path, 1, start(1), *(scalar("a", step, step) for step in (1, 2, 3, 4)), histo("w", 2), histo("w", 3))
    write(tmp_path, 2, start(3), scalar("a", 3, 30.0))
    board = tensorboard_files.read(tmp_path)
    assert board.scalars["a"] == {1: 1.0, 2: 2.0, 3: 30.0}
    assert list(board.histograms["w"]) == [2]
    write(tmp_path, 3, start(1), scalar("a", 2, 200.0))
    assert tensorboard_files.read(tmp_path).scalars == {"a": {2: 200.0}}
    assert tensorboard_files.read(tmp_path).histograms == {}


def test_files_count_in_the_order_in_which_they_were_begun(tmp_path):
    for second in (4, 9, 2, 7, 1, 8, 3, 6, 5):
        write(tmp_path, second, start(second), scalar("a", second, second), scalar("a", 20, second))
    assert tensorboard_files.read(tmp_path).scalars == {"a": {**{second: second for second in range(1, 10)}, 20: 9.0}}


def test_other_events_of_a_session_purge_nothing(tmp_path):
    checkpoint = Event(step=1, session_log=SessionLog(status=SessionLog.CHECKPOINT))
    write(tmp_path, 1, scalar("a", 1, 1.0), scalar("a", 2, 2.0), checkpoint)
    assert tensorboard_files.read(tmp_path).scalars == {"a": {1: 1.0, 2: 2.0}}


def ends(data: bytes) -> list[int]:
    """Where the records of a file end; the first is its version."""
    found, place = [], 0
    while place < len(data):
        place += 16 + struct.unpack_from("<Q", data, place)[0]
        found.append(place)
    return found


def test_a_file_that_is_cut_off_counts_up_to_that_place_and_the_next_file_is_read(tmp_path):
    path = write(tmp_path, 1, *(scalar("a", step, step) for step in (1, 2, 3)))
    write(tmp_path, 2, scalar("b", 5, 0.5))
    data = path.read_bytes()
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        board = tensorboard_files.read(tmp_path)
        whole = sum(end <= size for end in ends(data))
        assert len(board.scalars.get("a", {})) == max(0, whole - 1)
        assert board.scalars["b"] == {5: 0.5}
        cut = size not in (0, *ends(data))
        assert len(board.complaints) == cut
        if cut:
            assert path.name in board.complaints[0] and f"up to event {whole};" in board.complaints[0]


def test_a_damaged_byte_anywhere_ends_the_file_there(tmp_path):
    path = write(tmp_path, 1, *(scalar("a", step, step) for step in (1, 2, 3)))
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x80]) + data[place + 1 :])
        board = tensorboard_files.read(tmp_path)
        whole = sum(end <= place for end in ends(data))
        assert list(board.scalars.get("a", {})) == [1, 2, 3][: max(0, whole - 1)]
        assert len(board.complaints) == 1


def test_a_record_that_is_no_event_adds_a_complaint(tmp_path):
    path = tmp_path / "events.out.tfevents.1.host"
    writer = RecordWriter(str(path))
    writer.write(b"\xff\xff\xff")
    writer.close()
    assert "up to event 0" in tensorboard_files.read(tmp_path).complaints[0]


def test_a_folder_without_event_files_gives_an_empty_board(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        board = tensorboard_files.read(folder)
        assert (board.scalars, board.histograms, board.complaints) == ({}, {}, [])


def test_buckets_reach_from_the_least_value_to_the_greatest():
    outer = sys.float_info.max  # the last limit of TensorFlow's own histograms
    message = HistogramProto(min=-0.5, max=2.5, num=5, bucket_limit=[-1, 0, 1, outer], bucket=[0, 2, 2, 1])
    found = tensorboard_files.histogram(message)
    assert found.edges.tolist() == [-0.5, -0.5, 0, 1, 2.5]
    assert found.counts.tolist() == [0, 2, 2, 1]


def test_equal_values_lie_in_a_bucket_of_no_width():
    found = tensorboard_files.histogram(HistogramProto(min=1, max=1, num=4, bucket_limit=[0.75, 1.5], bucket=[0, 4]))
    assert found.edges.tolist() == [1, 1, 1]


def test_the_histogram_of_the_library_keeps_every_value(tmp_path):
    from tensorboardX.summary import histogram

    values = np.random.default_rng(0).normal(size=1000)
    write(tmp_path, 1, Event(step=4, summary=histogram("w", values, "auto")))
    found = tensorboard_files.read(tmp_path).histograms["w"][4]
    assert found.counts.sum() == 1000
    assert (found.edges[0], found.edges[-1]) == (values.min(), values.max())
    inner = [((values >= low) & (values < high)).sum() for low, high in zip(found.edges, found.edges[1:], strict=False)]
    inner[-1] += 1  # the greatest value
    assert found.counts.tolist() == inner


@pytest.mark.parametrize(
    "message",
    [
        HistogramProto(min=0, max=1),
        HistogramProto(min=0, max=1, bucket_limit=[1, 2], bucket=[1]),
        HistogramProto(min=0, max=1, bucket_limit=[1], bucket=[0]),
        HistogramProto(min=0, max=1, bucket_limit=[0.5, 1], bucket=[-1, 2]),
        HistogramProto(min=0, max=1, bucket_limit=[1, 0.5], bucket=[1, 2]),
        HistogramProto(min=2, max=1, bucket_limit=[1], bucket=[1]),
        HistogramProto(min=float("nan"), max=1, bucket_limit=[1], bucket=[1]),
        HistogramProto(min=0, max=float("inf"), bucket_limit=[1], bucket=[1]),
        HistogramProto(min=0, max=1, bucket_limit=[float("nan")], bucket=[1]),
    ],
)
def test_a_histogram_that_makes_no_sense_is_left_out_with_a_complaint(tmp_path, message):
    write(tmp_path, 1, histo("w", 1, message), histo("w", 2))
    board = tensorboard_files.read(tmp_path)
    assert list(board.histograms["w"]) == [2]
    assert len(board.complaints) == 1 and "w at step 1 is left out: expected" in board.complaints[0]
