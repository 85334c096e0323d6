"""The `generate` command: files of new music, their sound, and a page that plays them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from musicjax import console, jax_environment
from musicjax.cli import trained_model
from musicjax.cli.flags import Call
from musicjax.errors import RunError

if TYPE_CHECKING:
    from musicjax.generation.request import Request
    from musicjax.music.notes import Notes
    from musicjax.store.model import Model

# What the page says of pieces, by name: fields of `report.pieces.Sample`.
Told = Mapping[str, Mapping[str, Any]]
# What the page of new pieces says was asked for, beside the model and the seed.
TOLD = (
    *("primer", "keep", "infill", "from_bar", "to_bar", "vary", "amount", "bars", "beats", "num_notes", "seconds"),
    *("key", "scale", "meter", "bpm", "instruments", "program", "temperature", "top_k", "top_p", "min_p", "best_of"),
)


class Made(NamedTuple):
    """What a call wrote.

    pieces, paths: the pieces, and a MIDI file of each; others: the table and the contact sheet of a sweep; told: what
    the page says of each piece; score: that of a sweep, by which the best piece comes first.
    """

    pieces: list[Notes]
    paths: list[Path]
    others: list[Path]
    told: Told
    score: str = ""


def run(call: Call) -> None:
    """Writes the files that are asked for, and prints their paths.

    Raises:
        UsageError, RunError: something cannot be used or written; or, once all else is done, a sound that was asked for
            by its kind is missing.
    """
    from musicjax.generation import request as request_lib

    options = call.options
    request = request_lib.of(options)
    if request.audio != "none":
        from musicjax.generation import sound_files

        sound_files.require_soundfont(request.soundfont)
    jax_environment.require()
    from musicjax.generation import from_request, generate

    model, saved, folder = trained_model.opened(call)
    request_lib.require_controls(model.encoding, request.need_controls)
    request_lib.require_form(model.encoding, request.need_form)
    request = request_lib.filled(request, saved.sample)
    given = from_request.given(request, model, options["primer"])
    folder = Path(options["output_dir"] or folder)
    generate.prepare_folder(folder)
    made = _swept(request, model, given, folder) if request.sweep else _made(request, model, given, folder)
    _list(made, folder)
    if options["audio"] == "auto" and request.audio == "none":
        console.say("sound", f"none for more than {request_lib.FEW_OUTPUTS} files, unless you add --audio=wav")
    silent = 0
    if request.audio != "none" and made.pieces:
        played = [generate.played_by(request.program, piece) for piece in made.pieces]
        silent = len(made.paths) - len(sound_files.write(played, made.paths, request.audio, request.soundfont))
    if given is not None and request.rework.kind in ("", "keep"):
        made = _beside_primer(made, given, begins_with_it=request.rework.kind == "keep")
    if made.pieces:
        _page(made, folder, _facts(call, request))
    if silent and options["audio"] != "auto":
        lack = "has" if silent == 1 else "have"
        raise RunError(
            f"{silent} of {console.counted(len(made.paths), 'MIDI file')} {lack} no sound, although "
            f"--audio={options['audio']} asks for it: the lines above say why; everything else was written"
        )


def _made(request: Request, model: Model, given: Notes | None, folder: Path) -> Made:
    from musicjax.generation import from_request, generate, new_spans

    pieces = from_request.pieces(request, model, given)
    kept = given if request.rework.kind else None
    whole_bars = model.encoding.has_form and not request.length.exact and kept is None
    paths = generate.write(pieces, folder, request.seed, request.program, kept, whole_bars)
    if kept is None:
        return Made(pieces, paths, [], {})
    spans = new_spans.of(request.rework, request.seed, kept, pieces)
    return Made(pieces, paths, [], {path.stem: {"new": own} for path, own in zip(paths, spans, strict=True)})


def _swept(request: Request, model: Model, given: Notes | None, folder: Path) -> Made:
    from musicjax.generation import sweep

    swept = sweep.sweep(model, request, given, folder)
    return Made(swept.pieces, swept.paths, swept.others, swept.told, swept.score)


def _list(made: Made, folder: Path) -> None:
    """Prints the paths of what was written, and says what earlier calls have left in the folder."""
    from musicjax.generation import takes

    written = [*made.paths, *made.others]
    for path in written:
        console.result_path(path)
    if left := takes.earlier(folder, written):
        others = f" and {len(left) - 1} more" * (len(left) > 1)
        console.say("earlier", f"{left[0]}{others} in {folder}: from earlier calls, and not on the page")


def _facts(call: Call, request: Request) -> list[tuple[str, Any]]:
    """What the page of new pieces says of them: (name, value) each."""
    model = call.options["workdir"] or "the one that comes with musicjax"
    given = [(name, call.options[name]) for name in TOLD if call.options[name]]
    return [("model", model), ("seed", request.seed), *given]


def _beside_primer(made: Made, primer: Notes, begins_with_it: bool) -> Made:
    """The same, and the page also says what the new notes of each piece share with the primer."""
    from musicjax.generation import primer as primer_lib

    names = [path.stem for path in made.paths]
    found = primer_lib.shared(primer, [piece[len(primer) * begins_with_it :] for piece in made.pieces], names)
    told = {
        name: {
            **made.told.get(name, {}),
            "copy": f"{copy.length} notes in a row, from note {copy.at + 1} of it" if copy.length else "",
            "shared_with": "the primer",
        }
        for name, copy in zip(names, found, strict=True)
    }
    return made._replace(told=told)


def _page(made: Made, folder: Path, facts: list[tuple[str, Any]]) -> None:
    """Writes the page that plays the pieces, and prints what it leaves out."""
    from musicjax.report import page

    order = f"The best comes first. Score: {made.score}" if made.score else ""
    path, left_out = page.write_pieces(folder, [path.stem for path in made.paths], facts, made.told, order)
    for fact in left_out:
        console.say("left out", fact)
    console.say("page", f"{path}: plays the pieces and shows their notes; open it in a browser")
