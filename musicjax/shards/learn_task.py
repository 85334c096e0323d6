"""A sample of the pieces that train -> the bins of note events that they need."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from musicjax import files
from musicjax.music import learned_bins
from musicjax.shards import compare_task
from musicjax.shards.compare_task import Place


def request(notes: Sequence[str], places: Sequence[Place], keep_instruments: bool, result: Path) -> dict[str, Any]:
    """The task of learning from the pieces at these places in files of notes."""
    return {
        "notes": notes,
        "places": [*places],
        "keep": keep_instruments,
        "result": str(result),
    }


def work(task: dict[str, Any]) -> None:
    """Writes what was learned, as JSON values: {"bins"}."""
    bins = learned_bins.learn([*compare_task.pieces(task["notes"], task["places"])], task["keep"])
    with files.whole(Path(task["result"])) as partial:
        partial.write_text(json.dumps({"bins": dataclasses.asdict(bins)}))
