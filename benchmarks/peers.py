"""Contestants that train the paper's network, each in its own process; see `contestants`.

A contestant loads windows and initial weights. It reports its loss and gradient norm on the first batch (dropout off),
and answers each line with the seconds that one pass over the windows took.

All use the given batch, dropout 0.75, RMSprop with rho 0.9 and epsilon 1e-7, and 2 threads. PyTorch's RMSprop adds
epsilon outside the root, and its LSTM has two biases where the others have one. The time includes each library's own
feeding of batches. Contestants use the first accelerator if there is one; rows that need one are absent otherwise.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.contestants import answer, limit_threads

DROPOUT, LEARNING_RATE, RHO, EPSILON = 0.75, 1e-4, 0.9, 1e-7
Train = Callable[[], dict[str, Any] | None]
# (loss and gradient norm on the first batch, one pass)
Peer = tuple[Callable[[], tuple[float, float]], Train]
PEERS = (
    "musicjax-float32",
    "musicjax-bfloat16",
    "musicjax-tf32",
    "keras-jax",
    "keras-jax_bfloat16",
    "keras-tensorflow",
    "keras-tensorflow_bfloat16",
    "keras-torch",
    "torch-float32",
    "torch-tf32",
    "torch-bfloat16",
    "torch-float16",
    "torch-float32_graph",
    "torch-tf32_graph",
    "torch-bfloat16_graph",
    "torch-float16_graph",
    "flax-float32",
    "flax-bfloat16",
    "flax-float32_epoch",
    "flax-bfloat16_epoch",
    "dropin-float32",
    "dropin-bfloat16",
    "dropin-float32_epoch",
    "dropin-bfloat16_epoch",
    "roof-float32",
    "roof-bfloat16",
)


def norm(gradients: list[Any]) -> float:
    """Euclidean norm over all arrays."""
    return float(np.sqrt(sum(np.sum(np.asarray(gradient, np.float64) ** 2) for gradient in gradients)))


def musicjax(data: dict[str, np.ndarray], batch: int, variant: str) -> Peer:
    """musicjax itself: one compiled epoch; PRECISION, PRECISION@DEVICES or PRECISION*GROUP.

    With *GROUP it trains `trials` models, GROUP of them at a time.
    """
    import jax
    import jax.numpy as jnp

    from musicjax.model import heads, lstm, network
    from musicjax.training import mesh, optimizer, step, trials
    from musicjax.training.windows import Windows

    if variant.startswith("tf32") and jax.default_backend() != "gpu":
        raise ImportError("tf32 needs an NVIDIA GPU")
    units = data["recurrent_kernel"].shape[0]
    columns, window = data["rows"].shape[1], int(data["window"])
    precision, group = (*variant.split("*"), "")[:2]
    precision, count = (*precision.split("@"), "1")[:2]
    net = network.MusicLSTM(units, columns, DROPOUT, precision)
    params = {
        "lstm": lstm.Params(*(jnp.asarray(data[name]) for name in lstm.Params._fields)),
        "dense": {"kernel": jnp.asarray(data["dense_kernel"]), "bias": jnp.asarray(data["dense_bias"])},
    }
    chain = optimizer.rmsprop(LEARNING_RATE)
    state = step.TrainState(params, chain.init(params), jnp.int32(0))
    windows = Windows(jnp.asarray(data["rows"]), jnp.arange(len(data["x"]), dtype=jnp.int32))
    keys: Any
    devices, keys = mesh.make(int(count)), step.keys(0)
    epoch = step.make_epoch(net, chain, batch, window, devices)
    if group:
        many = int(data["trials"])
        keys = trials.make(list(range(many)), [LEARNING_RATE] * many, [DROPOUT] * many)
        state = jax.tree.map(lambda leaf: jnp.stack([leaf] * many), state)
        epoch = trials.make_epoch(net, optimizer.rmsprop, batch, window, int(group), devices)
    state, windows, keys = mesh.replicate((state, windows, keys), devices)
    number = 0

    def check() -> tuple[float, float]:
        def loss(params: dict) -> jax.Array:
            outputs = network.apply(net, params, jnp.asarray(data["x"][:batch]))
            return jnp.mean(heads.Regression().loss({}, outputs, jnp.asarray(data["y"][:batch])))

        value, gradients = jax.jit(jax.value_and_grad(loss))(params)
        return float(value), norm(jax.tree.leaves(gradients))

    def train() -> dict[str, Any]:
        nonlocal state, number
        state, metrics = epoch(state, windows, keys, mesh.replicate(jnp.int32(number), devices))
        number += 1
        jax.block_until_ready((state, metrics))
        return {"last_loss": float(metrics.loss.mean() / metrics.weight.mean())}

    return check, train


def flax(data: dict[str, np.ndarray], batch: int, variant: str, is_ours: bool = False) -> Peer:
    """Flax's nn.RNN(OptimizedLSTMCell), or musicjax.LSTM in its place; PRECISION or PRECISION_epoch.

    PRECISION calls a jitted function for each step, PRECISION_epoch for each epoch.
    """
    import flax.linen as nn
    import jax
    import jax.numpy as jnp
    import optax
    from jax import lax

    from musicjax.model import rnn

    units, columns = data["recurrent_kernel"].shape[0], data["y"].shape[1]
    precision, _, form = variant.partition("_")
    kind = jnp.dtype(precision)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array, train: bool) -> jax.Array:
            if is_ours:
                outputs: Any = rnn.LSTM(nn.OptimizedLSTMCell(units), precision=precision)(x)
            else:
                outputs = nn.RNN(nn.OptimizedLSTMCell(units, dtype=kind))(x)
            last = nn.Dropout(DROPOUT, deterministic=not train)(outputs[:, -1])
            return nn.Dense(columns, name="dense")(last.astype(jnp.float32))

    net = Net()
    params: Any = net.init(jax.random.key(0), jnp.zeros((1, 2, columns)), False)["params"]
    gates = params["OptimizedLSTMCell_0"]
    for index, gate in enumerate("ifgo"):
        part = slice(index * units, (index + 1) * units)
        gates["i" + gate]["kernel"] = jnp.asarray(data["kernel"][:, part])
        gates["h" + gate]["kernel"] = jnp.asarray(data["recurrent_kernel"][:, part])
        gates["h" + gate]["bias"] = jnp.asarray(data["bias"][part])
    params["dense"] = {"kernel": jnp.asarray(data["dense_kernel"]), "bias": jnp.asarray(data["dense_bias"])}
    chain = optax.rmsprop(LEARNING_RATE, decay=RHO, eps=EPSILON, eps_in_sqrt=True)
    state = (params, chain.init(params))
    x, y = jnp.asarray(data["x"]), jnp.asarray(data["y"])

    def loss(params: Any, x: jax.Array, y: jax.Array, key: jax.Array | None) -> jax.Array:
        rngs = None if key is None else {"dropout": key}
        outputs: Any = net.apply({"params": params}, x, key is not None, rngs=rngs)
        return jnp.mean((outputs - y) ** 2)

    def step(state: Any, x: jax.Array, y: jax.Array, key: jax.Array) -> Any:
        gradients = jax.grad(loss)(state[0], x, y, key)
        updates, opt_state = chain.update(gradients, state[1], state[0])
        return optax.apply_updates(state[0], updates), opt_state

    def epoch(state: Any, x: jax.Array, y: jax.Array, order: jax.Array, key: jax.Array) -> Any:
        def body(state: Any, number: jax.Array) -> tuple[Any, None]:
            chosen = lax.dynamic_slice(order, (number * batch,), (batch,))
            return step(state, x[chosen], y[chosen], jax.random.fold_in(key, number)), None

        whole = len(order) // batch
        state, _ = lax.scan(body, state, jnp.arange(whole))
        rest = order[whole * batch :]
        return step(state, x[rest], y[rest], jax.random.fold_in(key, whole)) if len(rest) else state

    compiled = jax.jit(epoch if form else step, donate_argnums=0)

    def check() -> tuple[float, float]:
        value, gradients = jax.jit(jax.value_and_grad(loss), static_argnums=3)(params, x[:batch], y[:batch], None)
        return float(value), norm(jax.tree.leaves(gradients))

    def train() -> None:
        nonlocal state
        order = np.random.default_rng(0).permutation(len(x))
        if form:
            state = compiled(state, x, y, order, jax.random.key(0))
        else:
            for number, start in enumerate(range(0, len(x), batch)):
                chosen = order[start : start + batch]
                state = compiled(state, x[chosen], y[chosen], jax.random.key(number))
        jax.block_until_ready(state)

    return check, train


def keras(data: dict[str, np.ndarray], batch: int, variant: str) -> Peer:
    """Keras' Sequential(LSTM, Dropout, Dense) and fit(), as the paper's authors use it; BACKEND or BACKEND_bfloat16."""
    backend, _, low = variant.partition("_")
    os.environ["KERAS_BACKEND"] = backend
    if backend == "torch":
        import torch

        torch.set_num_threads(2)
    import keras as k

    if low:
        k.mixed_precision.set_dtype_policy("mixed_bfloat16")
    units, columns = data["recurrent_kernel"].shape[0], data["y"].shape[1]
    layers = [k.Input(data["x"].shape[1:]), k.layers.LSTM(units), k.layers.Dropout(DROPOUT), k.layers.Dense(columns)]
    model = k.Sequential(layers)
    names = ("kernel", "recurrent_kernel", "bias", "dense_kernel", "dense_bias")
    model.set_weights([data[name] for name in names])
    model.compile(optimizer=k.optimizers.RMSprop(LEARNING_RATE, rho=RHO, epsilon=EPSILON), loss="mse")

    def check() -> tuple[float, float]:
        x, y = data["x"][:batch], data["y"][:batch]
        if backend == "jax":
            import jax

            trainable = [variable.value for variable in model.trainable_variables]
            rest = [variable.value for variable in model.non_trainable_variables]

            def loss(trainable: list) -> jax.Array:
                return ((model.stateless_call(trainable, rest, x, training=False)[0] - y) ** 2).mean()

            value, gradients = jax.value_and_grad(loss)(trainable)
        elif backend == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                value = tf.reduce_mean((model(x, training=False) - y) ** 2)
            gradients = tape.gradient(value, [variable.value for variable in model.trainable_variables])
        else:
            value = ((model(k.ops.convert_to_tensor(x), training=False) - k.ops.convert_to_tensor(y)) ** 2).mean()
            value.backward()
            gradients = [variable.value.grad.cpu() for variable in model.trainable_variables]
            value = value.detach()
        return float(value), norm(gradients)

    def train() -> None:
        model.fit(data["x"], data["y"], batch_size=batch, epochs=1, verbose=0)

    return check, train


def roof(precision: str) -> Peer:
    """Not a peer, but the speed of matrix products alone."""
    from benchmarks.roof import products

    gflops = products(precision)
    return lambda: (0.0, 0.0), lambda: {"gflops": gflops()}


def build(name: str, data: dict[str, np.ndarray], batch: int) -> Peer:
    """The peer of this name; raises ImportError if its packages are not installed."""
    family, variant = name.split("-")
    if family == "flax":
        return flax(data, batch, variant)
    if family == "dropin":
        return flax(data, batch, variant, is_ours=True)
    if family == "roof":
        return roof(variant)
    if family == "torch":
        from benchmarks import torch_peer

        return torch_peer.build(data, batch, variant, DROPOUT, LEARNING_RATE, RHO, EPSILON)
    return {"musicjax": musicjax, "keras": keras}[family](data, batch, variant)


def serve(name: str, built: Callable[[], Peer]) -> None:
    """Runs one peer until standard input ends."""
    train: Train | None = None

    def check() -> dict[str, Any]:
        nonlocal train
        compute, train = built()
        return {} if name.startswith("roof") else {"check": compute()}

    def work(_: str) -> dict[str, Any]:
        assert train is not None
        started = time.perf_counter()
        facts = train() or {}
        return {"seconds": time.perf_counter() - started, **facts}

    answer(name, check, work)


def main() -> None:
    name, path = sys.argv[1:]
    limit_threads()
    with np.load(path, allow_pickle=False) as stored:
        data = {key: stored[key] for key in stored.files}
    serve(name, lambda: build(name, data, int(data["batch"])))


if __name__ == "__main__":
    main()
