"""The commands: plain arguments in, results on standard output. Each imports what it alone needs."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from musicjax import config as config_lib
from musicjax.config import Config, DataConfig
from musicjax.errors import UsageError, printable
from musicjax.run import signals

# Up to so many pieces have sound files that nobody asked for.
FEW_OUTPUTS = 16


def run(command: str, options: dict[str, Any], config: Config, overrides: dict[str, Any] | None) -> int:
    """Runs one command with its flags; overrides is None where the config was named, not assumed.

    SIGINT and SIGTERM end it with 130 and 143; what was saved stays, and a started epoch is lost.
    """
    signals.install("; the same command goes on after the last finished epoch, if there is one" * (command == "train"))
    commands = {"train": _train, "generate": _generate, "evaluate": _evaluate, "data": _data, "report": _report}
    commands[command](options, config, overrides)
    return 0


def _train(options: dict[str, Any], config: Config, overrides: dict[str, Any] | None) -> None:
    from musicjax import console
    from musicjax.training import mesh

    if options["distributed"] not in ("off", "auto"):
        raise UsageError(f"distributed={options['distributed']!r}: expected off or auto")
    if options["coordinator"] or options["distributed"] == "auto":
        mesh.start(options["coordinator"], options["num_processes"], options["process_id"])
        console.keep_results_apart()
    elif options["num_processes"] is not None or options["process_id"] is not None:
        raise UsageError("--num_processes and --process_id need --coordinator=HOST:PORT, the address of process 0")
    from musicjax.run import device, train
    from musicjax.store import checkpoint

    workdir = Path(options["workdir"] or Path("runs", config.name))
    if overrides is not None and checkpoint.exists(workdir):
        config = _with(checkpoint.read_facts(workdir).config, overrides)
    device.keep_programs(config)
    summary = train.train(config, workdir)
    if summary:
        print(json.dumps(summary))


def _generate(options: dict[str, Any], config: Config, overrides: dict[str, Any] | None) -> None:
    from musicjax.generation import request as request_lib

    request = request_lib.of(options)
    kind = _sound_kind(options["audio"], request)
    from musicjax.generation import sound

    if kind != "none":
        sound.require_soundfont(options["soundfont"])
    from musicjax import console
    from musicjax.generation import generate
    from musicjax.run import device
    from musicjax.store import pretrained

    if options["workdir"]:
        workdir, saved = _existing_workdir(options, config, overrides)
        device.keep_programs(saved)
        model, folder = generate.load(workdir, options["checkpoint"]), workdir / "generated"
    else:
        if overrides is None or overrides:
            raise UsageError("--workdir is missing: expected the folder of the model that the config is of")
        generate.check_which(options["checkpoint"])
        model, folder = pretrained.load(), Path("generated")
        saved = model.facts.config
        device.keep_programs(saved)
        console.say("model", "no --workdir: the small model that comes with musicjax, of the built-in corpus")
    request_lib.require_events(saved.data.encoding, request.of_events)
    request = request_lib.filled(request, saved.sample)
    primer = generate.read_primer(options["primer"], model) if options["primer"] else None
    folder = Path(options["output_dir"] or folder)
    generate.prepare_folder(folder)
    if request.sweep:
        from musicjax.generation import sweep

        for path in sweep.sweep(model, request, primer, folder):
            print(printable(str(path)))
        return
    of_events = {"settings": request.settings, "bpm": request.bpm, "bars": request.bars}
    pieces = generate.generate(
        model,
        num_outputs=request.num_outputs,
        num_notes=request.num_notes,
        seconds=request.seconds,
        seed=request.seed,
        decode=request.decode,
        primer=primer,
        **(of_events if saved.data.encoding == "events" else {"temperature": request.temperature}),
    )
    paths = generate.write(pieces, folder, request.seed, request.program)
    for path in paths:
        print(printable(str(path)))
    if kind != "none" and pieces:
        sound.write(pieces, paths, kind, options["soundfont"])


def _sound_kind(asked: str, request: Any) -> str:
    """The kind of sound file; auto: WAV for a few pieces, none for many.

    Raises:
        UsageError: there is no such kind.
    """
    from musicjax.generation import sound

    if asked not in ("auto", "none", *sound.KINDS):
        raise UsageError(f"audio={asked!r}: expected auto, none, {', '.join(sound.KINDS)}")
    if request.sweep and asked not in ("auto", "none"):
        raise UsageError(f"--sweep and --audio={asked}: expected one of them; a sweep writes MIDI files and pictures")
    if asked != "auto":
        return asked
    return "wav" if request.num_outputs <= FEW_OUTPUTS and not request.sweep else "none"


def _evaluate(options: dict[str, Any], config: Config, overrides: dict[str, Any] | None) -> None:
    from musicjax.run import device, evaluate

    workdir, saved = _existing_workdir(options, config, overrides)
    device.keep_programs(saved)
    print(json.dumps(evaluate.evaluate(workdir, options["data"], options["checkpoint"])))


def _data(options: dict[str, Any], config: Config, overrides: dict[str, Any] | None) -> None:
    from musicjax.cli import data as data_command

    source = config.data.source if options["data"] is None else options["data"]
    report = Path(options["workdir"], "data.jsonl") if options["workdir"] else None
    config_lib.set_field(config, "data.source", source)
    if source.startswith("polyphonic:"):  # whatever the config would train on it
        config = Config(data=DataConfig(source, config.data.cache, encoding="frames"))
    data_command.show(config_lib.validate(config).data, report, options["json"])


def _report(options: dict[str, Any], config: Config, overrides: dict[str, Any] | None) -> None:
    if not options["workdir"]:
        raise UsageError("--workdir is missing: expected the folder of a run")
    if overrides is None or overrides:
        raise UsageError("report takes no config: it draws what was recorded in workdir; leave out --config")
    from musicjax import console
    from musicjax.report import figures, run_page

    workdir = Path(options["workdir"])
    paths, left_out = figures.write(workdir, Path(options["output_dir"] or workdir / "report"))
    if not options["output_dir"]:  # the page names the files of samples as seen from the workdir
        page, missing = run_page.write(workdir)
        paths, left_out = [*paths, page], left_out + missing
    for fact in left_out:
        console.say("left out", fact)
    for path in paths:
        print(printable(str(path)))


def _existing_workdir(options: dict[str, Any], config: Config, overrides: dict[str, Any] | None) -> tuple[Path, Config]:
    """The workdir of a trained model, and its config with what is overridden.

    Raises:
        UsageError: a config or field that is named beside it describes another model.
        RunError: there is no trained model.
    """
    from musicjax.generation import generate
    from musicjax.store import checkpoint

    generate.check_which(options["checkpoint"])
    if not options["workdir"]:
        raise UsageError("--workdir is missing: expected the folder of a trained model")
    workdir = Path(options["workdir"])
    saved = checkpoint.read_facts(workdir).config
    present = config if overrides is None else _with(saved, overrides)
    if present.model.precision == "auto":
        present.model.precision = saved.model.precision
    if saved.model != present.model or config_lib.columns(saved) != config_lib.columns(present):
        raise UsageError(
            f"workdir {workdir} holds another model than config {config.name}; leave out --config to use what was saved"
        )
    return workdir, saved if overrides is None else present


def _with(config: Config, overrides: dict[str, Any]) -> Config:
    config = copy.deepcopy(config)
    for path, value in overrides.items():
        config_lib.set_field(config, path, value)
    return config_lib.validate(config)
