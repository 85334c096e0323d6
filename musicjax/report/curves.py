"""Lines of metrics.jsonl -> the curves that are drawn.

Shape legend: E epochs, U updates.
"""

from __future__ import annotations

import dataclasses

import numpy as np

SPLITS = {"train": "training", "valid": "validation"}
# Fields of a line that are no measurement, and those that have a figure of their own.
NOT_MEASURED = ("split", "epoch", "step", "trial", "seed", "dropout", "learning_rate", "seconds", "windows_per_second")
DRAWN = ("loss", "accuracy", "majority_accuracy")
CERTAIN_NATS = 1e-3  # below it the model is all but certain of a part of a note, and a curve would show nothing
FEW_EPOCHS = 20  # a line of at most this many points shows each of them
# What the notebook of the paper's authors printed (2018), for runs of these configs to be compared with.
PAPER_CONFIGS = ("paper", "paper_code")
# Epoch: loss, accuracy, validation loss, validation accuracy.
AUTHORS = {
    1: (0.0286, 0.7156, 0.0145, 0.8922),
    2: (0.0206, 0.7474, 0.0131, 0.8914),
    8: (0.0135, 0.8686, 0.0106, 0.9388),
    10: (0.0126, 0.882, 0.0117, 0.932),
    50: (0.0072, 0.930, 0.0065, 0.9715),
    100: (0.0049, 0.948, 0.0066, 0.9685),
    200: (0.0021, 0.9723, 0.0070, 0.9690),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """A metric of one split by epoch: the mean, least and greatest value over trials; nan where none is finite.

    Attributes:
        epochs: int64 [E], rising; mean, low, high: float64 [E]; trials: how many there are.
    """

    epochs: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    trials: int = 1


def over_epochs(lines: list[dict], split: str, field: str) -> Curve | None:
    """A field of the lines of a split; None if no line has it as a finite number."""
    values: dict[int, list[float]] = {}
    trials = set()
    for line in lines:
        if line["split"] == split and (value := number(line, field)) is not None:
            values.setdefault(line["epoch"], []).append(value)
            trials.add(line.get("trial"))
    epochs = sorted(values)
    finite = [np.array([value for value in values[epoch] if np.isfinite(value)] or [np.nan]) for epoch in epochs]
    if all(np.isnan(of_epoch).all() for of_epoch in finite):
        return None
    mean, low, high = (np.array([reduce(row) for row in finite]) for reduce in (np.mean, np.min, np.max))
    return Curve(np.array(epochs, np.int64), mean, low, high, len(trials))


def by_split(lines: list[dict], field: str) -> dict[str, Curve]:
    """`over_epochs` for training and validation, as far as they have the field."""
    found = {split: over_epochs(lines, split, field) for split in SPLITS}
    return {split: curve for split, curve in found.items() if curve is not None}


def number(line: dict, field: str) -> float | None:
    """The number in a field of a line, None if there is none."""
    value = line.get(field)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def loss_field(lines: list[dict]) -> tuple[str, str]:
    """(the field that training makes small, its unit).

    The unit is told by what else was measured: nats per note; nats per frame, where they are about the loss; or else
    the mean squared error, which is far below both.
    """
    if any(number(line, "nats_per_note") is not None for line in lines):
        return "loss", "nats per note"
    scored = [(number(line, "loss"), nats) for line in lines if (nats := number(line, "nats_per_frame")) is not None]
    if any(loss is None for loss, _ in scored):
        return "nats_per_frame", "nats per frame"
    if any(loss is not None and np.isclose(loss, nats, rtol=0.1) for loss, nats in scored):
        return "loss", "nats per frame"
    return "loss", "mean squared error"


def other_curves(lines: list[dict]) -> dict[str, Curve]:
    """What else was measured in validation, by its field, in the order of the lines: all but loss and accuracy."""
    loss, unit = loss_field(lines)
    left_out = {*NOT_MEASURED, *DRAWN, loss, unit.replace(" ", "_")}
    fields = {field: None for line in lines if line["split"] == "valid" for field in line if field not in left_out}
    found = {field: over_epochs(lines, "valid", field) for field in fields}
    return {field: curve for field, curve in found.items() if curve is not None}


def certain(found: dict[str, Curve]) -> list[str]:
    """The fields of parts of a note whose surprise ends below CERTAIN_NATS, as where all notes have the same."""
    return [field for field, curve in found.items() if field.endswith("_nats") and curve.mean[-1] < CERTAIN_NATS]


def title(field: str) -> str:
    """A field's name for people: "pitch_error_semitones" -> "Pitch error, semitones"."""
    if "_error_" in field:
        field = field.replace("_error_", " error, ")
    elif field.endswith("_nats"):
        field = field.removesuffix("_nats") + ", nats"
    words = field.replace("_", " ")
    return words[:1].upper() + words[1:]


def majority(lines: list[dict]) -> float | None:
    """The last measured validation accuracy of the best constant answer; None if there is none."""
    curve = over_epochs(lines, "valid", "majority_accuracy")
    return None if curve is None else float(curve.mean[np.isfinite(curve.mean)][-1])


def authors(name: object, quantity: str, last_epoch: int) -> dict[str, Curve]:
    """The authors' points up to an epoch, by split, for a run of this config; none for other configs.

    quantity: "loss" or "accuracy".
    """
    if name not in PAPER_CONFIGS:
        return {}
    epochs = [epoch for epoch in AUTHORS if epoch <= last_epoch]
    columns = {"train": ("loss", "accuracy").index(quantity), "valid": 2 + ("loss", "accuracy").index(quantity)}
    points = {split: np.array([AUTHORS[epoch][column] for epoch in epochs]) for split, column in columns.items()}
    return {split: Curve(np.array(epochs), values, values, values) for split, values in points.items() if epochs}


def is_logarithmic(curves: list[Curve]) -> bool:
    """Whether losses are drawn on a logarithmic axis: they span more than a factor of three, and all are above zero."""
    values = np.concatenate([[*curve.low, *curve.high] for curve in curves])
    values = values[np.isfinite(values)]
    return bool(values.min() > 0 and values.max() > 3 * values.min())


def updates_per_epoch(lines: list[dict]) -> float:
    """Updates in an epoch, by the last line; 1 where none was made."""
    last = max(lines, key=lambda line: line["epoch"])
    return max(last["step"], 1) / max(last["epoch"], 1)


def binned(steps: np.ndarray, values: np.ndarray, bins: int) -> Curve:
    """A series [U] as at most `bins` runs of about equal length: where each is centred, its mean, least and greatest.

    Values that are not finite do not count.
    """
    keep = np.isfinite(values)
    parts = [part for part in np.array_split(np.flatnonzero(keep), bins) if len(part)]
    rows = [values[part] for part in parts]
    centres = np.array([steps[part].mean() for part in parts])
    mean, low, high = (np.array([reduce(row) for row in rows]) for reduce in (np.mean, np.min, np.max))
    return Curve(centres, mean, low, high)
