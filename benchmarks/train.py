"""Training throughput beside every peer that is installed, alternating, in one run.

    python -m benchmarks.train [--peers=musicjax-float32,keras-jax,...] [--repeats=5] [--units=512] [--batch=200]
                               [--window=50] [--windows=2000] [--save]

Rows are the paper's: random rows in 0..1 of three columns (the arithmetic does not depend on their values).
Loss and gradient of every peer are compared on the same weights before anything is timed; the first pass of
each, which compiles, is not counted. Prints a table and, as its last line, one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import PEERS, THREADS

RESULTS = Path(__file__).parent / "results"


def write_problem(path: Path, units: int, batch: int, window: int, windows: int) -> None:
    """Rows, windows and initial weights that all peers load."""
    import jax

    from musicjax.model import network

    rows = np.random.default_rng(0).random((windows + window, 3), np.float32)
    net = network.MusicLSTM(units, 3)
    params = jax.tree.map(np.asarray, network.init(net, jax.random.key(0), window))
    index = np.arange(windows)[:, None] + np.arange(window)
    weights = {"dense_kernel": params["dense"]["kernel"], "dense_bias": params["dense"]["bias"]}
    np.savez(
        path,
        rows=rows,
        x=rows[index],
        y=rows[window:],
        batch=batch,
        window=window,
        **params["lstm"]._asdict(),
        **weights,
    )


def start(name: str, problem: Path) -> subprocess.Popen:
    """A peer's process, with the threads that all get."""
    threads = {name: str(THREADS) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")}
    environment = {**os.environ, **threads, "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [sys.executable, "-m", "benchmarks.peers", name, str(problem)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def ask(process: subprocess.Popen, request: str = "") -> dict[str, Any]:
    """One answer of a peer, after a request if there is one."""
    assert process.stdin is not None and process.stdout is not None
    if request:
        process.stdin.write(request + "\n")
        process.stdin.flush()
    line = process.stdout.readline()
    return json.loads(line) if line else {"absent": "its process ended"}


def measure(names: list[str], repeats: int, problem: Path) -> tuple[dict[str, list[float]], dict[str, dict]]:
    """({peer: seconds of each pass}, {peer: what it said of itself}); the peers take turns, one at a time."""
    processes, said = {}, {}
    for name in names:
        process = start(name, problem)
        said[name] = ask(process)
        if "absent" not in said[name]:
            said[name]["first_seconds"] = ask(process, "train")["seconds"]
            processes[name] = process
        print(f"{name:<20}{said[name]}", file=sys.stderr, flush=True)
    seconds: dict[str, list[float]] = {name: [] for name in processes}
    for _ in range(repeats):
        for name, process in processes.items():
            seconds[name].append(ask(process, "train")["seconds"])
    for process in processes.values():
        process.communicate()
    return seconds, said


def best(speeds: dict[str, float], prefix: str) -> float | None:
    """The highest speed among the peers of a family; None if none ran."""
    return max((speed for name, speed in speeds.items() if name.startswith(prefix)), default=None)


def ratios(speeds: dict[str, float]) -> dict[str, float | None]:
    """Our best row against each family's best, and float32 against PyTorch's float32."""
    ours = best(speeds, "musicjax")

    def against(prefix: str, mine: float | None = ours) -> float | None:
        theirs = best(speeds, prefix)
        return round(mine / theirs, 3) if mine and theirs else None

    return {
        "vs_best_keras": against("keras"),
        "vs_keras_jax": against("keras-jax"),
        "vs_best_torch": against("torch"),
        "vs_flax": against("flax"),
        "float32_vs_torch_float32": against("torch-float32", best(speeds, "musicjax-float32")),
        "float32_vs_keras_jax": against("keras-jax", best(speeds, "musicjax-float32")),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default=",".join(PEERS))
    for name, default in (("repeats", 5), ("units", 512), ("batch", 200), ("window", 50), ("windows", 2000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--save", action="store_true", help="keep the result under benchmarks/results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        problem = Path(folder, "problem.npz")
        write_problem(problem, arguments.units, arguments.batch, arguments.window, arguments.windows)
        seconds, said = measure(arguments.peers.split(","), arguments.repeats, problem)
    speeds = {}
    print(f"{'peer':<20}{'windows/s':>10}{'quartiles':>16}{'loss':>12}{'gradient':>12}")
    for name, times in seconds.items():
        per_second = arguments.windows / np.array(times)
        low, middle, high = np.percentile(per_second, [25, 50, 75])
        speeds[name] = float(middle)
        print(
            f"{name:<20}{middle:>10.0f}{f'{low:.0f}..{high:.0f}':>16}{said[name]['loss']:>12.6f}{said[name]['gradient']:>12.6f}"
        )
    result = {
        "benchmark": "train",
        **ratios(speeds),
        "windows_per_second": {name: round(speed, 1) for name, speed in speeds.items()},
        "seconds": {name: [round(value, 4) for value in times] for name, times in seconds.items()},
        "peers": said,
        "settings": {name: value for name, value in vars(arguments).items() if name not in ("peers", "save")},
        "threads": THREADS,
        "machine": {"processor": platform.processor() or platform.machine(), "python": platform.python_version()},
    }
    if arguments.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "train.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
