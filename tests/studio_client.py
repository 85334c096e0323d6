"""A client of the studio's application without a server, for the tests."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from musicjax.studio import access, app
from musicjax.studio.access import Access
from musicjax.studio.models import BUILTIN
from musicjax.studio.studio import Studio

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # later versions of Starlette would rather have another client than httpx
    from starlette.testclient import TestClient

TOKEN = "a-token-of-a-test"
# What the composing process says of the built-in model; none runs here, so outputs wait.
MODEL: dict[str, Any] = {
    "id": BUILTIN,
    "name": "the built-in model",
    "keys": True,
    "meters": ["4/4", "3/4"],
    "instruments": ["acoustic grand piano"],
    "can": {"infill": True, "vary": True, "continue": True, "bars": True},
    "temperature": 0.8,
    "error": "",
}


def stranger_of(folder: Path, host: str = "localhost:8000", names: Iterable[str] = access.LOOPBACK) -> TestClient:
    """A client without the cookie."""
    studio = Access(app.make(Studio(folder)), TOKEN, names)
    return TestClient(studio, base_url=f"http://{host}", follow_redirects=False)


def client_of(studio: Studio) -> TestClient:
    """A client with the cookie, of a studio that knows the built-in model."""
    studio.outputs.models[BUILTIN] = MODEL
    client = TestClient(Access(app.make(studio), TOKEN), base_url="http://localhost", follow_redirects=False)
    client.get("/", params={"token": TOKEN})
    return client
