"""Compiles musicjax's programs for TPUs without having any, and says what each chip would need.

    pip install libtpu
    python -m benchmarks.tpu [--chips=v5e:1,v5e:4,v5e:16,v6e:1,v6e:4,v6e:16] [--save]
                             [--programs=paper,events,frames,sampling,trials]

`paper`, `events` and `frames` are whole epochs of the configs paper, events and frames_nade_match on the built-in
corpus. `trials` are four trials of paper in one program. `sampling` draws 64 outputs of 500 notes with paper's network,
on one chip. All are in bfloat16. A batch that the chips cannot share evenly is made larger until they can. Memory is
what XLA plans for each chip: arguments, results and temporaries. `gflop` and `mb_accessed` are XLA's own count, in
which the body of a loop counts once. Collectives are the operations by which chips exchange data. Nothing runs, so it
says nothing about speed.

Prints a table and, as its last line, one JSON object. If a program does not compile, its row says why, and the exit
status is 1.
"""

from __future__ import annotations

import collections
import functools
import os
import re
import sys
import time
from collections.abc import Callable
from typing import Any

# libtpu asks the machine for its chips, which takes a minute if there are none.
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.stages import Compiled, Lowered

from benchmarks import contestants, tables
from musicjax import config_files
from musicjax.config import Config
from musicjax.encodings import encoding as encoding_lib
from musicjax.encodings.encoding import Dataset
from musicjax.model import network, sample, sample_groups
from musicjax.model.sample import HeadDraw, Limits, Past
from musicjax.training import mesh, step, trials
from musicjax.training import optimizer as optimizer_lib
from musicjax.training import windows as windows_lib

# {kind: memory of a chip, GiB}: cloud.google.com/tpu/docs, v5e and v6e.
MEMORY_GIB = {"v5e": 16, "v6e": 32}
# {chips: the smallest slice that has them}.
SLICES = {1: "2x2", 4: "2x2", 16: "4x4"}
CHIPS = ",".join(f"{kind}:{count}" for kind in MEMORY_GIB for count in SLICES)
CONFIGS = {"paper": "paper", "events": "events", "frames": "frames_nade_match", "sampling": "paper", "trials": "paper"}
TRIALS, OUTPUTS, NOTES = 4, sample_groups.ON_ACCELERATOR, 500
COLLECTIVE = re.compile(r" (all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all)(?:-start)?\(")


def main() -> None:
    asked = contestants.arguments(__doc__, chips=CHIPS, programs=",".join(CONFIGS))
    chips, programs = asked.chips.split(","), asked.programs.split(",")
    for named, known in ((chips, CHIPS.split(",")), (programs, list(CONFIGS))):
        if unknown := set(named) - set(known):
            raise SystemExit(f"{','.join(sorted(unknown))}: expected some of {','.join(known)}")
    found = {one: {name: tried(name, devices(one), one) for name in programs} for one in chips}
    print(table(found))
    contestants.finish("tpu", {"chips": found, "settings": {"trials": TRIALS, "outputs": OUTPUTS}}, asked.save)
    if any("error" in one for of in found.values() for one in of.values()):
        raise SystemExit(1)


def devices(chips: str) -> Mesh:
    """The chips of a text such as v5e:4."""
    kind, count = chips.split(":")
    try:
        slice_ = topologies.get_topology_desc(f"{kind}:{SLICES[int(count)]}", platform="tpu")
    except Exception as error:  # libtpu raises many kinds of errors when it is missing or too old
        raise SystemExit(f"cannot compile for {kind}: {str(error).splitlines()[0]}; pip install libtpu") from error
    return Mesh(np.array(slice_.devices[: int(count)]), (mesh.AXIS,))


def tried(name: str, chips: Mesh, called: str) -> dict[str, Any]:
    """What a program needs on each chip, or why it does not compile."""
    try:
        began = time.perf_counter()
        program = lowered(name, chips).compile()
    except Exception as error:
        cell: dict[str, Any] = {"error": (str(error) or type(error).__name__).splitlines()[0]}
    else:
        memory: Any = program.memory_analysis()
        costs: Any = program.cost_analysis()
        sizes = {"arguments": memory.argument_size_in_bytes, "temporaries": memory.temp_size_in_bytes}
        # A donated argument and the result that replaces it share memory.
        sizes["results"] = memory.output_size_in_bytes - memory.alias_size_in_bytes
        cell = {
            "compile_seconds": round(time.perf_counter() - began, 1),
            "mb": {what: round(size / 2**20, 1) for what, size in sizes.items()},
            "share_of_memory": round(sum(sizes.values()) / 2**30 / MEMORY_GIB[called.split(":")[0]], 4),
            "gflop": round(costs["flops"] / 1e9, 1),
            "mb_accessed": round(costs["bytes accessed"] / 2**20, 1),
            "collectives": collectives(program),
        }
    print(f"{called:<8}{name:<10}{cell}", file=sys.stderr, flush=True)
    return cell


def collectives(program: Compiled) -> dict[str, int] | None:
    """{kind: how many}; None if this version of JAX cannot read libtpu's program, as with v6e in jax 0.10."""
    try:
        return dict(collections.Counter(COLLECTIVE.findall(program.as_text() or "")))
    except jax.errors.JaxRuntimeError:
        return None


def lowered(name: str, chips: Mesh) -> Lowered:
    """A program for these chips."""
    config = config_files.load(CONFIGS[name])
    config.data.source, config.model.precision = "builtin", "bfloat16"
    config.train.batch_size = -(-config.train.batch_size // chips.size) * chips.size
    dataset = encoding_lib.of(config).dataset()
    placed = functools.partial(_placed, NamedSharding(chips, PartitionSpec()))
    make = {"sampling": _sampling, "trials": _trials}.get(name, _epoch)
    return make(config, dataset, chips, placed)


def _placed(sharding: NamedSharding, tree: Any) -> Any:
    """The shapes of arrays that are on every chip."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype, sharding=sharding), tree)


def _epoch(config: Config, dataset: Dataset, chips: Mesh, placed: Callable[[Any], Any]) -> Lowered:
    net, settings, window = dataset.encoding.network(), config.train, config.data.window
    steps = windows_lib.steps_per_epoch(len(dataset.training.starts), settings.batch_size)
    optimizer = optimizer_lib.of(settings, settings.learning_rate, steps)
    state = jax.eval_shape(functools.partial(step.init, net, optimizer, window=window), step.keys(0).init)
    epoch = step.make_epoch(net, optimizer, settings.batch_size, window, chips, settings.accumulate)
    return epoch.lower(*placed((state, dataset.training, step.keys(0), jnp.int32(0))))


def _trials(config: Config, dataset: Dataset, chips: Mesh, placed: Callable[[Any], Any]) -> Lowered:
    net, settings, window = dataset.encoding.network(), config.train, config.data.window
    steps = windows_lib.steps_per_epoch(len(dataset.training.starts), settings.batch_size)
    of_rate = functools.partial(optimizer_lib.of, settings, steps_per_epoch=steps)
    some = trials.of([(0, settings.learning_rate, config.model.dropout)] * TRIALS)
    states = jax.eval_shape(
        jax.vmap(lambda key: step.init(net, of_rate(settings.learning_rate), key, window)), some.keys.init
    )
    epoch = trials.make_epoch(net, of_rate, settings.batch_size, window, TRIALS, chips, settings.accumulate)
    return epoch.lower(*placed((states, dataset.training, some, jnp.int32(0))))


def _sampling(config: Config, dataset: Dataset, chips: Mesh, placed: Callable[[Any], Any]) -> Lowered:
    """Samples are drawn on one chip."""
    net, window = dataset.encoding.network(), config.data.window
    params = jax.eval_shape(lambda: network.init(net, jax.random.key(0), window))
    column = jnp.zeros(net.columns)
    draw, limits = HeadDraw(column, jnp.float32(1)), Limits(column, column)
    windows = jnp.zeros((OUTPUTS, window, net.columns))
    keys = sample.output_keys(0, range(OUTPUTS))
    begin = functools.partial(sample._begin_group, net, "staggered")
    states = jax.eval_shape(begin, params, windows, draw, jnp.int32(0))
    given = placed((params, Past(windows, states), keys, draw, limits, jnp.int32(0)))
    return sample._sample_group.lower(net, "staggered", NOTES, *given)


def table(found: dict[str, dict[str, dict[str, Any]]]) -> str:
    """What every program needs on each chip, as text."""
    lines = [f"{'chips':<8}{'program':<10}{'compiled in':>12}{'memory':>12}{'of a chip':>11}   collectives"]
    for chips, of in found.items():
        for name, one in of.items():
            if "error" in one:
                lines.append(f"{chips:<8}{name:<10}does not compile: {one['error']}")
                continue
            exchanged = tables.exchanged(one["collectives"]) or "none"
            seconds, memory = f"{one['compile_seconds']:.0f} s", f"{sum(one['mb'].values()):,.1f} MB"
            lines.append(f"{chips:<8}{name:<10}{seconds:>12}{memory:>12}{one['share_of_memory']:>11.2%}   {exchanged}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
