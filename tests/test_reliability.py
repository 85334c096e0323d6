"""What must not break (tests/reliability), in its quick form: a test for each kind of misfortune."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
KINDS = 25


@pytest.fixture(scope="module")
def rows() -> dict[int, dict]:
    """What `python -m tests.reliability --quick` reports of each kind, and the lines it printed."""
    command = [sys.executable, "-m", "tests.reliability", "--quick"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr[-3000:]
    rows = {row["test"]: row for row in json.loads(done.stdout.splitlines()[-1])["tests"]}
    for line in done.stdout.splitlines():
        if line.startswith("test "):
            rows[int(line.split()[1])].setdefault("said", []).append(line)
    return rows


def test_every_kind_is_tried(rows):
    assert list(rows) == list(range(1, KINDS + 1))


@pytest.mark.parametrize("number", range(1, KINDS + 1))
def test_no_case_fails(number, rows):
    row = rows[number]
    if row["name"].endswith("(skipped)"):
        pytest.skip(row["said"][0])
    assert row["n"] > 0
    assert not row["failures"], row["said"]
