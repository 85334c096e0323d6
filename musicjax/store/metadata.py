"""The metadata of a run: what a checkpoint holds besides arrays, as JSON, and the checks when it is read."""

from __future__ import annotations

import copy
import dataclasses
import importlib.metadata
import math
import platform
from typing import Any

from musicjax import config as config_lib
from musicjax import config_files
from musicjax.config import Config
from musicjax.encodings import encoding
from musicjax.errors import UsageError
from musicjax.version import __version__

# Fields that 0.1.0 did not have, and the values with which a run does as it did then.
AS_0_1_0 = {"data.duplicates": "keep"}


@dataclasses.dataclass(frozen=True)
class Origin:
    """The origin of the weights that a run began with.

    Attributes:
        path: the workdir of the run that trained them, or "builtin".
        sha256: of the weights.
        epoch: in which they had the lowest validation loss.
    """

    path: str
    sha256: str
    epoch: int


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a trial has come: its lowest validation loss; diverged: the epoch when a loss was not finite, or 0."""

    best_epoch: int = 0
    best_loss: float = math.inf
    diverged: int = 0


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What a checkpoint holds besides arrays.

    Attributes:
        epoch: epochs finished.
        best_epoch, best_loss: the lowest validation loss of all trials and its epoch.
        config: of the run.
        learned: constants that its encoding learned from the training data, as JSON values.
        fingerprint: of the data.
        versions: of the program and of the libraries that it computes with.
        best_trial: the one with the lowest loss.
        trials: the progress of each; a single model is one trial.
        origin: of the weights that it began with; None: they were random.
        older: paths of fields that the config did not have when the run began.
    """

    epoch: int
    best_epoch: int
    best_loss: float
    config: Config
    learned: dict[str, Any]
    fingerprint: str
    versions: dict[str, str]
    best_trial: int = 0
    trials: tuple[Progress, ...] = (Progress(),)
    origin: Origin | None = None
    older: tuple[str, ...] = ()


def versions() -> dict[str, str]:
    """Versions of the program and of what its numbers depend on."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "mido")
    found = {"musicjax": __version__, "python": platform.python_version()}
    return found | {package: importlib.metadata.version(package) for package in packages}


def as_it_began(config: Config, metadata: Metadata) -> Config:
    """The config under which a run goes on: where fields are newer than the run, it does what it did without them.

    Only a field's default gives way; any other value was asked for, and is refused where it differs from the run's.
    """
    config = copy.deepcopy(config)
    own, default = ({path: value for path, _, value in config_lib.fields(one)} for one in (config, Config()))
    for path in metadata.older:
        if own.get(path) == default.get(path):
            config_lib.set_field(config, path, AS_0_1_0[path])
    return config


def to_saved(metadata: Metadata) -> dict[str, Any]:
    """The metadata as JSON values."""
    fields = {field.name: getattr(metadata, field.name) for field in dataclasses.fields(metadata)}
    trials = [dataclasses.asdict(progress) for progress in metadata.trials]
    origin = None if metadata.origin is None else dataclasses.asdict(metadata.origin)
    return fields | {"config": config_files.to_dict(metadata.config), "trials": trials, "origin": origin}


def from_saved(saved: Any) -> Metadata:
    """The inverse of `to_saved`; reads what 0.1.0 saved too.

    Raises:
        ValueError: something is missing, unknown, of the wrong type or does not fit the rest.
    """
    config = _config_of(saved)
    try:
        fields = {name: value for name, value in saved.items() if name not in ("scaling", "bins")}
        learned = dict(saved["learned"]) if "learned" in saved else _learned_0_1(saved)
        fields["learned"] = encoding.of(config, learned).learned
        alone = {"best_epoch": saved["best_epoch"], "best_loss": saved["best_loss"]}
        trials = tuple(Progress(**progress) for progress in saved.get("trials") or [alone])
        origin = Origin(**saved["origin"]) if saved.get("origin") else None
        older = tuple(dict.fromkeys([*saved.get("older", ()), *_absent(saved["config"])]))
        metadata = Metadata(**{**fields, "config": config, "trials": trials, "origin": origin, "older": older})
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ValueError(f"its metadata are not those of a run: {type(error).__name__}: {error}") from error
    wrong = next((what for what, right in _rules(metadata) if not right), None)
    if wrong:
        raise ValueError(f"its metadata are not those of a run: {wrong}")
    return metadata


def _config_of(saved: Any) -> Config:
    """The saved config; raises ValueError, which names the version that wrote it, if it cannot be read."""
    try:
        config = config_files.from_dict(saved["config"])
        for path in _absent(saved["config"]):
            config_lib.set_field(config, path, AS_0_1_0[path])
        return config
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its metadata has no config: {type(error).__name__}: {error}") from error
    except UsageError as error:
        versions = saved.get("versions")
        writer = versions.get("musicjax", "unknown") if isinstance(versions, dict) else "unknown"
        raise ValueError(
            f"its config cannot be read: {error} (written by musicjax {writer}, this is {__version__})"
        ) from error


def _absent(config: dict) -> list[str]:
    """The fields that are newer than a config, a nested dict."""
    pairs = ((path, *path.split(".")) for path in AS_0_1_0)
    return [path for path, section, name in pairs if name not in config.get(section, {})]


def _learned_0_1(saved: Any) -> dict[str, Any]:
    """The constants as 0.1.0 saved them: scaling for every encoding, bins for note events."""
    return {"bins": saved["bins"]} if saved.get("bins") else {"scaling": saved["scaling"]}


def _rules(metadata: Metadata) -> list[tuple[str, bool]]:
    """(the name of what is checked, whether it is right)."""
    each = [(metadata.best_epoch, metadata.best_loss), *((one.best_epoch, one.best_loss) for one in metadata.trials)]
    origin = metadata.origin
    texts = [metadata.fingerprint, *metadata.versions.values()] if isinstance(metadata.versions, dict) else [None]
    return [
        ("epoch", type(metadata.epoch) is int and metadata.epoch >= 0),
        ("best epoch", all(type(epoch) is int for epoch, _ in each)),
        ("best loss", all(type(loss) is float and not math.isnan(loss) for _, loss in each)),
        ("diverged", all(type(one.diverged) is int for one in metadata.trials)),
        ("trials", len(metadata.trials) == metadata.config.train.trials),
        ("older fields", set(metadata.older) <= set(AS_0_1_0)),
        ("origin", origin is None or (type(origin.path), type(origin.sha256), type(origin.epoch)) == (str, str, int)),
        ("best trial", type(metadata.best_trial) is int and 0 <= metadata.best_trial < len(metadata.trials)),
        ("fingerprint or versions", all(type(text) is str for text in texts)),
    ]
