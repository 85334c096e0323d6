"""What 0.1.0 called things, and what they are called now: one table for flags, configs, runs and metrics."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from musicjax import console
from musicjax.errors import UsageError

T = TypeVar("T", bound=Callable)

# Fields of a config, as --config.FIELD, in Python, in config.json and in checkpoints.
FIELDS = {
    "data.echo": "data.match_share",
    "data.louder": "data.velocity_shift_bins",
    "data.tempo_percent": "data.tempo_stretch_percent",
}
# Configs by name.
CONFIGS = {"frames_bernoulli_echo": "frames_bernoulli_match", "frames_nade_echo": "frames_nade_match"}
# Flags of the commands.
FLAGS = {"echo": "longest_match"}
# Names of the Python interface.
PYTHON = {"Setting": "SamplingParams"}
# Keywords of its functions and classes.
KEYWORDS = {"SamplingParams": {"echo": "longest_match"}, "generate": {"settings": "sampling"}}
# Items of a checkpoint, and fields of its metadata.
CHECKPOINT = {"facts": "metadata"}
# Fields of a line of metrics.jsonl; and those that repeated `accuracy` under another name.
METRICS = {"majority_agreement": "majority_accuracy"}
DUPLICATES = ("argmax_agreement", "key_agreement", "bin_agreement")


def metrics(line: dict) -> dict:
    """A line of metrics.jsonl, of this version or of 0.1.0, under the present names."""
    present = {METRICS.get(name, name): value for name, value in line.items() if name not in DUPLICATES}
    duplicate = next((line[name] for name in DUPLICATES if name in line), None)
    if duplicate is not None and "accuracy" not in present:  # as runs before 0.1.0 have it
        present["accuracy"] = duplicate
    return present


def takes_old_keywords(called: T) -> T:
    """Lets a function or a constructor take its keywords of 0.1.0, and prints a line for each.

    It raises UsageError if one is given under both names.
    """
    names = KEYWORDS[called.__name__]
    function = called.__init__ if isinstance(called, type) else called  # type: ignore[misc]

    @functools.wraps(function)
    def with_old_keywords(*values: Any, **named: Any) -> Any:
        for old, present in names.items():
            if old not in named:
                continue
            if present in named:
                raise UsageError(f"{called.__name__}: {old} and {present} are the same: expected one of them")
            console.say_once("renamed", f"{called.__name__}({old}=...) is now {called.__name__}({present}=...)")
            named[present] = named.pop(old)
        return function(*values, **named)

    if isinstance(called, type):
        called.__init__ = with_old_keywords  # type: ignore[misc]
        return called
    return with_old_keywords  # type: ignore[return-value]
