"""The small model that travels with the package: one .npz of its arrays, one .json of its facts, and a card."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from musicjax.errors import RunError
from musicjax.generation import generate as generate_lib
from musicjax.generation.generate import Model
from musicjax.store import checkpoint as checkpoint_lib
from musicjax.store import metadata as facts_lib
from musicjax.training import histograms
from musicjax.training import step as step_lib

FOLDER = Path(__file__).parent.parent / "pretrained"
ARRAYS, FACTS = "builtin.npz", "builtin.json"


def load(folder: Path = FOLDER) -> Model:
    """The model; its precision is float32 everywhere, so that its samples are the same everywhere.

    Raises:
        RunError: its files are missing or damaged.
    """
    try:
        facts = facts_lib.from_saved(json.loads((folder / FACTS).read_text()))
        facts.config.model.precision = "float32"
        net = checkpoint_lib.network_of(facts.config)
        shapes = jax.eval_shape(
            lambda: (
                step_lib.init(
                    net, checkpoint_lib.optimizer_of(facts.config, 1e-3), jax.random.key(0), facts.config.data.window
                ).params
            )
        )
        with (folder / ARRAYS).open("rb") as file, np.load(file, allow_pickle=False) as saved:
            leaves = [jnp.asarray(saved[tag]) for tag in histograms.tags(shapes)]
            primers = jnp.asarray(saved["primers"], jnp.float32)
        wanted = jax.tree.leaves(shapes)
        if any(leaf.shape != like.shape for leaf, like in zip(leaves, wanted, strict=True)):
            raise ValueError("its arrays are of another model")
    except Exception as error:  # of JSON, of archives, of what is missing: many kinds
        raise RunError(
            f"the model that comes with musicjax cannot be read from {folder}: {error}; install musicjax again, or "
            "name a trained one with --workdir=DIR"
        ) from error
    params = jax.tree.unflatten(jax.tree.structure(shapes), leaves)
    return Model(net, params, jnp.zeros(net.columns), primers, facts)


def write(workdir: Path, folder: Path) -> int:
    """Writes the best model of a workdir, one of events, as such files; returns their bytes."""
    model = generate_lib.load(workdir)
    tags = histograms.tags(model.params)
    arrays = {tag: np.asarray(leaf) for tag, leaf in zip(tags, jax.tree.leaves(model.params), strict=True)}
    folder.mkdir(parents=True, exist_ok=True)
    arrays["primers"] = np.asarray(model.primers).astype(np.uint8)
    with (folder / ARRAYS).open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    (folder / FACTS).write_text(json.dumps(facts_lib.to_saved(model.facts), indent=1) + "\n")
    return sum((folder / name).stat().st_size for name in (ARRAYS, FACTS))
