"""The pretrained model is small, has a card, and makes the same music from the same seed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import musicjax
from musicjax import main
from musicjax.encodings import sampling_params
from musicjax.encodings.sampling_params import SamplingParams
from musicjax.errors import RunError
from musicjax.generation import generate
from musicjax.model import network
from musicjax.music import keys, midi, note_bins
from musicjax.run import device
from musicjax.store import pretrained

# Of the first piece of seed 0 at temperature 0: pitches and onsets in sixteenths.
PITCHES = [57, 60, 64, 45, 81, 81, 57, 60, 64, 45, 57, 60, 64, 45, 81, 81, 57, 60, 64, 45, 57, 62, 65, 50]
STEPS = [0, 0, 0, 0, 0, 2, 4, 4, 4, 6, 8, 8, 8, 8, 8, 10, 12, 12, 12, 14, 16, 16, 16, 16]
PROGRAMS = [0, 0, 0, 32, 73, 73, 0, 0, 0, 32]


def test_it_is_small_and_has_a_card():
    files = list(pretrained.FOLDER.iterdir())
    assert sum(path.stat().st_size for path in files) <= 4_000_000
    card = (pretrained.FOLDER / "README.md").read_text()
    metadata = json.loads((pretrained.FOLDER / pretrained.METADATA).read_text())
    assert f"{metadata['best_loss']:.2f} nats" in card and f"seed {metadata['config']['seed']}" in card
    parameters = network.count(pretrained.load().params)
    assert f"{parameters:,}\nparameters" in card and parameters <= 530_000
    bins = note_bins.from_saved(metadata["learned"]["bins"])
    uniform = sum(np.log(bins.used[column] + (column == note_bins.INTERVAL)) for column in bins.predicted)
    assert f"would give {uniform:.1f}" in card, "the edge is an interval too"
    # The flags in the card are those of its config.
    for name, value in re.findall(r"--config\.(\S+)=(\S+)", card):
        section, field = name.split(".")
        own = metadata["config"][section][field]
        assert str(own) == value if isinstance(own, str) else own == float(value), name


def test_its_sample_comes_again_from_its_seed():
    model = pretrained.load()
    sampling = SamplingParams(temperature=0.0)
    (notes,) = generate.generate(model, num_outputs=1, num_notes=len(PITCHES), exact=True, sampling=sampling)
    assert notes.pitch.tolist() == PITCHES and notes.program[: len(PROGRAMS)].tolist() == PROGRAMS
    assert np.rint(notes.onset_beats * 4).astype(int).tolist() == STEPS


def test_without_a_workdir_it_makes_music_in_the_key_that_is_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ["--num_outputs=2", "--bars=8", "--key=D", "--seed=3", "--audio=wav"]
    assert main.main(["generate", *flags]) == 0
    out, err = capsys.readouterr()
    assert out.split() == ["generated/seed3-000.mid", "generated/seed3-001.mid"]
    assert "no --workdir: uses the small model that comes with musicjax" in err and "renamed" not in err
    for path in map(Path, out.split()):
        notes = midi.read(path)
        (key,) = keys.of(notes)
        assert keys.text_of(*key[1:]) == "D major"
        assert len(set(notes.duration_beats.tolist())) > 1 and len(set(notes.program.tolist())) > 1
        assert path.with_suffix(".wav").stat().st_size > 44_100


def test_without_a_workdir_the_fields_are_obeyed_that_need_none(tmp_path, monkeypatch, capsys):
    caches: list[str] = []
    monkeypatch.setattr(device, "keep_programs", lambda data: caches.append(data.cache))
    monkeypatch.chdir(tmp_path)
    flags = ["--num_outputs=1", "--num_notes=8", "--exact", "--audio=none", "--config.data.cache=off"]
    for folder, temperature in (("cold", "0.0"), ("cold again", "0.0"), ("hot", "5.0")):
        said = [f"--output_dir={folder}", f"--config.sample.temperature={temperature}"]
        assert main.main(["generate", *flags, *said]) == 0
    assert caches == ["off"] * 3
    cold, again, hot = (Path(folder, "seed0-000.mid").read_bytes() for folder in ("cold", "cold again", "hot"))
    assert cold == again != hot
    assert main.main(["generate", *flags, "--config.train.epochs=3"]) == 2
    assert "--workdir is missing" in capsys.readouterr().err


@pytest.mark.parametrize("name", [pretrained.ARRAYS, pretrained.METADATA])
def test_damaged_or_missing_files_are_an_error(tmp_path, name):
    folder = shutil.copytree(pretrained.FOLDER, tmp_path / "model")
    whole = (folder / name).read_bytes()
    for damaged in (b"{}", whole[: len(whole) // 2], whole[:1000] + bytes([whole[1000] ^ 255]) + whole[1001:]):
        (folder / name).write_bytes(damaged)
        with pytest.raises(RunError, match="install musicjax again"):
            pretrained.load(folder)
    (folder / name).unlink()
    with pytest.raises(RunError, match="install musicjax again"):
        pretrained.load(folder)


def test_what_is_left_out_in_python_is_as_the_config_has_it(tmp_path):
    """As on the command line: so the temperature and filters that a run chose are not lost."""
    model = musicjax.load("builtin")
    own = sampling_params.of_config(model.config.sample)
    assert own != musicjax.SamplingParams()
    (left_out,) = musicjax.generate(model, num_outputs=1, bars=4, seed=7)
    (given,) = musicjax.generate(model, num_outputs=1, bars=4, seed=7, sampling=own)
    assert main.main(["generate", "--num_outputs=1", "--bars=4", "--seed=7", f"--output_dir={tmp_path}"]) == 0
    written = musicjax.read(tmp_path / "seed7-000.mid")
    assert left_out.pitch.tolist() == given.pitch.tolist() == written.pitch.tolist()
    (other,) = musicjax.generate(model, num_outputs=1, bars=4, seed=7, temperature=1.4)
    assert other.pitch.tolist() != given.pitch.tolist()
