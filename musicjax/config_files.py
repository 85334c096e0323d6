"""Configs by name, as Python files and as JSON."""

from __future__ import annotations

import difflib
import json
import os
import runpy
from collections.abc import Collection
from pathlib import Path
from typing import Any

from musicjax import arguments, config_fields, console, renamed
from musicjax import config as config_lib
from musicjax.config import Config
from musicjax.errors import UsageError

# How many of the fields that a file lacks are named.
MOST_NAMED = 12


def names() -> list[str]:
    """Names of the configs that come with the program."""
    return sorted(path.stem for path in _folder().glob("*.py"))


def load(name_or_path: str | Config) -> Config:
    """A config by its name (`names()`), or from a .py file with get_config() or a .json file.

    A Config comes back as it is, if it is valid.

    Raises:
        UsageError: there is no such config, or the file does not give one that is valid.
    """
    if isinstance(name_or_path, Config):
        return config_lib.validate(name_or_path)
    name = renamed.CONFIGS.get(name_or_path, name_or_path)
    if name != name_or_path:
        console.say_once("renamed", f"config {name_or_path} is now {name}")
    path = Path(arguments.expanded(os.fspath(name)))
    if name in names():
        path = _folder() / f"{name}.py"
    elif path.suffix not in (".py", ".json") or not path.is_file():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UsageError(
            f"unknown config {name_or_path!r}: {hint}expected one of {', '.join(names())}, "
            "or the path of a .py or .json file"
        )
    try:
        return _load_json(path) if path.suffix == ".json" else _load_python(path)
    except UsageError as error:
        raise UsageError(f"config file {path}: {error}") from error


def to_dict(config: Config) -> dict:
    """The config as nested dicts of JSON values; fields of an own part stand in their section."""
    values: dict[str, Any] = {}
    for path, _, value in config_lib.fields(config):
        *section, name = path.split(".")
        owner = values.setdefault(section[0], {}) if section else values
        owner[name] = value
    return values


def from_dict(values: dict) -> Config:
    """The inverse of `to_dict`, validated; absent fields keep their defaults. Reads what 0.1.0 wrote too.

    Raises:
        UsageError: a field is unknown, of the wrong type, out of range, or not one of the encoding's.
    """
    config, found = Config(), dict[str, Any]()
    sections = {path.split(".")[0] for path in config_lib.paths() if "." in path}
    for section, content in values.items():
        if "." in section:
            outer, inner = section.split(".", 1)
            raise UsageError(f'config.{section}: expected it as {{"{outer}": {{"{inner}": ...}}}}')
        config_lib.require_field(section)
        if (section in sections) != isinstance(content, dict):
            expected = "an object with fields" if section in sections else "a value"
            raise UsageError(f"config.{section}={content!r}: expected {expected}")
        inner = {f"{section}.{name}": value for name, value in content.items()} if section in sections else {}
        for path, value in (inner or ({} if section in sections else {section: content})).items():
            config_lib.require_field(path)
            if isinstance(value, dict):
                raise UsageError(f"config.{path}={value!r}: expected a value")
            found[path] = value
    config_lib.set_fields(config, _of_its_encoding(found), strict=False)
    return config_lib.validate(config)


def _of_its_encoding(found: dict[str, Any]) -> dict[str, Any]:
    """The values without those of other encodings, which 0.1.0 saved too but never used.

    A file of 0.1.0 is recognised by having fields of all encodings.
    """
    if not {"data.per_beat", "data.duration", "data.louder"} <= set(found):
        return found
    encoding = found.get("data.encoding", "notes")
    if encoding not in config_lib.ENCODINGS:
        return found
    own = {path for path, _, _ in config_lib.fields(Config(data=config_lib.DataConfig(encoding=encoding)))}
    # Before frames could see a match, every file had a share of 0.9, which only events used. Such a file has the
    # newest field of that time, sample.soundfont, and not the next, sample.every.
    if encoding == "frames" and "sample.soundfont" in found and "sample.every" not in found:
        found = {**found, "data.echo": 0.0}
    return {path: value for path, value in found.items() if renamed.FIELDS.get(path, path) in own | {"model.head"}}


def describe(config: Config, without: Collection[str] = ()) -> list[str]:
    """Two lines for each field that is not in `without`: its flag with its value, and its meaning."""
    lines = []
    for path, field, value in config_lib.fields(config):
        if path not in without:
            allowed = " or ".join(field.metadata["choices"])
            meaning = f"{field.metadata['meaning']}{f' ({allowed})' if allowed else ''}"
            lines += [f"  --config.{path}={value}", f"      {meaning}"]
    return lines


def _load_json(path: Path) -> Config:
    try:
        values = json.loads(path.read_bytes())  # UTF-8, whatever the system's own encoding is
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{error}; expected the JSON of a config") from error
    if not isinstance(values, dict):
        raise UsageError(f"expected a JSON object, found {type(values).__name__}")
    config = from_dict(values)
    _say_defaults(config, values, path)
    return config


def _say_defaults(config: Config, values: dict, path: Path) -> None:
    """Names the fields that a file lacks. Files of older versions lack newer fields, so it may lack any."""
    given = {
        config_fields.present_path(f"{section}.{name}" if isinstance(content, dict) else section)
        for section, content in values.items()
        for name in (content if isinstance(content, dict) else [""])
    }
    taken = [f"{field}={value}" for field, _, value in config_lib.fields(config) if field not in given]
    if taken:
        more = f" and {len(taken) - MOST_NAMED} more" * (len(taken) > MOST_NAMED)
        lacks = "field is" if len(taken) == 1 else "fields are"
        takes = "takes its default" if len(taken) == 1 else "take defaults"
        named = ", ".join(taken[:MOST_NAMED]) + more
        console.say_once("config", f"{len(taken)} {lacks} not in {path} and {takes}: {named}")


def _load_python(path: Path) -> Config:
    try:
        get_config = runpy.run_path(str(path)).get("get_config")
        if not callable(get_config):
            raise UsageError("expected a function get_config()")
        config = get_config()
    except UsageError:
        raise
    except (Exception, SystemExit) as error:  # whatever the user's file does
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise UsageError(f"{said}; expected Python code whose get_config() returns a config") from error
    if not isinstance(config, Config):
        raise UsageError(f"get_config() returned {type(config).__name__}, expected musicjax.Config")
    return config_lib.validate(config)


def _folder() -> Path:
    """configs/ inside the installed package, or beside it in a checkout."""
    installed = Path(__file__).parent / "configs"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "configs"
