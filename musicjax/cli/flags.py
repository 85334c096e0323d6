"""Flags: the names and meanings of each command's flags, and how a command line becomes a call."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from musicjax import arguments, config_files, console, renamed
from musicjax import config as config_lib
from musicjax.config import Config
from musicjax.errors import UsageError

if TYPE_CHECKING:
    from absl import flags  # imported where flags are parsed, so that help does not need it


class Flag(NamedTuple):
    """kind: absl's type of its value, or path; default; meaning, as help shows it; commands: those that take it."""

    kind: str
    default: Any
    meaning: str
    commands: tuple[str, ...]


COMMANDS = {
    "train": "train on music or continue a run; write samples",
    "generate": "write new music, with your model or the built-in one",
    "evaluate": "score a model on held-out or other data, as JSON",
    "data": "show which files are kept, which are skipped, and why",
    "report": "draw a run's figures and rebuild its page",
    "export": "write a model's weights, ONNX, or a page that composes",
    "studio": "train, steer and listen in the browser",
}
# Commands that use a model as it was trained.
AS_TRAINED = ("generate", "evaluate", "report", "export")
# A command without flags, see `cli.completion`.
COMPLETION, OF_COMPLETION = "completion", "print a bash, zsh or fish script that completes flags"
# Help shows them in this order and begins with the common ones, see `help.MOST_SHOWN`. All commands take --config and
# its fields too.
FLAGS = {
    "data": Flag("path", None, "a folder of MIDI or MusicXML, a data set, or builtin", ("train", "evaluate", "data")),
    "workdir": Flag("path", "", "the run's folder; default: runs/NAME (train), runs (studio)", tuple(COMMANDS)),
    "minutes": Flag("float", None, "about how long a --config=auto run takes in all; default 10", ("train",)),
    "search": Flag("path", None, "a search.json: many trials over ranges; keeps the best", ("train",)),
    "json": Flag("bool", False, "end with the counts as one JSON object", ("data",)),
    "num_outputs": Flag("integer", 8, "how many files", ("generate",)),
    "bars": Flag("float", None, "length of each in bars *", ("generate",)),
    "seconds": Flag("float", None, "length of each in seconds", ("generate",)),
    "seed": Flag("integer", 0, "file k depends on the seed and k alone", ("generate",)),
    "temperature": Flag("string", None, "0: the likeliest (or the mean); higher: more varied +", ("generate",)),
    "key": Flag("string", None, "D, F#m, Bb:dorian, ...: in this key *+", ("generate",)),
    "instruments": Flag("string", None, "use only these: piano,bass,drums *", ("generate",)),
    "primer": Flag("path", "", "a file to continue, or pitches by 16ths: [60,-2,67]", ("generate",)),
    "infill": Flag("path", "", "rewrite bars of this file: --from_bar, --to_bar *", ("generate",)),
    "vary": Flag("path", "", "a file to write variations of, with --amount *", ("generate",)),
    "program": Flag("string", None, "piano, flute, ... or a General MIDI number, 0 to 127", ("generate",)),
    "audio": Flag("string", "auto", "wav, flac, ogg, none; auto: wav for up to 16 files", ("generate",)),
    "output": Flag(
        "path",
        None,
        "export: model.safetensors, model.onnx, or player.html, a page that composes; data: a folder of shards, for "
        "music of any size",
        ("data", "export"),
    ),
    "runner": Flag("string", None, "where shards are written: local, or ray (a Ray cluster)", ("data",)),
    "output_dir": Flag("path", "", "WORKDIR/generated or WORKDIR/report if not given", ("generate", "report")),
    "num_notes": Flag("integer", None, "about how many notes (frames); 300, or as in the data", ("generate",)),
    "keep": Flag("bool", False, "write the primer too, before its continuation *", ("generate",)),
    "meter": Flag("string", None, "3/4, 6/8, ...: a time signature found in the data *+", ("generate",)),
    "bpm": Flag("float", None, "quarter notes a minute; else the primer's or data's *", ("generate",)),
    "from_bar": Flag("integer", None, "first new bar of --infill, from 1; an upbeat is bar 1", ("generate",)),
    "to_bar": Flag("integer", None, "the last new bar of --infill", ("generate",)),
    "amount": Flag("float", None, "how much --vary changes, 0 to 1; 0.3 if not given", ("generate",)),
    "best_of": Flag("integer", None, "of this many tries, keep the one most like the data *", ("generate",)),
    "scale": Flag("string", None, "only pitches of this scale: pentatonic, blues, ... *+", ("generate",)),
    "exact": Flag("bool", False, "cut off at the length, even in the middle of a bar *", ("generate",)),
    "beats": Flag("float", None, "length of each in quarter notes *", ("generate",)),
    "top_k": Flag("string", None, "draw from the k likeliest bins; 0: all *+", ("generate",)),
    "top_p": Flag("string", None, "draw from the likeliest bins that add up to this *+", ("generate",)),
    "min_p": Flag("string", None, "only bins with this share of the top probability *+", ("generate",)),
    "interval_temperature": Flag("float", None, "temperature of the times between notes alone *", ("generate",)),
    "pitch_temperature": Flag("float", None, "temperature of pitches alone *", ("generate",)),
    "duration_temperature": Flag("float", None, "temperature of durations alone *", ("generate",)),
    "velocity_temperature": Flag("float", None, "temperature of velocities alone *", ("generate",)),
    "pitch_range": Flag("string", None, "lowest and highest pitch, LOW,HIGH, in MIDI numbers *", ("generate",)),
    "polyphony": Flag("string", None, "most notes that may sound at once; 0: any number *+", ("generate",)),
    "no_repeat": Flag("string", None, "never repeat a run of this many pitches; 0: off *+", ("generate",)),
    "stop_loops": Flag("bool", None, "no loop is longer than in the training pieces *", ("generate",)),
    "longest_match": Flag("string", None, "follow earlier passages for at most N notes *+", ("generate",)),
    "sweep": Flag("bool", False, "every combination of the listed values, ranked *", ("generate",)),
    "decode": Flag("string", "auto", "view of the past: auto, staggered, window, carry", ("generate",)),
    "soundfont": Flag("path", "", "for --audio; one found on this machine if not given", ("generate",)),
    "checkpoint": Flag("string", "best", "best (by validation loss) or latest", ("generate", "evaluate", "export")),
    "init_from": Flag("path", None, "start from the weights of this workdir or of builtin", ("train",)),
    "coordinator": Flag("string", "", "HOST:PORT of process 0, if several processes train together", ("train",)),
    "num_processes": Flag("integer", None, "how many processes train together", ("train",)),
    "process_id": Flag("integer", None, "which of them this is, from 0", ("train",)),
    "port": Flag("integer", 0, "port of the page; 0: the last one used, or any free port", ("studio",)),
    "host": Flag("string", "", "address to listen on; default: this machine only", ("studio",)),
    "distributed": Flag("string", "off", "auto: these three from Slurm, Kubernetes, Open MPI, TPUs", ("train",)),
}
# How alike two names must be for one to be suggested: bras is near bars, quiet is not near units.
NEAR = 0.7
# The words that a flag may be.
CHOICES = {"checkpoint": ("best", "latest"), "distributed": ("off", "auto"), "runner": ("local", "ray")}
# Names that Magenta's generators have for flags of generate: (type, ours, how many of theirs are one of ours).
ALIASES = {
    "run_dir": ("string", "workdir", 1),
    "primer_midi": ("string", "primer", 1),
    "primer_melody": ("string", "primer", 1),
    "qpm": ("float", "bpm", 1),
    "num_steps": ("integer", "beats", 4),
}
# What else people type, and the flag that it means.
TYPED = {
    "tempo": "bpm",
    "speed": "bpm",
    "count": "num_outputs",
    "outputs": "num_outputs",
    "model": "workdir",
    "time": "meter",
    "timesignature": "meter",
    "time_signature": "meter",
    "continue": "primer",
    "instrument": "program",
    "length": "bars",
}
# The config that the data choose, and how long that may take.
AUTO, MINUTES, LEAST_MINUTES, MOST_MINUTES = "auto", 10.0, 1, 1440
# A list of values goes to the trials, whose fields have plural names.
PLURALS = {"train.learning_rate": "train.learning_rates", "model.dropout": "train.dropouts"}
# Flags and fields that name a file or folder. MADE: those that musicjax makes if they are missing.
PATH_FIELDS = ("data.source", "data.cache", "sample.soundfont")
MADE = ("workdir", "output_dir", "output")
# The folder of the studio's runs if none is named, which is where train puts them.
STUDIO = "runs"
VERSION = "--version"
KINDS = {bool: "bool", int: "integer", float: "float", str: "string", tuple: "list"}


class Call(NamedTuple):
    """options: the value of each flag of the command; overrides: the fields given, None if the config was named; given:
    the same, whether or not it was; chooses: whether the data choose the config."""

    command: str
    options: dict[str, Any]
    config: Config
    overrides: dict[str, Any] | None
    given: dict[str, Any]
    chooses: bool = False


def parse(argv: list[str]) -> Call:
    """What a command line asks for.

    Raises:
        UsageError: an unknown command, flag, config or field, or a value that is not allowed.
    """
    command, words = command_of([word for word in argv if word != VERSION])
    values = _values(command, words)
    if VERSION in argv:
        raise UsageError(f"{VERSION} with other arguments: expected musicjax {VERSION}")
    options = {name: values[name].value for name in FLAGS if name in values} | _aliased(values)
    paths = [name for name in options if FLAGS[name].kind == "path"]
    for name in paths:
        if options[name] == "" and name in values and values[name].present:
            raise UsageError(f"--{name}= is empty: expected a path; or leave it out")
    options |= {name: _expanded(name, options[name]) for name in paths}
    for name, allowed in CHOICES.items():
        if options.get(name) is not None and options[name] not in allowed:
            raise UsageError(f"{name}={options[name]!r}: expected {' or '.join(allowed)}")
    overrides = {
        name.removeprefix("config."): _typed(name.removeprefix("config."), values[name].value)
        for name in values
        if name.startswith("config.") and values[name].present
    }
    overrides |= {path: _expanded(path, overrides[path]) for path in PATH_FIELDS if path in overrides}
    if command == "train" and options["data"] is not None:
        if "data.source" in overrides:
            raise UsageError("--data and --config.data.source are the same: expected one of them")
        overrides["data.source"] = options["data"]
    named = _expanded("config", values["config"].value)
    chooses = _chooses(command, named, options, overrides)
    config = config_files.load(_default(options, chooses) if named is None else named)
    asked, own = overrides.get("data.encoding"), config.data.encoding
    if chooses and asked not in (None, own):
        raise UsageError(
            f"config.data.encoding={asked!r}: config auto chooses among note-event models; expected {own}, or another "
            "config, such as --config=small"
        )
    # Fields given without a config may belong to the config of the workdir.
    in_workdir = not values["config"].present and bool(options["workdir"]) and not options.get("search")
    if not in_workdir or not overrides:
        config_lib.set_fields(config, overrides)
    else:
        for path, value in overrides.items():
            config_lib.require_valid(path, value)
    config_lib.validate(config, together=not in_workdir)
    return Call(command, options, config, None if values["config"].present else overrides, overrides, chooses)


def _default(options: dict[str, Any], chooses: bool) -> str:
    """The config if none is named. A run that begins with another's weights takes its config, whose sizes fit them."""
    other = PurePath(options.get("init_from") or "", "config.json")
    if options.get("init_from") and os.path.isfile(other):
        return str(other)
    return AUTO if chooses else "demo"


def _chooses(command: str, named: str | None, options: dict[str, Any], given: dict[str, Any]) -> bool:
    """Whether the data choose the config; raises UsageError for flags that rule this out or require it."""
    if command != "train":
        return False
    _require_search_alone(named, options)
    named_by = options["init_from"] is not None or options["search"] is not None
    chooses = named == AUTO or (named is None and "data.source" in given and not named_by)
    if chooses and options["init_from"] is not None:
        raise UsageError(
            "--init_from with --config=auto: the weights already fix the sizes; expected the config of their "
            "run, --config=DIR/config.json"
        )
    if chooses and (options["coordinator"] or options["distributed"] != "off"):
        raise UsageError(
            "config auto works in one process only: expected --config=NAME when several processes train together"
        )
    minutes = options["minutes"]
    if minutes is not None and not chooses:
        raise UsageError("--minutes is for --config=auto alone: leave it out, or set --config.train.epochs")
    if minutes is not None and not LEAST_MINUTES <= minutes <= MOST_MINUTES:
        raise UsageError(f"minutes={minutes:g}: expected {LEAST_MINUTES}..{MOST_MINUTES}")
    return chooses


def _require_search_alone(named: str | None, options: dict[str, Any]) -> None:
    """Raises UsageError for flags that do not go with a search."""
    if options["search"] is None:
        return
    if named == AUTO:
        raise UsageError("--search with --config=auto, which has trials of its own: expected another --config")
    if options["init_from"] is not None:
        raise UsageError("--search with --init_from: each trial begins with random weights; leave one of them out")
    if options["coordinator"] or options["distributed"] != "off":
        raise UsageError(
            "--search with --coordinator or --distributed: processes share a search through its workdir; start the "
            "same command, without these flags, in each"
        )


def _values(command: str, words: list[str]) -> flags.FlagValues:
    """The flags of a command with the values that the words give them; raises UsageError for what is none of them."""
    from absl import flags

    values = flags.FlagValues()
    try:
        _define(command, values)
        unexpected = values(["musicjax", *_with_plurals(words)])[1:]
    except flags.UnrecognizedFlagError as error:
        raise _unknown(command, error.flagname) from error
    except flags.Error as error:
        raise UsageError(_of_bars(words) or _plain(str(error))) from error
    if unexpected:
        hint = _of_path(unexpected[0]) if command in FLAGS["data"].commands else ""
        raise UsageError(f"unexpected {unexpected[0]!r}: expected a command, then flags written --name=value{hint}")
    return values


def _of_bars(words: list[str]) -> str:
    """What to say where --bars is a range, such as 5-8; otherwise empty."""
    found = re.search(r"(?:^|\0)--?bars[\0=]((\d+) *(?:-|\.\.|:) *(\d+))(?:\0|$)", "\0".join(words))
    if not found:
        return ""
    asked, first, last = found.groups()
    return (
        f"--bars={asked}: expected a length in bars; to rewrite bars, use --infill=FILE --from_bar={first} "
        f"--to_bar={last}"
    )


def require_known(command: str, words: list[str]) -> None:
    """Raises UsageError unless the words are flags of the command with valid values."""
    if words:
        _values(command, words)


def command_of(argv: list[str]) -> tuple[str, list[str]]:
    """(the command, train if none is named; the words after it); raises UsageError for an unknown one."""
    command, *words = argv if argv and not argv[0].startswith("-") else ["train", *argv]
    if command not in COMMANDS:
        near = difflib.get_close_matches(command, [*COMMANDS, COMPLETION], n=1)
        hint = f"; did you mean {near[0]}?" if near else _of_path(command)
        raise UsageError(f"unknown command {command!r}: expected one of {', '.join([*COMMANDS, COMPLETION])}{hint}")
    return command, words


def _of_path(word: str) -> str:
    """Suggests --data if the word is a path on this machine; otherwise empty."""
    return f"; did you mean --data={word}?" if os.path.exists(word) else ""


def _define(command: str, values: flags.FlagValues) -> None:
    """Defines the flags of a command, the config's fields of all encodings, and the names of 0.1.0."""
    from absl import flags

    for name, flag in FLAGS.items():
        if command in flag.commands:
            kind = "string" if flag.kind == "path" else flag.kind
            getattr(flags, f"DEFINE_{kind}")(name, flag.default, flag.meaning, flag_values=values)
    if command == "generate":
        for alias, (kind, name, _) in ALIASES.items():
            getattr(flags, f"DEFINE_{kind}")(alias, None, f"the same as --{name}", flag_values=values)
        for old, name in renamed.FLAGS.items():
            flags.DEFINE_string(old, None, f"now --{name}", flag_values=values)
    flags.DEFINE_string("config", None, "name or path", flag_values=values)
    kinds = config_lib.kinds()
    for path in [*kinds, *renamed.FIELDS, "model.head"]:
        kind = KINDS[kinds.get(renamed.FIELDS.get(path, path), str)]
        if f"config.{path}" not in values:
            getattr(flags, f"DEFINE_{kind}")(f"config.{path}", None, "", flag_values=values)


def _expanded(name: str, text: str | None) -> str | None:
    """A path with ~, ~USER, $NAME and ${NAME} replaced: shells replace no ~ after a =, and services replace nothing.

    Unknown users and variables stay as they are; raises UsageError if a folder of that name would be made.
    """
    if not text:
        return text
    *kind, path = text.split(":", 2) if text.startswith("polyphonic:") else [text]
    path = arguments.expanded(os.path.expandvars(path))
    unknown = re.findall(r"\$\w+|\$\{\w+\}", path)
    is_new = not os.path.exists(path)
    if is_new and ((name in MADE and path.startswith("~")) or (name in (*MADE, "data.cache") and unknown)):
        what = f"variable {unknown[0]}" if unknown else f"home folder {PurePath(path).parts[0]}"
        flag = f"config.{name}" if "." in name else name
        raise UsageError(f"--{flag}={text}: there is no {what} here; expected a folder, such as ./{name}")
    return ":".join([*kind, path])


def _with_plurals(words: list[str]) -> list[str]:
    """The words, with each list of values given to the field that takes lists."""
    line = "\0".join(words)
    for one, several in PLURALS.items():
        line = re.sub(rf"(^|\0)--?config\.{one}[\0=](?=[^\0]*,)", rf"\1--config.{several}=", line)
        if len(re.findall(rf"(?:^|\0)--?config\.{several}[\0=]", line)) > 1:
            raise UsageError(f"config.{several} is given more than once: expected one list")
    return line.split("\0") if words else []


def _typed(path: str, value: Any) -> Any:
    """A flag's value in its field's type; raises UsageError for a list of anything but numbers."""
    if not isinstance(value, list):
        return value
    words = [item.strip() for item in value]
    if len(words) > 1 and "" in words:
        said = f"config.{path}={','.join(value)}: item {words.index('') + 1} is empty"
        raise UsageError(f"{said}; expected a number between commas")
    try:
        return tuple(float(word.strip("()[]")) for word in words if word.strip("()[]"))
    except ValueError as error:
        raise UsageError(f"config.{path}={','.join(value)}: expected numbers, separated by commas") from error


def _aliased(values: flags.FlagValues) -> dict[str, Any]:
    """The values given under other names, by our names; raises UsageError for one given under two names."""
    found: dict[str, Any] = {}
    known = {alias: (name, count) for alias, (_, name, count) in ALIASES.items()}
    known |= {old: (name, 1) for old, name in renamed.FLAGS.items()}
    taken = {name: f"--{name}" for name, _ in known.values() if name in values and values[name].present}
    for alias, (name, of_theirs) in known.items():
        if alias not in values or not values[alias].present:
            continue
        if name in taken:
            raise UsageError(f"{taken[name]} and --{alias} are the same: expected one of them")
        if alias in renamed.FLAGS:
            console.say_once("renamed", f"--{alias} is now --{name}")
        value: Any = values[alias].value
        taken[name], found[name] = f"--{alias}", value if of_theirs == 1 else value / of_theirs
    return found


def _unknown(command: str, name: str) -> UsageError:
    """The error for a flag that a command does not take. It names the command that does, or the nearest flag."""
    if name.startswith("config."):
        path = name.removeprefix("config.")
        try:
            config_lib.require_field(path)
        except UsageError as error:
            return error
        return UsageError(f"config.{path} is a section: expected one of its fields, such as --config.{path}.NAME=VALUE")
    if name in ("help", "helpfull", "h"):
        return UsageError(f"--{name} takes no such value: expected --help, --help=all or --helpfull")
    own = [flag for flag in FLAGS if command in FLAGS[flag].commands]
    last = name.split(".")[-1]
    fields = [path for path in config_lib.paths() if last == path.split(".")[-1] or path.startswith(f"{name}.")]
    present = renamed.FLAGS.get(name) or ALIASES.get(name, ("", name))[1]
    said = f"{command} takes no flag --{name}"
    if TYPED.get(name) in own and not (fields and command == "train"):
        said += f"; did you mean --{TYPED[name]}?"
    elif fields and command in AS_TRAINED and present not in FLAGS:
        said += f"; it is set in training: musicjax train --config.{fields[0]}=VALUE"
    elif fields and command not in AS_TRAINED:
        said += f"; did you mean --config.{fields[0]}?"
    elif present in own:
        said += f"; did you mean --{present}?"
    elif present in FLAGS:
        other = "" if present == name else f", now as --{present}" if name in renamed.FLAGS else f", as --{present}"
        said += f"; it belongs to {' and '.join(FLAGS[present].commands)}{other}"
    elif name in COMMANDS:
        said += f"; did you mean musicjax {name}?"
    else:
        said += _nearest(name, own)
    return UsageError(f"{said} (musicjax {command} --help=all lists the flags)")


def _nearest(name: str, own: list[str]) -> str:
    """The nearest of a command's own flags, or else of all flags and fields, as a question; empty if none is near."""
    near = difflib.get_close_matches(name, [*own, "config"], n=1, cutoff=NEAR)
    if near:
        return f"; did you mean --{near[0]}?"
    places: dict[str, list[str]] = {}
    for path in config_lib.paths():
        places.setdefault(path.split(".")[-1], [f"--config.{path}"])
    for flag, (*_, commands) in FLAGS.items():
        places.setdefault(flag, []).append(f"--{flag} of {' and '.join(commands)}")
    near = difflib.get_close_matches(name, places, n=1, cutoff=NEAR)
    return f"; did you mean {' or '.join(places[near[0]])}?" if near else ""


def _plain(error: str) -> str:
    """What the flag library says, in words for people who do not write Python."""
    for said, meant in (
        ("invalid literal for int.*", "expected a whole number"),
        ("could not convert string to float.*", "expected a number"),
        (r"\('Non-boolean argument.*", "expected true or false"),
    ):
        error = re.sub(said, meant, error)
    return error
