"""TensorBoard event files -> scalars and histograms by tag and step.

A file is a series of records: length (uint64), its checksum, an Event, its checksum, little endian. Files are read in
the order of their names, which tell when each was begun. A run that goes on begins a file with a SessionLog START at a
step. Whatever was recorded before at that step or later belongs to epochs that were trained again and does not count.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from google.protobuf.message import DecodeError
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event, SessionLog

from musicjax.report.distributions import Histogram

# No event of ours comes near. A greater length is damage, and must not be allocated.
MOST_BYTES = 1 << 30


@dataclasses.dataclass(frozen=True, eq=False)
class Board:
    """What the event files of a run hold.

    Attributes:
        scalars, histograms: {tag: {step: value}}, steps rising.
        complaints: one line for each thing that could not be read.
    """

    scalars: dict[str, dict[int, float]]
    histograms: dict[str, dict[int, Histogram]]
    complaints: list[str]


def read(folder: Path) -> Board:
    """All event files of a folder; one that is cut off or damaged counts up to that place.

    Raises:
        OSError: the folder or a file cannot be read.
    """
    scalars: dict[str, dict[int, float]] = {}
    histograms: dict[str, dict[int, Histogram]] = {}
    complaints: list[str] = []
    for path in sorted(folder.glob("events*")):
        for event in _events(path, complaints):
            if event.session_log.status == SessionLog.START:
                _purge(scalars, event.step)
                _purge(histograms, event.step)
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    scalars.setdefault(value.tag, {})[event.step] = value.simple_value
                elif value.HasField("histo"):
                    try:
                        histograms.setdefault(value.tag, {})[event.step] = histogram(value.histo)
                    except ValueError as error:
                        complaints.append(f"{path.name}: {value.tag} at step {event.step} is left out: {error}")
    return Board(_in_order(scalars), _in_order(histograms), complaints)


def histogram(message: Any) -> Histogram:
    """A HistogramProto without its empty margins; raises ValueError if it makes no sense.

    Each `bucket_limit` is the right edge of its bucket; the first bucket begins at `min`, and none reaches beyond
    `min` and `max`, whatever its limit.
    """
    limits, counts = np.array(message.bucket_limit, np.float64), np.array(message.bucket, np.float64)
    if not len(counts) or len(counts) != len(limits):
        raise ValueError(f"expected as many limits as buckets, found {len(limits)} and {len(counts)}")
    if not (np.isfinite([message.min, message.max]).all() and np.isfinite(counts).all()) or np.isnan(limits).any():
        raise ValueError("expected finite numbers")
    if counts.min() < 0 or counts.sum() == 0 or message.min > message.max or (np.diff(limits) < 0).any():
        raise ValueError("expected counts of values between rising limits")
    edges = np.clip(np.concatenate([[message.min], limits]), message.min, message.max)
    edges[-1] = message.max
    return Histogram(edges, counts)


def _events(path: Path, complaints: list[str]) -> Iterator[Any]:
    """The events of a file up to its end or to the first record that is damaged, which adds a complaint."""
    with path.open("rb") as file:
        for count in range(1 << 62):
            try:
                record = _record(file)
                if record is None:
                    return
                event = Event.FromString(record)
            except (ValueError, DecodeError) as error:
                complaints.append(f"{path.name}: read up to event {count}; the rest is left out: {error}")
                return
            yield event


def _record(file: BinaryIO) -> bytes | None:
    """The data of the next record, None at the end of the file; raises ValueError if it is cut off or damaged."""
    header = file.read(12)
    if not header:
        return None
    if len(header) < 12:
        raise ValueError("the file is cut off")
    length, checksum = struct.unpack("<QI", header)
    if _masked_crc(header[:8]) != checksum or length > MOST_BYTES:
        raise ValueError("a record's length does not agree with its checksum")
    body = file.read(length + 4)
    if len(body) < length + 4:
        raise ValueError("the file is cut off")
    if _masked_crc(body[:-4]) != struct.unpack("<I", body[-4:])[0]:
        raise ValueError("a record does not agree with its checksum")
    return body[:-4]


def _masked_crc(data: bytes) -> int:
    """The checksum of TFRecord files: CRC-32C, rotated by 15 bits to the right, plus a constant."""
    checksum = crc32c(data)
    return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _purge(values: dict[str, dict[int, Any]], step: int) -> None:
    for tag, by_step in values.items():
        values[tag] = {at: value for at, value in by_step.items() if at < step}


def _in_order(values: dict[str, dict[int, Any]]) -> dict[str, dict[int, Any]]:
    return {tag: dict(sorted(by_step.items())) for tag, by_step in sorted(values.items()) if by_step}
