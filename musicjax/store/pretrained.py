"""The small model that comes with the package: its arrays as .npz, its metadata as .json, and a model card."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np

from musicjax.encodings import encoding
from musicjax.errors import RunError, UsageError
from musicjax.store import metadata as metadata_lib
from musicjax.store import model as model_lib
from musicjax.store.model import Model
from musicjax.training import histograms, optimizer
from musicjax.training import step as step_lib

FOLDER = Path(__file__).parent.parent / "pretrained"
ARRAYS, METADATA = "builtin.npz", "builtin.json"


def load(folder: Path = FOLDER) -> Model:
    """The model, always in float32, so that its samples are the same on every machine.

    Raises:
        UsageError: JAX has settings that musicjax cannot work with.
        RunError: its files are missing or damaged.
    """
    try:
        metadata = metadata_lib.from_saved(json.loads((folder / METADATA).read_text()))
        metadata.config.model.precision = "float32"
        own = encoding.of(metadata.config, metadata.learned)
        net = own.network()
        shapes = jax.eval_shape(
            lambda: (
                step_lib.init(
                    net, optimizer.of(metadata.config.train, 1e-3), jax.random.key(0), metadata.config.data.window
                ).params
            )
        )
        with (folder / ARRAYS).open("rb") as file, np.load(file, allow_pickle=False) as saved:
            leaves = [jax.device_put(saved[tag]) for tag in histograms.tags(shapes)]
            primers = jax.device_put(saved["primers"].astype(np.float32))
        wanted = jax.tree.leaves(shapes)
        if any(leaf.shape != like.shape for leaf, like in zip(leaves, wanted, strict=True)):
            raise ValueError("its arrays are of another model")
    except UsageError:  # of JAX's settings
        raise
    except Exception as error:  # from JSON, archives, missing files: many kinds
        reason = str(error) or type(error).__name__
        raise RunError(
            f"the model that comes with musicjax cannot be read from {folder}: {reason}; install musicjax again, or "
            "name a trained one with --workdir=DIR"
        ) from error
    params = jax.tree.unflatten(jax.tree.structure(shapes), leaves)
    return Model(own, net, params, jax.device_put(np.zeros(net.columns, np.float32)), primers, metadata)


def pack(workdir: Path, folder: Path) -> int:
    """Writes the best model of a workdir, whose rows must be bins below 256, as these files; returns their bytes."""
    model = model_lib.load(workdir)
    tags = histograms.tags(model.params)
    arrays = {tag: np.asarray(leaf) for tag, leaf in zip(tags, jax.tree.leaves(model.params), strict=True)}
    folder.mkdir(parents=True, exist_ok=True)
    arrays["primers"] = np.asarray(model.primers).astype(np.uint8)
    with (folder / ARRAYS).open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    (folder / METADATA).write_text(json.dumps(metadata_lib.to_saved(model.metadata), indent=1) + "\n")
    return sum((folder / name).stat().st_size for name in (ARRAYS, METADATA))
