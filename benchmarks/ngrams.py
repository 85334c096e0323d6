"""Likelihoods of notes without a network: smoothed n-grams of their attributes, the best chosen by validation.

A row has A attributes, each the index of a bin. Every row of a piece but the first is predicted from the rows before
it, one attribute after the other, each given those before it in its row. A context is a chain of groups of earlier
values, ordered so that the last group is dropped first. Each level of the chain is interpolated with the one below it,
and the lowest with the uniform distribution. Values before the first row of a piece have a bin of their own.

Kinds of context of an n-gram:
    tokens  the n - 1 values before, across row boundaries
    rows    the values known in the row, one by one, then the n - 1 rows before it, each dropped as a whole
    chosen  n - 1 of the values known in the row and in the REACH rows before it, chosen greedily: each is the one that
            helps most on held-out training rows
Smoothings:
    kneser_ney   interpolated, with three discounts a level from its counts of counts (Chen and Goodman 1999); every
                 level but the longest counts in how many longer contexts a value was seen
    witten_bell  a level with n counts of t values gives the weight t / (n + t) to the one below it

Shape legend: N rows; A attributes; P pieces; M predicted rows; B pieces that are sampled together.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from musicjax.errors import UsageError

KINDS = ("tokens", "rows", "chosen")
SMOOTHINGS = ("kneser_ney", "witten_bell")
ORDERS = {"tokens": range(1, 13), "rows": range(1, 7), "chosen": range(1, 13)}
REACH = 5
# `chosen` looks at this many predicted rows, in blocks from the whole split, and holds out the last tenth.
CHOOSING_ROWS = 200_000
CHOOSING_BLOCK = 1_000
# Used if the counts of counts give no valid discounts, as with few values or no rare ones.
DISCOUNTS = (0.5, 1.0, 1.5)

Group = tuple[tuple[int, int], ...]
"""The values that a level adds to its context, each as (rows back, attribute)."""
Split = tuple[np.ndarray, np.ndarray]
"""Rows, int [N, A], and the offsets of their pieces, int [P + 1]."""
Choice = tuple[int, str, str]
"""Order, kind and smoothing."""


@dataclasses.dataclass(frozen=True)
class Counts:
    """The counts of one level of a chain, by sorted integers.

    contexts: [C], (index of the context below) * radix + code of the group; the index here names a context.
    pairs: [Q], context * bins + value.
    raw: [Q], how often each pair was seen.
    distinct: [Q], in how many contexts of the next level it was seen; zeros in the longest level.
    """

    contexts: np.ndarray
    pairs: np.ndarray
    raw: np.ndarray
    distinct: np.ndarray


@dataclasses.dataclass(frozen=True)
class Level:
    """P(value | context) = share of the pair, 0 if unseen, + left of the context * P one level below."""

    contexts: np.ndarray
    pairs: np.ndarray
    share: np.ndarray
    left: np.ndarray


@dataclasses.dataclass(frozen=True)
class Model:
    """For each attribute, the groups of its chain and its levels: one level more, the lowest without a context."""

    sizes: tuple[int, ...]
    groups: tuple[tuple[Group, ...], ...]
    levels: tuple[tuple[Level, ...], ...]


@dataclasses.dataclass(frozen=True)
class Best:
    """model: the best by validation for each attribute; choices: which; table: {choice: validation nats [A]}."""

    model: Model
    choices: tuple[Choice, ...]
    table: dict[Choice, np.ndarray]


def fit(rows: np.ndarray, offsets: np.ndarray, sizes: tuple[int, ...], order: int, kind: str, smoothing: str) -> Model:
    """Counts the rows and smooths the counts.

    Args:
        rows: int [N, A], values below sizes. offsets: int [P + 1]; piece p is rows[offsets[p]:offsets[p + 1]].

    Raises:
        UsageError: an argument is out of range.
    """
    _check(rows, offsets, sizes)
    if order < 1 or kind not in KINDS or smoothing not in SMOOTHINGS:
        raise UsageError(f"{order}, {kind}, {smoothing}: expected an order from 1, one of {KINDS}, one of {SMOOTHINGS}")
    groups = tuple(_chain(rows, offsets, sizes, attribute, order, kind) for attribute in range(len(sizes)))
    return _model(rows, offsets, sizes, groups, (smoothing,) * len(sizes))


def nats(model: Model, rows: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Mean nats of each attribute over all predicted rows, float64 [A]; their sum is the nats per note."""
    _check(rows, offsets, model.sizes)
    found = np.zeros(len(model.sizes))
    for attribute, levels in enumerate(model.levels):
        probability = np.full(len(_predicted(offsets)[0]), 1 / model.sizes[attribute])
        places = _places(levels, rows, offsets, model.sizes, attribute, model.groups[attribute])
        for level, place in zip(levels, places, strict=True):
            probability = _interpolated(probability, level, *place)
        found[attribute] = -np.log(probability).mean()
    return found


def best(train: Split, valid: Split, sizes: tuple[int, ...]) -> Best:
    """Fits all ORDERS, KINDS and SMOOTHINGS to the training split and takes the best on validation for each attribute.

    The chains of the attributes are independent, so the best of each together make one model.
    """
    for split in (train, valid):
        _check(*split, sizes)
    table = {
        (order, kind, smoothing): np.zeros(len(sizes))
        for kind in KINDS
        for order in ORDERS[kind]
        for smoothing in SMOOTHINGS
    }
    chains: dict[tuple[str, int], tuple[Group, ...]] = {}
    for kind in KINDS:
        for attribute in range(len(sizes)):
            groups = _chain(*train, sizes, attribute, max(ORDERS[kind]), kind)
            by_smoothing = _nats_by_level(train, valid, sizes, attribute, groups)
            for order in ORDERS[kind]:
                # A short history has fewer values to choose from than the highest orders need.
                length = min(_length(kind, order, attribute), len(groups))
                for smoothing in SMOOTHINGS:
                    table[order, kind, smoothing][attribute] = by_smoothing[smoothing][length]
            chains[kind, attribute] = groups
    choices = tuple(min(table, key=lambda choice: table[choice][attribute]) for attribute in range(len(sizes)))
    groups_of_best = tuple(
        chains[kind, attribute][: _length(kind, order, attribute)] for attribute, (order, kind, _) in enumerate(choices)
    )
    model = _model(*train, sizes, groups_of_best, tuple(smoothing for _, _, smoothing in choices))
    return Best(model, choices, table)


def probabilities(
    model: Model, attribute: int, rows: np.ndarray, targets: np.ndarray, starts: np.ndarray
) -> np.ndarray:
    """Probabilities of all bins, float64 [M, bins], of an attribute of rows[targets], whose pieces begin at starts [M].

    Of the rows themselves, only the attributes before this one are used.
    """
    size = model.sizes[attribute]
    found = np.full((len(targets), size), 1 / size)
    context = np.zeros(len(targets), np.int64)
    alive = np.arange(len(targets))
    for level, group in zip(model.levels[attribute], ((), *model.groups[attribute]), strict=True):
        code, radix = _codes(rows, targets[alive], starts[alive], model.sizes, group)
        context = _find(level.contexts, context * radix + code)
        alive, context = alive[context >= 0], context[context >= 0]
        low, high = np.searchsorted(level.pairs, [context * size, (context + 1) * size])
        count = high - low
        pair = np.arange(count.sum()) + np.repeat(low - (np.cumsum(count) - count), count)
        found[alive] *= level.left[context][:, None]
        found[np.repeat(alive, count), level.pairs[pair] % size] += level.share[pair]
    return found


def sample(model: Model, seed: int, num_rows: int, start_rows: np.ndarray) -> np.ndarray:
    """Samples rows, int64 [B, num_rows, A], that continue B pieces after start_rows, int [B, rows, A]."""
    num_pieces, num_start, num_attributes = start_rows.shape
    if num_start == 0 or num_attributes != len(model.sizes):
        raise UsageError(f"start_rows {start_rows.shape}: expected at least one row of {len(model.sizes)} attributes")
    generator = np.random.default_rng(seed)
    length = num_start + num_rows
    played = np.zeros((num_pieces, length, num_attributes), np.int64)
    played[:, :num_start] = start_rows
    starts = np.arange(num_pieces) * length
    rows = played.reshape(-1, num_attributes)
    _check(rows, np.append(starts, len(rows)), model.sizes)
    for step in range(num_start, length):
        for attribute in range(num_attributes):
            below = probabilities(model, attribute, rows, starts + step, starts).cumsum(axis=1)
            drawn = generator.random((num_pieces, 1)) * below[:, -1:]
            rows[starts + step, attribute] = (below[:, :-1] <= drawn).sum(axis=1)
    return played[:, num_start:]


def _check(rows: np.ndarray, offsets: np.ndarray, sizes: Sequence[int]) -> None:
    if rows.ndim != 2 or rows.shape[1] != len(sizes) or not np.issubdtype(rows.dtype, np.integer):
        raise UsageError(f"rows {rows.dtype} {rows.shape}: expected integers [N, {len(sizes)}]")
    if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != len(rows) or (np.diff(offsets) < 0).any():
        raise UsageError(f"offsets: expected them to rise from 0 to {len(rows)}, the number of rows")
    if not len(_predicted(offsets)[0]):
        raise UsageError("no piece has two rows: expected some row to predict")
    if (rows < 0).any() or (rows >= np.array(sizes)).any():
        raise UsageError(f"rows up to {rows.max(axis=0)}, from {rows.min()}: expected 0 to below {tuple(sizes)}")


def _predicted(offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the predicted rows, int64 [M], and of the first row of each one's piece, int64 [M]."""
    starts = np.repeat(offsets[:-1], np.diff(offsets)).astype(np.int64)
    rows = np.arange(len(starts))
    return rows[rows > starts], starts[rows > starts]


def _length(kind: str, order: int, attribute: int) -> int:
    return order - 1 + (attribute if kind == "rows" else 0)


def _chain(
    rows: np.ndarray, offsets: np.ndarray, sizes: Sequence[int], attribute: int, order: int, kind: str
) -> tuple[Group, ...]:
    """The groups of an attribute's context; the last is dropped first."""
    known = [(0, other) for other in reversed(range(attribute))]
    if kind == "rows":
        before = [tuple((lag, other) for other in range(len(sizes))) for lag in range(1, order)]
        return (*((element,) for element in known), *before)
    num_rows = order if kind == "tokens" else REACH + 1
    earlier = [(lag, other) for lag in range(1, num_rows) for other in reversed(range(len(sizes)))]
    if kind == "tokens":
        return tuple((element,) for element in (known + earlier)[: order - 1])
    return _choose(rows, offsets, sizes, attribute, known + earlier, order - 1)


def _choose(
    rows: np.ndarray,
    offsets: np.ndarray,
    sizes: Sequence[int],
    attribute: int,
    candidates: list[tuple[int, int]],
    length: int,
) -> tuple[Group, ...]:
    """Adds to the context, one by one, the value that lowers the nats of the held-out rows most (Witten-Bell)."""
    targets, starts = _predicted(offsets)
    stride = math.ceil(len(targets) / CHOOSING_ROWS)
    some = np.arange(len(targets)) // CHOOSING_BLOCK % stride == 0
    targets, starts = targets[some], starts[some]
    num_fit = len(targets) - len(targets) // 10
    value = rows[targets, attribute].astype(np.int64)
    coded = {element: _codes(rows, targets, starts, sizes, (element,)) for element in candidates}

    def grown(context: np.ndarray, element: tuple[int, int] | None, below: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        code, radix = coded[element] if element else (0, 1)
        context = np.unique(_joined(context, radix, code), return_inverse=True)[1]
        pairs, pair = np.unique(_joined(context, sizes[attribute], value), return_inverse=True)
        count = np.bincount(pair[:num_fit], minlength=len(pairs))
        total = np.bincount(context[:num_fit], minlength=context.max() + 1)
        kinds = np.bincount(pairs[count > 0] // sizes[attribute], minlength=len(total))
        at, weight = context[num_fit:], np.maximum(total + kinds, 1)
        seen = (count[pair[num_fit:]] + kinds[at] * below) / weight[at]
        return context, np.where(total[at] > 0, seen, below)

    equal = np.full(len(targets) - num_fit, 1 / sizes[attribute])
    context, probability = grown(np.zeros(len(targets), np.int64), None, equal)
    chosen: list[tuple[int, int]] = []
    while len(chosen) < min(length, len(candidates)):
        left = [element for element in candidates if element not in chosen]
        cost = [-np.log(grown(context, element, probability)[1]).sum() for element in left]
        chosen.append(left[int(np.argmin(cost))])
        context, probability = grown(context, chosen[-1], probability)
    return tuple((element,) for element in chosen)


def _codes(
    rows: np.ndarray, targets: np.ndarray, starts: np.ndarray, sizes: Sequence[int], group: Group
) -> tuple[np.ndarray, int]:
    """The values of a group as one integer, int64 [M], and how many such integers there are."""
    code, radix = np.zeros(len(targets), np.int64), 1
    for lag, attribute in group:
        at = targets - lag
        value = np.where(at >= starts, rows[np.maximum(at, 0), attribute].astype(np.int64), sizes[attribute])
        code = _joined(code, sizes[attribute] + 1, value, radix)
        radix *= sizes[attribute] + 1
    return code, radix


def _joined(high: np.ndarray, radix: int, low: np.ndarray | int, num_high: int | None = None) -> np.ndarray:
    """high * radix + low, which differs for different pairs."""
    if (int(high.max(initial=0)) + 1 if num_high is None else num_high) * radix >= 2**63:
        raise UsageError(f"contexts with {radix} more values do not fit 63 bits: expected fewer attributes or bins")
    return high * radix + low


def _find(keys: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The index of each asked value in the sorted keys; -1 if it is not there."""
    place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[place] == asked, place, -1)


def _count(
    rows: np.ndarray, offsets: np.ndarray, sizes: Sequence[int], attribute: int, groups: Sequence[Group]
) -> list[Counts]:
    """The levels of a chain, from the one without a context."""
    targets, starts = _predicted(offsets)
    value = rows[targets, attribute].astype(np.int64)
    context, above = np.zeros(len(targets), np.int64), np.zeros(len(targets), np.int64)
    found: list[Counts] = []
    for group in ((), *groups):
        code, radix = _codes(rows, targets, starts, sizes, group)
        contexts, context = np.unique(_joined(context, radix, code), return_inverse=True)
        joined = _joined(context, sizes[attribute], value)
        pairs, first, pair, raw = np.unique(joined, return_index=True, return_inverse=True, return_counts=True)
        if found:
            distinct = np.bincount(above[first], minlength=len(found[-1].pairs))
            found[-1] = dataclasses.replace(found[-1], distinct=distinct)
        found.append(Counts(contexts, pairs, raw, np.zeros_like(raw)))
        above = pair
    return found


def _discounts(counts: np.ndarray) -> np.ndarray:
    """The discounts of counts of 1, of 2 and of 3 or more, float64 [3]."""
    n1, n2, n3, n4 = (int((counts == number).sum()) for number in (1, 2, 3, 4))
    if not min(n1, n2, n3):
        return np.array(DISCOUNTS)
    share = n1 / (n1 + 2 * n2)
    found = np.array([1 - 2 * share * n2 / n1, 2 - 3 * share * n3 / n2, 3 - 4 * share * n4 / n3])
    # Discounts must be positive, so that unseen values keep some probability.
    return found if (found > 0).all() else np.array(DISCOUNTS)


def _smoothed(counts: Counts, size: int, smoothing: str, longest: bool) -> Level:
    context = counts.pairs // size
    number = counts.raw if longest or smoothing == "witten_bell" else counts.distinct
    total = np.bincount(context, number, len(counts.contexts))
    if smoothing == "witten_bell":
        kinds = np.bincount(context, minlength=len(total))
        return Level(counts.contexts, counts.pairs, number / (total + kinds)[context], kinds / (total + kinds))
    off = _discounts(number)[np.minimum(number, 3) - 1]
    left = np.bincount(context, off, len(total)) / total
    return Level(counts.contexts, counts.pairs, (number - off) / total[context], left)


def _model(
    rows: np.ndarray,
    offsets: np.ndarray,
    sizes: tuple[int, ...],
    groups: tuple[tuple[Group, ...], ...],
    smoothings: Sequence[str],
) -> Model:
    levels = []
    for attribute, (chain, smoothing) in enumerate(zip(groups, smoothings, strict=True)):
        counts = _count(rows, offsets, sizes, attribute, chain)
        longest = counts[-1]
        levels.append(tuple(_smoothed(one, sizes[attribute], smoothing, one is longest) for one in counts))
    return Model(tuple(sizes), groups, tuple(levels))


def _places(
    levels: Sequence[Counts | Level],
    rows: np.ndarray,
    offsets: np.ndarray,
    sizes: Sequence[int],
    attribute: int,
    groups: Sequence[Group],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each level, the indices, int64 [M], of the rows' contexts and pairs; -1 if unseen."""
    targets, starts = _predicted(offsets)
    value = rows[targets, attribute].astype(np.int64)
    context = np.zeros(len(targets), np.int64)
    for level, group in zip(levels, ((), *groups), strict=True):
        code, radix = _codes(rows, targets, starts, sizes, group)
        # An unseen context stays unseen in every longer one.
        context = np.where(context >= 0, _find(level.contexts, context * radix + code), -1)
        yield context, np.where(context >= 0, _find(level.pairs, context * sizes[attribute] + value), -1)


def _interpolated(below: np.ndarray, level: Level, context: np.ndarray, pair: np.ndarray) -> np.ndarray:
    """The probabilities [M] of a level, from those of the level below."""
    share = np.where(pair >= 0, level.share[pair], 0)
    return np.where(context >= 0, share + level.left[context] * below, below)


def _nats_by_level(
    train: Split, valid: Split, sizes: Sequence[int], attribute: int, groups: Sequence[Group]
) -> dict[str, list[float]]:
    """Validation nats of an attribute by smoothing and number of groups, as `fit` gives for that many groups.

    Chains with the same first groups share all levels but the longest.
    """
    counts = _count(*train, sizes, attribute, groups)
    below = {smoothing: np.full(len(_predicted(valid[1])[0]), 1 / sizes[attribute]) for smoothing in SMOOTHINGS}
    found: dict[str, list[float]] = {smoothing: [] for smoothing in SMOOTHINGS}
    for one, place in zip(counts, _places(counts, *valid, sizes, attribute, groups), strict=True):
        for smoothing in SMOOTHINGS:
            longest = _smoothed(one, sizes[attribute], smoothing, True)
            found[smoothing].append(float(-np.log(_interpolated(below[smoothing], longest, *place)).mean()))
            if one is not counts[-1]:
                inner = _smoothed(one, sizes[attribute], smoothing, False)
                below[smoothing] = _interpolated(below[smoothing], inner, *place)
    return found
