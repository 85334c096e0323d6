"""Pieces that are continued, filled and varied: what is kept stays as it is, and new bars lie where they were asked."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_events

from musicjax.encodings import event_score
from musicjax.encodings.sampling_params import SamplingParams
from musicjax.errors import UsageError
from musicjax.generation import generate as generate_lib
from musicjax.generation import infill as infill_lib
from musicjax.generation import new_spans
from musicjax.generation import vary as vary_lib
from musicjax.generation.rework import Rework
from musicjax.main import main
from musicjax.model import network
from musicjax.music import bar_position, midi, note_bins, note_rows, splice
from musicjax.music.note_bins import BAR_POSITION, BARS_LEFT, EDGE, HELD, INTERVAL, METER, PHRASE, PITCH, SOUNDING
from musicjax.music.notes import COLUMNS, Notes, from_beats
from musicjax.store.model import Model

HARMONY = [*SOUNDING, HELD]


@pytest.fixture(autouse=True)
def few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is claimed here holds for any number of candidates, and few are drawn in a tenth of the time."""
    monkeypatch.setattr(infill_lib, "CANDIDATES", 8)


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_events.model()


@pytest.fixture(scope="module")
def piece() -> Notes:
    """About seven bars; a long note sounds over all of them, one is a little early, and the tempo changes."""
    one = tiny_events.pieces()[0]
    pitch, onset = np.append(40, one.pitch), np.append(0.0, one.onset_beats)
    early = next(n for n in range(20, 80) if onset[n] % 4 == 0 and onset[n - 1] < onset[n])
    onset[early] -= 1 / 480
    longer = from_beats(pitch, np.append(80, one.velocity), onset, np.append(24.0, one.duration_beats))
    tempos = np.array([[0.0, 97.0], [8.0, 120.0]])
    ends = splice.seconds_at(longer.onset_beats + longer.duration_beats, tempos)
    seconds = splice.seconds_at(longer.onset_beats, tempos)
    program = np.where(np.arange(len(longer)) % 3, 4, 0).astype(np.int16)
    return dataclasses.replace(longer, onset=seconds, duration=ends - seconds, tempos=tempos, program=program)


def require_kept(new: Notes, piece: Notes, begin: float, end: float) -> None:
    """All that begins outside the gap is as it was, to the last bit, and what is inside lies on the grid and ends."""

    def is_inside(notes: Notes) -> np.ndarray:  # a note just before the bar line at the end belongs to what follows
        return splice.begin_in(notes, begin, end) & (np.rint(notes.onset_beats * 4) < end * 4)

    kept, was = (one[~is_inside(one)] for one in (new, piece))
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(kept, name), getattr(was, name), err_msg=name)
    for name in ("tempos", "meters", "keys"):
        np.testing.assert_array_equal(getattr(new, name), getattr(piece, name), err_msg=name)
    inside = new[is_inside(new)]
    assert (inside.onset_beats + inside.duration_beats <= end + 1e-9).all()
    np.testing.assert_allclose(inside.onset_beats * 4, np.rint(inside.onset_beats * 4), atol=1e-9)
    np.testing.assert_allclose(inside.onset, splice.seconds_at(inside.onset_beats, piece.tempos))


# Bars.


@pytest.mark.parametrize(
    ("meters", "last", "lines"),
    [
        ([(0, 4, 4)], 9.0, [0, 4, 8, 12]),
        ([(0, 4, 4)], 8.0, [0, 4, 8, 12]),
        ([(0, 4, 4)], 8 - 1e-9, [0, 4, 8, 12]),
        ([(0, 4, 4)], 0.0, [0, 4]),
        ([(1, 4, 4)], 6.0, [-3, 1, 5, 9]),
        ([(0, 1, 4), (1, 3, 4)], 6.0, [0, 1, 4, 7]),
        ([(0, 4, 4), (6, 3, 4)], 10.0, [0, 4, 6, 9, 12]),
        ([(0, 4, 4), (6, 3, 4)], 5.0, [0, 4, 6]),
        ([(0, 4, 4), (16, 3, 4)], 5.0, [0, 4, 8]),
        ([(-8, 4, 4), (-4, 3, 4)], 4.0, [-1, 2, 5]),
    ],
)
def test_bars_are_counted_by_the_meters_of_the_piece(meters, last, lines):
    assert bar_position.lines(np.array(meters, float), last).tolist() == lines


def test_bars_with_the_same_notes_are_alike_and_silent_ones_are_not():
    onset = np.array([0, 1, 4, 5, 8, 9, 10, 20, 21.0])
    one = from_beats([60, 62, 60, 62, 60, 62, 64, 60, 62], [80, 90, 70, 60, 80, 80, 80, 80, 80], onset, [1.0] * 9)
    assert splice.alike(one, splice.bar_lines(one)).tolist() == [0, 0, 2, 3, 4, 0]
    again = splice.copied(one, splice.bar_lines(one), [(3, 1), (4, 2)])
    assert splice.alike(again, splice.bar_lines(again)).tolist() == [0, 0, 2, 0, 2, 0]
    np.testing.assert_array_equal(again.onset_beats, np.sort([*onset, 12, 13, 16, 17, 18]))


def test_a_file_is_written_at_a_resolution_that_holds_what_is_kept():
    for ticks, onset in ((480, [0, 1 / 3]), (384, [0, 1 / 128]), (220, [0, 7 / 220])):
        assert splice.ticks_per_beat(from_beats([60, 62], [80, 80], onset, [1.0, 1.0])) == ticks


# Filling.


@pytest.mark.parametrize(
    "bars",
    [(1, 3), (3, 3), (1, -1), *(pytest.param(bars, marks=pytest.mark.long) for bars in ((1, 1), (4, 5), (-1, -1)))],
    ids=str,
)
def test_what_is_outside_the_bars_stays_and_what_is_new_lies_inside(model, piece, bars):
    lines = splice.bar_lines(piece)
    from_bar, to_bar = (bar if bar > 0 else len(lines) - 1 for bar in bars)
    new = infill_lib.infill(model, piece, from_bar, to_bar, num_outputs=2, seed=3)
    for one in new:
        require_kept(one, piece, lines[from_bar - 1], lines[to_bar])
    assert not np.array_equal(new[0].pitch, new[1].pitch)


def test_a_copy_depends_on_the_seed_and_its_number_alone(model, piece):
    several = infill_lib.infill(model, piece, 3, 4, num_outputs=3)
    (third,) = infill_lib.infill(model, piece, 3, 4, num_outputs=1, numbers=[2])
    np.testing.assert_array_equal(third.to_array(), several[2].to_array())
    (other,) = infill_lib.infill(model, piece, 3, 4, num_outputs=1, seed=1)
    assert not np.array_equal(other.pitch, several[0].pitch)


def test_new_notes_obey_the_sampling_parameters(model, piece):
    lines, params = splice.bar_lines(piece), SamplingParams(pitch_range=(60, 72), polyphony=1)
    (new,) = infill_lib.infill(model, piece, 2, 5, num_outputs=1, sampling=params)
    inside = new[splice.begin_in(new, lines[1], lines[5])]
    assert len(inside) > 4 and inside.pitch.min() >= 60 and inside.pitch.max() <= 72
    assert (inside.onset_beats[1:] >= (inside.onset_beats + inside.duration_beats)[:-1] - 1e-6).all()
    assert set(inside.program.tolist()) <= {0, 4}


def test_a_note_that_sounds_already_is_not_struck_again():
    held = from_beats([60, 64], [80, 80], [0.0, 6.0], [8.0, 1.0])
    new = from_beats([60, 62, 64], [70] * 3, [4.0, 4.0, 6.0], [1.0] * 3)
    assert splice.together(held, new).pitch.tolist() == [60, 62, 64]


def test_bars_after_a_silence_begin_where_they_were_asked(model):
    piece = from_beats([60, 62, 64, 65], [80] * 4, [0, 1, 16, 17], [1.0] * 4)
    assert model.encoding.bins.interval[-1] < 11 * 4
    for new in infill_lib.infill(model, piece, 4, 4, num_outputs=3):
        require_kept(new, piece, 12, 16)
        onset = new.onset_beats[splice.begin_in(new, 12, 16)]
        assert onset[0] == 12 and len(set(onset.tolist())) > 1


def test_the_rows_after_a_gap_lie_where_they_lie_in_the_piece(model, piece):
    lines, one = splice.bar_lines(piece), infill_lib.with_keys(piece)
    # Without an interval for the gap, which is shorter than the longest.
    bins = dataclasses.replace(model.encoding.bins, interval=(0, 1, 2, 3, 4, 64))
    score = event_score.of(one, lines[2], lines[3], bins)
    after, whole = score.rows[score.before : -1], note_rows.encode(one, bins, match=False)[0][1:-1]
    whole = whole[len(whole) - len(after) :]
    told = [BAR_POSITION, PITCH, METER, BARS_LEFT, PHRASE]
    np.testing.assert_array_equal(after[:, told], whole[:, told])
    np.testing.assert_array_equal(after[1:, INTERVAL], whole[1:, INTERVAL])


def harmony_of(rows: np.ndarray, step: np.ndarray, drawn: slice, end: int, bins: note_bins.Bins) -> np.ndarray:
    """The columns of what still sounds of rows [N, C] at steps [N]; none of those drawn sounds after the gap."""
    ends = step + note_bins.steps_of(bins)[1][rows[:, note_bins.DURATION]]
    is_drawn = np.isin(np.arange(len(rows)), np.arange(len(rows))[drawn])
    found = np.zeros((len(rows), len(HARMONY)), np.uint8)
    for now in range(len(rows)):
        until = np.where(is_drawn & (step[now] >= end), 0, ends)
        sounding = [before for before in range(now) if until[before] > step[now]]
        for before in sounding:
            found[now, rows[before, PITCH] % 12] |= not bins.is_drums[rows[before, note_bins.INSTRUMENT]]
        held = max((ends[before] - step[now] for before in sounding), default=0)
        found[now, -1] = sum(least <= held for least in note_bins.HELD_STEPS)
    return found


@pytest.mark.parametrize("bars", [pytest.param((2, 4), marks=pytest.mark.long), (-3, -1)], ids=["inside", "last"])
def test_a_candidate_weighs_what_the_network_says_of_the_rows_after_it(model, piece, bars):
    lines, bins = splice.bar_lines(piece), model.encoding.bins
    one, (begin, end) = infill_lib.with_keys(piece), lines[list(bars)]
    gap = model.encoding.gap(one, begin, end, SamplingParams(), infill_lib.CANDIDATES)
    found = infill_lib.candidates_of(model, gap, infill_lib.reach(model, gap), jax.random.key(5))
    score = event_score.of(one, begin, end, bins)
    steps, apply = note_bins.steps_of(bins)[0], jax.jit(functools.partial(network.apply, model.network, model.params))
    for k in range(2):
        drawn = found.rows[: found.drawn[k], k].astype(np.uint8)
        last = score.step[score.before - 1] + steps[drawn[:, INTERVAL]].sum()
        rows = np.concatenate([score.rows[: score.before], drawn, score.rows[score.before :]])
        first = score.before + len(drawn)
        if rows[first, INTERVAL] != EDGE:
            passed = score.step[score.before : score.before + 1] - last
            rows[first, INTERVAL] = note_bins.nearest(passed, np.asarray(bins.interval))[0]
        inner = rows[1:-1]
        step = np.concatenate(
            [score.step[: score.before], score.step[score.before - 1] + np.cumsum(steps[drawn[:, INTERVAL]])]
        )
        step = np.concatenate([step, score.step[score.before :]])[1:-1]
        assert (step[score.before - 1 : first - 1] >= score.steps[0]).all()
        harmony = harmony_of(inner, step, slice(score.before - 1, first - 1), score.steps[1], bins)
        np.testing.assert_array_equal(inner[:, HARMONY], harmony)
        note_rows.set_matches(inner, bins)
        whole = jnp.zeros((1, 256, rows.shape[1])).at[0, : len(rows)].set(rows)  # one length for all: compiled once
        outputs = apply(whole)[0, : len(rows) - 1]
        own, head = network.head_params(model.params), model.network.head
        weighing = slice(first - 1, first - 1 + min(event_score.WEIGHING, len(rows) - first))
        nats = head.log_prob(own, outputs, jnp.asarray(rows[1:], jnp.float32))[weighing]
        logits = jax.nn.log_softmax(
            head.logits(own, outputs[first - 1], jnp.asarray(rows[first], jnp.float32), INTERVAL)
        )
        beyond = (last + steps >= score.steps[1]) | (np.arange(len(steps)) == EDGE)
        expected = nats.sum() - jax.nn.logsumexp(jnp.where(beyond, jax.nn.log_softmax(logits), -jnp.inf))
        assert found.weight[k] == pytest.approx(float(expected), rel=1e-3)


# Varying.


def test_nothing_is_varied_by_an_amount_of_nothing_and_all_bars_by_an_amount_of_one(model, piece):
    (same,) = vary_lib.vary(model, piece, 0, num_outputs=1)
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(same, name), getattr(piece, name))
    (new,) = vary_lib.vary(model, piece, 1.0, num_outputs=1)
    lines = splice.bar_lines(piece)
    require_kept(new, piece, lines[0], lines[-1])
    bars = list(itertools.pairwise(lines))
    assert all(not np.array_equal(*(one.pitch[splice.begin_in(one, *bar)] for one in (new, piece))) for bar in bars)


def test_bars_that_are_alike_are_varied_alike(model):
    theme = tiny_events.pieces()[1]
    bar = theme[splice.begin_in(theme, 4, 8)]
    times = np.concatenate([bar.onset_beats - 4 + 4 * k for k in range(6)])
    piece = from_beats(*(np.tile(column, 6) for column in (bar.pitch, bar.velocity)), times, np.tile(0.25, len(times)))
    piece.pitch[piece.onset_beats >= 20] += 1
    first, second = vary_lib.vary(model, piece, 0.5, num_outputs=2, seed=2)
    lines = splice.bar_lines(piece)
    for new in (first, second):
        assert splice.alike(new, lines)[:5].tolist() == [0] * 5
    (again,) = vary_lib.vary(model, piece, 0.5, num_outputs=1, seed=2, numbers=[1])
    np.testing.assert_array_equal(again.to_array(), second.to_array())


# Keeping a primer.


def test_a_primer_that_is_kept_stays_as_it_is_and_goes_on_in_its_time(model, piece):
    new = generate_lib.generate(model, num_outputs=2, bars=3, primer=piece, keep=True)
    for one in new:
        for name in COLUMNS:
            np.testing.assert_array_equal(getattr(one, name)[: len(piece)], getattr(piece, name))
        more = one[np.arange(len(one)) >= len(piece)]
        assert len(more) and (more.onset_beats >= piece.onset_beats[-1]).all()
        # The first of the three bars is that of the first new note.
        first_bar = splice.bar_lines(piece).max(initial=0, where=splice.bar_lines(piece) <= more.onset_beats[0])
        assert first_bar + 2 * 4 <= more.onset_beats[-1] < first_bar + 3 * 4 and one.tempos is piece.tempos
        np.testing.assert_allclose(more.onset_beats * 4, np.rint(more.onset_beats * 4), atol=1e-9)
        np.testing.assert_allclose(more.onset, splice.seconds_at(more.onset_beats, piece.tempos))


def test_the_first_of_the_bars_that_are_asked_for_is_that_of_the_first_new_note(model):
    primer = from_beats([60, 62, 64, 65], [80] * 4, [12, 13, 14, 15.75], [0.25] * 4)
    for one in generate_lib.generate(model, num_outputs=8, bars=3, primer=primer, keep=True):
        first, last = one.onset_beats[[len(primer), -1]] // 4
        assert last == first + 2


# The command line.


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return tiny_events.save(tmp_path_factory.mktemp("infill") / "run")


@pytest.fixture(scope="module")
def song(piece, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("infill") / "song.mid"
    midi.write(piece, path, ticks_per_beat=384)
    return path


def ticks(notes: Notes) -> set[tuple[int, ...]]:
    """Onset, duration, pitch, velocity and program of each note."""
    times = (np.rint(notes.onset_beats * 384), np.rint(notes.duration_beats * 384))
    columns = np.stack([*times, notes.pitch, notes.velocity, notes.program]).astype(int)
    return set(map(tuple, columns.T.tolist()))


def outside(notes: Notes, spans: new_spans.Spans) -> list[tuple]:
    """The notes that begin in none of the spans, but for those on their edges."""
    at = notes.onset[:, None]
    near = ((at > np.array([a for a, _ in spans]) - 0.01) & (at < np.array([b for _, b in spans]) + 0.01)).any(axis=1)
    return list(zip(*(getattr(notes[~near], name).tolist() for name in COLUMNS), strict=True))


@pytest.mark.parametrize("bars", [(2, 3), *(pytest.param(bars, marks=pytest.mark.long) for bars in ((1, 1), (1, 7)))])
def test_the_new_bars_of_a_filled_piece_last_from_bar_line_to_bar_line(model, piece, bars):
    new = infill_lib.infill(model, piece, *bars, num_outputs=2)
    lines = splice.seconds_at(splice.bar_lines(piece), piece.tempos)
    spans = new_spans.of(Rework("infill", "", *bars), 0, piece, new)
    assert spans == [((lines[bars[0] - 1], lines[bars[1]]),)] * 2
    assert all(outside(one, span) == outside(piece, span) for one, span in zip(new, spans, strict=True))


def test_the_new_music_of_a_continued_piece_begins_with_its_first_note(model, piece):
    new = generate_lib.generate(model, primer=piece, keep=True, num_outputs=2, bars=2)
    for one, spans in zip(new, new_spans.of(Rework("keep"), 0, piece, new), strict=True):
        ((begin, end),) = spans
        assert end == one.seconds and (one.onset >= begin).sum() >= len(one) - len(piece) > 0
        assert outside(one, spans) == outside(piece, spans) and piece.onset[-1] <= begin
        assert np.isclose(one.onset, begin).sum() > np.isclose(piece.onset, begin).sum(), "a new note begins there"
    assert new_spans.of(Rework("keep"), 0, piece, [piece]) == [()]


def test_the_new_bars_of_variations_are_those_that_the_seed_and_the_number_choose(model, piece):
    new = vary_lib.vary(model, piece, 0.4, num_outputs=4, seed=3)
    spans = new_spans.of(Rework("vary", amount=0.4), 3, piece, new)
    assert all(outside(one, span) == outside(piece, span) for one, span in zip(new, spans, strict=True) if span)
    lines = splice.seconds_at(splice.bar_lines(piece), piece.tempos).tolist()
    assert len(set(spans)) > 1 and {at for span in spans for both in span for at in both} <= set(lines)
    assert new_spans.of(Rework("vary", amount=0.0), 3, piece, [piece]) == [()]
    assert new_spans.of(Rework("vary", amount=1.0), 3, piece, [piece]) == [((lines[0], lines[-1]),)]


@pytest.mark.parametrize(
    "flags",
    [
        ["--infill={song}", "--from_bar=2", "--to_bar=3"],
        pytest.param(["--vary={song}", "--amount=0.5"], marks=pytest.mark.long),
        pytest.param(["--primer={song}", "--keep", "--bars=2"], marks=pytest.mark.long),
    ],
    ids=["infill", "vary", "keep"],
)
def test_files_hold_what_is_kept_to_the_tick(run, song, flags, tmp_path, capsys):
    flags = [flag.format(song=song) for flag in flags]
    assert (
        main(["generate", f"--workdir={run}", "--num_outputs=2", f"--output_dir={tmp_path}", "--audio=none", *flags])
        == 0
    )
    text = (tmp_path / "samples.html").read_text()
    times = re.findall(r"new, written by the model: ([^<]*)</li>", text)
    assert len(times) == 2 and text.count('class="new-ground" x=') == sum(one.count(" to ") for one in times)
    paths = [tmp_path / f"seed0-00{k}.mid" for k in range(2)]
    assert capsys.readouterr().out.split() == [str(path) for path in paths]
    was = midi.read(song)
    for new in map(midi.read, paths):
        kept = was[~splice.begin_in(was, 4, 12)] if "infill" in flags[0] else was
        if "vary" not in flags[0]:
            assert ticks(kept) <= ticks(new)
        np.testing.assert_allclose(new.tempos, was.tempos)
        np.testing.assert_allclose(new.meters, was.meters)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--keep"], "--keep without --primer: expected the piece to keep and continue"),
        (["--infill={song}"], "--infill without its bars: expected the first and the last"),
        (["--infill={song}", "--from_bar=2"], "--infill without its bars"),
        (["--infill={song}", "--from_bar=3", "--to_bar=2"], "from_bar=3, to_bar=2: expected from_bar not above to_bar"),
        (["--infill={song}", "--from_bar=0", "--to_bar=2"], "from_bar=0: expected 1.."),
        (["--infill={song}", "--from_bar=2", "--to_bar=99"], "to_bar=99: expected bars of the piece, which has"),
        (["--infill={song}", "--from_bar=2", "--to_bar=3", "--primer={song}"], "--primer and --infill are given"),
        (
            ["--infill={song}", "--from_bar=2", "--to_bar=3", "--key=D"],
            "--key and --infill are given",
        ),
        (["--infill={song}", "--from_bar=2", "--to_bar=3", "--num_notes=9"], "--num_notes and --infill are given"),
        (["--infill={song}", "--from_bar=2", "--to_bar=3", "--vary={song}"], "--infill and --vary are given"),
        (["--from_bar=2"], "--from_bar without --infill"),
        (["--amount=0.5"], "--amount without --vary"),
        (["--vary={song}", "--amount=1.5"], "amount=1.5: expected 0.0..1.0"),
        (["--vary={song}", "--amount=nan"], "amount=nan: expected 0.0..1.0"),
        (["--vary={song}", "--bars=4"], "--bars and --vary are given"),
        (["--vary={song}", "--seconds=4"], "--seconds and --vary are given"),
        (["--vary={song}", "--meter=3/4"], "--meter and --vary are given"),
        (["--vary={song}", "--sweep", "--top_k=1,2"], "--sweep and --vary are given"),
        (["--primer={song}", "--keep", "--bpm=90"], "--bpm and --keep are given"),
        (["--primer={song}", "--keep", "--program=flute"], "--program and --keep are given"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_told_in_one_line(run, song, flags, words, tmp_path, capsys):
    out = tmp_path / "out"
    argv = ["generate", f"--workdir={run}", f"--output_dir={out}", *(flag.format(song=song) for flag in flags)]
    assert main(argv) == 2
    told = capsys.readouterr().err.splitlines()
    assert words in told[-1] and len([line for line in told if "expected" in line]) == 1
    assert not out.exists()


def test_wrong_arguments_in_python_are_named(model, piece):
    in_d = SamplingParams(key="D")
    calls = {
        r"from_bar='2': expected a whole number": lambda: infill_lib.infill(model, piece, "2", 3),  # type: ignore[arg-type]
        r"to_bar=90: expected bars of the piece": lambda: infill_lib.infill(model, piece, 2, 90),
        r"key=D and infill: expected one": lambda: infill_lib.infill(model, piece, 2, 3, sampling=in_d),
        r"amount=2: expected 0\.0\.\.1\.0": lambda: vary_lib.vary(model, piece, 2),
        r"vary=5: expected Notes": lambda: vary_lib.vary(model, 5),  # type: ignore[arg-type]
        r"keep=True without a primer": lambda: generate_lib.generate(model, keep=True),
        r"bpm=90 and keep=True": lambda: generate_lib.generate(model, primer=piece, keep=True, bpm=90),
        r"piece without notes": lambda: infill_lib.infill(model, from_beats([], [], [], []), 1, 1),
    }
    for words, call in calls.items():
        with pytest.raises(UsageError, match=words):
            call()


def test_another_meter_changes_one_column_of_what_is_continued(model):
    windows = np.full((1, 3, len(note_bins.SIZES)), 5, np.float32)
    moved = model.encoding.in_meter(windows, [SamplingParams(meter="4/4")])
    assert moved[0, -1, METER] == 0
    moved[0, -1, METER] = 5
    np.testing.assert_array_equal(moved, windows)
