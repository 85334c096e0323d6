"""A trained model as files for other programs: safetensors, and beside it the config and the constants of the data."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np

from musicjax import console, files
from musicjax.errors import RunError, UsageError
from musicjax.store import metadata as metadata_lib
from musicjax.store.model import Model

SUFFIX = ".safetensors"


def arrays_of(params: dict) -> dict[str, np.ndarray]:
    """The parameters by name, float32, such as "lstm.kernel" [I, 4H]; the gates stand in the order of Keras."""
    found = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        name = ".".join(str(getattr(key, "key", getattr(key, "name", key))) for key in path)
        found[name] = np.ascontiguousarray(leaf, np.float32)
    return found


def require_suffix(path: Path) -> None:
    """Raises UsageError unless the name of the file ends with SUFFIX."""
    if path.suffix != SUFFIX:
        raise UsageError(f"output={path}: expected a name that ends with {SUFFIX}, such as model{SUFFIX}")


def write(model: Model, path: Path) -> list[Path]:
    """Writes the parameters to a path that ends with SUFFIX, and the metadata beside it as .json; returns both paths.

    Says which files it replaced.

    Raises:
        UsageError: the name of the file ends otherwise.
        RunError: the extra `export` is missing, or a file cannot be written.
    """
    require_suffix(path)
    try:
        from safetensors import numpy as safetensors
    except ImportError as error:
        raise RunError("export needs safetensors: pip install 'musicjax[export]'") from error
    beside = path.with_suffix(".json")
    replaced = [str(one) for one in (path, beside) if one.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, safetensors.save(arrays_of(model.params), {"program": "musicjax"}))
        files.write(beside, json.dumps(metadata_lib.to_saved(model.metadata), indent=1) + "\n")
    except OSError as error:
        raise RunError(f"{error.filename or path} cannot be written: {error.strerror}; name another file") from error
    if replaced:
        console.say("replaced", " and ".join(replaced))
    return [path, beside]
