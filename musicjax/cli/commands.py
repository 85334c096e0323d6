"""The commands: plain arguments in, results on standard output. Each imports what only it needs."""

from __future__ import annotations

import copy
import json
import re
import time
from pathlib import Path
from typing import Any

from musicjax import config as config_lib
from musicjax import console, jax_environment
from musicjax.cli import flags, trained_model
from musicjax.cli.flags import Call
from musicjax.config import Config, DataConfig
from musicjax.corpus import find
from musicjax.errors import UsageError
from musicjax.run import signals


def run(call: Call) -> int:
    """Runs one command with its flags; returns the exit status.

    SIGINT, SIGTERM and SIGHUP end it with 130, 143 and 129; what was saved stays, and an unfinished epoch is lost.
    """
    goes_on = "; the same command continues after the last finished epoch, if there is one"
    if call.options.get("search"):
        goes_on = "; the same command goes on with the trials that are not done"
    if call.command == "data":
        goes_on = "; the same command goes on" if call.options["output"] else ""
    signals.install(goes_on * (call.command in ("train", "data")))
    commands = {
        "train": _train,
        "generate": _generate,
        "evaluate": _evaluate,
        "data": _data,
        "report": _report,
        "export": _export,
        "studio": _studio,
    }
    commands[call.command](call)
    return 0


def _train(call: Call) -> None:
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
        from musicjax.run import choose  # a config that is named does without

        config = choose.choose(config, workdir, options["minutes"] or flags.MINUTES, call.given, began)
    elif call.chooses:
        unused = "; --minutes is for new runs, and changes nothing here" if options["minutes"] else ""
        console.say(flags.AUTO, f"the run in {workdir} goes on as its config says; no trial is made anew{unused}")
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
    from musicjax.cli import shards  # most runs do without

    return shards.with_split(config, call.given)


def _asked(call: Call, saved: Config | None) -> dict[str, Any]:
    """The fields that are given; how samples are drawn is not chosen for a run that goes on where it is given."""
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


def _generate(call: Call) -> None:
    from musicjax.cli import generate

    generate.run(call)


def _evaluate(call: Call) -> None:
    jax_environment.require()
    from musicjax.run import device, evaluate
    from musicjax.store import model as model_lib

    workdir, config = trained_model.workdir_of(call)
    device.keep_programs(config.data)
    which = call.options["checkpoint"]
    model = model_lib.load(workdir, which, config)
    console.result(json.dumps(evaluate.score(model, workdir, call.options["data"], which)))


def _export(call: Call) -> None:
    jax_environment.require()
    from musicjax.export import export

    output = Path(call.options["output"] or "model.safetensors")
    export.require_suffix(output)
    model, _, _ = trained_model.opened(call)
    for path in export.write(model, output):
        console.result_path(path)


def _data(call: Call) -> None:
    from musicjax.cli import data
    from musicjax.corpus.find import holds_shards

    options = call.options
    config = copy.deepcopy(call.config)
    config_lib.set_fields(config, call.overrides or {})
    source = config.data.source if options["data"] is None else options["data"]
    report = Path(options["workdir"], "data.jsonl") if options["workdir"] else None
    if source.startswith("polyphonic:"):  # it holds frames, whatever the config says
        config = Config(data=DataConfig(cache=config.data.cache, encoding="frames"))
    config_lib.set_field(config, "data.source", source)
    config_lib.validate(config)
    if options["output"]:
        _write_shards(call, config)
    elif options["runner"] is not None:
        raise UsageError("--runner is for writing shards: expected --output=DIR beside it, or leave it out")
    elif holds_shards(source):
        from musicjax.cli import shards as shards_command

        shards_command.check(Path(source), options["json"])
    else:
        data.show(config.data, report, options["json"])


def _write_shards(call: Call, config: Config) -> None:
    from musicjax.cli import shards

    options = call.options
    if options["workdir"]:
        raise UsageError("--workdir beside --output: expected one of them; a folder of shards has its own report")
    if options["data"] is None and config.data.source == "builtin" and "data.source" not in call.given:
        raise UsageError("--data is missing: expected the music to write shards of, a folder, a data set or builtin")
    output, is_named = Path(options["output"]), call.overrides is None
    shards.write(config, call.given, is_named, output, options["runner"] or "local", options["json"])


def _report(call: Call) -> None:
    if not call.options["workdir"]:
        raise UsageError("--workdir is missing: expected the folder of a run")
    if call.overrides is None or call.overrides:
        raise UsageError("report takes no config: it draws what was recorded in the workdir; leave out --config")
    from musicjax.cli import report

    report.draw(Path(call.options["workdir"]), call.options["output_dir"])


def _studio(call: Call) -> None:
    from musicjax.studio import server

    if call.overrides is None or call.overrides:
        raise UsageError("studio takes no config: each run in it has its own; leave out --config")
    server.serve(Path(call.options["workdir"] or flags.STUDIO), call.options["port"], call.options["host"])
