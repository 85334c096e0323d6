"""Train an LSTM on a folder of MIDI and generate music with it.

musicjax [COMMAND] [--config=NAME_OR_PATH] [--workdir=DIR] [--config.FIELD=VALUE ...]

  train     (default) read data, train, save, write samples; goes on if the workdir holds a checkpoint
  generate  [--workdir=DIR]: new music from a trained model, or from the one that comes along, as MIDI files
  evaluate  --workdir=DIR [--data=DIR]: metrics on held-out or other data, as one JSON object
  data      --data=DIR [--json]: what is kept of a folder of MIDI files, what is skipped, and why
  report    --workdir=DIR [--output_dir=DIR]: the run's figures, those of the paper, as PNG files
"""

import os
import re
import sys
from typing import Any

from absl import flags
from ml_collections import config_flags

from musicjax import config as config_lib
from musicjax.errors import RunError, SaveError, UsageError, printable

COMMANDS = ("train", "generate", "evaluate", "data", "report")
# name: (type, default, meaning, commands that take it). All take --config and its fields.
FLAGS = {
    "workdir": ("string", "", "folder of the run; train: runs/NAME of the config if not given", COMMANDS),
    "checkpoint": ("string", "best", "best (by validation loss) or latest", ("generate", "evaluate")),
    "data": (
        "string",
        None,
        "builtin, a data set by name, a directory of MIDI or MusicXML, or polyphonic:NAME:DIR",
        ("evaluate", "data"),
    ),
    "json": ("bool", False, "last line: the counts as one JSON object", ("data",)),
    "num_outputs": ("integer", 8, "how many files", ("generate",)),
    "num_notes": ("integer", None, "notes (or frames) in each; 300 if no other length is given", ("generate",)),
    "seconds": ("float", None, "length of each, instead of --num_notes", ("generate",)),
    "bars": ("float", None, "length of each in bars of four beats, instead of --num_notes *", ("generate",)),
    "seed": ("integer", 0, "file k depends on the seed and k alone", ("generate",)),
    "temperature": ("string", None, "0: the mean prediction or the likeliest; above: more varied +", ("generate",)),
    "interval_temperature": ("float", None, "of the times between notes alone *", ("generate",)),
    "pitch_temperature": ("float", None, "of pitches alone *", ("generate",)),
    "duration_temperature": ("float", None, "of durations alone *", ("generate",)),
    "velocity_temperature": ("float", None, "of velocities alone *", ("generate",)),
    "top_k": ("string", None, "draw from so many likeliest bins; 0: all *+", ("generate",)),
    "top_p": ("string", None, "draw from the likeliest bins that together have this probability *+", ("generate",)),
    "min_p": ("string", None, "draw from bins with this share of the likeliest one's probability *+", ("generate",)),
    "key": ("string", None, "C, F#, Bb, ...: pitches of this key alone *+", ("generate",)),
    "scale": (
        "string",
        None,
        "major, minor, dorian, pentatonic, blues, ... of the key *+",
        ("generate",),
    ),
    "pitch_range": ("string", None, "LOW,HIGH: MIDI numbers *", ("generate",)),
    "polyphony": ("string", None, "most notes that sound at once; 0: any number *+", ("generate",)),
    "no_repeat": ("string", None, "no run of so many pitches comes twice; 0: runs may *+", ("generate",)),
    "echo": ("string", None, "told what followed while so many notes are as before; 0: never *+", ("generate",)),
    "sweep": ("bool", False, "num_outputs of every combination of the listed values, ranked *", ("generate",)),
    "bpm": ("float", None, "tempo, quarter notes a minute; that of the data if not given *", ("generate",)),
    "program": ("integer", None, "General MIDI instrument, 0 (piano) to 127", ("generate",)),
    "decode": ("string", "auto", "how the past is seen: auto, staggered, window or carry", ("generate",)),
    "primer": ("string", "", "MIDI file to go on from, or pitches: [60,-2,67], an entry a sixteenth", ("generate",)),
    "audio": ("string", "auto", "sound beside each file: wav, flac, ogg, none; auto: wav for a few", ("generate",)),
    "soundfont": ("string", "", "sound font for it; one that is found if not given", ("generate",)),
    "output_dir": ("string", "", "WORKDIR/generated or WORKDIR/report if not given", ("generate", "report")),
    "coordinator": ("string", "", "HOST:PORT of process 0, where several processes train together", ("train",)),
    "num_processes": ("integer", None, "how many processes train together", ("train",)),
    "process_id": ("integer", None, "which of them this is, from 0", ("train",)),
    "distributed": ("string", "off", "auto: find the processes from Slurm, TPU or Kubernetes", ("train",)),
}
# Names that Magenta's generators have for flags of generate: (type, ours, how many of theirs are one of ours).
ALIASES = {
    "run_dir": ("string", "workdir", 1),
    "primer_midi": ("string", "primer", 1),
    "primer_melody": ("string", "primer", 1),
    "qpm": ("float", "bpm", 1),
    "num_steps": ("integer", "bars", 16),
}


def parse(argv: list[str]) -> tuple[str, dict, config_lib.Config, dict | None]:
    """(command, its flags, config, fields overridden - or None if the config was named).

    Raises:
        UsageError: a command, flag, config, field or value that there is not.
    """
    command, *rest = argv if argv and not argv[0].startswith("-") else ["train", *argv]
    if command not in COMMANDS:
        raise UsageError(f"unknown command {command!r}: expected one of {', '.join(COMMANDS)}")
    # The fields override the config, wherever it was written: `--config=X`, `-config=X` or `--config X`.
    line = re.sub(r"(^|\0)--?config[\0=]", r"\1--config=", "\0".join(rest))
    # A list of values is for the trials, whose knobs are named in the plural.
    plurals = {"train.learning_rate": "train.learning_rates", "model.dropout": "train.dropouts"}
    for one, several in plurals.items():
        line = re.sub(rf"(^|\0)--?config\.{one}[\0=](?=[^\0]*,)", rf"\1--config.{several}=", line)
        if len(re.findall(rf"(?:^|\0)--?config\.{several}[\0=]", line)) > 1:
            raise UsageError(f"config.{several} is given more than once: expected one list")
    rest = sorted(line.split("\0"), key=lambda word: not word.startswith("--config=")) if rest else []
    for path in [field[1] for word in rest if (field := re.match(r"--?(?:no)?config\.([^=]*)", word))]:
        config_lib.require_field(path)
    values = flags.FlagValues()
    try:
        for name, (kind, default, meaning, commands) in FLAGS.items():
            if command in commands:
                getattr(flags, f"DEFINE_{kind}")(name, default, meaning, flag_values=values)
        for alias, (kind, name, _) in ALIASES.items() if command == "generate" else ():
            getattr(flags, f"DEFINE_{kind}")(alias, None, f"the same as --{name}", flag_values=values)
        demo = config_lib.load("demo")
        config_flags.DEFINE_config_dataclass(
            "config", demo, flag_values=values, sys_argv=rest, parse_fn=config_lib.load
        )
        unexpected = values(["musicjax", *rest])[1:]
    except flags.UnrecognizedFlagError as error:
        knob = config_lib.hint(error.flagname)
        told = f"{command} takes no flag --{error.flagname}{knob}" if knob else str(error)
        raise UsageError(f"{told} (musicjax --help lists the flags)") from error
    except flags.Error as error:
        raise UsageError(plain(str(error))) from error
    if unexpected:
        raise UsageError(f"unexpected {unexpected[0]!r}: expected a command, then flags written --name=value")
    config_flag: Any = values["config"]
    options = {name: values[name].value for name in FLAGS if name in values} | _aliased(values)
    overrides = None if config_flag.present else dict(config_flag.override_values)
    # Fields without a config may belong to that of the workdir.
    in_workdir = overrides is not None and bool(options["workdir"])
    return command, options, config_lib.validate(config_flag.value, together=not in_workdir), overrides


def _aliased(values: flags.FlagValues) -> dict[str, Any]:
    """What is given under Magenta's names, under ours; raises UsageError for what is given under two names."""
    found: dict[str, Any] = {}
    given: dict[str, Any] = {
        alias: values[alias].value for alias in ALIASES if alias in values and values[alias].present
    }
    names = {name: f"--{name}" for _, name, _ in ALIASES.values() if name in values and values[name].present}
    for alias, value in given.items():
        _, name, of_theirs = ALIASES[alias]
        if name in names:
            raise UsageError(f"{names[name]} and --{alias} are the same: expected one of them")
        names[name], found[name] = f"--{alias}", value if of_theirs == 1 else value / of_theirs
    return found


def plain(error: str) -> str:
    """What the flag library says, in words for people who do not write Python."""
    for said, meant in (
        ("invalid literal for int.*", "expected a whole number"),
        ("could not convert string to float.*", "expected a number"),
        (r"\('Non-boolean argument.*", "expected true or false"),
    ):
        error = re.sub(said, meant, error)
    return error


def main(argv: list[str] | None = None) -> int:
    """Runs one command; the exit status: 0 done, 1 the run or its data failed, 2 wrong usage, 130 or 143 stopped."""
    is_program, argv = argv is None, sys.argv[1:] if argv is None else argv
    try:
        if {"--help", "-h"} & set(argv):
            flag_lines = [f"  --{name:<12} {meaning} ({', '.join(by)})" for name, (*_, meaning, by) in FLAGS.items()]
            alias_lines = [
                f"  --{alias:<12} the same as --{name}{f' ({count} a bar)' * (count > 1)} (generate)"
                for alias, (_, name, count) in ALIASES.items()
            ]
            notes = ["  * of models of events   + several values, parted by commas: file k has the k-th in turn"]
            print(__doc__, *flag_lines, *alias_lines, *notes, "", *config_lib.describe(), sep="\n", flush=True)
            return 0
        request = parse(argv)
        from musicjax import console  # not before: wrong usage is told without waiting for JAX
        from musicjax.cli import commands

        if is_program:
            console.quiet_libraries()
        return commands.run(*request)
    except (UsageError, RunError) as error:
        print(printable(f"musicjax: {error}"), file=sys.stderr, flush=True)
        if is_program and isinstance(error, SaveError):
            os._exit(1)  # leaving in the usual way waits for all threads
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:  # before the commands have set their own handlers
        print("musicjax: stopped by SIGINT", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever reads the results has enough of them
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for what is still to be flushed at exit
        return 1
    except OSError as error:
        print(
            printable(f"musicjax: {error}; expected to read and write there; see to it and start again"),
            file=sys.stderr,
        )
        return 1
    except RuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        print(
            "musicjax: out of memory; lower --config.model.units or --config.train.batch_size, of trials "
            "--config.train.trial_group",
            file=sys.stderr,
        )
        return 1


if __name__ == "__main__":
    sys.exit(main())
