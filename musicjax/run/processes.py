"""Whether the processes of one training run start from the same state, and what the first decides for all."""

from __future__ import annotations

import hashlib
import json

import jax
import numpy as np

from musicjax import config as config_lib
from musicjax.errors import RunError, TogetherError
from musicjax.store.checkpoint import Arrays
from musicjax.store.metadata import Metadata
from musicjax.training import mesh


def choice_of_the_first(name: str, known: tuple[str, ...]) -> str:
    """The name that process 0 gives, in every process, one of those known.

    Names use the collective that digests use, so all processes meet there even if one fails or resumes a run.

    Raises:
        TogetherError: a process failed, or process 0 has another workdir or other flags.
    """
    if jax.process_count() == 1:
        return name
    names = mesh.gather(name.encode().ljust(len(mesh.FAILED), b"\0"))
    _require_none_failed(names)
    first = names[0].rstrip(b"\0").decode(errors="replace")
    if first not in known:
        raise TogetherError(
            "process 0 goes on with a run that is not in the workdir of this process, or has other flags; start all "
            "with the same flags and with one workdir that all share"
        )
    return first


def _require_none_failed(digests: list[bytes]) -> None:
    failed = [str(process) for process, digest in enumerate(digests) if digest == mesh.FAILED]
    if failed:
        raise TogetherError(
            f"process{'es' * (len(failed) > 1)} {', '.join(failed)} failed before training and said why; correct that, "
            "and start all again"
        )


def require(arrays: Arrays, metadata: Metadata) -> None:
    """Raises RunError unless all processes of this training start from the same config, data, epoch and parameters."""
    if jax.process_count() == 1:
        return
    # What may change within a run, but not between its processes: it decides which programs they run, and when.
    deciding = (
        *("train.epochs", "train.patience", "train.trial_group", "train.devices", "train.histograms"),
        *("train.accumulate", "train.shard_parameters", "model.remat_rows"),
    )
    settings = {
        path: value
        for path, field, value in config_lib.fields(metadata.config)
        if not field.metadata["may_change"] or path in deciding
    }
    same = hashlib.sha256(json.dumps([settings, metadata.fingerprint, metadata.epoch, metadata.versions]).encode())
    for leaf in jax.tree.leaves(arrays.state.params):
        same.update(np.asarray(leaf).tobytes())
    digests = mesh.gather(same.digest())
    _require_none_failed(digests)
    others = [str(process) for process, digest in enumerate(digests) if digest != digests[0]]
    if others:
        raise RunError(
            f"processes {', '.join(others)} do not agree with process 0 on config, data, epoch, versions or initial "
            "parameters; start all with the same flags, on the same files and kind of machine, and with one workdir "
            "that all share"
        )
