"""So many rows: sampled part by part, with progress, and still what one compiled call gives."""

from __future__ import annotations

import numpy as np
import pytest

import musicjax
from musicjax import console
from musicjax.generation import generate

CHUNK, ROWS = 8, 20  # the last part is cut


@pytest.mark.parametrize("encoding", ["notes", "frames", "events"])
def test_rows_sampled_in_parts_are_to_the_bit_those_of_one_call(request, monkeypatch, encoding):
    model = musicjax.load(request.getfixturevalue(f"trained_{encoding}"))
    in_parts, shapes = generate._rows_for_count, []

    def both(more, past, model, count, on_chunks):
        rows, clamped = in_parts(more, past, model, count, on_chunks)
        whole = more(past, num_notes=count)
        np.testing.assert_array_equal(rows, whole.rows)
        assert clamped == int(whole.clamped.sum())
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
