"""The smallest run of each encoding. Tests that train use these, so that most programs are compiled once a session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import musicjax
from musicjax import config as config_lib
from musicjax.config import Config

FIELDS: dict[str, Any] = {
    "data.window": 8,
    "data.workers": 1,
    "model.units": 8,
    "model.precision": "float32",
    "train.batch_size": 64,
    "train.epochs": 3,
    "train.histograms": False,
    "sample.num_outputs": 1,
    "sample.num_notes": 4,
    "sample.audio": "none",
}
# By encoding: the config, and what else is set.
ENCODINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "notes": ("small", {}),
    "frames": ("frames_bernoulli_match", {"data.per_beat": 4, "data.onsets": True, "sample.num_notes": 32}),
    "events": ("events", {"model.head_units": 8, "model.embedding": 8, "sample.num_notes": 16}),
}


def config_of(source: Path | str, encoding: str = "notes", **changes: Any) -> Config:
    """The tiny config of an encoding on this music; changes by path, such as "train.epochs"."""
    name, own = ENCODINGS[encoding]
    config = musicjax.load_config(name)
    config_lib.set_fields(config, {**FIELDS, **own, "data.source": str(source), **changes})
    return config_lib.validate(config)


def flags(workdir: Path, source: Path | str, encoding: str = "notes", **changes: Any) -> list[str]:
    """The same as flags of the command line."""
    name, own = ENCODINGS[encoding]
    values = {**FIELDS, **own, "data.source": str(source), **changes}
    listed = {path: ",".join(map(str, value)) if type(value) is tuple else value for path, value in values.items()}
    return [f"--config={name}", f"--workdir={workdir}", *(f"--config.{path}={value}" for path, value in listed.items())]
