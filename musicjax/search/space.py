"""search.json: which fields are searched and where, how many trials, how long; and what trial k draws.

A draw is a function of the search's seed, the trial's number and the field's path. So trial 7 is the same however many
trials there are, and one more field changes none of the others.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import json
import math
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from musicjax import config as config_lib
from musicjax import config_fields
from musicjax.arguments import shown
from musicjax.config import Config
from musicjax.encodings import encoding as encoding_lib
from musicjax.errors import UsageError
from musicjax.search import halving as halving_lib

# Of each whole number in search.json: its range, and what it is.
NUMBERS = {
    "trials": (1, 10_000, "how many models are tried"),
    "epochs": (1, 1_000_000, "epochs of a full trial"),
    "halving": (0, 100, "1 in this many trials goes on after each rung; 0: all run in full"),
    "rungs": (0, 20, "how many rungs; 0: as few as keep the search short"),
    "seed": (0, 2**31 - 1, "decides what the trials draw"),
}
KEYS = ("fields", "minimise", *NUMBERS)
ENDS, SCALES = ("low", "high"), ("linear", "log")
# One compiled program serves all values of these fields.
SHARED = ("train.learning_rate", "model.dropout")
# Fields of config.data that do not change the music that is scored. Others, and those below, make losses that cannot be
# compared, or are not a trial's to choose.
OF_DATA = (
    "data.window",
    "data.transpose",
    "data.tempo_stretch_percent",
    "data.velocity_shift_bins",
    "data.match_share",
)
NOT_SEARCHED = {
    "seed": "trial k has the config's seed + k",
    "model.head": "the losses of different heads cannot be compared",
    "model.precision": "all trials have the same",
    "train.epochs": 'the key "epochs" says how long a trial trains',
    "train.patience": '"halving" decides when a trial ends',
    "train.trials": 'the key "trials" says how many there are',
    "train.learning_rates": "search train.learning_rate",
    "train.dropouts": "search model.dropout",
}
# Numbers are drawn with this many digits, so that they can be read and typed.
DIGITS = 4


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    is_log: bool
    is_whole: bool

    def at(self, share: float) -> float:
        """The number at this share of the range, 0 <= share < 1."""
        low, high = self.low, self.high + self.is_whole
        value = low * (high / low) ** share if self.is_log else low + (high - low) * share
        value = math.floor(value) if self.is_whole else float(f"{value:.{DIGITS}g}")
        return min(max(value, self.low), self.high)


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several values, all as likely."""

    values: tuple

    def at(self, share: float) -> Any:
        """The value at this share of the list, 0 <= share < 1."""
        return self.values[int(share * len(self.values))]


@dataclasses.dataclass(frozen=True)
class Search:
    """What search.json asks for; the meaning of the numbers is in NUMBERS.

    Attributes:
        fields: where each field is searched, by its path.
        minimise: the validation metric by which trials are compared.
    """

    fields: dict[str, Range | Choice]
    trials: int
    epochs: int
    minimise: str = "loss"
    halving: int = 3
    rungs: int = 0
    seed: int = 0

    def drawn(self, trial: int) -> dict[str, Any]:
        """The fields of a trial, by path."""
        return {path: where.at(self._share(trial, path)) for path, where in self.fields.items()}

    def _share(self, trial: int, path: str) -> float:
        return float(np.random.default_rng([self.seed, trial, zlib.crc32(path.encode())]).random())

    def config_of(self, trial: int, config: Config) -> Config:
        """The config of a full trial; raises UsageError if the fields that it draws do not go together."""
        own = {"name": f"{config.name}_best", "seed": config.seed + trial}
        return config_lib.with_fields(
            config, {**self.drawn(trial), **own, "train.epochs": self.epochs, "train.patience": 0}
        )


def shape(fields: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """What trials of one compiled program have in common: the fields that are not SHARED, with their values."""
    return tuple((path, value) for path, value in fields.items() if path not in SHARED)


def text(fields: dict[str, Any]) -> str:
    """Fields in words: their own names with their values."""
    return ", ".join(f"{path.split('.')[-1]} {_spelled(value)}" for path, value in fields.items())


def _spelled(value: Any) -> str:
    return f"{value:g}" if type(value) in (int, float) else str(value)


def read(path: Path, config: Config, given: Collection[str] = ()) -> tuple[Search | None, list[str]]:
    """(what the file asks for, []) or (None, what is wrong with it, a line each).

    Args:
        config: what the fields are set in.
        given: paths of fields that the command sets.
    """
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        return None, [f"{path}: {reason}; expected the JSON of a search, such as {EXAMPLE}"]
    if not isinstance(values, dict):
        return None, [f"{path}: expected a JSON object, found {type(values).__name__}, such as {EXAMPLE}"]
    found = {"epochs": config.train.epochs, **values}
    fields, wrong = _fields(found.get("fields"), config, given)
    wrong = [*_wrong_keys(found), *wrong, *_wrong_numbers(found, config), *_wrong_metric(found, config)]
    if "epochs" in values and "train.epochs" in given:
        wrong.append('"epochs" is in the file, and the command sets config.train.epochs: expected only one of them')
    if "train.patience" in given:
        wrong.append('the command sets config.train.patience: leave it out, "halving" decides when a trial ends')
    if not wrong:
        search = Search(**{**found, "fields": fields})
        wrong = _do_not_fit(search, config)
    return (None, [f"{path}: {line}" for line in wrong]) if wrong else (search, [])


EXAMPLE = '{"fields": {"train.learning_rate": {"low": 1e-5, "high": 1e-2, "scale": "log"}}, "trials": 50}'


def _wrong_keys(values: dict[str, Any]) -> list[str]:
    return [f"unknown key {shown(key)}: {_nearest(key, KEYS)}" for key in values if key not in KEYS]


def _nearest(word: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"expected {', '.join(known)}"


def _wrong_numbers(values: dict[str, Any], config: Config) -> list[str]:
    wrong = ['"trials" is missing: expected a number, as in "trials": 200'] if "trials" not in values else []
    for name, (low, high, meaning) in NUMBERS.items():
        value = values.get(name, low)
        if type(value) is not int or not low <= value <= high:
            wrong.append(f"{name}={shown(value)}: expected a whole number in {low}..{high} ({meaning})")
    if wrong:
        return wrong
    halving, count = values.get("halving", Search.halving), values.get("rungs", 0)
    most = halving_lib.most_rungs(values["epochs"], halving)
    if count > most:
        several = f"{values['epochs']} epochs and halving {halving}"
        wrong.append(f"rungs={count}: expected at most {most}, since there are {several}")
    if config.seed + values["trials"] > 2**31:
        wrong.append(f"trials={values['trials']}: config.seed={config.seed} leaves room for {2**31 - config.seed}")
    return wrong


def _wrong_metric(values: dict[str, Any], config: Config) -> list[str]:
    known = ["loss", *encoding_lib.of(config).measures]
    asked = values.get("minimise", "loss")
    if asked in known:
        return []
    if not isinstance(asked, str):
        return [f"minimise={shown(asked)}: expected one of {', '.join(known)}"]
    return [f"minimise={shown(asked)} is not a validation metric for which lower is better: {_nearest(asked, known)}"]


def _fields(asked: Any, config: Config, given: Collection[str]) -> tuple[dict[str, Range | Choice], list[str]]:
    """(where each field is searched, what is wrong)."""
    if not isinstance(asked, dict) or not asked:
        return {}, [f"fields={shown(asked)}: expected fields with ranges or lists of values, such as {EXAMPLE}"]
    found: dict[str, Range | Choice] = {}
    wrong = []
    for name, where in asked.items():
        path = config_fields.present_path(name)
        try:
            _require_searchable(path, config, given)
            if path in found:
                raise UsageError(f"config.{path} is given under two names: expected one of them")
            found[path] = _where(path, where, config)
        except UsageError as error:
            wrong.append(str(error))
    return found, wrong


def _require_searchable(path: str, config: Config, given: Collection[str]) -> None:
    config_lib.require_field(path)
    declared = {each: field for encoding in config_lib.ENCODINGS for each, field in _declared(encoding).items()}
    if path not in declared and path not in NOT_SEARCHED:
        raise UsageError(f"config.{path} is a section: expected one of its fields, such as {path}.NAME")
    reason = NOT_SEARCHED.get(path)
    if reason is None and declared[path].metadata["may_change"]:
        reason = "it does not change what a model learns"
    if path == "data.source" or (reason is None and path.startswith("data.") and path not in OF_DATA):
        reason = "the losses of trials with other music or other columns cannot be compared"
    if reason is not None:
        raise UsageError(f"config.{path} cannot be searched: {reason}")
    if path in given:
        raise UsageError(f"config.{path} is searched, and the command sets it: expected only one of them")
    if path not in {each for each, _, _ in config_lib.fields(config)}:
        default = declared[path].default
        config_lib.set_field(copy.deepcopy(config), path, default)  # which says which encodings have it


def _declared(encoding: str) -> dict[str, dataclasses.Field]:
    config = Config(data=config_lib.DataConfig(encoding=encoding))
    return {path: field for path, field, _ in config_lib.fields(config)}


def _where(path: str, where: Any, config: Config) -> Range | Choice:
    """Where a field is searched; raises UsageError if that is nowhere, or outside of its range."""
    field = {each: field for each, field, _ in config_lib.fields(config)}[path]
    if isinstance(where, list):
        values = tuple(config_fields.valid(path, field, value) for value in where)
        if not values:
            raise UsageError(f"config.{path}=[]: expected at least one value")
        if len(set(values)) < len(values):
            raise UsageError(f"config.{path}={shown(where)}: expected each value once")
        return Choice(values)
    kind = type(field.default)
    if kind not in (int, float):
        raise UsageError(f"config.{path}={shown(where)}: expected a list of values")
    if not isinstance(where, dict):
        raise UsageError(f'config.{path}={shown(where)}: expected a list of values, or {{"low": ..., "high": ...}}')
    for key in where:
        if key not in (*ENDS, "scale"):
            raise UsageError(f"config.{path}: unknown key {shown(key)}: {_nearest(key, (*ENDS, 'scale'))}")
    for key in ENDS:
        if key not in where:
            raise UsageError(f'config.{path}={shown(where)}: "{key}" is missing')
    low, high = (config_fields.valid(path, field, where[key]) for key in ENDS)
    if low >= high:
        raise UsageError(f"config.{path}: the range is empty, low={low:g} and high={high:g}: expected low below high")
    scale = where.get("scale", SCALES[0])
    if scale not in SCALES:
        raise UsageError(f"config.{path}: scale={shown(scale)}: expected {' or '.join(SCALES)}")
    if scale == "log" and low <= 0:
        raise UsageError(f"config.{path}: low={low:g} on a logarithmic scale: expected it above 0")
    return Range(low, high, scale == "log", kind is int)


def _do_not_fit(search: Search, config: Config) -> list[str]:
    """What is wrong with the first trial whose fields do not go together, if there is one."""
    for trial in range(search.trials):
        try:
            search.config_of(trial, config)
        except UsageError as error:
            return [f"trial {trial} draws {text(search.drawn(trial))}: {error}"]
    return []
