"""Note events under controls equal a slow draw in NumPy, and files are as their flags asked."""

from __future__ import annotations

import collections
import types
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import mido
import numpy as np
import pytest
import tiny_events

from musicjax.config import Config, DataConfig, EventsSample, SampleConfig
from musicjax.encodings import event_draw, event_memory, sampling_params
from musicjax.encodings.event_draw import Controls
from musicjax.encodings.event_memory import Clock
from musicjax.encodings.sampling_params import SamplingParams
from musicjax.errors import UsageError
from musicjax.generation import generate as generate_lib
from musicjax.generation import request, trim
from musicjax.main import main
from musicjax.model import sample
from musicjax.model.categorical import Categorical
from musicjax.model.sample import Past
from musicjax.music import midi
from musicjax.music.notes import Notes, from_seconds
from musicjax.store.model import Model

# Of the slow draw: bins of each column; steps of intervals and durations, and of a bar.
SIZES, STEPS, SOUNDS, STEPS_PER_BAR = (4, 8, 12, 3, 2), (0, 1, 2, 4), (1, 3, 9), 8
HEAD = Categorical(SIZES, (1,), 4)
OUTPUTS, NOTES = 24, 60
SAMPLED = 24


def random_controls() -> Controls:
    """Of 24 outputs: without filters, with each alone, with all; with masks and without."""
    generator = np.random.default_rng(4)
    temperature = generator.choice([0.0, 0.5, 1.0, 2.0], (OUTPUTS, 4)).astype(np.float32)
    allowed = generator.random((OUTPUTS, sum(SIZES))) < 0.7
    allowed[::3] = True
    for begin in np.cumsum([0, *SIZES[:-1]]):
        allowed[:, begin] = True
    top_k = generator.choice([0, 0, 1, 2, 5], OUTPUTS).astype(np.int32)
    top_p = generator.choice([1.0, 1.0, 0.3, 0.8], OUTPUTS).astype(np.float32)
    min_p = generator.choice([0.0, 0.0, 0.1, 0.6], OUTPUTS).astype(np.float32)
    limit, runs = generator.choice([0, 1, 2, 3], OUTPUTS), generator.choice([0, 2, 3, 4], OUTPUTS)
    numbers = (temperature, top_k, top_p, min_p, allowed, limit.astype(np.int32), runs.astype(np.int32))
    return Controls(*map(jnp.asarray, numbers))


def slow_bin(logits, noise, allowed, temperature, top_k, top_p, min_p) -> int:
    """One bin, sorted and added up one by one."""
    bins = [b for b in range(len(logits)) if allowed[b]]
    if temperature == 0:
        return max(bins, key=lambda b: logits[b])
    weight = {b: np.exp(np.float64(logits[b]) / temperature) for b in bins}
    total = sum(weight.values())
    kept, before = [], 0.0
    for b in sorted(bins, key=lambda b: -weight[b]):
        likely, likeliest = weight[b] / total, max(weight.values()) / total
        if before < top_p and (not top_k or len(kept) < top_k) and likely >= min_p * likeliest:
            kept.append(b)
        before += likely
    return max(kept, key=lambda b: logits[b] / temperature + noise[b])


def slow_rows(params, outputs, noise, one: Controls) -> np.ndarray:
    """Rows [L, C] of one output: its controls' k-th part, without the others."""
    begins, rows = np.cumsum([0, *SIZES]), []
    sounding: list[int] = []  # steps that each note still sounds
    position = 0
    for n in range(NOTES):
        row = np.zeros(5)

        def column(c: int, mask, row=row, n=n) -> int:
            own = slice(begins[c], begins[c + 1])
            allowed = np.asarray(one.allowed)[own] & mask if mask is not None else np.asarray(one.allowed)[own]
            allowed = allowed if allowed.any() else np.asarray(one.allowed)[own]
            logits = np.asarray(logits_of(params, outputs[n], row, c))
            filters = (int(one.top_k), float(one.top_p), float(one.min_p))
            temperature = float(one.temperature[HEAD.predicted.index(c)])
            return slow_bin(logits, noise[n][own], allowed, temperature, *filters)

        limit, runs = int(one.polyphony) or 10**6, int(one.no_repeat)
        room = np.array([sum(left > steps for left in sounding) < limit for steps in STEPS])
        if not room.any():
            room[np.argmax(STEPS)] = True
        row[0] = column(0, room)
        passed = STEPS[int(row[0])]
        row[1] = position = (position + passed) % STEPS_PER_BAR
        before = [int(r[2]) for r in rows]
        new = np.ones(SIZES[2], bool)
        if runs and len(before) >= runs - 1:
            end = before[len(before) - runs + 1 :]
            for start in range(len(before) - runs + 1):
                if before[start : start + runs - 1] == end:
                    new[before[start + runs - 1]] = False
        row[2] = column(2, new)
        row[3], row[4] = column(3, None), 0
        row[4] = column(4, None)
        sounding = [left - passed for left in sounding] + [SOUNDS[int(row[3])]]
        rows.append(row)
    return np.array(rows)


def logits_of(params, outputs, row, column: int) -> np.ndarray:
    """The head's logits, in NumPy."""
    hidden = np.split(outputs, 4)[HEAD.predicted.index(column)]
    if column:
        before = np.concatenate([np.eye(size)[int(row[c])] for c, size in enumerate(SIZES[:column])])
        hidden = hidden + before @ params[f"into_{column}"]
    return np.maximum(hidden, 0) @ params[f"out_{column}"] + params[f"bias_{column}"]


def test_rows_are_drawn_as_by_a_slow_loop_over_bins_and_notes() -> None:
    generator = np.random.default_rng(2)
    shapes = jax.eval_shape(lambda: HEAD.init(jax.random.key(0), 5))
    params = {name: generator.normal(0, 1, leaf.shape).astype(np.float32) for name, leaf in shapes.items()}
    outputs = generator.normal(0, 2, (NOTES, OUTPUTS, 16)).astype(np.float32)
    noise = generator.gumbel(size=(NOTES, OUTPUTS, sum(SIZES))).astype(np.float32)
    several = random_controls()
    clock = Clock(jnp.asarray(STEPS, jnp.int32), jnp.asarray(SOUNDS, jnp.int32), jnp.asarray([STEPS_PER_BAR]))

    @jax.jit
    def drawn(params, outputs, noise, several):
        def note(carry, now):
            rows, memory = event_draw.draw(HEAD, params, *now, carry[0], several, clock, carry[1])
            return (rows, memory), rows

        return jax.lax.scan(note, (jnp.zeros((OUTPUTS, 5)), event_memory.nothing_yet(OUTPUTS)), (outputs, noise))[1]

    rows = np.asarray(drawn(params, outputs, noise, several)).swapaxes(0, 1)
    for k in range(OUTPUTS):
        one = jax.tree.map(lambda leaf, k=k: np.asarray(leaf)[k], several)
        np.testing.assert_array_equal(
            rows[k], slow_rows(params, outputs[:, k], noise[:, k], one), err_msg=f"output {k}"
        )


# Of a whole model.


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_events.model()


MIXED = (
    SamplingParams(),
    SamplingParams(temperature=1.5, key="D", scale="dorian", pitch_range=(40, 80), polyphony=2),
    SamplingParams(top_k=3, no_repeat=3),
    SamplingParams(top_p=0.7, polyphony=1, pitch_temperature=0.0),
    SamplingParams(min_p=0.2, key="Bb", scale="blues"),
    SamplingParams(temperature=0.0, no_repeat=2, velocity_temperature=2.0),
    SamplingParams(pitch_range=(60, 62), no_repeat=2, stop_loops=False),
    SamplingParams(polyphony=3, top_k=5, top_p=0.9, min_p=0.05),
)


def sampled(
    model: Model, params: tuple[SamplingParams, ...], past: Past | None = None, first: int = 0, notes: int = SAMPLED
):
    """As `generate` samples, from the model's first windows."""
    outputs = len(params)
    return sample.sample(
        model.network,
        model.params,
        past or Past(model.primers[:outputs]),
        sample.output_keys(3, range(outputs)),
        model.encoding.limits(),
        model.encoding.draw(params, model.deviation),
        notes,
        first,
        "carry",
    )


@pytest.fixture(scope="module")
def rows(model: Model) -> np.ndarray:
    """Rows [K, L, C] of MIXED."""
    return np.asarray(sampled(model, MIXED).rows)


def test_no_bin_is_drawn_that_is_not_allowed(model: Model, rows: np.ndarray) -> None:
    bins = model.encoding.bins
    for k, one in enumerate(MIXED):
        assert set(rows[k, :, 2].astype(int)) <= set(one.pitches)
        assert (rows[k].max(axis=0) < bins.used).all()
    assert len(set(rows[1, :, 2])) > 3 and len(set(rows[0, :, 2])) > 6


def test_the_bar_position_follows_from_the_intervals(model: Model, rows: np.ndarray) -> None:
    bins = model.encoding.bins
    steps = np.asarray(bins.interval)[rows[:, :, 0].astype(int)]
    last = np.asarray(model.primers)[: len(MIXED), -1, 1]
    np.testing.assert_array_equal(rows[:, :, 1], (last[:, None] + np.cumsum(steps, axis=1)) % bins.steps_per_bar[0])
    assert len(np.unique(rows[:, :, 1])) > 8


def test_no_run_of_pitches_repeats_while_another_pitch_is_left(rows: np.ndarray) -> None:
    for k, one in enumerate(MIXED):
        pitches, runs = rows[k, :, 2].astype(int).tolist(), one.no_repeat
        seen: set[tuple[int, ...]] = set()
        for end in range(runs, len(pitches) + 1) if runs else ():
            run = tuple(pitches[end - runs : end])
            others = [pitch for pitch in one.pitches if (*run[:-1], pitch) not in seen]
            assert run not in seen or not others
            seen.add(run)
    free = rows[6, :, 2].astype(int).tolist()
    assert len({tuple(free[n : n + 2]) for n in range(SAMPLED - 1)}) >= 8, "of 3 pitches, nearly all 9 pairs come"


def test_an_output_depends_neither_on_the_number_of_outputs_nor_on_their_parameters(
    model: Model, rows: np.ndarray
) -> None:
    others = [SamplingParams(temperature=0.3, top_k=2, polyphony=1, key="E") for _ in range(7)]
    others[0], others[3] = MIXED[0], MIXED[3]
    found = np.asarray(sampled(model, tuple(others)).rows)
    for k in (0, 3):
        np.testing.assert_array_equal(found[k], rows[k])


def test_going_on_equals_one_long_call(model: Model, rows: np.ndarray) -> None:
    half = sampled(model, MIXED, notes=SAMPLED // 2)
    more = sampled(model, MIXED, half.past, first=SAMPLED // 2, notes=SAMPLED // 2)
    np.testing.assert_array_equal(np.concatenate([half.rows, more.rows], axis=1), rows)


def most_at_once(notes: Notes) -> int:
    """Counted at every onset."""
    end = notes.onset + notes.duration
    return max(int(((notes.onset <= now + 1e-6) & (end > now + 1e-6)).sum()) for now in notes.onset)


def test_no_file_has_more_notes_at_once_than_asked(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = (0, 1, 2, 3, 1, 2, 3, 4)
    params = [SamplingParams(polyphony=limit, interval_temperature=0.5) for limit in limits]
    pieces = generate_lib.generate(model, num_outputs=8, num_notes=SAMPLED, seed=2, sampling=params)
    said = capsys.readouterr().err
    assert "where another begins and --polyphony leaves no room for both" in said, "the longest interval is too short"
    paths = generate_lib.write(pieces, tmp_path, 2)
    found = [most_at_once(midi.read(path)) for path in paths]
    assert found[0] > 3 and all(0 < most <= limit for most, limit in zip(found[1:], limits[1:], strict=True))


def test_a_note_ends_where_one_too_many_begins() -> None:
    notes = from_seconds([60, 64, 67, 72], [80] * 4, [0.0, 0.5, 1.0, 2.0], [3.0, 0.75, 3.0, 1.0])
    two, cut = trim.limited(notes, 2)
    assert cut == 2 and two.duration.tolist() == [2.0, 0.5, 3.0, 1.0] and two.duration_beats.tolist() == [4, 1, 6, 2]
    one, cut = trim.limited(notes, 1)
    assert cut == 3 and one.duration.tolist() == [0.5, 0.5, 1.0, 1.0]
    assert trim.limited(notes, 0) == (notes, 0) and trim.limited(notes, 3)[1] == 0
    chord, cut = trim.limited(from_seconds([60, 64, 67], [80] * 3, [1.0] * 3, [1.0] * 3), 2)
    assert cut == 1 and chord.pitch.tolist() == [64, 67]


def test_the_opening_of_an_output_is_moved_to_its_key() -> None:
    window = np.zeros((3, 5, 10), np.float32)
    window[:, :, 2] = [60, 62, 64, 65, 71]  # of C major alone
    window[:, 3:, 6], window[:, 3:, 9] = 62, 1  # two of them have a match
    asked = [SamplingParams(), SamplingParams(key="D"), SamplingParams(key="C", pitch_range=(80, 100))]
    moved = event_draw.transposed(window, asked)
    assert moved[0, 0, 2] == 60 and moved[1, 0, 2] == 62 and moved[2, 0, 2] == 84
    others = [0, 1, 3, 4, 5, 7, 8, 9]
    np.testing.assert_array_equal(moved[:, :, others], window[:, :, others])
    shift = moved[:, 0, 2] - 60
    np.testing.assert_array_equal(moved[:, 3:, 6], np.tile(62 + shift[:, None], (1, 2)))
    assert (moved[:, :3, 6] == 0).all(), "no match, no pitch"
    assert (window[:, 0, 2] == 60).all()


# From flags to files.


def test_outputs_take_the_values_of_a_list_in_turn() -> None:
    values = sampling_params.from_flags(
        {"temperature": "0.5,1", "key": "C, D, none", "top_k": None, "pitch_range": "40,50"}
    )
    made = sampling_params.in_turn(values, 4)
    assert [one.temperature for one in made] == [0.5, 1, 0.5, 1] and [one.key for one in made] == ["C", "D", "", "C"]
    assert {one.pitch_range for one in made} == {(40, 50)} and {one.top_k for one in made} == {0}
    assert len(sampling_params.grid(values)) == 6 and sampling_params.grid(values)[1] == SamplingParams(
        0.5, key="D", pitch_range=(40, 50)
    )
    assert sampling_params.in_turn({}, 2) == [SamplingParams(), SamplingParams()]


@pytest.mark.parametrize(
    ("asked", "drawn"),
    [
        ({}, (0.5, 0.4, 0.5, 0.65)),
        ({"temperature": "2"}, (2.0, 1.6, 2.0, 2.6)),
        ({"pitch_temperature": 1.0}, (0.5, 1.0, 0.5, 0.65)),
    ],
)
def test_a_config_makes_the_temperatures_of_columns_from_the_temperature_unless_they_are_given(asked, drawn) -> None:
    own = EventsSample(temperature_factors=(1.0, 0.8, 1.0, 1.3))
    config = Config(data=DataConfig(encoding="events"), sample=SampleConfig(temperature=0.5, own=own))
    options = {"num_outputs": 1, "seed": 0, "decode": "auto", "audio": "none", "soundfont": "", "primer": ""}
    filled = request.filled(request.of(collections.defaultdict(lambda: None, options, **asked)), config.sample)
    assert filled.sampling[0].temperatures == pytest.approx(drawn)
    assert asked or sampling_params.of_config(config.sample).temperatures == pytest.approx(drawn)


def test_the_ranges_checked_without_jax_are_those_of_the_sampler() -> None:
    assert request.DECODES == sample.DECODES
    assert sampling_params.RANGES["polyphony"][1] <= event_memory.SOUNDING


def test_flags_become_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workdir = tiny_events.save(tmp_path / "run")
    argv = ["generate", f"--run_dir={workdir}", f"--output_dir={tmp_path / 'out'}", "--num_outputs=2", "--seed=7"]
    argv += ["--audio=none", "--exact"]
    argv += ["--num_steps=24", "--qpm=90", "--program=40", "--key=C,Db", "--scale=major", "--pitch_range=40,90"]
    assert main([*argv, "--primer_melody=[60,-2,67]"]) == 0
    out, err = capsys.readouterr()
    paths = sorted((tmp_path / "out").glob("*.mid"))
    assert out.split() == [str(path) for path in paths] and len(paths) == 2
    assert "nearest" not in err, "its notes are all in the bins"
    for path, shift in zip(paths, (0, 1), strict=True):
        notes = midi.read(path)
        assert {(pitch - shift) % 12 for pitch in notes.pitch.tolist()} <= {0, 2, 4, 5, 7, 9, 11}
        assert notes.pitch.min() >= 40 and notes.pitch.max() <= 90
        assert notes.onset_beats.max() < 6 and (notes.onset_beats + notes.duration_beats).max() <= 6 + 1e-3
        np.testing.assert_allclose(notes.onset_beats * 4, np.rint(notes.onset_beats * 4), atol=1e-3)
        assert notes.seconds <= 4 + 1e-3
        messages = list(mido.MidiFile(path))
        assert {message.program for message in messages if message.type == "program_change"} == {40}
        tempos = [message.tempo for message in messages if message.type == "set_tempo"]
        assert [mido.tempo2bpm(tempo) for tempo in tempos] == [pytest.approx(90, abs=1e-3)]


def test_the_sampling_parameters_of_a_call_are_checked(model: Model) -> None:
    with pytest.raises(UsageError, match=r"top_p=2: expected 0.001..1.0"):
        generate_lib.generate(model, num_notes=4, sampling=SamplingParams(top_p=2))
    with pytest.raises(UsageError, match=r"temperature=1.0 and sampling are both given"):
        generate_lib.generate(model, num_notes=4, sampling=SamplingParams(), temperature=1.0)
    with pytest.raises(UsageError, match=r"num_notes=4, seconds=0, bars=2, beats=0: expected at most one of the four"):
        generate_lib.generate(model, num_notes=4, bars=2)


def test_what_an_output_keeps_does_not_depend_on_the_filters_of_another():
    """The sampler does not sort where no output has top-k or top-p. The oracle sorts in NumPy."""
    logits = np.random.default_rng(0).normal(0, 2, (4, 40)).astype(np.float32)
    logits[:, 3] = -np.inf
    top_k, top_p, min_p = np.array([0, 0, 5, 3]), np.array([1, 1, 1, 0.8]), np.array([0, 0.1, 0, 0.05])

    def kept(places: list[int]) -> np.ndarray:
        controls: Any = types.SimpleNamespace(
            top_k=jnp.asarray(top_k[places], jnp.int32),
            top_p=jnp.asarray(top_p[places], jnp.float32),
            min_p=jnp.asarray(min_p[places], jnp.float32),
        )
        return np.asarray(event_draw._filtered(jnp.asarray(logits[places]), controls))

    together = kept([0, 1, 2, 3])
    np.testing.assert_array_equal(kept([0, 1]), together[:2])
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for place, of in enumerate(probabilities):
        order = np.argsort(-of)
        before = np.cumsum(of[order]) - of[order]
        left = [bin for bin, mass in zip(order, before, strict=True) if top_p[place] >= 1 or mass < top_p[place]]
        left = [bin for bin in left[: top_k[place] or None] if of[bin] >= min_p[place] * of.max()]
        expected = np.isin(np.arange(40), left) & np.isfinite(logits[place])
        np.testing.assert_array_equal(np.isfinite(together[place]), expected)
