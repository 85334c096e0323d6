"""The interface is typed for those who use it: mypy --strict passes a program that does, and finds what is wrong."""

from __future__ import annotations

import re
import subprocess
import sys
import types as types_lib
import typing
from pathlib import Path

import pytest

import musicjax
from musicjax.run import evaluate, summary
from tests import tiny_runs

LSTM_PAGE = Path(__file__).parents[1] / "docs" / "lstm.md"
RIGHT = """
import flax.linen as nn
import musicjax

config = musicjax.load_config("demo")


def on_epoch(finished: musicjax.FinishedEpoch) -> bool:
    return finished.valid["loss"] < 1 and len(finished.model().params) > 0


summary = musicjax.train(config, "run", on_epoch=on_epoch)
musicjax.train(config, "run", on_epoch=lambda finished: print(finished.epoch))
best: float = summary["best_validation_loss"] + musicjax.evaluate("run")["loss"]
model: musicjax.Model = musicjax.load("run")
pieces: list[musicjax.Notes] = musicjax.generate(model, num_outputs=2, sampling=musicjax.SamplingParams(key="D"))
left_out: int = musicjax.write_midi(pieces[0], "a.mid", bpm=100.0)
piece: musicjax.Notes = musicjax.read("a.mid", percussion=False)
written: int = piece.write("b.mid", program=4)
made = musicjax.Notes(
    pitch=[60, 62], velocity=(90, 90), onset=[0, 0.5], duration=[0.5, 0.5], onset_beats=[0, 1], duration_beats=[1, 1],
    meters=[(0, 3, 4)], tempos=[[0, 120.0]], keys=[],
)
highest: int = int(made.pitch.max()) + len(made.meters)
piece.play()
musicjax.show(pieces)
layer = musicjax.LSTM(nn.OptimizedLSTMCell(8), precision="bfloat16")
total = float(model.log_prob(pieces[0])["pitch"].sum()) + float(model.hidden_states(pieces[0]).sum())
"""
WRONG = (
    RIGHT
    + """
summary["best_validation_los"]
musicjax.evaluate("run")["los"]
musicjax.train(config, "run", on_epoch=lambda finished: finished.loss)
musicjax.generate(model, num_outputs="two")
musicjax.load(3).log_prob("a.mid")
musicjax.show("a.mid")
piece.write("b.mid", programs=[4])
musicjax.Notes([60], [90], [0.0], [1.0], [0.0], [1.0], meter=[(0, 3, 4)])
"""
)


def _mypy(text: str, folder: Path) -> str:
    (folder / "program.py").write_text(text)
    command = [sys.executable, "-m", "mypy", "--strict", f"--cache-dir={folder / 'cache'}", "program.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout


@pytest.mark.long
def test_a_strict_type_checker_knows_the_interface(tmp_path):
    pytest.importorskip("mypy")
    assert "Success: no issues found" in _mypy(RIGHT, tmp_path)
    (example,) = re.findall(r"^```python\n(.*?)^```", LSTM_PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert "Success: no issues found" in _mypy(example, tmp_path)
    found = _mypy(WRONG, tmp_path)
    assert "Found 9 errors" in found and found.count("program.py:") >= 3, found


@pytest.mark.parametrize(
    ("encoding", "trials"),
    [
        ("notes", 2),
        pytest.param("notes", 1, marks=pytest.mark.long),
        *(pytest.param(name, trials, marks=pytest.mark.long) for name in ("frames", "events") for trials in (1, 2)),
    ],
)
def test_what_training_and_scoring_return_has_the_types_that_are_declared(clips, tmp_path, encoding, trials):
    config = tiny_runs.config_of(clips, encoding, **{"train.trials": trials, "train.epochs": 1})
    _assert_declared(musicjax.train(config, tmp_path), summary.Summary)
    _assert_declared(musicjax.evaluate(tmp_path), evaluate.Scores)
    _assert_declared(musicjax.evaluate(tmp_path, clips), evaluate.Scores)


def _assert_declared(found, declared):
    types = typing.get_type_hints(declared)
    for name, value in found.items():
        assert name in types, name
        expected = typing.get_args(types[name]) if isinstance(types[name], types_lib.UnionType) else (types[name],)
        assert type(value) in [typing.get_origin(each) or each for each in expected], name
