"""What `choose_config` may choose from: sizes and settings by the amount of music, and ways to draw samples.

Fields of the config are named by their paths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# With more notes, a larger network may learn more, and transposed music has little to add.
MANY_NOTES = 200_000
NAMES = ("model.units", "model.dropout", "data.transpose")
# In the order in which they are tried, the most natural first: pitches are relative to the tonic, so music need not be
# transposed.
OF_FEW_NOTES = ((256, 0.4, 0), (256, 0.6, 0), (128, 0.4, 0), (256, 0.4, 6))
OF_MANY_NOTES = ((256, 0.4, 0), (512, 0.4, 0), (256, 0.2, 0))
# Ways to draw samples: temperature and min_p, the most cautious last. A trained model is surer of itself than that of a
# short trial.
SAMPLING_NAMES = ("sample.temperature", "sample.min_p")
SAMPLING = ((1.0, 0.03), (0.9, 0.1), (0.9, 0.2), (0.8, 0.2))
SAMPLING_OF_TRAINED = ((1.0, 0.03), (0.9, 0.1), (0.8, 0.05), (0.8, 0.2), (0.7, 0.1), (0.6, 0.2), (0.5, 0.1))


def of(notes: int, pinned: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The candidates for `notes` training notes, by what they set; a pinned field has the same value in all."""
    return _with(pinned, NAMES, OF_MANY_NOTES if notes >= MANY_NOTES else OF_FEW_NOTES)


def sampling(pinned: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The ways in which the samples of each candidate are drawn."""
    return _with(pinned, SAMPLING_NAMES, SAMPLING)


def sampling_of_trained() -> list[dict[str, Any]]:
    """The ways in which the samples of a trained model may be drawn."""
    return _with({}, SAMPLING_NAMES, SAMPLING_OF_TRAINED)


def text(fields: Mapping[str, Any]) -> str:
    """A candidate, or a way to draw samples, in words."""
    return ", ".join(f"{path.split('.')[-1]} {value:g}" for path, value in fields.items())


def _with(pinned: Mapping[str, Any], names: Sequence[str], rows: Sequence[tuple]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for row in rows:
        values = {name: pinned.get(name, value) for name, value in zip(names, row, strict=True)}
        if values not in found:
            found.append(values)
    return found
