"""A note-event model as a single page that composes in any browser, without a network.

The page is player.html.j2 of report/templates, with model.js, which steps the model, player.js, which plays what it
writes, and midi_file.js, which saves it. Its weights are rounded to 16 bits.
"""

from __future__ import annotations

import base64

import numpy as np

from musicjax.errors import UsageError
from musicjax.export import weights
from musicjax.music import bar_position, instruments, keys
from musicjax.report import page, records
from musicjax.store.model import Model

# Instruments to choose from beside the notes' own, some of each kind.
PROGRAMS = (0, 4, 6, 11, 19, 24, 32, 40, 42, 46, 48, 56, 65, 71, 73, 80, 89)
TEMPOS, TEMPERATURES = (30, 240), (0.3, 1.6)  # least and most of the sliders
LENGTHS = {"bars": 256, "seconds": 600}  # the most of each


def content(model: Model) -> bytes:
    """The page. Raises UsageError unless the model is one of note events with form whose weights fit into 16 bits."""
    constants = model.encoding.constants()
    if not constants:
        raise UsageError(
            "the page that composes needs a model that knows where pieces end; train one with this version "
            "(--config=auto, demo or events), or write the weights with --output=model.safetensors"
        )
    arrays = weights.arrays_of(model.params)
    halves = np.concatenate([array.ravel() for array in arrays.values()])
    with np.errstate(over="ignore"):
        halves = halves.astype("<f2")
    if not np.isfinite(halves).all():
        raise UsageError(
            "a weight of this model is too large for the page that composes, whose numbers have 16 bits; write the "
            "weights with --output=model.safetensors"
        )
    style = page.text("page.css") + page.text("player.css")
    script = "".join(page.text(name) for name in ("sound.js", "model.js", "midi_file.js", "player.js"))
    modes = sorted({mode - 1 for _, mode, _, _ in constants["openings"] if mode})
    rendered = (
        page.environment()
        .get_template("player.html.j2")
        .render(
            music=records.music_name(model.config.data.source),
            units=constants["units"],
            parameters=halves.size,
            keys=[
                (
                    keys.MODES[mode],
                    [(f"{tonic} {mode + 1}", name) for tonic, name in enumerate(constants["keys"][mode])],
                )
                for mode in modes
            ],
            meters=[bar_position.text_of(*meter) for meter in constants["meters"]],
            lengths=LENGTHS,
            programs=[(program, instruments.name_of(program)) for program in PROGRAMS],
            tempo=(*TEMPOS, round(_within(constants["bpm"], TEMPOS))),
            temperature=(*TEMPERATURES, round(_within(constants["temperature"], TEMPERATURES), 2)),
            policy=page.policy(style, script),
            style=style,
            script=script,
            constants=constants | {"shapes": [[name, array.size] for name, array in arrays.items()]},
            weights=base64.b64encode(halves.tobytes()).decode(),
        )
    )
    return rendered.encode()


def _within(value: float, limits: tuple[float, float]) -> float:
    return min(max(value, limits[0]), limits[1])
