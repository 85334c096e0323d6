"""The routes of the studio: a request becomes a call, its result JSON, and every error a sentence."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from musicjax import arguments, files, zip_archive
from musicjax.errors import RunError, UsageError
from musicjax.report import page, studio_page
from musicjax.studio import access, compose_request, library, piece, session, upload, workspace
from musicjax.studio.access import TooLarge
from musicjax.studio.studio import Studio
from musicjax.studio.workspace import Missing, cannot_keep

STATIC = {"css": "text/css", "js": "text/javascript"}
LEAST_MINUTES, MOST_MINUTES = 1, 600
LEAST_COPY_NOTES = 8  # a shorter run that is shared with a training piece tells nothing
MOST_NAME = 80  # letters
NO_ADDRESS = "There is nothing at this address."
Answer = Callable[[Request], Awaitable[Response]]


def make(studio: Studio) -> Starlette:
    """The application of a studio."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with studio.live():
            yield

    def call(answer: Callable[[Studio, Request], Awaitable[Any]]) -> Answer:
        async def told(request: Request) -> Response:
            try:
                found = await answer(studio, request)
            except Missing as error:
                return _error(404, str(error))
            except UsageError as error:
                return _error(400, str(error))
            except RunError as error:
                return _error(409, str(error))
            except TooLarge:
                return _error(413, access.too_large(access.most_bytes(request.method, request.url.path)))
            except ClientDisconnect:
                return _error(400, "The connection ended before all was sent.")
            except asyncio.CancelledError:  # nothing but the end of the server cancels a request
                return _error(503, "The studio has ended.")
            except OSError as error:
                return _error(507, cannot_keep(error))
            return found if isinstance(found, Response) else _Json(found)

        return told

    def route(path: str, answer: Callable[[Studio, Request], Awaitable[Any]], method: str = "GET") -> Route:
        return Route(path, call(answer), methods=[method])

    routes = [
        route("/", _page),
        route("/static/{name}", _static),
        route("/api/state", _state),
        route("/api/events", _events),
        route("/api/uploads", _new_upload, "POST"),
        route("/api/uploads/{data}/files", _upload_file, "PUT"),
        route("/api/uploads/{data}/done", _end_upload, "POST"),
        route("/api/data", _new_data, "POST"),
        route("/api/data/{data}", _report),
        route("/api/data/{data}", _remove_data, "DELETE"),
        route("/api/data/{data}/read", _read_again, "POST"),
        route("/api/data/{data}/pieces/{number}", _piece),
        route("/api/runs", _train, "POST"),
        route("/api/runs/{run}", _run),
        route("/api/runs/{run}/{act}", _act, "POST"),
        route("/api/runs/{run}/samples/{sample}", _sample),
        route("/api/outputs", _compose, "POST"),
        route("/api/outputs/{output}.mid", _midi),
        route("/api/outputs/{output}.wav", _wav),
        route("/api/outputs/{output}", _output),
        route("/api/outputs/{output}/copies", _copies),
        route("/api/outputs/{output}/{mark}", _mark, "POST"),
        route("/api/undo", _undo, "POST"),
        route("/api/session.zip", _zip),
    ]
    made = Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _no_route, Exception: _fault})
    made.router.redirect_slashes = False
    return made


class _Json(JSONResponse):
    """JSON in ASCII, because names of files may hold bytes that UTF-8 cannot encode."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def _error(status: int, sentence: str) -> Response:
    return _Json({"error": sentence}, status)


async def _no_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    return _error(status, NO_ADDRESS if status == 404 else "This address does not support that method.")


async def _fault(request: Request, error: Exception) -> Response:
    return _error(500, f"The studio has a fault ({type(error).__name__}); saved work is not lost.")


async def _asked(request: Request) -> dict[str, Any]:
    """The JSON object that a request carries; an empty body is an empty one. Raises UsageError if it is none."""
    body = await request.body()
    if not body.strip():
        return {}
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UsageError("What was sent is not JSON.") from error
    if not isinstance(found, dict):
        raise UsageError("What was sent is not a JSON object.")
    return found


def _text(asked: dict[str, Any], name: str) -> str:
    """A short text of a request; empty if it is not given."""
    found = asked.get(name)
    if found is None:
        return ""
    arguments.require(name, found, str, "a text")
    return upload.shown_name(found[:MOST_NAME]) if found.strip() else ""


async def _page(studio: Studio, request: Request) -> Response:
    return HTMLResponse(await run_in_threadpool(studio_page.html, list(library.KNOWN.items())))


async def _static(studio: Studio, request: Request) -> Response:
    name = request.path_params["name"]
    if name not in studio_page.files():
        raise Missing("There is no such file.")
    return Response(page.text(name), media_type=STATIC[name.rpartition(".")[2]])


async def _state(studio: Studio, request: Request) -> Any:
    return studio.state()


async def _events(studio: Studio, request: Request) -> Response:
    return StreamingResponse(studio.workspace.events(), media_type="text/event-stream")


async def _new_upload(studio: Studio, request: Request) -> Any:
    return {"data": studio.library.new(_text(await _asked(request), "name"))}


async def _upload_file(studio: Studio, request: Request) -> Any:
    data = request.path_params["data"]
    own = studio.library.upload(data)
    name = upload.shown_name(request.query_params.get("name", ""))
    path = own.begin(name)
    if path is None:
        return {"kept": False, "reason": upload.NO_MUSIC}
    with files.whole(path) as partial, partial.open("wb") as stream:
        async for block in request.stream():
            stream.write(block)
        studio.library.upload(data)  # raises if the data set has been completed or removed meanwhile
    own.end(path, name)
    return {"kept": True, "reason": ""}


async def _end_upload(studio: Studio, request: Request) -> Any:
    studio.library.end_upload(request.path_params["data"])
    return {}


async def _new_data(studio: Studio, request: Request) -> Any:
    name = _text(await _asked(request), "name")
    if not name:
        raise UsageError(f"No data set is named: expected one of {', '.join(library.KNOWN)}.")
    return {"data": studio.library.new(name, name)}


async def _report(studio: Studio, request: Request) -> Any:
    return await run_in_threadpool(studio.library.report, request.path_params["data"])


async def _read_again(studio: Studio, request: Request) -> Any:
    studio.library.read_again(request.path_params["data"])
    return {}


async def _remove_data(studio: Studio, request: Request) -> Any:
    data = request.path_params["data"]
    studio.trainings.require_unused(data)
    studio.library.remove(data)
    return {}


async def _piece(studio: Studio, request: Request) -> Any:
    number = request.path_params["number"]
    if not (number.isascii() and number.isdecimal() and len(number) < 9):
        raise Missing("There is no such piece.")
    name, path, place = studio.library.piece_at(request.path_params["data"], int(number))
    return await run_in_threadpool(_read_piece, name, path, place)


def _read_piece(name: str, path: Path, place: int) -> dict[str, Any]:
    try:
        return piece.of(name, piece.read(path, place))
    except (OSError, EOFError, ValueError) as error:
        raise Missing("The file of this piece is gone or damaged: add the data set again.") from error


async def _train(studio: Studio, request: Request) -> Any:
    asked = await _asked(request)
    minutes = asked.get("minutes", 10)
    arguments.require_number("minutes", minutes, float, LEAST_MINUTES, MOST_MINUTES)
    return {"run": studio.trainings.start(asked.get("data"), float(minutes), _text(asked, "name"))}


async def _run(studio: Studio, request: Request) -> Any:
    return studio.run(request.path_params["run"])


async def _act(studio: Studio, request: Request) -> Any:
    acts = {"pause": studio.trainings.pause, "continue": studio.trainings.go_on, "stop": studio.trainings.stop}
    workspace.entry(acts, request.path_params["act"], NO_ADDRESS)(request.path_params["run"])
    return {}


async def _sample(studio: Studio, request: Request) -> Any:
    studio.trainings.of(request.path_params["run"])
    return await run_in_threadpool(studio.outputs.heard, request.path_params["sample"])


async def _compose(studio: Studio, request: Request) -> Any:
    asked = await _asked(request)
    await studio.library.until_read(compose_request.data_of(asked))
    return {"outputs": studio.outputs.compose(asked)}


async def _output(studio: Studio, request: Request) -> Any:
    return await run_in_threadpool(studio.outputs.heard, request.path_params["output"])


async def _midi(studio: Studio, request: Request) -> Response:
    output = studio.outputs.of(request.path_params["output"])
    return await run_in_threadpool(_download, studio, output, "audio/midi", ".mid")


async def _wav(studio: Studio, request: Request) -> Response:
    output = studio.outputs.of(request.path_params["output"])
    path = studio.outputs.midi_path(output).with_suffix(".wav")
    if not path.is_file():
        answer = await studio.answer("sound", output)
        if answer["error"]:
            raise RunError(answer["error"])
    return await run_in_threadpool(_download, studio, output, "audio/wav", ".wav")


def _download(studio: Studio, output: dict[str, Any], media_type: str, suffix: str) -> Response:
    path = studio.outputs.midi_path(output).with_suffix(suffix)
    if output["status"] != "done" or not path.is_file():
        raise Missing("There is no such file: the output is not composed.")
    return FileResponse(path, media_type=media_type, filename=studio.outputs.file_name(output, suffix))


async def _copies(studio: Studio, request: Request) -> Any:
    output = studio.outputs.of(request.path_params["output"])
    answer = await studio.answer("copies", output)
    if not answer["message"] and answer["length"] < LEAST_COPY_NOTES:
        return {}
    data = studio.trainings.states.get(output["model"], {}).get("data", "")
    called = upload.called(studio.library.folder(data), answer["piece"]) if data else answer["piece"]
    return {**{name: answer[name] for name in ("length", "seconds", "message")}, "piece": called}


async def _mark(studio: Studio, request: Request) -> Any:
    output, mark = request.path_params["output"], request.path_params["mark"]
    if mark == "cancel":
        studio.outputs.cancel(output)
    else:
        workspace.entry(session.MARK_OF, mark, NO_ADDRESS)
        studio.outputs.mark(output, mark)
    return {}


async def _undo(studio: Studio, request: Request) -> Any:
    studio.outputs.undo()
    return {}


async def _zip(studio: Studio, request: Request) -> Response:
    """An archive of the outputs that are kept or favourites, as MIDI, with the settings of each."""
    outputs = session.to_take_away(studio.workspace.session)
    if not outputs:
        raise Missing("Nothing is kept yet: press Keep or the heart beside a piece.")

    def content() -> bytes:
        found, told = [], []
        for one in outputs:
            with contextlib.suppress(OSError):  # a file that is gone is left out
                found.append((studio.outputs.file_name(one, ".mid"), studio.outputs.midi_path(one).read_bytes()))
                told.append({"file": found[-1][0], **session.shown(one)})
        return zip_archive.packed([("session.json", json.dumps(told, indent=2).encode()), *found])

    headers = {"content-disposition": 'attachment; filename="musicjax-session.zip"'}
    return Response(await run_in_threadpool(content), media_type="application/zip", headers=headers)
