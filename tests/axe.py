"""The rules of axe-core, which a page is checked by."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from chromium import Chromium

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]


def script() -> str:
    """The script of axe-core, as the package axe-core-python carries it."""
    why = "no axe-core here: the pages are not checked by its rules; pip install axe-core-python"
    package = pytest.importorskip("axe_core_python", reason=why)
    return Path(package.__file__).with_name("axe.min.js").read_text(encoding="utf-8")


def violations(shown: Chromium) -> list[str]:
    """What the rules find against the page that is shown, which has the script: "rule: the element"."""
    run = f"axe.run(document, {{ runOnly: {json.dumps(RULES)} }})"
    found = shown.value(f"{run}.then(({{ violations }}) => violations)")
    return [f"{one['id']}: {node['html'][:90]}" for one in found for node in one["nodes"]]
