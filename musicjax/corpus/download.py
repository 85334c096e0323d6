"""Downloads a file, and continues one that broke off. The only importer of urllib.request."""

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
    """The file could not be downloaded whole; the text, put after the address, says what happened and was expected."""


def download(url: str, path: Path, most_bytes: int, on_progress: Callable[[int, int], None]) -> None:
    """Downloads what a file still lacks, or all of it if the server cannot continue in the middle.

    The caller checks whether the part that was there belongs to the same file.

    Args:
        path: keeps what it has if the download breaks off.
        most_bytes: a longer file is refused and removed.
        on_progress: called with (bytes that are here, bytes in all or 0).

    Raises:
        DownloadError: no answer, an answer other than the file, or only a part of it.
        OSError: the file cannot be written.
    """
    here = path.stat().st_size if path.is_file() else 0
    answer = _ask(url, here)
    if answer is None:  # nothing follows what is here: it is whole, or of another file
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
        raise DownloadError(f"is longer than the {most_bytes:,} bytes expected; what was downloaded is removed")
    if broken or here < total:
        of_total = f" of {total:,}" if total else ""
        raise DownloadError(f"broke off after {here:,}{of_total} bytes{broken}, which are kept; expected all of them")


def _ask(url: str, start: int) -> http.client.HTTPResponse | None:
    """The answer of the server from byte `start` on; None if the file has no byte there."""
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
