"""The tables of docs/results.md, paper.md, reliability.md and shards.md, and README's ratios, from the kept results.

    python -m benchmarks.tables [--machine=amd-epyc-avx512_bf16] [--save]

Prints Markdown. With --save it also puts each table into those files, below the line `<!-- NAME -->`. A
test compares the files with the results.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks import contestants
from benchmarks.published import PUBLISHED
from musicjax.report.curves import AUTHORS

REPOSITORY = Path(__file__).parents[1]
PLACES = ("README.md", "docs/results.md", "docs/paper.md", "docs/reliability.md", "docs/shards.md")
NAMES = {
    "musicjax": "musicjax",
    "keras-jax": "Keras {keras} on JAX",
    "keras-tensorflow": "Keras {keras} on TensorFlow {tensorflow}",
    "keras-torch": "Keras {keras} on PyTorch",
    "torch": "PyTorch {torch} `nn.LSTM`",
    "torch_lstm": "PyTorch {torch} `nn.LSTM`",
    "torch_cell": "PyTorch {torch} `nn.LSTMCell`",
    "flax": "Flax {flax} `nn.RNN`",
    "flax_scan": "Flax {flax} `OptimizedLSTMCell`",
    "dropin": "Flax {flax} with `musicjax.LSTM`",
}


def load(machine: str) -> dict[str, Any]:
    """The results of one machine, by benchmark."""
    return {path.stem: json.loads(path.read_text()) for path in sorted((contestants.RESULTS / machine).glob("*.json"))}


def spelled(name: str, said: dict[str, Any]) -> str:
    """A contestant's name for readers, such as "Keras 3.15.1 on JAX, bfloat16"."""
    family = next(key for key in sorted(NAMES, key=len, reverse=True) if name.startswith(key))
    rest = [word for word in name.removeprefix(family).replace("_", "-").split("-") if word]
    versions = {package: version.split("+")[0] for package, version in said[name].get("versions", {}).items()}
    return ", ".join([NAMES[family].format(**versions), *rest])


def rows(found: dict[str, Any], said: dict[str, Any], against: str) -> list[list[str]]:
    """Name, median, quartiles and speed relative to `against`, the fastest first."""
    order = sorted(found, key=lambda name: -found[name]["median"])
    mine = found[against]["median"]
    return [
        [
            spelled(name, said),
            f"{found[name]['median']:,.0f}",
            f"{found[name]['low']:,.0f}..{found[name]['high']:,.0f}",
            f"{found[name]['median'] / mine:.3g}",
        ]
        for name in order
    ]


def markdown(header: list[str], body: list[list[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    lines = [header, ["---"] + ["--:"] * (len(header) - 1), *body]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def fastest(found: dict[str, Any]) -> str:
    """The fastest row of musicjax."""
    return max((name for name in found if name.startswith("musicjax")), key=lambda name: found[name]["median"])


def train(result: dict[str, Any]) -> str:
    found = result["windows_per_second"]
    body = rows(found, result["peers"], fastest(found))
    for name, line in zip(sorted(found, key=lambda name: -found[name]["median"]), body, strict=True):
        line.append(f"{result['gemm_shares'][name]:.0%}")
    return markdown(
        ["training", "windows/s", "quartiles", "relative to our best", "share of matrix products alone"], body
    )


def events(result: dict[str, Any]) -> str:
    found = result["windows_per_second"]
    body = rows(found, result["peers"], fastest(found))
    return markdown(["training on note events", "windows/s", "quartiles", "relative to our best"], body)


def sample(result: dict[str, Any], prefix: str, title: str) -> str:
    found = result[f"{prefix}notes_per_second"]
    body = rows(found, result[f"{prefix}samplers"], fastest(found))
    return markdown([title, "notes/s", "quartiles", "relative to our best"], body)


def sample_events(result: dict[str, Any]) -> str:
    body = []
    for pieces in result["settings"]["pieces"].split(","):
        one = result[f"pieces_{pieces}"]
        for label, *numbers in rows(one["notes_per_second"], one["samplers"], fastest(one["notes_per_second"])):
            body.append([label, pieces, *numbers])
    return markdown(["sampling note events", "pieces", "notes/s", "quartiles", "relative to our best"], body)


def trials(result: dict[str, Any]) -> str:
    body = []
    for size, one in ((size, one) for size, one in result.items() if size.startswith("units_")):
        found = one["windows_per_second"]
        order = sorted(found, key=lambda name: -found[name]["median"])
        for name in order:
            if "*" in name or not name.startswith("musicjax"):
                spoken = f"{name.split('-')[1].split('*')[0]}, {name.split('*')[1]} at a time" if "*" in name else ""
                label = f"musicjax, {spoken}" if spoken else spelled(name, one["peers"])
                body.append([size.removeprefix("units_"), label, f"{found[name]['median']:,.0f}"])
    return markdown(["units", "trials", "windows/s"], body)


def scaling(result: dict[str, Any]) -> str:
    body = []
    for row in result["rows"]:
        line = [str(row["units"]), str(row["batch"]), str(row["window"])]
        for precision in ("float32", "bfloat16"):
            one = row[precision]
            share = f"{one['gflops']:,.0f} ({one['gemm_share']:.0%})"
            line += [f"{one['windows_per_second']['median']:,.0f}", share, f"{one['peak_mb']:,.0f}"]
        body.append(line)
    measures = ["windows/s", "GFLOP/s", "MB"]
    header = ["units", "batch", "window", *(f"float32: {measures[0]}", *measures[1:])]
    return markdown([*header, f"bfloat16: {measures[0]}", *measures[1:]], body)


def sizes(result: dict[str, Any]) -> str:
    """What the models of four configs need."""
    settings, body = result["settings"], []
    for row in result["rows"]:
        state = row["parameter_bytes"] + row["optimizer_bytes"]
        held = [state, row["state_bytes_on_each_device"], *row["working_bytes"].values()]
        size = f"{row['layers']} x {row['units']:,}"
        batch = f"{row['batch']} x {row['window']}"
        gigabytes = [f"{value / 1e9:.2f}" for value in held]
        gflop = f"{row['gflop_a_window']:,.1f}"
        body.append([f"`{row['config']}`", size, batch, f"{row['parameters'] / 1e6:,.1f} M", *gigabytes, gflop])
    header = ["config", "layers x units", "batch x window", "parameters", "state, GB"]
    header += [f"on each of {settings['devices']} devices", "working memory, GB", f"in {settings['parts']} parts"]
    return markdown([*header, "gates computed again", "both", "GFLOP a window"], body)


def sizes_speed(result: dict[str, Any]) -> str:
    """How fast the same models train in small batches."""
    body = []
    for row in result["rows"]:
        rates = row["windows_per_second"]
        if rates is not None:
            speed = [f"{rate['median']:.3g} ({rate['low']:.3g}..{rate['high']:.3g})" for rate in rates.values()]
            body.append([f"`{row['config']}`", *speed, f"{rates['whole']['median'] * row['gflop_a_window']:,.0f}"])
    parts = f"in {result['settings']['parts_timed']} parts"
    return markdown(["config", "windows/s", parts, "gates computed again", "GFLOP/s as it is"], body)


def ingest_large(result: dict[str, Any]) -> str:
    """Writing shards, whole and by stage, beside reading alone."""
    named = {"own": "reading alone", "reading": "of which reading", "encoding": "of which encoding"}
    body = []
    for stage in ("own", "whole", "reading", "encoding"):
        runs = result["runs"]
        every = [one["seconds"] for one in runs["own"]] if stage == "own" else []
        every = every or [one["seconds"] if stage == "whole" else one["stages"][stage] for one in runs["shards"]]
        found = contestants.quartiles(every, digits=6)
        peak = {"own": max(one["peak_mb"] for one in runs["own"]), "whole": max(result["peak_mb"].values())}
        rate = f"{result['files'] / found['median']:,.0f}"
        held = f"{peak[stage]:,.0f}" if stage in peak else ""
        label = named.get(stage, "writing shards")
        body.append([label, f"{found['median']:.1f} ({found['low']:.1f}..{found['high']:.1f})", rate, held])
    return markdown([f"{result['files']:,} files", "seconds", "files/s", "peak memory of a process, MB"], body)


def exchanged(collectives: dict[str, int] | None) -> str:
    """How many operations of each kind exchange data; empty if none does."""
    return "unknown" if collectives is None else ", ".join(f"{count} {kind}" for kind, count in collectives.items())


def tpu(result: dict[str, Any]) -> str:
    """The memory that each program needs on a chip, and how its chips exchange data."""
    found = result["chips"]

    def cell(one: dict[str, Any]) -> str:
        if "error" in one:
            return f"does not compile: {one['error']}"
        kinds = exchanged(one["collectives"])
        return f"{sum(one['mb'].values()):,.1f}" + f", {kinds}" * bool(kinds)

    programs = list(dict.fromkeys(name for of in found.values() for name in of))
    body = [[name, *(cell(of[name]) if name in of else "" for of in found.values())] for name in programs]
    return markdown(["MB of each chip, and collectives", *(chips.replace(":", " x ") for chips in found)], body)


def shards(result: dict[str, Any]) -> str:
    """Training from shards in blocks, beside the same shards in memory."""
    named = {
        "resident": "in memory",
        "streamed": "in blocks",
        "streamed, all files": "in blocks, from ten times the files",
    }
    body = []
    for name in named.keys() & result.keys():
        row = result[name]
        rate = row["windows_per_second"]
        speed = f"{rate['median']:.0f} ({rate['low']:.0f}..{rate['high']:.0f})"
        body.append([named[name], speed, f"{row['first_step_seconds']:.1f}", f"{row['peak_mb']:,.0f}"])
    order = list(named.values())
    body.sort(key=lambda line: order.index(line[0]))
    return markdown(["rows of the shards", "windows/s", "to the first step, s", "peak memory, MB"], body)


def start(result: dict[str, Any]) -> str:
    body = [
        [
            f"`--config={result['config']}` to its first epoch, {kind} cache",
            f"{one['median']:.1f} s ({one['low']:.1f}..{one['high']:.1f})",
        ]
        for kind, one in (("empty", result["cold_seconds"]), ("filled", result["warm_seconds"]))
    ]
    body.append([f"peak memory of `--config={result['memory_config']}`", f"{result['peak_mb']:,.0f} MB"])
    return markdown(["start", "median (quartiles)"], body)


def step_parts(result: dict[str, Any]) -> str:
    precisions = [name for name in ("bfloat16", "float32") if name in result]

    def cells(values: list[float]) -> list[str]:
        steps = [sum(result[precision]["parts_ms"].values()) for precision in precisions]
        return [f"{ms:.1f} ({ms / step:.0%})" for ms, step in zip(values, steps, strict=True)]

    parts = {part: [result[one]["parts_ms"][part] for one in precisions] for part in result[precisions[0]]["parts_ms"]}
    body = [[part, *cells(values)] for part, values in parts.items()]
    body.append(["the recorded step", *(f"{sum(result[one]['parts_ms'].values()):.1f}" for one in precisions)])
    for said, name in (
        ("the step, not recorded", "step_ms"),
        ("its products at the speed of products alone", "products_alone_ms"),
    ):
        spread = [result[precision][name] for precision in precisions]
        body.append([said, *(f"{one['median']:.1f} ({one['low']:.1f}..{one['high']:.1f})" for one in spread)])
    return markdown(["milliseconds a step (share, or quartiles)", *precisions], body)


def player(result: dict[str, Any]) -> str:
    names = {"milliseconds_to_first_sound": "milliseconds to the first sound", "cores": "cores in use while it plays"}
    body = [
        [said, f"{result[name]['median']:.3g} ({result[name]['low']:.3g}..{result[name]['high']:.3g})"]
        for name, said in names.items()
    ]
    body.append(["size of the file", f"{result['megabytes']:.2f} MB"])
    return markdown(["the page that composes", "median (quartiles)"], body)


def paper(machine: str) -> str:
    """The kept run of paper_code beside the authors' printed run."""
    lines = (contestants.RESULTS / machine / "paper_code.metrics.jsonl").read_text().splitlines()
    found: dict[int, list[float]] = {}
    for line in map(json.loads, lines):  # an epoch's train line comes before its valid line
        found.setdefault(line["epoch"], []).extend([line["loss"], line["accuracy"]])
    body = []
    for epoch, theirs in ((epoch, theirs) for epoch, theirs in AUTHORS.items() if epoch in found):
        pairs = zip(found[epoch], theirs, strict=True)
        body.append([str(epoch), *(f"{value:.4f}".lstrip("0") for pair in pairs for value in pair)])
    names = ("loss", "accuracy", "validation loss", "validation accuracy")
    return markdown(["epoch", *(word for name in names for word in (name, "authors"))], body)


READERS = {
    "musicjax-1-cold": "musicjax, one process, writing its cache",
    "musicjax-2-cold": "musicjax, two processes, writing its cache",
    "musicjax-2-uncached": "musicjax, two processes, no cache",
    "musicjax-2-cached": "musicjax, from its cache",
    "musicjax-start-cached": "musicjax, from its cache, including the start of Python",
}


def ingest(result: dict[str, Any]) -> str:
    """Files a second of each reader of MIDI, and how many odd files it reads right."""
    found = result["files_per_second"]
    body = []
    for name in sorted(found, key=lambda name: -found[name]["median"]):
        label = READERS.get(name) or f"{name} {result['readers'][name]['version']}"
        one = found[name]
        speed = [f"{one['median']:,.0f}", f"{one['low']:,.0f}..{one['high']:,.0f}"]
        times = f"{one['median'] / found['mido']['median']:.2f}"
        body.append([label, *speed, times, result["edge_cases"][name]])
    return markdown(
        ["reading 700 files of POP909", "files/s", "quartiles", "speed relative to mido", "odd files read right"], body
    )


def reliability(result: dict[str, Any]) -> str:
    """The reliability tests. Where none of n cases failed, 95 % confidence excludes failure rates above 3/n."""
    body = []
    for number, one in enumerate(result.get("tests") or result["trials"], start=1):  # trials: the older name
        bound = f"{one['failures'] / one['n']:.1%} observed" if one["failures"] else f"< {min(1, 3 / one['n']):.2%}"
        body.append([f"{number}. {one['name']}", str(one["n"]), str(one["failures"]), bound])
    return markdown(["reliability test", "cases", "failures", "failure rate"], body)


LIKELIHOODS = {
    "uniform": "every key on with probability one half",
    "marginal": "every key on as often as in the training frames",
    "markov": "every key given itself one frame before",
    "mse": "LSTM, the paper's linear outputs and squared error",
    "bernoulli": "LSTM, independent keys",
    "nade": "LSTM, NADE over the keys",
    "bernoulli_match": "LSTM with the longest match, independent keys",
    "nade_match": "LSTM with the longest match, NADE over the keys",
    "nade_match_moved": "the same, its probabilities averaged over moves by up to six semitones",
    "nade_match_four": "the same, averaged over four networks, too",
    "balstm_match": "BALSTM with the longest match",
    "nade_and_balstm": "the average of these two rows",
    "lstm_nade": "LSTM-NADE, in the size of Johnson 2017",
    "tp_lstm_nade": "TP-LSTM-NADE, in the size of Johnson 2017",
    "balstm": "BALSTM, in the size of Johnson 2017",
    "kotecha_young": "biaxial LSTM, in the size of Kotecha and Young 2018",
}


SETS = {"jsb": "JSB", "nottingham": "Nottingham", "musedata": "MuseData", "piano_midi": "Piano-midi"}


def likelihood(result: dict[str, Any]) -> str:
    """Nats per frame of each model on each data set."""
    body = []
    for row, of in result["rows"].items():
        shown = {name: f"{one['nats']:.2f} ({one['low']:.2f}..{one['high']:.2f})" for name, one in of.items()}
        cells = [shown.get(name, "") for name in SETS]
        networks = [of[name] for name in SETS if "parameters" in of.get(name, ())]
        sizes = list(dict.fromkeys(f"{one['parameters'] / 1e6:.2f} M" for one in networks))
        minutes = ", ".join(f"{one['minutes']:.0f}" for one in networks)
        label = LIKELIHOODS[row.replace("_echo", "_match")]  # the older name, in the kept result
        body.append([label, *cells, ", ".join(sizes), minutes])
    return markdown(["nats per frame", *SETS.values(), "parameters", "minutes of training steps"], body)


def notes(result: dict[str, Any]) -> str:
    """Nats per note of each model, and how far the network is below each of the others."""
    columns = ("nats_per_note", "interval", "pitch", "duration", "velocity")
    named = {"lstm": "LSTM of note events", "chosen contexts": "n-gram that chooses its contexts"}
    rows = result["rows"]
    body = []
    for name, of in rows.items():
        below = "" if name == "lstm" else f"{1 - rows['lstm']['nats_per_note'] / of['nats_per_note']:.0%}"
        body.append([named.get(name, name), *(f"{of[column]:.3f}" for column in columns), below])
    minutes, epochs = result["minutes_of_training_steps"], result["epochs"]
    head = f"`{result['config']}`: {epochs} epochs, {minutes:g} minutes of training steps"
    return markdown([head, "nats a note", *columns[1:], "the LSTM is lower by"], body)


def quality(result: dict[str, Any]) -> str:
    """How the generated pieces of each model compare with the test pieces."""
    named = {"events": "note-event model", "trigram": "trigram", "paper": "the paper's model, small"}
    body = []
    for name, of in result.items():
        if isinstance(of, dict) and "median_copy_notes" in of:
            area = of.get("mean_overlap_area")
            shown = ("scale_consistency", "pitch_class_entropy", "polyphony", "longest_repeat")
            body.append(
                [
                    named.get(name, name),
                    "" if area is None else f"{area:.3f}",
                    f"{of['highest_most_frequent_pitch']:.0%}",
                    f"{of['highest_most_repeated_8gram']:g}",
                    f"{of['median_copy_notes']:g}",
                    f"{of['repeats']:.2f}" if "repeats" in of else "",
                    *(f"{of['means'][metric]:.2f}" for metric in shown),
                ]
            )
    header = ["500 notes each", "mean overlap area", "largest share of one pitch", "most repeats of an 8-gram"]
    header += [
        "median longest copy, notes",
        "repeats",
        "scale consistency",
        "pitch-class entropy",
        "polyphony",
        "longest repeat",
    ]
    return markdown(header, body)


def persistent_lstm(result: dict[str, Any]) -> str:
    """The LSTM's gradient and training by the kernel, by cuDNN and by the scan, on a GPU."""
    gradient, training = result["gradient_of_last_output"], result["training"]
    measured = {
        "persistent kernel (prototype)": (gradient["kernel"], "kernel"),
        **{f"cuDNN, {name}, CUDA graph": (result["cudnn"][name], "") for name in ("fp16", "bf16")},
        "scan, `unroll=5`": (gradient["scan, unroll=5"], "scan, unroll=5"),
        "scan as it is": (gradient["scan as it is"], "scan as it is"),
    }
    body = []
    for label, (one, trained) in measured.items():
        windows = f"{training[trained]['windows_per_second']:,.0f}" if trained else ""
        body.append([label, f"{one['us_an_update']:,.0f}", f"{one['us_a_step']:.2f}", windows])
    return markdown(["LSTM, batch 200, 50 steps, 512 units", "us an update", "us a step", "training, windows/s"], body)


def persistent_lstm_sizes(result: dict[str, Any]) -> str:
    """The kernel's times at other sizes."""
    body = [
        [
            f"`{one['function']}`",
            *(f"{one[name]:,}" for name in ("batch", "steps", "inputs", "units")),
            f"{one['us_an_update']:,.0f}",
            f"{one['us_a_step']:.2f}",
        ]
        for one in result["other_sizes"]["rows"]
    ]
    return markdown(["gradient of", "batch", "steps", "inputs", "units", "us an update", "us a step"], body)


def published() -> str:
    """What others have published on the same four data sets."""
    body = []
    for what, (nats, how) in PUBLISHED.items():
        cells = ["" if value is None else f"{value:.2f}" for value in nats.values()]
        body.append([what, *cells, how])
    return markdown(["published, nats per frame", "JSB", "Nottingham", "MuseData", "Piano-midi", "how"], body)


MACHINES = {"amd-epyc-avx512_bf16": "AMD EPYC, AVX-512 bfloat16"}
MACHINES |= dict.fromkeys(("xeon-amx", "xeon-amx-2"), "Intel Xeon, AMX")
SPEED = {
    "training: PyTorch `nn.LSTM`": ("train", "vs_best_torch"),
    "training: Keras": ("train", "vs_best_keras"),
    "training: Flax `nn.RNN`": ("train", "vs_flax_epoch"),
    "training in float32: PyTorch in float32": ("train", "float32_vs_torch_float32"),
    "training on note events: PyTorch `nn.LSTM`": ("train-events", "vs_best_torch"),
    "sampling 1 output: the best of all three": ("sample", "vs_best_peer"),
    "sampling 64 outputs: the best of all three": ("sample", "many_vs_best_peer"),
    "sampling note events, 8 pieces: PyTorch and Flax": ("sample-events", "vs_best_peer_8"),
    "sampling note events, 64 pieces: PyTorch and Flax": ("sample-events", "vs_best_peer_64"),
}


def speed(kept: dict[str, dict[str, Any]]) -> str:
    """The ratios of every machine with training results; kept: the results by machine, then by benchmark."""
    machines = sorted(machine for machine in kept if "train" in kept[machine])
    body = []
    for label, (benchmark, field) in SPEED.items():
        ratios = [kept[machine].get(benchmark, {}).get(field) for machine in machines]
        body.append([label, *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios)])
    return markdown(["musicjax against", *(MACHINES.get(machine, machine) for machine in machines)], body)


OWN_FOLDERS = {
    "dances": "60 jigs and reels",
    "bach": "60 chorales",
    "pop909": "60 pop songs for piano",
}


def own_folders(kept: dict[str, dict[str, Any]]) -> str:
    """What README's commands make from each folder; kept: the results by machine, then by benchmark."""
    body = []
    for name, label in OWN_FOLDERS.items():
        for machine in sorted(kept):
            result = kept[machine].get(f"own_folder_{name}")
            if result is None:
                continue
            minutes = sum(result["seconds"].values()) / 60
            drawn = f"{result['chosen']['temperature']:g}, {result['chosen']['min_p']:g}"
            ours = [f"{result['overlap']:.2f}", drawn, f"{minutes:.1f}"]
            for side, who, cells in (
                ("real", f"{result['unseen']} unseen", [""] * len(ours)),
                ("ours", f"musicjax, {MACHINES.get(machine, machine)}", ours),
            ):
                found = result[side]
                shares = [f"{found[key]:.2f}" for key in ("scale", "in_chord", "repeats", "ending", "ends_well")]
                body.append([f"{label}: {who}", *shares, str(found["longest_copy"]), *cells])
    header = ["scale", "in chord", "repeats", "ends on the triad", "and at a bar line", "longest copy"]
    return markdown(["pieces", *header, "overlap", "temperature, min_p", "minutes"], body)


def search(kept: dict[str, dict[str, Any]]) -> str:
    """What a search costs and finds, beside full trials; kept: the results by machine, then by benchmark."""
    body = []
    for machine in sorted(machine for machine in kept if "search" in kept[machine]):
        result = kept[machine]["search"]
        settings, seconds, above = result["settings"], result["seconds"], result["loss_above_all_full"]
        rungs = ", ".join(f"{trials} until epoch {epochs}" for trials, epochs in result["rungs"])
        full = f"{settings['full']} until epoch {settings['epochs']}"
        for name, label in (("search", rungs), ("full", full)):
            one = seconds[name]
            shares = ", ".join(f"{share:.1%}" for share in above[name])
            took = f"{one['median']:.1f} ({one['low']:.1f}..{one['high']:.1f})"
            body.append([f"{MACHINES.get(machine, machine)}: {label}", took, shares])
    return markdown(["trials", "seconds", "lowest loss above that of all trials in full, each seed"], body)


def infill(result: dict[str, Any]) -> str:
    """How the seams of new bars compare with bar lines inside real pieces."""
    overlap = result["overlap"]
    drawn = sorted((name for name in overlap if name.endswith("drawn")), key=lambda name: int(name.split()[0]))
    named = {"real": "as many real bar lines", "other": "bars of another piece"}
    named |= {name: f"new bars, one of {name.split()[0]} candidates" for name in drawn}
    named |= {"1 drawn": "new bars, the only candidate"}
    body = [
        [said, *(f"{value:.2f}" for measure in ("step", "bass", "harmony") for value in overlap[name][measure])]
        for name, said in named.items()
        if name in overlap
    ]
    header = [f"{measure}, {side}" for measure in ("step", "bass", "harmony") for side in ("left", "right")]
    return markdown([f"{result['infills']} gaps of {result['bars']} bars", *header], body)


def replaced(text: str, made: dict[str, str]) -> str:
    """The text with the table after each line <!-- NAME --> replaced by the one made under that name."""
    for name, table in made.items():
        text = re.sub(rf"<!-- {name} -->\n(\n(\|.*\n)+)?", f"<!-- {name} -->\n\n{table}", text)
    return text


def tables(machine: str) -> dict[str, str]:
    """Every table that can be made, by name. `speed`, `own_folders` and `search` cover all machines, others one."""
    kept = load(machine)
    of_all = {path.name: load(path.name) for path in contestants.RESULTS.iterdir() if path.is_dir()}
    made = {"speed": speed(of_all), "own_folders": own_folders(of_all), "search": search(of_all)}
    if "gemm_shares" in kept.get("train", {}):  # results of the first version have only the ratios of `speed`
        made["train"] = train(kept["train"])
    if "sample" in kept:
        most = kept["sample"]["settings"]["most"]
        made["sample"] = sample(kept["sample"], "", "sampling one output")
        made["sample_many"] = sample(kept["sample"], "many_", f"sampling {most} outputs")
    if "start" in kept:
        made["start"] = start(kept["start"])
    if (contestants.RESULTS / machine / "paper_code.metrics.jsonl").is_file():
        made["paper"] = paper(machine)
    makers = {"ingest": ingest, "reliability": reliability, "likelihood": likelihood, "quality": quality}
    makers |= {"notes-events": notes, "notes-demo": notes, "quality-apart": quality, "infill": infill, "player": player}
    makers |= {"likelihood-tonic": likelihood, "tpu": tpu, "train-events": events, "step_parts": step_parts}
    makers |= {"sample-events": sample_events}
    for name, make in makers.items():
        if name in kept:
            made[name.replace("-", "_")] = make(kept[name])
    if "likelihood" in kept:
        made["published"] = published()
    if "persistent_lstm" in kept:
        made["persistent_lstm"] = persistent_lstm(kept["persistent_lstm"])
        made["persistent_lstm_sizes"] = persistent_lstm_sizes(kept["persistent_lstm"])
    if "ingest_large" in kept:
        made["ingest_large"] = ingest_large(kept["ingest_large"])
    if "shards" in kept:
        made["shards"] = shards(kept["shards"])
    if "trials" in kept:
        made["trials"] = trials(kept["trials"])
    if "scaling" in kept:
        made["scaling"] = scaling(kept["scaling"])
    if "sizes" in kept:
        made["sizes"], made["sizes_speed"] = sizes(kept["sizes"]), sizes_speed(kept["sizes"])
    return made


def main() -> None:
    machines = [path.name for path in Path(contestants.RESULTS).iterdir() if path.is_dir()]
    asked = contestants.arguments(__doc__, machine=contestants.folder_name())
    if asked.machine not in machines:
        raise SystemExit(f"--machine={asked.machine}: expected one of {', '.join(sorted(machines))}")
    made = tables(asked.machine)
    print(*made.values(), sep="\n")
    for place in PLACES if asked.save else ():
        path = REPOSITORY / place
        path.write_text(replaced(path.read_text(), made))


if __name__ == "__main__":
    main()
