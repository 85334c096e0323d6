"""The LSTM's gradient by the persistent kernel, by the scan, by the scan with unroll=5 and by cuDNN, and training.

    python -m benchmarks.persistent_lstm.bench [--batch=200 --steps=50 --inputs=3 --units=512] [--repeats=7]
                                               [--updates=40] [--windows=20000] [--save]

The gradient of `last_output` in bfloat16 is taken in a compiled loop of --updates updates; cuDNN's, of PyTorch in fp16
and bf16, is replayed as a CUDA graph as often. Training is the compiled epoch of the paper's network over
--windows windows (none with 0). Before timing, gradients are compared with the scan's. Rows that cannot run here are
named with the reason. Prints a table and, as its last line, one JSON object.
"""

from __future__ import annotations

import functools
import importlib.util
import statistics
import time
import types
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks import contestants
from benchmarks.peers import DROPOUT, LEARNING_RATE
from benchmarks.persistent_lstm import persistent_lstm, reference
from musicjax.model import lstm, network
from musicjax.model.lstm import Params
from musicjax.training import mesh, optimizer, step
from musicjax.training.windows import Windows

Last = Callable[[Params, jax.Array, str], jax.Array]
REPLAYS = 20


def unrolled(count: int) -> Last:
    """`lstm.last_output` from a second copy of its module, whose scans have unroll=count."""
    spec = importlib.util.spec_from_file_location(f"lstm_unrolled_{count}", lstm.__file__)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    scan = functools.partial(lax.scan, unroll=count)
    module.__dict__["lax"] = types.SimpleNamespace(**{**vars(lax), "scan": scan})

    def last_output(params: Any, x: jax.Array, precision: str, remat_rows: int = 0) -> jax.Array:
        return module.last_output(module.Params(*params), x, precision)

    return last_output


def gradient(last: Last, params: Params, x: jax.Array, cotangent: jax.Array) -> Params:
    return jax.grad(lambda params: jnp.vdot(last(params, x, "bfloat16"), cotangent))(params)


def update_times(last: Last, size: tuple[int, int, int, int], updates: int, repeats: int) -> list[float]:
    """Microseconds an update, of each repetition of the compiled loop."""
    params, x, _, (_, cotangent) = reference.example(*size)

    @jax.jit
    def run(params: Params) -> Params:
        def body(params: Params, _: None) -> tuple[Params, None]:
            found = gradient(last, params, x, cotangent.h)
            return jax.tree.map(lambda p, g: p - 1e-6 * g, params, found), None

        return lax.scan(body, params, None, length=updates)[0]

    times = []
    for repeat in range(-2, repeats):  # two that do not count: the first compiles
        started = time.perf_counter()
        jax.block_until_ready(run(params))
        if repeat >= 0:
            times.append((time.perf_counter() - started) / updates * 1e6)
    return times


def train_rates(last: Last, size: tuple[int, int, int, int], windows: int, repeats: int) -> list[float]:
    """Windows a second, of each epoch of the compiled training of the paper's network."""
    batch, steps, inputs, units = size
    net = network.MusicLSTM(units, inputs, DROPOUT, "bfloat16")
    params = network.init(net, jax.random.key(0), steps)
    chain = optimizer.rmsprop(LEARNING_RATE)
    state: Any = step.TrainState(params, chain.init(params), jnp.int32(0))
    rows = np.random.default_rng(0).random((windows + steps, inputs), np.float32)
    data: Any = Windows(jnp.asarray(rows), jnp.arange(windows, dtype=jnp.int32))
    devices, keys = mesh.make(1), step.keys(0)
    state, data, keys = mesh.replicate((state, data, keys), devices)
    rates = []
    with mock.patch.object(lstm, "last_output", last):
        epoch = step.make_epoch(net, chain, batch, steps, devices)
        for number in range(-1, repeats):  # one that does not count: it compiles
            started = time.perf_counter()
            state, metrics = epoch(state, data, keys, mesh.replicate(jnp.int32(number + 1), devices))
            jax.block_until_ready((state, metrics))
            if number >= 0:
                rates.append(windows / (time.perf_counter() - started))
    return rates


def cudnn_times(precision: str, size: tuple[int, int, int, int], repeats: int) -> list[float]:
    """Microseconds of forward and backward of PyTorch's LSTM, replayed as a CUDA graph; ImportError without one."""
    import torch  # at its use, because it is not needed for the other rows

    if not torch.cuda.is_available():
        raise ImportError("PyTorch sees no GPU")
    batch, steps, inputs, units = size
    kind = {"fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    torch.manual_seed(0)
    layer = torch.nn.LSTM(inputs, units, batch_first=True).cuda().to(kind)
    layer.flatten_parameters()
    x = torch.randn(batch, steps, inputs, device="cuda", dtype=kind)
    cotangent = torch.randn(batch, units, device="cuda", dtype=kind)

    def run() -> None:
        for parameter in layer.parameters():
            parameter.grad = None
        (layer(x)[1][0][0] * cotangent).sum().backward()

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    for _ in range(5):
        graph.replay()
    torch.cuda.synchronize()
    times = []
    for _ in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(REPLAYS):
            graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / REPLAYS * 1e3)
    return times


def require_same(rows: dict[str, Last], size: tuple[int, int, int, int]) -> None:
    """Raises RuntimeError if a row's gradient is further than a hundredth from the scan's."""
    params, x, _, (_, cotangent) = reference.example(*size)
    found = {}
    for name, last in rows.items():
        found[name] = reference.named(jax.jit(functools.partial(gradient, last))(params, x, cotangent.h))
    for name, leaves in found.items():
        for path, leaf in leaves.items():
            wanted = found["scan"][path]
            distance = float(np.linalg.norm(leaf - wanted) / np.linalg.norm(wanted))
            if not distance < 1e-2:
                raise RuntimeError(f"{name}: the gradient {path} is {distance:.1e} from the scan's")


def main() -> None:
    asked = contestants.arguments(
        __doc__, batch=200, steps=50, inputs=3, units=512, repeats=7, updates=40, windows=20_000
    )
    size = (asked.batch, asked.steps, asked.inputs, asked.units)
    rows: dict[str, Last] = {"scan": lstm.last_output, "scan, unroll=5": unrolled(5)}
    absent = {}
    instead = reference.hopper()
    if instead:
        absent["kernel"] = f"needs a GPU of compute capability 9.0, JAX found {instead}"
    elif not persistent_lstm.supports(*size, "bfloat16", every=False):
        absent["kernel"] = "does not take this size"
    else:
        rows = {"kernel": persistent_lstm.last_output, **rows}
    require_same(rows, size)
    times: dict[str, list[float]] = {}
    rates: dict[str, list[float]] = {}
    for name, last in rows.items():
        times[name] = update_times(last, size, asked.updates, asked.repeats)
        if asked.windows:
            rates[name] = train_rates(last, size, asked.windows, asked.repeats)
    for precision in ("fp16", "bf16"):
        try:
            times[f"cuDNN, {precision}"] = cudnn_times(precision, size, asked.repeats)
        except ImportError as error:
            absent[f"cuDNN, {precision}"] = str(error)
    print(f"{'':16s}{'us an update':>14s}{'us a step':>12s}{'training, windows/s':>22s}")
    for name, found in times.items():
        update = statistics.median(found)
        rate = f"{statistics.median(rates[name]):,.0f}" if name in rates else ""
        print(f"{name:16s}{update:14,.1f}{update / asked.steps:12.2f}{rate:>22s}")
    for name, reason in absent.items():
        print(f"{name}: {reason}")
    result = {
        "size": dict(zip(("batch", "steps", "inputs", "units"), size, strict=True)),
        "versions": {"jax": jax.__version__},
        "us_an_update": times,
        "training_windows_per_second": rates,
        "absent": absent,
    }
    contestants.finish("persistent_lstm_bench", result, asked.save)


if __name__ == "__main__":
    main()
