"""A JSON object that the studio keeps in a file and a page gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read(path: Path) -> dict[str, Any]:
    """The object; raises OSError if it cannot be read, ValueError if it is damaged.

    Python reads NaN and infinity, which are not JSON and which no page reads: with them it is damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(found, allow_nan=False)
    except RecursionError as error:
        raise ValueError("it is too deep") from error
    if not isinstance(found, dict):
        raise ValueError("it is no object")
    return found
