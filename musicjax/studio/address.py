"""The address of a studio, with its token: kept in a file for its user alone, so that the next start has it again."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Any, NamedTuple

from musicjax import files

NAME = "access.json"
TOKEN_BYTES = 24
TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")
MOST_BYTES = 2**12  # of the file


class Address(NamedTuple):
    """Where a studio listens.

    Attributes:
        machine: its name.
        host: as it stands in an address; an IPv6 address in brackets.
        port: from 1 to 65,535.
        token: whoever has it can use the studio.
    """

    machine: str
    host: str
    port: int
    token: str

    @property
    def shown(self) -> str:
        """The address without the token."""
        return f"http://{self.host}:{self.port}/"

    @property
    def whole(self) -> str:
        """The address that lets a browser in."""
        return f"{self.shown}?token={self.token}"


def new_token() -> str:
    """A token that nobody can guess."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def read(folder: Path) -> Address | None:
    """The address that a folder keeps; None: it is absent or damaged, or others may read or write it."""
    try:
        handle = os.open(folder / NAME, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with open(handle, "rb") as stream:
            found: Any = json.loads(stream.read(MOST_BYTES)) if _is_own(os.fstat(handle)) else None
        kept = Address(**found)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    kinds_are_right = all(isinstance(value, kind) for value, kind in zip(kept, (str, str, int, str), strict=True))
    is_right = kinds_are_right and 0 < kept.port < 2**16 and TOKEN.fullmatch(kept.token)
    return kept if is_right else None


def _is_own(status: os.stat_result) -> bool:
    """Whether a file is the user's alone; not every system can tell."""
    if not hasattr(os, "getuid"):
        return stat.S_ISREG(status.st_mode)
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077


def write(folder: Path, address: Address) -> None:
    """Keeps the address of a folder; raises OSError if it cannot, and then none is kept."""
    path = folder / NAME
    try:
        with files.whole(path, durable=True) as partial:
            handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(handle, "w", encoding="utf-8") as stream:
                json.dump(address._asdict(), stream)
    except OSError:
        with contextlib.suppress(OSError):
            path.unlink()
        raise
