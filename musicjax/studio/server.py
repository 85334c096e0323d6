"""The `studio` command: one server for one folder, whose address it prints and opens."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from musicjax import arguments, console
from musicjax.errors import RunError, UsageError
from musicjax.store import lock
from musicjax.studio import address as address_lib
from musicjax.studio.address import Address

if TYPE_CHECKING:  # which need the extra
    from musicjax.studio.access import Access
    from musicjax.studio.studio import Studio

LOCAL = "127.0.0.1"
STOP_S = 1  # how long pages may take to go once the server ends
INSTALL = "the studio needs Starlette and uvicorn: pip install 'musicjax[studio]'"


def serve(root: Path, port: int = 0, host: str = "") -> None:
    """Serves the studio of a folder of runs until it is stopped; if it is open already, tells its address.

    Args:
        port: 0: the one that the folder's studio had before, or any that is free.
        host: an address of this machine that others may reach; empty: this machine alone.

    Raises:
        UsageError: the extra is not installed, or `port` is not a port number.
        RunError: another user or machine has the studio of the folder open, or the folder or the address cannot be
            used.
    """
    arguments.require_number("port", port, int, 0, 65_535)
    try:
        import uvicorn  # noqa: F401 - `_run` does

        from musicjax.studio import access, app
    except ModuleNotFoundError as error:
        raise UsageError(INSTALL) from error
    from musicjax.studio.studio import Studio
    from musicjax.studio.workspace import FOLDER

    folder = root / FOLDER
    _make(folder)
    before = address_lib.read(folder)
    with contextlib.ExitStack() as held:
        try:
            listening = held.enter_context(contextlib.closing(_listening_as_before(host or LOCAL, port, before)))
        except RunError:
            if (open_one := _open_one(folder)) is None:
                raise
            _open(open_one)
            return
        bound = listening.getsockname()[1]
        named = _in_address(host) if host and not _is_any(host) else "localhost"
        # Pages that are open still send their cookie to the previous port, which may be another program's by now.
        is_safe = before is not None and (port or bound == before.port)
        token = before.token if before is not None and is_safe else address_lib.new_token()
        address = Address(socket.gethostname(), named, bound, token)
        try:
            held.enter_context(_alone(folder, address.shown))
        except lock.Taken as error:
            _open(_of_the_open_one(folder, error))
            return
        if address != before:
            _keep(folder, address)
        names = {*access.LOOPBACK, *([host.lower(), socket.gethostname().lower()] if host else [])}
        studio = Studio(root)
        application = access.Access(app.make(studio), token, names)
        if host:
            console.say(
                "warning",
                f"others can reach {host} port {address.port}: whoever has the token can use this machine through the "
                "studio, and the connection is not encrypted",
            )
        _open(address)
        console.say("studio", "Ctrl-C ends it; training continues")
        _run(studio, application, listening)


def _open_one(folder: Path) -> Address | None:
    """The address of the studio that is open on a folder; None: there is none.

    Raises:
        Taken: it is another user's, or on another machine.
    """
    try:
        with _alone(folder, ""):
            return None
    except lock.Taken as error:
        return _of_the_open_one(folder, error)


def _of_the_open_one(folder: Path, taken: lock.Taken) -> Address:
    """The address of the studio that is open on a folder; raises `taken` unless it is this user's, on this machine."""
    kept = address_lib.read(folder)
    if kept is None or kept.machine != socket.gethostname() or f"studio at {kept.shown};" not in str(taken):
        raise taken
    console.say("studio", f"is already open on {folder.parent}: this is its address")
    return kept


def _keep(folder: Path, address: Address) -> None:
    """Keeps the address for the next start, or says why the next start will have another one."""
    try:
        address_lib.write(folder, address)
    except OSError as error:
        said = f"{folder / address_lib.NAME} cannot be written: {error.strerror}"
        console.say("address", f"{said}; the next start will use another address")


def _run(studio: Studio, application: Access, listening: socket.socket) -> None:
    """Serves until a signal ends it."""
    import uvicorn

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            studio.workspace.close_pages()  # they would not end by themselves
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        application, log_level="warning", access_log=False, ws="none", timeout_graceful_shutdown=STOP_S, lifespan="on"
    )
    Server(config).run(sockets=[listening])


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"folder {folder} cannot be made: {error.strerror}; name another with --workdir=DIR") from error


def _listening_as_before(host: str, port: int, before: Address | None) -> socket.socket:
    """A socket that listens at the port; if that is 0, at the port of the last start, or if it is taken at any.

    Raises:
        RunError: it cannot listen there.
    """
    if not port and before is not None:
        with contextlib.suppress(RunError):
            return _listening(host, before.port)
    return _listening(host, port)


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens at an address; raises RunError if it cannot."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        with contextlib.ExitStack() as failed:
            failed.callback(listening.close)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen()  # so that whoever is told the address is not refused before the server begins
            failed.pop_all()
    except OSError as error:
        raise RunError(
            f"cannot listen at {host} port {port}: {error.strerror}; name another with --port, or leave it out"
        ) from error
    return listening


@contextlib.contextmanager
def _alone(folder: Path, address: str) -> Iterator[None]:
    """Keeps the folder for this studio; raises RunError, with the address of the one that has it, if another does."""
    with lock.kept(folder / lock.NAME, f"studio at {address}", f"another studio is open on {folder.parent}"):
        yield


def _open(address: Address) -> None:
    """Prints the address, and opens it in a browser where there is one, or says how to reach it from elsewhere."""
    console.result(address.whole)
    if os.environ.get("SSH_CONNECTION") or not _has_screen():
        line = f"ssh -L {address.port}:localhost:{address.port} {socket.gethostname()}"
        console.say("browser", f"none here; on the machine that has one: {line}, then open the address there")
    elif console.is_terminal():
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(address.whole)


def _has_screen() -> bool:
    """Whether a browser can show a window; in a terminal alone some would take it over."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _is_any(host: str) -> bool:
    return host in ("0.0.0.0", "::")


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host
