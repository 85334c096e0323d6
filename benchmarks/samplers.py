"""Contestants that continue music exactly with the paper's network: each note from the 50 rows before it.

A contestant (see `contestants`) loads weights and primers. It reports the rows that it makes of two primers without
noise, and answers a line "K L" with the seconds that it took to make L notes for each of K primers.

Every prediction is clamped to 0..1 and fed back. All except musicjax's staggered sampler recompute each window from its
start.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.contestants import answer, limit_threads

# primers [K, T, C], notes -> rows [K, notes, C]
Sample = Callable[[np.ndarray, int], np.ndarray]
SAMPLERS = (
    "musicjax-float32-staggered",
    "musicjax-float32-window",
    "musicjax-bfloat16-staggered",
    "musicjax-bfloat16-window",
    "keras-tensorflow-predict",
    "keras-tensorflow-call",
    "keras-jax-predict",
    "keras-jax-call",
    "torch-float32-loop",
    "torch-bfloat16-loop",
    "flax-float32-scan",
)
CHECKED_NOTES = 10


def musicjax(data: dict[str, np.ndarray], precision: str, decode: str) -> Sample:
    """musicjax itself."""
    import jax
    import jax.numpy as jnp

    from musicjax.model import lstm, network, sample

    units, columns = data["recurrent_kernel"].shape[0], data["primers"].shape[2]
    net = network.MusicLSTM(units, columns, precision=precision)
    params = {
        "lstm": lstm.Params(*(jnp.asarray(data[name]) for name in lstm.Params._fields)),
        "dense": {"kernel": jnp.asarray(data["dense_kernel"]), "bias": jnp.asarray(data["dense_bias"])},
    }
    limits = sample.Limits(jnp.zeros(columns), jnp.ones(columns))
    draw = sample.HeadDraw(jnp.ones(columns), jnp.float32(0))  # at temperature 0 there is no noise

    def run(primers: np.ndarray, notes: int) -> np.ndarray:
        keys = sample.output_keys(0, range(len(primers)))
        past = sample.Past(jnp.asarray(primers))
        return np.asarray(sample.sample(net, params, past, keys, limits, draw, notes, decode=decode).rows)

    jax.block_until_ready(params)
    return run


def flax(data: dict[str, np.ndarray]) -> Sample:
    """Flax's nn.RNN(OptimizedLSTMCell) on each window, with the whole loop compiled as one scan."""
    import functools

    import flax.linen as nn
    import jax
    import jax.numpy as jnp
    from jax import lax

    units, columns = data["recurrent_kernel"].shape[0], data["primers"].shape[2]
    rnn: Any = nn.RNN(nn.OptimizedLSTMCell(units), return_carry=True)
    params: Any = rnn.init(jax.random.key(0), jnp.zeros((1, 2, columns)))["params"]
    cell = next(iter(params.values()))
    for index, gate in enumerate("ifgo"):
        part = slice(index * units, (index + 1) * units)
        cell["i" + gate]["kernel"] = jnp.asarray(data["kernel"][:, part])
        cell["h" + gate]["kernel"] = jnp.asarray(data["recurrent_kernel"][:, part])
        cell["h" + gate]["bias"] = jnp.asarray(data["bias"][part])
    kernel, bias = jnp.asarray(data["dense_kernel"]), jnp.asarray(data["dense_bias"])

    @functools.partial(jax.jit, static_argnums=1)
    def run(primers: jax.Array, notes: int) -> jax.Array:
        def note(windows: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
            (_, last), _ = rnn.apply({"params": params}, windows)
            row = jnp.clip(last @ kernel + bias, 0, 1)
            return jnp.concatenate([windows[:, 1:], row[:, None]], axis=1), row

        return lax.scan(note, primers, None, length=notes)[1].swapaxes(0, 1)

    return lambda primers, notes: np.asarray(run(jnp.asarray(primers), notes))


def keras(data: dict[str, np.ndarray], backend: str, way: str) -> Sample:
    """Keras' model.predict for each note, as the paper's authors use it; or the compiled model, called directly."""
    os.environ["KERAS_BACKEND"] = backend
    import keras as k

    units, columns = data["recurrent_kernel"].shape[0], data["primers"].shape[2]
    model = k.Sequential([k.Input(data["primers"].shape[1:]), k.layers.LSTM(units), k.layers.Dense(columns)])
    model.set_weights([data[name] for name in ("kernel", "recurrent_kernel", "bias", "dense_kernel", "dense_bias")])

    def predict(windows: np.ndarray) -> np.ndarray:
        return model.predict(windows, batch_size=len(windows), verbose=0)

    call = predict
    if way == "call" and backend == "tensorflow":
        import tensorflow as tf

        compiled = tf.function(lambda windows: model(windows, training=False))

        def call(windows: np.ndarray) -> np.ndarray:
            return compiled(tf.constant(windows)).numpy()

    if way == "call" and backend == "jax":
        import jax

        weights = [variable.value for variable in model.trainable_variables]
        rest = [variable.value for variable in model.non_trainable_variables]
        stateless = jax.jit(lambda windows: model.stateless_call(weights, rest, windows, training=False)[0])

        def call(windows: np.ndarray) -> np.ndarray:
            return np.asarray(stateless(windows))

    def run(primers: np.ndarray, notes: int) -> np.ndarray:
        return _loop(call, primers, notes)

    return run


def torch(data: dict[str, np.ndarray], precision: str) -> Sample:
    """nn.LSTM and Linear on each window, in inference mode, in float32 or under bfloat16 autocast."""
    import contextlib

    import torch as t

    t.set_num_threads(2)
    units, columns = data["recurrent_kernel"].shape[0], data["primers"].shape[2]
    rnn: Any = t.nn.LSTM(columns, units, batch_first=True)
    dense = t.nn.Linear(units, columns)
    with t.no_grad():  # gate order is i, f, g, o in both
        rnn.weight_ih_l0.copy_(t.from_numpy(data["kernel"].T.copy()))
        rnn.weight_hh_l0.copy_(t.from_numpy(data["recurrent_kernel"].T.copy()))
        rnn.bias_ih_l0.copy_(t.from_numpy(data["bias"]))
        rnn.bias_hh_l0.zero_()
        dense.weight.copy_(t.from_numpy(data["dense_kernel"].T.copy()))
        dense.bias.copy_(t.from_numpy(data["dense_bias"]))

    def run(primers: np.ndarray, notes: int) -> np.ndarray:
        history = t.zeros(len(primers), primers.shape[1] + notes, columns)
        history[:, : primers.shape[1]] = t.from_numpy(primers)
        low = t.autocast("cpu", t.bfloat16) if precision == "bfloat16" else contextlib.nullcontext()
        with t.inference_mode(), low:
            for note in range(notes):
                end = note + primers.shape[1]
                row = dense(rnn(history[:, note:end])[0][:, -1])
                history[:, end] = row.float().clamp(0, 1)
        return history[:, primers.shape[1] :].numpy()

    return run


def _loop(predict: Callable[[np.ndarray], np.ndarray], primers: np.ndarray, notes: int) -> np.ndarray:
    """One prediction a note, from a loop on the host."""
    window = primers.shape[1]
    history = np.concatenate([primers, np.zeros((len(primers), notes, primers.shape[2]), np.float32)], axis=1)
    for note in range(notes):
        history[:, window + note] = np.clip(predict(history[:, note : note + window]), 0, 1)
    return history[:, window:]


def build(name: str, data: dict[str, np.ndarray]) -> Sample:
    """The sampler of this name; raises ImportError if its packages are not installed."""
    family, variant, way = name.split("-")
    if family == "flax":
        return flax(data)
    if family == "torch":
        return torch(data, variant)
    return {"musicjax": musicjax, "keras": keras}[family](data, variant, way)


def main() -> None:
    """Runs one sampler until standard input ends."""
    name, path = sys.argv[1:]
    limit_threads()
    with np.load(path, allow_pickle=False) as stored:
        data = {key: stored[key] for key in stored.files}
    sample: Sample | None = None

    def check() -> dict[str, Any]:
        nonlocal sample
        sample = build(name, data)
        return {
            "check": [round(float(value), 6) for value in sample(data["primers"][:2], CHECKED_NOTES)[:, -1].ravel()]
        }

    def work(line: str) -> dict[str, Any]:
        assert sample is not None
        outputs, notes = map(int, line.split())
        started = time.perf_counter()
        rows = sample(data["primers"][:outputs], notes)
        assert rows.shape[:2] == (outputs, notes)
        return {"seconds": time.perf_counter() - started}

    answer(name, check, work)


if __name__ == "__main__":
    main()
