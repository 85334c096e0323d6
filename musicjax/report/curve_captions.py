"""What the curves on the page of a run show and what is good, for readers who make music."""

from __future__ import annotations

from typing import NamedTuple

from musicjax.report import curves

# Of the loss, by its unit as `curves.loss_field` names it.
LOSS = {
    "nats per note": "How much the next note of a real piece surprises the model. Lower is better.",
    "nats per frame": "How much the next moment of a real piece surprises the model. Lower is better.",
    "mean squared error": "How far the model's guess is from what comes next. Lower is better.",
}
ACCURACY = "The share of guesses that count as right; 1 is all of them. Higher is better."
BASELINE = "The dashed line is the accuracy of giving the same answer every time; only what lies above it was learned."
NATS = "Surprise is counted in nats: 0 where the model was sure, 0.7 where two answers seemed equally likely."
OF_NOTE = {
    "interval": "the wait for the next note",
    "instrument": "the instrument of the next note",
    "pitch": "the pitch of the next note",
    "duration": "the length of the next note",
    "velocity": "the loudness of the next note",
}
OTHER = "Measured on the validation music after each epoch."


class Meaning(NamedTuple):
    """Of a curve: its title, its unit if the title does not name it, a sentence, and whether lower is better."""

    title: str
    unit: str
    sentence: str
    falls: bool


def of_certain(fields: list[str]) -> str:
    """What the page says in place of the curves of `curves.certain`; empty if there are none."""
    parts = " and ".join(field.removesuffix("_nats") for field in fields)
    same = f"it is below {curves.CERTAIN_NATS:g} nats, as in music where every note has the same {parts}"
    return f"Surprise at the {parts} is not drawn: {same}." if fields else ""


def of_field(field: str) -> Meaning:
    """Of a field of metrics.jsonl other than loss and accuracy."""
    if field in ("nats_per_note", "nats_per_frame"):
        unit = field.replace("_", " ")
        return Meaning(f"Surprise {unit.removeprefix('nats ')}", unit, LOSS[unit], True)
    column, _, kind = field.partition("_")
    about = OF_NOTE.get(column)
    if about and kind == "nats":
        return Meaning(
            f"Surprise at the {column}", "nats", f"How much {about} surprises the model. Lower is better.", True
        )
    if about and kind.startswith("error_"):
        sentence = f"How far the guess of {about} is from the real one. Lower is better."
        return Meaning(curves.title(field), "", sentence, True)
    return Meaning(curves.title(field), "", OTHER, "error" in field or "nats" in field)
