"""The checksums of a checkpoint: {file: sha256} of all its files, written last. Without them nothing counts."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from musicjax import files

NAME = "sha256.json"


def write(folder: Path) -> None:
    """Writes the checksums of a folder into it and returns once all its files are on the disk; raises OSError."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / NAME)
    hashes = {path.relative_to(folder).as_posix(): files.sha256(path) for path in paths}
    (folder / NAME).write_text(json.dumps(hashes, indent=2))  # no newline at the end: nobody would notice its loss
    files.sync_tree(folder)


def verify(folder: Path) -> None:
    """Compares the files of a folder with their checksums.

    Raises:
        ValueError: a file is missing, cannot be read, or is not the one that was saved; the message names it.
    """
    try:
        hashes = json.loads((folder / NAME).read_bytes())
    except FileNotFoundError as error:
        raise ValueError(f"{NAME} is missing") from error
    except OSError as error:
        raise ValueError(f"{NAME} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{NAME} is not the file that was saved") from error
    if not isinstance(hashes, dict) or not hashes:
        raise ValueError(f"{NAME} lists no files")
    for name, sha256 in hashes.items():
        _verify_file(folder, name, sha256)


def _verify_file(folder: Path, name: str, sha256: object) -> None:
    path, parts = folder / name, PurePosixPath(name).parts
    if not parts or ".." in parts or PurePosixPath(name).is_absolute():
        raise ValueError(f"{NAME} names {name!r}, which lies elsewhere")
    try:
        if not path.is_file():
            raise ValueError(f"{name} is missing")
        if files.sha256(path) != sha256:
            raise ValueError(f"{name} is not the file that was saved")
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror}") from error
