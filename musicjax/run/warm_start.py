"""A run that begins with the weights of another: what may be named, whether it fits, and what is recorded of it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from musicjax import arguments, console
from musicjax import config as config_lib
from musicjax.config import Config
from musicjax.encodings import encoding as encoding_lib
from musicjax.errors import RunError, UsageError
from musicjax.store import checkpoint as checkpoint_lib
from musicjax.store import model as model_lib
from musicjax.store.metadata import Origin
from musicjax.store.model import BUILTIN, Model

EXPECTED = f"the workdir of a trained model, or {BUILTIN} for the model that comes with musicjax"


class Beginning(NamedTuple):
    """The model that a run begins with, and what is recorded of it."""

    model: Model
    origin: Origin


def source_of(init_from: str | os.PathLike | None, workdir: Path) -> str | None:
    """What `init_from` names: an absolute path, BUILTIN, or None for nothing.

    Raises:
        UsageError: it is no path, or the workdir itself.
    """
    if init_from is None:
        return None
    path = arguments.path_of("init_from", init_from, EXPECTED)
    if os.fspath(init_from) == BUILTIN:
        return BUILTIN
    source = os.path.realpath(path)
    if source == os.path.realpath(workdir):
        raise UsageError(
            f"init_from={path} is the workdir itself: expected that of another run; leave it out to go on with this "
            "one, or name another --workdir"
        )
    return source


def load(source: str, config: Config) -> Beginning:
    """The best weights of a model by validation loss, for a run with this config; says whose they are.

    Args:
        source: as `source_of` gives it.

    Raises:
        UsageError: they do not fit the config.
        RunError: there is no such model, or it is damaged.
    """
    model = _model(source)
    _require_fit(model, config, source)
    learned = "".join(f", with its {name}" for name in model.metadata.learned)
    epoch = model.metadata.best_epoch
    trained = f"validation loss {model.metadata.best_loss:.5f}" if epoch else "not trained yet"
    console.say("weights", f"those of {source}, epoch {epoch}, {trained}{learned}")
    return Beginning(model, Origin(source, _sha256(model.params), epoch))


def _model(source: str) -> Model:
    if source == BUILTIN:
        from musicjax.store import pretrained  # few runs begin with it

        return pretrained.load()
    if not checkpoint_lib.exists(Path(source)):
        raise RunError(f"init_from={source}: no checkpoint in it; expected {EXPECTED}")
    return model_lib.of(*checkpoint_lib.restore(Path(source), "name another model with --init_from=DIR"))


def _require_fit(model: Model, config: Config, source: str) -> None:
    """Raises UsageError, which names the fields, unless the weights fit the network of the config and mean the same."""
    theirs, ours = model.encoding.basis, encoding_lib.of(config).basis
    there, here = ({path: value for path, _, value in config_lib.fields(one)} for one in (model.config, config))
    differing = [path for path in ours if theirs.get(path) != ours[path] and there.get(path) != here[path]]
    if differing:
        if differing[0] == "data.encoding":  # the others have other fields then
            del differing[1:]
        told = "; ".join(f"config.{path} is {there[path]!r} there, {here[path]!r} here" for path in differing)
        same = "--config=demo" if source == BUILTIN else "its config.json"
        raise UsageError(
            f"init_from={source}: its weights do not fit: {told}; use the same values, as in {same}, or leave "
            "init_from out"
        )


def require_same(origin: Origin | None, source: str | None, workdir: Path) -> None:
    """Raises UsageError if a run that goes on began with other weights than those that are named now, if any are."""
    if source is None or (origin is not None and source == origin.path):
        return
    began = "did not begin with the weights of another"
    if origin is not None:
        began = f"began with the weights of {origin.path}"
        try:
            if _sha256(_model(source).params) == origin.sha256:
                return
        except RunError:  # then it cannot be the run that it began with
            pass
    raise UsageError(
        f"workdir {workdir} holds a run that {began}, and init_from={source}: leave it out to go on, or use another "
        "--workdir"
    )


def _sha256(params: dict) -> str:
    """The sha256 of the weights, in the order of the tree."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
