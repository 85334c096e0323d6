"""Wrong requests and damaged files: the exit status, one line that says what to do, and nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from musicjax import main
from musicjax.music import midi
from musicjax.music.notes import from_seconds
from musicjax.store import checksums
from tests import tiny_runs

USAGE, FAILED = 2, 1


pytestmark = pytest.mark.usefixtures("own_signal_handlers")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch) -> None:
    """What a command writes without being told where goes into the test's folder."""
    monkeypatch.chdir(tmp_path)


def _tiny(source: Path | str) -> list[str]:
    """The flags of the tiny run of notes, but for its workdir."""
    return [word for word in tiny_runs.flags(Path(), source) if not word.startswith("--workdir")]


@pytest.fixture
def trained(trained_notes) -> Path:
    """The workdir of the tiny run, which no test here changes; one that does takes a copy."""
    return trained_notes


def _tree(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder and what the files hold."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def _fails(capsys, argv: list[str], status: int, *words: str) -> str:
    """Runs a command that must fail with this status and one line that holds these words."""
    capsys.readouterr()
    assert main.main(argv) == status
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    lines = err.splitlines()
    told = [line for line in lines if line.startswith("musicjax: ")]
    assert len(told) == 1, err
    assert lines[-1] == told[0], "the reason is the last line"
    for word in words:
        assert word in told[0]
    return told[0]


def _run_program(*words: str) -> subprocess.CompletedProcess[str]:
    """Python with these words, in a process of its own."""
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(Path(main.__file__).parents[1])},
    )


# The request itself.

WRONG_USAGE = {
    "unknown command": (["sing"], ["unknown command 'sing'", "train, generate, evaluate, data"]),
    "command after flags": (["--config=demo", "generate"], ["unexpected 'generate'", "--name=value"]),
    "two commands": (["data", "train"], ["unexpected 'train'"]),
    "stray word": (["train", "quickly"], ["unexpected 'quickly'"]),
    "stray word after --": (["train", "--", "quickly"], ["unexpected 'quickly'"]),
    "empty word": (["train", ""], ["unexpected ''"]),
    "empty command": ([""], ["unknown command ''"]),
    "unknown config": (["--config=papr"], ["unknown config 'papr'", "did you mean paper?"]),
    "config that is absent": (["--config=mine.py"], ["unknown config 'mine.py'", ".json"]),
    "config without value": (["--config"], ["config"]),
    "unknown field": (["--config.train.epoch=3"], ["config.train.epoch", "did you mean config.train.epochs?"]),
    "unknown section": (["--config.trian.epochs=3"], ["config.trian.epochs", "did you mean"]),
    "unknown field in two words": (["--config.train.epoch", "3"], ["config.train.epoch", "did you mean"]),
    "unknown negated field": (["--noconfig.data.drums"], ["config.data.drums"]),
    "section as a field": (["--config.train=3"], ["train"]),
    "no section": (["--config.train=none"], ["train"]),
    "unknown flag": (["--workdri=x"], ["workdri", "workdir", "musicjax train --help"]),
    "field as a flag": (["--epochs=3"], ["--epochs", "--config.train.epochs"]),
    "section as a flag": (["--model=x"], ["--model", "--config.model.units"]),
    "an empty workdir": (["generate", "--workdir="], ["--workdir= is empty: expected a path; or leave it out"]),
    "an empty output": (["export", "--output="], ["--output= is empty"]),
    "another word for a flag": (["generate", "--tempo=90"], ["--tempo", "did you mean --bpm?"]),
    "a model to generate from": (["generate", "--model=runs/mine"], ["did you mean --workdir?"]),
    "data beside its field": (["--data=x", "--config.data.source=y"], ["--data and --config.data.source", "one of"]),
    "config that report does not need": (["report", "--workdir=run", "--config=demo"], ["report takes no config"]),
    "word for a number": (["--config.train.epochs=many"], ["expected a whole number"]),
    "flag of another command": (["train", "--num_notes=3"], ["num_notes"]),
    "flag without value": (["--workdir"], ["workdir"]),
    "epochs below range": (["--config.train.epochs=0"], ["config.train.epochs=0", "1..1000000"]),
    "units above range": (["--config.model.units=70000"], ["config.model.units=70000", "1..65536"]),
    "negative seed": (["--config.seed=-1"], ["config.seed=-1", "0..2147483647"]),
    "huge seed": (["--config.seed=99999999999999999999"], ["config.seed=", "0..2147483647"]),
    "dropout of one": (["--config.model.dropout=1"], ["config.model.dropout=1.0", "0.0..0.99"]),
    "dropout nan": (["--config.model.dropout=nan"], ["config.model.dropout=nan", "0.0..0.99"]),
    "rate infinite": (["--config.train.learning_rate=inf"], ["config.train.learning_rate=inf"]),
    "epochs a word": (["--config.train.epochs=many"], ["config.train.epochs", "many"]),
    "epochs a fraction": (["--config.train.epochs=1.5"], ["config.train.epochs", "1.5"]),
    "boolean a word": (["--config.data.duration=maybe"], ["config.data.duration", "maybe"]),
    "no such choice": (["--config.model.precision=float64"], ["config.model.precision='float64'", "bfloat16"]),
    "generate of a config without workdir": (["generate", "--config=paper"], ["--workdir is missing"]),
    "no such sound": (["generate", "--audio=mp3"], ["audio='mp3'", "wav, flac, ogg"]),
    "a sound font that is none": (["generate", "--soundfont=none.sf2"], ["none.sf2"]),
    "an empty learning rate": (
        ["--config.train.learning_rate=1e-3,,3e-4", "--config.train.trials=2"],
        ["config.train.learning_rates=1e-3,,3e-4: item 2 is empty"],
    ),
    "an empty factor": (["--config.sample.temperature_factors=1,1,1,1,"], ["item 5 is empty", "a number between"]),
    "evaluate without workdir": (["evaluate"], ["--workdir is missing"]),
    "num_notes a word": (["generate", "--num_notes=few"], ["num_notes", "few"]),
    "num_notes and seconds": (
        ["generate", "--workdir=run", "--num_notes=3", "--seconds=2"],
        ["num_notes=3", "seconds=2", "at most one"],
    ),
    "num_notes negative": (["generate", "--workdir=run", "--num_notes=-1"], ["num_notes=-1", "0..1000000"]),
    "seconds nan": (["generate", "--workdir=run", "--seconds=nan"], ["seconds=nan"]),
    "temperature nan": (["generate", "--workdir=run", "--temperature=nan"], ["temperature=nan", "0.0..100.0"]),
    "temperature negative": (["generate", "--workdir=run", "--temperature=-1"], ["temperature=-1.0", "0.0..100.0"]),
    "seed of generate negative": (["generate", "--workdir=run", "--seed=-1"], ["seed=-1", "0..2147483647"]),
    "too many outputs": (["generate", "--workdir=run", "--num_outputs=10001"], ["num_outputs=10001", "1..10000"]),
    "no output": (["generate", "--workdir=run", "--num_outputs=0"], ["num_outputs=0", "1..10000"]),
    **{
        f"generate {' '.join(flags)}": (["generate", "--workdir=run", *flags], words)
        for flags, words in (
            (["--temperature=1,x"], ["temperature=1,x", "expected numbers", "commas"]),
            (["--temperature="], ["temperature=", "expected numbers"]),
            (["--temperature=1,,2"], ["temperature=1,,2: item 2 is empty", "between commas"]),
            (["--top_k=1,"], ["top_k=1,: item 2 is empty"]),
            (["--key=C,,D"], ["key=C,,D: item 2 is empty"]),
            (["--scale=,blues", "--sweep"], ["scale=,blues: item 1 is empty"]),
            (["--instruments=piano,,bass"], ["instruments=piano,,bass: item 2 is empty"]),
            (["--temperature=1,101"], ["temperature=101.0", "0.0..100.0"]),
            (["--temperature=1,1,1,101", "--num_outputs=2"], ["temperature=101.0", "0.0..100.0"]),
            (["--pitch_temperature=-1"], ["pitch_temperature=-1.0", "0.0..100.0"]),
            (["--top_k=-1"], ["top_k=-1", "0..1000"]),
            (["--top_k=2.5"], ["top_k=2.5", "whole numbers"]),
            (["--top_p=0"], ["top_p=0.0", "0.001..1.0"]),
            (["--top_p=1.1"], ["top_p=1.1", "0.001..1.0"]),
            (["--top_p=nan"], ["top_p=nan", "0.001..1.0"]),
            (["--min_p=2"], ["min_p=2.0", "0.0..1.0"]),
            (["--key=K"], ["key='K'", "A to G"]),
            (["--key=C", "--scale=majr"], ["scale='majr'", "major, minor"]),
            (["--pitch_range=60"], ["pitch_range=60", "LOW,HIGH"]),
            (["--pitch_range=70,60"], ["pitch_range=70,60", "LOW not above HIGH"]),
            (["--pitch_range=0,128"], ["pitch_range=0,128", "0..127"]),
            (["--key=C", "--pitch_range=61,61"], ["key=C has", "pitch_range=61,61", "no pitch"]),
            (["--polyphony=-1"], ["polyphony=-1", "0..64"]),
            (["--no_repeat=1"], ["no_repeat=1", "2..32"]),
            (["--bpm=0"], ["bpm=0.0", "10.0..1000.0"]),
            (["--program=128"], ["program=128", "0..127"]),
            (["--program=vioin"], ["program='vioin'", "did you mean violin", "0..127"]),
            (["--bars=-1"], ["bars=-1.0", "0.0..100000.0"]),
            (["--num_notes=3", "--bars=2"], ["num_notes=3", "bars=2", "at most one"]),
            (["--seconds=3", "--bars=2"], ["seconds=3", "bars=2", "at most one"]),
            (["--seconds=3", "--num_steps=32"], ["seconds=3", "beats=8", "at most one"]),
            (["--beats=2", "--num_steps=32"], ["--beats and --num_steps", "one of them"]),
            (["--qpm=90", "--bpm=90"], ["--bpm and --qpm", "one of them"]),
            (["--run_dir=run"], ["--workdir and --run_dir", "one of them"]),
            (["--primer=a.mid", "--primer_midi=a.mid"], ["--primer and --primer_midi", "one of them"]),
            (["--primer_midi=a.mid", "--primer_melody=[60]"], ["--primer_midi and --primer_melody", "one of them"]),
            (["--primer=[60,x]"], ["primer '[60,x]'", "-2 where nothing happens"]),
            (["--primer=[-2,-1]"], ["primer '[-2,-1]'", "holds no notes"]),
            (["--sweep"], ["sweep without anything to vary", "--temperature=0.8,1.0"]),
            (["--sweep", "--top_k=5"], ["sweep without anything to vary", "several values"]),
            (["--sweep", "--top_k=5,6", "--num_outputs=6000"], ["2 combinations", "num_outputs=6000", "1..10000"]),
        )
    },
}


@pytest.mark.parametrize("case", WRONG_USAGE)
def test_wrong_usage_is_told_in_one_line_and_writes_nothing(case, capsys, tmp_path):
    argv, words = WRONG_USAGE[case]
    _fails(capsys, argv, USAGE, *words)
    assert list(tmp_path.iterdir()) == []


def test_a_config_file_that_fails_is_wrong_usage(capsys, tmp_path):
    (tmp_path / "mine.py").write_text("def get_config():\n    raise OSError('line one\\nline two')\n")
    (tmp_path / "mine.json").write_text('{"train": {"epochs": "3"}}')
    _fails(capsys, ["--config=mine.json"], USAGE, "config.train.epochs='3'", "int")
    assert sorted(os.listdir(tmp_path)) == ["mine.json", "mine.py"]


def test_wrong_usage_is_told_before_jax_is_loaded_and_before_data_is_read():
    script = """
import sys
from musicjax import main
for words in ("--config=nope", "sing", "--config.train.epoch=3", "--config.train.epochs=0", "--nope", "data stray"):
    assert main.main(words.split()) == 2, words
slow = {"jax", "jaxlib", "flax", "optax", "orbax", "mido", "numpy", "rich", "tensorboardX", "musicjax.run"}
assert not slow & set(sys.modules), slow & set(sys.modules)
for words in ("--top_p=2", "--key=K", "--bpm=1", "--primer=[]", "--sweep"):
    assert main.main(["generate", "--workdir=w", words]) == 2, words
assert not (slow - {"numpy", "musicjax.run"}) & set(sys.modules), slow & set(sys.modules)
"""
    ran = _run_program("-c", script)
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stderr.splitlines()) == 11


def test_the_program_ends_with_the_status_that_main_gives():
    ran = _run_program("-m", "musicjax.main", "--config=nope")
    assert (ran.returncode, ran.stdout) == (USAGE, "")
    assert ran.stderr.startswith("musicjax: ") and ran.stderr.count("\n") == 1


# Data.


def test_a_folder_that_is_absent_or_without_music(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "a.txt").write_text("no music")
    for name, reason in (("absent", "no such folder"), ("empty", "no .mid"), ("words", "no .mid")):
        for argv in (["data", f"--data={name}"], ["train", "--workdir=run", f"--config.data.source={name}"]):
            told = _fails(capsys, [*argv, "--config.data.cache=off"], FAILED, "data source", name, reason)
            assert ".mid .midi .kar" in told


@pytest.mark.parametrize("source", ["~nouser", "~nouser/midi", "polyphonic:jsb:~nouser"])
def test_a_user_that_nobody_knows_is_a_folder_that_is_absent(capsys, source):
    _fails(capsys, ["data", f"--data={source}"], FAILED, f"data source {source}: no such folder")


def test_a_cache_of_a_user_that_nobody_knows(capsys, clips, tmp_path):
    argv = ["data", f"--data={clips}", "--config.data.cache=~nouser/cache"]
    _fails(capsys, argv, FAILED, "cache folder ~nouser/cache", "no home folder ~nouser", "--config.data.cache=DIR")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_usable_file(capsys, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.mid").write_bytes(b"")
    for argv in (["data", "--data=bad"], ["train", "--workdir=run", "--config.data.source=bad"]):
        _fails(capsys, [*argv, "--config.data.cache=off"], FAILED, "none of its 1 file gave notes", "a.mid")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_names_from_the_data_cannot_write_on_the_terminal(capsys, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "two\nlines\x1b[31m.mid").write_bytes(b"")
    told = _fails(capsys, ["data", "--data=bad", "--config.data.cache=off"], FAILED, "none of its 1 file ")
    assert "\x1b" not in told


@pytest.mark.parametrize("split", ["piece", "windows"])
def test_fewer_notes_than_a_window(capsys, tmp_path, split):
    (tmp_path / "short").mkdir()
    for number in range(3):
        midi.write(from_seconds([60 + number] * 5, [90] * 5, range(5), [0.5] * 5), tmp_path / f"short/{number}.mid")
    argv = ["train", "--config=small", "--workdir=run", "--config.data.source=short", "--config.data.cache=off"]
    _fails(capsys, [*argv, f"--config.data.split={split}"], FAILED, "short", "50", "--config.data.window")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_one_piece_cannot_be_split_by_piece(capsys, tmp_path):
    (tmp_path / "one").mkdir()
    midi.write(from_seconds([60] * 100, [90] * 100, range(100), [0.5] * 100), tmp_path / "one" / "a.mid")
    argv = ["train", "--config=small", "--workdir=run", "--config.data.source=one", "--config.data.cache=off"]
    _fails(capsys, argv, FAILED, "1 piece has more than 50 notes", "--config.data.split=windows")


def test_a_cache_that_cannot_be_written(capsys, clips, tmp_path):
    (tmp_path / "file").write_text("in the way")
    argv = ["data", f"--data={clips}", "--config.data.cache=file/cache"]
    _fails(capsys, argv, FAILED, "cache folder file/cache cannot be written", "--config.data.cache=off")


# Workdirs.


@pytest.mark.parametrize("workdir", ["file", "file/below"])
def test_a_workdir_that_is_a_file_or_below_one(capsys, clips, tmp_path, workdir):
    (tmp_path / "file").write_text("in the way")
    _fails(capsys, ["train", f"--workdir={workdir}", *_tiny(clips)], FAILED, workdir, "is not a folder", "--workdir")
    for command in ("generate", "evaluate"):
        what = "is a file" if workdir == "file" else "does not exist"
        _fails(capsys, [command, f"--workdir={workdir}"], FAILED, f"workdir {workdir} {what}", "the folder of a run")
    assert _tree(tmp_path) == {"file": b"in the way"}


@pytest.mark.parametrize("workdir", ["file", "file/below", 300 * "x"])
def test_a_report_that_cannot_be_written(capsys, clips, tmp_path, workdir):
    (tmp_path / "file").write_text("in the way")
    argv = ["data", f"--data={clips}", f"--workdir={workdir}", "--config.data.cache=off"]
    _fails(capsys, argv, FAILED, workdir, "cannot be written")


def test_a_workdir_of_another_run_is_left_alone(capsys, clips, trained):
    before = _tree(trained)
    argv = ["train", f"--workdir={trained}", *_tiny(clips), "--config.model.units=9"]
    _fails(capsys, argv, USAGE, "holds another run", "config.model.units is 8 in the run, 9 here", "--workdir")
    assert _tree(trained) == before


def test_a_run_does_not_go_on_with_other_data(capsys, clips, trained, tmp_path):
    workdir, fewer = shutil.copytree(trained, tmp_path / "run"), shutil.copytree(clips, tmp_path / "clips")
    next(iter(fewer.iterdir())).unlink()
    kept = _tree(workdir / "checkpoints")
    argv = ["train", f"--workdir={workdir}", *_tiny(fewer), "--config.train.epochs=5"]
    _fails(
        capsys, argv, FAILED, "was trained on other data", f"config.data.source is '{clips}' in the run", "--workdir"
    )
    assert _tree(workdir / "checkpoints") == kept


def test_a_run_does_not_go_on_where_the_files_of_its_folder_have_changed(capsys, clips, trained, tmp_path):
    workdir, source = shutil.copytree(trained, tmp_path / "run"), shutil.copytree(clips, tmp_path / "clips")
    argv = [f"--workdir={workdir}", f"--config.data.source={source}", "--config.train.epochs=4"]
    assert main.main(argv) == 0, "the folder may move"
    next(iter(source.iterdir())).unlink()
    kept = _tree(workdir / "checkpoints")
    for command in (["train", *argv], ["evaluate", f"--workdir={workdir}"]):
        _fails(capsys, command, FAILED, "was trained on other data", "--workdir")
    assert _tree(workdir / "checkpoints") == kept


def test_what_a_report_leaves_out_is_told_once(capsys, trained, tmp_path):
    workdir = shutil.copytree(trained, tmp_path / "run")
    (workdir / "config.json").write_text("{")
    assert main.main(["report", f"--workdir={workdir}"]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert told and len(told) == len(set(told))


def test_a_workdir_without_a_checkpoint(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    for workdir, what in {"absent": "does not exist", "empty": "holds no checkpoint"}.items():
        for command in ("generate", "evaluate"):
            told = _fails(capsys, [command, f"--workdir={workdir}"], FAILED, workdir, what)
            assert "train first" in told
    assert _tree(tmp_path) == {"empty": None}


# What is given beside a workdir; the words of the one line.
NOT_OBEYED = {
    "--config=paper": ["config.model.units is 8 in the run, 512 here", "leave --config out"],
    "--config.model.units=9": ["config.model.units is 8 in the run, 9 here; leave it out"],
    "--config.model.precision=bfloat16": ["config.model.precision is 'float32' in the run, 'bfloat16' here"],
    "--config.data.window=3": ["config.data.window is 8 in the run, 3 here"],
    "--config.data.encoding=frames": ["but config.data.encoding is 'notes' in the run, 'frames' here; leave"],
    "--config.train.epochs=9": ["config.train.epochs is 3 in the run, 9 here"],
    "--config.sample.num_notes=9": ["config.sample.num_notes is 4 in the run, 9 here"],
}


@pytest.mark.parametrize("command", ["generate", "evaluate"])
@pytest.mark.parametrize("given", NOT_OBEYED)
def test_what_is_given_beside_a_workdir_and_not_obeyed_is_named(capsys, trained, command, given):
    before = _tree(trained)
    _fails(capsys, [command, f"--workdir={trained}", given], USAGE, str(trained), *NOT_OBEYED[given])
    assert _tree(trained) == before


def test_a_flag_of_the_command_is_named_where_a_field_is_not_obeyed(capsys, trained):
    argv = ["generate", f"--workdir={trained}", "--config.sample.num_notes=9"]
    _fails(capsys, argv, USAGE, "leave it out or use --num_notes")


def test_only_the_encoding_is_named_where_a_run_has_another(capsys, trained):
    argv = ["train", f"--workdir={trained}", "--config.data.encoding=frames"]
    told = _fails(capsys, argv, USAGE, "config.data.encoding is 'notes' in the run, 'frames' here; use the same")
    assert told.count("in the run") == 1


def test_what_generate_and_evaluate_obey_may_be_given_beside_a_workdir(trained, tmp_path):
    common = [f"--workdir={trained}", "--config.model.units=8", "--config.data.cache=own"]
    sample = [
        "--config.sample.temperature=0.5",
        "--num_outputs=1",
        "--num_notes=2",
        "--audio=none",
        f"--output_dir={tmp_path}",
    ]
    assert main.main(["generate", *common, *sample]) == 0
    assert main.main(["evaluate", *common, "--config.data.workers=2", "--config.data.seconds_per_file=9"]) == 0
    assert list(tmp_path.glob("own/notes-*")), "the files are read into the cache that is named"


def test_evaluate_takes_the_runs_own_data_from_another_place_and_no_others(capsys, clips, trained, tmp_path):
    moved, fewer = shutil.copytree(clips, tmp_path / "moved"), shutil.copytree(clips, tmp_path / "fewer")
    next(iter(fewer.iterdir())).unlink()
    argv = ["evaluate", f"--workdir={trained}"]
    assert main.main([*argv, f"--config.data.source={moved}"]) == 0
    assert json.loads(capsys.readouterr().out)["data"] == str(moved)
    _fails(capsys, [*argv, f"--config.data.source={fewer}"], USAGE, "the data differ", f"--data={fewer}")


@pytest.mark.parametrize("command", ["train", "evaluate", "data"])
def test_an_empty_source_is_not_the_current_folder(capsys, trained, command):
    workdir = [f"--workdir={trained}"] if command != "data" else []
    _fails(capsys, [command, *workdir, "--data="], USAGE, "--data= is empty: expected a path")


def test_the_record_of_what_a_run_read_is_kept(capsys, clips, trained, tmp_path):
    workdir, other = shutil.copytree(trained, tmp_path / "run"), shutil.copytree(clips, tmp_path / "other")
    next(iter(other.iterdir())).unlink()
    before = _tree(workdir)
    assert main.main(["data", f"--data={clips}", f"--workdir={workdir}"]) == 0, "it says the same"
    argv = ["data", f"--data={other}", f"--workdir={workdir}"]
    _fails(capsys, argv, USAGE, "holds a run", "data.jsonl", "leave out --workdir")
    shutil.rmtree(workdir / "checkpoints")
    _fails(capsys, argv, USAGE, "holds a run")
    assert _tree(workdir) == {name: content for name, content in before.items() if not name.startswith("checkpoints")}


@pytest.mark.parametrize("command", ["generate", "evaluate"])
def test_a_checkpoint_that_is_neither_best_nor_latest(capsys, trained, command):
    before = _tree(trained)
    argv = [command, f"--workdir={trained}", "--checkpoint=worst"]
    _fails(capsys, argv, USAGE, "checkpoint='worst'", "best or latest")
    assert _tree(trained) == before


# Generating.


@pytest.mark.parametrize(
    "flag",
    [
        "--temperature=0.5,1",
        "--velocity_temperature=1",
        "--top_k=3",
        "--top_p=0.5",
        "--min_p=0.1",
        "--key=C",
        "--scale=chromatic",
        "--pitch_range=60,70",
        "--polyphony=1",
        "--no_repeat=4",
        "--bpm=100",
        "--bars=2",
        "--sweep",
    ],
)
def test_what_only_models_of_events_know_is_refused_of_others(capsys, trained, flag):
    argv = ["generate", f"--workdir={trained}", flag, *["--top_k=1,2"] * (flag == "--sweep")]
    told = _fails(capsys, argv, USAGE, flag.split("=")[0], "a note-event model (--config=events)", "models notes")
    assert "top_k" in told or flag != "--sweep"
    assert not (trained / "generated").exists()


@pytest.mark.parametrize(
    "flags",
    [["--primer=song.mid", "--keep"], ["--infill=song.mid", "--from_bar=1", "--to_bar=1"], ["--vary=song.mid"]],
    ids=["keep", "infill", "vary"],
)
def test_what_only_models_with_form_know_is_refused_of_others(capsys, trained, tmp_path, flags):
    midi.write(from_seconds([60] * 40, [80] * 40, [n / 2 for n in range(40)], [0.5] * 40), tmp_path / "song.mid")
    name = next(flag for flag in ("--keep", "--infill", "--vary") if any(flag in word for word in flags))
    _fails(
        capsys, ["generate", f"--workdir={trained}", *flags], USAGE, name, "knows the form of pieces", "models notes"
    )
    assert not (trained / "generated").exists()


def test_a_primer_that_cannot_be_used(capsys, trained, tmp_path):
    (tmp_path / "words.mid").write_text("no music")
    midi.write(from_seconds([], [], [], []), tmp_path / "silent.mid")
    argv = ["generate", f"--workdir={trained}", "--output_dir=out", "--num_outputs=1", "--num_notes=2"]
    for primer in ("absent.mid", "words.mid", "silent.mid", "."):
        _fails(capsys, [*argv, f"--primer={primer}"], FAILED, f"primer {primer}", "expected a MIDI file with notes")
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize("folder", ["file", "file/below"])
def test_an_output_folder_that_cannot_be_written(capsys, trained, tmp_path, folder):
    (tmp_path / "file").write_text("in the way")
    argv = ["generate", f"--workdir={trained}", f"--output_dir={folder}", "--num_outputs=1", "--num_notes=2"]
    _fails(capsys, argv, FAILED, f"output folder {folder} cannot be written")
    assert (tmp_path / "file").read_text() == "in the way"


def test_evaluating_on_data_that_gives_no_window(capsys, trained, tmp_path):
    (tmp_path / "short").mkdir()
    midi.write(from_seconds([60], [90], [0.0], [1.0]), tmp_path / "short" / "a.mid")
    argv = ["evaluate", f"--workdir={trained}", "--config.data.cache=off"]
    _fails(capsys, [*argv, "--data=absent"], FAILED, "absent", "no such folder")
    _fails(capsys, [*argv, "--data=short"], FAILED, "short", "8 notes")


def test_evaluating_on_a_folder_without_a_usable_file(capsys, trained, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.mid").write_bytes(b"")
    _fails(capsys, ["evaluate", f"--workdir={trained}", "--data=bad"], FAILED, "bad", "note")


# Damaged checkpoints; every damage of every file is tried in test_checkpoint.py.


def _with_one_checkpoint(trained: Path, workdir: Path) -> Path:
    """A copy without the checkpoint before the newest, which would be used instead."""
    shutil.copytree(trained, workdir)
    shutil.rmtree(workdir / "checkpoints" / "2")
    return workdir


def test_a_damaged_checkpoint_ends_every_command_with_one_line(capsys, clips, trained, tmp_path):
    workdir = _with_one_checkpoint(trained, tmp_path / "run")
    (metadata,) = (workdir / "checkpoints").glob("*/state/_METADATA")
    metadata.write_bytes(metadata.read_bytes()[:100])
    kept = _tree(workdir / "checkpoints")
    for argv in (
        ["generate", "--num_outputs=1", "--num_notes=2"],
        ["evaluate"],
        ["train", *_tiny(clips), "--config.train.epochs=5"],
    ):
        _fails(capsys, [*argv, f"--workdir={workdir}"], FAILED, "is damaged", "state/_METADATA", "put back a copy")
    assert _tree(workdir / "checkpoints") == kept


def test_a_damaged_index_of_a_checkpoint_is_told_in_one_line_by_the_program(trained, tmp_path):
    """In a process of its own: what threads of the storage library print does not pass through sys.stderr."""
    workdir = _with_one_checkpoint(trained, tmp_path / "run")
    (index,) = (workdir / "checkpoints").glob("*/state/manifest.ocdbt")
    index.write_bytes(b"")
    ran = _run_program("-m", "musicjax.main", "generate", f"--workdir={workdir}")
    assert (ran.returncode, ran.stdout) == (FAILED, "")
    assert "Traceback" not in ran.stderr
    assert [line.split(": ")[0] for line in ran.stderr.splitlines()] == ["musicjax"]


def test_a_checkpoint_of_another_shape_than_its_config_is_told(trained, tmp_path):
    workdir = _with_one_checkpoint(trained, tmp_path / "run")
    (metadata,) = (workdir / "checkpoints").glob("*/metadata/metadata")
    text = metadata.read_text()
    assert text.count('"units": 8') == 1
    metadata.write_text(text.replace('"units": 8', '"units": 16'))
    checksums.write(metadata.parents[1])  # or the change itself would be told
    ran = _run_program("-m", "musicjax.main", "generate", f"--workdir={workdir}")
    assert (ran.returncode, ran.stdout) == (FAILED, "")
    (told,) = [line for line in ran.stderr.splitlines() if line.startswith("musicjax: ")]
    assert "cannot be restored" in told


def test_a_folder_named_like_a_checkpoint_that_holds_nothing_does_not_win(capsys, trained, tmp_path):
    workdir = shutil.copytree(trained, tmp_path / "run")
    (workdir / "checkpoints" / "7").mkdir()
    assert main.main(["generate", f"--workdir={workdir}", "--num_outputs=1", "--num_notes=2"]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert len(told) == 1
    assert "checkpoints/7 is damaged: sha256.json is missing; epoch 3" in told[0]
    assert len(list((workdir / "generated").glob("*.mid"))) == 1


def test_a_workdir_with_nothing_but_an_empty_checkpoint_is_not_trained_from_zero(capsys, clips, tmp_path):
    (tmp_path / "run" / "checkpoints" / "7").mkdir(parents=True)
    _fails(capsys, ["train", "--workdir=run", *_tiny(clips)], FAILED, "checkpoints/7", "sha256.json is missing")
    assert _tree(tmp_path / "run") == {"checkpoints": None, "checkpoints/7": None}


@pytest.mark.parametrize(
    ("name", "reason"), [("x" * 300, "File name too long"), ("loop", "Too many levels of symbolic links")]
)
def test_a_workdir_that_cannot_be_made_is_refused_in_one_line(capsys, tmp_path, name, reason):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for config in ("small", "auto"):
        assert main.main([f"--config={config}", f"--workdir={tmp_path / name}"]) == 1
        err = capsys.readouterr().err
        assert f"cannot be made: {reason}; name another with --workdir=DIR" in err
        assert len(err.splitlines()) == 1
