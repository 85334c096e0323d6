"""The samples of a run: music from its best parameters, drawn and measured as it trains, at its end heard too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from musicjax import console
from musicjax.corpus.split import Music
from musicjax.generation import generate, sampling_params, sound
from musicjax.generation.generate import Model
from musicjax.music.notes import Notes
from musicjax.run import sample_metrics
from musicjax.store.recorder import Recorder

# Samples whose piano rolls are shown on TensorBoard, and those made at an epoch in between.
PICTURES, MOST_IN_BETWEEN = 4, 8


def preview(model: Model, music: Music | None, recorder: Recorder, step: int) -> None:
    """Records what music from the best parameters so far looks like and measures; writes no file of music."""
    pieces = _play(model, MOST_IN_BETWEEN)
    names = generate.names(model.facts.config.seed, len(pieces))
    if pieces and music is not None:
        _record(sample_metrics.of(pieces, names, music), recorder, step)
    _draw(pieces, names, recorder, step)


def write(model: Model, music: Music | None, workdir: Path, recorder: Recorder, step: int) -> dict[str, Any]:
    """Writes music into the workdir with its sound, metrics and page, records it, and returns what a summary tells.

    Raises:
        RunError: something cannot be written.
    """
    from musicjax.report import run_page  # here, so that training does not wait for it to be imported

    sample, told = model.facts.config.sample, dict[str, Any]()
    pieces = _play(model, sample.num_outputs)
    paths = generate.write(pieces, workdir / "samples", model.facts.config.seed)
    names = [path.stem for path in paths]
    console.say("samples", f"{len(paths)} MIDI files in {workdir / 'samples'}")
    if pieces and sample.audio != "none":
        sound.write(pieces, paths, sample.audio, sample.soundfont)
    if pieces and music is not None:
        found = sample_metrics.of(pieces, names, music)
        sample_metrics.write(found, workdir / "samples" / "metrics.json")
        sample_metrics.say(found)
        told = _record(found, recorder, step)
    _draw(pieces, names, recorder, step)
    page, left_out = run_page.write(workdir, names)
    for fact in left_out:
        console.say("left out", fact)
    console.say("page", f"{page}: curves, samples to listen to, metrics; open it in a browser")
    return {"samples": [str(path) for path in paths], **told, "report": str(page)}


def _play(model: Model, most: int) -> list[Notes]:
    """As many pieces as the config asks for, or `most` of them."""
    config, of_events = model.facts.config, model.facts.bins is not None
    return generate.generate(
        model,
        num_outputs=min(config.sample.num_outputs, most),
        num_notes=config.sample.num_notes,
        seed=config.seed,
        temperature=None if of_events else config.sample.temperature,
        settings=sampling_params.of_config(config.sample) if of_events else None,
    )


def _record(found: dict[str, Any], recorder: Recorder, step: int) -> dict[str, float]:
    """Metrics on TensorBoard; returns the mean overlap area, if there is one."""
    measured = [dict(sample) for sample in found["samples"].values()]
    copied = [sample.pop("copy")["length"] for sample in measured]
    values = found.get("generated", sample_metrics.means(measured)) | {
        "longest_copy_notes": float(max(copied, default=0))
    }
    told = {name: found[name] for name in ("mean_overlap_area",) if name in found}
    recorder.scalars("music", step, values | told)
    return told


def _draw(pieces: list[Notes], names: list[str], recorder: Recorder, step: int) -> None:
    from musicjax.report import pictures  # here, because drawing takes a while to be imported

    for number, (piece, name) in enumerate(zip(pieces[:PICTURES], names, strict=False)):
        recorder.picture(f"samples/{number}", step, pictures.piano_roll_png(piece, name))
