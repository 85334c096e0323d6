"""Contestants that train a note-event model, each in its own process; see `contestants`.

A row has a bin for each column. The network sums the embeddings of a row's bins, feeds the sum to an LSTM, and at every
position predicts the columns of the next row in turn, each given the columns before it. A dense layer gives a vector
for each column; a vector for each bin before it is added, and a softmax of the rectified sum predicts the column.

Contestants load windows and initial weights. They report their loss and gradient norm on the first batch (dropout off),
and answer each line with the seconds that one pass over the windows took. All use Adam at the same learning rate,
gradients clipped to a norm of 1, and 2 threads. PyTorch's LSTM has two biases where the others have one. Peers look
embeddings up and add them; musicjax multiplies one-hot rows, as it does in training.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.contestants import limit_threads
from benchmarks.peers import Peer, norm, serve

LEARNING_RATE, CLIP_NORM = 3e-3, 1.0
PEERS = (
    *("musicjax-float32", "musicjax-bfloat16", "torch-float32", "torch-bfloat16"),
    *("flax-float32_epoch", "flax-bfloat16_epoch"),
)


class Problem(NamedTuple):
    """sizes: bins of each column; given: columns that are never predicted; order: of the columns of a row, given ones
    included, without those that are never seen; rows: uint8 [W, T + 1, C], windows; weights: by name, see
    `events.write_problem`."""

    sizes: tuple[int, ...]
    given: tuple[int, ...]
    order: tuple[int, ...]
    units: int
    head_units: int
    embedding: int
    dropout: float
    batch: int
    rows: np.ndarray
    weights: dict[str, np.ndarray]

    @property
    def first_bins(self) -> np.ndarray:
        """The place of each column's first bin among all bins, [C]."""
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]])

    @property
    def predicted(self) -> list[tuple[int, list[int], np.ndarray]]:
        """For each predicted column: it, those before it, and where each one's first bin is among their bins."""
        found = []
        for place, column in enumerate(self.order):
            before = list(self.order[:place])
            firsts = np.concatenate([[0], np.cumsum([self.sizes[one] for one in before])])[: len(before)]
            if column not in self.given:
                found.append((column, before, firsts.astype(int)))
        return found


def read(path: str) -> Problem:
    """The problem stored in a file."""
    with np.load(path, allow_pickle=False) as stored:
        arrays = {key: stored[key] for key in stored.files}
    spec = json.loads(str(arrays.pop("spec")))
    sizes, given, order = (tuple(spec.pop(name)) for name in ("sizes", "given", "order"))
    return Problem(sizes, given, order, **spec, rows=arrays.pop("rows"), weights=arrays)


def musicjax_network(problem: Problem, precision: str) -> tuple[Any, dict[str, Any]]:
    """musicjax's network and its weights."""
    import jax.numpy as jnp

    from musicjax.model import lstm
    from musicjax.model.categorical import Categorical
    from musicjax.model.network import MusicLSTM

    net = MusicLSTM(
        problem.units,
        len(problem.sizes),
        problem.dropout,
        precision,
        head=Categorical(problem.sizes, problem.given, problem.head_units, precision, problem.order),
        every_position=True,
        sizes=problem.sizes,
        embedding=problem.embedding,
    )
    own = {name: jnp.asarray(array) for name, array in problem.weights.items()}
    return net, {
        "embedding": own["embedding"],
        "lstm": lstm.Params(own["kernel"], own["recurrent_kernel"], own["bias"]),
        "dense": {"kernel": own["dense_kernel"], "bias": own["dense_bias"]},
        "head": {name.removeprefix("head_"): array for name, array in own.items() if name.startswith("head_")},
    }


def musicjax(problem: Problem, precision: str) -> Peer:
    """musicjax itself: one compiled epoch, windows gathered as in training but not transposed."""
    import jax
    import jax.numpy as jnp

    from musicjax.model import network
    from musicjax.training import mesh, optimizer, sequences, step

    window, columns = problem.rows.shape[1] - 1, len(problem.sizes)
    net, params = musicjax_network(problem, precision)
    adam, keys, devices = optimizer.adam(LEARNING_RATE, 0.0, CLIP_NORM), step.keys(0), mesh.make(1)
    rows = problem.rows.reshape(-1, columns)
    offsets = np.arange(0, len(rows) + 1, window + 1)
    everyone = np.ones(len(problem.rows), bool)
    made = sequences.windows(rows, offsets, everyone, window, 0, lambda piece: (0, 0), Unchanged())
    epoch = step.make_epoch(net, adam, problem.batch, window, devices)
    # A copy, because an epoch takes over its state's buffers.
    start = step.TrainState(jax.tree.map(jnp.copy, params), adam.init(params), jnp.int32(0))
    state, made, keys = mesh.replicate((start, made, keys), devices)
    number = 0

    def check() -> tuple[float, float]:
        first = jnp.asarray(problem.rows[: problem.batch], jnp.float32)

        def loss(params: dict) -> jax.Array:
            outputs = network.apply(net, params, first[:, :-1])
            return jnp.mean(net.head.loss(params["head"], outputs, first[:, 1:]))

        value, gradients = jax.jit(jax.value_and_grad(loss))(params)
        return float(value), norm(jax.tree.leaves(gradients))

    def train() -> dict[str, Any]:
        nonlocal state, number
        state, metrics = epoch(state, made, keys, mesh.replicate(jnp.int32(number), devices))
        number += 1
        jax.block_until_ready((state, metrics))
        return {"last_loss": float(metrics.loss.mean() / metrics.weight.mean())}

    return check, train


class Unchanged(NamedTuple):
    """Leaves rows as they are, where an encoding would change them in training; see `sequences.Augment`."""

    @property
    def random_numbers(self) -> int:
        """It needs none."""
        return 0

    def __call__(self, rows: Any, down: Any, up: Any, random: Any) -> Any:
        """Rows uint8 [B, T + 1, C] -> float32."""
        return rows.astype(np.float32)


def flax_params(problem: Problem) -> dict[str, Any]:
    """The weights by the names of Flax's modules."""
    import jax
    import jax.numpy as jnp

    own, gates = problem.weights, {}
    for index, gate in enumerate("ifgo"):
        part = slice(index * problem.units, (index + 1) * problem.units)
        gates["i" + gate] = {"kernel": own["kernel"][:, part]}
        gates["h" + gate] = {"kernel": own["recurrent_kernel"][:, part], "bias": own["bias"][part]}
    params: dict[str, Any] = {
        "embed": {"embedding": own["embedding"]},
        "OptimizedLSTMCell_0": gates,
        "dense": {"kernel": own["dense_kernel"], "bias": own["dense_bias"]},
    }
    for column, before, _ in problem.predicted:
        params[f"out_{column}"] = {"kernel": own[f"head_out_{column}"], "bias": own[f"head_bias_{column}"]}
        if before:
            params[f"into_{column}"] = {"embedding": own[f"head_into_{column}"]}
    return jax.tree.map(jnp.asarray, params)


def flax(problem: Problem, variant: str) -> Peer:
    """Flax's nn.Embed, nn.RNN(OptimizedLSTMCell) and nn.Dense; it compiles a whole epoch."""
    import flax.linen as nn
    import jax
    import jax.numpy as jnp
    import optax
    from jax import lax

    kind = jnp.dtype(variant.removesuffix("_epoch"))
    units, batch = problem.units, problem.batch

    class Net(nn.Module):
        @nn.compact
        def __call__(self, rows: jax.Array, train: bool) -> jax.Array:
            """Nats of rows int32 [B, T + 1, C] after the first, [B, T]."""
            x, y = rows[:, :-1], rows[:, 1:]
            seen = nn.Embed(sum(problem.sizes), problem.embedding, dtype=kind, name="embed")(x + problem.first_bins)
            hidden = nn.RNN(nn.OptimizedLSTMCell(units, dtype=kind))(seen.sum(axis=-2))
            hidden = nn.Dropout(problem.dropout, deterministic=not train)(hidden)
            outputs = nn.Dense(len(problem.predicted) * problem.head_units, dtype=kind, name="dense")(hidden)
            nats = jnp.float32(0)
            parts = jnp.split(outputs, len(problem.predicted), axis=-1)
            for part, (column, before, firsts) in zip(parts, problem.predicted, strict=True):
                if before:
                    bins = sum(problem.sizes[one] for one in before)
                    into = nn.Embed(bins, problem.head_units, dtype=kind, name=f"into_{column}")
                    part = part + into(y[..., np.array(before)] + firsts).sum(axis=-2)
                logits = nn.Dense(problem.sizes[column], dtype=kind, name=f"out_{column}")(nn.relu(part))
                nats += optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), y[..., column])
            return nats

    params = flax_params(problem)
    net, rows = Net(), jnp.asarray(problem.rows, jnp.int32)
    adam = optax.chain(optax.clip_by_global_norm(CLIP_NORM), optax.adam(LEARNING_RATE))
    state = (jax.tree.map(jnp.copy, params), adam.init(params))

    def loss(params: Any, rows: jax.Array, key: jax.Array | None) -> jax.Array:
        rngs = None if key is None else {"dropout": key}
        nats: Any = net.apply({"params": params}, rows, key is not None, rngs=rngs)
        return jnp.mean(nats)

    def epoch(state: Any, rows: jax.Array, order: jax.Array, key: jax.Array) -> Any:
        def body(state: Any, number: jax.Array) -> tuple[Any, None]:
            chosen = rows[lax.dynamic_slice(order, (number * batch,), (batch,))]
            gradients = jax.grad(loss)(state[0], chosen, jax.random.fold_in(key, number))
            updates, opt_state = adam.update(gradients, state[1], state[0])
            return (optax.apply_updates(state[0], updates), opt_state), None

        return lax.scan(body, state, jnp.arange(len(order) // batch))[0]

    compiled, passes = jax.jit(epoch, donate_argnums=0), itertools.count()

    def check() -> tuple[float, float]:
        value, gradients = jax.jit(jax.value_and_grad(loss))(params, rows[:batch], None)
        return float(value), norm(jax.tree.leaves(gradients))

    def train() -> None:
        nonlocal state
        number = next(passes)
        order = np.random.default_rng(number).permutation(len(rows))
        state = jax.block_until_ready(compiled(state, rows, order, jax.random.key(number)))

    return check, train


def torch(problem: Problem, precision: str) -> Peer:
    """PyTorch's embedding_bag, nn.LSTM and linear layers; bfloat16 under autocast."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(2)
    on_cuda = torch.cuda.is_available()
    device = torch.device("cuda" if on_cuda else "cpu")
    rnn: Any = torch.nn.LSTM(problem.embedding, problem.units, batch_first=True)
    with torch.no_grad():  # gate order is i, f, g, o in both
        rnn.weight_ih_l0.copy_(torch.from_numpy(problem.weights["kernel"].T.copy()))
        rnn.weight_hh_l0.copy_(torch.from_numpy(problem.weights["recurrent_kernel"].T.copy()))
        rnn.bias_ih_l0.copy_(torch.from_numpy(problem.weights["bias"]))
        rnn.bias_hh_l0.zero_()
    rnn = rnn.to(device)
    of_lstm = ("kernel", "recurrent_kernel", "bias")
    own = {
        name: torch.from_numpy(array.copy()).to(device).requires_grad_()
        for name, array in problem.weights.items()
        if name not in of_lstm
    }
    parameters = [*rnn.parameters(), *own.values()]
    adam = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)
    rows = torch.from_numpy(problem.rows.astype(np.int64)).to(device)
    first_bins = torch.from_numpy(problem.first_bins).to(device)
    predicted = [(c, before, torch.from_numpy(firsts).to(device)) for c, before, firsts in problem.predicted]

    def summed(rows: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """The sum of the embeddings of each row's bins: rows [B, T, C] -> [B T, E]."""
        return functional.embedding_bag(rows.reshape(-1, rows.shape[-1]), embedding, mode="sum")

    def loss(rows: torch.Tensor, rate: float) -> torch.Tensor:
        x, y = rows[:, :-1], rows[:, 1:]
        low = torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else contextlib.nullcontext()
        with low:
            seen = summed(x + first_bins, own["embedding"]).view(*x.shape[:2], -1)
            hidden = functional.dropout(rnn(seen)[0], rate, training=rate > 0).flatten(0, 1)
            outputs = functional.linear(hidden, own["dense_kernel"].T, own["dense_bias"])
            nats = torch.zeros((), device=device)
            parts = outputs.split(problem.head_units, dim=-1)
            for part, (column, before, firsts) in zip(parts, predicted, strict=True):
                if before:
                    part = part + summed(y[..., before] + firsts, own[f"head_into_{column}"])
                weight, bias = own[f"head_out_{column}"], own[f"head_bias_{column}"]
                logits = functional.linear(functional.relu(part), weight.T, bias)
                nats = nats + functional.cross_entropy(logits.float(), y[..., column].flatten())
        return nats

    def check() -> tuple[float, float]:
        value = loss(rows[: problem.batch], 0.0)
        value.backward()
        squares = [float((p.grad.double() ** 2).sum()) for p in parameters if p is not rnn.bias_hh_l0]
        return float(value.detach()), sum(squares) ** 0.5

    def train() -> None:
        order = torch.randperm(len(rows), device=device)
        for start in range(0, len(rows), problem.batch):
            adam.zero_grad(set_to_none=True)
            loss(rows[order[start : start + problem.batch]], problem.dropout).backward()
            torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
            adam.step()
        if on_cuda:
            torch.cuda.synchronize()

    return check, train


FAMILIES: dict[str, Callable[[Problem, str], Peer]] = {"musicjax": musicjax, "torch": torch, "flax": flax}


def main() -> None:
    name, path = sys.argv[1:]
    limit_threads()
    family, variant = name.split("-")
    serve(name, lambda: FAMILIES[family](read(path), variant))


if __name__ == "__main__":
    main()
