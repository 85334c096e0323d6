"""Where the time of a training step of the paper's network goes, compared with its matrix products alone.

    python -m benchmarks.step_parts [--windows=4000] [--repeats=5] [--units=512] [--save]

Epochs of `paper` on the built-in corpus run in both precisions, in turns with products alone (see `roof`). Then JAX's
profiler records one more epoch in each. Every operation of the compiled program belongs to one part, according to the
place in the code that XLA records for it. The last part is the rest of the epoch's time: waiting and loops, minus what
ran in parallel. The table gives milliseconds per step of the recorded epoch. CPUs only. Prints a table and, as its last
line, one JSON object.
"""

from __future__ import annotations

import collections
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import contestants, roof
from musicjax import config_files
from musicjax.encodings import encoding as encoding_lib
from musicjax.training import optimizer as optimizer_lib
from musicjax.training import step

FORWARD, BACKWARD, OF_WEIGHTS = "products, forward", "products, backward", "products, gradient of the weights"
GATES_FORWARD, GATES_BACKWARD = "gates, forward", "gates, backward"
STACKS, ZEROS, COPIES = "writing stacks of steps", "filling stacks with zeros first", "copies and conversions"
REST, BETWEEN = "batches, dropout, last layer, optimizer", "between operations"
PARTS = (FORWARD, BACKWARD, OF_WEIGHTS, GATES_FORWARD, GATES_BACKWARD, STACKS, ZEROS, COPIES, REST, BETWEEN)
# Floating-point operations of products for each weight, row and window: forward, backward, and for the gradient of the
# weight. The weights of a few inputs have only the last; their other products are part of the gates.
FLOP_A_RECURRENT_WEIGHT, FLOP_AN_INPUT_WEIGHT = 6, 2
# Names of operations that only move numbers or change their type.
MOVES = re.compile(
    r"(wrapped_)?(copy|convert(?=[.\d]*$)|transpose|concatenate|bitcast-convert|bitcast_bitcast-convert|convert_transpose)"
)


class Program(NamedTuple):
    """A compiled epoch.

    run: trains for an epoch and gives its seconds; parts: the part of each operation, by its name; steps: of an epoch;
    gflop: of the LSTM's products in a step.
    """

    run: Callable[[], float]
    parts: dict[str, str]
    steps: int
    gflop: float


def program(precision: str, windows: int, units: int) -> Program:
    """The epoch of `paper` on some windows, compiled."""
    config = config_files.load("paper")
    config.model.precision, config.data.source, config.model.units = precision, "builtin", units
    dataset, train, window = encoding_lib.of(config).dataset(), config.train, config.data.window
    net, optimizer = dataset.encoding.network(), optimizer_lib.of(train, train.learning_rate)
    some = dataset.training.only(np.arange(windows) % len(dataset.training.starts))
    some, keys = jax.tree.map(jnp.asarray, some), step.keys(config.seed)
    state = jax.jit(lambda: step.init(net, optimizer, keys.init, window))()
    epoch = step.make_epoch(net, optimizer, train.batch_size, window).lower(state, some, keys, jnp.int32(0)).compile()
    layer = state.params["lstm"]
    flop = FLOP_A_RECURRENT_WEIGHT * layer.recurrent_kernel.size + FLOP_AN_INPUT_WEIGHT * layer.kernel.size
    gflop = flop * window * train.batch_size / 1e9
    kept = [state]

    def run() -> float:
        began = time.perf_counter()
        kept[0], _ = jax.block_until_ready(epoch(kept[0], some, keys, jnp.int32(0)))
        return time.perf_counter() - began

    return Program(run, parts_of(epoch.as_text() or ""), -(-windows // train.batch_size), gflop)


def parts_of(text: str) -> dict[str, str]:
    """The part of each operation of an optimised program, by its name; loops and calls belong to none."""
    found = {}
    line = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$", re.MULTILINE)
    for name, result, kind, told in line.findall(text):
        place = re.search(r'op_name="([^"]*)"', told)
        if kind not in ("while", "call", "conditional", "parameter", "tuple", "get-tuple-element"):
            found[name] = part_of(name, result, place[1] if place else "")
    return found


def part_of(name: str, result: str, place: str) -> str:
    """The part of an operation, by its name, the type of its result and the place in the code that it comes from."""
    is_backward = "transpose(jvp" in place
    in_scan = re.search(r"jvp\(\w+\)+/while/body", place) is not None
    if place.endswith("/dot_general") and "dense" not in place:
        return OF_WEIGHTS if not in_scan else BACKWARD if is_backward else FORWARD
    if "dynamic_update_slice" in place and in_scan:
        return STACKS
    if name.startswith("wrapped_broadcast") and re.search(r"\[\d+,\d+,\d+\]", result):  # a stack has three axes
        return ZEROS
    if MOVES.match(name):
        return COPIES
    if in_scan and "Dropout" not in place:
        return GATES_BACKWARD if is_backward else GATES_FORWARD
    return REST


def recorded(program: Program) -> dict[str, float]:
    """Milliseconds a step of each part, from a recorded epoch."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            seconds = program.run()
        (path,) = Path(folder).rglob("*.xplane.pb")
        milliseconds = collections.defaultdict[str, float](float, {BETWEEN: 1e3 * seconds})
        for name, spent in operations(path):
            if name in program.parts:
                milliseconds[program.parts[name]] += spent
                milliseconds[BETWEEN] -= spent
    return {part: round(milliseconds[part] / program.steps, 3) for part in PARTS}


def operations(path: Path) -> Iterator[tuple[str, float]]:
    """Name and milliseconds of everything that the threads of the CPU did."""
    for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
        for line in plane.lines:
            if line.name != "python":
                for event in line.events:
                    yield event.name, event.duration_ns / 1e6


def main() -> None:
    asked = contestants.arguments(__doc__, windows=4000, repeats=5, units=512)
    contestants.limit_threads()
    if jax.default_backend() != "cpu":
        print("step_parts needs what XLA records on CPUs only, and measures nothing elsewhere: set JAX_PLATFORMS=cpu")
        return
    programs = {precision: program(precision, asked.windows, asked.units) for precision in ("bfloat16", "float32")}
    roofs = {precision: roof.products(precision) for precision in programs}
    steps: dict[str, list[float]] = {precision: [] for precision in programs}
    alone: dict[str, list[float]] = {precision: [] for precision in programs}
    for repeat in range(asked.repeats + 1):
        for precision, one in programs.items():
            seconds, gflop_s = one.run(), roofs[precision]()
            if repeat:  # not the first pass, which touches its memory for the first time
                steps[precision].append(1e3 * seconds / one.steps)
                alone[precision].append(1e3 * one.gflop / gflop_s)
    found = {
        precision: {
            "parts_ms": recorded(one),
            "step_ms": contestants.quartiles(steps[precision]),
            "products_alone_ms": contestants.quartiles(alone[precision]),
        }
        for precision, one in programs.items()
    }
    print(table(found))
    settings = {"windows": asked.windows, "repeats": asked.repeats, "units": asked.units}
    contestants.finish("step_parts", {**found, "settings": settings}, asked.save)


def table(found: dict[str, dict[str, Any]]) -> str:
    """The parts as text."""
    lines = [f"{'milliseconds a step':<42}" + "".join(f"{precision:>20}" for precision in found)]
    for part in PARTS:
        spent = [(one["parts_ms"][part], sum(one["parts_ms"].values())) for one in found.values()]
        lines.append(f"{part:<42}" + "".join(f"{ms:>12.2f} {ms / whole:>6.1%}" for ms, whole in spent))
    for name, key in (
        ("the whole step, not recorded", "step_ms"),
        ("its products, at the speed of roof", "products_alone_ms"),
    ):
        lines.append(f"{name:<42}" + "".join(f"{one[key]['median']:>12.2f}{'':>7}" for one in found.values()))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
