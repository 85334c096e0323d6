"""The studio as a whole: its parts, what it looks at again and again, and the state that pages see."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from musicjax.errors import RunError, UsageError
from musicjax.studio.library import Library
from musicjax.studio.models import BUILTIN
from musicjax.studio.outputs import Outputs
from musicjax.studio.trainings import LIVE, Trainings
from musicjax.studio.worker import Worker
from musicjax.studio.workspace import Workspace
from musicjax.version import __version__

LOOK_S = 1.0  # between two looks at what runs have written
ANSWER_S = 300.0  # the longest wait for sound or copies
DISK_STEP_BYTES = 2**27  # in which free space is shown, so that it does not change all the time


class Studio:
    """A studio on the folder of its runs; `live` keeps it going."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root)
        self.library = Library(self.workspace)
        self.trainings = Trainings(self.workspace, self.library)
        self.outputs = Outputs(self.workspace, self.library, self.trainings)
        self.workspace.state = self.state
        program = "musicjax.studio.copies_and_sound"
        self._copies_and_sound = Worker(program, lambda: None, self._on_answer, self._on_death)
        self._answers: dict[tuple[str, str], asyncio.Future] = {}
        self._has_begun = False

    @contextlib.asynccontextmanager
    async def live(self) -> AsyncIterator[None]:
        """Keeps the studio going; at the end nothing of it runs but trainings."""
        self.trainings.look()
        for work in (self.outputs.composer.run(), self._look(), self.workspace.send_states()):
            self.workspace.begin(work)
        self.library.go_on()
        try:
            yield
        finally:
            await self.workspace.end()

    async def _look(self) -> None:
        while True:
            self.trainings.look()
            self.outputs.require_models()
            for run in self.trainings.states.values():
                if run["status"] in LIVE:
                    self.outputs.sample(run)
            self.outputs.compose_next()
            await asyncio.sleep(LOOK_S)

    def state(self) -> dict[str, Any]:
        """The whole state that pages see, as JSON values."""
        trail = self.workspace.session.trail
        return {
            "runs": [self._shown(run) for run in self.trainings.states.values()],
            "data": self.library.shown(),
            "models": [model for model in self.outputs.models.values() if not model["error"]],
            "outputs": self.outputs.shown(),
            "undo": trail[-1]["said"] if trail else "",
            "disk_free_bytes": _free_bytes(self.workspace.folder),
            "version": __version__,
            "composer": self.outputs.composer_is,
            "message": self.workspace.message,
        }

    def _shown(self, run: dict[str, Any]) -> dict[str, Any]:
        """A run with its samples, and why its model cannot be used, if so."""
        error = self.outputs.models.get(run["id"], {}).get("error", "")
        return {**run, "message": run["message"] or error, "samples": self.outputs.samples(run["id"])}

    def run(self, one: str) -> dict[str, Any]:
        """A run with its curve and the last lines that it printed; raises Missing."""
        return {**self._shown(self.trainings.of(one)), **self.trainings.curve(one)}

    async def answer(self, do: str, output: dict[str, Any]) -> dict[str, Any]:
        """Finds the copies of an output or makes its sound, in a process that starts at the first request.

        Raises:
            UsageError, RunError, Missing: the output is not composed, or there is no answer.
        """
        if output["status"] != "done":
            raise UsageError("That output is not composed yet.")
        model = output["model"]
        workdir = "" if model == BUILTIN else str(self.trainings.workdir(model))
        if not self._has_begun:
            self._has_begun = True
            self.workspace.begin(self._copies_and_sound.run())
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._copies_and_sound.started.wait()
                waiting = self._answers.get((do, output["id"]))
                if waiting is None:
                    waiting = self._answers[do, output["id"]] = asyncio.get_running_loop().create_future()
                    path = str(self.outputs.midi_path(output))
                    self._copies_and_sound.ask(do=do, id=output["id"], workdir=workdir, path=path)
                return await asyncio.shield(waiting)
        except TimeoutError as error:
            raise RunError("This takes too long: try again later.") from error

    def _on_answer(self, answer: dict[str, Any]) -> None:
        waiting = self._answers.pop((answer["told"], answer["id"]), None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def _on_death(self) -> None:
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_exception(RunError("The process that finds copies and makes sound died; try again."))
        self._answers.clear()


def _free_bytes(folder: Path) -> int:
    """The free space where a folder lies, rounded down; 0: the folder is gone."""
    try:
        return shutil.disk_usage(folder).free // DISK_STEP_BYTES * DISK_STEP_BYTES
    except OSError:
        return 0
