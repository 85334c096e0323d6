"""What --help shows: the commands, the flags of one, or every field of a config."""

from __future__ import annotations

import textwrap

from musicjax import config as config_lib
from musicjax import config_files
from musicjax.cli import flags

WORDS = ("--help", "-h", "--help=all", "--helpfull")
MOST_SHOWN = 18
EXAMPLES = (
    ("musicjax --data=my_midi", "trains on a folder"),
    ("musicjax generate --workdir=runs/my_midi --bars=32", "writes music like it"),
    ("musicjax generate", "writes music at once, without training"),
)
WIDTH, EXAMPLE_WIDTH = 25, 55  # of the columns of flags and of examples in help
NOTES = "  * models of note events only   + takes several values, separated by commas: file k takes the k-th in turn"


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
    if not others or others[0].startswith("-"):
        lines = [
            "Train an LSTM on a folder of MIDI and generate music with it.",
            "",
            "musicjax [COMMAND] [--config=NAME_OR_PATH] [--workdir=DIR] [--config.FIELD=VALUE ...]",
            "",
            *(f"  {name:<12}{meaning}{' (default)' * (name == 'train')}" for name, meaning in flags.COMMANDS.items()),
            f"  {flags.COMPLETION:<12}print what makes a shell complete commands and flags: bash, zsh or fish",
            "",
            *(f"  {example:<{EXAMPLE_WIDTH}}{meaning}" for example, meaning in EXAMPLES),
            "",
            "musicjax COMMAND --help shows the common flags of a command, --help=all all of them, --helpfull the",
            "fields of its config too; musicjax --version prints the version.",
            "",
            *(_flag_line(name) for name in ("data", "workdir")),
            *textwrap.wrap(
                f"{', '.join(config_files.names())}, or a .py or .json file; if not given: auto with --data, else demo",
                initial_indent=f"  {'--config=':<{WIDTH}}",
                subsequent_indent=" " * (WIDTH + 2),
                width=110,
            ),
        ]
        return lines if "--helpfull" not in argv else [*lines, "", *_fields()]
    lines = [f"musicjax {command} [flags]: {flags.COMMANDS[command]}", ""]
    own = [name for name, flag in flags.FLAGS.items() if command in flag.commands]
    shown = own if {"--help=all", "--helpfull"} & set(argv) else own[:MOST_SHOWN]
    lines += [_flag_line(name) for name in shown]
    lines += [f"  {'--config=':<{WIDTH}}the config; --config.FIELD=VALUE sets a field (--helpfull lists them)"]
    lines += [NOTES] * (command == "generate")
    if len(shown) < len(own):
        lines += [f"  {len(own) - len(shown)} more flags: musicjax {command} --help=all"]
    elif command == "generate":
        lines += [f"  Magenta's names work too: {', '.join(f'--{alias}' for alias in flags.ALIASES)}"]
    return lines if "--helpfull" not in argv else [*lines, "", *_fields()]


def _flag_line(name: str) -> str:
    shown = f"--{name}" if flags.FLAGS[name].kind == "bool" else f"--{name}="
    return f"  {shown:<{WIDTH}}{flags.FLAGS[name].meaning}"


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
