"""What --help shows: the commands, the flags of one, or every field of a config."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from musicjax import config as config_lib
from musicjax import config_files
from musicjax.cli import flags

WORDS = ("--help", "-h", "--help=all", "--helpfull")
COLUMNS, MOST_SHOWN = 80, 14  # of the page; flags of a command
EXAMPLES = {
    "": {
        "musicjax --data=my_midi": "trains on a folder",
        "musicjax generate --workdir=runs/my_midi": "writes music like it",
        "musicjax studio": "does both in the browser",
    },
    "train": {
        "musicjax --data=my_midi": "on a folder, for ten minutes",
        "musicjax --data=my_midi --minutes=60": "for an hour",
        "musicjax --config=demo --workdir=runs/first": "as a config says",
    },
    "generate": {
        "musicjax generate": "with the built-in model",
        "musicjax generate --workdir=runs/mine --bars=32": "with your own",
        "musicjax generate --primer=song.mid --bars=8": "continues a song",
    },
    "evaluate": {
        "musicjax evaluate --workdir=runs/mine": "held-out pieces",
        "musicjax evaluate --workdir=runs/mine --data=others": "on other music",
        "musicjax evaluate --workdir=runs/mine --checkpoint=latest": "the last epoch",
    },
    "data": {
        "musicjax data --data=my_midi": "what is skipped, and why",
        "musicjax data --data=my_midi --json": "the counts as JSON too",
        "musicjax data --data=my_midi --output=shards": "any number of files",
    },
    "report": {
        "musicjax report --workdir=runs/mine": "in the run's folder",
        "musicjax report --workdir=runs/mine --output_dir=figures": "elsewhere",
        "musicjax && musicjax report --workdir=runs/demo": "after a first run",
    },
    "export": {
        "musicjax export --workdir=runs/mine": "the weights",
        "musicjax export --workdir=runs/mine --output=mine.onnx": "for other programs",
        "musicjax export --output=player.html": "a page that composes",
    },
    "studio": {
        "musicjax studio": "opens the page; its runs are in runs/",
        "musicjax studio --workdir=music": "with the runs of another folder",
        "musicjax studio --port=8000": "at this port",
    },
}
NOTES = (
    "* note-event models only",
    "+ takes several values, separated by commas; the files use them in turn",
)


def lines_of(argv: list[str]) -> list[str]:
    """What help shows: the commands; for a command its common flags, with --help=all all of them, and with --helpfull
    the fields of its config too.

    Raises:
        UsageError: another word is wrong.
    """
    others = [word for word in argv if word not in WORDS]
    if others[:1] == [flags.COMPLETION]:
        return [f"source <(musicjax completion {shell})" for shell in ("bash", "zsh")] + [
            "musicjax completion fish | source"
        ]
    command, words = flags.command_of([word for word in others if word != flags.VERSION])
    flags.require_known(command, words)
    lines = _of_command(command, argv) if others and not others[0].startswith("-") else _of_all()
    return lines if "--helpfull" not in argv else [*lines, "", *_fields()]


def _of_all() -> list[str]:
    names = f"{', '.join(config_files.names())}, or a .py or .json file; if not given: auto with --data, else demo"
    meanings = {name: meaning + " (default)" * (name == "train") for name, meaning in flags.COMMANDS.items()}
    return [
        "Train an LSTM on a folder of MIDI and generate music with it.",
        "musicjax [COMMAND] [--workdir=DIR] [--config=NAME] [--config.FIELD=VALUE ...]",
        "",
        *_listed(meanings | {flags.COMPLETION: flags.OF_COMPLETION}),
        "",
        *_listed({**_meanings(("data", "workdir")), "--config=": names}),
        "",
        *_listed(EXAMPLES[""]),
        "Also: COMMAND --help, --help=all, --helpfull (fields of configs), and --version.",
    ]


def _of_command(command: str, argv: list[str]) -> list[str]:
    own = [name for name, flag in flags.FLAGS.items() if command in flag.commands]
    shown = own if {"--help=all", "--helpfull"} & set(argv) else own[:MOST_SHOWN]
    lines = [f"musicjax {command} [flags]: {flags.COMMANDS[command]}", ""]
    lines += _listed({**_meanings(shown), "--config=": "a config; --config.FIELD=VALUE sets one of its fields"})
    if command == "generate":
        lines += [f"  {note}" for note in NOTES]
    if len(shown) == len(own) and command == "generate":
        lines += _listed({"Magenta's names work too:": ", ".join(f"--{alias}" for alias in flags.ALIASES)})
    more = f"{len(own) - len(shown)} more flags: --help=all; " * (len(shown) < len(own))
    lines += [f"  {more}fields of configs: --helpfull", "", *_listed(EXAMPLES[command])]
    return lines


def _meanings(names: Iterable[str]) -> dict[str, str]:
    """What some flags mean, by how they are typed."""
    return {f"--{name}{'=' * (flags.FLAGS[name].kind != 'bool')}": flags.FLAGS[name].meaning for name in names}


def _listed(meanings: dict[str, str]) -> list[str]:
    """Names and their meanings in two columns."""
    width = max(map(len, meanings)) + 4
    return [
        line
        for name, meaning in meanings.items()
        for line in textwrap.wrap(
            meaning,
            COLUMNS,
            initial_indent=f"  {name}".ljust(width),
            subsequent_indent=" " * width,
            break_on_hyphens=False,
        )
    ]


def _fields() -> list[str]:
    lines = ["Fields of a config, with their values in demo; the fields of other encodings follow:"]
    demo = config_files.load("demo")
    lines += config_files.describe(demo)
    known = {path for path, _, _ in config_lib.fields(demo)}
    for encoding in config_lib.ENCODINGS:
        other = config_lib.Config(data=config_lib.DataConfig(encoding=encoding))
        own = config_files.describe(other, without=known)
        lines += [f"with --config.data.encoding={encoding}:", *own] if own else []
    return lines
