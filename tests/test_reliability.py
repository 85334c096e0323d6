"""The quick part of the trials of what must not break (tests/trials), each as a test; and that a trial can fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
TRIALS = 25


@pytest.fixture(scope="module")
def rows() -> dict[int, dict]:
    """What `python -m tests.reliability --quick` reports of each trial, and the lines it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.reliability", "--quick"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr[-3000:]
    rows = {row["trial"]: row for row in json.loads(done.stdout.splitlines()[-1])["trials"]}
    for line in done.stdout.splitlines():
        if line.startswith("trial "):
            rows[int(line.split()[1])].setdefault("said", []).append(line)
    return rows


def test_all_trials_are_there(rows):
    assert list(rows) == list(range(1, TRIALS + 1))


@pytest.mark.parametrize("number", range(1, TRIALS + 1))
def test_quick_trial(number, rows):
    row = rows[number]
    if row["name"].endswith("(skipped)"):
        pytest.skip(row["said"][0])
    assert row["n"] > 0
    assert not row["failures"], row["said"]
