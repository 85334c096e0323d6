"""Train an LSTM on a folder of MIDI and generate music with it.

The names below are the public interface. Each is loaded on first use, so that importing the package, as the
reading processes do, starts neither JAX nor mido.
"""

import importlib
from typing import TYPE_CHECKING, Any

from musicjax import renamed
from musicjax.version import __version__ as __version__

if TYPE_CHECKING:
    from musicjax.config import Config as Config
    from musicjax.config_files import load as load_config
    from musicjax.encodings.sampling_params import SamplingParams as SamplingParams
    from musicjax.generation.generate import generate as generate
    from musicjax.model.rnn import LSTM as LSTM
    from musicjax.music.midi import read as read_midi
    from musicjax.music.midi import write as write_midi
    from musicjax.music.music_file import read as read
    from musicjax.music.notes import Notes as Notes
    from musicjax.report.notebook import show as show
    from musicjax.run.evaluate import evaluate as evaluate
    from musicjax.run.finished_epoch import FinishedEpoch as FinishedEpoch
    from musicjax.run.train import train as train
    from musicjax.store.model import Model as Model
    from musicjax.store.model import load as load

_HOMES = {
    "Config": ("musicjax.config", "Config"),
    "FinishedEpoch": ("musicjax.run.finished_epoch", "FinishedEpoch"),
    "LSTM": ("musicjax.model.rnn", "LSTM"),
    "load": ("musicjax.store.model", "load"),
    "load_config": ("musicjax.config_files", "load"),
    "Model": ("musicjax.store.model", "Model"),
    "Notes": ("musicjax.music.notes", "Notes"),
    "read": ("musicjax.music.music_file", "read"),
    "read_midi": ("musicjax.music.midi", "read"),
    "show": ("musicjax.report.notebook", "show"),
    "write_midi": ("musicjax.music.midi", "write"),
    "train": ("musicjax.run.train", "train"),
    "generate": ("musicjax.generation.generate", "generate"),
    "evaluate": ("musicjax.run.evaluate", "evaluate"),
    "SamplingParams": ("musicjax.encodings.sampling_params", "SamplingParams"),
}
__all__ = [
    "LSTM",
    "Config",
    "FinishedEpoch",
    "Model",
    "Notes",
    "SamplingParams",
    "evaluate",
    "generate",
    "load",
    "load_config",
    "read",
    "read_midi",
    "show",
    "train",
    "write_midi",
]


def __getattr__(name: str) -> Any:
    if name in renamed.PYTHON:
        present = renamed.PYTHON[name]
        from musicjax import console

        console.say_once("renamed", f"musicjax.{name} is now musicjax.{present}")
        name = present
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)
