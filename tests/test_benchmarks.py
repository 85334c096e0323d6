"""The benchmarks start, end with one JSON object, and refuse contestants that compute something else."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import jax
import pytest

from benchmarks import __main__ as everything
from benchmarks import (
    compare,
    contestants,
    listening,
    notes,
    own_folder,
    quality,
    sizes,
    step_parts,
    tables,
    tpu,
    train,
)
from musicjax import config_files
from musicjax.encodings import encoding
from musicjax.errors import UsageError
from musicjax.version import __version__

REPOSITORY = Path(__file__).parents[1]
MODULES = sorted(path.stem for path in (REPOSITORY / "benchmarks").glob("[a-z]*.py"))
# Those that other benchmarks import or start as contestants; the others are commands.
PARTS = {"baselines", "common_tonic", "contestants", "core_hours", "edge_cases", "event_peers", "event_samplers"}
PARTS |= {
    "frame_likelihoods",
    "likelihood_networks",
    "ngrams",
    "peers",
    "published",
    "readers",
    "roof",
    "samplers",
    "torch_peer",
}
COMMANDS = [name for name in MODULES if name not in PARTS]
# Kept results that a page quotes in its text, without a table.
WITHOUT_TABLE = {"devices", "paper_code_epsilon_in_root"}

SMALL = ["--repeats=1", "--units=8", "--window=5"]
TRAIN = ["--batch=8", "--windows=16"]
# For each benchmark of speed arguments so small that the figures mean nothing, and keys that its result must have.
RUNS = {
    "train": (
        [
            *SMALL,
            *TRAIN,
            "--peers=musicjax-float32,musicjax-bfloat16,keras-jax,flax-float32,roof-float32,roof-bfloat16",
        ],
        {"vs_best_keras", "vs_best_torch", "vs_flax", "gemm_share"},
    ),
    "sample": (
        [
            *SMALL,
            "--notes=20",
            "--most=3",
            "--samplers=musicjax-float32-staggered,musicjax-float32-window,flax-float32-scan",
        ],
        {"vs_best_keras", "vs_best_peer", "many_vs_best_peer"},
    ),
    "events": (
        [
            *("--config=demo", "--repeats=1", "--windows=64"),
            "--peers=musicjax-float32,musicjax-bfloat16,flax-float32_epoch,flax-bfloat16_epoch",
        ],
        {"vs_best_torch", "vs_best_flax", "float32_vs_torch_float32"},
    ),
    "sample_events": (
        [
            *("--config=demo", "--repeats=1", "--pieces=2", "--notes=10"),
            "--samplers=musicjax-float32,musicjax-bfloat16,flax_scan-float32,flax_scan-bfloat16",
        ],
        {"pieces_2", "settings"},
    ),
    "trials": ([*SMALL, *TRAIN, "--groups=1,2", "--trials=2"], {"units_8"}),
    "devices": ([*SMALL, *TRAIN, "--counts=1,2"], {"vs_one_device", "last_loss", "simulated"}),
    "scaling": (["--repeats=1", "--units=8", "--batches=4", "--windows=5"], {"gemm_share", "rows"}),
    "search": (["--repeats=1", "--trials=4", "--full=2", "--epochs=2"], {"seconds_vs_full", "loss_above_all_full"}),
    "sizes": (["--repeats=1", "--configs=demo", "--batch=2"], {"rows", "settings"}),
    "step_parts": (["--repeats=1", "--units=8", "--windows=400"], {"bfloat16", "float32", "settings"}),
    "start": (["--repeats=1", "--memory=demo"], {"cold_seconds", "warm_seconds", "peak_mb"}),
}


def last_line(module: str, *arguments: str) -> dict[str, Any]:
    """The JSON object with which a benchmark ends, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("module", MODULES)
def test_a_benchmark_is_imported(module):
    if module == "torch_peer":
        pytest.importorskip("torch", reason="torch is not installed; it is a peer of some benchmarks alone")
    assert importlib.import_module(f"benchmarks.{module}").__doc__


@pytest.mark.parametrize("command", COMMANDS)
def test_a_benchmark_prints_help(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [command, "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"benchmarks.{command}").main()
    assert ended.value.code == 0
    assert f"python -m benchmarks.{command}" in capsys.readouterr().out


def test_all_run_in_order_and_one_that_fails_stops_no_other(monkeypatch, capsys):
    ran = []

    def run(command, check):
        ran.append(command[2:])
        return types.SimpleNamespace(returncode=int(command[2] == "benchmarks.train"))

    monkeypatch.setattr(everything.subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only=train,start", "--save"])
    with pytest.raises(SystemExit, match=r"shown above: train$"):
        everything.main()
    assert ran == [["benchmarks.train", "--save"], ["benchmarks.start", "--save"]]
    assert capsys.readouterr().err.startswith("1 of 2  train, 0:00 so far\n2 of 2  start")
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only=trian"])
    with pytest.raises(SystemExit, match="--only=trian: expected some of train, events, sample"):
        everything.main()
    assert set(RUNS) <= set(everything.ALL) <= set(COMMANDS)


def test_a_benchmark_ends_with_its_json_object(clips):
    result = last_line("ingest", f"--data={clips}", "--readers=mido,musicjax-1-uncached", "--repeats=1")
    assert result["benchmark"] == "ingest"
    assert result["files"] == 12
    assert set(result["files_per_second"]) == {"mido", "musicjax-1-uncached"}
    assert {"processor", "cores", "threads", "python"} <= set(result["machine"])


# Operations as XLA writes them into an optimised program on a CPU, and the part of a step that each belongs to.
SCAN, BACK = "jit(epoch)/while/body/jvp(MusicLSTM)/while/body/", "transpose(jvp(MusicLSTM))/while/body/"
OPERATIONS = [
    ("ynn_fusion", "f32[200,2048]{1,0}", "fusion", f"{SCAN}dot_general", step_parts.FORWARD),
    ("ynn_fusion.1", "f32[200,512]{1,0}", "fusion", f"{BACK}dot_general", step_parts.BACKWARD),
    ("ynn_fusion.2", "f32[516,2048]{1,0}", "fusion", "transpose(jvp(MusicLSTM))/dot_general", step_parts.OF_WEIGHTS),
    ("ynn_fusion.3", "f32[200,3]{1,0}", "fusion", "jvp(MusicLSTM)/dense/dot_general", step_parts.REST),
    ("add_tanh_fusion", "f32[200,2048]{1,0}", "fusion", f"{SCAN}tanh", step_parts.GATES_FORWARD),
    ("two_fusion", "(f32[200,512]{1,0}, f32[200,512]{1,0})", "fusion", f"{BACK}mul", step_parts.GATES_BACKWARD),
    ("slice_fusion.5", "u16[50,512,200]{2,1,0}", "fusion", f"{SCAN}dynamic_update_slice", step_parts.STACKS),
    ("wrapped_broadcast.6", "u16[50,200,2048]{2,1,0}", "fusion", "broadcast_in_dim", step_parts.ZEROS),
    ("wrapped_broadcast.2", "f32[200,512]{1,0}", "fusion", "Dropout_0/max", step_parts.REST),
    ("concatenate.23", "u16[200,2048]{1,0}", "concatenate", f"{BACK}concatenate", step_parts.COPIES),
    ("convert.4", "bf16[200,512]{1,0}", "convert", f"{BACK}convert_element_type", step_parts.COPIES),
    ("gather_fusion", "f32[10200,3]{1,0}", "fusion", "jit(epoch)/while/body/gather", step_parts.REST),
]


@pytest.mark.parametrize(("name", "result", "kind", "place", "part"), OPERATIONS)
def test_an_operation_belongs_to_the_part_of_the_step_that_its_place_names(name, result, kind, place, part):
    text = f"""%body {{
  %{name} = {result} {kind}(%a, %b), calls=%c, metadata={{op_name="{place}"}}
  ROOT %while.1 = (s32[], f32[3]{{0}}) while(%t), metadata={{op_name="jit(epoch)/while"}}
}}"""
    assert step_parts.parts_of(text) == {name: part}


@pytest.mark.long
@pytest.mark.parametrize("module", RUNS)
def test_a_benchmark_of_speed_ends_with_its_json_object(module):
    arguments, keys = RUNS[module]
    result = last_line(module, *arguments)
    assert result["benchmark"] == {"events": "train-demo", "sample_events": "sample-demo"}.get(module, module)
    assert keys <= set(result)
    if module == "devices":
        assert result["last_loss"]["1"] == pytest.approx(result["last_loss"]["2"], rel=1e-5)


@pytest.mark.long
def test_notes_trains_a_network_and_quality_judges_what_it_writes(clips, tmp_path):
    data, paths = tmp_path / "data", sorted(clips.iterdir())
    for split, some in {"train": paths[:8], "valid": paths[8:10], "test": paths[10:]}.items():
        (data / split).mkdir(parents=True)
        for path in some:
            shutil.copy(path, data / split)
    figures = last_line("notes", f"--data={data}", f"--runs={tmp_path / 'runs'}", "--epochs=1", "--units=8")
    assert {"uniform", "chosen contexts", "lstm", *(f"{order}-gram" for order in notes.ORDERS)} <= set(figures)
    assert figures["best_ngram"] != "1-gram"
    (workdir,) = (tmp_path / "runs").rglob("run")
    judged = last_line("quality", f"--workdir={workdir}", "--pieces=2", "--notes=20")
    assert {"test pieces", "events", "trigram", "seconds_of_generating"} <= set(judged)


@pytest.mark.long
def test_new_bars_are_compared_with_real_ones(trained_events, clips):
    small = ("--infills=2", "--bars=1", "--most=8")
    judged = last_line("infill", f"--workdir={trained_events}", f"--data={clips}", *small)
    assert {"real", "other", "1 drawn", "8 drawn"} <= set(judged["overlap"])


@pytest.mark.long
def test_the_commands_of_readme_are_judged_on_a_folder(clips, tmp_path):
    small = ("--pieces=6", "--unseen=4", "--minutes=1", "--outputs=2")
    judged = last_line("own_folder", f"--data={clips}", f"--runs={tmp_path / 'runs'}", *small)
    assert judged["unseen"] == 4 and {"ours", "real", "overlap", "chosen"} <= set(judged)


@pytest.mark.parametrize("machine", sorted(path.name for path in contestants.RESULTS.iterdir()))
def test_the_kept_results_of_each_machine_have_their_tables(machine, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tables", f"--machine={machine}"])
    tables.main()
    printed, made, kept = capsys.readouterr().out, tables.tables(machine), tables.load(machine)
    assert all(table in printed for table in made.values())
    if "gemm_shares" in kept.get("train", {}):
        own = {name.replace("-", "_") for name in set(kept) - WITHOUT_TABLE if not name.startswith("own_folder_")}
        assert own <= set(made)


def test_a_result_of_the_reliability_tests_has_the_same_table_under_its_older_names():
    one = {"name": "Bad bytes", "n": 90, "failures": 0}
    older, present = {"trials": [{"trial": 1, **one}]}, {"tests": [{"test": 1, **one}]}
    assert tables.reliability(older) == tables.reliability(present)
    assert "| 1. Bad bytes | 90 | 0 | < 3.33% |" in tables.reliability(present)


def result_of(rates: dict[str, Any], processor: str, **more: Any) -> dict[str, Any]:
    peers = {"a": {"versions": {"jax": "0.10.2"}}, "b": {"absent": "no module"}}
    one = {"benchmark": "train", "settings": {"units": 8}, "machine": {"processor": processor, "cores": 2}}
    return {**one, "peers": peers, "windows_per_second": rates, "vs_best_torch": None, **more}


def test_two_results_are_compared_contestant_by_contestant():
    rates = {"a": {"median": 100.0, "low": 90.0, "high": 110.0}, "b": {"median": 50.0, "low": 40.0, "high": 60.0}}
    one = result_of(rates, "slow", vs_flax=2.0)
    # Older results have the medians alone, and no version of musicjax.
    other = result_of({"a": 250.0}, "fast", vs_flax=3.0)
    lines = [line.split() for line in compare.side_by_side(one, other)]
    assert lines[0] == ["processor:", "slow", "|", "fast"] and lines[1][:3] == ["train", "one", "other"]
    assert lines[2:] == [
        ["a,", "windows", "per", "second", "100.00", "(90.00", "to", "110.00)", "250.00", "2.50"],
        ["vs_flax", "2.00", "3.00", "1.50"],
        ["in", "only", "one", "of", "them:", "b,", "windows", "per", "second"],
    ]
    with pytest.raises(SystemExit, match="expected the same in both results"):
        compare.side_by_side(one, {**other, "settings": {"units": 512}})


def test_the_metrics_of_runs_are_no_results_and_told_where_they_are_compared(trained_notes, monkeypatch, capsys):
    lines = str(trained_notes / "metrics.jsonl")
    monkeypatch.setattr(sys, "argv", ["compare", lines, lines])
    with pytest.raises(SystemExit):
        compare.main()
    told = capsys.readouterr().err
    assert f"{lines}: contains the lines of a run" in told and "docs/python.md, Two runs," in told
    assert "\n### Two runs\n" in (Path(__file__).parents[1] / "docs" / "python.md").read_text()


@pytest.mark.parametrize(("high", "marked"), [(111.0, True), (105.0, False)])
def test_a_difference_within_the_quartiles_is_marked(high, marked):
    """The medians are 10 apart, and the quartiles of the second 9 and 5 or 11."""
    one = result_of({"a": {"median": 90.0, "low": 88.0, "high": 92.0}}, "slow")
    other = result_of({"a": {"median": 100.0, "low": 100.0, "high": high}}, "slow")
    row, *rest = compare.side_by_side(one, other)[1:]
    assert row.endswith(
        "90.00 (88.00 to 92.00)  100.00 (100.00 to " + f"{high:.2f})" + " " * (9 - 2 * marked) + "1.11" + " ~" * marked
    )
    assert rest == ["~: one result's quartiles are further apart than the two medians"] * marked


@pytest.mark.parametrize(
    ("mine", "theirs", "warned"),
    [
        ({"version": "0.2.0", "commit": "a"}, {"version": "0.2.0", "commit": "a"}, False),
        ({"version": "0.2.0", "commit": "a"}, {"version": "0.2.0", "commit": "b"}, True),
        ({"version": "0.2.0", "commit": "a"}, None, True),
        (None, None, False),
    ],
)
def test_results_of_another_musicjax_are_compared_with_a_warning(mine, theirs, warned):
    one, other = (result_of({"a": 1.0}, "slow", **({"musicjax": said} if said else {})) for said in (mine, theirs))
    lines = compare.side_by_side(one, other)
    assert any(line.startswith("warning: not the same musicjax") for line in lines) == warned
    assert any(line.startswith("musicjax commit: a | ") for line in lines) == warned


def test_every_result_has_the_version_and_the_commit_that_gave_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(contestants, "RESULTS", tmp_path)
    found = contestants.program()
    assert found["version"] == __version__ and re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", found["commit"])
    contestants.finish("tried", {"value": 1.0}, save=True)
    contestants.keep("kept", {"benchmark": "kept", "machine": contestants.machine()})
    for text in (capsys.readouterr().out, *(path.read_text() for path in tmp_path.rglob("*.json"))):
        assert json.loads(text)["musicjax"] == found
    monkeypatch.setattr(contestants.shutil, "which", lambda name: None)
    assert contestants.program() == {"version": __version__, "commit": "unknown"}


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--batch=0", "'0': expected a whole number above 0"),
        ("--batch=-3", "'-3': expected a whole number above 0"),
        ("--units=abc", "'abc': expected a whole number above 0"),
        ("--windows=1.5", "'1.5': expected a whole number above 0"),
        ("--peers=musicjax-float32,nobody", "--peers=nobody: expected some of musicjax-float32"),
        ("--batch=4001", "--batch=4001: expected at most --windows=2000"),
        ("--units", "expected one argument"),
        ("--what=1", "unrecognized arguments: --what=1"),
        ("--unit=512", "unrecognized arguments: --unit=512"),
    ],
)
def test_a_wrong_size_is_refused_in_one_line(flag, told, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train", flag])
    with pytest.raises(SystemExit) as ended:
        train.main()
    line = capsys.readouterr().err or f"{ended.value.code}\n"
    assert told in line and line.count("\n") == 1


def test_zero_is_allowed_where_it_is_the_default(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["any", "--seed=0", "--seconds=0.5"])
    asked = contestants.arguments(None, seed=0, seconds=30.0, repeats=5)
    assert (asked.seed, asked.seconds, asked.repeats) == (0, 0.5, 5)


def test_results_of_another_machine_of_the_same_kind_stay(tmp_path, monkeypatch):
    def measured_on(processor: str, cores: int, result: int) -> None:
        monkeypatch.setattr(contestants, "machine", lambda: {"processor": processor, "cores": cores})
        contestants.keep("train", {"is": result, "machine": contestants.machine()})

    monkeypatch.setattr(contestants, "RESULTS", tmp_path)
    monkeypatch.setattr(contestants, "kind", lambda: "amd-epyc")
    for result, (processor, cores) in enumerate([("a", 2), ("b", 2), ("a", 4), ("b", 2)]):
        measured_on(processor, cores, result)
    kept = {path.parent.name: json.loads(path.read_text())["is"] for path in tmp_path.rglob("train.json")}
    assert kept == {"amd-epyc": 0, "amd-epyc-2": 3, "amd-epyc-3": 2}


def test_every_turn_of_a_contestant_is_told_with_the_time_that_is_left(monkeypatch, capsys):
    clock = iter([0.0, 10.0, 20.0, 30.0, 40.0])
    process = types.SimpleNamespace(kill=lambda: None, communicate=lambda: None)
    monkeypatch.setattr(contestants, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(contestants, "start", lambda *_, **__: process)
    monkeypatch.setattr(contestants, "ask", lambda process, request="": {"seconds": 1.0})
    answers, said = contestants.measure("peers", ["a", "b"], {"a": "train", "b": "train"}, 1, Path("problem"))
    assert {name: len(given) for name, given in answers.items()} == {"a": 1, "b": 1} and "first" in said["a"]
    assert capsys.readouterr().err.splitlines()[2:] == [
        "1 of 4  a, first pass; 0:30 left",
        "2 of 4  b, first pass; 0:20 left",
        "3 of 4  a, repeat 1 of 1; 0:10 left",
        "4 of 4  b, repeat 1 of 1; 0:00 left",
    ]


def test_a_contestant_that_computes_something_else_is_refused():
    contestants.require_same({"a": {"check": [1.0, 2.0]}, "b": {"check": [1.0, 2.0001]}, "roof": {}})
    with pytest.raises(RuntimeError, match="not the same problem"):
        contestants.require_same({"a": {"check": [1.0, 2.0]}, "b": {"check": [1.0, 2.001]}})
    contestants.require_same({"a": {"check": [1.0, 2.0]}, "b-bfloat16": {"check": [1.0, 2.001]}})
    with pytest.raises(RuntimeError, match="not the same problem"):
        contestants.require_same({"a": {"check": [1.0, 2.0]}, "b-bfloat16": {"check": [float("nan"), 2.0]}})


def test_files_are_split_in_the_order_of_their_names(clips, tmp_path):
    folder = notes.split_folder(str(clips), tmp_path / "data")
    found = {split: sorted(path.name for path in (folder / split).iterdir()) for split in notes.SPLITS}
    assert [len(found[split]) for split in notes.SPLITS] == [10, 1, 1]
    assert found["train"] + found["valid"] + found["test"] == sorted(path.name for path in clips.iterdir())


@pytest.mark.long
def test_the_built_in_corpus_is_composed_and_split(tmp_path):
    folder = notes.split_folder("builtin", tmp_path / "data")
    assert [len(list((folder / split).iterdir())) for split in notes.SPLITS] == [108, 9, 9]


def test_a_folder_that_is_split_already_stays_as_it_is(clips, tmp_path):
    folder = notes.split_folder(str(clips), tmp_path / "data")
    assert notes.split_folder(str(folder), tmp_path / "again") == folder
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("layers", [1, 3])
def test_the_arithmetic_of_a_window_is_what_xla_counts_of_products_and_little_more(layers):
    """The products of the larger are counted, gates and softmax are not."""
    config = config_files.load("demo")
    config.model.precision, config.model.layers = "float32", layers
    net = encoding.of(config).network()
    assert 1 < sizes.counted(net) / sizes.products(net, 1) < 1.04
    assert sizes.products(net, 64) == 64 * sizes.products(net, 1)


def test_the_network_is_compared_with_the_best_ngram():
    nats = {"1-gram": 9.0, "2-gram": 8.0, "3-gram": 8.5, "4-gram": 9.0, "5-gram": 9.0, "6-gram": 9.0}
    found = {name: {"nats_per_note": value} for name, value in {**nats, "chosen contexts": 5.0, "lstm": 4.0}.items()}
    assert notes.below(found) == {"best_ngram": "2-gram", "below_best_ngram": 0.5, "below_chosen_contexts": 0.2}


def test_the_claims_of_quality_hold_for_good_pieces_and_fail_for_bad_ones():
    real = {"median_copy_notes": 9.0, "whole_most_repeated_8gram": 21.0, "repeats": 0.16}
    mine = {"highest_most_frequent_pitch": 0.2, "highest_most_repeated_8gram": 11.0, "mean_overlap_area": 0.8}
    found = {"events": {**mine, "repeats": 0.12, "median_copy_notes": 12.0}, "test pieces": real}
    found["trigram"] = {"mean_overlap_area": 0.5}
    found["seconds_of_generating"] = 9.0
    assert all(holds for holds, _ in quality.claims(found).values())
    worse = {"highest_most_frequent_pitch": 0.31, "highest_most_repeated_8gram": 22.0, "mean_overlap_area": 0.49}
    found |= {"events": {**worse, "repeats": 0.1, "median_copy_notes": 13.0}, "seconds_of_generating": 60.0}
    assert not any(holds for holds, _ in quality.claims(found).values())


def test_an_own_folder_is_compared_with_pieces_that_nothing_has_seen(clips):
    training, unseen = own_folder.drawn(str(clips), pieces=6, unseen=4, seed=0)
    assert (len(training), len(unseen)) == (6, 4)
    with pytest.raises(UsageError, match="has 12 pieces; expected at least 13"):
        own_folder.drawn(str(clips), pieces=11, unseen=4, seed=0)
    same = own_folder.compared(unseen, unseen, training)
    assert same["overlap"] > 0.8 and same["ours"] == same["real"]
    assert all(same["claims"][name] for name in same["claims"] if "end on" not in name)
    copied = own_folder.compared(training, unseen, training)
    assert copied["ours"]["longest_copy"] > same["ours"]["longest_copy"]
    assert not copied["claims"]["no longer copy than an unseen piece's"]


def test_the_page_to_listen_to_holds_the_first_pieces_of_each_side(clips, tmp_path):
    for place in ("music", *listening.SIDES.values()):
        shutil.copytree(clips, tmp_path / "tunes" / place)
    html = listening.before_and_after([tmp_path / "tunes"], shown=2)
    assert html.count('class="play"') == 2 * len(listening.SIDES) and "12 pieces of each folder" in html
    shutil.rmtree(tmp_path / "tunes" / "before")
    with pytest.raises(SystemExit, match="before contains no MIDI file"):
        listening.before_and_after([tmp_path / "tunes"], shown=2)


def test_the_script_for_a_gpu_goes_on_where_it_stopped_and_says_how_each_step_ended(tmp_path):
    """With a stand-in for Python that ends well, but not at the benchmark `sample`."""
    stand_in = tmp_path / "bin" / "python"
    stand_in.parent.mkdir()
    stand_in.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\necho last line\n'
        'case "$*" in *benchmarks.sample*) exit 3;; *likelihood*) echo 1 of 2 epochs fit into the budget >&2;; esac\n'
    )
    stand_in.chmod(0o755)
    command = ["bash", str(REPOSITORY / "benchmarks" / "gpu.sh"), str(tmp_path / "out"), str(tmp_path)]
    environment = {**os.environ, "PATH": f"{stand_in.parent}:{os.environ['PATH']}"}
    for again in (False, True):
        (tmp_path / "calls").write_text("")
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        calls = (tmp_path / "calls").read_text()
        assert done.returncode == 1 and ("benchmarks.train" in calls) is not again
        assert "benchmarks.sample" in calls and f"--data={tmp_path} " in calls
        ends = {line.split()[0]: line for line in done.stdout.splitlines()[-9:]}
        assert "exit status 3 after" in ends["sample"]
        assert re.fullmatch(r"train +\d+ s +last line", ends["train"])
        assert "exit status 1 after" in ends["resume"]  # the stand-in writes no metrics
        assert "to be continued" in ends["likelihood"]


def test_programs_for_tpus_are_a_table_and_what_does_not_compile_says_why(monkeypatch, capsys):
    """With stand-ins for the slices and for what XLA says."""
    program = types.SimpleNamespace(
        memory_analysis=lambda: types.SimpleNamespace(
            argument_size_in_bytes=2**23,
            temp_size_in_bytes=2**22,
            output_size_in_bytes=2**23,
            alias_size_in_bytes=2**23,
        ),
        cost_analysis=lambda: {"flops": 2e9, "bytes accessed": 2.0**30},
        as_text=lambda: "%1 = (f32[2]{0}, f32[]) all-reduce(%0, %2)\n%3 = f32[4] all-gather-start(%0)\n%4 = all(%3)",
    )

    def lowered(name, chips):
        if name == "trials":
            raise ValueError("no such operation\nat length")
        return types.SimpleNamespace(compile=lambda: program)

    monkeypatch.setattr(tpu, "devices", lambda chips: None)
    monkeypatch.setattr(tpu, "lowered", lowered)
    monkeypatch.setattr(sys, "argv", ["tpu", "--chips=v6e:4", "--programs=paper,trials"])
    with pytest.raises(SystemExit, match="1"):
        tpu.main()
    printed = capsys.readouterr().out.splitlines()
    assert "12.0 MB      0.04%   1 all-reduce, 1 all-gather" in printed[1]
    assert printed[2].endswith("does not compile: no such operation")
    shown = tables.tpu(json.loads(printed[-1]))
    assert "12.0, 1 all-reduce, 1 all-gather" in shown and "| MB of each chip, and collectives | v6e x 4 |" in shown

    def unreadable() -> str:
        raise jax.errors.JaxRuntimeError("an instruction that this version does not know")

    program.as_text = unreadable
    monkeypatch.setattr(sys, "argv", ["tpu", "--chips=v6e:4", "--programs=paper"])
    tpu.main()
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].endswith("   unknown") and "12.0, unknown" in tables.tpu(json.loads(printed[-1]))
    monkeypatch.setattr(sys, "argv", ["tpu", "--chips=v4:4"])
    with pytest.raises(SystemExit, match="v4:4: expected some of v5e:1"):
        tpu.main()


@pytest.mark.long
def test_without_libtpu_one_line_says_what_to_install():
    if importlib.util.find_spec("libtpu"):
        pytest.skip("libtpu is installed")
    with pytest.raises(SystemExit, match="pip install libtpu"):
        tpu.devices("v5e:4")
