"""The `data` command with --output: writes a folder of shards; or counts what is in one."""

from __future__ import annotations

import collections
import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from musicjax import config as config_lib
from musicjax import console
from musicjax.cli import data
from musicjax.config import Config
from musicjax.corpus.find import holds_shards
from musicjax.encodings import shard_rows
from musicjax.errors import RunError, UsageError
from musicjax.shards import runners, shard_check, shard_job, shard_report, shards, write_shards
from musicjax.shards.shards import Manifest
from musicjax.store import lock


def write(config: Config, given: Mapping[str, Any], is_named: bool, output: Path, runner: str, as_json: bool) -> None:
    """Writes shards, goes on where an earlier start was ended, or checks and mends those that are there.

    Args:
        given: the fields that the command line gives. Copies are dropped unless the config says otherwise.
        is_named: whether it names the config; if not, shards that are there keep their own settings.
        output: the folder of shards.
        runner: one of `runners.RUNNERS`.

    Raises:
        UsageError: the source is shards, or the folder holds something else; or a library is missing; or the encoding
            has no shards.
        RunError: as `write_shards.write` and `shard_check.mend`; or another process writes there.
    """
    source = config.data.source
    if holds_shards(source):
        raise UsageError(f"--data={source} is a folder of shards already: expected music; train with --data={source}")
    if config.data.duplicates == "together" and "data.duplicates" not in given:
        config_lib.set_field(config, "data.duplicates", "drop")
    if holds_shards(output) and not is_named:
        known = shards.read_manifest(output).settings.items()
        config = config_lib.with_fields(config, {path: value for path, value in known if path not in given})
    rows = shard_rows.of(config)
    shards.library()
    shard_report.require_library()
    shard_job.require_place(output)
    output.mkdir(parents=True, exist_ok=True)
    taken, advice = f"shards {output} are being written", "wait until that ends, or name another --output"
    try:
        with (
            lock.kept(output / shard_job.LOCK, "", taken, advice, "output"),
            runners.started(runner, config.data.workers) as started,
        ):
            job = shard_job.Job(config.data, rows, output.absolute(), started)
            manifest = shard_check.mend(job) if holds_shards(output) else write_shards.write(job)
    finally:
        shard_job.remove_if_empty(output)
    _show(output, manifest, as_json)


def with_split(config: Config, given: Mapping[str, Any]) -> Config:
    """The config for a run on the shards that it names: pieces are split as they are there.

    Args:
        given: the fields that the command line gives, which stay as they are.

    Raises:
        UsageError: copies are asked for that the shards treat otherwise.
    """
    source = config.data.source
    try:
        manifest = shards.read_manifest(Path(source))
    except RunError:  # the run reports it, in each of its processes
        return config
    if "data.duplicates" in given:
        shards.require_setting(Path(source), manifest, "data.duplicates", config.data.duplicates)
    own = {path: value for path, _, value in config_lib.fields(config)}
    others = {path: manifest.settings.get(path, own[path]) for path in shards.SPLIT if path not in given}
    others = {path: value for path, value in others.items() if value != own[path]}
    config = config_lib.with_fields(config, others)
    with contextlib.suppress(UsageError):  # the run reports it, in each of its processes
        shards.require_settings(Path(source), manifest, own | others)
        if others:
            told = ", ".join(f"{path.split('.')[-1]}={value}" for path, value in others.items())
            console.say("shards", f"{source}: the run uses the split of these shards: {told}")
    return config


def check(folder: Path, as_json: bool) -> None:
    """Checks every file of a folder of shards and shows its counts; raises RunError if it is not whole."""
    _show(folder, shard_check.require_whole(folder), as_json)


def _show(folder: Path, manifest: Manifest, as_json: bool) -> None:
    """Prints the table of reasons, and one line on standard output, or JSON."""
    report = folder / shards.REPORT
    reasons = shard_report.reasons(report)
    console.table([(*reason, count) for reason, count in sorted(reasons.items())], ("status", "reason", "files"))
    console.say("report", f"{report}: what became of each file, and why")
    index = shards.load_index(folder / shards.INDEX)
    uses = collections.Counter(np.asarray(index.piece_use).tolist())
    summary: dict[str, Any] = dict(manifest.counts) | {
        "files": reasons.total(),
        "source": manifest.source,
        "reasons": data.by_code(reasons),
        "report": str(report),
        "shards": len([name for name in manifest.sizes if name.startswith("rows-")]),
        "training": uses[shards.TRAINING],
        "validation": uses[shards.VALIDATION],
        "rows": int(index.part_rows.sum()),
        "bytes": sum(manifest.sizes.values()),
        "fingerprint": manifest.fingerprint,
    }
    text = (
        f"{console.counted(summary['training'], 'piece')} to train and {summary['validation']:,} to validate, "
        f"{console.counted(summary['rows'], 'row')} in {console.counted(summary['shards'], 'shard')}, "
        f"{summary['bytes'] / 1e6:,.1f} MB"
    )
    console.result(json.dumps(summary) if as_json else text)
