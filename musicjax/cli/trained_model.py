"""The model that a command uses, and how far a config given beside it is obeyed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from musicjax import config as config_lib
from musicjax import console
from musicjax.cli.flags import Call
from musicjax.config import Config
from musicjax.errors import UsageError

if TYPE_CHECKING:
    from musicjax.store.model import Model

# What these commands obey of a config that is given; all else is as the model was trained.
OBEYED = {
    "generate": (
        "data.cache",
        "sample.temperature",
        "sample.temperature_factors",
        "sample.top_p",
        "sample.min_p",
        "sample.no_repeat",
        "sample.best_of",
    ),
    "evaluate": ("data.source", "data.cache", "data.workers", "data.seconds_per_file"),
    "export": ("data.cache",),
}


def opened(call: Call) -> tuple[Model, Config, Path]:
    """(the model of the workdir, or else the one that comes with musicjax; its config with overrides; its folder)."""
    from musicjax.run import device
    from musicjax.store import model as model_lib

    if call.options["workdir"]:
        workdir, saved = workdir_of(call)
        device.keep_programs(saved.data)
        return model_lib.load(workdir, call.options["checkpoint"]), saved, workdir / "generated"
    if call.overrides is None or not set(call.overrides) <= set(OBEYED[call.command]):
        raise UsageError("--workdir is missing: expected the folder of the model that the config belongs to")
    from musicjax.store import pretrained

    model = pretrained.load()
    config = config_lib.with_fields(model.config, call.overrides)
    device.keep_programs(config.data)
    console.say(
        "model", "no --workdir: uses the small model that comes with musicjax, trained on music that it composed"
    )
    return model, config, Path("generated")


def workdir_of(call: Call) -> tuple[Path, Config]:
    """The workdir of a trained model, and its config with overrides.

    Raises:
        UsageError: a config or field given with it differs from the run's and is not obeyed.
        RunError: there is no trained model.
    """
    from musicjax.run import workdir as workdir_lib
    from musicjax.store import checkpoint, metadata

    if not call.options["workdir"]:
        raise UsageError("--workdir is missing: expected the folder of a trained model")
    workdir = Path(call.options["workdir"])
    of_run = checkpoint.read_metadata(workdir)
    saved = of_run.config
    if call.overrides is None:
        present = metadata.as_it_began(call.config, of_run)
    else:
        present = config_lib.with_fields(saved, call.overrides)
    if present.model.precision == "auto":
        present.model.precision = saved.model.precision
    differing = config_lib.differences(saved, present)
    if call.overrides is not None:  # then every field that differs was asked for
        was, now = ({path: value for path, _, value in config_lib.fields(one)} for one in (saved, present))
        others = [(path, was[path], now[path]) for path in was if path in now and was[path] != now[path]]
        differing += [one for one in others if one not in differing and one[0] not in OBEYED[call.command]]
    if differing:
        what = "--config" if call.overrides is None else "it"
        flags = [f" or use --{name}" for path, _, _ in differing if (name := path.split(".")[-1]) in call.options]
        raise UsageError(
            f"{call.command} uses the model in {workdir} as it was trained, but {workdir_lib.told(differing)}; leave "
            f"{what} out{flags[0] if len(differing) == len(flags) == 1 else ''}"
        )
    return workdir, present
