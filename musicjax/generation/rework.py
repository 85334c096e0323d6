"""What the flags of `generate` ask for where a piece is given: to go on from it, fill bars of it, or vary it.

Needs no JAX, so a wrong flag is reported without delay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from musicjax import arguments
from musicjax.errors import UsageError

# How much of a piece is varied by default.
AMOUNT = 0.3
# The flags that belong to each kind; why others go with no kind; and why some go only with keep, which adds music.
OWN = {"keep": ("primer",), "infill": ("from_bar", "to_bar"), "vary": ("amount",)}
NOT_WITH_A_PIECE = {
    "key": "the piece keeps its key",
    "meter": "the piece keeps its meter",
    "bpm": "the piece keeps its tempo",
    "program": "the piece keeps its instruments",
    "sweep": "a sweep is of new pieces",
}
NOT_WITHIN_A_PIECE = {
    "primer": "new bars go on from the piece itself",
    **dict.fromkeys(("num_notes", "seconds", "bars", "beats", "exact"), "the piece stays as long as it is"),
    "decode": "new bars are drawn in one way",
    "best_of": "new bars are chosen by what follows them",
}


class Rework(NamedTuple):
    """What happens to a given piece. kind: keep, infill or vary, empty: nothing; piece: the flag's text, for the last
    two; from_bar, to_bar: of infill; amount: of vary."""

    kind: str = ""
    piece: str = ""
    from_bar: int = 0
    to_bar: int = 0
    amount: float = AMOUNT


NOTHING = Rework()


def of(options: Mapping[str, Any]) -> Rework:
    """What flags ask for.

    Raises:
        UsageError: a flag is missing, does not go with another, or is out of range.
    """
    given = {name for name, value in options.items() if value is not None and value is not False and value != ""}
    given -= {"decode"} if options["decode"] == "auto" else set()
    kinds = [kind for kind in OWN if kind in given]
    if len(kinds) > 1:
        raise UsageError(f"{' and '.join(f'--{kind}' for kind in kinds)} are given: expected one of them")
    kind = kinds[0] if kinds else ""
    _require_own(kind, given)
    refused = NOT_WITH_A_PIECE | (NOT_WITHIN_A_PIECE if kind != "keep" else {})
    for name, why in refused.items() if kind else ():
        if name in given:
            raise UsageError(f"--{name} and --{kind} are given, but {why}: expected one of them")
    if kind == "infill":
        return Rework(kind, options["infill"], *checked_bars(options["from_bar"], options["to_bar"]))
    if kind == "vary":
        amount = AMOUNT if options["amount"] is None else options["amount"]
        return Rework(kind, options["vary"], amount=checked_amount(amount))
    return Rework(kind)


def _require_own(kind: str, given: set[str]) -> None:
    """Raises UsageError if a flag lacks the one that it belongs to."""
    if kind == "keep" and "primer" not in given:
        raise UsageError("--keep without --primer: expected the piece to keep and continue, --primer=FILE")
    if kind == "infill" and not {*OWN[kind]} <= given:
        raise UsageError("--infill without its bars: expected the first and the last, such as --from_bar=9 --to_bar=16")
    for owner in ("infill", "vary"):
        for name in OWN[owner]:
            if name in given and kind != owner:
                raise UsageError(f"--{name} without --{owner}: expected the piece to rewrite, --{owner}=FILE")


def checked_bars(from_bar: int, to_bar: int) -> tuple[int, int]:
    """The bars; raises UsageError unless they are whole numbers from 1 on, the second not below the first."""
    for name, bar in {"from_bar": from_bar, "to_bar": to_bar}.items():
        arguments.require_number(name, bar, int, 1, 1_000_000)
    if from_bar > to_bar:
        raise UsageError(f"from_bar={from_bar}, to_bar={to_bar}: expected from_bar not above to_bar")
    return from_bar, to_bar


def checked_amount(amount: float) -> float:
    """The amount; raises UsageError unless it is a number in 0..1."""
    arguments.require_number("amount", amount, float, 0.0, 1.0)
    return amount
