"""n-grams of notes against slow code written from the definitions, against counts by hand, and against the laws of
probability."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from benchmarks import ngrams
from musicjax.errors import UsageError

SIZES = (3, 2)
CASES = [
    (order, kind, smoothing)
    for order, kind, smoothing in itertools.product((1, 2, 3, 5), ngrams.KINDS, ngrams.SMOOTHINGS)
]


def _corpus(seed: int = 0, lengths: tuple[int, ...] = (40, 1, 0, 25, 2, 60), sizes: tuple[int, ...] = SIZES):
    """Pieces whose rows often repeat an earlier one."""
    rng = np.random.default_rng(seed)
    pieces = []
    for length in lengths:
        piece = rng.integers(0, sizes, (length, len(sizes)))
        again = rng.random(length) < 0.6
        for index in range(2, length):
            if again[index]:
                piece[index] = piece[index - 2]
        pieces.append(piece)
    return np.concatenate(pieces).astype(np.uint8), np.append(0, np.cumsum(lengths))


def _slow(rows, offsets, sizes, attribute, groups, smoothing):
    """P(value | history) as the papers define it, from dictionaries of whole contexts."""
    seen = []  # (the chain's values, value) of each predicted row
    for start, end in itertools.pairwise(offsets):
        for index in range(start + 1, end):
            seen.append((_context(rows, start, index, groups), rows[index, attribute]))

    def numbers(length):
        counts = defaultdict(Counter)
        if length == len(groups) or smoothing == "witten_bell":
            for context, value in seen:
                counts[context[:length]][value] += 1
        else:
            for context, value in {(context[: length + 1], value) for context, value in seen}:
                counts[context[:length]][value] += 1
        return counts

    def discounts(counts):
        of = Counter(number for values in counts.values() for number in values.values())
        if not (of[1] and of[2] and of[3]):
            return 0.5, 1.0, 1.5
        y = of[1] / (of[1] + 2 * of[2])
        found = tuple(n - (n + 1) * y * of[n + 1] / of[n] for n in (1, 2, 3))
        return found if min(found) > 0 else (0.5, 1.0, 1.5)

    by_length = [numbers(length) for length in range(len(groups) + 1)]
    off = [discounts(counts) for counts in by_length]

    def probability(context, value, length):
        if length < 0:
            return 1 / sizes[attribute]
        below = probability(context, value, length - 1)
        values = by_length[length].get(context[:length])
        if values is None:
            return below
        total = sum(values.values())
        if smoothing == "witten_bell":
            return (values[value] + len(values) * below) / (total + len(values))
        less = {number: off[length][min(number, 3) - 1] for number in values.values()}
        own = values[value] - less[values[value]] if value in values else 0
        return (own + sum(less[number] for number in values.values()) * below) / total

    return lambda context, value: probability(context, value, len(groups))


def _context(rows, start, index, groups):
    return tuple(
        tuple(rows[index - lag, other] if index - lag >= start else None for lag, other in group) for group in groups
    )


@pytest.mark.parametrize(("order", "kind", "smoothing"), CASES)
def test_nats_are_those_of_the_definitions(order, kind, smoothing):
    train, valid = _corpus(), _corpus(1, (30, 3))
    model = ngrams.fit(*train, SIZES, order, kind, smoothing)
    expected = np.zeros(len(SIZES))
    for attribute, groups in enumerate(model.groups):
        slow = _slow(*train, SIZES, attribute, groups, smoothing)
        rows, offsets = valid
        costs = [
            -math.log(slow(_context(rows, start, index, groups), rows[index, attribute]))
            for start, end in itertools.pairwise(offsets)
            for index in range(start + 1, end)
        ]
        assert len(costs) == 29 + 2
        expected[attribute] = np.mean(costs)
    np.testing.assert_allclose(ngrams.nats(model, *valid), expected, rtol=1e-12)


def test_the_corpus_of_these_tests_needs_estimated_discounts_and_the_fixed_ones():
    groups = ngrams.fit(*_corpus(), SIZES, 5, "tokens", "kneser_ney").groups[0]
    counts = ngrams._count(*_corpus(), SIZES, 0, groups)
    found = [ngrams._discounts(counts[0].distinct).tolist(), ngrams._discounts(counts[-1].raw).tolist()]
    assert found[0] == list(ngrams.DISCOUNTS)
    assert found[1] != list(ngrams.DISCOUNTS)


@pytest.mark.parametrize(("order", "kind", "smoothing"), CASES)
def test_probabilities_sum_to_one_after_every_history_seen_or_not(order, kind, smoothing):
    train = _corpus(lengths=(30,))
    model = ngrams.fit(*train, SIZES, order, kind, smoothing)
    pairs = list(itertools.product(range(SIZES[0]), range(SIZES[1])))
    # Every history of up to three rows, each followed by every row.
    histories = [[*history] for num in (1, 2, 3) for history in itertools.product(pairs, repeat=num + 1)]
    rows = np.array(list(itertools.chain.from_iterable(histories)), np.uint8)
    offsets = np.append(0, np.cumsum([len(history) for history in histories]))
    targets, starts = offsets[1:] - 1, offsets[:-1]
    for attribute, groups in enumerate(model.groups):
        found = ngrams.probabilities(model, attribute, rows, targets, starts)
        assert found.shape == (len(histories), SIZES[attribute])
        assert (found > 0).all()
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-12)
        known = {_context(train[0], 0, index, groups) for index in range(1, 30)}
        unseen = sum(
            _context(rows, start, target, groups) not in known for start, target in zip(starts, targets, strict=True)
        )
        assert unseen > 0 or order < 5
        assert unseen < len(histories)
        slow = _slow(*train, SIZES, attribute, groups, smoothing)
        for index in range(0, len(histories), 97):
            context = _context(rows, starts[index], targets[index], groups)
            expected = [slow(context, value) for value in range(SIZES[attribute])]
            np.testing.assert_allclose(found[index], expected, rtol=1e-12)


def test_order_one_is_counts_with_smoothing():
    # Predicted: 0 once, 1 twice, 2 three times, 3 four times, 4 never; the 4s are first rows.
    rows = np.array([[4], [3], [3], [3], [3], [2], [2], [4], [2], [1], [1], [0]])
    offsets = np.array([0, 7, 12])
    share = 1 / (1 + 2 * 1)
    off = np.array([1 - 2 * share, 2 - 3 * share, 3 - 4 * share, 3 - 4 * share, 0])
    counts = np.array([1, 2, 3, 4, 0])
    expected = {
        "kneser_ney": (counts - off + off.sum() / 5) / 10,
        "witten_bell": (counts + 4 / 5) / (10 + 4),
    }
    for smoothing, probability in expected.items():
        model = ngrams.fit(rows, offsets, (5,), 1, "tokens", smoothing)
        test = np.array([[0], [4], [1], [2], [2]])
        nats = ngrams.nats(model, test, np.array([0, 5]))
        np.testing.assert_allclose(nats, -np.log(probability[test[1:, 0]]).mean(), rtol=1e-14)


@pytest.mark.parametrize("smoothing", ngrams.SMOOTHINGS)
@pytest.mark.parametrize("kind", ngrams.KINDS)
def test_a_repeated_pattern_costs_nothing_if_the_order_is_high_enough(kind, smoothing):
    # After 0 0 comes 1, after 1 0 comes 0: one value before says little, two say all.
    rows = np.tile([[0], [0], [1]], (2000, 1))
    offsets = np.array([0, len(rows)])
    short, enough = (ngrams.nats(ngrams.fit(rows, offsets, (2,), n, kind, smoothing), rows, offsets) for n in (2, 3))
    # Three values before says all by itself, and `chosen` may take it.
    assert short < 0.01 if kind == "chosen" else short > 0.4
    assert enough < 0.01


def test_known_values_of_the_same_row_are_context():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 3, 3000)
    rows, offsets = np.stack([first, 2 - first], axis=1), np.array([0, 3000])
    for order, kind in ((2, "tokens"), (1, "rows"), (2, "chosen")):
        nats = ngrams.nats(ngrams.fit(rows, offsets, (3, 3), order, kind, "witten_bell"), rows, offsets)
        np.testing.assert_allclose(nats, [math.log(3), 0], atol=0.01)


def test_the_value_that_helps_most_is_chosen_first():
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 4, (4000, 2))
    for index in range(4, 4000):
        rows[index, 0] = rows[index - 4, 1] if rng.random() < 0.9 else rows[index - 1, 0]
    offsets = np.array([0, 4000])
    model = ngrams.fit(rows, offsets, (4, 4), 3, "chosen", "kneser_ney")
    assert model.groups[0] == (((4, 1),), ((1, 0),))
    tokens = ngrams.fit(rows, offsets, (4, 4), 3, "tokens", "kneser_ney")
    assert ngrams.nats(model, rows, offsets)[0] < ngrams.nats(tokens, rows, offsets)[0] - 0.5


@pytest.mark.parametrize("kind", ngrams.KINDS)
def test_contexts_never_cross_pieces(kind):
    rows, offsets = _corpus(lengths=(30, 20, 25))
    pieces = [rows[start:end] for start, end in itertools.pairwise(offsets)]
    turned, turned_offsets = np.concatenate(pieces[::-1]), np.append(0, np.cumsum([25, 20, 30]))
    model = ngrams.fit(rows, offsets, SIZES, 4, kind, "kneser_ney")
    together = ngrams.nats(model, rows, offsets)
    apart = [ngrams.nats(model, piece, np.array([0, len(piece)])) for piece in pieces]
    np.testing.assert_allclose(np.average(apart, axis=0, weights=[29, 19, 24]), together, rtol=1e-12)
    if kind != "chosen":  # which rows are kept back for choosing depends on the order of pieces, and may
        again = ngrams.fit(turned, turned_offsets, SIZES, 4, kind, "kneser_ney")
        np.testing.assert_allclose(ngrams.nats(again, rows, offsets), together, rtol=1e-12)
    whole = ngrams.fit(rows, offsets[[0, -1]], SIZES, 4, kind, "kneser_ney")
    assert not np.allclose(ngrams.nats(whole, rows, offsets), together, rtol=1e-6)


def test_samples_are_as_frequent_as_they_are_probable():
    train = _corpus()
    model = ngrams.fit(*train, SIZES, 3, "rows", "kneser_ney")
    start = train[0][:2]
    rows = ngrams.sample(model, 0, 2, np.repeat(start[None], 20_000, axis=0))
    assert rows.shape == (20_000, 2, 2)
    counts = Counter(map(tuple, rows.reshape(-1, 4).tolist()))
    total = 0.0
    for values in itertools.product(range(3), range(2), repeat=2):
        piece = np.concatenate([start, np.array(values).reshape(2, 2)])
        expected = 1.0
        for index, attribute in itertools.product((2, 3), (0, 1)):
            at = np.array([index])
            expected *= ngrams.probabilities(model, attribute, piece, at, np.array([0]))[0, piece[index, attribute]]
        total += expected
        error = math.sqrt(expected * (1 - expected) / 20_000)
        assert abs(counts[values] / 20_000 - expected) < 4 * error, values
    assert total == pytest.approx(1)


def test_the_seed_decides_the_samples():
    train = _corpus()
    model = ngrams.fit(*train, SIZES, 3, "tokens", "witten_bell")
    start = np.zeros((4, 1, 2), np.uint8)
    first, again, other = (ngrams.sample(model, seed, 30, start) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    assert (first[0] != first[1]).any()


@pytest.mark.parametrize(
    ("seed", "kinds", "smoothings"),
    [(0, ("chosen", "rows"), ("kneser_ney",) * 2), (12, ("chosen",) * 2, ("kneser_ney", "witten_bell"))],
)
def test_the_best_is_chosen_by_validation_for_each_attribute(seed, kinds, smoothings):
    train, valid, test = _corpus(seed), _corpus(seed + 1), _corpus(seed + 2)
    found = ngrams.best(train, valid, SIZES)
    assert tuple(kind for _, kind, _ in found.choices) == kinds
    assert tuple(smoothing for *_, smoothing in found.choices) == smoothings
    assert len(found.table) == 2 * sum(map(len, ngrams.ORDERS.values()))
    for choice, figures in found.table.items():
        fitted = ngrams.fit(*train, SIZES, *choice)
        np.testing.assert_allclose(figures, ngrams.nats(fitted, *valid), rtol=1e-12, err_msg=str(choice))
    lowest = np.min(list(found.table.values()), axis=0)
    np.testing.assert_allclose(ngrams.nats(found.model, *valid), lowest, rtol=1e-12)
    for attribute, choice in enumerate(found.choices):
        assert found.table[choice][attribute] == lowest[attribute]
        alone = ngrams.nats(ngrams.fit(*train, SIZES, *choice), *test)[attribute]
        assert ngrams.nats(found.model, *test)[attribute] == pytest.approx(alone, rel=1e-12)
    assert lowest.sum() < np.log(SIZES).sum() - 0.3


def test_narrow_integers_do_not_wrap_around():
    rng = np.random.default_rng(0)
    rows, offsets = rng.integers(0, 256, (500, 2)), np.array([0, 500])
    for kind in ngrams.KINDS:
        wide, narrow = (
            ngrams.nats(ngrams.fit(some, offsets, (256, 256), 3, kind, "kneser_ney"), some, offsets)
            for some in (rows, rows.astype(np.uint8))
        )
        assert (wide == narrow).all()


@pytest.mark.parametrize(
    ("rows", "offsets", "order", "kind", "message"),
    [
        (np.zeros((4, 3), int), [0, 4], 1, "rows", "integers"),
        (np.zeros((4, 2)), [0, 4], 1, "rows", "integers"),
        (np.zeros((4, 2), int), [0, 3], 1, "rows", "rise from 0 to 4"),
        (np.zeros((4, 2), int), [0, 3, 2, 4], 1, "rows", "rise from 0 to 4"),
        (np.zeros((2, 2), int), [0, 1, 2], 1, "rows", "some row to predict"),
        (np.full((4, 2), 2), [0, 4], 1, "rows", "0 to below"),
        (np.full((4, 2), -1), [0, 4], 1, "rows", "0 to below"),
        (np.zeros((4, 2), int), [0, 4], 0, "rows", "an order from 1"),
        (np.zeros((4, 2), int), [0, 4], 1, "words", "one of"),
    ],
)
def test_rows_that_cannot_be_counted_are_refused_with_the_reason(rows, offsets, order, kind, message):
    with pytest.raises(UsageError, match=message):
        ngrams.fit(rows, np.array(offsets), SIZES, order, kind, "kneser_ney")


def test_contexts_that_no_integer_holds_are_refused():
    sizes = (2**31, 2**31, 2**31)
    rows, offsets = np.zeros((4, 3), int), np.array([0, 4])
    with pytest.raises(UsageError, match="63 bits"):
        ngrams.fit(rows, offsets, sizes, 2, "rows", "kneser_ney")
    with pytest.raises(UsageError, match="start_rows"):
        ngrams.sample(ngrams.fit(*_corpus(), SIZES, 1, "rows", "kneser_ney"), 0, 1, np.zeros((2, 0, 2), int))
