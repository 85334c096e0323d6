"""Whether new bars join their surroundings as real bars do: seams of infills, beside bar lines inside pieces.

    python -m benchmarks.infill --workdir=DIR --data=DIR [--infills=180] [--bars=4] [--drawn="temperature=1 min_p=0"]
                                [--most=128] [--seed=0] [--save]

--workdir contains a note-event model with form, --data pieces that it has not seen. Each infill replaces some bars of a
piece, chosen at random but never its first or last. It samples --most candidates with the sampling parameters of the
model's config or of --drawn. Of the first 1, 8, 32 or 128 candidates, one is drawn by its weight, or the best is taken.
It compares both seams with all bar lines inside the pieces, by:

step      the melodic step across the line, from the highest note of the last onset to the highest of the first
bass      the step from the lowest note of the bar before to the lowest of the bar after, modulo the octave
harmony   the cosine of the pitch classes, by their durations, of the two bars

The figures are overlaps of histograms; 1 means identical. "real" is the mean for random sets of as many real bar lines
as there are infills, so it shows the effect of chance. "other" fills the gap with bars of another piece in the same
meter.

Prints a table, whether anything outside the gaps changed and, as its last line, one JSON object.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import contestants, quality
from musicjax.corpus import load as data_lib
from musicjax.encodings.sampling_params import SamplingParams
from musicjax.errors import RunError, UsageError
from musicjax.generation import infill
from musicjax.generation.infill import Candidates
from musicjax.music import splice
from musicjax.music.notes import COLUMNS, Notes
from musicjax.run import device
from musicjax.store import model as model_lib
from musicjax.store.model import Model

COUNTS = (1, 8, 32, 128)
STEPS, BINS = 12, 10  # the largest step, in semitones; bins of cosines
MEASURES = {"step": 2 * STEPS + 1, "bass": 12, "harmony": BINS}
CLAIM = 0.8


def main() -> None:
    asked = contestants.arguments(
        __doc__, workdir="", data="", infills=180, bars=4, drawn="", most=infill.CANDIDATES, seed=0
    )
    if not asked.workdir or not asked.data:
        raise SystemExit("--workdir and --data are needed: folders with a model and with pieces that it has not seen")
    try:
        model = model_lib.load(asked.workdir)
        device.keep_programs(model.config.data)
        corpus, _ = data_lib.read(dataclasses.replace(model.config.data, source=str(Path(asked.data))))
        pieces = [corpus.piece(p) for p in range(len(corpus))]
        started = time.perf_counter()
        params = quality.drawn(model, asked.drawn)
        found = measured(model, pieces, params, asked.infills, asked.bars, asked.most, asked.seed)
    except (UsageError, RunError) as error:
        raise SystemExit(f"infill: {error}") from error
    found |= {"benchmark": "infill", "seconds": round(time.perf_counter() - started), "drawn": params.text()}
    found |= {"bars": asked.bars, "pieces": len(pieces)}
    print()
    print(table(found["overlap"]))
    print(f"{found['changed']} of {found['infills']} infills changed something outside their bars")
    if asked.save:
        measured_on = {"measured": time.strftime("%Y-%m-%d"), "machine": contestants.machine()}
        contestants.keep("infill", {**found, **measured_on})
    print(json.dumps(found))


def measured(
    model: Model, pieces: list[Notes], params: SamplingParams, infills: int, bars: int, most: int, seed: int
) -> dict[str, Any]:
    """Overlaps of both seams, by how a candidate is chosen, and how many infills changed anything else."""
    generator = np.random.default_rng(seed)
    inside = [seam for piece in pieces for seam in seams(piece, splice.bar_lines(piece)[1:-1])]
    counts = [count for count in COUNTS if count <= most]
    names = ["other", *(f"{count} {how}" for count in counts for how in ("drawn", "best")[: 1 + (count > 1)])]
    left: dict[str, list] = {name: [] for name in names}
    right: dict[str, list] = {name: [] for name in names}
    changed = 0
    for number in range(infills):
        piece = pieces[number % len(pieces)]
        lines = splice.bar_lines(piece)
        from_bar = int(generator.integers(2, len(lines) - bars - 1))
        ends = lines[[from_bar - 1, from_bar - 1 + bars]]
        begin, end = ends.tolist()
        gap = model.encoding.gap(infill.with_keys(piece), begin, end, params, most)
        key = infill.key_of(seed, number)
        several = infill.candidates_of(model, gap, infill.reach(model, gap), key)
        foreign = other(pieces, piece, lines, from_bar - 1, bars, generator)
        fills = {} if foreign is None else {"other": foreign}
        for name in names[1:]:
            count, how = name.split()
            first = Candidates(
                *(part[..., : int(count), :] if part.ndim == 3 else part[: int(count)] for part in several)
            )
            fills[name] = infill.chosen(gap, first, key, how == "best")
        for name, new in fills.items():
            whole = splice.together(gap.kept, new)
            left[name] += seams(whole, ends[:1])
            right[name] += seams(whole, ends[1:])
            changed += differs(whole, piece, begin, end)
        print(f"{number + 1} of {infills}", end="\r", file=sys.stderr, flush=True)
    overlap = {"real": {m: [chance(inside, m, infills, generator)] * 2 for m in MEASURES}}
    for name in filter(left.get, names):
        overlap[name] = {m: [overlapping(side[name], inside, m) for side in (left, right)] for m in MEASURES}
    return {"infills": infills, "bar_lines": len(inside), "changed": changed, "overlap": overlap}


def seams(piece: Notes, lines: np.ndarray) -> list[dict[str, int]]:
    """The bin of each measure at each bar line that has notes in the bars on both sides."""
    all_lines = splice.bar_lines(piece)
    found = []
    for line in lines.tolist():
        place = int(np.argmin(np.abs(all_lines - line)))
        if not 0 < place < len(all_lines) - 1:
            continue
        before = piece[splice.begin_in(piece, all_lines[place - 1], line)]
        after = piece[splice.begin_in(piece, line, all_lines[place + 1])]
        if not len(before) or not len(after):
            continue
        last, first = (side.pitch[side.onset_beats == beat].max() for side, beat in _edges(before, after))
        profiles = [np.bincount(side.pitch % 12, side.duration_beats, 12) for side in (before, after)]
        cosine = profiles[0] @ profiles[1] / np.prod([np.linalg.norm(one) for one in profiles])
        found.append(
            {
                "step": int(np.clip(int(first) - int(last), -STEPS, STEPS)) + STEPS,
                "bass": (int(after.pitch.min()) - int(before.pitch.min())) % 12,
                "harmony": min(int(cosine * BINS), BINS - 1),
            }
        )
    return found


def _edges(before: Notes, after: Notes) -> list[tuple[Notes, float]]:
    return [(before, before.onset_beats[-1]), (after, after.onset_beats[0])]


def overlapping(some: list[dict[str, int]], others: list[dict[str, int]], measure: str) -> float:
    """The overlap of two histograms, 0..1."""
    shares = [
        np.bincount([one[measure] for one in side], minlength=MEASURES[measure]) / len(side) for side in (some, others)
    ]
    return round(float(np.minimum(*shares).sum()), 3)


def chance(inside: list[dict[str, int]], measure: str, count: int, generator: np.random.Generator) -> float:
    """The overlap of `count` random real bar lines with all of them, the mean of 100 draws."""
    draws = [generator.choice(len(inside), count) for _ in range(100)]
    return round(float(np.mean([overlapping([inside[k] for k in draw], inside, measure) for draw in draws])), 3)


def other(
    pieces: list[Notes], piece: Notes, lines: np.ndarray, bar: int, bars: int, generator: np.random.Generator
) -> Notes | None:
    """Bars of another piece in the same meter, moved into the gap; None if no other piece has such bars."""
    length = lines[bar + bars] - lines[bar]
    for number in generator.permutation(len(pieces)).tolist():
        one, own = pieces[number], splice.bar_lines(pieces[number])
        fitting = np.flatnonzero(np.abs(own[bars:] - own[:-bars] - length) < 1e-6)
        fitting = fitting[fitting > 0]
        if one is not piece and len(fitting):
            start = int(generator.choice(fitting))
            break
    else:
        return None
    new = one[splice.begin_in(one, own[start], own[start + bars])]
    onset = np.maximum(new.onset_beats - own[start], 0) + lines[bar]
    duration = np.minimum(new.duration_beats, lines[bar + bars] - onset)
    return dataclasses.replace(new, onset_beats=onset, duration_beats=duration)


def differs(whole: Notes, piece: Notes, begin: float, end: float) -> bool:
    """Whether anything that begins outside the gap differs, by even one bit."""
    kept, was = (one[~splice.begin_in(one, begin, end)] for one in (whole, piece))
    return any(not np.array_equal(getattr(kept, name), getattr(was, name)) for name in COLUMNS)


def table(overlap: dict[str, dict[str, list[float]]]) -> str:
    """Overlaps at the left and the right seam."""
    lines = [f"{'candidates':<12}" + "".join(f"{f'{m}, {side}':>16}" for m in MEASURES for side in ("left", "right"))]
    for name, of_measure in overlap.items():
        lines.append(f"{name:<12}" + "".join(f"{value:>16.3f}" for m in MEASURES for value in of_measure[m]))
    used = max((name for name in overlap if name.endswith("drawn")), key=lambda name: int(name.split()[0]))
    lowest = min(min(overlap[used][m]) for m in MEASURES)
    said = "yes" if lowest >= CLAIM else "NO "
    return "\n".join([*lines, f"{said} overlap at least {CLAIM} at both seams, {used}: {lowest:.3f}"])


if __name__ == "__main__":
    main()
