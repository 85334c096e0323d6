"""The `report` command: draws the figures of a run and rebuilds its page."""

from __future__ import annotations

from pathlib import Path

from musicjax import console
from musicjax.report import figures, page


def draw(workdir: Path, output_dir: str) -> None:
    """Draws the figures into output_dir; without one, into the workdir beside a new page. Prints the paths.

    Raises:
        RunError: nothing was recorded in the workdir, or something cannot be written.
    """
    paths, left_out = figures.write(workdir, Path(output_dir or workdir / "report"))
    if not output_dir:  # the page names sample files relative to the workdir
        with console.clock("page"):
            path, missing = page.write(workdir)
        paths, left_out = [*paths, path], left_out + missing
    for fact in dict.fromkeys(left_out):  # the figures and the page read the same files
        console.say("left out", fact)
    for path in paths:
        console.result_path(path)
