"""Nats per frame of sixteen models on four data sets under one protocol: the paper's Table I as one experiment.

    python -m benchmarks.likelihood --data=DIR [--rows=uniform,marginal,markov,mse,bernoulli,nade,...] [--sets=jsb,...]
                                    [--runs=runs/likelihood] [--seeds=0] [--budget_core_hours=0] [--tonic=0] [--save]
                                    [--epochs=1 --units=8]

DIR contains JSB_Chorales.mat, Nottingham.mat, MuseData.mat and Piano_midi.mat (Boulanger-Lewandowski et al. 2012), with
their splits and grids. Frames 2..T of each test piece are predicted from those before them in the piece; nats are
summed over the 88 keys and averaged over all predicted frames; lower is better. Networks (NETWORKS) are trained, or
restored if --runs has them, and chosen only by their loss on the validation split. Only training frames are transposed,
except in ENSEMBLES: these rows average a frame's probabilities over networks and over all transpositions used in
training, and have their own seeds. Brackets give the 95 % interval of 1,000 bootstrap draws over test pieces. With
several --seeds, the nats are their mean; on sets other than SEVERAL, only the first counts. --epochs and --units
replace the settings in `likelihood_networks` for a quick try.

With --budget_core_hours, it first says how long each network takes and how many epochs fit, then trains those; the same
command continues where it stopped. With --tonic=1, every piece is first moved to the tonic C (see common_tonic). This
is the protocol of Johnson 2017; its likelihoods cannot be compared with the others. Some networks then have
further trainings (AGAIN), each from the best weights of the one before; the best of all by validation loss counts.

--save adds what was measured to what is already kept.

Prints a table and, as its last line, one JSON object {row: {set: nats}}.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import baselines, common_tonic, contestants, core_hours
from benchmarks.frame_likelihoods import Frames, frames_of, mixture
from benchmarks.likelihood_networks import (
    ENSEMBLES,
    MOVED,
    NETWORKS,
    ROWS,
    SETTINGS,
    SETTINGS_OF_PAPERS,
    Member,
    again_of,
    members_of,
    more_of,
)
from benchmarks.published import PUBLISHED, SETS
from musicjax.corpus import frame_sets
from musicjax.corpus.frame_sets import Polyphonic
from musicjax.encodings.frames import BEATS_A_BAR
from musicjax.errors import RunError, UsageError
from musicjax.model import heads, network
from musicjax.run import device, train
from musicjax.store import model as model_lib

# Outputs trained with the paper's loss are clipped to one of these to give probabilities; validation chooses it.
CLIPS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)

# By row and data set.
Cells = dict[tuple[str, str], list[Member]]


def main() -> None:
    asked = contestants.arguments(
        __doc__,
        data="",
        rows=",".join(ROWS),
        sets=",".join(SETS),
        runs="runs/likelihood",
        seeds="0",
        budget_core_hours=0.0,
        tonic=0,
        epochs=0,
        units=0,
    )
    trial = {"train.epochs": asked.epochs, "model.units": asked.units}
    rows, sets = asked.rows.split(","), asked.sets.split(",")
    for flag, named, known in (("rows", rows, ROWS), ("sets", sets, SETS)):
        if unknown := [one for one in named if one not in known]:
            raise SystemExit(
                f"--{flag}: {', '.join(map(repr, unknown))} is unknown; expected some of {','.join(known)}"
            )
        if len(set(named)) < len(named):
            raise SystemExit(f"--{flag}={','.join(named)}: expected each once")
    if asked.tonic not in (0, 1):
        raise SystemExit(f"--tonic={asked.tonic}: expected 0 or 1")
    if not asked.data:
        raise SystemExit("--data is missing: expected the folder of the four .mat files")
    trial = {path: number for path, number in trial.items() if number}
    if not all(seed.isdecimal() for seed in asked.seeds.split(",")):
        raise SystemExit(f"--seeds={asked.seeds}: expected whole numbers from 0 up, such as 0,1,2")
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    name = f"likelihood{'-tonic' * bool(asked.tonic)}"
    if asked.save and trial:
        raise SystemExit("--save keeps a full result: expected neither --epochs nor --units")
    try:
        # A quick try has its own folder, and so has music moved to one tonic.
        runs, folder = Path(asked.runs, *map(str, trial.values())), asked.data
        if asked.tonic:
            runs = runs / "tonic"
            for one in sets:
                common_tonic.write(one, asked.data, runs / "data")
            folder = str(runs / "data")
        found = measured(rows, sets, folder, runs, seeds, trial, asked.budget_core_hours, bool(asked.tonic))
    except (UsageError, RunError, OSError) as error:
        raise SystemExit(f"likelihood: {error}") from error
    print(table(found, sets))
    if asked.save:
        # Read only now, because trainings take hours and others may have been saved meanwhile.
        path = contestants.RESULTS / contestants.folder_name() / f"{name}.json"
        kept = json.loads(path.read_text()) if path.is_file() else {"rows": {}}
        earlier = {row.replace("_echo", "_match"): of for row, of in kept["rows"].items()}  # as 0.1.0 called them
        both = {row: earlier.get(row, {}) | found.get(row, {}) for row in ROWS if row in earlier or row in found}
        more = kept.get("settings", {}).get("more", {}) | more_of_cells(found, bool(asked.tonic))
        more = {cell: fields for cell, fields in more.items() if fields}
        settings = {"by_set": SETTINGS, "by_set_of_papers": SETTINGS_OF_PAPERS, "more": more}
        keep(name, {"rows": both, "settings": settings})
    print(json.dumps({row: {name: one["nats"] for name, one in of.items()} for row, of in found.items()}))


def measured(
    rows: list[str],
    sets: list[str],
    folder: str,
    runs: Path,
    seeds: list[int],
    trial: dict[str, Any],
    budget: float,
    tonic: bool = False,
) -> dict[str, dict[str, Any]]:
    """{row: {data set: its cell}}; budget: core-hours for training, 0: no limit; tonic: of music moved to one tonic."""
    # Read all sets before training, so that a missing file costs nothing.
    data_of = {name: frame_sets.read(f"polyphonic:{name}:{folder}") for name in sets}
    of_cells = {(row, name): members_of(row, name, folder, runs, seeds, trial, tonic) for name in sets for row in rows}
    of_cells, unfinished = limited(of_cells, budget) if budget else (of_cells, [])
    found: dict[str, dict[str, Any]] = {row: {} for row in rows}
    for name, data in data_of.items():
        for row in rows:
            members = of_cells[row, name]
            one = of_networks(members, data, row in ENSEMBLES) if members else of_baseline(row, data)
            found[row][name] = one | {"measured": time.strftime("%Y-%m-%d")}  # cells of several days are kept together
            print(f"{row:<16}{name:<12}{one}", file=sys.stderr, flush=True)
    for line in unfinished:
        print(f"{line}; the same command continues", file=sys.stderr, flush=True)
    return found


def more_of_cells(found: dict[str, dict[str, Any]], tonic: bool) -> dict[str, dict[str, Any]]:
    """{name of a workdir: settings beyond those of the data set}, for the first and all further trainings.

    A training that was not run has no settings, which removes those kept from an earlier result.
    """
    more = {}
    for row, of in found.items():
        for name, cell in of.items():
            more[f"{row}-{name}"] = more_of(row, name, tonic)
            further, trained = again_of(row, name, tonic), cell.get("trainings", 1)
            for number, (suffix, settings) in enumerate(further.items(), start=2):
                more[f"{row}-{name}{suffix}"] = settings if number <= trained else {}
    return more


def limited(cells: Cells, budget: float) -> tuple[Cells, list[str]]:
    """Limits the configs' epochs to a budget in core-hours, and says what was planned.

    A network used by several rows is planned once. A further training waits until the one before has all its epochs.

    Returns:
        The cells, with the trainings in this budget; a line for each training that will not get all its epochs.
    """
    networks = {member.workdir: member for of_cell in cells.values() for member in of_cell}
    members = {path: _first_unfinished(network) for path, network in networks.items()}
    jobs = [core_hours.job(one.workdir.name, one.config, one.workdir) for one in members.values()]
    epochs = core_hours.plan(jobs, budget)
    print(core_hours.told(jobs, epochs, budget), file=sys.stderr, flush=True)
    for one in members.values():
        one.config.train.epochs = max(epochs[one.workdir.name], 1)
    short = [job for job in jobs if epochs[job.name] < job.wanted]
    lines = [f"{job.name}: {epochs[job.name]} of {job.wanted} epochs fit into the budget" for job in short]
    waiting = [one for path, network in networks.items() for one in network.after(members[path])]
    lines += [f"{one.workdir.name} waits for {one.before.workdir.name}" for one in waiting if one.before]
    return {cell: [members[member.workdir] for member in of_cell] for cell, of_cell in cells.items()}, lines


def _first_unfinished(member: Member) -> Member:
    """The first training with epochs left, else the last."""
    return next((one for one in member.trainings() if core_hours.open_epochs(one.config, one.workdir)), member)


def of_baseline(row: str, data: Polyphonic) -> dict[str, Any]:
    """Nats per frame of the test split under a model that only counts."""
    learned, test = data.pieces("train"), data.pieces("test")
    costs = baselines.uniform(test) if row == "uniform" else getattr(baselines, row)(learned, test)
    return scored(*costs)


def of_networks(members: list[Member], data: Polyphonic, ensemble: bool) -> dict[str, Any]:
    """Nats per frame of the test split under networks: of their ensemble, or the mean over their seeds."""
    each_found = (of_network(member, data, ensemble and member.row in MOVED) for member in members)
    cells, of_splits = zip(*each_found, strict=True)
    by_seed = {split: [of_split[split] for of_split in of_splits] for split in ("valid", "test")}
    if ensemble:
        valid, test = (of_ensemble(members, by_seed[split]).costs for split in ("valid", "test"))
        sums = {name: round(sum(cell[name] for cell in cells), 1) for name in ("parameters", "minutes")}
        more = {"valid_nats": round(baselines.per_frame(*valid), 4), **sums}
    else:
        test = np.mean([frames.costs[0] for frames in by_seed["test"]], axis=0), by_seed["test"][0].costs[1]
        more = {name: round(float(np.mean([cell[name] for cell in cells])), 4) for name in ("valid_nats", "minutes")}
    each = [round(baselines.per_frame(*frames.costs), 4) for frames in by_seed["test"]]
    seeds = {"seeds": [member.config.seed for member in members]}
    return scored(*test) | cells[0] | ({**more, "nats_by_seed": each} if len(cells) > 1 else {}) | seeds


def of_ensemble(members: list[Member], found: list[Frames]) -> Frames:
    """The frames of an ensemble, from those of its networks; all its rows have the same weight."""
    by_row: dict[str, list[Frames]] = {}
    for member, frames in zip(members, found, strict=True):
        by_row.setdefault(member.row, []).append(frames)
    return mixture([mixture(of_row) for of_row in by_row.values()])


def of_network(member: Member, data: Polyphonic, moves: bool = False) -> tuple[dict[str, Any], dict[str, Frames]]:
    """Trains or restores a network; returns its cell of the table, and its frames of the splits valid and test.

    Args:
        moves: whether a frame's probabilities are averaged over all transpositions used in training.
    """
    row, trainings = member.row, member.trainings()
    device.keep_programs(member.config.data)
    for one in trainings:
        train.train(one.config, one.workdir, init_from=one.before.workdir if one.before else None)
    models = [model_lib.load(one.workdir) for one in trainings]
    epochs = [model.metadata.epoch for model in models]
    number = min(range(len(models)), key=lambda number: models[number].metadata.best_loss)
    model = models[number]
    net, more, bar = model.network, dict[str, Any](), BEATS_A_BAR * model.config.data.per_beat
    if row == "mse":  # the clip with the lowest nats on validation
        clipped = {clip: net.clone(head=heads.FrameRegression(clip)) for clip in CLIPS}
        of_clip = {
            clip: baselines.per_frame(*frames_of(one, model.params, data, "valid").costs)
            for clip, one in clipped.items()
        }
        best_clip = min(CLIPS, key=of_clip.__getitem__)
        net, more = clipped[best_clip], {"clip": best_clip}
    if row == "kotecha_young":  # whose paper also gives training figures
        of_training = frames_of(net, model.params, data, "train", bar).costs
        more = {"train_nats": round(baselines.per_frame(*of_training), 4)}
    reach = model.config.data.own.transpose if moves else 0
    of_splits = {
        split: mixture([frames_of(net, model.params, data, split, bar, by) for by in range(-reach, reach + 1)])
        for split in ("valid", "test")
    }
    lines = [line for one in trainings for line in core_hours.recorded(one.workdir)]
    seconds = sum(line["seconds"] for line in lines if line["split"] == "train")
    cell = {
        "valid_nats": round(baselines.per_frame(*of_splits["valid"].costs), 4),
        "parameters": network.count(model.params),
        "epochs": sum(epochs),
        "best_epoch": sum(epochs[:number]) + model.metadata.best_epoch,
        **({"trainings": len(trainings)} if len(trainings) > 1 else {}),
        "minutes": round(seconds / 60, 1),
        **more,
    }
    return cell, of_splits


def scored(nats: np.ndarray, frames: np.ndarray) -> dict[str, Any]:
    """A cell of the table, from nats [P] and frames [P] of the test pieces."""
    low, high = baselines.bootstrap(nats, frames, seed=0)
    cell = {"nats": baselines.per_frame(nats, frames), "low": low, "high": high}
    return {name: round(value, 4) for name, value in cell.items()} | {"pieces": len(nats), "frames": int(frames.sum())}


def table(found: dict[str, dict[str, Any]], sets: list[str]) -> str:
    """The rows as text: nats, interval, parameters, minutes of training steps; then what others published."""
    lines = [f"{'':<16}" + "".join(f"{name:>24}" for name in sets)]
    for row, of in found.items():
        cells = [f"{of[name]['nats']:.2f} ({of[name]['low']:.2f}..{of[name]['high']:.2f})" for name in sets]
        lines.append(f"{row:<16}" + "".join(f"{cell:>24}" for cell in cells))
        if row in NETWORKS or row in ENSEMBLES:
            sizes = [f"{of[name]['parameters']:,}, {of[name]['minutes']} min" for name in sets]
            lines.append(f"{'':<16}" + "".join(f"{size:>24}" for size in sizes))
    for what, (nats, how) in PUBLISHED.items():
        cells = ["" if nats[name] is None else f"{nats[name]:.2f}" for name in sets]
        lines.append(f"{what}: {how}\n{'':<16}" + "".join(f"{cell:>24}" for cell in cells))
    return "\n".join(lines)


def keep(name: str, result: dict[str, Any]) -> None:
    """Keeps the result beside those of the other benchmarks."""
    kept = {"benchmark": name, "measured": time.strftime("%Y-%m-%d"), **result, "machine": contestants.machine()}
    contestants.keep(name, kept)


if __name__ == "__main__":
    main()
