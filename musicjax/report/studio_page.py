"""The page of the studio, whose styles and scripts are files of their own."""

from __future__ import annotations

import functools
from importlib import resources

from musicjax.music import instruments
from musicjax.music.notes import DRUMS
from musicjax.report import page
from musicjax.version import __version__


def html(data_sets: list[tuple[str, str]]) -> str:
    """The page; data_sets: the name of each that it knows, and a sentence about it."""
    programs = [instruments.name_of(program) for program in range(DRUMS + 1)]
    template = page.environment().get_template("studio.html.j2")
    return template.render(version=__version__, programs=programs, data_sets=data_sets)


@functools.cache
def files() -> frozenset[str]:
    """The names of its styles and scripts, which `page.text` gives."""
    names = [entry.name for entry in resources.files("musicjax.report").joinpath("templates").iterdir()]
    own = [name for name in names if name.startswith("studio") and name.endswith((".css", ".js"))]
    return frozenset([*own, "page.css", "sound.js"])
