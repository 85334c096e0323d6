"""One writing of a folder of shards: what is asked for, how far it is, and whether what is there is the same."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from musicjax import console, files
from musicjax.config import DataConfig
from musicjax.corpus.find import BEGAN, LACKING, WORK, holds_shards, lacks_manifest
from musicjax.errors import RunError, UsageError
from musicjax.music import READER_VERSION
from musicjax.shards import shards, sources
from musicjax.shards.runners import Function, Runner
from musicjax.shards.sources import DOWNLOADED
from musicjax.version import __version__

# Fields of the config that shape shards, whatever the encoding.
FIELDS = ("percussion", "sustain", "tracks", "validation_fraction", "split_seed", "duplicates")
LOCK = "lock"  # a file of whoever writes
MENDED = "mended"  # the folder of files written anew, among what is not finished


class RowSettings(NamedTuple):
    """What an encoding says of its rows: fields of the config that shape them, by path, as JSON values; whether
    instruments are told apart."""

    fields: Mapping[str, Any]
    keep_instruments: bool


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be written.

    Attributes:
        data: the source and how it is read and split.
        rows: how its pieces become rows.
        output: the folder of shards.
        runner: who does the tasks.
    """

    data: DataConfig
    rows: RowSettings
    output: Path
    runner: Runner

    @property
    def work(self) -> Path:
        """Where what is not finished lies."""
        return self.output / WORK

    @property
    def settings(self) -> dict[str, Any]:
        """The fields of the config that shape the shards, by path."""
        return {f"data.{name}": getattr(self.data, name) for name in FIELDS} | dict(self.rows.fields)

    def run(
        self,
        label: str,
        function: Function,
        requests: Sequence[dict[str, Any]],
        sizes: Sequence[int],
        unit: str,
    ) -> None:
        """Does tasks, with a progress bar; sizes: how many units each task is."""
        if not requests:
            return
        with console.bar(label, sum(sizes), unit=unit, rate=True) as update:
            done = 0
            for index, _ in self.runner.results(function, requests):
                done += sizes[index]
                update(done)

    @contextlib.contextmanager
    def begun(self) -> Iterator[None]:
        """Notes how the job begins, or requires that what is there began so; says how far it is if there is no room.

        Raises:
            RunError: what was begun there is another job; or there is no room.
        """
        path = self.work / BEGAN
        began = {"settings": self.settings, "source": self.data.source, "versions": versions()}
        try:
            if path.is_file() and self._has_results():
                require_same(self.output, json.loads(path.read_text()), began)
                console.say("shards", f"{self.output}: goes on with what is there")
            else:
                self.work.mkdir(parents=True, exist_ok=True)
                files.write(path, json.dumps(began))
            yield
        except OSError as error:
            if error.errno not in shards.NO_ROOM:
                raise
            raise RunError(
                f"shards {self.output}: {os.strerror(error.errno)}; {self._how_far()}; make room there, and the same "
                "command goes on"
            ) from error
        finally:
            if not self._has_results():
                files.remove(self.work)

    def _has_results(self) -> bool:
        """Whether anything is done that a later start need not do again: downloaded, unpacked or read."""
        kinds = (f"{DOWNLOADED}/*", f"{MENDED}/*", "archive-*.json", "read-*.jsonl")
        return any(True for kind in kinds for _ in self.work.glob(kind))

    def _how_far(self) -> str:
        """How many lists of files are read, and how many shards are written."""
        lists, read, written = (len([*self.work.glob(f"{kind}-*.json*")]) for kind in ("list", "read", "shard"))
        return (
            f"{read} of {console.counted(lists, 'list')} of files are read, {console.counted(written, 'shard')} written"
        )


def versions() -> dict[str, Any]:
    """The versions of what writes shards."""
    return {"format": shards.FORMAT_VERSION, "reader": READER_VERSION, "musicjax": __version__}


def require_same(output: Path, there: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raises RunError if what is in a folder of shards is another job than what is asked for.

    Args:
        there, asked: {"settings", "source", "versions"}; of the versions those that are asked for count.
    """
    fields: dict[str, tuple[Any, Any]] = {}
    if not sources.is_same(there["source"], asked["source"]):
        fields["--data"] = there["source"], asked["source"]
    fields |= {f"--config.{name}": (there["settings"].get(name), value) for name, value in asked["settings"].items()}
    fields |= {f"version of {name}": (there["versions"].get(name), value) for name, value in asked["versions"].items()}
    for name, (old, new) in fields.items():
        if old != new:
            raise RunError(
                f"shards {output}: they were begun with {name}={old}, not {new}; expected the same, or another --output"
            )


def require_place(output: Path) -> None:
    """Raises UsageError if a folder can be no folder of shards, because of its name or of what it holds."""
    try:
        str(output).encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"--output={output!r}: expected a path in UTF-8, which array_record needs") from error
    if not output.exists():
        return
    if not output.is_dir():
        raise UsageError(f"--output={output} is a file: expected a new folder, or one of shards")
    if holds_shards(output) or (output / WORK / BEGAN).is_file():
        return
    if lacks_manifest(output):
        raise UsageError(f"--output={output}: {LACKING}")
    others = sorted(path.name for path in output.iterdir() if path.name not in (WORK, LOCK))
    if others:
        raise UsageError(
            f"--output={output} holds {others[0]}, which does not belong to shards: expected a new folder, an empty "
            "one, or one of shards; name another"
        )


def remove_if_empty(output: Path) -> None:
    """Removes a folder in which nothing was written; says nothing if it cannot."""
    with contextlib.suppress(OSError):
        output.rmdir()
