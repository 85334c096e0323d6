"""The routes of the studio: a request becomes a call, its result JSON, and every error a sentence."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from musicjax.report import page
from musicjax.version import __version__

STATIC = {"studio.css": "text/css", "studio.js": "text/javascript", "sound.js": "text/javascript"}


def _notes(program: int = 0) -> list[list[float]]:
    return [[0.25 * n, 0.24, 60 + (n * 7) % 12, 80, program] for n in range(64)]


def _piece(name: str) -> dict[str, Any]:
    bars = [2.0 * n for n in range(9)]
    return {"name": name, "notes": _notes(), "seconds": 16.0, "bars": bars, "meter": "4/4", "key": "C", "bpm": 120.0}


def _state() -> dict[str, Any]:
    can = {"infill": True, "vary": True, "continue": True, "bars": True}
    run = {
        "id": "first", "name": "first", "data": "d1", "status": "training", "epoch": 3, "epochs": 20, "minutes": 10,
        "seconds_left": 300, "windows_per_second": 2100.0, "message": "", "has_model": True, "samples": [],
    }
    data = {
        "id": "d1", "name": "my tunes", "status": "ready", "kept": 18, "recovered": 1, "skipped": 1, "pieces": 19,
        "message": "",
    }
    return {
        "runs": [run],
        "data": [data],
        "models": [
            {"id": "builtin", "name": "the built-in model", "keys": True, "meters": ["4/4", "3/4"],
             "instruments": ["piano", "bass", "drums"], "can": can}
        ],
        "outputs": list(OUTPUTS.values()),
        "undo": "",
        "disk_free_bytes": 10**10,
        "version": __version__,
    }


OUTPUTS: dict[str, dict[str, Any]] = {}
CHANGED: list[asyncio.Queue] = []


def _tell(event: str, values: dict[str, Any]) -> None:
    for queue in CHANGED:
        queue.put_nowait((event, values))


async def _index(request: Request) -> Response:
    try:
        return HTMLResponse(page.text("studio.html.j2"))
    except FileNotFoundError:
        return HTMLResponse("<!doctype html><html lang=en><title>musicjax studio</title><p>The page comes here.</html>")


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in STATIC:
        return JSONResponse({"error": "There is no such file."}, 404)
    return Response(page.text(name), media_type=STATIC[name])


async def _events(request: Request) -> Response:
    queue: asyncio.Queue = asyncio.Queue()
    CHANGED.append(queue)
    queue.put_nowait(("state", _state()))

    async def stream():
        try:
            while True:
                event, values = await queue.get()
                yield f"event: {event}\ndata: {json.dumps(values)}\n\n"
        finally:
            CHANGED.remove(queue)

    return StreamingResponse(stream(), media_type="text/event-stream")


async def _compose(request: Request) -> Response:
    asked = await request.json()
    made = []
    for number in range(int(asked.get("count") or 1)):
        name = secrets.token_hex(6)
        made.append(name)
        OUTPUTS[name] = {
            "id": name, "kind": asked.get("kind", "new"), "model": asked.get("model", "builtin"), "status": "waiting",
            "seed": number, "command": f"musicjax generate --num_outputs=1 --bars=8 --seed={number}", "seconds": 0.0,
            "kept": False, "discarded": False, "favourite": False, "error": "",
        }
    asyncio.create_task(_composed(made))
    _tell("state", _state())
    return JSONResponse({"outputs": made})


async def _composed(names: list[str]) -> None:
    for name in names:
        whole = _piece(name)
        for first in range(0, 64, 16):
            await asyncio.sleep(0.2)
            OUTPUTS[name]["status"] = "composing"
            part = {"output": name, "from": first, "notes": whole["notes"][first : first + 16]}
            _tell("notes", {**part, "seconds": (first + 16) / 4, "bars": whole["bars"][: first // 8 + 3]})
        OUTPUTS[name] |= {"status": "done", "seconds": 16.0}
        _tell("state", _state())


def _plain(values: Any):
    async def answer(request: Request) -> Response:
        return JSONResponse(values)

    return answer


async def _output(request: Request) -> Response:
    found = OUTPUTS.get(request.path_params["output"])
    if found is None:
        return JSONResponse({"error": "There is no such output."}, 404)
    return JSONResponse({**_piece(found["id"]), **found})


async def _mark(request: Request) -> Response:
    found, act = OUTPUTS.get(request.path_params["output"]), request.path_params["act"]
    if found is None:
        return JSONResponse({"error": "There is no such output."}, 404)
    if act == "favourite":
        found["favourite"] = not found["favourite"]
    elif act == "cancel":
        found["status"] = "cancelled"
    else:
        found["kept"], found["discarded"] = act == "keep", act == "discard"
    _tell("state", _state())
    return JSONResponse({})


async def _get_state(request: Request) -> Response:
    return JSONResponse(_state())


async def _run(request: Request) -> Response:
    curve = [{"epoch": n, "train": 3.0 / n + 1, "valid": 3.2 / n + 1.1} for n in range(1, 4)]
    return JSONResponse({**_state()["runs"][0], "curve": curve, "console": ["data: 19 pieces", "train 3/20"]})


REPORT = {
    "kept": 18, "recovered": 1, "skipped": 1,
    "files": [{"name": "a.mid", "verdict": "kept", "reason": ""}, {"name": "b.txt", "verdict": "skipped", "reason": "is no file of music"}],
    "files_left_out": 0, "keys": {"C": 10, "G": 9}, "meters": {"4/4": 19}, "instruments": {"piano": 19},
    "lengths_seconds": [16.0] * 19, "pieces": [{"number": n, "name": f"{n}.mid", "seconds": 16.0, "bars": 8} for n in range(19)],
}


def make() -> Starlette:
    """The application."""
    return Starlette(
        routes=[
            Route("/", _index),
            Route("/static/{name}", _static),
            Route("/api/state", _get_state),
            Route("/api/events", _events),
            Route("/api/uploads", _plain({"data": "d1"}), methods=["POST"]),
            Route("/api/uploads/{data}/files", _plain({"kept": True}), methods=["PUT"]),
            Route("/api/uploads/{data}/done", _plain({}), methods=["POST"]),
            Route("/api/data", _plain({"data": "d1"}), methods=["POST"]),
            Route("/api/data/{data}", _plain(REPORT)),
            Route("/api/data/{data}", _plain({}), methods=["DELETE"]),
            Route("/api/data/{data}/pieces/{number}", _plain(_piece("a.mid"))),
            Route("/api/runs", _plain({"run": "first"}), methods=["POST"]),
            Route("/api/runs/{run}", _run),
            Route("/api/runs/{run}/{act}", _plain({}), methods=["POST"]),
            Route("/api/outputs", _compose, methods=["POST"]),
            Route("/api/outputs/{output}", _output),
            Route("/api/outputs/{output}/copies", _plain({"length": 0, "piece": "", "seconds": [0, 0]})),
            Route("/api/outputs/{output}/{act}", _mark, methods=["POST"]),
            Route("/api/undo", _plain({}), methods=["POST"]),
        ]
    )
