"""The metadata of a run: what a checkpoint holds besides arrays, as JSON, and the checks when it is read."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
import platform
from typing import Any

from musicjax import config_files
from musicjax.config import Config
from musicjax.encodings import encoding
from musicjax.errors import UsageError
from musicjax.version import __version__


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


def versions() -> dict[str, str]:
    """Versions of the program and of what its numbers depend on."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "mido")
    found = {"musicjax": __version__, "python": platform.python_version()}
    return found | {package: importlib.metadata.version(package) for package in packages}


def to_saved(metadata: Metadata) -> dict[str, Any]:
    """The metadata as JSON values."""
    fields = {field.name: getattr(metadata, field.name) for field in dataclasses.fields(metadata)}
    trials = [dataclasses.asdict(progress) for progress in metadata.trials]
    return fields | {"config": config_files.to_dict(metadata.config), "trials": trials}


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
        metadata = Metadata(**{**fields, "config": config, "trials": trials})
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ValueError(f"its metadata are not those of a run: {type(error).__name__}: {error}") from error
    wrong = next((what for what, right in _rules(metadata) if not right), None)
    if wrong:
        raise ValueError(f"its metadata are not those of a run: {wrong}")
    return metadata


def _config_of(saved: Any) -> Config:
    """The saved config; raises ValueError, which names the version that wrote it, if it cannot be read."""
    try:
        return config_files.from_dict(saved["config"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its metadata has no config: {type(error).__name__}: {error}") from error
    except UsageError as error:
        versions = saved.get("versions")
        writer = versions.get("musicjax", "unknown") if isinstance(versions, dict) else "unknown"
        raise ValueError(
            f"its config cannot be read: {error} (written by musicjax {writer}, this is {__version__})"
        ) from error


def _learned_0_1(saved: Any) -> dict[str, Any]:
    """The constants as 0.1.0 saved them: scaling for every encoding, bins for note events."""
    return {"bins": saved["bins"]} if saved.get("bins") else {"scaling": saved["scaling"]}


def _rules(metadata: Metadata) -> list[tuple[str, bool]]:
    """(the name of what is checked, whether it is right)."""
    each = [(metadata.best_epoch, metadata.best_loss), *((one.best_epoch, one.best_loss) for one in metadata.trials)]
    texts = [metadata.fingerprint, *metadata.versions.values()] if isinstance(metadata.versions, dict) else [None]
    return [
        ("epoch", type(metadata.epoch) is int and metadata.epoch >= 0),
        ("best epoch", all(type(epoch) is int for epoch, _ in each)),
        ("best loss", all(type(loss) is float and not math.isnan(loss) for _, loss in each)),
        ("diverged", all(type(one.diverged) is int for one in metadata.trials)),
        ("trials", len(metadata.trials) == metadata.config.train.trials),
        ("best trial", type(metadata.best_trial) is int and 0 <= metadata.best_trial < len(metadata.trials)),
        ("fingerprint or versions", all(type(text) is str for text in texts)),
    ]
