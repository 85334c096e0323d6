"""The `studio` command: one server on this machine, whose address it prints and opens."""

from __future__ import annotations

import secrets
from pathlib import Path

import uvicorn

from musicjax import console
from musicjax.studio import app
from musicjax.studio.access import Access


def serve(folder: Path, port: int = 0, host: str = "127.0.0.1") -> None:
    """Serves until it is stopped."""
    token = secrets.token_urlsafe(24)
    config = uvicorn.Config(app.make(), host=host, port=port, log_level="warning", access_log=False)
    listening = config.bind_socket()
    config.app = Access(app.make(), token)
    console.result(f"http://127.0.0.1:{listening.getsockname()[1]}/?token={token}")
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    import sys

    serve(Path("runs"), int(sys.argv[1]) if len(sys.argv) > 1 else 0)
