"""A trained model as files for other programs; the suffix of the name says which."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from musicjax import console, files
from musicjax.errors import RunError, UsageError
from musicjax.export import onnx_graph, player, weights
from musicjax.store import metadata as metadata_lib
from musicjax.store.model import Model

# What makes the file, by the suffix of its name; and which of them hold the metadata too.
CONTENTS: dict[str, Callable[[Model], bytes]] = {
    ".safetensors": weights.content,
    ".onnx": onnx_graph.content,
    ".html": player.content,
}
WHOLE = (".html",)


def require_suffix(path: Path) -> None:
    """Raises UsageError unless the name of the file ends with one of CONTENTS."""
    if path.suffix.lower() not in CONTENTS:
        raise UsageError(
            f"output={path}: expected a name that ends with {' or '.join(CONTENTS)}, such as model.safetensors"
        )


def write(model: Model, path: Path) -> list[Path]:
    """Writes a model to a path that ends with one of CONTENTS, and returns all paths written.

    The config and the constants of the data go into a .json beside it, except for a page, which is complete without.
    Says which files it replaced.

    Raises:
        UsageError: the name of the file ends otherwise, or that format cannot hold this model.
        RunError: a library of the extra `export` is missing, or a file cannot be written.
    """
    require_suffix(path)
    contents = {path: CONTENTS[path.suffix.lower()](model)}
    if path.suffix.lower() not in WHOLE:
        metadata = json.dumps(metadata_lib.to_saved(model.metadata), indent=1)
        contents[path.with_suffix(".json")] = f"{metadata}\n".encode()
    replaced = [str(one) for one in contents if one.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for one, content in contents.items():
            files.write_bytes(one, content)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}; name another file") from error
    if replaced:
        console.say("replaced", " and ".join(replaced))
    return list(contents)
