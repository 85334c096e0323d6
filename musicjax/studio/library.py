"""The data sets of the studio: what was uploaded or named, and what reading it gave."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

from musicjax import files
from musicjax.corpus import datasets
from musicjax.errors import UsageError
from musicjax.studio import json_file, processes, run_state, session, upload
from musicjax.studio.upload import Upload
from musicjax.studio.workspace import Missing, Workspace, entry

# What is known by name, and a sentence about it.
KNOWN = {"builtin": "Short pieces that musicjax composes itself; nothing is downloaded."}
KNOWN |= {"bach": "Bach's chorales, from the package music21, if it is installed."}
KNOWN |= {
    name: f"Downloaded once from {one.url.split('/')[2]}; licence: {one.licence}."
    for name, one in datasets.DATA_SETS.items()
}
COUNTS = ("kept", "recovered", "skipped", "pieces")
READING_S = 10.0  # how long a piece that was just added is waited for
LOOK_S = 0.1
NO_DATA = "There is no such data set."


class Library:
    """The data sets of a studio, in session.data by their ids."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace, self._data = workspace, workspace.session.data
        self._uploads: dict[str, Upload] = {}

    def go_on(self) -> None:
        """Reads again what was being read when the last studio ended."""
        for one, data in self._data.items():
            if data["status"] == "reading":
                self._workspace.begin(self._read(one))

    def folder(self, one: str) -> Path:
        """Where a data set lies."""
        return self._workspace.folder / "uploads" / one

    def source(self, one: str) -> str:
        """What `musicjax train --data` is given: a name, or the folder of uploaded files."""
        return self._data.get(one, {}).get("source") or str(self.folder(one) / upload.FILES)

    def shown(self) -> list[dict[str, Any]]:
        """All data sets as the page gets them."""
        return [self._shown(one) for one in self._data]

    def _shown(self, one: str) -> dict[str, Any]:
        return {"id": one, **{name: self._data[one][name] for name in ("name", "status", *COUNTS, "message")}}

    def new(self, name: str = "", source: str = "") -> str:
        """A data set that is uploaded, or one that is known by its name; raises UsageError for an unknown one."""
        if source and source not in KNOWN:
            raise UsageError(f"There is no data set of that name; expected one of {', '.join(KNOWN)}.")
        one = session.new_id()
        self._uploads[one] = Upload(self.folder(one))
        self._data[one] = {
            "name": name or source or f"upload {len(self._data) + 1}",
            "source": source,
            "status": "uploading",
            "message": "",
            **dict.fromkeys(COUNTS, 0),
        }
        if source:
            self.end_upload(one)
        self._workspace.keep()
        return one

    def upload(self, one: str) -> Upload:
        """The upload of a data set; raises Missing or UsageError if it takes no more files."""
        if self.of(one)["status"] != "uploading":
            raise UsageError("This data set is complete: make another one for more files.")
        if one not in self._uploads:  # begun before the studio was started again
            self._uploads[one] = Upload(self.folder(one))
        return self._uploads[one]

    def end_upload(self, one: str) -> None:
        """Nothing more comes: the data set is read. Raises Missing or UsageError."""
        self.upload(one)
        del self._uploads[one]
        self._data[one]["status"] = "reading"
        self._workspace.begin(self._read(one))
        self._workspace.keep()

    def read_again(self, one: str) -> None:
        """Reads a data set once more that could not be read; raises Missing or UsageError."""
        if self.of(one)["status"] != "failed":
            raise UsageError("This data set has been read, or is being read: there is nothing to read again.")
        self._data[one] |= {"status": "reading", "message": ""}
        self._workspace.begin(self._read(one))
        self._workspace.keep()

    def of(self, one: object) -> dict[str, Any]:
        """A data set; raises Missing."""
        return entry(self._data, one, NO_DATA)

    async def until_read(self, one: object) -> None:
        """Waits a while for a data set that is being read, such as a file that somebody has just chosen."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READING_S):
                while isinstance(one, str) and self._data.get(one, {}).get("status") == "reading":
                    await asyncio.sleep(LOOK_S)

    def report(self, one: str) -> dict[str, Any]:
        """The report on a data set, with its state; raises Missing."""
        self.of(one)
        found = _report(self.folder(one))
        found.pop("places", None)
        return {**self._shown(one), "files": [], **found, "pieces": found.get("pieces", [])}

    def piece_at(self, one: object, number: int) -> tuple[str, Path, int]:
        """(name, file of pieces, byte) of a piece; raises Missing."""
        self.of(one)
        folder = self.folder(str(one))
        found = _report(folder)
        places = found.get("places", [])
        if not 0 <= number < len(places):
            raise Missing("There is no such piece.")
        return found["pieces"][number]["name"], folder / "pieces.bin", places[number]

    def remove(self, one: str) -> None:
        """Removes a data set; raises Missing."""
        self.of(one)
        del self._data[one]
        self._uploads.pop(one, None)
        self._workspace.keep()
        with contextlib.suppress(OSError):
            files.remove(self.folder(one))

    async def _read(self, one: str) -> None:
        """Reads a data set in a process of its own."""
        folder, last = self.folder(one), ""
        process = await asyncio.create_subprocess_exec(
            *processes.command("musicjax.studio.reader", self.source(one), str(folder)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=processes.environment(),
            start_new_session=True,
        )
        try:
            assert process.stderr is not None
            while line := await process.stderr.readline():
                last = line.decode("utf-8", "replace").strip()
                if one in self._data:
                    self._data[one]["message"] = last
                    self._workspace.changed()
            status = await process.wait()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            raise
        if one in self._data:  # it has not been removed meanwhile
            self._data[one] |= _found(folder, "" if status == 0 else _reason(last))
            self._workspace.keep()


def _reason(last: str) -> str:
    """Why reading failed. The last line that it printed is the reason, unless it was killed."""
    if last.startswith(run_state.COMPLAINT):
        return last.removeprefix(run_state.COMPLAINT)
    return "The reading process died: read it again."


def _report(folder: Path) -> dict[str, Any]:
    """What reading a data set gave; empty if it has not been read."""
    try:
        return json_file.read(folder / "report.json")
    except (OSError, ValueError):
        return {}


def _found(folder: Path, said: str) -> dict[str, Any]:
    """Status, message and counts of a data set after reading; said: why it could not be read, or empty."""
    found = _report(folder)
    names = upload.names(folder)
    refused = [name for kept_as, name in names if not kept_as]
    pieces = len(found.get("pieces", [])) + found.get("pieces_left_out", 0)
    if not said and not pieces:
        said = "None of these files gave notes; drop MIDI or MusicXML files."
        if refused and len(refused) == len(names):
            said = f"None of these files is music: {refused[0]} {upload.NO_MUSIC}."
    counts = {name: found.get(name, 0) for name in COUNTS[:3]} | {"pieces": pieces}
    return {**counts, "status": "failed" if said else "ready", "message": said}
