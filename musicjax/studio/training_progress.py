"""What a training is at, and how much longer it takes, by the lines that it prints and when it printed them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

STARTS, READS, TRIES, GETS_READY = "starts", "reads", "tries settings", "gets ready"
LEARNS, CHOOSES, WRITES = "learns", "chooses how to play", "writes pieces"

# What is printed of the time that the whole command takes, first as a promise and then as an estimate; of the time that
# comes after the last epoch; and of what is left of the work that a line is about.
WITHIN = re.compile(r"auto +chooses by trials within ([\d.]+) minutes?;")
ABOUT = re.compile(r"auto +this machine is slow or busy: .* about (\d+) minutes")
AFTER = re.compile(r"auto +after training, .* take about (\d+):(\d\d)$")
LEFT = re.compile(r" (\d+):(\d\d) left$")
# The lines with which a stage begins or goes on; the first that matches counts. Reading comes twice: for the trials,
# and once what they chose is settled.
BEGINS = (
    (re.compile(r"auto +(chooses by trials|the run in )|musicjax +\d|download "), READS),
    (re.compile(r"trial +\d+/|auto +takes "), TRIES),
    (re.compile(r"auto +trains |model "), GETS_READY),
    (re.compile(r"compile |train +\d+/"), LEARNS),
    (re.compile(r"sampling +(draws|\d+/)"), CHOOSES),
    (re.compile(r"train +(best|all) |sampling +(takes|too few)|samples +\d"), WRITES),
)
# Trials take a little less than this share of the minutes; if they have taken more, the promise will not be kept.
TRIALS_SHARE = 0.5
ROUNDED_S = 5  # so that what a page sees does not change all the time


class Told(NamedTuple):
    """What the lines of a training tell.

    Attributes:
        stage: one of the words above.
        in_all_s: that the command takes; after_s: from the last epoch to its end; left_s: of the work that the last
            line is about. None: no line tells.
        is_settled: whether it is decided what is trained, and so how long.
    """

    stage: str = STARTS
    in_all_s: float | None = None
    after_s: float | None = None
    left_s: float | None = None
    is_settled: bool = False


class Passed(NamedTuple):
    """Seconds since the command began, since it printed its last line, and since its last epoch."""

    start_s: float = 0.0
    line_s: float = 0.0
    epoch_s: float = 0.0


def told(lines: Iterable[str]) -> Told:
    """What the lines tell, from the first on."""
    found = Told()
    for line in lines:
        stage = next((stage for begins, stage in BEGINS if begins.match(line)), found.stage)
        if found.stage == READS and re.match(r"data .*: kept ", line):
            stage = GETS_READY if found.is_settled else TRIES
        is_settled = found.is_settled or stage not in (STARTS, READS, TRIES) or bool(re.match(r"musicjax +\d", line))
        within, about, left = WITHIN.match(line), ABOUT.match(line), LEFT.search(line)
        in_all_s = 60 * float((about or within)[1]) if about or within else found.in_all_s  # type: ignore[index]
        found = Told(stage, in_all_s, after_s(line) or found.after_s, _seconds(left) if left else None, is_settled)
    return found


def after_s(line: str) -> float | None:
    """The seconds after the last epoch that a line tells; None: it tells of something else."""
    found = AFTER.match(line)
    return _seconds(found) if found else None


def _seconds(found: re.Match[str]) -> float:
    return 60.0 * int(found[1]) + int(found[2])


def seconds_left(found: Told, epochs_s: float | None, passed: Passed, is_first: bool) -> int | None:
    """About how long a training goes on; None: nobody knows.

    Args:
        epochs_s: seconds for the epochs that are left; None: there was none yet, or it is not known how many are left.
        is_first: whether it has not gone on after a pause; if it has, some trials are done and its minutes start over.
    """
    in_all_s = 0.0 if found.in_all_s is None else found.in_all_s - passed.start_s
    if found.stage in (CHOOSES, WRITES):
        line_s = 0.0 if found.left_s is None else found.left_s - passed.line_s
        left = max(line_s, 0.0 if found.after_s is None else found.after_s - passed.epoch_s)
    elif epochs_s is not None:
        left = max(epochs_s, in_all_s) if found.after_s is None else epochs_s + found.after_s
    else:
        is_promised = is_first and passed.start_s <= TRIALS_SHARE * (found.in_all_s or 0)
        left = in_all_s if found.is_settled or is_promised else 0.0
    return max(ROUNDED_S * round(left / ROUNDED_S), ROUNDED_S) if left > 0 else None
