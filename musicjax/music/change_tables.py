"""Tables of a piece's changes of tempo, meter or key: each row a beat and what holds from there, in order of beat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from musicjax import arguments
from musicjax.errors import UsageError
from musicjax.music import bar_position

# The modes of keys: a table of keys has their indices. They are here because `music.keys` needs `music.notes`.
MODES = ("major", "minor", "dorian", "mixolydian")


def _is_key(tonic: float, mode: float) -> bool:
    return tonic in range(12) and mode in range(len(MODES))


class _Rule(NamedTuple):
    """columns: of a row; least: the fewest rows; is_row: of a row without its beat."""

    columns: int
    least: int
    is_row: Callable[..., bool]
    meant: str


_RULES = {
    "tempos": _Rule(2, 1, lambda bpm: bpm > 0, "rows of a beat and quarter notes a minute, above 0"),
    "meters": _Rule(3, 1, bar_position.is_meter, "rows of a beat, a numerator and a denominator such as 4"),
    "keys": _Rule(3, 0, _is_key, f"rows of a beat, a tonic 0..11 and a mode 0..{len(MODES) - 1}"),
}
NAMES = tuple(_RULES)


def checked(name: str, given: Any, owner: str) -> np.ndarray:
    """A sequence of rows, or an array, as a table: float64 [rows, columns].

    Raises:
        UsageError: it is no such table; the message names the owner, the table and its first wrong row.
    """
    columns, least, is_row, meant = _RULES[name]
    try:
        table = np.asarray(given)
    except (ValueError, TypeError) as error:  # such as rows of several lengths
        raise arguments.wrong(f"{owner}.{name}", given, meant) from error
    if table.shape == (0,):  # an empty list, which has no rows to count columns in
        table = np.zeros((0, columns))
    is_table = table.ndim == 2 and table.shape[1] == columns and table.dtype.kind in "iuf" and len(table) >= least
    if not is_table or not np.isfinite(table).all():
        raise arguments.wrong(f"{owner}.{name}", given, meant)
    fits = np.array([is_row(*row) for row in table[:, 1:].tolist()], bool)
    fits &= np.append(True, table[1:, 0] > table[:-1, 0])[: len(table)]
    if not fits.all():
        index = int(np.argmin(fits))
        raise UsageError(f"{owner}.{name}[{index}]={table[index].tolist()}: expected {meant}, the beats rising")
    return table.astype(np.float64, copy=False)
