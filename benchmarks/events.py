"""Training speed of a note-event model beside the same model in PyTorch and Flax, in turns.

    python -m benchmarks.events [--peers=musicjax-float32,torch-bfloat16,...] [--config=events] [--repeats=5]
                                [--windows=512] [--save]

The sizes come from the config and from the bins that it learns from its data. The rows have random bins, because the
arithmetic does not depend on them. Windows are full and not transposed. Before the timing, the loss and gradient norm
of every peer are compared on the same weights. Each peer's first pass, which compiles, does not count. Prints a table
and, as its last line, one JSON object, which --save keeps.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import contestants
from benchmarks.contestants import best, ratio
from benchmarks.event_peers import PEERS


def write_problem(path: Path, config_name: str, windows: int) -> dict[str, Any]:
    """Writes the windows and initial weights that all peers load; returns the sizes of the network.

    Weights: embedding [V, E]; kernel, recurrent_kernel and bias of the LSTM; dense_kernel, dense_bias; those of the
    head, see `Categorical.init`, with head_ before each name.
    """
    import jax

    from musicjax import config_files
    from musicjax.encodings import encoding
    from musicjax.model import network

    config = config_files.load(config_name)
    config.model.precision = "float32"
    encoded = encoding.of(config).dataset().encoding
    net: Any = encoded.network()
    if net.layers > 1:
        raise SystemExit(f"--config={config_name}: expected a network with one layer; this one has {net.layers}")
    params = jax.tree.map(np.asarray, network.init(net, jax.random.key(0), config.data.window))
    sizes, shape = net.sizes, (windows, config.data.window + 1)
    rng = np.random.default_rng(0)
    rows = np.stack([rng.integers(0, size, shape) for size in sizes], axis=-1).astype(np.uint8)
    spec: dict[str, Any] = {
        "sizes": sizes,
        "given": net.head.given,
        "order": net.head.order or tuple(range(len(sizes))),
        "units": net.units,
        "head_units": net.head.units,
        "embedding": net.embedding,
        "dropout": net.dropout,
        "batch": config.train.batch_size,
    }
    weights = {"embedding": params["embedding"], **params["lstm"]._asdict()}
    weights |= {"dense_kernel": params["dense"]["kernel"], "dense_bias": params["dense"]["bias"]}
    weights |= {f"head_{name}": array for name, array in params["head"].items()}
    np.savez(path, spec=json.dumps(spec), rows=rows, **weights)
    return {**spec, "window": config.data.window, "parameters": network.count(params)}


def main() -> None:
    asked = contestants.arguments(__doc__, peers=",".join(PEERS), config="events", repeats=5, windows=512)
    names = asked.peers.split(",")
    if unknown := [name for name in names if name not in PEERS]:
        raise SystemExit(f"--peers={unknown[0]}: expected some of {', '.join(PEERS)}")
    with tempfile.TemporaryDirectory() as folder:
        problem = Path(folder, "problem.npz")
        sizes = write_problem(problem, asked.config, asked.windows)
        if asked.windows % sizes["batch"]:
            raise SystemExit(f"--windows={asked.windows}: expected a multiple of the batch, {sizes['batch']}")
        answers, said = contestants.measure(
            "benchmarks.event_peers", names, dict.fromkeys(names, "train"), asked.repeats, problem
        )
    found = contestants.rates(answers, dict.fromkeys(answers, asked.windows))
    print(f"{'peer':<22}{'windows/s':>10}{'quartiles':>16}{'loss':>12}{'gradient':>12}")
    for name, rate in found.items():
        quartiles = f"{rate['low']:.0f}..{rate['high']:.0f}"
        loss, gradient = said[name]["check"]
        print(f"{name:<22}{rate['median']:>10.0f}{quartiles:>16}{loss:>12.6f}{gradient:>12.6f}")
    ours = best(found, "musicjax")
    result = {
        "vs_best_torch": ratio(ours, best(found, "torch")),
        "vs_best_flax": ratio(ours, best(found, "flax")),
        "float32_vs_torch_float32": ratio(best(found, "musicjax-float32"), best(found, "torch-float32")),
        "windows_per_second": found,
        "peers": said,
        "settings": {"config": asked.config, "windows": asked.windows, "repeats": asked.repeats, **sizes},
    }
    contestants.finish(f"train-{asked.config}", result, asked.save)


if __name__ == "__main__":
    main()
