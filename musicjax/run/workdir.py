"""The workdir of a run: where it may be, which run it holds, and with which settings."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from musicjax import config as config_lib
from musicjax import config_files, console, files
from musicjax.config import Config
from musicjax.corpus import corpus as corpus_lib
from musicjax.corpus.corpus import Outcome
from musicjax.errors import RunError, UsageError
from musicjax.store import checkpoint as checkpoint_lib
from musicjax.store.metadata import Metadata

# Names of a checkpoint while it is written (by orbax, then by us) and while it is removed.
OF_CHECKPOINTS = re.compile(r"\d+(\.partial)?\.orbax-checkpoint-tmp.*|\d+\.(partial|deleting)")
# Other files while they are written, by this version and by 0.1.0.
OF_WORKDIR = re.compile(
    r"(\..*-)?(config\.json|init_from\.json|data\.jsonl|trials\.jsonl|metrics\.jsonl|report\.html)\.partial"
)
OF_SAMPLES = re.compile(r"\..*\.(mid|wav|flac|ogg|json)\.partial")


def require_folder(workdir: Path) -> None:
    """Raises RunError if no folder with this name can be made, or checkpoints could not be saved in it."""
    cannot = f"workdir {workdir} cannot be made"
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            workdir.stat()  # a loop of links raises, and only looks absent to what follows
        place = next(path for path in (workdir.absolute(), *workdir.absolute().parents) if path.exists())
        str(workdir.absolute()).encode()
    except UnicodeEncodeError as error:  # tensorstore takes no other names
        raise RunError(f"{cannot}: its name is not UTF-8; name another with --workdir=DIR") from error
    except OSError as error:
        raise RunError(f"{cannot}: {error.strerror}; name another with --workdir=DIR") from error
    if not place.is_dir():
        raise RunError(f"{cannot}: {place} is not a folder; name another with --workdir=DIR")


def saved_metadata(workdir: Path) -> Metadata | None:
    """The metadata of the run whose checkpoint the workdir holds; None if it holds none.

    Raises:
        RunError: it holds checkpoints, but no whole one.
    """
    return checkpoint_lib.read_metadata(workdir) if checkpoint_lib.exists(workdir) else None


def write_settings(workdir: Path, metadata: Metadata, outcomes: list[Outcome]) -> None:
    """Makes the workdir with config.json, data.jsonl and, if the run has an origin, init_from.json.

    Raises:
        RunError: it cannot be written.
    """
    written = {"config.json": config_files.to_dict(metadata.config)}
    if metadata.origin is not None:
        written["init_from.json"] = dataclasses.asdict(metadata.origin)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        for name, values in written.items():
            files.write(workdir / name, json.dumps(values, indent=2) + "\n")
    except OSError as error:
        raise RunError(
            f"workdir {workdir} cannot be written: {error.strerror}; name another with --workdir=DIR"
        ) from error
    if outcomes:  # shards have a report of their own
        corpus_lib.write_report(outcomes, workdir / "data.jsonl")


def require_same_config(saved: Config, present: Config, workdir: Path) -> None:
    """Raises UsageError if the two configs do not belong to one run."""
    differing = config_lib.differences(saved, present)
    if differing:
        raise UsageError(
            f"workdir {workdir} holds another run: {told(differing)}; use the same values, or another --workdir"
        )


def told(differing: list[tuple[str, Any, Any]]) -> str:
    """Fields that differ, (path, saved value, present value), in words; if the encoding does, only that one."""
    encoding = [one for one in differing if one[0] == "data.encoding"]
    return "; ".join(
        f"config.{path} is {saved!r} in the run, {present!r} here" for path, saved, present in encoding or differing
    )


def remove_partial_files(workdir: Path) -> int:
    """Removes the partial files of saves that were cut off, says so, and returns how many there were.

    Such files are never read. Call it only while nothing trains in the workdir.
    """
    found: list[Path] = []
    for folder, pattern in (
        (workdir / "checkpoints", OF_CHECKPOINTS),
        (workdir, OF_WORKDIR),
        (workdir / "samples", OF_SAMPLES),
        (workdir / "samples" / "real", OF_SAMPLES),
    ):
        if folder.is_dir():
            found += sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name))
    for path in found:
        files.remove(path)
    if found:
        names = ", ".join(str(path.relative_to(workdir)) for path in found)
        what = f"{console.counted(len(found), 'partial file')} that interrupted saves left"
        if len(found) == 1:
            what = "1 partial file that an interrupted save left"
        console.say("removed", f"{what}: {names}")
    return len(found)
