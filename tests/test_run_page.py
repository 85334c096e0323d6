"""A workdir's page, from what lies in it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from musicjax import config as config_lib
from musicjax.errors import RunError
from musicjax.music import midi
from musicjax.music.notes import from_beats
from musicjax.report import run_page


@pytest.fixture
def workdir(tmp_path):
    lines = [
        {
            "split": split,
            "epoch": epoch,
            "step": epoch,
            "loss": 9.0 / epoch,
            "seconds": 30.0,
            "nats_per_note": 9.0 / epoch,
        }
        for epoch in (1, 2)
        for split in ("train", "valid")
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "config.json").write_text(json.dumps(config_lib.to_dict(config_lib.load("demo"))))
    outcomes = [
        {"path": "a.mid", "status": "kept", "code": "", "notes": 7},
        {"path": "b.mid", "status": "skipped", "code": "no notes", "notes": 0},
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(one) + "\n" for one in outcomes))
    (tmp_path / "samples").mkdir()
    notes = from_beats(np.array([60, 64, 67]), np.array([80, 80, 80]), np.array([0.0, 1, 2]), np.ones(3))
    midi.write(notes, tmp_path / "samples" / "seed0-000.mid")
    return tmp_path


def test_the_page_tells_what_the_workdir_holds(workdir):
    path, left_out = run_page.write(workdir)
    page = path.read_text()
    assert path.name == "report.html" and left_out == []
    for told in (
        "demo: builtin",
        "2 epochs, 1.0 minutes",
        "4.5 at epoch 2",
        "1 kept, 0 recovered, 1 skipped",
        "no notes",
    ):
        assert told in page, told
    assert "samples/seed0-000.mid" in page and "samples/seed0-000.wav" not in page


def test_metrics_and_copies_stand_beside_the_samples(workdir):
    copy = {"length": 12, "piece": "c.mid", "at": 3, "own": 0}
    found = {
        "samples": {"seed0-000": {"polyphony": 2.25, "copy": copy}},
        "generated": {"polyphony": 2.25},
        "real": {"polyphony": 3.5},
        "overlap_area": {"polyphony": 0.75},
    }
    (workdir / "samples" / "metrics.json").write_text(json.dumps(found))
    (workdir / "samples" / "seed0-000.wav").write_bytes(b"RIFF")
    page = run_page.write(workdir)[0].read_text()
    for told in ("12 notes, as in c.mid", "samples/seed0-000.wav", "3.5", "0.75"):
        assert told in page, told


@pytest.mark.parametrize("name", ["samples/seed0-000.mid", "samples/metrics.json", "config.json"])
def test_what_is_damaged_is_left_out_and_told(workdir, name):
    (workdir / name).write_bytes(b"[1, 2")
    _, left_out = run_page.write(workdir)
    assert len(left_out) == 1 and name.split("/")[-1] in left_out[0]


def test_many_samples_are_not_all_shown(workdir, monkeypatch):
    monkeypatch.setattr(run_page, "MOST_SAMPLES", 2)
    for number in range(4):
        (workdir / "samples" / f"seed1-00{number}.mid").write_bytes(
            (workdir / "samples" / "seed0-000.mid").read_bytes()
        )
    path, left_out = run_page.write(workdir)
    assert left_out == ["3 of 5 samples: the page shows 2"]
    assert path.read_text().count("samples/seed") == 2


def test_a_workdir_without_metrics_is_refused(tmp_path):
    with pytest.raises(RunError, match="metrics"):
        run_page.write(tmp_path)
