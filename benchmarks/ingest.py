"""Reading a folder of MIDI, beside every installed peer, in turns: files/s, and odd files read right.

    python -m benchmarks.ingest --data=DIR [--edge_cases=DIR] [--readers=musicjax-2-cold,mido,...] [--repeats=3]
                                [--save]

All readers must be able to read every file of DIR. "cold" includes starting our reading processes and writing the
cache. musicjax-start-cached is the whole program, from the start of Python to its last line. Peers only parse, in one
process that is already running. Prints a table and, as its last line, one JSON object with `cold_vs_mido`,
`uncached_vs_mido`, `cached_start_seconds` and `edge_cases`.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from benchmarks import contestants
from benchmarks.contestants import ratio
from benchmarks.readers import READERS


def main() -> None:
    asked = contestants.arguments(__doc__, data="", edge_cases="", readers=",".join(READERS), repeats=3)
    files = len(list(Path(asked.data).rglob("*.mid*"))) if asked.data else 0
    if not files:
        raise SystemExit(f"--data={asked.data}: expected a folder with .mid files")
    names = asked.readers.split(",")
    with tempfile.TemporaryDirectory() as folder:
        problem = Path(folder, "problem.json")
        problem.write_text(json.dumps({"data": asked.data, "edge_cases": asked.edge_cases}))
        requests = dict.fromkeys(names, "read")
        answers, said = contestants.measure("benchmarks.readers", names, requests, asked.repeats, problem)
    found = contestants.rates(answers, dict.fromkeys(answers, files))
    mido = found.get("mido", {}).get("median")
    shares = {
        name: f"{told['edge_cases_right']}/{told['edge_cases']}" for name, told in said.items() if "edge_cases" in told
    }
    print(f"{'reader':<24}{'files/s':>10}{'quartiles':>16}{'x mido':>9}{'edge cases':>12}")
    for name, rate in found.items():
        quartiles = f"{rate['low']:.0f}..{rate['high']:.0f}"
        times = ratio(rate["median"], mido) or 0
        print(f"{name:<24}{rate['median']:>10.0f}{quartiles:>16}{times:>9.2f}{shares.get(name, ''):>12}")
    for name in names:
        if "absent" in said[name]:
            print(f"{name:<24}absent: {said[name]['absent']}")

    def against_mido(name: str) -> float | None:
        return ratio(found.get(name, {}).get("median"), mido)

    start = found.get("musicjax-start-cached", {}).get("median")
    result = {
        "cold_vs_mido": against_mido("musicjax-2-cold"),
        "uncached_vs_mido": against_mido("musicjax-2-uncached"),
        "cold_one_process_vs_mido": against_mido("musicjax-1-cold"),
        "cached_start_seconds": round(files / start, 3) if start else None,
        "edge_cases": shares,
        "files": files,
        "files_per_second": found,
        "readers": said,
        "settings": {"repeats": asked.repeats},
    }
    contestants.finish("ingest", result, asked.save)


if __name__ == "__main__":
    main()
