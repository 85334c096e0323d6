"""A server that answers as the studio does, with music and names that a test knows, and without a model.

It keeps what the page asked of it, in `asked`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from musicjax.report import page, studio_page
from musicjax.studio.access import HEADERS

HOSTILE = "<img src=x onerror=alert(1)> “names” & more of them, as long as they like to be.mid"
BAR_SECONDS, NOTES_A_BAR, PARTS = 1.0, 4, 4
PIANO, BASS = 0, 32


def piece(bars: int = 8, lowest: int = 60) -> dict[str, Any]:
    """Four notes a bar that rise over a bass; with one bar a second."""
    beat = BAR_SECONDS / NOTES_A_BAR
    tune = [[beat * n, 0.9 * beat, lowest + n % 12, 80, PIANO] for n in range(NOTES_A_BAR * bars)]
    bass = [[BAR_SECONDS * n, 0.9 * BAR_SECONDS, lowest - 24, 70, BASS] for n in range(bars)]
    return {
        "name": HOSTILE,
        "notes": sorted(tune + bass),
        "seconds": BAR_SECONDS * bars,
        "bars": [BAR_SECONDS * n for n in range(bars + 1)],
        "meter": "4/4",
        "key": "A minor",
        "bpm": 240.0,
    }


class Canned:
    """What the server knows. may_go_on: if False, an output stops after its first part."""

    def __init__(self) -> None:
        self.may_go_on = True
        self.port = 0
        self.asked: list[tuple[str, str, Any]] = []
        self.outputs: dict[str, dict[str, Any]] = {}
        self.undo: list[str] = []
        self.report = dict(REPORT)
        self._pages: set[tuple[asyncio.AbstractEventLoop, asyncio.Queue]] = set()
        self._works: set[asyncio.Task] = set()
        run = {"data": "d1", "epochs": 20, "minutes": 10, "windows_per_second": 2100.4, "has_model": True}
        self.runs = [
            {**run, "id": "r1", "name": "ballads", "status": "training", "epoch": 5, "seconds_left": 305, "message": "",
             "samples": [{"id": "s1", "epoch": 2, "seconds": 8.0}]},
            {**run, "id": "r2", "name": HOSTILE, "status": "failed", "epoch": 0, "seconds_left": None, "samples": [],
             "message": "The disk is full: make room, then go on."},
        ]  # fmt: skip
        counts = {"kept": 18, "recovered": 1, "skipped": 1}
        self.data = [{**counts, "id": "d1", "name": HOSTILE, "status": "ready", "pieces": 19, "message": ""}]
        can = {"infill": True, "vary": True, "continue": True, "bars": True}
        names = ["acoustic grand piano", "acoustic bass", "drums"]
        known = {"keys": True, "meters": ["4/4", "3/4"], "instruments": names, "can": can, "temperature": 0.8}
        self.models = [{"id": "builtin", "name": "built-in", **known}, {"id": "r1", "name": HOSTILE, **known}]

    def state(self) -> dict[str, Any]:
        """As /api/state tells it."""
        return {
            "runs": self.runs,
            "data": self.data,
            "models": self.models,
            "outputs": list(self.outputs.values()),
            "undo": self.undo[-1] if self.undo else "",
            "disk_free_bytes": 10**10,
            "version": "0",
            "message": "",
        }

    def tell(self, event: str = "state", values: Any = None) -> None:
        """Sends an event to every page."""
        for loop, queue in list(self._pages):  # which the server's thread changes
            loop.call_soon_threadsafe(queue.put_nowait, (event, self.state() if values is None else values))

    def add(self, status: str = "done", **asked: Any) -> str:
        """Another output; asked: what it was asked with."""
        name = f"o{len(self.outputs) + 1}"
        marks = dict.fromkeys(("kept", "discarded", "favourite"), False)
        command = f"musicjax generate --num_outputs=1 --bars=8 --seed={len(self.outputs)} --primer='{HOSTILE}'"
        self.outputs[name] = {
            "id": name, "kind": asked.get("kind", "new"), "model": "builtin", "status": status,
            "seed": len(self.outputs), "command": command, "seconds": 8.0, "error": "", "asked": asked, **marks,
        }  # fmt: skip
        return name

    async def compose(self, asked: dict[str, Any]) -> list[str]:
        """New outputs, which are written part by part."""
        names = [self.add("waiting", **asked) for _ in range(asked.get("count", 1))]
        self.tell()
        work = asyncio.create_task(self._write(names))
        self._works.add(work)
        work.add_done_callback(self._works.discard)
        return names

    async def _write(self, names: list[str]) -> None:
        for name in names:
            output, whole = self.outputs[name], piece(self.outputs[name]["asked"].get("bars", 8))
            output["status"] = "composing"
            size = -(-len(whole["notes"]) // PARTS)
            for first in range(0, len(whole["notes"]), size):
                while first and not self.may_go_on and output["status"] != "cancelled":
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.01)
                if output["status"] == "cancelled":
                    break
                notes = whole["notes"][first : first + size]
                so_far = {"seconds": notes[-1][0], "bars": [at for at in whole["bars"] if at <= notes[-1][0]]}
                self.tell("notes", {"output": name, "from": first, "notes": notes, **so_far})
            else:
                output["status"] = "done"
            self.tell()

    def mark(self, name: str, act: str) -> None:
        """Keeps, discards, prefers or cancels an output."""
        if act == "cancel":
            self.outputs[name]["status"] = "cancelled"
        else:
            field = {"keep": "kept", "discard": "discarded", "favourite": "favourite"}[act]
            self.outputs[name][field] = not self.outputs[name][field]
            self.undo.append(f"{act} no more")
        self.tell()

    async def events(self) -> AsyncIterator[str]:
        """What one page hears."""
        queue: asyncio.Queue = asyncio.Queue()
        here = asyncio.get_running_loop(), queue
        self._pages.add(here)
        event, values = "state", self.state()
        try:
            while event != "end":
                yield f"event: {event}\ndata: {json.dumps(values)}\n\n"
                event, values = await queue.get()
        finally:
            self._pages.discard(here)


REPORT = {
    "kept": 18,
    "recovered": 1,
    "skipped": 1,
    "files": [
        {"name": "a.mid", "verdict": "kept", "reason": ""},
        {"name": HOSTILE, "verdict": "skipped", "reason": "it is no file of music"},
    ],
    "keys": {"C major": 10, "Bb major": 9},
    "meters": {"4/4": 15, "3/4": 4},
    "instruments": {"acoustic grand piano": 19, HOSTILE: 2},
    "lengths_seconds": [8.0, 45.0, 90.0, 600.0] * 4,
    "pieces": [{"number": n, "name": f"{n} {HOSTILE}", "seconds": 8.0, "bars": 8} for n in range(19)],
    "pieces_left_out": 5,
}
CURVE = [{"epoch": n, "train": 3 / n + 1, "valid": 3.3 / n + 1.1} for n in range(1, 6)]


def application(canned: Canned) -> Starlette:
    """The routes of the studio."""

    async def answer(request: Request) -> Response:
        body = await request.body()
        path, names = request.url.path.removeprefix("/api/"), request.url.path.split("/")[3:]
        is_file = request.method == "PUT"
        canned.asked.append((request.method, path, len(body) if is_file else json.loads(body) if body else None))
        match request.method, path.split("/")[0], names:
            case "GET", "state", _:
                return JSONResponse(canned.state())
            case "POST", "outputs", []:
                return JSONResponse({"outputs": await canned.compose(json.loads(body))})
            case "POST", "outputs", [name, act]:
                canned.mark(name, act)
            case "GET", "outputs", [name, "copies"]:
                found = {"length": 9, "piece": HOSTILE, "seconds": [2.0, 4.0]}
                return JSONResponse(found if name == "o1" else {"length": 0, "piece": "", "seconds": [0, 0]})
            case "GET", "outputs", [name]:
                output = canned.outputs.get(name, {"status": "done"})
                is_whole = output["status"] == "done"
                return JSONResponse(
                    {**piece(), **output, **({} if is_whole else {"notes": [], "bars": [], "seconds": 0})}
                )
            case "POST", "undo", _:
                canned.undo.pop()
                canned.tell()
            case "GET", "data", [_]:
                return JSONResponse(canned.report)
            case "GET", "data", [_, "pieces", number]:
                return JSONResponse(piece(lowest=48 + int(number)))
            case "GET", "runs", [_]:
                return JSONResponse({"curve": CURVE, "console": ["20 files", HOSTILE]})
            case "PUT", "uploads", _ if "refused" in request.query_params["name"]:
                return JSONResponse({"error": "It is too large: a file may have 16 MiB."}, 413)
            case "POST", "uploads" | "data" | "runs", _:
                return JSONResponse({"data": "d1", "run": "r1"})
        return JSONResponse({})

    async def events(request: Request) -> Response:
        return StreamingResponse(canned.events(), media_type="text/event-stream")

    async def index(request: Request) -> Response:
        known = [("builtin", "Pop songs that musicjax composed."), ("bach", "Chorales in four parts.")]
        return HTMLResponse(studio_page.html(known), headers=HEADERS)

    async def static(request: Request) -> Response:
        name = request.path_params["name"]
        return Response(page.text(name), media_type="text/css" if name.endswith(".css") else "text/javascript")

    methods = ["GET", "POST", "PUT", "DELETE"]
    return Starlette(
        routes=[
            Route("/", index),
            Route("/static/{name}", static),
            Route("/api/events", events),
            Route("/api/{path:path}", answer, methods=methods),
        ]
    )


@contextlib.contextmanager
def serving(canned: Canned) -> Iterator[str]:
    """The address of a server in a thread, at the same port as before if it ran before."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", canned.port))
    canned.port = listening.getsockname()[1]
    config = uvicorn.Config(application(canned), log_level="critical", timeout_graceful_shutdown=0, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{canned.port}/"
    finally:
        canned.tell("end")
        server.should_exit = True
        thread.join()
        listening.close()
