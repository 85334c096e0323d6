"""A run that was left alone, which others are compared with."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from musicjax.errors import RunError
from musicjax.store import checkpoint as checkpoint_lib
from tests.reliability.ground import Ground, finish, start, tree
from tests.reliability.victim import digest

VICTIM = "tests.reliability.victim"
_made: dict[tuple[str, ...], Reference] = {}


class Reference:
    """A run that was left alone: its workdir and the digest of each epoch's checkpoint."""

    def __init__(self, workdir: Path, fields: tuple[str, ...], flags: list[str]):
        self.workdir, self.fields = workdir, fields
        done = finish(start("digests", "0", "0", *flags, module=VICTIM))
        words = [line.split() for line in done.err.splitlines() if line.startswith("digest ")]
        self.digests = {int(epoch): value for _, epoch, value in words}
        assert done.status == 0 and self.digests, done.err

    def wrong_checkpoint(self, workdir: Path) -> str:
        """What is wrong with the latest checkpoint of a run that was cut off; that there is none is not."""
        if not checkpoint_lib.exists(workdir):
            return ""
        newest = max(int(path.name) for path in checkpoint_lib.folder(workdir).iterdir() if path.name.isdecimal())
        try:
            restored = checkpoint_lib.restore(workdir)
        except RunError as error:
            return str(error)
        if restored.metadata.epoch != newest:
            return f"the checkpoint of epoch {newest} is not whole"
        return "" if digest(restored) == self.digests[newest] else f"epoch {newest} is another than that left alone"

    def wrong_end(self, workdir: Path) -> str:
        """What is wrong with a run that was cut off and has gone on to its end."""
        fault = self.wrong_checkpoint(workdir)
        if fault:
            return fault
        if checkpoint_lib.read_metadata(workdir).epoch != max(self.digests):
            return "it ended at another epoch"
        if untimed(workdir) != untimed(self.workdir):
            return "metrics.jsonl differs"
        if tree(workdir / "samples") != tree(self.workdir / "samples"):
            return "the samples differ"
        left = [path.name for path in workdir.rglob("*") if "partial" in path.name or "tmp" in path.name]
        return f"left behind: {left}" if left else ""


def left_alone(ground: Ground, *fields: str) -> Reference:
    """The run of these fields; made once for all tests, which take copies of its workdir."""
    if fields not in _made:
        workdir = ground.folder.parent / " ".join(["reference", *fields])
        _made[fields] = Reference(workdir, fields, ground.tiny(workdir, *fields))
    return _made[fields]


def untimed(workdir: Path) -> list[dict]:
    """The lines of metrics.jsonl without what differs from run to run; every line must be whole."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "windows_per_second")} for line in lines]


def wait_for(happened: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        time.sleep(0.005)
