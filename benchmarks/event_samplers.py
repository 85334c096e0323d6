"""Contestants that continue pieces with a note-event model, each in its own process; see `contestants`.

The network is that of `event_peers`. It carries its state from note to note, and each note's columns are drawn in turn,
each given the columns before it. musicjax draws with the head alone, without the sampling parameters of `generate`. The
loop of the others is compiled (Flax) or runs in Python (PyTorch, without torch.compile).

A contestant loads windows and weights, and continues the first rows of windows. It reports the likeliest bins of the
first notes after each, and answers a line "K L" with the seconds that K pieces of L notes took at temperature 1.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.contestants import answer, limit_threads
from benchmarks.event_peers import Problem, flax_params, musicjax_network, read

# rows [K, C] of the past, notes, temperature -> rows [K, notes, C]
Sample = Callable[[np.ndarray, int, float], np.ndarray]
SAMPLERS = tuple(
    f"{family}-{precision}"
    for family in ("musicjax", "torch_lstm", "torch_cell", "flax_scan")
    for precision in ("float32", "bfloat16")
)
CHECKED_NOTES = 3


def musicjax(problem: Problem, precision: str) -> Sample:
    """musicjax itself."""
    import jax
    import jax.numpy as jnp

    from musicjax.model import sample

    net, params = musicjax_network(problem, precision)
    limits = sample.Limits(jnp.zeros(len(problem.sizes)), jnp.asarray(problem.sizes, jnp.float32) - 1)

    def run(rows: np.ndarray, notes: int, temperature: float) -> np.ndarray:
        past = sample.Past(jnp.asarray(rows[:, None], jnp.float32))
        keys, draw = sample.output_keys(0, range(len(rows))), sample.HeadDraw(limits.low, jnp.float32(temperature))
        return np.asarray(sample.sample(net, params, past, keys, limits, draw, notes, decode="carry").rows)

    jax.block_until_ready(params)
    return run


def flax(problem: Problem, precision: str) -> Sample:
    """Flax's nn.Embed, OptimizedLSTMCell and nn.Dense, with the whole loop compiled as one scan."""
    import flax.linen as nn
    import jax
    import jax.numpy as jnp
    from jax import lax

    kind, bins_drawn = jnp.dtype(precision), sum(problem.sizes[column] for column, *_ in problem.predicted)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, carry: Any, rows: jax.Array, noise: jax.Array) -> tuple[Any, jax.Array]:
            """The state after rows int32 [K, C], and the next rows; noise [K, V] is for all predicted bins."""
            bins, first_bins = sum(problem.sizes), problem.first_bins
            seen = nn.Embed(bins, problem.embedding, dtype=kind, name="embed")(rows + first_bins).sum(axis=-2)
            cell = nn.OptimizedLSTMCell(problem.units, dtype=kind, name="OptimizedLSTMCell_0")
            carry, hidden = cell(carry, seen)
            outputs = nn.Dense(len(problem.predicted) * problem.head_units, dtype=kind, name="dense")(hidden)
            parts, drawn, first = jnp.split(outputs, len(problem.predicted), axis=-1), jnp.zeros_like(rows), 0
            for part, (column, before, firsts) in zip(parts, problem.predicted, strict=True):
                if before:
                    before_bins = sum(problem.sizes[one] for one in before)
                    into = nn.Embed(before_bins, problem.head_units, dtype=kind, name=f"into_{column}")
                    part = part + into(drawn[:, np.array(before)] + firsts).sum(axis=-2)
                size = problem.sizes[column]
                logits = nn.Dense(size, dtype=kind, name=f"out_{column}")(nn.relu(part)).astype(jnp.float32)
                drawn = drawn.at[:, column].set(jnp.argmax(logits + noise[:, first : first + size], axis=-1))
                first += size
            return carry, drawn

    net, params = Net(), flax_params(problem)

    @functools.partial(jax.jit, static_argnums=2)
    def run(params: Any, rows: jax.Array, notes: int, temperature: jax.Array) -> jax.Array:
        def step(carry: Any, key: jax.Array) -> Any:
            state, rows = carry
            noise = temperature * jax.random.gumbel(key, (len(rows), bins_drawn))
            state, rows = net.apply({"params": params}, state, rows, noise)
            return (state, rows), rows

        zeros = jnp.zeros((len(rows), problem.units), kind)
        return lax.scan(step, ((zeros, zeros), rows), jax.random.split(jax.random.key(0), notes))[1].swapaxes(0, 1)

    return lambda rows, notes, temperature: np.asarray(
        run(params, jnp.asarray(rows, jnp.int32), notes, jnp.float32(temperature))
    )


def torch(problem: Problem, precision: str, layer: str) -> Sample:
    """PyTorch's embedding_bag, nn.LSTM or nn.LSTMCell, and linear layers, in inference mode, all in one precision."""
    import torch as t
    from torch.nn import functional

    t.set_num_threads(2)
    kind = getattr(t, precision)
    own = {name: t.from_numpy(array.copy()).to(kind) for name, array in problem.weights.items()}
    rnn: Any = (t.nn.LSTM if layer == "lstm" else t.nn.LSTMCell)(problem.embedding, problem.units, dtype=kind)
    weights = (own["kernel"].T, own["recurrent_kernel"].T, own["bias"], t.zeros_like(own["bias"]))
    with t.no_grad():  # gate order is i, f, g, o in both
        for parameter, weight in zip(rnn.parameters(), weights, strict=True):
            parameter.copy_(weight)
    dense = own["dense_kernel"].T.contiguous()
    first_bins = t.from_numpy(problem.first_bins)
    predicted = [
        (column, before, t.from_numpy(firsts), own[f"head_out_{column}"].T.contiguous())
        for column, before, firsts in problem.predicted
    ]

    def advanced(seen: t.Tensor, state: Any) -> tuple[t.Tensor, Any]:
        if layer == "cell":
            state = rnn(seen, state)
            return state[0], state
        outputs, state = rnn(seen[None], state)
        return outputs[0], state

    def run(rows: np.ndarray, notes: int, temperature: float) -> np.ndarray:
        now, state, made = t.from_numpy(rows.astype(np.int64)), None, []
        with t.inference_mode():
            for _ in range(notes):
                seen = functional.embedding_bag(now + first_bins, own["embedding"], mode="sum")
                hidden, state = advanced(seen, state)
                outputs = functional.linear(hidden, dense, own["dense_bias"])
                now = t.zeros_like(now)
                parts = outputs.split(problem.head_units, dim=-1)
                for part, (column, before, firsts, weight) in zip(parts, predicted, strict=True):
                    if before:
                        into = own[f"head_into_{column}"]
                        part = part + functional.embedding_bag(now[:, before] + firsts, into, mode="sum")
                    logits = functional.linear(functional.relu(part), weight, own[f"head_bias_{column}"]).float()
                    if temperature:
                        logits = logits - temperature * t.empty_like(logits).exponential_().log_()
                    now[:, column] = logits.argmax(dim=-1)
                made.append(now)
        return t.stack(made, dim=1).numpy()

    return run


FAMILIES: dict[str, Callable[[Problem, str], Sample]] = {
    "musicjax": musicjax,
    "torch_lstm": functools.partial(torch, layer="lstm"),
    "torch_cell": functools.partial(torch, layer="cell"),
    "flax_scan": flax,
}


def main() -> None:
    """Runs one sampler until standard input ends."""
    name, path = sys.argv[1:]
    limit_threads()
    family, precision = name.split("-")
    problem, sample = read(path), None

    def check() -> dict[str, Any]:
        nonlocal sample
        sample = FAMILIES[family](problem, precision)
        columns = [column for column, *_ in problem.predicted]
        return {"likeliest": sample(problem.rows[:, 0], CHECKED_NOTES, 0.0)[..., columns].astype(int).ravel().tolist()}

    def work(line: str) -> dict[str, Any]:
        assert sample is not None
        pieces, notes = map(int, line.split())
        started = time.perf_counter()
        rows = sample(problem.rows[:pieces, 0], notes, 1.0)
        assert rows.shape[:2] == (pieces, notes)
        return {"seconds": time.perf_counter() - started}

    answer(name, check, work)


if __name__ == "__main__":
    main()
