"""What a search begins with: its precision, and what the workdir says of it, so that it goes on as it began."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from musicjax import config as config_lib
from musicjax import config_files, files
from musicjax.config import Config
from musicjax.encodings import encoding as encoding_lib
from musicjax.encodings.encoding import Dataset
from musicjax.errors import RunError, UsageError
from musicjax.run import device
from musicjax.run import workdir as workdir_lib
from musicjax.search import results, space
from musicjax.search.space import Search
from musicjax.store import checkpoint as checkpoint_lib
from musicjax.training import mesh

# What was asked for, as --search reads it; the config that the fields are set in; and which data they learn from.
ASKED, CONFIG, DATA = "search.json", "config.json", "data.json"


def as_it_began(asked: Search, config: Config, workdir: Path) -> Config:
    """The config, in the precision of the search that the workdir holds, if it holds one.

    Raises:
        UsageError: it holds another search, or a run.
        RunError: what it holds cannot be read.
    """
    if checkpoint_lib.exists(workdir):
        raise UsageError(f"workdir {workdir} holds a run, not a search: use another --workdir")
    if not (workdir / DATA).exists():  # the last of the three to be written
        return config
    try:
        before = json.loads((workdir / ASKED).read_text(encoding="utf-8"))
        saved = config_files.load(str(workdir / CONFIG))
        told = [
            f"{name} is {before.get(name)!r} in the search, {value!r} here"
            for name, value in _as_json(asked).items()
            if before.get(name) != value
        ]
    except (OSError, ValueError, AttributeError) as error:
        raise RunError(f"search {workdir} cannot be read: {error}; use another --workdir") from error
    if config.model.precision == "auto":
        config = config_lib.with_fields(config, {"model.precision": saved.model.precision})
    fields = config_lib.differences(saved, config)
    if told or fields:
        told += [workdir_lib.told(fields)] if fields else []
        raise UsageError(f"workdir {workdir} holds another search: {'; '.join(told)}; use another --workdir")
    return config


def require_divisible(asked: Search, config: Config) -> None:
    """Raises UsageError if there are fewer devices than the config wants, or a trial's batches cannot be divided."""
    devices, field = mesh.make(config.train.devices), "train.batch_size"
    sizes = {asked.drawn(trial).get(field, config.train.batch_size) for trial in range(asked.trials)}
    for size in sorted(sizes):
        mesh.require_divisible(size, devices, config.train.accumulate)


def with_precision(asked: Search, config: Config) -> Config:
    """The config with its precision decided, by the largest network for all trials; says it."""
    where = asked.fields.get("model.units")
    units = config.model.units
    if where is not None:
        units = max(where.values) if isinstance(where, space.Choice) else int(where.high)
    largest, why = device.with_precision(config_lib.with_fields(config, {"model.units": units}), None)
    device.say(largest.model.precision, why, mesh.make(config.train.devices))
    return config_lib.with_fields(config, {"model.precision": largest.model.precision})


def settled(asked: Search, config: Config, dataset: Dataset, workdir: Path) -> Config:
    """Writes what the search is, or compares it with what the workdir says; returns the config of all processes.

    Raises:
        UsageError: the workdir holds another search, or a run.
        RunError: the search is of other data, or cannot be written.
    """
    with results.told(workdir):
        if not (workdir / DATA).exists():
            files.write(workdir / ASKED, json.dumps(_as_json(asked), indent=2) + "\n")
            files.write(workdir / CONFIG, json.dumps(config_files.to_dict(config), indent=2) + "\n")
            files.write(workdir / DATA, json.dumps({"sha256": dataset.fingerprint.sha256}) + "\n")
        began = json.loads((workdir / DATA).read_text(encoding="utf-8"))["sha256"]
    config = as_it_began(asked, config, workdir)
    encoding_lib.require_same(dataset.fingerprint, config.data.source, began, config.data.source, workdir)
    return config


def _as_json(asked: Search) -> dict[str, Any]:
    """What was asked for, in full, as --search reads it."""
    fields: dict[str, Any] = {}
    for path, where in asked.fields.items():
        if isinstance(where, space.Choice):
            fields[path] = list(where.values)
        else:
            fields[path] = {"low": where.low, "high": where.high, "scale": space.SCALES[where.is_log]}
    return {**dataclasses.asdict(asked), "fields": fields}
