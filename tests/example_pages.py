"""Pages of runs that never were, for tests of what a page shows."""

from __future__ import annotations

import dataclasses

import numpy as np

from musicjax.music import builtin_clips
from musicjax.music.notes import Notes
from musicjax.report import page
from musicjax.report.pieces import Sample
from musicjax.report.search_page import Field, SearchPage, Trial

HOSTILE = "</script><img src=x onerror=alert(1)><script>alert(2)</script>\"'&amp;$title ]]>\u202e\0"


def composed(number: int) -> Notes:
    """The first 300 notes of a composed song."""
    parts = np.concatenate([part.to_array() for part in builtin_clips.compose(11, number).parts], axis=1)
    return Notes.from_array(parts[:, np.argsort(parts[2], kind="stable")])[:300]


def sample(name: str, notes: Notes) -> Sample:
    """A sample with files, a metric and a copy."""
    files = (f"samples/{name}.mid", f"samples/{name}.wav")
    return Sample(name, notes, files, {"polyphony_rate": 3.25}, "6 notes in a row, as in b.mid")


def lines(epochs: int, **more: float) -> list[dict]:
    """Lines of metrics.jsonl whose losses fall; more: what else each of them has."""
    both = []
    for epoch in range(1, epochs + 1):
        loss = {"loss": 3.0 / epoch, "accuracy": 1 - 0.5 / epoch, **more}
        both += [{"split": split, "epoch": epoch, "step": 9 * epoch, **loss} for split in ("train", "valid")]
    return both


def a_page(**changes) -> page.Page:
    """The page of a run with eight samples; changes: other fields of it."""
    whole = page.Page(
        title="a run",
        facts=[("trained", "an LSTM"), ("for", "20 epochs")],
        settings={"name": "paper", "seed": 1, "model": {"units": 512, "head": {"name": "regression"}, "dropouts": []}},
        lines=lines(20),
        data=[("kept", "125"), ("skipped", "1: notes.txt")],
        samples=[sample(f"seed7-{k:03d}", composed(k)) for k in range(8)],
        compared=[("pitch_class_entropy", 2.5, 2.625, 0.75), ("groove", float("nan"), 0.5, float("nan"))],
        compared_on="the first 99 notes",
    )
    return dataclasses.replace(whole, **changes)


def a_run_with_real_pieces() -> page.Page:
    """Samples with real pieces, one without, and one without notes; two are from one file."""
    real = [
        Sample(
            f"real-{number:03d}",
            composed(k),
            (f"samples/real/real-{number:03d}.mid",),
            about=f"The beginning of album/song {k}.mid, a real piece that the model did not learn from",
        )
        for number, k in enumerate((1, 2, 2))
    ]
    samples = [dataclasses.replace(sample(f"seed7-{k:03d}", composed(k + 4)), real_piece=real[k]) for k in range(3)]
    silent = Sample("seed7-004", composed(0)[:0])
    return a_page(samples=[*samples, sample("seed7-003", composed(0)), silent])


def a_sweep() -> page.Page:
    """The page of a sweep of two pieces, parts of which are new."""
    setting = {"temperature": 0.1234567, "pitch_range": (0, 127), "key": "", "stop_loops": True, "instruments": ()}
    new = ((2.0, 5.5), (8.0, 99.0))
    about = "1. score 0.5: temperature=0.1234567 instruments=" + ",".join(["acoustic grand piano"] * 9)
    samples = [
        dataclasses.replace(sample(f"seed5-{k:03d}", composed(k)), about=about, setting=setting, new=new)
        for k in range(2)
    ]
    facts: list[tuple[str, object]] = [("model", "runs/mine"), ("seed", 5)]
    return page.Page(title="sweep", facts=facts, samples=samples, order="The best comes first.", is_run=False)


def hostile_page() -> page.Page:
    """A page in which all that a run can say is HOSTILE."""
    name = HOSTILE
    record = {**lines(1)[1], f"x{name}": 1.0}
    return page.Page(
        title=name,
        facts=[(name, name)],
        settings={name: name, "part": {name: [name]}},
        lines=[*lines(2), record],
        data=[(name, name)],
        samples=[
            Sample(
                name,
                composed(0),
                (f"samples/{name}", "javascript:alert(3)", "//host/a.mid"),
                {name: 1.0},
                name,
                about=name,
                setting={name: name},
                real_piece=Sample(name, composed(1), (f"samples/real/{name}",), about=name),
            )
        ],
        compared=[(name, 1.0, 1.0, 1.0), (name, name, name, name)],
        compared_on=name,
    )


def a_search(count: int = 30, **changes) -> SearchPage:
    """The page of a search of this many trials, of which higher rates are better."""
    fields = [
        Field("train.learning_rate", is_log=True),
        Field("model.units", listed=(64, 128, 256)),
        Field("train.epsilon_in_root", listed=(True, False)),
        Field("data.window"),
    ]
    trials = [
        Trial(
            3 * k % count if count > 3 else k,
            {
                "train.learning_rate": 1e-2 * 0.8**k,
                "model.units": (64, 128, 256)[k % 3],
                "train.epsilon_in_root": k % 2 == 0,
                "data.window": 10 + k,
            },
            0.01 * 1.1**k,
            90 if k < 5 else 10,
        )
        for k in range(count)
    ]
    facts: list[tuple[str, object]] = [("config", "small"), ("lowest", "loss 0.01")]
    return dataclasses.replace(SearchPage("a search", facts, fields, trials, "loss", 2), **changes)
