"""The commands: plain arguments in, results on standard output. Each imports what only it needs."""

from __future__ import annotations

import copy
import json
from pathlib import Path

from musicjax import config as config_lib
from musicjax import console, jax_environment
from musicjax.cli import flags, trained_model
from musicjax.cli.flags import Call
from musicjax.config import Config, DataConfig
from musicjax.errors import UsageError
from musicjax.run import signals


def run(call: Call) -> int:
    """Runs one command with its flags; returns the exit status.

    SIGINT, SIGTERM and SIGHUP end it with 130, 143 and 129; what was saved stays, and an unfinished epoch is lost.
    """
    goes_on = "; the same command continues after the last finished epoch, if there is one"
    if call.options.get("search"):
        goes_on = "; the same command continues with the unfinished trials"
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
    from musicjax.cli import train

    train.run(call)


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
        raise UsageError("--runner is for writing shards: expected --output=DIR as well; or leave out --runner")
    elif holds_shards(source):
        from musicjax.cli import shards as shards_command

        shards_command.check(Path(source), options["json"])
    else:
        data.show(config.data, report, options["json"])


def _write_shards(call: Call, config: Config) -> None:
    from musicjax.cli import shards

    options = call.options
    if options["workdir"]:
        raise UsageError("--workdir with --output: expected one of them; a folder of shards has its own report")
    if options["data"] is None and config.data.source == "builtin" and "data.source" not in call.given:
        raise UsageError("--data is missing: expected music to turn into shards: a folder, a data set or builtin")
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
