"""Tempo, meter and bar lines, from a file of music to a file of music."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicjax.config import Config, DataConfig
from musicjax.corpus import load
from musicjax.encodings import encoding, event_draw
from musicjax.encodings.encoding import Encoding
from musicjax.encodings.sampling_params import SamplingParams
from musicjax.errors import UsageError
from musicjax.generation import primer as primer_lib
from musicjax.generation.request import Length
from musicjax.main import main
from musicjax.music import bar_position, learned_bins, midi, note_bins, note_rows
from musicjax.music.note_bins import BAR_POSITION, METER, Bins
from musicjax.music.notes import Notes, from_beats
from tests import tiny_events

BEAT = 480  # ticks


def piece(onset_beats, meters=((0, 4, 4),), bpm: float = 120.0) -> Notes:
    count = len(onset_beats)
    notes = from_beats(60 + np.arange(count) % 12, np.full(count, 80), onset_beats, np.full(count, 0.5), bpm)
    return dataclasses.replace(notes, meters=np.array(meters, float))


def written(path: Path, *metas: tuple[int, mido.MetaMessage], onsets=(0.0, 1.0, 2.0)) -> Path:
    """A file with these meta events (tick, message), in order, and notes of half a beat at these beats."""
    file = mido.MidiFile(ticks_per_beat=BEAT)
    changes, now = mido.MidiTrack(), 0
    for tick, message in metas:
        changes.append(message.copy(time=tick - now))
        now = tick
    notes, now = mido.MidiTrack(), 0
    for onset in onsets:
        notes.append(mido.Message("note_on", note=60, velocity=80, time=round(onset * BEAT) - now))
        notes.append(mido.Message("note_off", note=60, time=BEAT // 2))
        now = round(onset * BEAT) + BEAT // 2
    file.tracks += [changes, notes]
    file.save(path)
    return path


def tempo(bpm: float) -> mido.MetaMessage:
    return mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(bpm))


def signature(numerator: int, denominator: int) -> mido.MetaMessage:
    return mido.MetaMessage("time_signature", numerator=numerator, denominator=denominator)


def stated(path: Path) -> list[tuple[int, int]]:
    """The time signatures of a file."""
    messages = [message for track in mido.MidiFile(path).tracks for message in track]
    return [(m.numerator, m.denominator) for m in messages if m.type == "time_signature"]


# Reading and writing.


def test_a_file_gives_its_tempo_changes_and_meters(tmp_path):
    metas = [(0, tempo(90)), (0, signature(3, 4)), (3 * BEAT, tempo(60)), (6 * BEAT, signature(6, 8))]
    notes = midi.read(written(tmp_path / "a.mid", *metas, onsets=range(12)))
    np.testing.assert_allclose(notes.tempos, [[0, 90], [3, 60]], rtol=1e-5)
    np.testing.assert_array_equal(notes.meters, [[0, 3, 4], [6, 6, 8]])


def test_a_file_that_states_nothing_is_in_4_4_at_120(tmp_path):
    notes = midi.read(written(tmp_path / "a.mid"))
    assert (notes.tempos.tolist(), notes.meters.tolist()) == ([[0, 120]], [[0, 4, 4]])
    late = midi.read(written(tmp_path / "b.mid", (BEAT, tempo(60)), (2 * BEAT, signature(3, 4))))
    np.testing.assert_allclose(late.tempos, [[0, 120], [1, 60]], rtol=1e-5)
    np.testing.assert_array_equal(late.meters, [[0, 4, 4], [2, 3, 4]])


def test_contradicting_meters_are_told_and_the_last_one_holds(tmp_path):
    path = written(tmp_path / "a.mid", (0, signature(3, 4)), (0, signature(4, 4)), (0, signature(4, 4)))
    (notes,), mended = midi.read_pieces(path)
    assert mended == {"contradicting_meters": "time signatures 3/4 and 4/4 at one place: the last one applies"}
    assert notes.meters.tolist() == [[0, 4, 4]]
    assert not midi.read_pieces(written(tmp_path / "b.mid", (0, signature(3, 4)), (0, signature(3, 4))))[1]


@pytest.mark.parametrize("bad", ["00 ff 58 04 00 02 18 08", "00 ff 58 04 03 ff 18 08", "00 ff 58 04 ff 02 18 08"])
def test_a_meter_that_there_is_not_is_left_out_and_told(tmp_path, bad):
    from tests.known_midi import midi_file

    (tmp_path / "a.mid").write_bytes(midi_file(f"{bad} 00 90 3c 40 60 3c 00"))
    (notes,), mended = midi.read_pieces(tmp_path / "a.mid")
    assert list(mended) == ["invalid_meta_event_parameter_value"] and notes.meters.tolist() == [[0, 4, 4]]


def test_forty_thousand_tempo_changes_are_read_and_the_music_keeps_its_tempo(tmp_path):
    rng = np.random.default_rng(0)
    metas = [(tick, tempo(float(bpm))) for tick, bpm in enumerate(rng.normal(100, 3, 40_000))]
    notes = midi.read(written(tmp_path / "a.mid", *metas, onsets=range(0, 80)))
    assert len(notes.tempos) == 40_000 and 99 < notes.bpm < 101


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    steps=st.lists(st.integers(0, 64), min_size=1, max_size=20),
    tempos=st.lists(st.tuples(st.integers(1, 20), st.sampled_from([50.0, 100.0, 125.0, 240.0])), max_size=3),
    meters=st.lists(st.tuples(st.integers(1, 20), st.sampled_from([(3, 4), (6, 8), (2, 2), (5, 4)])), max_size=3),
)
def test_what_is_written_is_read_with_its_tempos_and_meters(tmp_path_factory, steps, tempos, meters):
    metas = [(beat * BEAT, tempo(bpm)) for beat, bpm in [(0, 100.0), *tempos]]
    metas += [(beat * BEAT, signature(*meter)) for beat, meter in [(0, (3, 4)), *meters]]
    folder = tmp_path_factory.getbasetemp()
    onsets = sorted({step / 2 for step in steps})
    notes = midi.read(written(folder / "one.mid", *sorted(metas, key=lambda meta: meta[0]), onsets=onsets))
    midi.write(notes, folder / "two.mid")
    again = midi.read(folder / "two.mid")
    for name in ("tempos", "meters"):
        changes = getattr(notes, name)
        heard = changes[changes[:, 0] <= notes.onset_beats[-1] + 0.5]  # until the last note ends
        np.testing.assert_allclose(getattr(again, name), heard, rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(again.onset_beats, notes.onset_beats, atol=1 / BEAT)
    np.testing.assert_allclose(again.onset, notes.onset, atol=1e-3)


def test_a_meter_that_begins_in_a_shortened_rest_keeps_its_bar_lines(tmp_path):
    metas = [(0, tempo(120)), (1000 * BEAT, signature(3, 4)), (1600 * BEAT, signature(5, 4))]
    (notes,), mended = midi.read_pieces(written(tmp_path / "a.mid", *metas, onsets=[0.0, 2401.0, 2402.0]))
    assert "too_long_rest" in mended and notes.onset[1] <= 600
    (begins, *meter) = notes.meters[-1].tolist()
    assert meter == [5, 4] and len(notes.meters) == 2
    assert (notes.onset_beats[1] - begins) % 5 == pytest.approx((2401 - 1600) % 5)


def test_changes_after_the_last_note_are_not_written(tmp_path):
    notes = dataclasses.replace(piece([0.0, 1.0], [(0, 4, 4), (1e300, 3, 4)]), tempos=np.array([[0, 90.0], [1e15, 60]]))
    assert midi.write(notes, tmp_path / "a.mid", names=["\udcff"]) == 0
    again = midi.read(tmp_path / "a.mid")
    assert again.meters.tolist() == [[0, 4, 4]] and again.tempos.round(3).tolist() == [[0, 90]]


def test_a_meter_before_beat_0_is_written_with_its_bar_lines(tmp_path):
    notes = piece([0.0, 1.0, 2.0], [(-4, 3, 4)])
    midi.write(notes, tmp_path / "a.mid")
    beat, *meter = midi.read(tmp_path / "a.mid").meters[-1].tolist()
    assert (beat % 3, meter) == (-4 % 3, [3, 4])


def test_the_tempo_of_music_is_not_that_of_a_silent_count_in():
    notes = dataclasses.replace(piece(np.arange(8.0, 16.0)), tempos=np.array([[0, 30.0], [8, 100.0], [15, 20.0]]))
    assert notes.bpm == 100
    assert notes[:0].bpm == 120 and notes[:1].bpm == 100 and notes[-1:].bpm == 20
    assert learned_bins.learn([notes]).bpm == 100


# Rows.


def encoded(notes: Notes, bins: Bins) -> tuple[np.ndarray, np.ndarray]:
    """Rows without the edges, and which of them have a bin that is only the nearest."""
    rows, nearest = note_rows.encode(notes, bins)
    return rows[1:-1], nearest[1:-1]


@pytest.mark.parametrize(
    ("numerator", "denominator", "grid", "positions"),
    [
        (3, 4, 4, 12),
        (6, 8, 4, 12),
        (2, 2, 4, 16),
        (5, 4, 12, 60),
        (12, 8, 12, 72),
        (4, 2, 12, 96),
        (17, 4, 12, 68),
        (33, 8, 12, 66),
        (101, 4, 4, 4),
    ],
)
def test_a_bar_has_as_many_positions_as_steps(numerator, denominator, grid, positions):
    assert bar_position.steps_per_bar(numerator, denominator, grid, note_bins.SIZES[BAR_POSITION]) == positions


def test_positions_follow_changes_of_meter_from_their_own_bar_lines():
    notes = piece(np.arange(0, 24) / 2, [(0, 3, 4), (6, 6, 8), (9, 2, 2)])
    bins = learned_bins.learn([notes])
    rows, nearest = encoded(notes, bins)
    assert bins.steps_per_beat == 2 and not nearest.any()
    assert [bins.meters[kind] for kind in rows[:, METER]] == [(3, 4)] * 12 + [(6, 8)] * 6 + [(2, 2)] * 6
    assert rows[:, BAR_POSITION].tolist() == [0, 1, 2, 3, 4, 5] * 3 + [0, 1, 2, 3, 4, 5]


def test_bars_before_the_first_meter_count_backwards_so_an_upbeat_is_one():
    notes = piece([0.0, 1.0, 2.0, 4.0], [(1, 3, 4)])
    rows, _ = encoded(notes, learned_bins.learn([notes]))
    assert rows[:, BAR_POSITION].tolist() == [2, 0, 1, 0]
    assert note_rows.decode(rows, learned_bins.learn([notes])).onset_beats.tolist() == [2, 3, 4, 6]


def test_the_grid_makes_bars_whole():
    quavers = piece(np.arange(0, 30) * 1.5, [(0, 3, 8)])
    assert learned_bins.learn([quavers]).steps_per_beat == 2
    assert learned_bins.learn([piece(np.arange(0, 30) * 1.0)]).steps_per_beat == 1


def test_the_commonest_meters_have_bins_and_another_becomes_the_nearest_in_length():
    kinds = [(4, 4), (3, 4), (6, 8), (2, 2), (5, 4), (7, 8), (9, 8), (12, 8), (2, 4)]
    pieces = [piece(np.arange(40 - 4 * k) / 2, [(0, *meter)]) for k, meter in enumerate(kinds)]
    bins = learned_bins.learn(pieces)
    assert bins.meters == tuple(kinds[:8])
    rows, nearest = encoded(pieces[8], bins)
    assert nearest.all() and {bins.meters[kind] for kind in rows[:, METER]} == {(3, 4)}


@pytest.mark.parametrize("silence", [40.0, 200.0])
def test_notes_after_a_long_silence_keep_their_rhythm_and_places(silence):
    onset = np.concatenate([np.arange(0, 64), silence + 64 + np.arange(0, 64)])
    one = piece(np.concatenate([np.arange(0, 64), 70 + np.arange(0, 64)]))
    bins = learned_bins.learn([one])
    assert bins.interval[-1] == 7
    rows, nearest = encoded(piece(onset), bins)
    found = note_rows.decode(rows, bins)
    assert not nearest.any() and note_rows.silences(piece(onset), bins) == (1, False)
    assert np.diff(found.onset_beats).tolist() == [1.0] * 63 + [7.0] + [1.0] * 63
    np.testing.assert_array_equal(rows[:, BAR_POSITION], onset % 4)


def test_a_silence_absorbs_what_intervals_without_a_bin_have_shifted():
    bins = learned_bins.learn([piece(np.concatenate([np.arange(0, 64), 70 + np.arange(0, 64)]))])
    onset = np.array([0, 1, 4, 44, 45, 46])
    rows, nearest = encoded(piece(onset), bins)
    assert nearest.tolist() == [False, False, True, False, False, False]
    assert rows[3:, BAR_POSITION].tolist() == [0, 1, 2]


def test_a_silent_lead_in_takes_no_bins_and_is_told():
    notes = piece(33.0 + np.arange(20))
    bins = learned_bins.learn([notes])
    rows, _ = encoded(notes, bins)
    assert bins.interval == (0, 1) and note_rows.silences(notes, bins) == (0, True)
    assert note_rows.decode(rows, bins).onset_beats.tolist() == (1.0 + np.arange(20)).tolist()
    changed = piece(200.0 + np.arange(20), [(0, 4, 4), (200, 3, 4)])
    assert note_rows.silences(changed, learned_bins.learn([changed])) == (0, True)


def test_only_meters_that_notes_lie_in_have_bins():
    bins = learned_bins.learn([piece(8.0 + np.arange(20), [(0, 4, 4), (8, 3, 4), (100, 7, 8)])])
    assert bins.meters == ((3, 4),)


def test_rows_of_0_1_0_have_bars_of_four_beats_and_no_meter():
    notes = piece(np.arange(12), [(0, 3, 4)])
    old = dataclasses.replace(learned_bins.learn([notes]), meters=((4, 4),), sizes=note_bins.SIZES_0_1)
    rows, nearest = note_rows.encode(notes, old)
    assert rows.shape == (12, 10) and not nearest.any()
    assert rows[:, BAR_POSITION].tolist() == [0, 1, 2, 3] * 3
    assert note_rows.decode(rows, old).meters.tolist() == [[0, 4, 4]]


# Generated music.


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The workdir of a model of waltzes."""
    return tiny_events.save(tmp_path_factory.mktemp("run") / "w", (3, 4))


def generated(run: Path, out: Path, *flags: str) -> list[Notes]:
    argv = ["generate", f"--workdir={run}", f"--output_dir={out}", "--audio=none", "--num_outputs=2", *flags]
    assert main(argv) == 0
    return [midi.read(path) for path in sorted(out.glob("*.mid"))]


def test_outputs_are_in_the_meter_and_tempo_of_the_data_and_bars_are_its_bars(run, tmp_path):
    for notes in generated(run, tmp_path / "out", "--bars=4"):
        assert notes.meters.tolist() == [[0, 3, 4]] and notes.bpm == pytest.approx(97)
        end = (notes.onset_beats + notes.duration_beats).max()
        assert 9 < end <= 12 + 1e-3 and notes.onset_beats[0] < 3
    assert stated(tmp_path / "out" / "seed0-000.mid") == [(3, 4)]
    file = mido.MidiFile(tmp_path / "out" / "seed0-000.mid")
    assert max(sum(message.time for message in track) for track in file.tracks) == 12 * file.ticks_per_beat
    (notes, _) = generated(run, tmp_path / "theirs", "--num_steps=48", "--meter=3/4")
    assert (notes.onset_beats + notes.duration_beats).max() <= 12 + 1e-3


def test_the_first_onset_of_an_output_is_its_place_in_the_bar(run):
    from musicjax.store import model as model_lib

    model = model_lib.load(run)
    rows = np.zeros((4, len(note_bins.COLUMNS)))
    rows[:, BAR_POSITION], rows[:, METER] = [3, 4, 5, 0], 0
    assert model.encoding.decode(rows).onset_beats[0] == pytest.approx(3 / 4), "three steps of a sixteenth"


def test_a_meter_that_the_model_never_saw_is_refused_by_name(run, tmp_path, capsys):
    argv = ["generate", f"--workdir={run}", f"--output_dir={tmp_path}", "--audio=none"]
    assert main([*argv, "--meter=7/8"]) == 2
    assert "meter=7/8: this model learned from music in 3/4; expected one of these" in capsys.readouterr().err
    for wrong in ("waltz", "3", "3/0", "3/5", "0/4", "3/4/4", "-3/4"):
        assert main([*argv, f"--meter={wrong}"]) == 2
        assert "expected a time signature such as 3/4 or 6/8" in capsys.readouterr().err


def test_outputs_may_take_meters_in_turn_and_continue_windows_in_them():
    meters = ((4, 4), (3, 4))
    own = _encoding(meters)
    primers = np.zeros((6, 4, 11), np.float32)
    primers[[1, 4], -1, METER] = 1
    several = [SamplingParams(meter="3/4"), SamplingParams(meter="4/4"), SamplingParams()]
    assert [own.fitting(primers, one).tolist() for one in several] == [[1, 4], [0, 2, 3, 5], [0, 1, 2, 3, 4, 5]]
    moved = own.in_meter(primers[:3], several)
    assert moved[:, -1, METER].tolist() == [1, 0, 0]
    assert own.beats_per_bar(moved).tolist() == [3, 4, 4]


def test_without_a_window_in_a_meter_others_are_continued_and_it_is_told(capsys):
    own = _encoding(((4, 4), (3, 4)))
    assert len(own.fitting(np.zeros((3, 4, 11)), SamplingParams(meter="3/4"))) == 3
    assert "no window that comes with the model is in 3/4" in capsys.readouterr().err


@functools.cache
def _encoding(meters: tuple[tuple[int, int], ...]) -> Encoding:
    bins = dataclasses.replace(learned_bins.learn([piece(np.arange(20) / 2)]), meters=meters)
    config = Config(data=DataConfig(encoding="events"))
    config.model.units = config.model.own.head_units = config.model.own.embedding = 8
    return encoding.of(config, {"bins": dataclasses.asdict(bins)})


def test_drawn_rows_count_in_the_meter_of_the_row_before():
    import jax
    import jax.numpy as jnp

    bins = dataclasses.replace(learned_bins.learn([piece(np.arange(20) / 2)]), meters=((4, 4), (3, 4)))
    draw = event_draw.of_params(bins, [SamplingParams()] * 2, match=False)
    net = _encoding(((4, 4), (3, 4))).network()
    own = net.head.init(jax.random.key(0), 11)
    last = jnp.zeros((2, len(bins.sizes))).at[1, METER].set(1).at[:, BAR_POSITION].set(5)
    noise = net.head.noise(jax.random.key(1), 11)[None].repeat(2, 0)
    drawn = jax.jit(lambda outputs, noise: draw(net, own, outputs, noise, last, draw.start(net, last[:, None])))
    rows, _ = drawn(jnp.zeros((2, net.head.outputs(11))), noise)
    steps = np.asarray(bins.interval)[np.asarray(rows[:, 0], int)]
    assert rows[:, METER].tolist() == [0, 1]
    assert rows[:, BAR_POSITION].tolist() == [(5 + steps[0]) % 8, (5 + steps[1]) % 6]


@pytest.mark.parametrize(("bars", "bpm", "beats_per_bar", "seconds"), [(4, 60, 3, 12), (4, 120, 4, 8), (2, 60, 6, 12)])
def test_bars_are_as_long_as_the_meter_says(bars, bpm, beats_per_bar, seconds):
    assert Length(0, 0, bars).in_seconds(bpm, beats_per_bar) == seconds
    assert Length(0, 0, 0, 12).in_seconds(bpm, beats_per_bar) == 12 * 60 / bpm


# Continuing a primer.


@pytest.mark.parametrize("workdir", [pytest.param("trained_notes", marks=pytest.mark.long), "trained_frames", "run"])
def test_a_continuation_keeps_the_tempo_meter_and_grid_of_its_primer(workdir, request, tmp_path, capsys):
    midi.write(piece([0.0, 1.0, 2.0, 3.5], [(0, 3, 4)], bpm=60), tmp_path / "slow.mid")
    length = "--num_notes=12"
    primer = f"--primer={tmp_path / 'slow.mid'}"
    (notes, _) = generated(request.getfixturevalue(workdir), tmp_path / "out", primer, length)
    assert notes.bpm == pytest.approx(60)
    assert "continues at its tempo, 60 quarter notes a minute" in capsys.readouterr().err
    assert notes.meters.tolist() == [[0, 3, 4]]
    if workdir == "trained_frames":
        assert 1 <= notes.onset_beats[0] < 1 + 12 / 4, "the primer ends on the second beat of a bar"


@pytest.mark.parametrize("bpm", [90, 103, 110, 123, 130])
def test_what_continues_at_a_bar_line_begins_there_however_its_beat_was_rounded(bpm):
    before = from_beats([60] * 9, [80] * 9, np.arange(9.0), [1.0] * 9, bpm)
    for beat in (4, 8):
        assert piece([0.0], bpm=bpm).after_beat(float(before.onset_beats[beat]), before).onset_beats[0] < 1e-6
    assert piece([0.0], bpm=bpm).after_beat(float(before.onset_beats[7]), before).onset_beats[0] == pytest.approx(3)


def test_a_meter_of_a_primer_that_the_model_does_not_know_is_told(run, capsys):
    from musicjax.store import model as model_lib

    model_lib.load(run).encoding.primer_of(piece(np.arange(8) / 2, [(0, 7, 8)]))
    assert "its meter, 7/8, becomes 3/4, the nearest that the model knows" in capsys.readouterr().err


def test_another_tempo_may_be_asked_for(run, tmp_path):
    midi.write(piece([0.0, 1.0, 2.0, 3.5], bpm=60), tmp_path / "slow.mid")
    flags = (f"--primer={tmp_path / 'slow.mid'}", "--num_notes=8", "--bpm=90")
    (notes, _) = generated(run, tmp_path / "out", *flags)
    assert notes.bpm == pytest.approx(90)


def test_a_primer_at_a_tempo_out_of_range_gets_the_nearest_and_a_text_that_of_the_model(run, capsys):
    from musicjax.store import model as model_lib

    model = model_lib.load(run)
    assert primer_lib.tempo(model, None, piece([0.0, 1.0], bpm=5)) == 10
    assert "10 quarter notes a minute, the nearest to its 5" in capsys.readouterr().err
    melody = primer_lib.read("[60,-2,62]", model)
    assert melody.bpm == pytest.approx(model.encoding.tempo(None))


def test_a_source_in_several_meters_keeps_and_tells_them(tmp_path, capsys):
    for number, meter in enumerate([(4, 4), (3, 4)] * 2):
        midi.write(piece(np.arange(24), [(0, *meter)]), tmp_path / f"{number}.mid")
    corpus, _ = load.read(DataConfig(source=str(tmp_path), cache="off", workers=1))
    assert [corpus.piece(p).meters.tolist() for p in range(4)] == [[[0, 4, 4]], [[0, 3, 4]]] * 2
    assert main(["data", f"--data={tmp_path}", "--config.data.cache=off", "--config.data.workers=1"]) == 0
    assert ", 2 in 4/4, 2 in 3/4, 120 bpm; keys: " in capsys.readouterr().out
    with pytest.raises(UsageError, match="meter=3/4: this model learned from music in 4/4"):
        _encoding(((4, 4),)).in_meter(np.zeros((1, 4, 11)), [SamplingParams(meter="3/4")])
