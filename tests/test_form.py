"""The form of pieces: edges, bars left and keys in rows, and outputs that end with a bar, in the key asked for."""

from __future__ import annotations

import contextlib
import dataclasses

import numpy as np
import pytest
import tiny_events
from hypothesis import given, settings
from hypothesis import strategies as st

from musicjax import config_files, console
from musicjax.encodings import encoding as encoding_lib
from musicjax.encodings import event_form, event_plans
from musicjax.encodings.plan import Length, Plan
from musicjax.encodings.sampling_params import SamplingParams
from musicjax.errors import UsageError
from musicjax.generation import ending_pieces
from musicjax.generation.generate import generate
from musicjax.model import sample
from musicjax.music import form, learned_bins, likeness, note_bins, note_rows
from musicjax.music.note_bins import BARS_LEFT, EDGE, HELD, INTERVAL, MODE, PHRASE, PITCH, SOUNDING, TONIC
from musicjax.music.notes import DRUMS, Notes, from_beats
from musicjax.store.model import Model


def scale(bars: int = 10, meter: tuple[int, int] = (4, 4), **changes) -> Notes:
    """Quarter notes of C major, four a bar of 4/4."""
    count = bars * meter[0]
    notes = from_beats(60 + np.resize([0, 2, 4, 5, 7, 5, 4, 2], count), [80] * count, np.arange(count), [1.0] * count)
    return dataclasses.replace(notes, meters=np.array([[0.0, *meter]]), **changes)


def rows_of(notes: Notes) -> np.ndarray:
    return note_rows.encode(notes, learned_bins.learn([notes]))[0]


# Rows.


def test_an_edge_stands_before_and_after_a_piece():
    rows = rows_of(scale(10))
    assert len(rows) == 42 and (rows[[0, -1], INTERVAL] == EDGE).all() and (rows[1:-1, INTERVAL] != EDGE).all()
    assert rows[0, BARS_LEFT] == form.left_bin(9) and rows[-1, BARS_LEFT] == form.left_bin(0) == 1


@pytest.mark.parametrize("meter", [(4, 4), (3, 4)])
def test_rows_say_how_many_bars_are_left_and_which_of_eight_it_is(meter):
    rows = rows_of(scale(10, meter))[1:-1]
    bar = np.arange(len(rows)) // meter[0]
    assert rows[:, PHRASE].tolist() == (bar % 8).tolist()
    assert rows[:, BARS_LEFT].tolist() == [sum(least <= 9 - now for least in form.LEFT) for now in bar]


def test_bars_are_counted_across_changes_of_meter():
    steps, begins = np.array([0, 4, 8, 11, 14, 18]), np.array([0, 0, 8, 8, 14, 14])
    assert form.bars_of(steps, begins, np.array([4, 4, 3, 3, 4, 4])).tolist() == [0, 1, 2, 3, 4, 5]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(tonic=st.integers(0, 11), mode=st.integers(0, 3))
def test_a_piece_in_any_key_has_the_rows_of_the_one_in_c(tonic, mode):
    plain = scale(keys=np.array([[0.0, 0, mode]]))
    moved = dataclasses.replace(
        plain, pitch=plain.pitch + note_rows.offset_of(tonic).astype(np.int16), keys=np.array([[0.0, tonic, mode]])
    )
    bins = learned_bins.learn([plain])
    first, second = (note_rows.encode(notes, bins)[0] for notes in (plain, moved))
    assert (first[1:-1, MODE] == mode + 1).all()
    others = [column for column in range(first.shape[1]) if column != TONIC]
    np.testing.assert_array_equal(first[:, others], second[:, others])


def test_rows_say_which_pitch_classes_still_sound_and_how_long():
    notes = from_beats([48, 64, 67, 62, 60], [80] * 5, [0.0, 0.0, 1.0, 2.0, 4.0], [3.0, 1.0, 1.0, 1.0, 1.0])
    notes = dataclasses.replace(notes, keys=np.array([[0.0, 0, 0]]))
    rows = rows_of(notes)[1:-1]
    sounding = [np.flatnonzero(row).tolist() for row in rows[:, SOUNDING]]
    assert sounding == [[], [0], [0], [0], []], "C is held, E and G are over when the next note begins"
    left = [0, 3, 2, 1, 0]
    assert rows[:, HELD].tolist() == [sum(least <= steps for least in note_bins.HELD_STEPS) for steps in left]


def test_drums_sound_in_no_harmony_and_in_no_key():
    notes = scale(4, program=np.full(16, DRUMS, np.int16), keys=np.array([[0.0, 7, 0]]))
    rows = rows_of(notes)[1:-1]
    assert not rows[:, SOUNDING].any() and rows[:, note_bins.PITCH].tolist() == notes.pitch.tolist()


# Outputs, of a model that was never trained.


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_events.model()


def end_beats(notes: Notes) -> float:
    return float((notes.onset_beats + notes.duration_beats).max())


def test_outputs_have_the_bars_asked_for_and_end_with_them(model):
    for notes in generate(model, num_outputs=4, bars=3, seed=1):
        assert 8 <= notes.onset_beats[-1] < 12 and end_beats(notes) <= 12 + 1e-9


def test_a_length_in_notes_ends_with_a_bar_unless_it_is_exact(model):
    several = generate(model, num_outputs=4, num_notes=30, seed=2)
    assert any(len(notes) != 30 for notes in several)
    per_bar = model.encoding.bins.notes_per_bar
    assert all(abs(len(notes) - 30) < 3 * per_bar for notes in several)
    assert [len(notes) for notes in generate(model, num_outputs=4, num_notes=30, exact=True, seed=2)] == [30] * 4


def test_no_length_is_that_of_a_training_piece(model):
    bars = {opening.bars for opening in model.encoding.bins.openings}
    for notes in generate(model, num_outputs=3, seed=3):
        assert notes.onset_beats[-1] // 4 + 1 in bars


def test_an_output_does_not_depend_on_the_others(model):
    together = generate(model, num_outputs=9, bars=2, seed=4)
    alone = generate(model, num_outputs=1, bars=2, seed=4, numbers=[5])[0]
    np.testing.assert_array_equal(alone.pitch, together[5].pitch)
    np.testing.assert_array_equal(alone.onset, together[5].onset)


def test_the_first_try_that_ends_is_taken_and_the_last_must_end(model, monkeypatch):
    seen = []

    def sampled(model, params, plans, keys, windows, decode, batch, must_end, on_chunks):
        seen.extend(batch)
        assert list(must_end) == [number == ending_pieces.TRIES for _, number in batch]
        return np.array([[[10 * output + number]] for output, number in batch])

    monkeypatch.setattr(ending_pieces, "_sampled", sampled)
    ends = {10 * 0 + 2, 10 * 0 + 5}  # output 0 ends at its third try, output 1 never
    monkeypatch.setattr(type(model.encoding), "ending", lambda self, rows: 1 if int(rows[0, 0]) in ends else -1)
    params = [SamplingParams(), SamplingParams(), SamplingParams(temperature=0)]
    found = ending_pieces.rows(model, params, [Plan()] * 3, None, np.zeros((3, 1, 1)), "carry")
    assert [int(piece[0, 0]) for piece in found] == [2, 10 + ending_pieces.TRIES, 20 + ending_pieces.TRIES]
    assert {number for output, number in seen if output == 2} == {ending_pieces.TRIES}, (
        "without chance all tries are one"
    )
    assert (1, ending_pieces.TRIES) in seen and max(
        number for output, number in seen if output == 0
    ) < ending_pieces.TRIES


@pytest.mark.parametrize("beside", [pytest.param(0, marks=pytest.mark.long), 7])
def test_the_best_of_the_tries_that_end_is_kept_whatever_is_drawn_beside_it(model, monkeypatch, beside):
    def sampled(model, params, plans, keys, windows, decode, batch, must_end, on_chunks):
        return np.array([[[100 * output + number]] for output, number in batch])

    monkeypatch.setattr(ending_pieces, "_sampled", sampled)
    last = 10 * ending_pieces.FOR_EACH
    # Output 0 ends in its very last tries, output 1 in many, output 2 in the one that must end.
    ends = {last - 1, last} | {100 + number for number in range(1, 40)}
    encoding = type(model.encoding)
    monkeypatch.setattr(encoding, "ending", lambda self, rows: 1 if int(rows[0, 0]) in ends else -1)
    monkeypatch.setattr(encoding, "decode", lambda self, rows, bpm=None, plan=None: int(rows[0, 0]))
    offered = []

    def nearest(self, pieces, plan, params):
        offered.append(pieces)
        return len(pieces) - 1

    bars: list[tuple[int, str]] = []
    done: list[int] = []

    @contextlib.contextmanager
    def bar(label, total, unit):
        bars.append((total, unit))
        yield done.append

    monkeypatch.setattr(encoding, "nearest", nearest)
    monkeypatch.setattr(console, "bar", bar)
    params = [SamplingParams(best_of=10)] * (3 + beside)
    found = ending_pieces.rows(
        model, params, [Plan(opening=0)] * len(params), None, np.zeros((len(params), 1, 1)), "carry"
    )
    assert [int(piece[0, 0]) for piece in found[:3]] == [last - 1, 110, 200 + last]
    assert offered[0] == list(range(101, 111)), "the first ten that end"
    assert bars == [(10 * len(params), "tries")] and done == sorted(done) and done[-1] == 10 * len(params)


def test_how_many_notes_a_try_has_at_most_depends_on_its_own_plan_alone(model, monkeypatch):
    def sampled(net, params, past, *_):
        rows = np.zeros(
            (len(past.windows), ending_pieces.CHUNK_NOTES, len(note_bins.COLUMNS)), np.float32
        )  # never an edge
        return sample.Sampled(rows, np.zeros(len(rows)), past)

    monkeypatch.setattr(ending_pieces.sample_lib, "sample", sampled)
    plans, windows = (
        [Plan(bars=1, ends=True), Plan(bars=5, ends=True)],
        np.zeros((2, 4, len(note_bins.COLUMNS)), np.float32),
    )
    keys = sample.output_keys(0, range(2))
    for some in ([0, 1], [0], [1]):
        batch = [(k, 0) for k in some]
        pieces = ending_pieces._sampled(
            model, [SamplingParams()] * 2, plans, keys, windows, "carry", batch, [False] * len(some)
        )
        assert [len(piece) for piece in pieces] == [(300, 1100)[k] for k in some]


def test_the_best_of_some_tries_is_no_other_piece_where_more_are_drawn(model):
    sampling = SamplingParams(best_of=3)
    together = generate(model, num_outputs=5, bars=2, seed=4, sampling=sampling)
    alone = generate(model, num_outputs=1, bars=2, seed=4, numbers=[3], sampling=sampling)[0]
    np.testing.assert_array_equal(alone.pitch, together[3].pitch)
    first = generate(model, num_outputs=5, bars=2, seed=4)
    assert any(
        len(one) != len(other) or (one.pitch != other.pitch).any() for one, other in zip(first, together, strict=True)
    )


def test_a_try_is_compared_with_the_piece_of_its_plan_and_its_repeats_only_where_it_is_as_long(monkeypatch):
    plain, second = scale(10), scale(10, pitch=np.tile([60, 64, 67, 72], 10).astype(np.int16))
    bins = learned_bins.learn([plain, second])
    assert bins == note_bins.from_saved(dataclasses.asdict(bins)) and len(bins.likenesses) == 2
    plan = event_plans.of_output(bins, SamplingParams(), 1, Length(), 120.0, None)
    assert plan.opening == 1 and plan.bars == 10
    tries = [dataclasses.replace(plain, pitch=plain.pitch + np.arange(40) % 5), second]
    assert event_plans.nearest(bins, tries, plan, SamplingParams()) == 1
    older = dataclasses.replace(bins, likenesses=())
    assert event_plans.of_output(older, SamplingParams(), 1, Length(), 120.0, None).opening == -1, "nothing to compare"
    seen = []
    monkeypatch.setattr(likeness, "nearest", lambda _, like, *rest: seen.append(np.isnan(like).tolist()) or 0)
    event_plans.nearest(bins, tries, plan, SamplingParams())
    event_plans.nearest(bins, tries, plan._replace(bars=4), SamplingParams())
    event_plans.nearest(
        bins, tries, event_plans.of_output(bins, SamplingParams(), 1, Length(40), 120.0, None), SamplingParams()
    )
    # A melody alone is in no chord.
    names = [[name for name, absent in zip(likeness.MEASURES, one, strict=True) if absent] for one in seen]
    assert names == [["in_chord"], ["in_chord", "repeats"], ["in_chord"]], "40 notes are as long as 10 bars"
    with pytest.raises(ValueError, match="2 likenesses for 1 openings"):
        note_bins.from_saved(dataclasses.asdict(bins) | {"openings": [[0, 0, 0, 10]]})
    assert len(likeness.MEASURES) == note_bins.MEASURED
    for damaged in ([[1.0] * 4] * 2, [[1.0, 1.0, 1.0, 1.0, np.nan]] * 2, [[1.0, 1.0, 1.0, 1.0, 7.0]] * 2):
        with pytest.raises(ValueError, match="no measures"):
            note_bins.from_saved(dataclasses.asdict(bins) | {"likenesses": damaged})


def test_an_ending_is_an_edge_within_the_last_bar(model):
    def rows(*bars: tuple[int, int]) -> np.ndarray:
        made = np.zeros((len(bars), len(note_bins.COLUMNS)))
        made[:, BARS_LEFT], made[:, PHRASE] = np.array(bars).T
        return made

    edge = np.zeros((1, len(note_bins.COLUMNS)))
    edge[0, INTERVAL] = EDGE
    going, last, beyond = rows((2, 6)), rows((2, 6), (1, 7)), rows((1, 7), (1, 0))
    ending = model.encoding.ending
    assert [ending(piece) for piece in (going, last, beyond)] == [0, 0, -1]
    assert ending(np.concatenate([last, edge])) == 1 and ending(np.concatenate([beyond, edge])) == -1
    assert ending(np.concatenate([last, edge, beyond])) == 1, "what follows an edge is no music"


@pytest.mark.parametrize(("drawn", "must_end", "beyond"), [(0, False, False), (1, False, True), (1, True, False)])
def test_an_output_has_a_note_before_it_ends_or_goes_on(drawn, must_end, beyond):
    import jax.numpy as jnp

    own = bins(loops=(2, 2))
    yes, no = jnp.ones(1, bool), jnp.zeros(1, bool)
    wanted = event_form.Wanted(no, jnp.ones(1, jnp.int32), jnp.zeros(1, jnp.int32), yes, yes if must_end else no)
    tables = event_form.tables_of(own)
    past = event_form.start(wanted, tables)._replace(drawn=jnp.full(1, drawn))
    passed = jnp.arange(EDGE + 1)[None] // 16
    within = np.asarray(event_form.Form(wanted, tables, past).within(passed))[0]
    assert within[:16].all() and set(within[16:EDGE].tolist()) == {beyond} and within[EDGE] == (drawn > 0)


def test_an_output_that_must_end_ends_as_likely_as_it_would_have_gone_beyond_its_last_bar():
    import jax
    import jax.numpy as jnp

    own = bins(loops=(2, 2))
    yes, one = jnp.ones(1, bool), jnp.ones(1, jnp.int32)
    tables = event_form.tables_of(own)
    passed = jnp.arange(EDGE + 1)[None] // 16
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(1, EDGE + 1)), jnp.float32)
    expected = np.asarray(jax.nn.softmax(logits))[0]
    for must_end, bars, more in ((True, 1, expected[16:EDGE].sum()), (True, 2, 0.0), (False, 1, 0.0)):
        wanted = event_form.Wanted(~yes, bars * one, 0 * one, yes, yes & must_end)
        past = event_form.start(wanted, tables)._replace(drawn=one)
        found = event_form.Form(wanted, tables, past).ended(logits, passed)
        found = np.exp(np.asarray(found - jax.nn.logsumexp(logits)))[0]
        np.testing.assert_allclose(found[:EDGE], expected[:EDGE], rtol=1e-5)
        np.testing.assert_allclose(found[EDGE], expected[EDGE] + more, rtol=1e-5)


def test_the_last_bar_ends_where_the_edge_is_unlikely_and_the_next_bar_is_not(model):
    # After each note a quarter note passes (bin 3), or else none (bin 0); the edge is unlikely.
    bias = np.full(EDGE + 1, -50.0, np.float32)
    bias[[0, 3, EDGE]] = 3.0, 5.0, -3.0
    head = model.params["head"] | {"bias_0": bias, "out_0": np.zeros_like(model.params["head"]["out_0"])}
    of_quarters = dataclasses.replace(model, params=model.params | {"head": head})
    for notes in generate(of_quarters, num_outputs=2, bars=3, temperature=0):
        np.testing.assert_allclose(notes.onset_beats, range(1, 12))


@pytest.mark.parametrize(("pitch_range", "expected"), [((0, 127), False), ((0, 0), True)])
def test_no_note_has_the_pitch_of_edges_unless_nothing_else_may_sound(model, pitch_range, expected):
    bias = np.zeros(note_bins.SIZES[PITCH], np.float32)
    bias[0] = 50.0  # what a model learns from edges, and far more of it
    head = model.params["head"] | {f"bias_{PITCH}": bias}
    as_of_edges = dataclasses.replace(model, params=model.params | {"head": head})
    sampling = SamplingParams(key="C", pitch_range=pitch_range)
    for length in ({"bars": 1}, {"num_notes": 20, "exact": True}):
        for piece in generate(as_of_edges, num_outputs=2, sampling=sampling, **length):
            assert len(piece) and bool((piece.pitch == 0).any()) == expected


@pytest.mark.parametrize(
    ("key", "semitones"), [("D", 2), *(pytest.param(*one, marks=pytest.mark.long) for one in (("Bb", -2), ("F#", 6)))]
)
def test_a_key_moves_the_whole_output(model, key, semitones):
    rows = note_rows.encode(tiny_events.pieces()[0], model.encoding.bins)[0]
    plain, moved = (
        model.encoding.decode(rows, plan=plan(model.encoding.bins, SamplingParams(key=name))) for name in ("C", key)
    )
    assert set((moved.pitch - plain.pitch).tolist()) == {semitones}
    assert moved.keys[0, 1] == semitones % 12 and plain.keys[0, 1] == 0


# Plans.


def bins(**changes) -> note_bins.Bins:
    return dataclasses.replace(learned_bins.learn([scale(keys=np.array([[0.0, 2, 0]]))]), **changes)


def plan(own: note_bins.Bins, params: SamplingParams | None = None, primer: Notes | None = None, **length):
    return event_plans.of_output(own, params or SamplingParams(), 0, Length(**length), 120.0, primer)


def test_what_is_not_asked_for_is_as_in_a_training_piece_or_the_primer():
    assert plan(bins())[:4] == (2, 1, 0, 10)
    primer = scale(keys=np.array([[0.0, 9, 1]]))
    assert plan(bins(), primer=primer, bars=5)[:4] == (9, 2, 0, 5)
    assert plan(bins(), SamplingParams(key="E"), primer)[:2] == (4, 1)


def test_an_output_in_a_key_is_as_a_training_piece_in_its_mode():
    own = learned_bins.learn([scale(bars, keys=np.array([[0.0, 2, mode]])) for bars, mode in ((10, 0), (12, 1))])
    for key, bars in (("E", 10), ("Em", 12)):
        found = [event_plans.of_output(own, SamplingParams(key=key), k, Length(), 120.0, None).bars for k in range(4)]
        assert found == [bars] * 4


@pytest.mark.parametrize(("meter", "most"), [((4, 4), 64), ((3, 4), 86), ((1, 4), 256)])
def test_a_piece_of_no_given_length_is_no_longer_than_64_bars_of_four_beats(meter, most):
    own = learned_bins.learn([scale(300, meter)])
    assert (own.openings[0].bars, plan(own).bars) == (300, most)


def test_lengths_become_whole_bars():
    assert plan(bins(), bars=2.5).bars == 3 and plan(bins(), beats=9).bars == 3 and plan(bins(), seconds=4.1).bars == 3
    assert plan(bins(), num_notes=30)[3:5] == (0, 30)
    assert plan(bins(), bars=1e-9).bars == plan(bins(), seconds=1e-6).bars == 1


@pytest.mark.parametrize(
    ("params", "told"),
    [
        (
            SamplingParams(key="Dm"),
            "key=Dm: this model learned from music in major; expected such a key, or, for pitches alone, "
            "a key and a scale, such as --key=D --scale=minor",
        ),
        (SamplingParams(meter="3/4"), "meter=3/4: this model learned from music in 4/4; expected one of these"),
        (
            SamplingParams(instruments=("flute",)),
            "instruments=flute: this model learned from music for acoustic grand piano",
        ),
    ],
)
def test_what_the_model_never_saw_is_refused_by_name(params, told):
    with pytest.raises(UsageError, match=told):
        plan(bins(), params)


def test_instruments_are_picked_by_name_or_family():
    own = bins(programs=(0, 33, DRUMS))
    assert plan(own, SamplingParams(instruments=("piano", "bass"))).instruments == (0, 1)
    assert plan(own, SamplingParams(instruments=("drums",))).instruments == (2,)
    assert plan(own).instruments_of(3).all()


# Loops.


def test_loops_are_counted_as_the_longest_of_the_training_pieces():
    rows = rows_of(scale(10))[1:-1]
    loops = learned_bins._loops(rows)
    assert loops[7] == 40 - 8 - 1, "the scale returns after eight notes, but for the interval of the first"
    assert loops[2] == 0


def test_a_loop_stops_where_no_training_piece_goes_on():
    import jax.numpy as jnp

    own = bins(loops=(2, 2, 2, 2))
    wanted = event_form.Wanted(jnp.array([True, False]), *(jnp.zeros(2, jnp.int32),) * 2, *(jnp.zeros(2, bool),) * 2)
    tables = event_form.tables_of(own)
    now = event_form.Form(wanted, tables, event_form.start(wanted, tables))
    row = jnp.zeros((2, len(note_bins.COLUMNS))).at[:, note_bins.PITCH].set(60)
    allowed = []
    for _ in range(6):
        allowed.append(np.asarray(now.no_loop(row, 128)[:, 60]).tolist())
        now = now._replace(past=now.after(row))
    assert allowed == [[True, True]] * 3 + [[False, True]] * 3


def test_an_instrument_strikes_a_pitch_once_at_a_moment():
    import jax.numpy as jnp

    own = bins(loops=(9, 9, 9))
    wanted = event_form.Wanted(jnp.array([True]), *(jnp.zeros(1, jnp.int32),) * 2, *(jnp.zeros(1, bool),) * 2)
    tables = event_form.tables_of(own)
    now = event_form.Form(wanted, tables, event_form.start(wanted, tables))

    def note(interval: int, instrument: int, pitch: int) -> np.ndarray:
        row = np.zeros((1, len(note_bins.COLUMNS)), np.float32)
        row[:, [note_bins.INTERVAL, note_bins.INSTRUMENT, note_bins.PITCH]] = interval, instrument, pitch
        return row

    def forbidden(interval: int, instrument: int) -> list[int]:
        row = jnp.asarray(note(interval, instrument, 0))
        return np.flatnonzero(~np.asarray(now.not_struck(row, jnp.array([interval]), 128))[0]).tolist()

    found = []
    for row in [note(2, 0, 60), note(0, 0, 64), note(0, 1, 67), note(2, 0, 62), note(0, 0, 60)]:
        now = now._replace(past=now.after(jnp.asarray(row)))
        found.append([forbidden(interval, instrument) for interval, instrument in [(0, 0), (0, 1), (2, 0)]])
    assert found == [
        [[60], [], []],
        [[60, 64], [], []],
        [[60, 64], [67], []],
        [[62], [], []],
        [[60, 62], [], []],
    ]


def test_sampled_music_strikes_no_note_twice(trained_events):
    few = SamplingParams(temperature=3.0, pitch_range=(60, 66))
    for piece in generate(trained_events, num_outputs=8, num_notes=90, sampling=few):
        struck = list(zip(np.rint(piece.onset_beats * 48), piece.pitch, piece.program, strict=True))
        assert len(struck) == len(set(struck)) > 60


def test_a_scale_is_a_mask_on_the_tonic_of_each_output_where_the_model_knows_it(model):
    of_key = SamplingParams(scale="minor")
    draw = model.encoding.draw([of_key, of_key], model.deviation, [Plan(tonic=0), Plan(tonic=7)])
    first = sum(note_bins.SIZES[: note_bins.PITCH])
    allowed = np.asarray(draw.controls.allowed)[:, first : first + 128]
    inside = slice(12, 108)
    np.testing.assert_array_equal(allowed[0, inside], allowed[1, inside])
    assert np.flatnonzero(allowed[0, 60:72]).tolist() == [0, 2, 3, 5, 7, 8, 10]


def test_a_model_that_knows_no_keys_needs_one_for_a_scale():
    config = config_files.load("events")
    old = dataclasses.asdict(bins(sizes=note_bins.SIZES_0_2))
    encoding = encoding_lib.of(config, {"bins": old})
    with pytest.raises(UsageError, match="scale=minor without a key: expected its root, such as --key=C"):
        encoding.draw([SamplingParams(scale="minor")], np.ones(11))
    allowed = np.asarray(encoding.draw([SamplingParams(key="D", scale="minor")], np.ones(11)).controls.allowed)
    first = sum(note_bins.SIZES_0_2[: note_bins.PITCH])
    assert np.flatnonzero(allowed[0, first + 60 : first + 72]).tolist() == [0, 2, 4, 5, 7, 9, 10], "D minor"
