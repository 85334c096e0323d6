"""Tries 25 kinds of misfortune: `python -m tests.reliability [--quick] [--only=17,22] [--seed=0]`.

Prints a table with a row for each kind: its number and name, how many cases it tried, how many failed, the upper bound
of the failure rate (3/n at 95 % if none failed), and seconds. Ends with status 1 if any failed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.reliability import bombs, checkpoints, folders, inputs, interruptions, reading
from tests.reliability.ground import Case, Ground, Skipped

# Number k, counted from 1, is the k-th of RELIABILITY.
TESTS: tuple[Callable[[Ground], Iterator[Case]], ...] = (
    reading.no_midi,
    reading.truncated,
    reading.bad_bytes,
    reading.containers,
    reading.time_bases,
    bombs.bombs,
    reading.unknown_meta,
    reading.note_semantics,
    reading.edge_cases,
    bombs.fuzzed,
    folders.file_names,
    folders.folder_shapes,
    folders.no_data,
    inputs.too_little_data,
    inputs.flags_and_config,
    inputs.output_paths,
    interruptions.killed,
    interruptions.signalled,
    interruptions.disk_full,
    interruptions.taken_away,
    checkpoints.not_a_number,
    checkpoints.damaged,
    checkpoints.changed,
    checkpoints.two_processes,
    inputs.hostile_artefacts,
)
MOST_SHOWN = 5


def run(number: int, folder: Path, clips: Path, seed: int, quick: bool) -> dict:
    """Runs all cases of one kind and prints what failed; returns its row."""
    test, started = TESTS[number - 1], time.monotonic()
    name = (test.__doc__ or "").splitlines()[0]
    ground = Ground(folder / str(number), random.Random(f"{seed} {number}"), quick, clips)
    ground.folder.mkdir()
    count, faults = 0, []
    try:
        for what, fault in test(ground):
            count += 1
            faults += [f"{what}: {fault}"] if fault else []
    except Skipped as skipped:
        print(f"test {number} skipped: {skipped}", flush=True)
        name = f"{name} (skipped)"
    except Exception as error:
        count += 1
        faults.append(f"the test itself: {type(error).__name__}: {error}")
        if os.environ.get("RELIABILITY_RAISE"):
            raise
    for fault in faults[:MOST_SHOWN]:
        print(f"test {number} failed: {fault.encode('ascii', 'backslashreplace').decode()}", flush=True)
    if len(faults) > MOST_SHOWN:
        print(f"test {number} failed: and {len(faults) - MOST_SHOWN} more", flush=True)
    seconds = round(time.monotonic() - started, 1)
    return {"test": number, "name": name, "n": count, "failures": len(faults), "seconds": seconds}


def bound(row: dict) -> str:
    """The failure rate that the cases do not exclude, or the one that was seen."""
    if not row["n"]:
        return "-"
    return f"seen {row['failures'] / row['n']:.1%}" if row["failures"] else f"< {min(1, 3 / row['n']):.2%}"


def line(row: dict) -> str:
    """A row of the table."""
    cells = (row["test"], row["name"], row["n"], row["failures"], bound(row), row["seconds"])
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> int:
    """Runs the kinds that the command line names; 1 if any failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few cases of each")
    parser.add_argument("--only", default="", help="numbers, such as 17,22; all if not given")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    numbers = [int(word) for word in options.only.split(",") if word] or range(1, len(TESTS) + 1)
    with tempfile.TemporaryDirectory(prefix="reliability") as name:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder / "programs"))
        from musicjax import console
        from musicjax.music import builtin_clips

        console.quiet_libraries()  # this process runs many commands, each as a program of its own would

        clips = folder / "clips"
        clips.mkdir()
        builtin_clips.write_corpus(clips, seed=3, clips=12)
        rows = []
        for number in numbers:
            rows.append(run(number, folder, clips, options.seed, options.quick))
            print(line(rows[-1]), file=sys.stderr, flush=True)
    print("| test | what | n | failures | failure rate | seconds |", "|---|---|---|---|---|---|", sep="\n")
    print(*map(line, rows), sep="\n")
    print(json.dumps({"seed": options.seed, "quick": options.quick, "tests": rows}))
    return int(any(row["failures"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
