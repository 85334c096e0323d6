"""Writes metrics.jsonl and TensorBoard's scalars, histograms, graph and pictures. The only importer of its writer."""

from __future__ import annotations

import collections
import contextlib
import errno
import json
import os
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.graph_pb2 import GraphDef
from tensorboardX.proto.summary_pb2 import HistogramProto, Summary

from musicjax import console, files, renamed
from musicjax.errors import RunError
from musicjax.training.histograms import Buckets

# Fields that tell which trial a line is about.
NAMES_OF_TRIALS = ("trial", "seed", "dropout")
# An epoch has a line for training and one for validation, or as many of each as there are trials.
LINES_AN_EPOCH = 2
# How a PNG file begins; then come width and height, 4 bytes each, the bits of a channel and the kind of pixels.
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}


class Recorder:
    """Appends the metrics of each epoch to the workdir; close it when done.

    What was recorded after `epoch`, by a run that was cut off before its checkpoint, is discarded.

    Raises:
        RunError: recording failed, here or in a method; metrics.jsonl holds whole lines even then.
    """

    def __init__(self, workdir: Path, epoch: int, step: int):
        self._workdir = workdir
        path = workdir / "metrics.jsonl"
        with self._told():
            lines = path.read_text(errors="replace").splitlines() if epoch and path.is_file() else []
            _say_lost(path, lines, epoch)
            files.write(path, "".join(line + "\n" for line in map(_present, lines) if _is_of(line, epoch)))
            # Without a buffer, so that nothing is left over from a write that failed.
            self._file = path.open("ab", buffering=0)
            self._size = path.stat().st_size
            (workdir / "tensorboard").mkdir(exist_ok=True)
            # tensorboardX's SummaryWriter leaves events to a thread, which dies with a killed run. Its file names
            # count seconds, so a second recorder within one would overwrite the file of the first.
            self._board = EventsWriter(str(workdir / "tensorboard" / "events"), f".{os.getpid()}.{time.time_ns()}")
            self._post(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def write(self, split: str, epoch: int, step: int, lines: list[dict[str, float]]) -> None:
        """Records a line {"split", "epoch" from 1, "step", ...} for each trial, and means as TensorBoard scalars."""
        records = [json.dumps({"split": split, "epoch": epoch, "step": step, **metrics}) + "\n" for metrics in lines]
        with self._told():
            self._append("".join(records).encode())
            self._post(Event(step=step, summary=_scalars(split, means(lines).items())))
            self._board.flush()

    def batches(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Records a scalar `batch/NAME` at each of the S steps up to `step`, from arrays [S]; `write` flushes them."""
        first = step + 1 - len(next(iter(values.values())))
        with self._told():
            for at, row in enumerate(zip(*(array.tolist() for array in values.values()), strict=True), first):
                self._post(Event(step=at, summary=_scalars("batch", zip(values, row, strict=True))))

    def scalars(self, group: str, step: int, values: Mapping[str, float]) -> None:
        """Records a TensorBoard scalar `GROUP/NAME` for each value."""
        with self._told():
            self._post(Event(step=step, summary=_scalars(group, values.items())))
            self._board.flush()

    def histograms(self, step: int, histograms: Mapping[str, Buckets]) -> None:
        """Records a histogram for each tag; skips numbers that are not finite and says so. `write` flushes them."""
        values = []
        for tag, buckets in histograms.items():
            if np.isfinite(buckets.sum_of_squares):
                values.append(Summary.Value(tag=tag, histo=_histogram(buckets)))
            else:
                console.say_once("board", f"no histogram of {tag}: its numbers are not all finite")
        with self._told():
            self._post(Event(step=step, summary=Summary(value=values)))

    def graph(self, graph: GraphDef) -> None:
        """Records the network's graph, which belongs to the run and not to a step."""
        with self._told():
            self._post(Event(graph_def=graph.SerializeToString()))
            self._board.flush()

    def picture(self, tag: str, step: int, png: bytes) -> None:
        """Records a picture, from the bytes of a PNG file; raises ValueError if they are something else."""
        if not png.startswith(PNG) or len(png) < len(PNG) + 13:
            raise ValueError(f"{tag}: expected the bytes of a PNG file, found {png[:16]!r}")
        width, height, _, kind = struct.unpack_from(">IIBB", png, len(PNG))
        image = Summary.Image(width=width, height=height, colorspace=CHANNELS[kind], encoded_image_string=png)
        with self._told():
            self._post(Event(step=step, summary=Summary(value=[Summary.Value(tag=tag, image=image)])))
            self._board.flush()

    def sync(self) -> None:
        """Returns once the lines are on the disk: no checkpoint may exist without them."""
        with self._told():
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the files: nothing can be recorded afterwards."""
        self._file.close()
        with contextlib.suppress(OSError):  # every write was flushed, and raised then if it failed
            self._board.close()

    def _post(self, event: Event) -> None:
        event.wall_time = time.time()
        self._board.write_event(event)

    def _append(self, data: bytes) -> None:
        try:
            written = self._file.write(data)
            if written != len(data):  # the disk is full in the middle of a line
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(self._size)
            raise
        self._size += len(data)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunError(
                f"metrics cannot be recorded in {self._workdir}: {error.strerror or error}; check space and "
                "permissions there and start again: the run goes on after the last epoch that was saved"
            ) from error


def means(lines: list[dict[str, float]]) -> dict[str, float]:
    """Each metric's mean over trials, without what names them."""
    return {name: float(np.mean([line[name] for line in lines])) for name in lines[0] if name not in NAMES_OF_TRIALS}


def _scalars(group: str, values: Iterable[tuple[str, float]]) -> Summary:
    return Summary(value=[Summary.Value(tag=f"{group}/{name}", simple_value=value) for name, value in values])


def _histogram(buckets: Buckets) -> HistogramProto:
    return HistogramProto(
        min=float(buckets.low),
        max=float(buckets.high),
        num=float(buckets.counts.sum()),
        sum=float(buckets.sum),
        sum_squares=float(buckets.sum_of_squares),
        bucket_limit=buckets.edges[1:].tolist(),
        bucket=buckets.counts.tolist(),
    )


def _present(line: str) -> str:
    """A line that 0.1.0 wrote, with the present names; any other line as it is."""
    try:
        metrics = json.loads(line)
        present = renamed.metrics(metrics)
    except (ValueError, AttributeError, RecursionError):
        return line
    return line if present == metrics else json.dumps(present)


def _is_of(line: str, epoch: int) -> bool:
    """Whether a line belongs to a finished epoch. A line that was cut off does not; its epoch is trained again."""
    found = _epoch_of(line)
    return found is not None and found <= epoch


def _epoch_of(line: str) -> int | None:
    """The epoch of a line; None if it cannot be read."""
    try:
        epoch = json.loads(line)["epoch"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return epoch if type(epoch) is int else None


def _say_lost(path: Path, lines: list[str], epoch: int) -> None:
    """Says which line is damaged where finished epochs lack lines; one that a kill cut off is of a later epoch."""
    found = [_epoch_of(line) for line in lines]
    counts = collections.Counter(found)
    lost = [number for number in range(1, epoch + 1) if counts[number] < LINES_AN_EPOCH]
    damaged = [number for number, of_line in enumerate(found, 1) if of_line is None]
    if lost and (damaged or not lines):
        where = f"line {damaged[0]} cannot be read and is removed" if damaged else "it holds no line"
        first = f", the first of them epoch {lost[0]}" if len(lost) > 1 else f", epoch {lost[0]}"
        console.say(
            "metrics",
            f"{path} is damaged: {where}; the curves lack {console.counted(len(lost), 'epoch')}{first}; the model is "
            "whole",
        )
