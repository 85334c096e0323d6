"""A process that answers requests in lines of JSON, and is restarted when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

from musicjax.studio import processes

MOST_LINE_BYTES = 2**27
# A process that keeps dying waits longer and longer before it is restarted.
PAUSES_S = (0.0, 1.0, 5.0, 30.0)


class Worker:
    """One such process, as the server sees it.

    Args:
        module: what it runs.
        on_start: called when it runs, each time.
        on_answer: gets each answer.
        on_death: called when it has died, before the next one starts.

    Attributes:
        started: set while a process is there.
    """

    def __init__(
        self,
        module: str,
        on_start: Callable[[], object],
        on_answer: Callable[[dict[str, Any]], object],
        on_death: Callable[[], object],
    ) -> None:
        self._module, self._on_start, self._on_answer, self._on_death = module, on_start, on_answer, on_death
        self._process: asyncio.subprocess.Process | None = None
        self._failures = 0
        self.started = asyncio.Event()

    @property
    def pid(self) -> int:
        """Its number; 0: there is none now."""
        return 0 if self._process is None or self._process.returncode is not None else self._process.pid

    async def run(self) -> None:
        """Keeps a process running until this is cancelled."""
        while True:
            with contextlib.suppress(OSError):  # as where no process can be started any more
                await self._live()
            self._on_death()
            await asyncio.sleep(PAUSES_S[min(self._failures, len(PAUSES_S) - 1)])
            self._failures += 1

    async def _live(self) -> None:
        process = self._process = await asyncio.create_subprocess_exec(
            *processes.command(self._module),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=MOST_LINE_BYTES,
            env=processes.environment(),
            start_new_session=True,  # so that Ctrl-C reaches the server alone
        )
        assert process.stdout is not None
        self.started.set()
        self._on_start()
        try:
            while line := await process.stdout.readline():
                answer = json.loads(line)
                self._failures = 0
                self._on_answer(answer)
        except ValueError:  # half a line, or one that is too long: it cannot be trusted any more
            pass
        finally:
            self.started.clear()
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            with contextlib.suppress(asyncio.CancelledError):
                await process.wait()

    def ask(self, **request: Any) -> None:
        """Sends a request; if it is lost because the process has just died, `on_death` is called."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError, RuntimeError):
                self._process.stdin.write(json.dumps(request).encode() + b"\n")
