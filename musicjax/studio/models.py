"""The models that pages may compose with: what each can do, or why it cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from musicjax.studio.trainings import Trainings

BUILTIN = "builtin"
MOST_TRIES = 2  # of an output, or of a model, at which the composing process dies
DIED = "The composing process died twice while it worked on this."


class Models:
    """The built-in model and those of runs, as the composing process describes them.

    Attributes:
        known: by the id of their run, or BUILTIN: what the page may ask of each, and why one cannot be used.
    """

    def __init__(self, trainings: Trainings) -> None:
        self._trainings = trainings
        self.known: dict[str, dict[str, Any]] = {}
        self._asked: dict[str, tuple[float, int]] = {}
        self._deaths: dict[str, int] = {}

    def take(self, one: str, told: dict[str, Any]) -> None:
        """Takes what is told of a model."""
        name = "the built-in model" if one == BUILTIN else self._trainings.states.get(one, {}).get("name", one)
        nothing = {"keys": False, "meters": [], "instruments": [], "can": {}}
        self.known[one] = {"id": one, "name": name, **nothing, **told}

    def to_describe(self) -> list[str]:
        """The runs whose models the composing process is to describe now: once for each config that a folder had.

        Those of runs that are gone are forgotten.
        """
        found = []
        for one, run in self._trainings.states.items():
            if run["has_model"]:
                # A checkpoint that could not be read may be followed by one that can.
                can_change = bool(self.known.get(one, {}).get("error")) and not self._gave_up(one)
                changed = (_changed(self._trainings.workdir(one) / "config.json"), run["epoch"] * can_change)
                if self._asked.get(one) != changed:
                    self._asked[one] = changed
                    found.append(one)
        for one in set(self.known) - set(self._trainings.states) - {BUILTIN}:
            del self.known[one]
            self._asked.pop(one, None)  # it may come back
        return found

    def composer_died(self, at: str = "") -> None:
        """Another composing process is to describe all models, but for those that it cannot; at: what it died at."""
        if at:
            self._deaths[at] = self._deaths.get(at, 0) + 1
            if self._gave_up(at):
                self.take(at, {"error": DIED})
        self._asked = {one: asked for one, asked in self._asked.items() if self._gave_up(one)}

    def _gave_up(self, one: str) -> bool:
        """Whether a model is not tried any more; without the built-in one nothing could be composed."""
        return one != BUILTIN and self._deaths.get(one, 0) >= MOST_TRIES


def _changed(path: Path) -> float:
    """When a file was written last; 0: it is not there."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
