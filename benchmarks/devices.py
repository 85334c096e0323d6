"""Training on one device and on several that share each batch: the speed, and whether the losses are the same.

    python -m benchmarks.devices [--counts=1,2,4,8] [--precision=float32] [--repeats=5] [--save]

On an accelerator the devices are real, and counts above their number are left out. On a CPU one process simulates them
on the same cores, so the figure shows the cost of sharing, not a gain. Prints a table and, as its last line, one JSON
object: the speed of each count relative to one device.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import contestants
from benchmarks.contestants import ratio
from benchmarks.train import write_problem


def main() -> None:
    asked = contestants.arguments(
        __doc__, counts="1,2,4,8", precision="float32", repeats=5, units=512, batch=200, window=50, windows=1000
    )
    counts = [int(count) for count in asked.counts.split(",")]
    names = {count: f"musicjax-{asked.precision}@{count}" for count in counts}
    flags = {
        name: {"XLA_FLAGS": f"--xla_force_host_platform_device_count={count}"}  # for the CPU only
        for count, name in names.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        problem = Path(folder, "problem.npz")
        write_problem(problem, asked.units, asked.batch, asked.window, asked.windows)
        answers, said = contestants.measure(
            "benchmarks.peers",
            list(names.values()),
            dict.fromkeys(names.values(), "train"),
            asked.repeats,
            problem,
            flags,
        )
    found = contestants.rates(answers, dict.fromkeys(answers, asked.windows))
    simulated = not contestants.accelerator()
    print(f"{'simulated ' * simulated + 'devices':<20}{'windows/s':>10}{'quartiles':>18}{'last loss':>12}")
    for count, name in names.items():
        if name in found:
            rate = found[name]
            quartiles = f"{rate['low']:,.0f}..{rate['high']:,.0f}"
            print(f"{count:<20}{rate['median']:>10,.0f}{quartiles:>18}{answers[name][-1]['last_loss']:>12.7f}")
    one = found[names[1]]["median"] if names.get(1) in found else None
    result = {
        "vs_one_device": {count: ratio(found[name]["median"], one) for count, name in names.items() if name in found},
        "last_loss": {count: answers[name][-1]["last_loss"] for count, name in names.items() if name in found},
        "simulated": simulated,
        "windows_per_second": found,
        "peers": said,
        "settings": {name: value for name, value in vars(asked).items() if name != "save"},
    }
    contestants.finish("devices", result, asked.save)


if __name__ == "__main__":
    main()
