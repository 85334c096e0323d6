"""What all parts of the studio share: its folders, its session, its tasks in the background, and its open pages.

All of the server runs in one thread, so that nothing needs a lock.
"""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

from musicjax import console
from musicjax.studio import session

FOLDER = ".studio"  # below that of the runs
LEAST_BETWEEN_S = 0.25  # two states that a page is sent
MOST_WAITING = 2000  # messages for a page that does not take them; then it has to connect again


class Missing(Exception):
    """What a page asks for is not there; the text says so."""


class Workspace:
    """The folders, session, background tasks and open pages of a studio on the folder of its runs.

    Attributes:
        message: a sentence for the page; may be empty.
        state: gives what pages are sent; set by `studio.Studio`.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / FOLDER
        for name in ("outputs", "uploads", "logs"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.session = session.read(self.folder)
        self.message = ""
        self.state: Callable[[], dict[str, Any]] = dict
        self._pages: set[asyncio.Queue] = set()
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task] = set()

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Starts something that goes on by itself until it ends, or the studio does."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_end)

    def _on_end(self, task: asyncio.Task) -> None:
        """Reports a fault in such a task, since nobody waits for it."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.message = f"Something went wrong in the studio ({type(error).__name__}: {error}); start it again."
            console.say("studio", self.message)
            self.changed()

    async def end(self) -> None:
        """Ends everything that goes on by itself."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def changed(self) -> None:
        """Has pages sent the state soon."""
        self._changed.set()

    def keep(self) -> None:
        """Keeps the session on the disk, and tells the pages; where it cannot be kept, they are told that too.

        What cannot be kept now is kept with the next change.
        """
        try:
            session.write(self.folder, self.session)
            self.message = ""
        except OSError as error:
            self.message = cannot_keep(error)
        self.changed()

    async def send_states(self) -> None:
        """Sends pages the state whenever it has changed."""
        last = ""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._pages and (text := json.dumps(self.state())) != last:
                last = text
                self.tell("state", text)
            await asyncio.sleep(LEAST_BETWEEN_S)

    def tell(self, event: str, text: str) -> None:
        """Sends an event, JSON, to all pages."""
        for page in list(self._pages):
            try:
                page.put_nowait((event, text))
            except asyncio.QueueFull:
                self._pages.discard(page)

    def close_pages(self) -> None:
        """Sends nothing more to pages: the server ends."""
        self.tell("", "")

    async def events(self) -> AsyncIterator[str]:
        """What one page is sent: server-sent events, the state first."""
        page: asyncio.Queue = asyncio.Queue(MOST_WAITING)
        page.put_nowait(("state", json.dumps(self.state())))
        self._pages.add(page)
        try:
            while page in self._pages or not page.empty():
                event, text = await page.get()
                if not event:
                    return
                yield f"event: {event}\ndata: {text}\n\n"
        finally:
            self._pages.discard(page)


def cannot_keep(error: OSError) -> str:
    """What is said where something cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The disk is full: free some space, or what you do now is lost when the studio ends."
    if error.errno == errno.ENOENT:
        return "The studio's folder is gone: bring it back, or what you do now is lost when the studio ends."
    return f"The studio's folder cannot be written: {error.strerror or error}."


def entry(found: dict[str, Any], key: object, otherwise: str) -> Any:
    """An entry; raises Missing if there is none, or no key."""
    if not isinstance(key, str) or key not in found:
        raise Missing(otherwise)
    return found[key]
