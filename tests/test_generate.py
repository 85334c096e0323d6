"""Many rows: sampled part by part, with progress, and still what one compiled call gives."""

from __future__ import annotations

import numpy as np
import pytest

import musicjax
from musicjax import console
from musicjax.encodings import sampling_params
from musicjax.encodings.plan import Length
from musicjax.generation import ending_pieces, generate, infill, vary

CHUNK, ROWS = 8, 20  # the last part is cut


@pytest.mark.parametrize("encoding", ["notes", pytest.param("frames", marks=pytest.mark.long), "events"])
def test_rows_sampled_in_parts_are_to_the_bit_those_of_one_call(request, monkeypatch, encoding):
    model = musicjax.load(request.getfixturevalue(f"trained_{encoding}"))
    in_parts, shapes = generate._rows_for_count, []

    def both(more, past, model, count, on_chunks):
        rows, clamped = in_parts(more, past, model, count, on_chunks)
        at_once = more(past, num_notes=count)
        np.testing.assert_array_equal(rows, at_once.rows)
        assert clamped == int(at_once.clamped.sum())
        shapes.append(rows.shape[:2])
        return rows, clamped

    monkeypatch.setattr(generate, "CHUNK_NOTES", CHUNK)
    monkeypatch.setattr(generate, "_rows_for_count", both)
    # Nine outputs are two groups where a group has several.
    musicjax.generate(model, num_outputs=9, num_notes=ROWS, exact=True, seed=3, temperature=2.0)
    assert shapes == [(9, ROWS)]


@pytest.mark.parametrize(
    ("encoding", "length", "said"),
    [
        ("notes", {"num_notes": ROWS}, ["8 of 20 notes", "16 of 20 notes"]),
        ("frames", {"num_notes": ROWS}, ["8 of 20 frames", "16 of 20 frames"]),
        ("notes", {"seconds": 100.0}, None),  # whose number of notes nobody knows before
    ],
)
def test_sampling_says_how_far_it_is(request, monkeypatch, capsys, encoding, length, said):
    model = musicjax.load(request.getfixturevalue(f"trained_{encoding}"))
    monkeypatch.setattr(generate, "CHUNK_NOTES", CHUNK)
    monkeypatch.setattr(console, "SOON_SECONDS", -1.0)
    capsys.readouterr()
    musicjax.generate(model, num_outputs=1, **length)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("sampling")]
    if said is None:
        assert lines and all(" of 100 seconds, " in line for line in lines)
    else:
        assert [line.removeprefix("sampling ").split(",")[0] for line in lines] == said


@pytest.mark.parametrize("encoding", ["notes", pytest.param("frames", marks=pytest.mark.long), "events"])
def test_the_parts_that_are_told_grow_into_the_piece(request, monkeypatch, encoding):
    model = musicjax.load(request.getfixturevalue(f"trained_{encoding}"))
    monkeypatch.setattr(generate, "CHUNK_NOTES", CHUNK)
    monkeypatch.setattr(ending_pieces, "CHUNK_NOTES", CHUNK)
    params = [sampling_params.of_config(model.config.sample)] * 2
    length, told = Length(num_notes=ROWS, exact=True), {0: [], 1: []}
    pieces = generate.new_pieces(model, params, length, 3, on_part=lambda k, notes: told[k].append(notes))
    alone = generate.new_pieces(model, params, length, 3)
    for k, piece in enumerate(pieces):
        np.testing.assert_array_equal(piece.onset, alone[k].onset)
        np.testing.assert_array_equal(told[k][-1].pitch, piece.pitch)
        assert len(told[k]) == 3 and len(told[k][0]) < max(len(piece), 1)
        for part in told[k]:
            np.testing.assert_array_equal(part.pitch, piece.pitch[: len(part)])


def test_whoever_hears_a_part_can_end_it(trained_events):
    model = musicjax.load(trained_events)

    def stop(k, notes):
        raise InterruptedError

    params = [sampling_params.of_config(model.config.sample)]
    with pytest.raises(InterruptedError):
        generate.new_pieces(model, params, Length(bars=2), 0, on_part=stop)
    (piece,) = generate.new_pieces(model, params, Length(bars=2), 0)
    with pytest.raises(InterruptedError):
        infill.new_bars(model, params, 0, piece, 1, 1, on_step=lambda: stop(0, piece))
    with pytest.raises(InterruptedError):
        vary.variations(model, params, 0, piece, 1.0, on_step=lambda: stop(0, piece))
