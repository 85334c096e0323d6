"""Metrics of pieces against values by hand, a piano roll that is counted out, and muspy; overlap against SciPy."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from musicjax.errors import RunError
from musicjax.music import metrics
from musicjax.music.notes import Notes, from_beats


def _notes(*rows: tuple[int, int, int]) -> Notes:
    """Notes from (onset in sixteenths, pitch, duration in sixteenths)."""
    onset, pitch, duration = np.array(rows, np.int64).reshape(-1, 3).T
    return from_beats(pitch, np.full(len(rows), 80), onset / 4, duration / 4)


def _random_piece(seed: int, notes: int, pitches: int = 24) -> Notes:
    rng = np.random.default_rng(seed)
    onset = np.cumsum(rng.choice([0, 0, 1, 2, 4, 24], notes, p=[0.2, 0.2, 0.2, 0.2, 0.15, 0.05]))
    pitch, velocity = rng.integers(50, 50 + pitches, notes), rng.integers(1, 128, notes)
    return from_beats(pitch, velocity, onset / 4, rng.integers(1, 9, notes) / 4)


pieces = st.builds(_random_piece, st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 24))


def test_values_by_hand():
    # Beat 0: C major, a quarter long. Beats 1 and 2: silence. Beat 3, the last sixteenth: F sharp, twice at once.
    # Beats 4 and 5 (the second measure): C for two beats, C again inside it.
    piece = _notes((0, 60, 3), (0, 64, 3), (0, 67, 3), (15, 66, 1), (15, 66, 1), (16, 60, 8), (18, 60, 2))
    found = metrics.of_piece(piece)
    thirds = {"C": 3 / 7, "E": 1 / 7, "G": 1 / 7, "F sharp": 2 / 7}
    entropy = -sum(share * math.log2(share) for share in thirds.values())
    expected = {
        "pitch_range": 7,
        "pitches_used": 4,
        "pitch_classes_used": 4,
        "pitch_entropy": entropy,
        "pitch_class_entropy": entropy,
        "scale_consistency": 1.0,  # G major has them all
        "most_frequent_pitch": 3 / 7,
        "polyphony": (3 * 3 + 1 * 1 + 8 * 1) / 12,  # C inside C is one pitch
        "polyphony_rate": 3 / 24,
        # Onsets at 0 and 15 in the one measure, 0 and 2 in the next: places 2 and 15 differ.
        "groove_consistency": 1 - 2 / 16,
        # Seven beats, of which the last is the one in which the last note ends; F sharp ends as beat 4 begins.
        "empty_beat_rate": 2 / 7,
        "note_density": 7 / 6,
        "mean_interval_beats": 4.5 / 6,
        "mean_duration_beats": (3 * 3 + 1 + 1 + 8 + 2) / 7 / 4,
        "mean_velocity": 80,
        "longest_repeat": 0,
        "most_repeated_8gram": 0,
    }
    assert list(found) == list(metrics.NAMES)
    assert found == pytest.approx(expected)


def test_the_grid_rounds_to_the_nearest_sixteenth_and_keeps_a_note_one_step_long():
    piece = from_beats([62, 60, 64], [80] * 3, [0.26, 0.24, 1.125], [0.02, 0.24, 0.13])
    pitch, onset, end = metrics.on_grid(piece)
    assert pitch.tolist() == [60, 62, 64]  # those that start together by pitch
    assert onset.tolist() == [1, 1, 5]  # the middle goes up
    assert end.tolist() == [2, 2, 6]


@pytest.mark.parametrize(
    "piece", [_notes(), _notes((0, 60, 1)), _notes((40, 0, 0)), _notes((0, 127, 0), (0, 127, 0)), _notes((3, 5, 90))]
)
def test_pieces_of_almost_nothing_have_finite_metrics(piece):
    found = metrics.of_piece(piece)
    assert tuple(found) == metrics.NAMES
    assert all(type(value) is float and math.isfinite(value) for value in found.values())
    if not len(piece):
        assert set(found.values()) == {0.0}


def test_one_note_is_a_steady_groove_without_intervals_and_repeats():
    found = metrics.of_piece(_notes((0, 60, 4)))
    assert (found["groove_consistency"], found["mean_interval_beats"], found["longest_repeat"]) == (1.0, 0.0, 0.0)
    assert math.copysign(1, found["pitch_entropy"]) == 1  # not -0.0


@pytest.mark.parametrize("scale", [(0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)], ids=["major", "minor"])
def test_notes_of_one_scale_are_consistent_and_of_all_keys_are_not(scale):
    for root in range(48, 60):
        notes = [(step, root + semitone, 1) for step, semitone in enumerate(scale)]
        assert metrics.of_piece(_notes(*notes))["scale_consistency"] == 1.0
    chromatic = [(step, 48 + step, 1) for step in range(12)]
    assert metrics.of_piece(_notes(*chromatic))["scale_consistency"] == 7 / 12


@settings(max_examples=60, deadline=None)
@given(pieces, st.integers(-50, 50))
def test_transposition_changes_no_metric(piece, semitones):
    moved = dataclasses.replace(piece, pitch=piece.pitch + np.int16(semitones))
    assert metrics.of_piece(moved) == pytest.approx(metrics.of_piece(piece), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(pieces, st.randoms(use_true_random=False))
def test_the_order_of_notes_that_start_together_changes_no_metric(piece, random):
    order = np.array(random.sample(range(len(piece)), len(piece)))
    order = order[np.argsort(piece.onset[order], kind="stable")]
    assert metrics.of_piece(piece[order]) == pytest.approx(metrics.of_piece(piece), abs=1e-12)


def _counted_out(piece: Notes) -> dict[str, float]:
    """Metrics of time from a piano roll, step by step."""
    pitch, onset, end = metrics.on_grid(piece)
    length = int(end.max())
    roll = np.zeros((length, 128), bool)
    for key, begin, stop in zip(pitch, onset, end, strict=True):
        roll[begin:stop, key] = True
    sounding = roll.sum(1)
    bars = [{begin % 16 for begin in onset if begin // 16 == bar} for bar in range(length // 16 + 1)]
    differ = [len(one ^ other) / 16 for one, other in itertools.pairwise(bars)]
    beats = length // 4 + 1
    filled = {beat for begin, stop in zip(onset, end, strict=True) for beat in range(begin // 4, stop // 4 + 1)}
    return {
        "polyphony": sounding[sounding > 0].mean(),
        "polyphony_rate": (sounding > 2).mean(),
        "groove_consistency": 1 - float(np.mean(differ)) if differ else 1.0,
        "empty_beat_rate": 1 - len(filled) / beats,
    }


@settings(max_examples=60, deadline=None)
@given(pieces)
def test_metrics_of_time_are_those_of_a_piano_roll(piece):
    expected = _counted_out(piece)
    found = metrics.of_piece(piece)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def _repeats_by_force(piece: Notes) -> tuple[int, int]:
    pitch, onset, _ = (column.tolist() for column in metrics.on_grid(piece))
    count = len(pitch)

    def run(begin: int, length: int) -> list:
        return [(pitch[place], onset[place] - onset[begin]) for place in range(begin, begin + length)]

    longest = 0
    for length in range(2, count // 2 + 1):
        for one in range(count - 2 * length + 1):
            if any(run(one, length) == run(other, length) for other in range(one + length, count - length + 1)):
                longest = length
    grams = [run(begin, 8) for begin in range(count - 7)]
    return longest, max((grams.count(gram) for gram in grams), default=0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 26), st.integers(1, 3))
def test_repeats_are_those_found_by_comparing_all_runs(seed, notes, pitches):
    rng = np.random.default_rng(seed)
    onset = np.cumsum(rng.integers(0, 2, notes)) if pitches > 1 else np.arange(notes)
    piece = _notes(*zip(onset.tolist(), rng.integers(60, 60 + pitches, notes).tolist(), [1] * notes, strict=True))
    found = metrics.of_piece(piece)
    assert (found["longest_repeat"], found["most_repeated_8gram"]) == _repeats_by_force(piece)


def test_a_planted_repeat_is_as_long_as_it_was_planted():
    rng = np.random.default_rng(1)
    pitch = rng.integers(30, 100, 60)
    pitch[40:53] = pitch[10:23]
    pitch[53], pitch[39] = pitch[23] + 1, pitch[9] + 1
    found = metrics.of_piece(_notes(*((2 * step, int(key), 1) for step, key in enumerate(pitch))))
    assert found["longest_repeat"] == 13
    assert found["most_repeated_8gram"] == 2


def test_one_tone_over_and_over_repeats_half_of_itself():
    found = metrics.of_piece(_notes(*((step, 60, 1) for step in range(21))))
    assert (found["longest_repeat"], found["most_repeated_8gram"]) == (10, 14)


def test_metrics_are_those_of_muspy():
    muspy = pytest.importorskip("muspy", reason="muspy is not installed; it only checks definitions")
    for seed in range(12):
        piece = _random_piece(seed, notes=int(np.random.default_rng(seed).integers(1, 300)))
        columns = (column.tolist() for column in metrics.on_grid(piece))
        notes = [
            muspy.Note(time=begin, pitch=key, duration=end - begin) for key, begin, end in zip(*columns, strict=True)
        ]
        music = muspy.Music(resolution=4, tracks=[muspy.Track(notes=notes)])
        expected = {
            "pitch_range": muspy.pitch_range(music),
            "pitches_used": muspy.n_pitches_used(music),
            "pitch_classes_used": muspy.n_pitch_classes_used(music),
            "pitch_entropy": muspy.pitch_entropy(music),
            "pitch_class_entropy": muspy.pitch_class_entropy(music),
            "scale_consistency": muspy.scale_consistency(music),
            "polyphony": muspy.polyphony(music),
            "polyphony_rate": muspy.polyphony_rate(music),
            "groove_consistency": muspy.groove_consistency(music, measure_resolution=16),
            "empty_beat_rate": muspy.empty_beat_rate(music),
        }
        expected = {name: value for name, value in expected.items() if not math.isnan(value)}
        assert len(expected) >= 9  # groove is not a number in a single measure
        found = metrics.of_piece(piece)
        assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def _set(values) -> list[dict[str, float]]:
    return [{"x": float(value)} for value in values]


def _overlap(generated, real) -> metrics.Overlap:
    return metrics.compare(_set(generated), _set(real))["x"]


@pytest.mark.parametrize(("shift", "spread"), [(0.0, 1.0), (1.0, 1.0), (0.5, 0.3), (4.0, 2.0)])
def test_overlap_and_divergence_are_those_of_the_kernel_densities_of_scipy(shift, spread):
    rng = np.random.default_rng(0)
    real, generated = rng.normal(3, 1, 20), rng.normal(3 + shift, spread, 12)
    intra = [abs(one - other) for place, one in enumerate(real) for other in real[place + 1 :]]
    inter = [abs(one - other) for one in generated for other in real]
    x = np.linspace(-10, 25, 5001)
    among, across, of_real, of_generated = (stats.gaussian_kde(v)(x) for v in (intra, inter, real, generated))
    area = np.trapezoid(np.minimum(among, across), x)
    value_area = np.trapezoid(np.minimum(of_real, of_generated), x)
    kl = stats.entropy(among, np.maximum(across, 1e-300))
    found = _overlap(generated, real)
    assert found.overlap_area == pytest.approx(area, abs=2e-3)
    assert found.value_overlap_area == pytest.approx(value_area, abs=2e-3)
    assert found.kl_nats == pytest.approx(kl, abs=1e-2)


def test_equal_sets_overlap_wholly_and_distant_ones_not_at_all():
    rng = np.random.default_rng(2)
    real = rng.normal(0, 1, 40)
    same, near, far = _overlap(real, real), _overlap(real + 1, real), _overlap(real + 100, real)
    assert same.value_overlap_area == pytest.approx(1)
    assert 1 > same.overlap_area > 0.95  # among the distances between the sets are those of 0 of a piece to itself
    assert same.overlap_area > near.overlap_area > far.overlap_area
    assert same.kl_nats < near.kl_nats < far.kl_nats < math.inf
    assert far.overlap_area < 1e-3
    assert far.value_overlap_area < 1e-3


def test_pieces_drawn_alike_overlap_more_than_pieces_that_are_all_one():
    rng = np.random.default_rng(3)
    real, alike = rng.normal(0, 1, (2, 60))
    assert _overlap(alike, real).overlap_area > _overlap(np.zeros(60), real).overlap_area + 0.1


def test_sets_without_variance_have_an_overlap_too():
    equal = _overlap([5, 5], [5, 5, 5])
    assert (equal.overlap_area, equal.kl_nats, equal.value_overlap_area) == pytest.approx((1, 0, 1))
    by_rounding = _overlap([0.1 + 0.2, 0.3], [0.3, 0.3])
    assert by_rounding.overlap_area == pytest.approx(1)
    apart = _overlap([6, 6], [5, 5, 5])
    assert apart.overlap_area == pytest.approx(0, abs=1e-6)
    assert apart.value_overlap_area == pytest.approx(0, abs=1e-6)
    assert 10 < apart.kl_nats < math.inf
    assert math.isfinite(_overlap([5], [5, 6]).kl_nats)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(2, 9), st.floats(0.01, 1000))
def test_unit_and_order_do_not_matter(seed, generated, real, unit):
    rng = np.random.default_rng(seed)
    ours, theirs = rng.integers(0, 4, generated).astype(float), rng.integers(0, 4, real).astype(float)
    found = dataclasses.astuple(_overlap(ours, theirs))
    assert 0 <= found[0] <= 1 + 1e-9
    assert found[1] >= -1e-9
    assert dataclasses.astuple(_overlap(ours[::-1] * unit, theirs[::-1] * unit)) == pytest.approx(found, abs=1e-6)


def test_every_metric_is_compared_and_the_mean_is_over_all():
    real = [metrics.of_piece(_random_piece(seed, 80)) for seed in range(8)]
    generated = [metrics.of_piece(_random_piece(seed, 80, pitches=3)) for seed in range(8, 12)]
    overlaps = metrics.compare(generated, real)
    assert tuple(overlaps) == metrics.NAMES
    assert overlaps["pitches_used"].overlap_area < 0.2 < overlaps["mean_velocity"].overlap_area
    areas = [overlap.overlap_area for overlap in overlaps.values()]
    assert metrics.mean_overlap_area(overlaps) == pytest.approx(sum(areas) / len(areas))


@pytest.mark.parametrize(("generated", "real"), [([], [1, 2]), ([1], [1]), ([1], [])])
def test_too_few_pieces_are_refused_in_one_line(generated, real):
    with pytest.raises(RunError, match=r"^\d generated and \d real pieces.*expected at least 1 and 2.*compare$"):
        metrics.compare(_set(generated), _set(real))
