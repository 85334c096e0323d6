"""The `train` command: a new run, one that goes on, or a search."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

from musicjax import config as config_lib
from musicjax import console, jax_environment
from musicjax.cli import flags
from musicjax.cli.flags import Call
from musicjax.config import Config
from musicjax.corpus import find
from musicjax.errors import UsageError


def run(call: Call) -> None:
    """Trains as asked, and prints the summary as one JSON object.

    Raises:
        UsageError, RunError: something cannot be used, read or written.
    """
    began, options, config = time.monotonic(), call.options, call.config
    jax_environment.require_settings()
    if options["search"]:
        _search(call)
        return
    _join_processes(options)  # before JAX starts
    jax_environment.require()
    from musicjax.run import device, train
    from musicjax.run import workdir as workdir_lib
    from musicjax.store import checkpoint

    workdir = Path(options["workdir"] or _own_workdir(_own_name(call)))
    workdir_lib.require_folder(workdir)
    saved = checkpoint.read_metadata(workdir).config if checkpoint.exists(workdir) else None
    if call.chooses and call.overrides is None and saved is not None and saved.name != flags.AUTO:
        raise UsageError(
            f"workdir {workdir} holds a run of config {saved.name}, not of {flags.AUTO}: leave --config out to go on "
            "with it, or use another --workdir"
        )
    if call.chooses or call.overrides is not None:
        config = config_lib.with_fields(saved or config, _asked(call, saved))
    device.keep_programs(config.data)
    if call.chooses and saved is None:
        from musicjax.run import choose_config  # not needed for a named config

        config = choose_config.choose(config, workdir, options["minutes"] or flags.MINUTES, call.given, began)
    elif call.chooses:
        unused = "; --minutes is for new runs, and changes nothing here" if options["minutes"] else ""
        console.say(flags.AUTO, f"the run in {workdir} continues with its own config; no trial is repeated{unused}")
    summary = train.train(_with_split(config, call), workdir, options["init_from"])
    if summary:
        console.result(json.dumps(summary))


def _search(call: Call) -> None:
    from musicjax.run import device
    from musicjax.search import search

    config = _with_split(call.config, call)
    device.keep_programs(config.data)
    workdir = Path(call.options["workdir"] or Path("runs", f"{config.name}_search"))
    summary = search.search(Path(call.options["search"]), config, workdir, call.given)
    console.result(json.dumps(summary))


def _with_split(config: Config, call: Call) -> Config:
    """The config for a run; on shards, with the split that they have."""
    if not find.holds_shards(config.data.source):
        return config
    from musicjax.cli import shards  # not needed for most runs

    return shards.with_split(config, call.given)


def _asked(call: Call, saved: Config | None) -> dict[str, Any]:
    """The given fields. If they say how samples are drawn, a run that continues does not choose that itself."""
    drawn = {"sample.temperature", "sample.min_p"} & call.given.keys()
    if saved is None or not drawn or not getattr(saved.sample.own, "fit", False):
        return call.given
    return {"sample.fit": False, **call.given}


def _own_name(call: Call) -> str:
    """The name of the workdir if none is given: the source's, if the data choose the config, or else the config's."""
    source = call.config.data.source
    if not call.chooses or call.given.get("data.source") is None:
        return call.config.name
    return re.sub(r"[^\w.-]+", "_", Path(source).absolute().name).strip("._") or call.config.name


def _own_workdir(name: str) -> Path:
    """runs/NAME; or the folder of the config's old name, if that alone holds a run."""
    from musicjax import renamed
    from musicjax.store import checkpoint

    workdir = Path("runs", name)
    for old in [Path("runs", old) for old, new in renamed.CONFIGS.items() if new == name]:
        if checkpoint.exists(old) and not checkpoint.exists(workdir):
            console.say("renamed", f"config {old.name} is now {name}; continues its run in {old}")
            return old
    return workdir


def _join_processes(options: dict[str, Any]) -> None:
    if options["coordinator"] or options["distributed"] == "auto":
        from musicjax.training import mesh

        mesh.start(options["coordinator"], options["num_processes"], options["process_id"])
        console.reserve_stdout()
    elif options["num_processes"] is not None or options["process_id"] is not None:
        raise UsageError("--num_processes and --process_id need --coordinator=HOST:PORT, the address of process 0")
