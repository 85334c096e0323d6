"""The trainings of the studio: started, looked at, paused, continued and stopped."""

from __future__ import annotations

import time
from pathlib import Path
from subprocess import Popen
from typing import Any

from musicjax.errors import UsageError
from musicjax.studio import curve as curve_lib
from musicjax.studio import run_state
from musicjax.studio.curve import Curve
from musicjax.studio.library import Library
from musicjax.studio.workspace import Workspace, entry

NO_RUN = "There is no such run."
LIVE = ("starting", "reading", "training")


class Trainings:
    """The runs of a studio, whoever started them.

    Attributes:
        states: of each run, by id, as `look` found them last.
    """

    def __init__(self, workspace: Workspace, library: Library) -> None:
        self._workspace, self._library, self._records = workspace, library, workspace.session.runs
        self.states: dict[str, dict[str, Any]] = {}
        self._processes: dict[str, Popen] = {}
        self._curves: dict[str, Curve] = {}

    def look(self) -> None:
        """Sees what the runs have written since the last look."""
        states = {}
        for one, workdir in self._folders().items():
            curve = self._curves[one] = curve_lib.refreshed(self._curves.get(one, Curve()), workdir / "metrics.jsonl")
            record, process = self._records.get(one, {}), self._processes.get(one)
            states[one] = run_state.state(one, workdir, curve, record, self._log(one), process)
        if states != self.states:
            self.states = states
            self._workspace.changed()

    def _folders(self) -> dict[str, Path]:
        found = run_state.folders(self._workspace.root)
        for one, record in self._records.items():
            found.setdefault(one, self._workspace.root / record["folder"])
        return found

    def workdir(self, one: str) -> Path:
        """The folder of a run; raises Missing."""
        if one in self._records:
            return self._workspace.root / self._records[one]["folder"]
        return entry(run_state.folders(self._workspace.root), one, NO_RUN)

    def _log(self, one: str) -> Path:
        return self._workspace.folder / "logs" / f"{one}.log"

    def of(self, one: object) -> dict[str, Any]:
        """The state of a run; raises Missing."""
        return entry(self.states, one, NO_RUN)

    def curve(self, one: str) -> dict[str, Any]:
        """{"curve", "console": the last lines that it printed} of a run; raises Missing."""
        self.of(one)
        return {
            "curve": self._curves[one].shown(),
            "console": run_state.last_lines(self._log(one).with_suffix(".err")),
        }

    def require_unused(self, data: str) -> None:
        """Raises UsageError if a run that has neither ended nor been stopped needs a data set."""
        for run in self.states.values():
            if run["data"] == data and run["status"] != "finished":
                raise UsageError(f"The run {run['name']} still needs this data set: stop it first.")

    def start(self, data: object, minutes: float, name: str = "") -> str:
        """Starts a training; raises Missing, UsageError or RunError."""
        if self._library.of(data)["status"] != "ready":
            raise UsageError("This data set cannot be trained on: wait until it has been read, or see its report.")
        folder = run_state.new_name(self._workspace.root, name or self._library.of(data)["name"])
        one = run_state.id_of(folder)
        (self._workspace.root / folder).mkdir()
        self._records[one] = {
            "folder": folder,
            "name": name or folder,
            "data": data,
            "minutes": minutes,
            "began": time.time(),
            "stopped": False,
        }
        self._workspace.keep()
        self._begin(one)
        return one

    def _begin(self, one: str) -> None:
        record, given = self._records.get(one), []
        if record:
            given = [f"--data={self._library.source(record['data'])}", f"--minutes={record['minutes']:g}"]
        self._processes[one] = run_state.start(self.workdir(one), given, self._log(one))
        self.look()

    def pause(self, one: str) -> None:
        """Ends a training whose finished epochs stay; raises Missing or UsageError."""
        status = self.of(one)["status"]
        if status not in LIVE:
            raise UsageError(f"This run is not training: it is {status}.")
        run_state.interrupt(self.workdir(one), self._processes.get(one))
        self.look()

    def go_on(self, one: str) -> None:
        """Continues a run; raises Missing, UsageError or RunError."""
        state = self.of(one)
        if state["status"] in LIVE:
            raise UsageError("This run is already training.")
        if one in self._records:
            self._library.of(self._records[one]["data"])  # it may have been removed since the run was stopped
            self._records[one] |= {"stopped": False, "began": 0.0}
            self._workspace.keep()
        elif not state["has_model"]:
            raise UsageError("This run has no checkpoint yet: continue it with the command that started it.")
        self._begin(one)

    def stop(self, one: str) -> None:
        """Ends a training for good, as far as the page tells; raises Missing or UsageError."""
        status = self.of(one)["status"]
        if status not in (*LIVE, "paused"):
            raise UsageError(f"This run is not training: it is {status}.")
        if one in self._records:
            self._records[one]["stopped"] = True
            self._workspace.keep()
        if status in LIVE:
            run_state.interrupt(self.workdir(one), self._processes.get(one))
        self.look()
