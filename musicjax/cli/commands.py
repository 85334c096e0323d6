"""The commands: plain arguments in, results on standard output. Each imports what only it needs."""

from __future__ import annotations

import copy
import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicjax import config as config_lib
from musicjax import console, jax_environment
from musicjax.cli import flags
from musicjax.cli.flags import Call
from musicjax.config import Config, DataConfig
from musicjax.errors import UsageError
from musicjax.run import signals

if TYPE_CHECKING:
    from musicjax.generation.request import Request
    from musicjax.generation.sweep import Swept

# What these commands obey of a config that is given beside a workdir; all else is the run's.
OBEYED = {
    "generate": (
        "data.cache",
        "sample.temperature",
        "sample.temperature_factors",
        "sample.top_p",
        "sample.min_p",
        "sample.no_repeat",
        "sample.best_of",
    ),
    "evaluate": ("data.source", "data.cache", "data.workers", "data.seconds_per_file"),
    "export": ("data.cache",),
}
# What the page of new pieces says was asked for, beside the model and the seed.
TOLD = (
    *("primer", "keep", "infill", "from_bar", "to_bar", "vary", "amount", "bars", "beats", "num_notes", "seconds"),
    *("key", "scale", "meter", "bpm", "instruments", "program", "temperature", "top_k", "top_p", "min_p", "best_of"),
)


def run(call: Call) -> int:
    """Runs one command with its flags; returns the exit status.

    SIGINT and SIGTERM end it with 130 and 143; what was saved stays, and an unfinished epoch is lost.
    """
    goes_on = "; the same command continues after the last finished epoch, if there is one"
    signals.install(goes_on * (call.command == "train"))
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
    summary = train.train(config, workdir, options["init_from"])
    if summary:
        console.result(json.dumps(summary))


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
    from musicjax.generation import request as request_lib

    options = call.options
    request = request_lib.of(options)
    if request.audio != "none":
        from musicjax.generation import sound

        sound.require_soundfont(request.soundfont)
    jax_environment.require()
    from musicjax.generation import asked, generate

    model, saved, folder = _model(call)
    request_lib.require_controls(model.encoding, request.need_controls)
    request_lib.require_form(model.encoding, request.need_form)
    request = request_lib.filled(request, saved.sample)
    notes = asked.given(request, model, options["primer"])
    folder = Path(options["output_dir"] or folder)
    generate.prepare_folder(folder)
    swept = None
    if request.sweep:
        from musicjax.generation import sweep

        swept = sweep.sweep(model, request, notes, folder)
        pieces, paths = swept.pieces, swept.paths
    else:
        pieces = asked.pieces(request, model, notes)
        kept = notes if request.rework.kind else None
        whole_bars = model.encoding.has_form and not request.length.exact and kept is None
        paths = generate.write(pieces, folder, request.seed, request.program, kept, whole_bars)
    for path in [*paths, *(swept.others if swept else [])]:
        console.result(console.printable(str(path)))
    if options["audio"] == "auto" and request.audio == "none":
        console.say("sound", f"none beside more than {request_lib.FEW_OUTPUTS} files, unless you add --audio=wav")
    if request.audio != "none" and pieces:
        played = [generate.played_by(request.program, piece) for piece in pieces]
        sound.write(played, paths, request.audio, request.soundfont)
    if pieces:
        _page(folder, [path.stem for path in paths], _facts(call, request), swept)


def _facts(call: Call, request: Request) -> list[tuple[str, Any]]:
    """What the page of new pieces says of them: (name, value) each."""
    model = call.options["workdir"] or "the one that comes with musicjax"
    asked = [(name, call.options[name]) for name in TOLD if call.options[name]]
    return [("model", model), ("seed", request.seed), *asked]


def _page(folder: Path, names: list[str], facts: list[tuple[str, Any]], swept: Swept | None) -> None:
    """Writes the page that plays some files of a folder, and prints what it leaves out."""
    from musicjax.report import page

    told, order = (swept.told, f"The best comes first. Score: {swept.score}") if swept else ({}, "")
    path, left_out = page.write_pieces(folder, names, facts, told, order)
    for fact in left_out:
        console.say("left out", fact)
    console.say("page", f"{path}: plays the pieces and shows their notes; open it in a browser")


def _model(call: Call) -> tuple[Any, Config, Path]:
    """(the model of the workdir, or else the one that comes with musicjax; its config with overrides; its folder)."""
    from musicjax.run import device
    from musicjax.store import model as model_lib

    if call.options["workdir"]:
        workdir, saved = _existing_workdir(call)
        device.keep_programs(saved.data)
        return model_lib.load(workdir, call.options["checkpoint"]), saved, workdir / "generated"
    if call.overrides is None or call.overrides:
        raise UsageError("--workdir is missing: expected the folder of the model that the config belongs to")
    from musicjax.store import pretrained

    model = pretrained.load()
    device.keep_programs(model.config.data)
    console.say(
        "model", "no --workdir: the small model that comes with musicjax, trained on music that musicjax composes"
    )
    return model, model.config, Path("generated")


def _evaluate(call: Call) -> None:
    jax_environment.require()
    from musicjax.run import device, evaluate
    from musicjax.store import model as model_lib

    workdir, config = _existing_workdir(call)
    device.keep_programs(config.data)
    which = call.options["checkpoint"]
    model = model_lib.load(workdir, which, config)
    console.result(json.dumps(evaluate.score(model, workdir, call.options["data"], which)))


def _export(call: Call) -> None:
    jax_environment.require()
    from musicjax.export import export

    output = Path(call.options["output"])
    export.require_suffix(output)
    model, _, _ = _model(call)
    for path in export.write(model, output):
        console.result(console.printable(str(path)))


def _data(call: Call) -> None:
    from musicjax.cli import data

    options = call.options
    config = copy.deepcopy(call.config)
    config_lib.set_fields(config, call.overrides or {})
    source = config.data.source if options["data"] is None else options["data"]
    report = Path(options["workdir"], "data.jsonl") if options["workdir"] else None
    if source.startswith("polyphonic:"):  # it holds frames, whatever the config says
        config = Config(data=DataConfig(cache=config.data.cache, encoding="frames"))
    config_lib.set_field(config, "data.source", source)
    data.show(config_lib.validate(config).data, report, options["json"])


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


def _existing_workdir(call: Call) -> tuple[Path, Config]:
    """The workdir of a trained model, and its config with overrides.

    Raises:
        UsageError: a config or field given with it differs from the run's and is not obeyed.
        RunError: there is no trained model.
    """
    from musicjax.run import workdir as workdir_lib
    from musicjax.store import checkpoint, metadata

    if not call.options["workdir"]:
        raise UsageError("--workdir is missing: expected the folder of a trained model")
    workdir = Path(call.options["workdir"])
    of_run = checkpoint.read_metadata(workdir)
    saved = of_run.config
    if call.overrides is None:
        present = metadata.as_it_began(call.config, of_run)
    else:
        present = config_lib.with_fields(saved, call.overrides)
    if present.model.precision == "auto":
        present.model.precision = saved.model.precision
    differing = config_lib.differences(saved, present)
    if call.overrides is not None:  # then every field that differs was asked for
        was, now = ({path: value for path, _, value in config_lib.fields(one)} for one in (saved, present))
        others = [(path, was[path], now[path]) for path in was if path in now and was[path] != now[path]]
        differing += [one for one in others if one not in differing and one[0] not in OBEYED[call.command]]
    if differing:
        what = "--config" if call.overrides is None else "it"
        flags = [f" or use --{name}" for path, _, _ in differing if (name := path.split(".")[-1]) in call.options]
        raise UsageError(
            f"{call.command} uses the model in {workdir} as it was trained, but {workdir_lib.told(differing)}; leave "
            f"{what} out{flags[0] if len(differing) == len(flags) == 1 else ''}"
        )
    return workdir, present
