"""A workdir -> what its run recorded, as plain values; older versions wrote it too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from musicjax import config as config_lib
from musicjax import renamed
from musicjax.errors import RunError


def read_metrics(workdir: Path) -> list[dict]:
    """The lines of WORKDIR/metrics.jsonl by their present names, without a last one that is still being written.

    Raises:
        RunError: there are none, or one is not a line of metrics.
    """
    path = workdir / "metrics.jsonl"
    try:
        text = path.read_text(errors="replace") if path.is_file() else ""
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}; check its rights") from error
    whole = text.split("\n")[:-1]
    lines = [_line(line, f"{path}, line {number}") for number, line in enumerate(whole, 1) if line.strip()]
    if not lines:
        raise RunError(
            f"nothing to draw in {workdir}: no line in its metrics.jsonl; expected the folder of a run that has "
            "finished an epoch; name it with --workdir=DIR"
        )
    return lines


def _line(text: str, place: str) -> dict:
    try:
        line = json.loads(text)
        if type(line["epoch"]) is int and type(line["step"]) is int and type(line["split"]) is str:
            return renamed.metrics(line)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise RunError(f'{place}: expected an object with "split", "epoch" and "step", found {text[:60]!r}; remove it')


def read_object(path: Path, left_out: list[str]) -> dict[str, Any]:
    """The JSON object in a file; empty if there is no file, or if it cannot be read, which is added to `left_out`."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(errors="replace"))
    except (OSError, ValueError, RecursionError) as error:
        left_out.append(f"{path}: {error}")
        return {}
    if not isinstance(found, dict):
        left_out.append(f"{path}: expected an object")
        return {}
    return found


def part(values: dict[str, Any], name: str) -> dict[str, Any]:
    """The object of this name inside another; empty if there is none."""
    found = values.get(name)
    return found if isinstance(found, dict) else {}


def music_name(source: str) -> str:
    """A data source as a title names it: a folder without those above it."""
    return "the built-in corpus" if source == "builtin" else Path(source).name or "music"


def accuracy_meaning(settings: dict[str, Any]) -> tuple[str, str]:
    """`config.accuracy_meaning` for a config as it lies in a workdir; plain words where it does not tell."""
    try:
        return config_lib.accuracy_meaning(part(settings, "data")["encoding"])
    except (KeyError, TypeError):
        return "accuracy", "always the same answer"
