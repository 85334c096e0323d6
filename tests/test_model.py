"""A trained model in Python: the likelihood of a piece and the LSTM's states, beside evaluation and the Flax module."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

import musicjax
from musicjax.errors import RunError, UsageError
from musicjax.music import keys
from musicjax.music.notes import Notes, from_beats
from musicjax.store import model as model_lib
from musicjax.store.model import Model


def held_out(model: Model) -> list[Notes]:
    music, _ = model.encoding.music()
    assert music is not None
    return music.held_out


def recorded(workdir: Path, name: str) -> float:
    """A metric of the best epoch."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return min((line for line in lines if line["split"] == "valid"), key=lambda line: line["loss"])[name]


@pytest.mark.parametrize(("encoding", "metric"), [("events", "nats_per_note"), ("frames", "nats_per_frame")])
def test_the_likelihood_of_the_held_out_pieces_is_what_training_recorded(request, encoding, metric):
    workdir = request.getfixturevalue(f"trained_{encoding}")
    model = musicjax.load(workdir)
    found = [model.log_prob(piece) for piece in held_out(model)]
    assert found and set(found[0]) == set(model.encoding.likelihoods)
    rows = sum(len(next(iter(one.values()))) for one in found)
    nats = -sum(float(values.sum(dtype=np.float64)) for one in found for values in one.values()) / rows
    assert nats == pytest.approx(recorded(workdir, metric), rel=1e-4)


def test_a_row_does_not_depend_on_what_follows_it(trained_events):
    model = musicjax.load(trained_events)
    piece = held_out(model)[0]
    whole, part = model.encoding.rows(piece), model.encoding.rows(piece)[:20]
    states = model.hidden_states(piece)
    assert states.shape == (len(whole), model.config.model.units) and np.isfinite(states).all()
    alone = model_lib._hidden(model.network, model.params, np.pad(part, ((0, 12), (0, 0)))[None])
    np.testing.assert_allclose(np.asarray(alone)[0, :20], states[:20], atol=1e-5)


def test_the_states_lead_to_the_outputs_of_the_flax_module(trained_events):
    model = musicjax.load(trained_events)
    rows = model.encoding.rows(held_out(model)[0])[None]
    dense = model.params["dense"]
    outputs = model.network.apply({"params": model.params}, rows)
    states = np.asarray(model_lib._hidden(model.network, model.params, rows))
    expected = np.asarray(states @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"]))
    np.testing.assert_allclose(np.asarray(outputs), expected, atol=1e-4)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(model.params))


def test_rows_and_entries_lie_as_the_table_in_python_md_says(trained_events, trained_frames):
    model, frames = musicjax.load(trained_events), musicjax.load(trained_frames)
    piece = held_out(model)[0]
    count, states, scored = len(piece), model.hidden_states(piece), model.log_prob(piece)
    assert states.shape[0] == count + 2 and {len(values) for values in scored.values()} == {count + 1}
    # A higher last note changes its own entry and state and what comes after, and nothing before.
    last = model.order(piece)[-1]
    pitch = piece.pitch.copy()
    pitch[last] += 2
    other = dataclasses.replace(piece, pitch=pitch, keys=piece.keys if len(piece.keys) else keys.of(piece))
    piece = dataclasses.replace(other, pitch=piece.pitch)
    states, other_states = model.hidden_states(piece), model.hidden_states(other)
    nats, other_nats = (model.log_prob(one)["pitch"] for one in (piece, other))
    np.testing.assert_array_equal(states[:count], other_states[:count])
    np.testing.assert_array_equal(nats[: count - 1], other_nats[: count - 1])
    assert nats[count - 1] != other_nats[count - 1] and (states[count] != other_states[count]).any()
    framed = len(frames.hidden_states(piece))
    assert len(frames.log_prob(piece)["frame"]) == framed - 1


def test_order_says_which_note_a_row_is_where_a_chord_is_not_struck_together(trained_events, trained_frames):
    model = musicjax.load(trained_events)
    chord = from_beats([67, 64, 60, 62], [80] * 4, [0.0, 0.02, 0.04, 1.0], [1] * 4)
    assert model.order(chord).tolist() == [2, 1, 0, 3]
    keyed = dataclasses.replace(chord, keys=keys.of(chord))
    nats = model.log_prob(keyed)["pitch"]
    for row, note in enumerate(model.order(chord).tolist()):
        pitch = keyed.pitch.copy()
        pitch[note] += 1  # below the next of the chord
        changed = model.log_prob(dataclasses.replace(keyed, pitch=pitch))["pitch"] != nats
        assert np.flatnonzero(changed)[0] == row
    with pytest.raises(UsageError, match="order: this model reads frames"):
        musicjax.load(trained_frames).order(chord)


def test_what_has_no_likelihood_is_refused_by_name(trained_notes, trained_events, tmp_path):
    piece = from_beats([60, 62], [80, 80], [0, 1], [1, 1])
    model = musicjax.load(trained_notes)
    with pytest.raises(UsageError, match="log_prob: this model predicts the mean"):
        model.log_prob(piece)
    assert model.hidden_states(piece).shape == (2, model.config.model.units)
    model = musicjax.load(trained_events)
    with pytest.raises(UsageError, match=r"notes=3: expected"):
        model.log_prob(3)  # type: ignore[arg-type]
    with pytest.raises(RunError, match="no checkpoint"):
        musicjax.load(tmp_path)


def test_notes_without_a_bin_are_said_in_one_line(trained_events, capsys):
    model = musicjax.load(trained_events)
    odd = from_beats([60, 62, 64], [80, 80, 80], [0, 0.123, 1], [1, 1, 1])
    model.log_prob(odd)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "piece    the model rounds 3 of 3 notes to the nearest that it knows: onset of 1 by 0.123 quarter"
    )


def test_the_model_that_comes_with_musicjax_has_a_name():
    model = musicjax.load("builtin")
    (piece,) = musicjax.generate(model, num_outputs=1, num_notes=20)
    assert sum(float(values.sum()) for values in model.log_prob(piece).values()) < 0
