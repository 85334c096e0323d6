"""A trained model as files for other programs; the suffix of the name says which."""

from __future__ import annotations

import json
from pathlib import Path

from musicjax import console, files
from musicjax.errors import RunError, UsageError
from musicjax.store import metadata as metadata_lib
from musicjax.store.model import Model

WEIGHTS, PLAYER = ".safetensors", ".html"
SUFFIXES = (WEIGHTS, PLAYER)


def require_suffix(path: Path) -> None:
    """Raises UsageError unless the name of the file ends with one of SUFFIXES."""
    if path.suffix not in SUFFIXES:
        raise UsageError(
            f"output={path}: expected a name that ends with {' or '.join(SUFFIXES)}, such as model{WEIGHTS}"
        )


def write(model: Model, path: Path) -> list[Path]:
    """Writes a model to a path that ends with one of SUFFIXES, and returns all paths written.

    Beside weights, the config and the constants of the data go into a .json. Says which files it replaced.

    Raises:
        UsageError: the name of the file ends otherwise, or that format cannot hold this model.
        RunError: a library of the extra `export` is missing, or a file cannot be written.
    """
    require_suffix(path)
    contents = _contents(model, path)
    replaced = [str(one) for one in contents if one.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for one, content in contents.items():
            files.write_bytes(one, content)
    except OSError as error:
        raise RunError(f"{error.filename or path} cannot be written: {error.strerror}; name another file") from error
    if replaced:
        console.say("replaced", " and ".join(replaced))
    return list(contents)


def _contents(model: Model, path: Path) -> dict[Path, bytes]:
    """The files by path."""
    if path.suffix == PLAYER:
        from musicjax.export import player

        return {path: player.content(model)}
    from musicjax.export import weights

    beside = (json.dumps(metadata_lib.to_saved(model.metadata), indent=1) + "\n").encode()
    return {path: weights.content(model.params), path.with_suffix(".json"): beside}
