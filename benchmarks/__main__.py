"""The speed benchmarks that need no data, one after the other.

    python -m benchmarks [--only=train,sample,...] [--save]

Each prints its table and its JSON object, and with --save keeps the object under benchmarks/results/MACHINE. If one
fails, the others still run. Run nothing else on the machine meanwhile.
"""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks import contestants
from musicjax.console import duration

ALL = (
    *("train", "events", "sample", "sample_events", "trials", "scaling", "sizes", "step_parts", "devices", "start"),
    *("player", "search"),
)


def main() -> None:
    asked = contestants.arguments(__doc__, only=",".join(ALL))
    names = asked.only.split(",")
    if unknown := [name for name in names if name not in ALL]:
        raise SystemExit(f"--only={unknown[0]}: expected some of {', '.join(ALL)}")
    began, failed = time.monotonic(), []
    for number, name in enumerate(names, 1):
        print(f"{number} of {len(names)}  {name}, {duration(time.monotonic() - began)} so far", file=sys.stderr)
        command = [sys.executable, "-m", f"benchmarks.{name}", *(["--save"] if asked.save else [])]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    print(f"{len(names)} of {len(names)}  in {duration(time.monotonic() - began)}", file=sys.stderr)
    if failed:
        raise SystemExit(f"these ended with an error, shown above: {', '.join(failed)}")


if __name__ == "__main__":
    main()
