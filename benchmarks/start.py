"""The time from the command to its first epoch, with an empty and a filled cache, and peak memory.

    python -m benchmarks.start [--repeats=5] [--config=demo] [--memory=paper] [--save]

Each start is a process of its own: `--config` in a new workdir, ended after its first epoch. A cold start has an empty
cache folder, so it composes, reads and compiles. A warm start uses the cache of the previous start. Cold and warm
starts take turns. Peak memory is that of two epochs of `--memory` with an empty cache, samples included. Prints a table
and, as its last line, one JSON object.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import contestants


def seconds_to_first_epoch(config: str, cache: Path, workdir: Path) -> float:
    """From the start of the process to the line of the first epoch."""
    command = [sys.executable, "-m", "musicjax.main", f"--config={config}", f"--workdir={workdir}"]
    started = time.perf_counter()
    process = subprocess.Popen(
        command, env={**os.environ, "XDG_CACHE_HOME": str(cache)}, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if re.match(r"train +1/", line):
            seconds = time.perf_counter() - started
            process.kill()
            process.communicate()
            return seconds
    raise RuntimeError(f"ended without an epoch: {''.join(said)}")


def peak_mb(config: str, cache: Path, workdir: Path) -> float:
    """Peak memory of a whole run of two epochs, compiling included, MB of 2^20 bytes."""
    command = [sys.executable, "-m", "musicjax.main", f"--config={config}", f"--workdir={workdir}"]
    process = subprocess.Popen(
        [*command, "--config.train.epochs=2"],
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"--config={config} ended with status {process.returncode}")
    return used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    asked = contestants.arguments(__doc__, repeats=5, config="demo", memory="paper")
    seconds: dict[str, list[float]] = {"cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(asked.repeats):
            cache = Path(folder, f"cache{number}")
            for kind in seconds:
                seconds[kind].append(seconds_to_first_epoch(asked.config, cache, Path(folder, f"{kind}{number}")))
        memory = peak_mb(asked.memory, Path(folder, "empty"), Path(folder, "memory"))
    result: dict[str, object] = {"config": asked.config}
    print(f"{f'start of --config={asked.config}':<26}{'seconds to its first epoch':>28}{'quartiles':>16}")
    for kind, values in seconds.items():
        result[f"{kind}_seconds"] = found = contestants.quartiles(values)
        low, median, high = (found[name] for name in ("low", "median", "high"))
        print(f"{kind:<26}{median:>28.1f}{f'{low:.1f}..{high:.1f}':>16}")
    print(f"peak memory of --config={asked.memory}: {memory:,.0f} MB")
    result |= {"peak_mb": round(memory, 1), "memory_config": asked.memory, "repeats": asked.repeats}
    contestants.finish("start", result, asked.save)


if __name__ == "__main__":
    main()
