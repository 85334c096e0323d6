"""The samples of a run: music from its best parameters, drawn and measured while it trains, with sound at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from musicjax import console
from musicjax.corpus.split import Music
from musicjax.encodings import sampling_params
from musicjax.encodings.plan import Length
from musicjax.generation import generate, takes
from musicjax.music.notes import Notes
from musicjax.run import real_pieces, sample_metrics
from musicjax.store.model import Model
from musicjax.store.recorder import Recorder

# How many samples TensorBoard shows as piano rolls, and how many at most are drawn while training goes on.
PICTURES, MOST_IN_BETWEEN = 4, 8


def preview(model: Model, music: Music | None, recorder: Recorder, step: int) -> None:
    """Records metrics and piano rolls of music from the best parameters so far; writes no file of music."""
    pieces = _play(model, MOST_IN_BETWEEN)
    names = takes.names(model.config.seed, len(pieces))
    if pieces and music is not None:
        _record(sample_metrics.of(pieces, names, music), recorder, step)
    _draw(pieces, names, recorder, step)


def write(model: Model, music: Music | None, workdir: Path, recorder: Recorder, step: int) -> dict[str, Any]:
    """Writes music into the workdir with its sound, metrics and page, records it, and returns its part of the summary.

    Raises:
        RunError: something cannot be written.
    """
    sample, told = model.config.sample, dict[str, Any]()
    pieces = _play(model, sample.num_outputs)
    whole_bars = model.encoding.has_form
    paths = generate.write(pieces, workdir / "samples", model.config.seed, whole_bars=whole_bars, replaces=True)
    names = [path.stem for path in paths]
    console.say("samples", f"{console.counted(len(paths), 'MIDI file')} in {workdir / 'samples'}")
    beside = {} if music is None else real_pieces.write(pieces, names, music, workdir / "samples")
    if pieces and sample.audio != "none":
        from musicjax.generation import sound_files  # not needed without sound

        played = [*zip(pieces, paths, strict=True), *((one.notes, one.path) for one in beside.values())]
        sound_files.write([notes for notes, _ in played], [path for _, path in played], sample.audio, sample.soundfont)
    if pieces and music is not None:
        found = sample_metrics.of(pieces, names, music)
        told = _record(found, recorder, step)
        for name, real in beside.items():
            found["samples"][name]["real_piece"] = real.told
        if real_copies := sample_metrics.copied(music.held_out, music.held_out_names, music):
            found["held_out_copies"] = real_copies
        sample_metrics.write(found, workdir / "samples" / "metrics.json")
        sample_metrics.say(found)
    _draw(pieces, names, recorder, step)
    of_page = {"report": str(_page(workdir, names))} if sample.page else {}
    return {"samples": [str(path) for path in paths], **told, **of_page}


def _page(workdir: Path, names: list[str]) -> Path:
    """Writes the page of the run with these samples; returns its path."""
    from musicjax.report import page  # here, so that training does not wait for the import

    report, left_out = page.write(workdir, names)
    for fact in left_out:
        console.say("left out", fact)
    console.say("page", f"{report}: curves, samples to listen to, metrics; open it in a browser")
    return report


def _play(model: Model, most: int) -> list[Notes]:
    """As many pieces as the config asks for, but at most `most`."""
    sample = model.config.sample
    params = [sampling_params.of_config(sample)] * min(sample.num_outputs, most)
    return generate.new_pieces(model, params, Length(sample.num_notes, 0, 0), model.config.seed)


def _record(found: dict[str, Any], recorder: Recorder, step: int) -> dict[str, float]:
    """Records metrics on TensorBoard; returns the mean overlap area, if there is one."""
    measured = [dict(sample) for sample in found["samples"].values()]
    copied = [sample.pop("copy")["length"] for sample in measured]
    values = found.get("generated", sample_metrics.means(measured)) | {
        "longest_copy_notes": float(max(copied, default=0))
    }
    told = {name: found[name] for name in ("mean_overlap_area",) if name in found}
    recorder.scalars("music", step, values | told)
    return told


def _draw(pieces: list[Notes], names: list[str], recorder: Recorder, step: int) -> None:
    from musicjax.report import pictures  # here, because the import takes a while

    for number, (piece, name) in enumerate(zip(pieces[:PICTURES], names, strict=False)):
        recorder.picture(f"samples/{number}", step, pictures.piano_roll_png(piece, name))
