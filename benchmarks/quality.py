"""How generated pieces compare with real ones: repetition, overlap of music metrics, copies.

    python -m benchmarks.quality --workdir=DIR [--paper=DIR] [--drawn="pitch_temperature=0.8 min_p=0.04"]
                                 [--against=test] [--pieces=64] [--notes=500] [--seed=0] [--save]

--workdir contains a note-event model trained on a folder with train/ and test/, such as benchmarks.notes writes. It
samples as its config says, or with the sampling parameters of --drawn. --against=valid compares with the validation
pieces, to choose these parameters.
--paper contains a model of the paper's kind, trained on the same folder. Each model, and the trigram of
benchmarks.ngrams over the same bins, writes --pieces pieces of --notes notes. They are compared with the test pieces,
cut to the same length. Overlap areas are those of Yang and Lerch, averaged over all metrics of musicjax.music.metrics.
Copies are the longest runs shared with the training pieces, in any key.

Prints a table, then whether the note-event model meets each claim and, as its last line, one JSON object.
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import contestants, ngrams, notes
from musicjax.corpus import load as data_lib
from musicjax.encodings import sampling_params
from musicjax.encodings.sampling_params import SamplingParams
from musicjax.errors import RunError, UsageError
from musicjax.generation import generate as generate_lib
from musicjax.music import copies, likeness, metrics, note_bins, note_rows
from musicjax.music.notes import Notes
from musicjax.run import device
from musicjax.store import model as model_lib
from musicjax.store.model import Model

GRAM = "most_repeated_8gram"


def main() -> None:
    asked = contestants.arguments(__doc__, workdir="", paper="", drawn="", against="test", pieces=64, notes=500, seed=0)
    if not asked.workdir:
        raise SystemExit("--workdir is missing: expected the folder of a note-event model")
    if asked.save and asked.against != "test":
        raise SystemExit(f"--save keeps what was measured on the test pieces: leave out --against={asked.against}")
    try:
        started = time.perf_counter()
        model = model_lib.load(asked.workdir)
        device.keep_programs(model.config.data)
        sampling = drawn(model, asked.drawn)
        size = {"num_outputs": asked.pieces, "num_notes": asked.notes, "seed": asked.seed}
        written = {"events": generate_lib.generate(model, sampling=sampling, **size)}
        seconds = time.perf_counter() - started
        folder = Path(model.config.data.source)
        written["trigram"] = of_trigram(model, folder, asked.pieces, asked.notes, asked.seed)
        if asked.paper:
            written["paper"] = generate_lib.generate(asked.paper, **size)
        found = compared(written, model, folder / asked.against, asked.notes)
    except (UsageError, RunError) as error:
        raise SystemExit(f"quality: {error}") from error
    found["seconds_of_generating"] = round(seconds, 1)
    print(table(found))
    for claim, (is_so, said) in claims(found).items():
        print(f"{'yes' if is_so else 'NO '}  {claim}: {said}")
    if asked.save:
        used = {"drawn": sampling.text(), "pieces": asked.pieces, "notes": asked.notes, "seed": asked.seed}
        keep({**found, "settings": used, "claims": claims(found)}, model.config.data.tracks)
    print(json.dumps(found))


def drawn(model: Model, text: str) -> SamplingParams:
    """The sampling parameters of the model's config; a text of NAME=NUMBER words can replace them."""
    sample = model.config.sample
    given: dict[str, Any] = {}
    for name, _, value in (one.partition("=") for one in text.split()):
        try:
            given[name] = sampling_params.KINDS.get(name, float)(value)
        except ValueError:
            raise UsageError(f"drawn={name}={value}: expected a number, as in min_p=0.04") from None
        if name not in sampling_params.RANGES:
            raise UsageError(f"drawn={name}: expected one of {', '.join(sampling_params.RANGES)}")
    params = SamplingParams(**{**sampling_params.values_of(sample), **given})
    params = sampling_params.with_factors(params, sample, given)
    sampling_params.check(params)
    return params


def of_trigram(model: Model, folder: Path, pieces: int, length: int, seed: int) -> list[Notes]:
    """Pieces by the trigram with the best context and smoothing on the validation pieces."""
    bins, data = note_bins.from_saved(model.metadata.learned["bins"]), model.config.data
    train, valid = (notes.rows_of(folder / name, bins, data) for name in ("train", "valid"))
    sizes = tuple(bins.used[column] for column in bins.predicted)
    models = [
        ngrams.fit(train[0], train[1], sizes, 3, kind, smoothing)
        for kind in ngrams.KINDS
        for smoothing in ngrams.SMOOTHINGS
    ]
    best = min(models, key=lambda one: float(ngrams.nats(one, *valid).sum()))
    generator = np.random.default_rng(seed)
    starts = train[1][:-1][np.diff(train[1]) > 4]
    first = generator.choice(starts, pieces)[:, None] + np.arange(4)
    drawn = ngrams.sample(best, seed, length, train[0][first])
    rows = np.zeros((*drawn.shape[:2], len(note_bins.COLUMNS)), np.int64)
    rows[..., bins.predicted] = drawn
    return [note_rows.decode(piece, bins) for piece in rows]


def compared(written: dict[str, list[Notes]], model: Model, folder: Path, length: int) -> dict[str, Any]:
    """The measures of the pieces of each model, and of the real pieces in a folder."""
    music, _ = model.encoding.music()
    assert music is not None
    known = copies.index(music.training, music.names)
    corpus, _ = data_lib.read(dataclasses.replace(model.config.data, source=str(folder)))
    real = [corpus.piece(p)[:length] for p in range(len(corpus))]
    of_real = [metrics.of_piece(piece) for piece in real]
    found: dict[str, Any] = {
        "test pieces": {**summed(of_real), **heard(real), "median_copy_notes": median_copy(real, known)}
    }
    found["test pieces"]["whole_most_repeated_8gram"] = max(
        metrics.of_piece(piece)[GRAM] for piece in [*music.training, *(corpus.piece(p) for p in range(len(corpus)))]
    )
    for name, pieces in written.items():
        measured = [metrics.of_piece(piece) for piece in pieces]
        overlaps = metrics.compare(measured, of_real)
        found[name] = {
            **summed(measured),
            **heard(pieces),
            "mean_overlap_area": round(metrics.mean_overlap_area(overlaps), 4),
            "overlap_area": {metric: round(overlap.overlap_area, 3) for metric, overlap in overlaps.items()},
            "median_copy_notes": median_copy(pieces, known),
        }
    return found


def summed(measured: list[dict[str, float]]) -> dict[str, Any]:
    """The extremes that the claims are about, and the mean of every metric."""
    return {
        "highest_most_frequent_pitch": round(max(one["most_frequent_pitch"] for one in measured), 3),
        "highest_most_repeated_8gram": max(one[GRAM] for one in measured),
        "means": {name: round(float(np.mean([one[name] for one in measured])), 3) for name in metrics.NAMES},
    }


def heard(pieces: list[Notes]) -> dict[str, float]:
    """The means of the musicjax.music.likeness measures that suit pieces that may be cut off."""
    means = likeness.means(pieces)
    return {name: round(means[name], 3) for name in ("scale", "in_chord", "repeats")}


def median_copy(pieces: list[Notes], known: copies.Known) -> float:
    """The median over pieces of the longest run, in notes, that a piece shares with the training pieces."""
    return float(np.median([copies.longest(piece, known).length for piece in pieces]))


def claims(found: dict[str, Any]) -> dict[str, tuple[bool, str]]:
    """{claim about the note-event model: (whether it holds, the numbers)}."""
    mine, real = found["events"], found["test pieces"]
    others = {name: found[name]["mean_overlap_area"] for name in ("trigram", "paper") if name in found}
    frequent, gram, area = (
        mine["highest_most_frequent_pitch"],
        mine["highest_most_repeated_8gram"],
        mine["mean_overlap_area"],
    )
    repeats = mine["repeats"], real["repeats"]
    copied, own = mine["median_copy_notes"], real["median_copy_notes"]
    most = real["whole_most_repeated_8gram"]
    return {
        "no pitch above 30 % of a piece": (frequent <= 0.3, f"{frequent:.1%}"),
        "no 8-gram repeated more than in the most repetitive whole real piece": (
            gram <= most,
            f"{gram:g} against {most:g}",
        ),
        "mean overlap area at least .75": (area >= 0.75, f"{area:.3f}"),
        "repeats within .05": (abs(repeats[0] - repeats[1]) <= 0.05, f"{repeats[0]:.3f} against {repeats[1]:.3f}"),
        "higher than the others'": (area > max(others.values(), default=0.0), f"{area:.3f} against {others}"),
        "copies no longer than a real piece's, plus 4": (copied < own + 4, f"{copied:g} against {own:g}"),
        "within 60 s, start included": (found["seconds_of_generating"] < 60, f"{found['seconds_of_generating']} s"),
    }


def table(found: dict[str, Any]) -> str:
    """Means of all metrics and overlap areas, by model."""
    names = [name for name in found if isinstance(found[name], dict)]
    lines = [f"{'':<22}" + "".join(f"{name:>20}" for name in names)]
    for metric in metrics.NAMES:
        cells = []
        for name in names:
            area = found[name].get("overlap_area", {}).get(metric)
            cells.append(f"{found[name]['means'][metric]:.3f}" + (f" ({area:.2f})" if area is not None else ""))
        lines.append(f"{metric:<22}" + "".join(f"{cell:>20}" for cell in cells))
    for field in (
        "mean_overlap_area",
        "scale",
        "in_chord",
        "repeats",
        "median_copy_notes",
        "highest_most_frequent_pitch",
        "highest_most_repeated_8gram",
    ):
        lines.append(f"{field:<28}" + "".join(f"{found[name].get(field, ''):>20}" for name in names))
    return "\n".join(lines)


def keep(result: dict[str, Any], tracks: str) -> None:
    """Keeps the result beside those of the other benchmarks; with tracks apart, it has its own name."""
    kept = {"benchmark": "quality", "measured": time.strftime("%Y-%m-%d"), **result, "machine": contestants.machine()}
    contestants.keep("quality" if tracks == "merge" else f"quality-{tracks}", kept)


if __name__ == "__main__":
    main()
