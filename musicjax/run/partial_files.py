"""What saves leave behind that were cut off: never read, and removed at the next start."""

from __future__ import annotations

import re
from pathlib import Path

from musicjax import console, files

# A checkpoint while it is written (by orbax, then by us) and while it is removed.
OF_CHECKPOINTS = re.compile(r"\d+(\.partial)?\.orbax-checkpoint-tmp.*|\d+\.(partial|deleting)")
OF_WORKDIR = re.compile(r"(\..*-)?(config\.json|data\.jsonl|metrics\.jsonl)\.partial")
OF_SAMPLES = re.compile(r"\..*\.(mid|wav|flac|ogg)\.partial")


def remove(workdir: Path) -> int:
    """Removes them from a workdir, says so, and returns how many there were. Nothing may be training there."""
    found: list[Path] = []
    for folder, pattern in (
        (workdir / "checkpoints", OF_CHECKPOINTS),
        (workdir, OF_WORKDIR),
        (workdir / "samples", OF_SAMPLES),
    ):
        if folder.is_dir():
            found += sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name))
    for path in found:
        files.remove(path)
    if found:
        names = ", ".join(str(path.relative_to(workdir)) for path in found)
        console.say("removed", f"{len(found)} leftovers of saves that were cut off: {names}")
    return len(found)
