"""Sample metrics: what generated pieces measure beside real ones, and what they copy from the training data."""

from __future__ import annotations

import json

import numpy as np
import pytest

from musicjax.corpus.split import Music
from musicjax.errors import RunError
from musicjax.music import metrics
from musicjax.music.notes import Notes, from_beats
from musicjax.run import sample_metrics


def _piece(seed: int, count: int = 60) -> Notes:
    rng = np.random.default_rng(seed)
    onset = np.cumsum(rng.integers(0, 3, count)) / 4
    return from_beats(rng.integers(50, 80, count), rng.integers(40, 100, count), onset, rng.integers(1, 5, count) / 4)


TRAINING = [_piece(seed) for seed in range(4)]
MUSIC = Music(TRAINING, ("a.mid", "b.mid", "c.mid", "d.mid"), [_piece(seed) for seed in range(10, 14)], tuple("wxyz"))


def _moved(notes: Notes, keys: int) -> Notes:
    return from_beats(notes.pitch + keys, notes.velocity, notes.onset_beats, notes.duration_beats)


def test_a_transposed_excerpt_is_found_in_its_piece():
    found = sample_metrics.of([_moved(TRAINING[2][10:40], 3), _piece(99)], ["copy", "own"], MUSIC)
    copy = found["samples"]["copy"]["copy"]
    assert (copy["length"], copy["piece"]) == (30, "c.mid")
    assert found["samples"]["own"]["copy"]["length"] < 10


def test_real_pieces_overlap_themselves_wholly():
    same = sample_metrics.of(MUSIC.held_out, list("wxyz"), MUSIC)
    assert same["generated"] == same["real"] == sample_metrics.of_data(MUSIC.held_out)
    assert 0.8 < same["mean_overlap_area"] < 1, "distances to oneself are among those between the sets"
    assert set(same["overlap_area"]) == set(metrics.NAMES)
    json.dumps(same, allow_nan=False)


def test_pieces_are_compared_by_the_same_number_of_notes():
    long = sample_metrics.of([_piece(50, 500), _piece(51, 500)], ["x", "y"], MUSIC)
    short = sample_metrics.of([_piece(50, 500)[:60], _piece(51, 500)[:60]], ["x", "y"], MUSIC)
    assert long["compared_notes"] == short["compared_notes"] == 60
    assert long["generated"] == short["generated"]
    assert long["samples"]["x"] != short["samples"]["x"], "a sample's own metrics are of all of it"


@pytest.mark.parametrize(
    ("held_out_names", "words"),
    [
        ((), "training pieces"),
        (("w", "x"), "held-out pieces"),
        (("w", "a.mid (end)"), "held-out pieces and the held-out ends of training pieces"),
        (("a.mid (end)", "b.mid (end)"), "the held-out ends of training pieces"),
    ],
)
def test_what_the_samples_are_compared_with_is_named(held_out_names, words):
    music = Music(TRAINING, MUSIC.names, MUSIC.held_out[: len(held_out_names)], held_out_names)
    assert sample_metrics.of([_piece(3)], ["x"], music)["compared_with"] == words


@pytest.mark.parametrize("held_out", [[], [_piece(10)]])
def test_without_real_pieces_there_is_no_overlap(held_out):
    alone = Music(TRAINING[:1], ("a.mid",), held_out, tuple("x" * len(held_out)))
    assert set(sample_metrics.of([_piece(3)], ["x"], alone)) == {"samples"}


def test_of_several_pieces_the_one_that_copies_most_is_named():
    pieces = [_piece(99), _moved(TRAINING[2][10:40], 3), TRAINING[0][:0], _piece(98)]
    told = sample_metrics.copied(pieces, ("own", "copy", "empty", "other"), MUSIC)
    assert told["pieces"] == 3 and told["median_notes"] < 10
    assert told["longest"] == {"name": "copy", "length": 30, "piece": "c.mid", "at": 10, "own": 0}
    assert sample_metrics.copied(pieces[2:3], ("empty",), MUSIC) == {}


def test_the_longest_copy_is_said_beside_what_held_out_pieces_share(capsys):
    found = sample_metrics.of([_piece(99), _moved(TRAINING[2][10:40], 3)], ["own", "copy"], MUSIC)
    real = sample_metrics.copied(MUSIC.held_out, MUSIC.held_out_names, MUSIC)
    sample_metrics.say(found)
    sample_metrics.say(found | {"held_out_copies": real})
    alone, beside = [line for line in capsys.readouterr().err.splitlines() if line.startswith("copies")]
    assert alone.endswith("shared with the training data: 30 notes, in copy; they match c.mid from note 11")
    longest, median = real["longest"]["length"], real["median_notes"]
    assert 2 <= median <= longest < 10
    of_real = f"real music held out of training shares up to {longest}, typically about {median:.0f}"
    assert beside == f"{alone}; {of_real}"


def test_pieces_without_notes_are_left_out():
    empty = TRAINING[0][:0]
    found = sample_metrics.of([empty, _piece(98)], ["none", "some"], MUSIC)
    assert list(found["samples"]) == ["some"]
    assert sample_metrics.of_data([empty]) == {} == sample_metrics.means([])


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"metrics\.json cannot be written"):
        sample_metrics.write({}, tmp_path / "file" / "metrics.json")
