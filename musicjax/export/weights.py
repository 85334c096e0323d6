"""A model's parameters as safetensors, by name and in float32."""

from __future__ import annotations

import jax
import numpy as np

from musicjax.errors import RunError
from musicjax.store.model import Model


def arrays_of(params: dict) -> dict[str, np.ndarray]:
    """The parameters by name, float32, such as "lstm.kernel" [I, 4H]; the gates stand in the order of Keras."""
    found = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        name = ".".join(str(getattr(key, "key", getattr(key, "name", key))) for key in path)
        found[name] = np.ascontiguousarray(leaf, np.float32)
    return found


def content(model: Model) -> bytes:
    """The file; raises RunError if the library is not installed."""
    try:
        from safetensors import numpy as safetensors
    except ImportError as error:
        raise RunError("export needs safetensors: pip install safetensors") from error
    return safetensors.save(arrays_of(model.params), {"program": "musicjax"})
