"""The facts of a run: what goes beside the arrays of a checkpoint, as JSON, and is checked when it comes back."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
import platform
from typing import Any

from musicjax import config as config_lib
from musicjax.config import Config
from musicjax.music import note_bins
from musicjax.music.note_bins import Bins
from musicjax.music.note_matrix import Scaling
from musicjax.version import __version__


@dataclasses.dataclass(frozen=True)
class Standing:
    """How far a trial has come: its lowest validation loss, and the epoch at which a loss was not finite, or 0."""

    best_epoch: int = 0
    best_loss: float = math.inf
    diverged: int = 0


@dataclasses.dataclass(frozen=True)
class Facts:
    """What goes beside the arrays, as JSON.

    Attributes:
        epoch: epochs finished.
        best_epoch, best_loss: of the lowest validation loss of all trials.
        config, scaling: of the run.
        fingerprint: of the data.
        versions: of the program and what it computes with.
        best_trial: whose loss the best is.
        trials: of each trial; a run by itself is one.
        bins: of events.
    """

    epoch: int
    best_epoch: int
    best_loss: float
    config: Config
    scaling: Scaling
    fingerprint: str
    versions: dict[str, str]
    best_trial: int = 0
    trials: tuple[Standing, ...] = (Standing(),)
    bins: Bins | None = None


def versions() -> dict[str, str]:
    """Versions of the program and of what its numbers depend on."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "mido")
    found = {"musicjax": __version__, "python": platform.python_version()}
    return found | {package: importlib.metadata.version(package) for package in packages}


def to_saved(facts: Facts) -> dict[str, Any]:
    """The facts as JSON values."""
    return dataclasses.asdict(facts)


def from_saved(saved: Any) -> Facts:
    """The inverse of `to_saved`.

    Raises:
        ValueError: something is missing, unknown, of the wrong type or does not fit the rest.
    """
    try:
        config = config_lib.from_dict(saved["config"])
        scaling = Scaling(**{name: tuple(map(float, values)) for name, values in saved["scaling"].items()})
        alone = {"best_epoch": saved["best_epoch"], "best_loss": saved["best_loss"]}
        trials = tuple(Standing(**standing) for standing in saved.get("trials") or [alone])
        bins = note_bins.from_saved(saved["bins"]) if saved.get("bins") else None
        facts = Facts(**{**saved, "config": config, "scaling": scaling, "trials": trials, "bins": bins})
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ValueError(f"its facts are not those of a run: {type(error).__name__}: {error}") from error
    wrong = next((what for what, right in _rules(facts) if not right), None)
    if wrong:
        raise ValueError(f"its facts are not those of a run: {wrong}")
    return facts


def _rules(facts: Facts) -> list[tuple[str, bool]]:
    """(what, whether it is as it must be)."""
    scaling, columns = facts.scaling, config_lib.columns(facts.config)
    constants = (scaling.shift, scaling.span, scaling.low, scaling.high)
    standings = [(facts.best_epoch, facts.best_loss), *((one.best_epoch, one.best_loss) for one in facts.trials)]
    texts = [facts.fingerprint, *facts.versions.values()] if isinstance(facts.versions, dict) else [None]
    return [
        ("epoch", type(facts.epoch) is int and facts.epoch >= 0),
        ("best epoch", all(type(epoch) is int for epoch, _ in standings)),
        ("best loss", all(type(loss) is float and not math.isnan(loss) for _, loss in standings)),
        ("diverged", all(type(one.diverged) is int for one in facts.trials)),
        ("trials", len(facts.trials) == facts.config.train.trials),
        ("best trial", type(facts.best_trial) is int and 0 <= facts.best_trial < len(facts.trials)),
        ("scaling", all(len(values) == columns and all(map(math.isfinite, values)) for values in constants)),
        ("scaling.span", all(value > 0 for value in scaling.span)),
        ("bins", (facts.bins is not None) == (facts.config.data.encoding == "events")),
        ("fingerprint or versions", all(type(text) is str for text in texts)),
    ]
