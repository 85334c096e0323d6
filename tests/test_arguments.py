"""The Python interface: an argument of another type is told in one line that names it, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_events

import musicjax
from musicjax import SamplingParams
from musicjax.errors import RunError, UsageError
from musicjax.music.notes import Notes, from_seconds
from musicjax.store.model import Model

ONE: Any = musicjax


@pytest.fixture(scope="module")
def model() -> Model:
    """A note-event model, untrained."""
    return tiny_events.model()


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


# Of generate: the arguments, and the words of the line.
GENERATE: list[tuple[dict[str, Any], str]] = [
    ({"num_outputs": "1"}, r"num_outputs='1': expected a whole number in 0\.\.10000"),
    ({"num_outputs": 1.5}, r"num_outputs=1\.5: expected a whole number"),
    ({"num_outputs": True}, r"num_outputs=True: expected a whole number"),
    ({"seed": None}, r"seed=None: expected a whole number in 0\.\.2147483647"),
    ({"seed": 1.5}, r"seed=1\.5: expected a whole number"),
    ({"num_notes": 3.5}, r"num_notes=3\.5: expected a whole number"),
    ({"num_notes": 0, "seconds": "x"}, r"seconds='x': expected a number"),
    ({"num_notes": 0, "bars": None}, r"bars=None: expected a number"),
    ({"bpm": "1"}, r"bpm='1': expected a number in 10\.0\.\.1000\.0"),
    ({"temperature": "1"}, r"temperature='1': expected a number in 0\.0\.\.100\.0"),
    ({"decode": 5}, r"decode=5: expected one of auto"),
    ({"sampling": "hot"}, r"sampling='hot': expected SamplingParams"),
    ({"sampling": 5}, r"sampling=5: expected SamplingParams"),
    ({"sampling": [None]}, r"sampling=\[None\]: expected SamplingParams"),
    ({"sampling": {"top_p": 0.5}}, r"sampling=\{'top_p': 0\.5\}: expected SamplingParams"),
    ({"sampling": SamplingParams(key=ONE)}, r"key=<module.*: expected a text such as"),
    ({"sampling": SamplingParams(scale=[ONE])}, r"scale=.*: expected a text such as"),
    ({"sampling": SamplingParams(top_k=1.5)}, r"top_k=1\.5: expected a whole number"),  # type: ignore[arg-type]
    ({"sampling": SamplingParams(temperature=None)}, r"temperature=None: expected a number"),  # type: ignore[arg-type]
    ({"sampling": SamplingParams(pitch_range=60)}, r"pitch_range=60: expected the lowest"),  # type: ignore[arg-type]
    ({"sampling": SamplingParams(pitch_range=(1, "2"))}, r"pitch_range='2': expected two"),  # type: ignore[arg-type]
    ({"numbers": [-1]}, r"numbers=-1: expected 0\.\.9999"),
    ({"numbers": [10**12]}, r"numbers=1000000000000: expected 0\.\.9999"),
    ({"numbers": ["0"]}, r"numbers='0': expected a whole number"),
    ({"numbers": 5}, r"numbers=5: expected the number of each piece"),
    ({"numbers": [0, 1]}, r"2 numbers for num_outputs=1"),
    ({"primer": 5}, r"primer=5: expected Notes, the path of a MIDI file or score, or a melody"),
    ({"primer": ""}, r"primer='': expected Notes"),
    ({"primer": "a\0b"}, r"primer='a\\x00b': expected Notes"),
]


@pytest.mark.parametrize(("given", "words"), GENERATE, ids=lambda value: str(value)[:40])
def test_an_argument_of_generate_of_another_type_is_named(model, given, words):
    with pytest.raises(UsageError, match=words):
        musicjax.generate(model, **{"num_outputs": 1, "num_notes": 4, **given})


def test_a_number_too_long_to_print_is_refused_too(model):
    with pytest.raises(UsageError, match=r"seed=a number of thousands of digits: expected 0\.\.2147483647"):
        musicjax.generate(model, num_outputs=1, num_notes=4, seed=10**5000)


def test_numbers_of_numpy_and_lists_of_pitches_are_as_good(model):
    sampling = [SamplingParams(pitch_range=[40, 90], top_k=np.int64(2), top_p=np.float32(0.5))]  # type: ignore[arg-type]
    two = {"num_outputs": np.int64(2), "num_notes": np.int32(3), "seed": np.uint8(1), "bpm": np.float64(90)}
    primer = from_seconds([60] * 9, [90] * 9, np.arange(9) / 2, [0.5] * 9)
    assert len(musicjax.generate(model, sampling=sampling, primer=primer, **two)) == 2


FOLDERS = [None, 5, "", "a\0b", b"run"]


@pytest.mark.parametrize("workdir", FOLDERS)
@pytest.mark.parametrize(
    "call",
    [
        lambda workdir: musicjax.generate(workdir, num_notes=4),
        lambda workdir: musicjax.evaluate(workdir),
        lambda workdir: musicjax.train(musicjax.load_config("demo"), workdir),
    ],
    ids=["generate", "evaluate", "train"],
)
def test_a_workdir_that_cannot_be_one_is_named(call: Callable, workdir, tmp_path):
    with pytest.raises(UsageError, match=r"workdir=.*: expected the folder of a"):
        call(workdir)
    assert list(tmp_path.iterdir()) == []


def test_a_config_that_is_none_is_named():
    with pytest.raises(UsageError, match=r"config='demo': expected a Config, such as musicjax\.load_config\('demo'\)"):
        musicjax.train("demo", "x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "words"), [("", "config.data.source is empty"), (5, "config.data.source=5 is not of type str")]
)
def test_data_that_are_no_source_are_named(trained_notes, data, words):
    with pytest.raises(UsageError, match=words):
        musicjax.evaluate(trained_notes, data)


def test_data_may_be_a_path(trained_notes, clips):
    assert musicjax.evaluate(trained_notes, Path(clips))["data"] == str(clips)
    with pytest.raises(RunError, match="no such folder"):
        musicjax.evaluate(trained_notes, Path("absent"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"parts": None}, r"parts=None: expected Notes"),
        ({"parts": "abc"}, r"parts='a': expected Notes"),
        ({"parts": [5]}, r"parts=5: expected Notes"),
        ({"path": None}, r"path=None: expected the MIDI file to write"),
        ({"bpm": "fast"}, r"bpm='fast': expected a number in 4"),
        ({"bpm": 1}, r"bpm=1: expected 4"),
        ({"programs": [128]}, r"program=128: expected 0\.\.127"),
        ({"ticks_per_beat": 1.5}, r"ticks_per_beat=1\.5: expected a whole number"),
        ({"programs": 5}, r"programs=5: expected a number for each part"),
        ({"programs": [1, 2]}, r"2 programs, 0 names: expected at most 1, one a part"),
        ({"names": "abc"}, r"names='abc': expected a text for each part"),
        ({"names": [5]}, r"names=5: expected a text for each part"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_argument_of_write_midi_of_another_type_is_named(given, words, tmp_path):
    notes = from_seconds([60], [90], [0.0], [1.0])
    with pytest.raises(UsageError, match=words):
        musicjax.write_midi(**{"parts": notes, "path": "a.mid", **given})
    assert list(tmp_path.iterdir()) == []


def _notes(**columns: list[float]) -> Notes:
    """Two notes whose columns have the right types, so that only what takes them from a user looks at them."""
    given = {"velocity": [90, 90], "onset": [0.0, 1.0], "duration": [1.0, 1.0], **columns}
    velocity, onset, duration = np.array(given["velocity"], np.int16), np.array(given["onset"]), given["duration"]
    return Notes(np.array([60, 62], np.int16), velocity, onset, np.array(duration), onset, np.array(duration))


BAD_NOTES: list[tuple[dict[str, list[float]], str]] = [
    ({"velocity": [90, 0]}, r"velocity\[1\]=0: expected 1\.\.127"),
    ({"onset": [0.0, np.nan]}, r"onset\[1\]=nan: expected 0 or more, and finite"),
    ({"onset": [1.0, 0.0]}, r"onset\[1\]=0\.0 comes after 1\.0"),
    ({"duration": [-1.0, 1.0]}, r"duration\[0\]=-1\.0: expected 0 or more"),
]


@pytest.mark.parametrize(("columns", "words"), BAD_NOTES)
def test_notes_that_are_none_are_named_wherever_a_user_hands_them_over(model, columns, words, tmp_path):
    notes = _notes(**columns)
    with pytest.raises(UsageError, match=rf"^Notes\.{words}"):
        musicjax.write_midi(notes, "a.mid")
    with pytest.raises(UsageError, match=rf"^parts\[1\]\.{words}"):
        musicjax.write_midi([_notes(), notes], "a.mid")
    with pytest.raises(UsageError, match=rf"^primer\.{words}"):
        musicjax.generate(model, num_outputs=1, num_notes=4, primer=notes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"onset": [0.0, 1e30]}, r"notes that last 1e\+30 s: expected at most 1,145,324,612 s"),
        ({"onset": [0.0, 1e6]}, r"a rest of 959,999,040 ticks: expected at most 268,435,455"),
    ],
)
def test_times_that_a_midi_file_has_no_number_for_are_told(columns, words, tmp_path):
    with pytest.raises(UsageError, match=words):
        musicjax.write_midi(_notes(**columns), "a.mid")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("percussion", ["no", None, 2])
def test_percussion_of_read_midi_is_true_or_false(percussion):
    with pytest.raises(UsageError, match=r"percussion=.*: expected True or False"):
        musicjax.read_midi("a.mid", percussion=percussion)


@pytest.mark.parametrize("path", [None, 5, "a\0b"])
def test_a_path_of_read_midi_that_is_none_is_named(path):
    with pytest.raises(UsageError, match=r"path=.*: expected a MIDI file"):
        musicjax.read_midi(path)


# Paths at home.

PIECE = from_seconds([60, 62], [90, 90], [0.0, 1.0], [1.0, 1.0])


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """The home folder, which is not where the user stands."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.mark.parametrize("kind", [str, Path])
def test_paths_of_music_begin_at_home(home, model, kind):
    PIECE.write(kind("~/a.mid"))
    musicjax.write_midi(PIECE, kind("~/b.mid"))
    assert sorted(path.name for path in home.iterdir()) == ["a.mid", "b.mid"]
    assert len(musicjax.read(kind("~/a.mid"))) == len(musicjax.read_midi(kind("~/b.mid"))) == 2
    assert len(musicjax.generate(model, num_outputs=1, num_notes=4, primer=kind("~/a.mid"))) == 1
    assert not Path("~").exists()


def test_paths_of_runs_begin_at_home(home, trained_events, clips):
    (home / "run").symlink_to(trained_events)
    assert repr(musicjax.load("~/run")) == repr(musicjax.load(trained_events))
    assert musicjax.evaluate("~/run") == musicjax.evaluate(trained_events)
    config = musicjax.load_config("~/run/config.json")
    assert config.name == musicjax.load(trained_events).config.name
    with pytest.raises(UsageError, match="is the workdir itself"):
        musicjax.train(config, "~/run", init_from=home / "run")
    assert not Path("~").exists()


def test_a_new_run_begins_at_home(home):
    config = musicjax.load_config("demo")
    config.data.source, config.data.cache = "~/absent", "off"
    with pytest.raises(RunError, match=f"{home}/absent|~/absent"):
        musicjax.train(config, "~/run")
    assert not Path("~").exists()


def test_a_file_below_a_folder_whose_name_is_a_tilde_has_a_path_of_its_own(home):
    Path("~").mkdir()
    PIECE.write("./~/a.mid")
    assert Path("./~/a.mid").exists() and list(home.iterdir()) == []
    assert len(musicjax.read("./~/a.mid")) == 2


def test_the_home_of_a_user_that_nobody_knows_is_told(tmp_path):
    for call in (PIECE.write, musicjax.read, musicjax.load):
        with pytest.raises(UsageError, match=r"='~nouser/a.mid': there is no home folder ~nouser here; expected "):
            call("~nouser/a.mid")
    assert list(tmp_path.iterdir()) == []
