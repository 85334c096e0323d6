"""What is recorded of an epoch: numbers from the device -> named metrics in people's units."""

from __future__ import annotations

import numpy as np

from musicjax.music import note_bins
from musicjax.music.note_matrix import Scaling
from musicjax.training.step import StepMetrics, Validation

# What the agreement of a row is called, by the encoding.
AGREEMENT = {"notes": "argmax_agreement", "frames": "key_agreement", "events": "bin_agreement"}


def of_training(
    sums: StepMetrics,
    seconds: float,
    learning_rate: float,
    trials: int = 1,
    window: int = 0,
    encoding: str = "notes",
) -> dict[str, float]:
    """Means over an epoch from its sums by step; the speed is that of all trials together.

    Args:
        window: T, where every row of a window is a target; 0: each window has one.
    """
    loss, agreement, weight = (np.asarray(values, np.float64).sum() for values in sums)
    return {
        "loss": float(loss / weight),
        "accuracy": float(agreement / weight),
        AGREEMENT[encoding]: float(agreement / weight),
        "learning_rate": learning_rate,
        "seconds": round(seconds, 4),
        "windows_per_second": round(float(trials * weight / max(window, 1) / seconds), 2),
    }


def of_validation(scores: Validation, scaling: Scaling, majority: float, encoding: str) -> dict[str, float]:
    """Mean loss and agreement, beside the agreement of always the same answer.

    Of notes also mean absolute errors in the columns' own units, of frames the negative log-likelihood of a frame, of
    events that of a note and of each of its columns.
    """
    share = float(scores.agreement)
    named = {"loss": float(scores.loss), AGREEMENT[encoding]: share, "accuracy": share, "majority_agreement": majority}
    if encoding == "frames":
        return named | {"nats_per_frame": float(scores.nats)}
    if encoding == "events":
        by_column = np.asarray(scores.by_column, np.float64).tolist()
        of_columns = {f"{name}_nats": nats for name, nats in zip(note_bins.PREDICTED, by_column, strict=True)}
        return named | {"nats_per_note": float(scores.nats)} | of_columns
    units = {"pitch": "semitones", "velocity": "steps", "interval": "seconds", "duration": "seconds"}
    sizes = np.asarray(scores.residual_size, np.float64) * scaling.span
    return named | {
        f"{name}_error_{units[name]}": float(size) for name, size in zip(scaling.columns, sizes, strict=True)
    }


def line(train: list[dict[str, float]], valid: list[dict[str, float]], seconds_left: float) -> str:
    """An epoch in a line: its losses - of several trials means and deviations -, speed and time left."""
    minutes, seconds = divmod(round(seconds_left), 60)
    return (
        f"loss {_mean(train)}  validation {_mean(valid)}  "
        f"{train[0]['windows_per_second']:,.0f} windows/s  {minutes}:{seconds:02d} left"
    )


def means(lines: list[dict[str, float]]) -> dict[str, float]:
    """Each metric's mean over trials."""
    return {name: float(np.mean([line[name] for line in lines])) for name in lines[0]}


def _mean(lines: list[dict[str, float]]) -> str:
    losses = [line["loss"] for line in lines]
    deviation = f" ± {np.std(losses, ddof=1):.5f}" if len(losses) > 1 else ""
    return f"{np.mean(losses):.5f}{deviation}"
