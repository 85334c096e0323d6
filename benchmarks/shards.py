"""Training from shards, read block by block, beside the same shards kept in memory: windows/s, memory, first step.

    python -m benchmarks.shards --data=SHARDS [--fewer=SHARDS] [--config=events] [--units=128] [--block_rows=262144]
                                [--epochs=3] [--repeats=3] [--save]

Both read --fewer, or --data if it is not given, and take turns; each is a process of its own that trains --epochs
epochs. A rate is the median of the epochs after the first. The time to the first step covers starting Python, reading
the shards and compiling. Peak memory is that of the process; in blocks from --data and from --fewer, it shows whether
it grows with the number of files. Prints a table and, as its last line, one JSON object.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import contestants
from benchmarks.contestants import ratio

# Without samples: only training is measured.
FIELDS = {"sample.num_outputs": 0, "sample.fit": False, "sample.page": False, "train.histograms": False}
KEPT = {"data.resident_mib": 2**20}


def run(config: str, shards: str, epochs: int, fields: dict[str, Any], workdir: Path) -> dict[str, float]:
    """windows_per_second, first_step_seconds and peak_mb of a run in a process of its own."""
    values = {**FIELDS, **fields, "train.epochs": epochs}
    flags = [f"--config.{path}={value}" for path, value in values.items()]
    command = [sys.executable, "-m", "musicjax.main", f"--config={config}", f"--data={shards}", f"--workdir={workdir}"]
    started, first_step = time.perf_counter(), 0.0
    process = subprocess.Popen([*command, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if re.match(r"compile +\d", line):
            first_step = time.perf_counter() - started
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}: {''.join(said[-3:])}")
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    rates = [line["windows_per_second"] for line in lines if line["split"] == "train"][1:]
    peak_mb = used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return {"windows_per_second": float(np.median(rates)), "first_step_seconds": first_step, "peak_mb": peak_mb}


def main() -> None:
    asked = contestants.arguments(
        __doc__, data="", fewer="", config="events", units=128, block_rows=262_144, epochs=3, repeats=3
    )
    if not asked.data:
        raise SystemExit("--data: expected a folder of shards")
    fewer = asked.fewer or asked.data
    model = {"model.units": asked.units}
    streamed = {**model, "data.resident_mib": 0, "data.block_rows": asked.block_rows}
    ways = {"resident": (fewer, {**model, **KEPT}), "streamed": (fewer, streamed)}
    if asked.fewer:
        ways["streamed, all files"] = (asked.data, streamed)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(asked.repeats):
            for name, (shards, fields) in ways.items():
                found[name].append(run(asked.config, shards, asked.epochs, fields, Path(folder, f"{name}{number}")))
    print(f"{'training from shards':<24}{'windows/s':>11}{'quartiles':>16}{'first step, s':>15}{'peak MB':>10}")
    rows: dict[str, dict[str, Any]] = {}
    for name, runs in found.items():
        speed = contestants.quartiles([one["windows_per_second"] for one in runs])
        seconds, peak = (float(np.median([one[key] for one in runs])) for key in ("first_step_seconds", "peak_mb"))
        rows[name] = {
            "windows_per_second": speed,
            "first_step_seconds": round(seconds, 1),
            "peak_mb": round(peak, 1),
        }
        low, median, high = (speed[part] for part in ("low", "median", "high"))
        print(f"{name:<24}{median:>11.1f}{f'{low:.1f}..{high:.1f}':>16}{seconds:>15.1f}{peak:>10,.0f}")
    rate = {name: row["windows_per_second"]["median"] for name, row in rows.items()}
    settings = {name: getattr(asked, name) for name in ("config", "units", "block_rows", "epochs", "repeats")}
    result = {**rows, "streamed_vs_resident": ratio(rate["streamed"], rate["resident"]), "settings": settings}
    if asked.fewer:
        result["memory_of_all_vs_fewer"] = ratio(rows["streamed, all files"]["peak_mb"], rows["streamed"]["peak_mb"])
    contestants.finish("shards", result, asked.save)


if __name__ == "__main__":
    main()
