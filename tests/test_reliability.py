"""What must not break (tests/reliability), in its quick form: the kinds of misfortune that no other test tries."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reliability import __main__ as reliability

REPOSITORY = Path(__file__).parents[1]
# Kinds that other files of this suite try in a short form; `python -m tests.reliability` tries all of them.
ELSEWHERE = {
    16: "test_bad_input.py",
    17: "test_resume.py",
    18: "test_signals.py",
    19: "test_checkpoint.py",
    20: "test_checkpoint.py",
    21: "test_end_to_end.py",
    22: "test_checkpoint.py",
    23: "test_bad_input.py",
    24: "test_lock.py",
    25: "test_checkpoint.py",
}
HERE = [number for number in range(1, len(reliability.TESTS) + 1) if number not in ELSEWHERE]


def _rows(*words: str) -> dict[int, dict]:
    """The row that `python -m tests.reliability` reports for each kind, with the lines that it printed."""
    command = [sys.executable, "-m", "tests.reliability", *words]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr[-3000:]
    rows = {row["test"]: row for row in json.loads(done.stdout.splitlines()[-1])["tests"]}
    for line in done.stdout.splitlines():
        if line.startswith("test "):
            rows[int(line.split()[1])].setdefault("said", []).append(line)
    return rows


def _assert_no_failure(row: dict) -> None:
    if row["name"].endswith("(skipped)"):
        pytest.skip(row["said"][0])
    assert row["n"] > 0
    assert not row["failures"], row["said"]


@pytest.fixture(scope="module")
def rows() -> dict[int, dict]:
    return _rows("--quick", f"--only={','.join(map(str, HERE))}")


@pytest.mark.parametrize("number", HERE)
@pytest.mark.long
def test_no_case_fails(number, rows):
    _assert_no_failure(rows[number])


def test_every_other_kind_has_a_file_of_this_suite():
    for file in ELSEWHERE.values():
        assert (REPOSITORY / "tests" / file).is_file()
    assert len(reliability.TESTS) == 25


@pytest.mark.long
@pytest.mark.parametrize("number", ELSEWHERE)
def test_no_case_fails_of_those_that_other_files_try_in_short(number):
    _assert_no_failure(_rows("--quick", f"--only={number}")[number])
