"""A file from an address of the network, which goes on where it was broken off. The only importer of urllib.request."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from musicjax.version import __version__

TIMEOUT_SECONDS = 60.0  # without a single byte
BLOCK_BYTES = 2**18
NETWORK_ERRORS = (OSError, http.client.HTTPException)


class DownloadError(Exception):
    """The file could not be had whole; the text says what happened, after the address, and what was expected."""


def download(url: str, path: Path, most_bytes: int, on_progress: Callable[[int, int], None]) -> None:
    """Adds to a file what it lacks of what is at the address; from its beginning where the server cannot go on.

    Whether what was there before belongs to it is for the caller to check.

    Args:
        path: what is there stays if the download breaks off.
        most_bytes: a longer file is refused and removed.
        on_progress: called with (bytes that are here, bytes in all or 0).

    Raises:
        DownloadError: no answer, another than the file, or not all of it.
        OSError: the file cannot be written.
    """
    here = path.stat().st_size if path.is_file() else 0
    answer = _ask(url, here)
    if answer is None:  # nothing lies behind what is here: it is all, or of another file
        path.unlink()
        answer = _ask(url, 0)
    assert answer is not None
    with answer:
        if answer.status != 206 or not answer.headers.get("Content-Range", "").startswith(f"bytes {here}-"):
            here = 0
        length = answer.headers.get("Content-Length", "")
        total, broken = here + int(length) if length.isdecimal() else 0, ""
        with path.open("ab" if here else "wb") as target:
            while here <= most_bytes:
                on_progress(here, total)
                try:
                    block = answer.read(BLOCK_BYTES)
                except NETWORK_ERRORS as error:
                    block, broken = b"", f" ({str(error) or type(error).__name__})"
                if not block:
                    break
                target.write(block)
                here += len(block)
    if here > most_bytes:
        path.unlink()
        raise DownloadError(f"is longer than the {most_bytes:,} bytes expected; what was had of it is removed")
    if broken or here < total:
        of_total = f" of {total:,}" if total else ""
        raise DownloadError(f"broke off after {here:,}{of_total} bytes{broken}, which are kept; expected all of them")


def _ask(url: str, start: int) -> http.client.HTTPResponse | None:
    """The answer of the server from byte `start` on; None if it has none behind it."""
    headers = {"User-Agent": f"musicjax/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:
            return None
        raise DownloadError(f"answered {error.code} {error.reason}; expected the file") from error
    except (*NETWORK_ERRORS, ValueError) as error:
        raise DownloadError(f"cannot be reached: {getattr(error, 'reason', error)}; expected a network") from error
