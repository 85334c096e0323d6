"""The workdir of a run: where it may be, whose it is, and what it says of its settings."""

from __future__ import annotations

import json
from pathlib import Path

from musicjax import config as config_lib
from musicjax import files
from musicjax.config import Config
from musicjax.corpus import corpus as corpus_lib
from musicjax.corpus.corpus import Outcome
from musicjax.errors import RunError, UsageError
from musicjax.store import checkpoint as checkpoint_lib


def require_folder(workdir: Path) -> None:
    """Raises RunError if no folder of this name can be made, or none that checkpoints can be saved in."""
    told = f"workdir {workdir} cannot be made"
    try:
        place = next(path for path in (workdir.absolute(), *workdir.absolute().parents) if path.exists())
        str(workdir.absolute()).encode()
    except UnicodeEncodeError as error:  # tensorstore takes no others
        raise RunError(f"{told}: its name is not UTF-8; name another with --workdir=DIR") from error
    except OSError as error:
        raise RunError(f"{told}: {error.strerror}; name another with --workdir=DIR") from error
    if not place.is_dir():
        raise RunError(f"{told}: {place} is not a folder; name another with --workdir=DIR")


def saved_config(workdir: Path) -> Config | None:
    """The config of the run whose checkpoint the workdir holds; None if it holds none.

    Raises:
        RunError: no checkpoint of those that are there is whole.
    """
    return checkpoint_lib.read_facts(workdir).config if checkpoint_lib.exists(workdir) else None


def write_settings(workdir: Path, config: Config, outcomes: list[Outcome]) -> None:
    """Makes the workdir with config.json and data.jsonl; raises RunError if it cannot be written."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        files.write(workdir / "config.json", json.dumps(config_lib.to_dict(config), indent=2) + "\n")
    except OSError as error:
        raise RunError(
            f"workdir {workdir} cannot be written: {error.strerror}; name another with --workdir=DIR"
        ) from error
    corpus_lib.write_report(outcomes, workdir / "data.jsonl")


def require_same_config(saved: Config, present: Config, workdir: Path) -> None:
    """Raises UsageError if the two would not be one run."""
    differing = config_lib.differences(saved, present)
    if differing:
        named = "; ".join(f"config.{path} is {old!r} there, {new!r} here" for path, old, new in differing)
        raise UsageError(f"workdir {workdir} holds another run: {named}; use the same values, or another --workdir")
