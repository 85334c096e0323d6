"""Files that count only when they are whole: written under a name of their own, then renamed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

# The names that `whole` writes under. A process that is killed leaves such a file or folder behind.
PARTIAL = ".partial"
PARTIAL_NAME = re.compile(rf"\.[0-9a-f]{{8}}-.+\{PARTIAL}")


@contextlib.contextmanager
def whole(path: Path, durable: bool = False) -> Iterator[Path]:
    """Gives a file or folder its name only once it is whole.

    Yields a path beside it to write to, whose name (see PARTIAL_NAME) nothing else has. Renames it at the end; if
    anything is raised, removes it, so that what was there before stays.

    Args:
        path: the name; a file that has it is replaced, a folder that has it is not unless it is empty.
        durable: whether the content is on the disk before it gets the name, so that a power cut loses neither the new
            file nor the old one.

    Raises:
        OSError: it cannot be written or renamed.
    """
    partial = path.with_name(f".{os.urandom(4).hex()}-{path.name}{PARTIAL}")
    try:
        yield partial
        if durable:
            sync(partial)
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # what went wrong before is what counts
            remove(partial)
        raise


def write(path: Path, text: str) -> None:
    """`write_bytes` of a text in UTF-8."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Gives a file this content, durably; raises OSError if it cannot, and what was there before stays."""
    with whole(path, durable=True) as partial:
        partial.write_bytes(content)


def sha256(path: str | os.PathLike) -> str:
    """The sha256 of a file's bytes, in hexadecimal; raises OSError if it cannot be read."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Waits until a file, or the list of names in a folder, is on the disk; raises OSError if it cannot be."""
    if os.name == "nt" and path.is_dir():  # Windows has no such call for folders
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)  # Windows syncs only what it may write
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """`sync` of a folder and of everything below it."""
    for path in [*folder.rglob("*"), folder]:
        sync(path)


def remove(path: Path) -> None:
    """Removes a file, a link, or a folder with everything in it, as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
