"""Takes: the names of the files of a call, chosen so that none of them replaces other music.

The first take of a seed has the plain names. A call whose music differs from the files that are there is another take.
"""

from __future__ import annotations

import filecmp
import os
import re
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

# The files that are named after a seed: pieces, and the tables and contact sheets of sweeps.
NAMED = re.compile(r"(seed\d+(-take\d+)?-\d{3,}\.mid|sweep-seed\d+(-take\d+)?\.(json|png))")


def names(seed: int, count: int, take: int = 1) -> list[str]:
    """The names of pieces 0 to count - 1 of a seed, and of their files without the suffix; take: from 1."""
    which = "" if take == 1 else f"-take{take}"
    return [f"seed{seed}{which}-{k:03d}" for k in range(count)]


def free(folder: Path, seed: int, count: int, write: Callable[[int, Path], object]) -> int:
    """The first take of a seed whose files in a folder are missing or equal to those that the call writes.

    Args:
        count: how many files the call writes.
        write: writes file k to a path.

    Raises:
        OSError: a file cannot be compared.
    """
    take = 1
    with tempfile.TemporaryDirectory() as apart:

        def is_other(k: int, there: Path) -> bool:
            if not os.path.lexists(there):
                return False
            ours = Path(apart, f"{k}.mid")
            if not ours.exists():
                write(k, ours)
            return not there.is_file() or not filecmp.cmp(ours, there, shallow=False)

        while any(is_other(k, folder / f"{name}.mid") for k, name in enumerate(names(seed, count, take))):
            take += 1
    return take


def earlier(folder: Path, written: Collection[Path]) -> list[str]:
    """The names of the pieces and sweep tables in a folder that this call has not written, sorted."""
    return sorted(path.name for path in folder.iterdir() if NAMED.fullmatch(path.name) and path not in written)
