"""What note-event models of four sizes need: parameters, memory and arithmetic, and how fast they train here.

    python -m benchmarks.sizes [--configs=events,events_gpu,events_large,events_xl] [--batch=8] [--repeats=3] [--save]

Memory is what XLA plans for the compiled epoch of each config, in bfloat16 and with its own batch and window, on this
machine's backend; nothing of that size is allocated. It is planned with the batch as a whole, with the batch in 8 parts
(`train.accumulate`), with the gates of 32 rows at a time (`model.remat_rows`), and with both. Working memory contains
the gradients, the activations, and the weights in the form that the products use. FLOP are those of the products,
forward and backward, nothing counted twice; as a check, XLA counts them too, for a window of one row. The speed is that
of a small batch, whole, in 2 parts and with recomputed gates, in turns; sizes that would need more than half the free
memory are left out. Prints a table and, as its last line, one JSON object.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import contestants
from benchmarks.scaling import GFLOP_A_PASS
from musicjax import config_files
from musicjax.config import Config
from musicjax.encodings import encoding as encoding_lib
from musicjax.model import network
from musicjax.model.network import Network
from musicjax.training import optimizer as optimizer_lib
from musicjax.training import sharded_parameters, step
from musicjax.training.step import TrainState
from musicjax.training.windows import TrainingSet

CONFIGS = "events,events_gpu,events_large,events_xl"
PARTS, ROWS, PARTS_TIMED, DEVICES = 8, 32, 2, 8
# (parts of a batch, rows whose gates are computed together) of each way to train.
PLANNED = {"whole": (1, 0), "accumulate": (PARTS, 0), "remat": (1, ROWS), "both": (PARTS, ROWS)}
TIMED = {"whole": (1, 0), "accumulate": (PARTS_TIMED, 0), "remat": (1, ROWS)}
MEMORY_SHARE = 0.5


def products(net: Network, window: int) -> float:
    """FLOP of the products of one training window: each forward, for the gradient of its weights, and of its inputs.

    The inputs of the embeddings and of the bins before a column need no gradient.
    """
    head: Any = net.head
    units, outputs, bins = net.units, head.outputs(net.predicted), sum(net.sizes)
    before = sum(sum(net.sizes[seen] for seen in head.before(column)) for column in head.predicted)
    drawn = sum(net.sizes[column] for column in head.predicted)
    layers = [net.embedding, *[units] * (net.layers - 1)]
    thrice = sum((inputs + units) * 4 * units for inputs in layers) + units * outputs + head.units * drawn
    twice = bins * net.embedding + before * head.units
    return 2.0 * window * (3 * thrice + 2 * twice)


def counted(net: Network) -> float:
    """The same for a window of one row, as XLA counts it; the loops of the program then have one step each."""
    inputs = jax.ShapeDtypeStruct((64, 1, net.columns), jnp.float32)
    params = jax.eval_shape(lambda: network.init(net, jax.random.key(0), 1))

    def loss(params: dict, inputs: jax.Array) -> jax.Array:
        outputs = network.apply(net, params, inputs)
        return jnp.sum(net.head.loss(network.head_params(params), outputs, inputs))

    costs: Any = jax.jit(jax.grad(loss)).lower(params, inputs).cost_analysis()
    return costs["flops"] / 64


def prepared(name: str) -> tuple[Config, TrainingSet]:
    """The config in bfloat16, and windows of the built-in corpus, repeated until they fill its batch."""
    config = config_files.load(name)
    config.model.precision, config.data.source = "bfloat16", "builtin"
    training = encoding_lib.of(config).dataset().training
    return config, training.only(np.arange(max(config.train.batch_size, 1024)) % len(training.starts))


def program(config: Config, state: TrainState, training: TrainingSet, batch: int, way: tuple[int, int]) -> Any:
    """An epoch compiled for states of these shapes."""
    config.train.accumulate, config.model.remat_rows = way
    optimizer = optimizer_lib.of(config.train, config.train.learning_rate)
    net = encoding_lib.of(config).network()
    epoch = step.make_epoch(net, optimizer, batch, config.data.window, accumulate=config.train.accumulate)
    return epoch.lower(state, training, step.keys(0), jnp.int32(0)).compile()


def shapes(config: Config) -> TrainState:
    """The state of a run as shapes."""
    net, optimizer = encoding_lib.of(config).network(), optimizer_lib.of(config.train, config.train.learning_rate)
    return jax.eval_shape(lambda: step.init(net, optimizer, jax.random.key(0), config.data.window))


def bytes_of(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def bytes_on_each(tree: Any, devices: int) -> int:
    """Bytes on each device of arrays that are sharded over this many."""
    specs = sharded_parameters.specs(tree, jax.sharding.AbstractMesh((devices,), ("data",)))
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(specs), strict=True)
    return sum(leaf.size * leaf.dtype.itemsize // (devices if spec else 1) for leaf, spec in pairs)


def speeds(
    config: Config, state: TrainState, training: TrainingSet, batch: int, repeats: int, gflop: float
) -> dict[str, dict[str, float]] | None:
    """Windows/s of each way to train, in turns; None if they need too much memory."""
    count = batch * max(1, round(GFLOP_A_PASS / gflop / batch))
    few = training.only(np.arange(count) % len(training.starts))
    programs = {name: program(config, state, few, batch, way) for name, way in TIMED.items()}
    planned = max(one.memory_analysis().temp_size_in_bytes for one in programs.values())
    if planned + bytes_of(state) > MEMORY_SHARE * free_memory():
        return None
    passes = {name: a_pass(one, state, few) for name, one in programs.items()}
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in passes}
    for repeat in range(repeats + 1):
        for name, run in passes.items():
            seconds = run()
            if repeat:  # not the first pass, which touches its memory for the first time
                answers[name].append({"seconds": seconds})
    return contestants.rates(answers, dict.fromkeys(answers, count))


def a_pass(epoch: Any, shapes: TrainState, training: TrainingSet) -> Callable[[], float]:
    """A function that runs an epoch, from a state of zeros each time, and returns its seconds."""

    def run() -> float:
        state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        jax.block_until_ready(state)
        began = time.perf_counter()
        jax.block_until_ready(epoch(state, training, step.keys(0), jnp.int32(0)))
        return time.perf_counter() - began

    return run


def free_memory() -> float:
    """Free memory, bytes."""
    with open("/proc/meminfo") as lines:
        found = dict(line.split(":") for line in lines)
    return 1024.0 * int(found["MemAvailable"].split()[0])


def measure(name: str, batch: int, repeats: int) -> dict[str, Any]:
    """One row."""
    config, training = prepared(name)
    state, net, window = shapes(config), encoding_lib.of(config).network(), config.data.window
    gflop = products(net, window) / 1e9
    plan = functools.partial(program, config, state, training, config.train.batch_size)
    planned = {way: plan(how).memory_analysis().temp_size_in_bytes for way, how in PLANNED.items()}
    return {
        "config": name,
        "units": net.units,
        "layers": net.layers,
        "window": window,
        "batch": config.train.batch_size,
        "parameters": network.count(state.params),
        "parameter_bytes": bytes_of(state.params),
        "optimizer_bytes": bytes_of(state.opt_state),
        "gradient_bytes": bytes_of(state.params),
        "state_bytes_on_each_device": bytes_on_each(state, DEVICES),
        "working_bytes": planned,
        "gflop_a_window": round(gflop, 3),
        "xla_flop_ratio": round(counted(net) / products(net, 1), 4),
        "windows_per_second": speeds(config, state, training, batch, repeats, gflop),
    }


def main() -> None:
    asked = contestants.arguments(__doc__, configs=CONFIGS, batch=8, repeats=3)
    contestants.limit_threads()
    print(f"{'config':<14}{'units':>9}{'M par.':>8}{'state':>8}{'working GB: ':>13}whole, parts, remat, both", end="")
    print(f"{'GFLOP/window':>14}{'windows/s':>11}")
    found = []
    for name in asked.configs.split(","):
        row = measure(name, asked.batch, asked.repeats)
        found.append(row)
        state = (row["parameter_bytes"] + row["optimizer_bytes"]) / 1e9
        working = ", ".join(f"{value / 1e9:.2f}" for value in row["working_bytes"].values())
        rates = row["windows_per_second"] or {}
        speed = ", ".join(f"{rate['median']:.3g}" for rate in rates.values()) or "too large"
        size = f"{row['units']}x{row['layers']}"
        print(f"{name:<14}{size:>9}{row['parameters'] / 1e6:>8.1f}{state:>8.2f}  {working:<32}", end="")
        print(f"{row['gflop_a_window']:>12,.1f}  {speed}", flush=True)
    settings = {"batch": asked.batch, "repeats": asked.repeats, "parts": PARTS, "rows": ROWS, "devices": DEVICES}
    settings |= {"parts_timed": PARTS_TIMED, "precision": "bfloat16"}
    contestants.finish("sizes", {"rows": found, "settings": settings}, asked.save)


if __name__ == "__main__":
    main()
