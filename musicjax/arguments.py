"""Checks the arguments of the Python interface: types and ranges, with one line for each fault."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from musicjax.errors import UsageError


def require(name: str, value: Any, kind: Any, expected: str) -> None:
    """Raises UsageError, which says what was expected, unless the value is of this type."""
    if not isinstance(value, kind):
        raise wrong(name, value, expected)


def require_number(name: str, value: Any, kind: type, low: float, high: float) -> None:
    """Raises UsageError unless the value is a number in low..high; `kind` is int for whole numbers, else float."""
    meant = "a whole number" if kind is int else "a number"
    wanted: Any = numbers.Integral if kind is int else numbers.Real
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise wrong(name, value, f"{meant} in {low}..{high}")
    if not low <= value <= high:  # also refuses nan
        raise UsageError(f"{name}={shown(value)}: expected {low}..{high}")


def list_of(name: str, value: Any, kind: Any, expected: str) -> list[Any]:
    """The items of a list, a tuple or an array; raises UsageError unless all of them are of this type."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise wrong(name, value, expected)
    items = list(value)
    for item in items:
        require(name, item, kind, expected)
    return items


def path_of(name: str, value: Any, expected: str) -> Path:
    """The value as a path, as `expanded` gives it.

    Raises:
        UsageError: it cannot be a path, or begins with the home folder of an unknown user.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise wrong(name, value, expected)
    path = Path(expanded(text))
    if _is_at_home(path) and not os.path.exists(path):
        raise UsageError(f"{name}={shown(text)}: there is no home folder {path.parts[0]} here; expected {expected}")
    return path


def expanded(text: str) -> str:
    """A path whose leading ~ or ~USER is replaced by that home folder; an unknown user stays as it is.

    A path such as ./~ becomes absolute: `Path` drops the dot, and the next expansion would take it for home.
    """
    return os.path.expanduser(text) if text.startswith("~") or not _is_at_home(Path(text)) else os.path.abspath(text)


def _is_at_home(path: Path) -> bool:
    return bool(path.parts) and path.parts[0].startswith("~")


def wrong(name: str, value: Any, expected: str) -> UsageError:
    """The error for an argument that is not what was expected."""
    return UsageError(f"{name}={shown(value)}: expected {expected}")


def shown(value: Any) -> str:
    """The value as a message shows it, shortened where it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python does not write such a number out
        return "a number of thousands of digits"
    return text if len(text) <= 100 else f"{text[:60]}...{text[-20:]}"
