"""metrics.jsonl and histograms -> the arrays that are drawn.

Shape legend of musicjax.report: E epochs, U updates, B buckets, S steps with a histogram, Q quantiles, G grid cells.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from musicjax.errors import RunError
from musicjax.report.authors import AUTHORS
from musicjax.report.event_files import Histogram

# Configs whose runs are held against the authors' printed curve.
PAPER_CONFIGS = ("paper", "paper_code")
# Fields of a line that are not measured on its split.
SETTINGS = ("split", "epoch", "step", "trial", "seed", "dropout", "learning_rate", "seconds", "windows_per_second")
# The fields of accuracy, of which the first that lines have is drawn: its honest name, and what scores
# `majority_agreement` in it.
ACCURACIES = {
    "argmax_agreement": (
        "argmax agreement (what Keras calls accuracy)",
        "always naming the commonest column, validation",
    ),
    "key_agreement": ("key agreement (share of the keys that are right)", "no key at all, validation"),
    "bin_agreement": (
        "bin agreement (share of the bins whose likeliest is the true one)",
        "always the commonest bins, validation",
    ),
    "accuracy": ("accuracy", "always the same answer, validation"),
}
# Shares of a normal distribution below -1.5, -1, ... +1.5 deviations, between the least and the greatest value: the
# lines of TensorBoard's Distributions.
SHARES = np.array([0, 0.0668, 0.1587, 0.3085, 0.5, 0.6915, 0.8413, 0.9332, 1])


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """A metric of one split by epoch: over trials its mean, least and greatest value; nan where none is finite.

    Attributes:
        epochs: int64 [E], rising; mean, low, high: float64 [E]; trials: how many there are.
    """

    epochs: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    trials: int = 1


def read_metrics(workdir: Path) -> list[dict]:
    """The lines of WORKDIR/metrics.jsonl; one that a run is just writing does not count.

    Raises:
        RunError: there are none, or one that is not of metrics.
    """
    path = workdir / "metrics.jsonl"
    try:
        text = path.read_text(errors="replace") if path.is_file() else ""
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}; see to its rights") from error
    whole = text.split("\n")[:-1]
    lines = [_line(line, f"{path}, line {number}") for number, line in enumerate(whole, 1) if line.strip()]
    if not lines:
        raise RunError(
            f"nothing to draw in {workdir}: it has no metrics.jsonl with lines; expected the folder of a run that has "
            "finished an epoch; name it with --workdir=DIR"
        )
    return lines


def _line(text: str, place: str) -> dict:
    try:
        line = json.loads(text)
        if type(line["epoch"]) is int and type(line["step"]) is int and type(line["split"]) is str:
            return line
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise RunError(f'{place}: expected an object with "split", "epoch" and "step", found {text[:60]!r}; remove it')


def config_name(workdir: Path) -> str | None:
    """The name in WORKDIR/config.json; None if it cannot be read there."""
    try:
        name = json.loads((workdir / "config.json").read_text(errors="replace"))["name"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return name if isinstance(name, str) else None


def over_epochs(lines: list[dict], split: str, field: str) -> Curve | None:
    """A field of the lines of a split; None if no line has it as a finite number."""
    values: dict[int, list[float]] = {}
    trials = set()
    for line in lines:
        if line["split"] == split and (value := _number(line, field)) is not None:
            values.setdefault(line["epoch"], []).append(value)
            trials.add(line.get("trial"))
    epochs = sorted(values)
    finite = [np.array([value for value in values[epoch] if np.isfinite(value)] or [np.nan]) for epoch in epochs]
    if all(np.isnan(of_epoch).all() for of_epoch in finite):
        return None
    mean, low, high = (np.array([reduce(row) for row in finite]) for reduce in (np.mean, np.min, np.max))
    return Curve(np.array(epochs, np.int64), mean, low, high, len(trials))


def _number(line: dict, field: str) -> float | None:
    value = line.get(field)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def loss_field(lines: list[dict]) -> tuple[str, str]:
    """(the field that training makes small, its unit).

    Of events it is the nats of a note, of frames their nats, or else the mean square of errors, which is far below.
    """
    if any(_number(line, "nats_per_note") is not None for line in lines):
        return "loss", "nats per note"
    scored = [(_number(line, "loss"), nats) for line in lines if (nats := _number(line, "nats_per_frame")) is not None]
    if any(loss is None for loss, _ in scored):
        return "nats_per_frame", "nats per frame"
    if any(loss is not None and np.isclose(loss, nats, rtol=0.1) for loss, nats in scored):
        return "loss", "nats per frame"
    return "loss", "mean squared error"


def accuracy_field(lines: list[dict]) -> tuple[str, str] | None:
    """(the field of accuracy, what it honestly is); None if there is none."""
    return next(
        ((field, unit) for field, (unit, _) in ACCURACIES.items() if any(field in line for line in lines)), None
    )


def other_fields(lines: list[dict], drawn: set[str]) -> list[str]:
    """What else was measured in validation, in the order of the lines: fields that are not among those drawn."""
    named = {field: None for line in lines if line["split"] == "valid" for field in line}
    left_out = {*drawn, *SETTINGS, *ACCURACIES, "loss", "majority_agreement"}
    return [field for field in named if field not in left_out and over_epochs(lines, "valid", field) is not None]


def majority(lines: list[dict], accuracy: str) -> tuple[str, float] | None:
    """(what it is called beside this field of accuracy, the share of validation targets that always the same answer
    gets right); None if it is not told."""
    curve = over_epochs(lines, "valid", "majority_agreement")
    return None if curve is None else (ACCURACIES[accuracy][1], float(curve.mean[np.isfinite(curve.mean)][-1]))


def authors(name: str | None, quantity: str, last_epoch: int) -> dict[str, Curve]:
    """The authors' points up to an epoch, by split, for a run of this config; none for other configs.

    quantity: "loss" or "accuracy".
    """
    if name not in PAPER_CONFIGS:
        return {}
    epochs = [epoch for epoch in AUTHORS if epoch <= last_epoch]
    columns = {"train": ("loss", "accuracy").index(quantity), "valid": 2 + ("loss", "accuracy").index(quantity)}
    points = {split: np.array([AUTHORS[epoch][column] for epoch in epochs]) for split, column in columns.items()}
    return {split: Curve(np.array(epochs), values, values, values) for split, values in points.items() if epochs}


def updates_per_epoch(lines: list[dict]) -> float:
    """Updates in an epoch, of the last line's; 1 where none was made."""
    last = max(lines, key=lambda line: line["epoch"])
    return max(last["step"], 1) / max(last["epoch"], 1)


def binned(steps: np.ndarray, values: np.ndarray, bins: int) -> Curve:
    """Runs of about equal length of a series [U]: where each is centred, its mean, least and greatest; at most `bins`.

    Values that are not finite do not count.
    """
    keep = np.isfinite(values)
    parts = [part for part in np.array_split(np.flatnonzero(keep), bins) if len(part)]
    rows = [values[part] for part in parts]
    centres = np.array([steps[part].mean() for part in parts])
    mean, low, high = (np.array([reduce(row) for row in rows]) for reduce in (np.mean, np.min, np.max))
    return Curve(centres, mean, low, high)


def quantiles(histogram: Histogram, shares: np.ndarray = SHARES) -> np.ndarray:
    """Below which value a share [Q] of all values lies, float64 [Q]; within a bucket values are spread evenly."""
    filled = histogram.counts > 0
    # Without its empty buckets the sum rises from edge to edge; a gap is crossed at the share that it stands at.
    left, right, counts = histogram.edges[:-1][filled], histogram.edges[1:][filled], histogram.counts[filled]
    above = np.cumsum(counts) / counts.sum()
    bucket = np.minimum(np.searchsorted(above, shares), len(counts) - 1)
    within = (shares - (above - counts / counts.sum())[bucket]) / (counts / counts.sum())[bucket]
    return left[bucket] + np.clip(within, 0, 1) * (right - left)[bucket]


def ridges(histograms: list[Histogram], cells: int) -> tuple[np.ndarray, np.ndarray]:
    """(edges [G + 1] of a common grid, values in each of its cells [S, G]).

    The rarest 0.2 % of the values may lie beyond it. Where all values are one, it is one wide.
    """
    ends = np.array([quantiles(histogram, np.array([0.001, 0.999])) for histogram in histograms])
    low, high = ends[:, 0].min(), ends[:, 1].max()
    if high - low <= max(1e-12 * max(abs(low), abs(high)), 1e-300):
        low, high = low - 0.5, high + 0.5
    grid = np.linspace(low, high, cells + 1)
    return grid, np.stack([_resampled(histogram, grid) for histogram in histograms])


def _resampled(histogram: Histogram, grid: np.ndarray) -> np.ndarray:
    """How many values lie in each cell of a grid [G + 1], float64 [G]; buckets of nearly no width lie in one cell."""
    counted, nearly_none = np.zeros(len(grid) - 1), 1e-9 * (grid[1] - grid[0])
    for left, right, count in zip(histogram.edges[:-1], histogram.edges[1:], histogram.counts, strict=True):
        if right - left > nearly_none:
            counted += count * np.diff(np.clip((grid - left) / (right - left), 0, 1))
        elif right >= grid[0] and left <= grid[-1]:
            counted[np.clip(np.searchsorted(grid, left, side="right") - 1, 0, len(counted) - 1)] += count
    return counted


def spread(steps: list[int], most: int) -> list[int]:
    """At most so many places in a list, evenly spread, the first and the last among them."""
    return sorted({round(place) for place in np.linspace(0, len(steps) - 1, min(most, len(steps)))})
