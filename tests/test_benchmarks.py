"""The benchmarks run, at sizes of no meaning, and end with the JSON object they promise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import alternate

SMALL = ["--repeats=1", "--units=8", "--window=5"]
TRAIN = ["--batch=8", "--windows=16"]
# module: (its arguments, what its last line must hold)
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
    "trials": ([*SMALL, *TRAIN, "--groups=1,2", "--trials=2"], {"units_8"}),
    "devices": ([*SMALL, *TRAIN, "--counts=1,2"], {"vs_one_device", "last_loss", "simulated"}),
    "scaling": (["--repeats=1", "--units=8", "--batches=4", "--windows=5"], {"gemm_share", "rows"}),
}


@pytest.mark.parametrize("module", RUNS)
def test_a_benchmark_ends_with_its_json_object(module):
    arguments, keys = RUNS[module]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments],
        cwd=Path(__file__).parents[1],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["benchmark"] == module
    assert keys <= set(result)
    assert {"processor", "cores", "threads", "python"} <= set(result["machine"])
    if module == "devices":
        assert result["last_loss"]["1"] == pytest.approx(result["last_loss"]["2"], rel=1e-5)


def test_a_contestant_that_computes_something_else_is_refused():
    alternate.require_same({"a": {"check": [1.0, 2.0]}, "b": {"check": [1.0, 2.0001]}, "roof": {}})
    with pytest.raises(RuntimeError, match="not the same problem"):
        alternate.require_same({"a": {"check": [1.0, 2.0]}, "b": {"check": [1.0, 2.001]}})
    alternate.require_same({"a": {"check": [1.0, 2.0]}, "b-bfloat16": {"check": [1.0, 2.001]}})
    with pytest.raises(RuntimeError, match="not the same problem"):
        alternate.require_same({"a": {"check": [1.0, 2.0]}, "b-bfloat16": {"check": [float("nan"), 2.0]}})


def test_notes_are_split_by_name_and_whole_songs_stay_together(tmp_path):
    from benchmarks import notes

    folder = notes.split_folder("builtin", tmp_path / "data")
    found = {split: sorted(path.name for path in (folder / split).iterdir()) for split in notes.SPLITS}
    names = sorted(name for split in found.values() for name in split)
    assert [len(found[split]) for split in notes.SPLITS] == [108, 9, 9]
    assert names == found["train"] + found["valid"] + found["test"]
    assert notes.split_folder(str(folder), tmp_path / "again") == folder


def test_the_network_is_held_against_the_best_ngram():
    from benchmarks import notes

    nats = {"1-gram": 9.0, "2-gram": 8.0, "3-gram": 8.5, "4-gram": 9.0, "5-gram": 9.0, "6-gram": 9.0}
    found = {name: {"nats_per_note": value} for name, value in {**nats, "chosen contexts": 5.0, "lstm": 4.0}.items()}
    assert notes.below(found) == {"best_ngram": "2-gram", "below_best_ngram": 0.5, "below_chosen_contexts": 0.2}


def test_the_claims_of_quality_fail_where_they_should():
    from benchmarks import quality

    real = {"median_copy_notes": 9.0, "whole_most_repeated_8gram": 21.0}
    mine = {"highest_most_frequent_pitch": 0.2, "highest_most_repeated_8gram": 11.0, "mean_overlap_area": 0.8}
    found = {"events": {**mine, "median_copy_notes": 12.0}, "test pieces": real, "trigram": {"mean_overlap_area": 0.5}}
    found["seconds_of_generating"] = 9.0
    assert all(is_so for is_so, _ in quality.claims(found).values())
    worse = {"highest_most_frequent_pitch": 0.31, "highest_most_repeated_8gram": 22.0, "mean_overlap_area": 0.49}
    found |= {"events": {**worse, "median_copy_notes": 13.0}, "seconds_of_generating": 60.0}
    assert not any(is_so for is_so, _ in quality.claims(found).values())
