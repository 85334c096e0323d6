"""The command line: what a line of words asks for, what help shows, and the version."""

from __future__ import annotations

import dataclasses
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from musicjax import config as config_lib
from musicjax import config_files, main
from musicjax.cli import flags, help
from musicjax.config import Config, TrainConfig
from musicjax.errors import UsageError
from musicjax.version import __version__

# What train takes beside a config and its fields, when nothing is given.
TRAIN_OPTIONS = {
    "data": None,
    "workdir": "",
    "minutes": None,
    "search": None,
    "init_from": None,
    "coordinator": "",
    "num_processes": None,
    "process_id": None,
    "distributed": "off",
}
SCREEN, COLUMNS = 24, 80


def _help(capsys, *argv: str) -> list[str]:
    assert main.main(list(argv)) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out.splitlines()


def _flags_in(lines: list[str]) -> list[str]:
    """Flags with a line of their own, in order."""
    return [line.split("=")[0].split()[0].removeprefix("--") for line in lines if line.startswith("  --")]


# What is asked for.


def test_a_field_overrides_the_config_wherever_it_is_written():
    for argv in (
        ["--config=paper", "--config.train.epochs=3"],
        ["--config.train.epochs=3", "--config=paper"],
        ["train", "--config.train.epochs=3", "--workdir=here", "--config=paper"],
    ):
        call = flags.parse(argv)
        assert call.command == "train"
        assert call.config == dataclasses.replace(
            config_files.load("paper"), train=TrainConfig(epochs=3, epsilon_in_root=False)
        )
        assert call.overrides is None
        assert set(call.options) == set(TRAIN_OPTIONS)


def test_without_a_named_config_the_given_fields_are_listed_and_laid_over_the_demo():
    call = flags.parse(["generate", "--config.seed=3", "--seed=4", "--config.data.match_share=0.5"])
    assert call.overrides == {"seed": 3, "data.match_share": 0.5}
    assert call.config.name == "demo"
    assert call.config.seed == 3 and call.config.data.match_share == 0.5


def test_flags_have_their_types_and_their_commands():
    call = flags.parse(["generate", "--num_notes=7", "--temperature=0", "--workdir", "somewhere"])
    assert call.command == "generate"
    assert call.options["num_notes"] == 7
    assert call.options["temperature"] == "0"
    assert call.options["workdir"] == "somewhere"
    with pytest.raises(UsageError, match="train takes no flag --num_notes"):
        flags.parse(["train", "--num_notes=7"])


def test_parsing_twice_keeps_nothing_of_the_first_time(tmp_path):
    flags.parse(["--config.seed=3", f"--workdir={tmp_path}"])
    call = flags.parse([])
    assert call.options == TRAIN_OPTIONS
    assert call.overrides == {}
    assert call.config == config_files.load("demo")


def test_a_config_by_path_is_the_same_as_by_name():
    path = Path(config_lib.__file__).parents[1] / "configs" / "paper.py"
    if not path.is_file():
        path = Path(config_lib.__file__).parent / "configs" / "paper.py"
    assert flags.parse([f"--config={path}"]).config == flags.parse(["--config=paper"]).config


def test_data_of_train_is_the_source_of_the_config(tmp_path):
    call = flags.parse(["train", f"--data={tmp_path}"])
    assert call.config.data.source == str(tmp_path)
    assert call.overrides == {"data.source": str(tmp_path)}
    assert flags.parse([f"--data={tmp_path}", "--config=paper"]).config.data.source == str(tmp_path)


def test_data_beside_the_source_of_the_config_is_refused():
    with pytest.raises(UsageError, match=r"--data and --config\.data\.source are the same: expected one of them"):
        flags.parse(["--data=a", "--config.data.source=b"])


@pytest.mark.parametrize("encoding", config_lib.ENCODINGS)
def test_every_field_of_every_encoding_is_a_flag(encoding):
    config = Config(data=config_lib.DataConfig(encoding=encoding))
    if encoding == "events":
        config.train.optimizer = "adam"
    words = [f"--config.{path}={value}" for path, _, value in config_lib.fields(config) if value not in ("", ())]
    assert flags.parse(["--config=paper", *words]).config == config


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["train", "--echo=3"], "train takes no flag --echo; it belongs to generate, now as --longest_match"),
        (["train", "--qpm=90"], "train takes no flag --qpm; it belongs to generate, as --bpm"),
        (["report", "--run_dir=x"], "report takes no flag --run_dir; did you mean --workdir?"),
        (["train", "--longest_match=3"], "train takes no flag --longest_match; it belongs to generate ("),
        (["--config.data.echoo=1"], "unknown field config.data.echoo: did you mean config.data.match_share?"),
        (["--config.model.head=foo"], "config.model.head='foo': expected one of regression, bernoulli, nade"),
        (["train", "--temperture=1"], "--temperture; did you mean --config.sample.temperature or --temperature of gen"),
        (["evaluate", "--bars=4"], "evaluate takes no flag --bars; it belongs to generate ("),
        (["evaluate", "--bras=4"], "evaluate takes no flag --bras; did you mean --bars of generate? ("),
        (["generate", "--tempreature=1"], "generate takes no flag --tempreature; did you mean --temperature? ("),
        (["--epoch=3"], "train takes no flag --epoch; did you mean --config.train.epochs? ("),
        (["--train.seed=1"], "train takes no flag --train.seed; did you mean --config.seed? ("),
        (["--config.train.seed=1"], "unknown field config.train.seed: did you mean config.seed?"),
        (["generate", "--keys=44"], "--keys; it is set in training: musicjax train --config.data.keys=VALUE ("),
        (["evaluate", "--temperature=1"], "evaluate takes no flag --temperature; it belongs to generate ("),
        (["--confg=paper"], "train takes no flag --confg; did you mean --config? ("),
        (["--generate"], "train takes no flag --generate; did you mean musicjax generate? ("),
        (["--xyzzy=3"], "train takes no flag --xyzzy (musicjax train --help=all lists the flags)"),
        (["train", "--quiet"], "train takes no flag --quiet (musicjax train --help=all lists the flags)"),
        (["generate", "--help=everything"], "--help takes no such value: expected --help, --help=all or --helpfull"),
        (["generat"], "unknown command 'generat': expected one of train, generate, "),
        (["generate", "--infill=a.mid", "--bars=5-8"], "to rewrite bars, use --infill=FILE --from_bar=5 --to_bar=8"),
        (["generate", "--bars=five"], "flag --bars=five: expected a number"),
        (["generate", "--primer=C4 E4"], "for quarter notes --primer=[60,-2,-2,-2,64,-2,-2,-2]"),
        (["--version", "--foo"], "train takes no flag --foo ("),
        (["--help", "--foo"], "train takes no flag --foo ("),
        (["generate", "--helpfull", "stray"], "unexpected 'stray'"),
        (["train", "--version"], "--version with other arguments: expected musicjax --version"),
    ],
)
def test_a_wrong_word_is_told_by_its_own_name(capsys, argv, message):
    assert main.main(argv) == 2
    out, err = capsys.readouterr()
    assert message in err and err.startswith("musicjax: ") and len(err.splitlines()) == 1
    assert out == ""


# Paths.

PATHS = [
    ("train", "workdir", "options"),
    ("train", "data", "config"),
    ("evaluate", "data", "options"),
    ("generate", "primer", "options"),
    ("generate", "output_dir", "options"),
    ("generate", "soundfont", "options"),
    ("generate", "run_dir", "options"),
    ("train", "config.data.source", "config"),
    ("train", "config.data.cache", "config"),
    ("train", "config.sample.soundfont", "config"),
]


@pytest.mark.parametrize("text", ["~/a", "$HOME/a", "${HOME}/a", "$FOLDER/a", "$FOLDER/$LETTER"])
@pytest.mark.parametrize(("command", "flag", "where"), PATHS)
def test_a_path_begins_at_home_or_in_a_variable(monkeypatch, command, flag, where, text):
    for name, value in {"HOME": "/home/me", "FOLDER": "~", "LETTER": "a"}.items():
        monkeypatch.setenv(name, value)
    call = flags.parse([command, f"--{flag}={text}"])
    if where == "options":
        assert call.options[{"run_dir": "workdir"}.get(flag, flag)] == "/home/me/a"
    else:
        section, field = {"data": "data.source"}.get(flag, flag.removeprefix("config.")).split(".")
        assert getattr(getattr(call.config, section), field) == "/home/me/a"


def test_a_config_and_the_folder_of_a_data_set_of_frames_begin_at_home_too(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.json").write_text('{"seed": 7}')
    assert flags.parse(["--config=~/mine.json"]).config.seed == 7
    argv = ["--config=frames_nade", "--config.data.source=polyphonic:jsb:~/frames"]
    assert flags.parse(argv).config.data.source == f"polyphonic:jsb:{tmp_path}/frames"


@pytest.mark.parametrize("text", ["[60,-2,67]", "songs/A$AP.mid", "a~b", "$NOBODY/a.mid", "~nouser/a.mid"])
def test_what_names_no_home_and_no_variable_stays_as_it_is(text):
    assert flags.parse(["generate", f"--primer={text}"]).options["primer"] == text


def test_a_folder_whose_name_is_a_tilde_is_named_by_its_whole_path(monkeypatch, tmp_path):
    """So that whoever gets the path and expands it once more finds that folder, and not the home."""
    monkeypatch.chdir(tmp_path)
    assert flags.parse(["--workdir=./~/a"]).options["workdir"] == f"{tmp_path}/~/a"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("~nouser/run", "home folder ~nouser"),
        ("$NOBODY/run", r"variable \$NOBODY"),
        ("runs/${NOBODY}", r"variable \$\{NOBODY\}"),
    ],
)
@pytest.mark.parametrize(("command", "flag"), [("train", "workdir"), ("generate", "output_dir")])
def test_no_folder_is_made_under_the_name_of_a_home_or_variable_that_is_not_there(command, flag, text, what):
    with pytest.raises(UsageError, match=rf"--{flag}=.*: there is no {what} here; expected a folder"):
        flags.parse([command, f"--{flag}={text}"])


# Help.


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_without_a_command_names_the_commands_and_the_configs(capsys, word):
    lines = _help(capsys, word)
    assert len(lines) <= SCREEN and max(map(len, lines)) <= COLUMNS
    for name in (*flags.COMMANDS, *config_files.names(), "--helpfull", "--version"):
        assert any(name in line for line in lines)


@pytest.mark.parametrize("command", flags.COMMANDS)
def test_help_of_a_command_shows_its_flags_alone_on_one_screen(capsys, command):
    lines = _help(capsys, command, "--help")
    assert len(lines) <= SCREEN and max(map(len, lines)) <= COLUMNS
    own = [name for name, flag in flags.FLAGS.items() if command in flag.commands]
    shown = own[: help.MOST_SHOWN]
    assert _flags_in(lines) == [*shown, "config"]
    assert any("--help=all" in line for line in lines) == (shown != own)
    assert flags.COMMANDS[command] in lines[0]
    assert _help(capsys, "--help", command) == lines
    whole = _help(capsys, command, "--help=all")
    assert _flags_in(whole) == [*own, "config"] and len(whole) <= 55 and max(map(len, whole)) <= COLUMNS


@pytest.mark.parametrize("command", ["", *flags.COMMANDS])
def test_help_ends_with_three_examples_that_the_program_takes(capsys, command):
    lines = _help(capsys, *([command] if command else []), "--help")
    shown = [line for line in lines if line.startswith("  musicjax ")]
    assert len(shown) == len(help.EXAMPLES[command]) == 3
    for line, (example, meaning) in zip(shown, help.EXAMPLES[command].items(), strict=True):
        assert line.split("  ")[1:2] == [example] and line.endswith(meaning)
        for one in example.split(" && "):
            called = flags.parse(one.split()[1:]).command
        assert called == (command or called)


def test_the_package_runs_as_a_program():
    done = subprocess.run([sys.executable, "-m", "musicjax", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"musicjax {__version__}\n"


@pytest.mark.parametrize("argv", [["--help"], *([command, "--help"] for command in flags.COMMANDS), ["--version"]])
def test_help_waits_for_no_library(argv):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "musicjax.main", *argv], capture_output=True, text=True, check=True
    )
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "musicjax" in imported
    assert not imported & {"jax", "jaxlib", "flax", "absl", "ml_collections", "numpy", "mido", "rich"}


# Completion.


def completed(capsys, *words: str) -> list[str]:
    """What bash offers for the last of some words after musicjax."""
    assert main.main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    typed = " ".join(f"'{word}'" for word in ("musicjax", *words))
    ask = f"COMP_WORDS=({typed}); COMP_CWORD={len(words)}; _musicjax; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_bash_completes_commands_flags_and_names_of_configs(capsys):
    assert completed(capsys, "ge") == ["generate"]
    assert completed(capsys, "") == [*flags.COMMANDS, flags.COMPLETION]
    assert completed(capsys, "generate", "--num_") == ["--num_outputs=", "--num_notes="]
    assert completed(capsys, "evaluate", "--num_") == []
    assert completed(capsys, "--work") == ["--workdir="]
    assert completed(capsys, "train", "--config.train.epo") == ["--config.train.epochs="]
    assert completed(capsys, "train", "--config", "=", "pap") == ["paper", "paper_code"]
    assert completed(capsys, "train", "--config", "=") == config_files.names()
    assert completed(capsys, "train", "--data", "=", "my") == [], "files are the shell's own"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_every_flag_of_every_command(capsys, shell):
    assert main.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for name in flags.FLAGS:
        assert f"--{name}" in script or f"-l {name} " in script
    for name in flags.COMMANDS:
        assert name in script
    if shutil.which(shell):
        subprocess.run([shell, "-n", "/dev/stdin"], input=script, text=True, check=True)


# What is typed before the key that completes, and the words that the command then gets; the folder holds the files
# of `started`.
TYPED = {
    "gene": ["generate"],
    "compl": ["completion"],
    "completion fi": ["completion", "fish"],
    "generate --temp": ["generate", "--temperature="],
    "--da": ["--data="],
    "train --config.train.epo": ["train", "--config.train.epochs="],
    "--config=frames_m": ["--config=frames_mse"],
    "generate --checkpoint=be": ["generate", "--checkpoint=best"],
    "generate --workdir=ru": ["generate", "--workdir=runs"],
    "generate --workdir=runs/mi": ["generate", "--workdir=runs/mine"],
    "evaluate --temp": ["evaluate", "--temp"],
    "generate --primer=pri": ["generate", "--primer=primer.mid"],
}
# Where zsh and fish leave out files that are no config or no folder; bash offers all.
TYPED_PATHS = {
    "--config=my": ["--config=mysong.json"],
    "--config=runs/mine/con": ["--config=runs/mine/config.json"],
    "--workdir=oth": ["--workdir=others"],
}
# How each shell starts without the user's own settings, and what its own completion needs.
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], ""),
    "zsh": (["zsh", "-f", "-i"], "autoload -Uz compinit; compinit -u -D;"),
    "zsh without compinit": (["zsh", "-f", "-i"], ""),
}
SHELL_SECONDS = 60.0


def _read_until(terminal: int, mark: bytes) -> str:
    got, end = b"", time.monotonic() + SHELL_SECONDS
    while mark not in got:
        ready, _, _ = select.select([terminal], [], [], max(end - time.monotonic(), 0))
        assert ready, f"no {mark!r} within {SHELL_SECONDS:.0f} s after {got!r}"
        got += os.read(terminal, 2**16)
    return got.decode()


@pytest.fixture
def started(capsys, monkeypatch, tmp_path):
    """Writes a shell's script into a folder with a run, configs and music; skips if the shell is not installed."""

    def of(shell: str) -> Path:
        if not shutil.which(shell):
            pytest.skip(f"{shell} is not installed")
        assert main.main(["completion", shell]) == 0
        (tmp_path / "runs" / "mine").mkdir(parents=True)
        (tmp_path / "others").mkdir()
        for name in (
            "primer.mid",
            "mysong.mid",
            "mysong.json",
            "others.mid",
            "runs/mine/config.json",
            "runs/mine/con.log",
        ):
            (tmp_path / name).write_text("")
        monkeypatch.chdir(tmp_path)
        script = tmp_path / "script"
        script.write_text(capsys.readouterr().out)
        return script

    return of


@pytest.mark.parametrize("name", SHELLS)
def test_a_shell_completes_what_is_typed_in_a_terminal(started, name):
    command, own = SHELLS[name]
    script = started(command[0])
    terminal, end = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "TERM": "dumb", "HOME": str(script.parent)}
    process = subprocess.Popen(command, stdin=end, stdout=end, stderr=end, env=environment, start_new_session=True)
    os.close(end)
    try:
        # The prompt is typed in two parts, so that the echo of this line is no prompt.
        setup = f"{own} musicjax() {{ printf '<%s>\\n' \"$@\"; }}; source ./script; PS1='PROM''PT '\n"
        os.write(terminal, setup.encode())
        _read_until(terminal, b"PROMPT ")
        found, expected = {}, TYPED | (TYPED_PATHS if command[0] == "zsh" else {})
        for typed in expected:
            os.write(terminal, f"musicjax {typed}\t\n".encode())
            lines = _read_until(terminal, b"PROMPT ").replace("\r", "").split("\n")
            found[typed] = [line[1:-1].rstrip("/") for line in lines if line.startswith("<")]
    finally:
        os.close(terminal)
        process.kill()
        process.wait()
    assert found == expected


def test_fish_completes_what_is_typed(started):
    script = started("fish")
    cases = TYPED | TYPED_PATHS
    lines = ["source ./script", *(f"complete -C 'musicjax {typed}'; echo -" for typed in cases)]
    done = subprocess.run(
        ["fish", "--no-config", "-c", "; ".join(lines)],
        env={"PATH": os.environ["PATH"], "HOME": str(script.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    offered = [part.split("\n")[:-1] for part in done.stdout.split("-\n")[:-1]]
    assert done.stderr == ""
    for (typed, words), lines in zip(cases.items(), offered, strict=True):
        expected = [words[-1].rstrip("=")] if words != typed.split() else []
        assert [line.split("\t")[0].rstrip("/") for line in lines] == expected, typed


@pytest.mark.parametrize("words", [[], ["powershell"], ["bash", "zsh"]])
def test_completion_names_its_shells(capsys, words):
    assert main.main(["completion", *words]) == 2
    said = " ".join(["completion", *words])
    assert capsys.readouterr().err == f"musicjax: {said}: expected one of bash, zsh, fish\n"


@pytest.mark.parametrize(("word", "near"), [("generat", "generate"), ("evalute", "evaluate"), ("trian", "train")])
def test_an_unknown_command_names_the_nearest(capsys, word, near):
    assert main.main([word]) == 2
    assert f"did you mean {near}?" in capsys.readouterr().err


def test_help_shows_common_flags_first(capsys):
    shown = _flags_in(_help(capsys, "generate", "--help=all"))
    assert shown[:2] == ["workdir", "num_outputs"]
    for common, rare in (("num_notes", "top_k"), ("temperature", "pitch_temperature"), ("primer", "checkpoint")):
        assert shown.index(common) < shown.index(rare)
    assert _flags_in(_help(capsys, "train", "--help"))[:2] == ["data", "workdir"]


def test_helpfull_lists_every_field_of_every_encoding_with_its_meaning(capsys):
    for argv in (["--helpfull"], ["train", "--helpfull"], ["generate", "--helpfull"]):
        lines = _help(capsys, *argv)
        shown = [line for line in lines if line.startswith("  --config.")]
        for path in config_lib.paths():
            assert any(line.startswith(f"  --config.{path}=") for line in shown), path
        assert any("LSTM units of each layer" in line for line in lines)


def test_the_version_is_one_line(capsys):
    assert _help(capsys, "--version") == [f"musicjax {__version__}"]


def test_a_list_is_for_the_trials_whatever_dashes_stand_before_it():
    for dashes in ("-", "--"):
        words = ["config.train.learning_rate=1e-3,1e-4", "config.model.dropout=0.1,0.5", "config.train.trials=4"]
        call = flags.parse([dashes + word for word in words])
        assert (call.config.train.learning_rates, call.config.train.dropouts) == ((1e-3, 1e-4), (0.1, 0.5))
        demo = config_files.load("demo")
        assert call.config.train.learning_rate == demo.train.learning_rate
        assert call.config.model.dropout == demo.model.dropout
        assert call.overrides is not None
        assert set(call.overrides) == {"train.learning_rates", "train.dropouts", "train.trials"}


def test_a_single_value_stays_the_field_of_one_run():
    config = flags.parse(["--config.train.learning_rate=1e-2", "--config.model.dropout=0.1"]).config
    assert (config.train.learning_rate, config.model.dropout) == (1e-2, 0.1)
    assert (config.train.learning_rates, config.train.dropouts) == ((), ())
