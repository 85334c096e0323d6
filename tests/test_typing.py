"""The interface is typed for those who use it: mypy --strict passes a program that does, and finds what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RIGHT = """
import flax.linen as nn
import musicjax

config = musicjax.load_config("demo")
summary = musicjax.train(config, "run")
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
    found = _mypy(WRONG, tmp_path)
    assert "Found 6 errors" in found and found.count("program.py:") >= 3, found
