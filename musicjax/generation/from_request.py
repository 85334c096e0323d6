"""A request and a model -> the piece that is given, and the music that is asked for."""

from __future__ import annotations

from musicjax.generation import generate, infill, vary
from musicjax.generation import primer as primer_lib
from musicjax.generation.generate import OnPart
from musicjax.generation.request import Request
from musicjax.music.notes import Notes
from musicjax.store.model import Model


def given(request: Request, model: Model, primer: str) -> Notes | None:
    """The piece to go on from or to rewrite, if one is given; raises UsageError unless it has the bars asked for."""
    rework = request.rework
    if rework.kind not in ("infill", "vary"):
        return primer_lib.read(primer, model) if primer else None
    piece = primer_lib.read(rework.piece, model, rework.kind)
    if rework.kind == "infill":
        infill.require_bars(piece, rework.from_bar, rework.to_bar)
    return piece


def pieces(request: Request, model: Model, given: Notes | None, on_part: OnPart | None = None) -> list[Notes]:
    """New music, or a given piece with something new in it.

    Args:
        on_part: as `generate.new_pieces` takes it; called with the given piece while its bars are rewritten.
    """
    rework, params, seed = request.rework, request.sampling, request.seed

    def on_step() -> None:
        if on_part is not None and given is not None:
            on_part(0, given)

    if given is not None and rework.kind == "infill":
        return infill.new_bars(model, params, seed, given, rework.from_bar, rework.to_bar, on_step=on_step)
    if given is not None and rework.kind == "vary":
        return vary.variations(model, params, seed, given, rework.amount, on_step=on_step)
    keep = rework.kind == "keep"
    return generate.new_pieces(
        model, params, request.length, seed, given, request.bpm, request.decode, keep=keep, on_part=on_part
    )
