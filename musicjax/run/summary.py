"""What training returns, and the command `train` prints as JSON."""

from __future__ import annotations

from typing import Any, TypedDict

from musicjax import config as config_lib
from musicjax import console
from musicjax.store.metadata import Metadata, Progress


class Summary(TypedDict, total=False):
    """What became of a run; fields that do not apply to it are absent.

    windows_per_second: the median over the epochs of this call; None if all were done before. parameters: how many.
    validation_NAME: how much is validated on, in the encoding's unit. report: the path of the page. The fields from
    trials on are those of a run of several: mean and deviation of their lowest validation losses, and the same in
    settings for each pair of learning rate and dropout.
    """

    workdir: str
    epochs: int
    best_epoch: int
    best_validation_loss: float
    parameters: int
    train_windows: int
    validation_windows: int
    validation_frames: int
    validation_notes: int
    validation_ends: int
    windows_per_second: float | None
    init_from: str
    samples: list[str]
    mean_overlap_area: float
    report: str
    trials: int
    diverged: int
    best_trial: int
    best_seed: int
    validation_loss_mean: float
    validation_loss_deviation: float
    settings: list[dict[str, Any]]


def of_trials(metadata: Metadata) -> Summary:
    """What the summary says of several trials, by the lowest validation loss of each; empty for a single model."""
    if len(metadata.trials) == 1:
        return {}
    from musicjax.training import trials  # not needed for one model

    config = metadata.config
    by_pair: dict[tuple[float, float], list[Progress]] = {}
    for (_, rate, dropout), progress in zip(config_lib.trials(config), metadata.trials, strict=True):
        by_pair.setdefault((rate, dropout), []).append(progress)
    settings = []
    for (rate, dropout), several in by_pair.items():
        losses = [progress.best_loss for progress in several if not progress.diverged]
        mean, deviation = trials.mean_and_deviation(losses) if losses else (None, None)
        named = {"learning_rate": rate, "dropout": dropout, "mean": mean, "deviation": deviation}
        settings.append({**named, "trials": len(several), "diverged": len(several) - len(losses)})
    losses = [progress.best_loss for progress in metadata.trials if not progress.diverged]
    mean, deviation = trials.mean_and_deviation(losses)
    console.say("trials", f"best validation loss of each: mean {mean:.5f}, deviation {deviation:.5f}")
    return {
        "trials": len(metadata.trials),
        "diverged": sum(bool(progress.diverged) for progress in metadata.trials),
        "best_trial": metadata.best_trial,
        "best_seed": config.seed + metadata.best_trial,
        "validation_loss_mean": mean,
        "validation_loss_deviation": deviation,
        "settings": settings,
    }
