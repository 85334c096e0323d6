"""Who may ask the studio: the token, the cookie, Host and Origin, the size of what is sent, and what a browser may do.

The decisions are pure functions of the headers; `Access` applies them to every request before the application sees it.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES, MOST_FILE_BYTES = 2**21, 2**24  # of a request, and of one that carries a file
# What a page may do: its own styles, scripts and addresses, and no other's; nobody may frame it.
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
        "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
LOOPBACK = ("localhost", "127.0.0.1", "::1")
FIRST_ADDRESS = "open the address that musicjax studio printed when it started: it ends in ?token=..."


class TooLarge(Exception):
    """More was sent than a request may carry."""


def cookie_name(token: str) -> str:
    """A name of its own for each studio, because a browser gives a cookie to every port of a host."""
    return f"studio-{hashlib.sha256(token.encode()).hexdigest()[:12]}"


def host_of(authority: str) -> str:
    """The host of HOST or HOST:PORT, in lower case, an IPv6 address without brackets."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0].lower()
    return authority.rpartition(":")[0].lower() if authority.count(":") == 1 else authority.lower()


def is_known_host(authority: str, names: Iterable[str]) -> bool:
    """Whether a Host header names this machine: by one of `names`, or by an address if they are more than loopback's.

    Another site can point its own name at this machine, but it cannot make a browser call an address by that name.
    """
    host = host_of(authority)
    if host in names:
        return True
    if set(names) <= set(LOOPBACK):
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_own_origin(origin: str | None, authority: str) -> bool:
    """Whether a request comes from a page of this server, or from no page at all."""
    return origin is None or origin.lower() == f"http://{authority}".lower()


def has_token(cookies: str, token: str) -> bool:
    """Whether a Cookie header carries the token."""
    try:
        found = SimpleCookie(cookies).get(cookie_name(token))
    except CookieError:
        return False
    return found is not None and is_token(found.value, token)


def is_token(given: str, token: str) -> bool:
    """Whether a text is the token, in a time that does not tell how much of it is right."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def most_bytes(method: str, path: str) -> int:
    """The most bytes that the body of a request may have."""
    return MOST_FILE_BYTES if method == "PUT" and path.startswith("/api/uploads/") else MOST_BYTES


class Access:
    """The application, for those who may use it.

    Args:
        names: the hosts that this machine is called by.
    """

    def __init__(self, app: ASGIApp, token: str, names: Iterable[str] = LOOPBACK) -> None:
        self._app, self._token, self._names = app, token, frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or passes it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        is_answered = False

        async def send_with_headers(message: Message) -> None:
            nonlocal is_answered
            if message["type"] == "http.response.start":
                is_answered = True
                own = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in own),
                ]
            await send(message)

        answer = self._refusal(scope)
        if answer is not None:
            await answer(scope, receive, send_with_headers)
            return
        left = most_bytes(scope["method"], scope["path"])

        async def receive_within_limit() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left >= 0:
                return message
            if is_answered:  # as to a page that hears events: it is too late for another answer
                return {"type": "http.disconnect"}
            raise TooLarge

        await self._app(scope, receive_within_limit, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        """What is said to whoever may not ask, or to whoever brings the token; None: go on."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        authority = headers.get("host", "")
        if not is_known_host(authority, self._names):
            return _told(scope, 403, "This studio is not called by that name: use localhost.")
        fetched_by = headers.get("sec-fetch-site", "none")
        is_foreign = not is_own_origin(headers.get("origin"), authority)
        if is_foreign or (scope["path"] != "/" and fetched_by not in ("same-origin", "none")):
            return _told(scope, 403, "Another site asked for this: only the studio's own page may.")
        if scope["path"] == "/" and scope["method"] == "GET":
            given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
            if given and is_token(given[0], self._token):
                moved = RedirectResponse("/", 303)
                moved.set_cookie(cookie_name(self._token), self._token, httponly=True, samesite="strict", path="/")
                return moved
        if not has_token(headers.get("cookie", ""), self._token):
            return _told(scope, 403, f"This studio needs its token: {FIRST_ADDRESS}.")
        try:
            length = int(headers.get("content-length", 0))
        except ValueError:
            return _told(scope, 400, "The Content-Length header is not a number.")
        most = most_bytes(scope["method"], scope["path"])
        return _told(scope, 413, too_large(most)) if length > most else None


def too_large(most: int) -> str:
    """What is said of a body above the limit."""
    return f"That is more than {most >> 20} MiB, the most that one request may carry."


def _told(scope: Scope, status: int, sentence: str) -> Response:
    """A sentence, as JSON to a program and as a page to a person."""
    if scope["path"].startswith("/api/"):
        return JSONResponse({"error": sentence}, status)
    return HTMLResponse(f"<!doctype html><html lang=en><title>musicjax studio</title><p>{sentence}</p></html>", status)
