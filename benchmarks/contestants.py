"""What all benchmarks share: contestants that take turns, each in its own process; the machine; the results.

A contestant is `python -m MODULE NAME PROBLEM.npz`. First it prints one JSON line that describes it. The field "check"
holds what it computed on the problem, which must be the same for all. A contestant that cannot run prints
{"absent": reason} instead. Then it answers each line on standard input with one JSON line.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import json
import math
import os
import platform
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from musicjax import cores
from musicjax.console import duration
from musicjax.version import __version__

THREADS = 2
RESULTS = Path(__file__).parent / "results"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Ends the program with one line, without the usage."""
        self.exit(2, f"{self.prog}: {message}; --help lists the flags\n")


def arguments(doc: str | None, **defaults: Any) -> argparse.Namespace:
    """The values of --NAME=VALUE, each of its default's type, and of --save; ends the program if one is wrong.

    A number must be above 0, or from 0 up if the default is 0.
    """
    parser = _Parser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    for name, default in defaults.items():
        kind = functools.partial(_number, default) if isinstance(default, int | float) else type(default)
        parser.add_argument(f"--{name}", type=kind, default=default)
    parser.add_argument("--save", action="store_true", help="keep what this prints, under benchmarks/results/MACHINE")
    return parser.parse_args()


def _number(default: float, text: str) -> float:
    """The number in a text, of the default's type; raises ArgumentTypeError if there is none or it is too small."""
    with contextlib.suppress(ValueError):
        value = type(default)(text)
        if math.isfinite(value) and (value > 0 or value == default):
            return value
    kind = "a whole number" if isinstance(default, int) else "a number"
    raise argparse.ArgumentTypeError(f"{text!r}: expected {kind} {'above 0' if default else 'from 0 up'}")


def start(module: str, name: str, problem: Path, **variables: str) -> subprocess.Popen:
    """Starts a contestant's process with THREADS threads."""
    threads = {name: str(THREADS) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")}
    environment = {**os.environ, **threads, "TF_CPP_MIN_LOG_LEVEL": "2", **variables}
    command = [sys.executable, "-m", module, name, str(problem)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def ask(process: subprocess.Popen, request: str = "") -> dict[str, Any]:
    """Sends the request, if there is one, and returns the contestant's next answer.

    The process is stopped until its next turn, because threads that spin while they wait slow the others.
    """
    assert process.stdin is not None and process.stdout is not None
    if request:
        process.send_signal(signal.SIGCONT)
        process.stdin.write(request + "\n")
        process.stdin.flush()
    line = process.stdout.readline()
    process.send_signal(signal.SIGSTOP)
    return json.loads(line) if line else {"absent": "its process ended"}


def answer(name: str, check: Callable[[], dict[str, Any]], work: Callable[[str], dict[str, Any]]) -> None:
    """The contestant's side: prints what `check` returns, then answers each request with `work`."""
    replies, sys.stdout = sys.stdout, sys.stderr  # libraries print, and what they print is not an answer
    try:
        said = check()
    except ImportError as error:
        print(json.dumps({"absent": str(error)}), file=replies, flush=True)
        return
    used = ("jax", "jaxlib", "flax", "keras", "tensorflow", "torch")
    versions = {package: sys.modules[package].__version__ for package in used if package in sys.modules}
    print(json.dumps({**said, "versions": versions}), file=replies, flush=True)
    for line in sys.stdin:
        print(json.dumps({**work(line.strip()), "peak_mb": peak_mb()}), file=replies, flush=True)


def peak_mb() -> float:
    """Peak memory of this process, MB of 2^20 bytes; of the accelerator if JAX uses one."""
    jax = sys.modules.get("jax")
    stats = jax.local_devices()[0].memory_stats() if jax is not None else None
    if stats:
        return round(stats["peak_bytes_in_use"] / 2**20, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def limit_threads() -> None:
    """Limits XLA, which otherwise uses every available core; the other libraries read the environment."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])


def measure(
    module: str,
    names: list[str],
    requests: dict[str, str],
    repeats: int,
    problem: Path,
    variables: dict[str, dict[str, str]] | None = None,
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, dict]]:
    """({name: its answers}, {name: its description}).

    The contestants take turns, one at a time. The first answer of each does not count, because it includes compiling.

    Args:
        requests: the line that each contestant is sent, by name.
        variables: additional environment variables, by name.
    """
    processes: dict[str, subprocess.Popen] = {}
    said: dict[str, dict] = {}
    try:
        for name in names:
            process = start(module, name, problem, **(variables or {}).get(name, {}))
            processes[name], said[name] = process, ask(process)
            print(f"{name:<28}{said[name]}", file=sys.stderr, flush=True)
        present = [name for name in names if "absent" not in said[name]]
        if not present:
            raise SystemExit(f"none of {', '.join(names)} can run; the module {module} lists the known names")
        require_same({name: said[name] for name in present})
        answers: dict[str, list[dict[str, Any]]] = {name: [] for name in present}
        began, turns = time.monotonic(), [(repeat, name) for repeat in range(repeats + 1) for name in present]
        for done, (repeat, name) in enumerate(turns, 1):
            reply = told(name, ask(processes[name], requests[name]))
            if repeat:
                answers[name].append(reply)
            else:
                said[name]["first"] = reply
            left = (time.monotonic() - began) / done * (len(turns) - done)
            which = f"repeat {repeat} of {repeats}" if repeat else "first pass"
            print(f"{done} of {len(turns)}  {name}, {which}; {duration(left)} left", file=sys.stderr, flush=True)
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()
    return answers, said


def told(name: str, reply: dict[str, Any]) -> dict[str, Any]:
    """The reply itself; raises RuntimeError if the contestant ended."""
    if "absent" in reply:
        raise RuntimeError(f"{name}: {reply['absent']}")
    return reply


def require_same(said: dict[str, dict]) -> None:
    """Raises RuntimeError if a contestant's "check" differs from the first one's.

    The tolerance, relative to the largest number, is 1e-4, or 1e-2 if either name says bfloat16, float16 or tf32.
    """
    checks = {name: np.asarray(one["check"], float) for name, one in said.items() if "check" in one}
    first = next(iter(checks), "")
    for name, check in checks.items():
        tolerance = 1e-2 if any(low in name + first for low in ("float16", "tf32")) else 1e-4
        furthest = float(np.abs(check - checks[first]).max() / np.abs(checks[first]).max())
        if not furthest <= tolerance:
            raise RuntimeError(
                f"{name} computes {check.tolist()}, {first} {checks[first].tolist()}: not the same problem"
            )


def rates(answers: dict[str, list[dict[str, Any]]], amount: dict[str, float]) -> dict[str, dict[str, float]]:
    """{name: {"median", "low", "high"}}: median and quartiles of amount / seconds."""
    found = {}
    for name, given in answers.items():
        per_second = amount[name] / np.array([one["seconds"] for one in given])
        found[name] = quartiles(per_second)
    return found


def quartiles(values: Any, digits: int = 2) -> dict[str, float]:
    """{"median", "low", "high"}: median and quartiles, rounded."""
    low, median, high = (round(float(value), digits) for value in np.percentile(values, [25, 50, 75]))
    return {"median": median, "low": low, "high": high}


def best(found: dict[str, dict[str, float]], prefix: str) -> float | None:
    """The highest median among the names with this prefix; None if none ran."""
    return max((rate["median"] for name, rate in found.items() if name.startswith(prefix)), default=None)


def ratio(mine: float | None, theirs: float | None) -> float | None:
    """mine / theirs, rounded; None if one is missing."""
    return round(mine / theirs, 3) if mine and theirs else None


def processor() -> str:
    """The CPU's name and its instruction sets that matter to matrix products."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    name = re.search(r"^model name\s*:\s*(.*)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.*)$", text, re.MULTILINE)
    extras = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flags and flag in flags[1].split()]
    return f"{name[1] if name else platform.machine()} ({' '.join(extras)})"


def machine() -> dict[str, Any]:
    """The machine on which a result was measured."""
    facts = {"processor": processor(), "cores": cores.usable(), "threads": THREADS, "python": platform.python_version()}
    return facts | ({"accelerator": accelerator()} if accelerator() else {})


def program() -> dict[str, str]:
    """The version of musicjax and the commit of its checkout, with -dirty if files differ from it; else "unknown"."""
    root, asked = Path(__file__).parents[1], ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    commit = ""
    if (root / ".git").exists() and shutil.which("git"):
        commit = subprocess.run(asked, cwd=root, capture_output=True, text=True, check=False).stdout.strip()
    return {"version": __version__, "commit": commit or "unknown"}


def accelerator() -> str:
    """The name of the first NVIDIA GPU; empty if there is none."""
    if shutil.which("nvidia-smi") is None:
        return ""
    asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split("\n")[0].strip()


def folder_name() -> str:
    """The name of this machine's results folder: its kind, numbered if that folder has another machine's results."""
    names = (f"{kind()}-{number}" if number > 1 else kind() for number in itertools.count(1))
    return next(name for name in names if _is_own(RESULTS / name))


def _is_own(folder: Path) -> bool:
    """Whether all results in a folder are from this machine: same accelerator, or same processor and cores."""
    here = machine()
    facts = ("accelerator",) if "accelerator" in here else ("processor", "cores")
    kept = [json.loads(path.read_text()).get("machine", here) for path in folder.glob("*.json")]
    return all(one.get(fact) == here[fact] for one in kept for fact in facts)


def kind() -> str:
    """The kind of this machine, such as nvidia-h200, amd-epyc-avx512_bf16 or xeon-amx."""
    if accelerator():
        return re.sub(r"[^a-z0-9]+", "-", accelerator().lower())
    name, flags = processor().lower().split(" (", 1) if " (" in processor() else (processor().lower(), "")
    known = "xeon" if "xeon" in name else "-".join(name.split()[:2])
    for flag, short in (("amx_bf16", "amx"), ("avx512_bf16", "avx512_bf16"), ("avx512f", "avx512"), ("avx2", "avx2")):
        if flag in flags:
            return f"{known}-{short}"
    return known


def finish(name: str, result: dict[str, Any], save: bool) -> None:
    """Prints the result as the last line, and keeps it if `save`."""
    result = {"benchmark": name, **result, "musicjax": program(), "machine": machine()}
    if save:
        keep(name, result)
    print(json.dumps(result))


def keep(name: str, result: dict[str, Any]) -> None:
    """Writes a result as NAME.json into this machine's folder, with the version of musicjax that produced it."""
    path = RESULTS / folder_name() / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"musicjax": program(), **result}, indent=1) + "\n")
