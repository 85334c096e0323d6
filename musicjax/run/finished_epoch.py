"""An epoch whose checkpoint is saved, as `musicjax.train` passes it to `on_epoch`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from musicjax.arguments import shown
from musicjax.errors import UsageError
from musicjax.store.model import Model


@dataclasses.dataclass(frozen=True)
class FinishedEpoch:
    """What `musicjax.train` passes to `on_epoch` after each epoch.

    Attributes:
        epoch: its number, from 1.
        train, valid: its metrics by name, as metrics.jsonl has them; with several trials, the means over those that
            still train.
        windows_per_second: training windows processed in a second, all trials together.
        model: model() gives the model with the parameters after this epoch; with several trials, that of the best one.
            Its methods compile once for all epochs.
    """

    epoch: int
    train: dict[str, float]
    valid: dict[str, float]
    windows_per_second: float
    model: Callable[[], Model]


OnEpoch = Callable[[FinishedEpoch], bool | None]


def ends_training(on_epoch: OnEpoch, finished: FinishedEpoch) -> bool:
    """Calls on_epoch; returns whether it ends the training.

    Raises:
        UsageError: it returns something other than True, False and None.
    """
    answer = on_epoch(finished)
    if answer is not None and not isinstance(answer, bool | np.bool_):
        raise UsageError(
            f"on_epoch returned {shown(answer)}: expected True to end training, or False or None to go on; the "
            f"checkpoint of epoch {finished.epoch} is saved"
        )
    return bool(answer)
