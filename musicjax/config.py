"""Every knob of the program, declared once with its meaning, unit and range."""

import dataclasses
import difflib
import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from musicjax.errors import UsageError


def knob(default, meaning: str, *, low=None, high=None, choices: tuple = (), may_change: bool = False):
    """A config field: default, meaning with unit, inclusive range or choices.

    `may_change` marks what a run that is continued may set anew without becoming another run.
    """
    rules = {"meaning": meaning, "low": low, "high": high, "choices": choices, "may_change": may_change}
    return dataclasses.field(default=default, metadata=rules)


@dataclasses.dataclass
class DataConfig:
    """Which music, and how it becomes windows."""

    source: str = knob(
        "builtin",
        "builtin (the composed corpus), a directory of MIDI or MusicXML files, bach (chorales, pip install "
        "'musicjax[bach]'), pop_music_midi, pop909, maestro, lakh or lakh_matched (downloaded into the cache if not "
        "there), or polyphonic:NAME:DIR with one of jsb, nottingham, musedata, piano_midi",
        may_change=True,
    )
    cache: str = knob(
        "", "folder for what was read or compiled; empty: the user's cache folder; off: none", may_change=True
    )
    workers: int = knob(0, "reading processes; 0: one for each core", low=0, high=256, may_change=True)
    seconds_per_file: float = knob(
        10.0, "time limit for reading one file, seconds", low=1.0, high=3600.0, may_change=True
    )
    percussion: bool = knob(True, "keep the notes of MIDI channel 10, whose numbers are drums")
    encoding: str = knob(
        "notes",
        "notes: a row is a note, as in the paper; frames: a row is the 88 keys at a step of the beat; "
        "events: a row is a note as bins, learned from the data",
        choices=("notes", "frames", "events"),
    )
    per_beat: int = knob(2, "frames a quarter note; of polyphonic files what theirs are taken for", low=1, high=96)
    onsets: bool = knob(False, "88 more columns of a frame: which notes begin, so that repeated notes stay apart")
    transpose: int = knob(
        0, "most keys by which training frames or events are moved up or down, anew each epoch", low=0, high=24
    )
    tempo_percent: int = knob(
        0,
        "most percent by which the times of training events, in beats, are stretched before they go to their nearest "
        "bins, anew each epoch",
        low=0,
        high=50,
    )
    louder: int = knob(
        0, "most bins of velocity by which training events are played louder or softer, each epoch", low=0, high=16
    )
    echo: float = knob(
        0.0,
        "share of training windows of events or frames that are told what followed the last rows when those were "
        "played before in the piece; 0: the model never is",
        low=0.0,
        high=1.0,
    )
    duration: bool = knob(False, "a fourth column, each note's own duration, beside the paper's three")
    window: int = knob(50, "rows the model sees: notes before it predicts the next, or frames", low=1, high=10_000)
    split: str = knob(
        "piece",
        "piece: whole pieces are held out and windows stay inside a piece; "
        "windows: one list of all notes, windows cross files, the last share is held out (the paper)",
        choices=("piece", "windows"),
    )
    validation_fraction: float = knob(0.2, "share of pieces or windows held out", low=0.001, high=0.9)
    split_seed: int = knob(0, "which pieces are held out", low=0, high=2**31 - 1)


@dataclasses.dataclass
class ModelConfig:
    """The network."""

    units: int = knob(512, "LSTM units of each layer", low=1, high=65_536)
    layers: int = knob(1, "LSTM layers, one above the other", low=1, high=64)
    head: str = knob(
        "regression",
        "what the outputs are: regression: the next row itself (the paper); of frames also bernoulli: independent "
        "keys; nade: keys in order, each given those below it; of events categorical: a bin of each column, given "
        "those before it",
        choices=("regression", "bernoulli", "nade", "categorical"),
    )
    head_units: int = knob(128, "hidden units of nade, or for each column of categorical", low=1, high=65_536)
    embedding: int = knob(128, "numbers that stand for an event's bins", low=1, high=65_536)
    dropout: float = knob(0.75, "share of the LSTM's outputs dropped in training", low=0.0, high=0.99)
    precision: str = knob(
        "auto",
        "float32; bfloat16: operands of the large products are rounded, everything else stays float32; "
        "auto: the faster one here, which is then the run's",
        choices=("auto", "float32", "bfloat16"),
    )


@dataclasses.dataclass
class TrainConfig:
    """How it learns."""

    epochs: int = knob(200, "passes over the training windows", low=1, high=1_000_000, may_change=True)
    batch_size: int = knob(200, "windows a step", low=1, high=1_000_000)
    optimizer: str = knob("rmsprop", "rmsprop (the paper) or adam", choices=("rmsprop", "adam"))
    learning_rate: float = knob(1e-4, "step size at the start", low=1e-12, high=10.0)
    half_life: float = knob(0.0, "epochs after which adam's step size has halved; 0: it stays", low=0.0, high=1e6)
    clip_norm: float = knob(0.0, "longest gradient that adam takes, longer ones are cut; 0: any", low=0.0, high=1e9)
    epsilon_in_root: bool = knob(
        True, "RMSprop's 1e-7 is added under the root, as in Keras 3; false: after it, as in the Keras of 2018"
    )
    patience: int = knob(
        0,
        "stop after this many epochs without a lower validation loss; 0: never",
        low=0,
        high=1_000_000,
        may_change=True,
    )
    trials: int = knob(
        1,
        "models trained side by side, trial k from seed + k; the best by validation loss is kept",
        low=1,
        high=100_000,
    )
    learning_rates: tuple = knob((), "learning rates of the trials, in turn; none: learning_rate", low=1e-12, high=10.0)
    dropouts: tuple = knob((), "dropouts of the trials, in turn; none: model.dropout", low=0.0, high=0.99)
    trial_group: int = knob(
        0, "trials computed at once; 0: as many as pay and fit in memory", low=0, high=100_000, may_change=True
    )
    devices: int = knob(0, "devices that share each batch; 0: all there are", low=0, high=1_000_000, may_change=True)
    histograms: bool = knob(True, "weights' histograms for TensorBoard each epoch", may_change=True)


@dataclasses.dataclass
class SampleConfig:
    """The music written into the workdir when training ends, and looked at before."""

    num_outputs: int = knob(8, "files", low=0, high=10_000, may_change=True)
    num_notes: int = knob(300, "notes in each, or frames", low=1, high=1_000_000, may_change=True)
    temperature: float = knob(
        1.0,
        "0: the likeliest; above: noise, of regression in validation residual deviations, of frames divides the logits",
        low=0.0,
        high=100.0,
        may_change=True,
    )
    top_p: float = knob(
        1.0,
        "of events: only the likeliest bins that together have this probability; 1: all",
        low=0.001,
        high=1.0,
        may_change=True,
    )
    min_p: float = knob(
        0.0,
        "of events: only bins with this share of the likeliest one's probability; 0: all",
        low=0.0,
        high=1.0,
        may_change=True,
    )
    no_repeat: int = knob(
        0, "of events: no run of so many pitches, 2..32, comes twice; 0: runs may", low=0, high=32, may_change=True
    )
    every: int = knob(
        0,
        "epochs after which up to 8 samples are drawn and measured on TensorBoard in training; 0: at its end alone",
        low=0,
        high=1_000_000,
        may_change=True,
    )
    audio: str = knob("wav", "sound beside each MIDI file", choices=("none", "wav", "flac", "ogg"), may_change=True)
    soundfont: str = knob("", "sound font for it; empty: one that is found, or none", may_change=True)


@dataclasses.dataclass
class Config:
    """One run, whole. The defaults are the paper's model and training on the built-in corpus."""

    name: str = knob("custom", "name of the configuration; the default workdir is runs/NAME", may_change=True)
    seed: int = knob(0, "the one source of randomness", low=0, high=2**31 - 1)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    sample: SampleConfig = dataclasses.field(default_factory=SampleConfig)


def fields(config: Any, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field, Any]]:
    """(path such as "train.epochs", declaration, value) of every knob."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from fields(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, field, value


def validate(config: Config, together: bool = True) -> Config:
    """The config itself, if every field has its type and lies in its range.

    Args:
        together: whether the fields must also fit each other; not while those of a saved run may take their place.

    Raises:
        UsageError: names the field, its value and what is allowed.
    """
    for path, field, value in fields(config):
        rules: Any = field.metadata
        wanted: type = type(field.default)
        if wanted is float and type(value) is int:
            value = float(value)
            set_field(config, path, value)
        if wanted is tuple and isinstance(value, list | tuple):  # a list, as JSON has it
            value = tuple(float(item) if type(item) in (int, float) else item for item in value)
            set_field(config, path, value)
            if not all(type(item) is float and rules["low"] <= item <= rules["high"] for item in value):
                raise UsageError(
                    f"config.{path}={value!r}: expected numbers in {rules['low']}..{rules['high']} ({rules['meaning']})"
                )
        if type(value) is not wanted:
            raise UsageError(f"config.{path}={value!r} is not of type {wanted.__name__}: {rules['meaning']}")
        if rules["choices"] and value not in rules["choices"]:
            raise UsageError(f"config.{path}={value!r}: expected one of {', '.join(rules['choices'])}")
        if wanted in (int, float) and not (rules["low"] <= value <= rules["high"]):
            raise UsageError(f"config.{path}={value!r}: expected {rules['low']}..{rules['high']} ({rules['meaning']})")
        if wanted is str and field.default and not value:
            raise UsageError(f"config.{path} is empty: expected {rules['meaning']}")
    if not together:
        return config
    _require_fit(config)
    settings = max(len(config.train.learning_rates), 1) * max(len(config.train.dropouts), 1)
    listed = config.train.learning_rates or config.train.dropouts
    if settings > config.train.trials or (listed and config.train.trials == 1):
        raise UsageError(
            f"config.train.trials={config.train.trials}: expected at least {max(settings, 2)}, one for each pair of "
            "the learning rates and dropouts listed"
        )
    if config.seed + config.train.trials > 2**31:
        raise UsageError(f"config.seed={config.seed}: expected room for {config.train.trials} seeds below {2**31}")
    return config


def _require_fit(config: Config) -> None:
    """Raises UsageError for fields that do not go together."""
    data, model, polyphonic = config.data, config.model, config.data.source.startswith("polyphonic:")
    of_events = {
        "data.tempo_percent": 0,
        "data.louder": 0,
        "sample.top_p": 1.0,
        "sample.min_p": 0.0,
        "sample.no_repeat": 0,
    }
    only: dict[str, dict[str, Any]] = {
        "notes": {"data.transpose": 0, "data.onsets": False, "data.echo": 0.0, **of_events},
        "frames": {"data.duration": False, "data.split": "piece", **of_events},
        "events": {"data.duration": False, "data.split": "piece", "data.onsets": False},
    }
    heads = {"notes": ("regression",), "frames": ("regression", "bernoulli", "nade"), "events": ("categorical",)}
    if model.head not in heads[data.encoding]:
        others = [encoding for encoding, names in heads.items() if model.head in names]
        raise UsageError(
            f"config.model.head={model.head!r}: expected {' or '.join(map(repr, heads[data.encoding]))} for "
            f"{data.encoding}, or --config.data.encoding={' or '.join(others)} with it"
        )
    values = {path: value for path, _, value in fields(config)}
    for path, value in only[data.encoding].items():
        if values[path] != value:
            others = [encoding for encoding in only if path not in only[encoding]]
            raise UsageError(
                f"config.{path}={values[path]!r}: expected {value!r} for {data.encoding}, or "
                f"--config.data.encoding={' or '.join(others)} with it"
            )
    if polyphonic and data.encoding != "frames":
        raise UsageError(
            f"config.data.source={data.source!r} holds frames, not notes: expected --config.data.encoding=frames "
            "with it, as the configs frames_bernoulli, frames_nade and frames_mse have"
        )
    if polyphonic and data.onsets:
        raise UsageError(
            "config.data.onsets=True: expected False, since the polyphonic files do not tell where notes begin"
        )
    if config.sample.no_repeat == 1:
        raise UsageError("config.sample.no_repeat=1: expected 2..32, or 0 where runs may repeat")
    if config.train.optimizer == "rmsprop" and (config.train.half_life or config.train.clip_norm):
        raise UsageError("config.train.half_life and clip_norm are adam's: expected --config.train.optimizer=adam too")


def columns(config: Config) -> int:
    """C, numbers in a row."""
    if config.data.encoding == "frames":
        keys = 176 if config.data.onsets else 88
        return 2 * keys + 9 if config.data.echo else keys
    if config.data.encoding == "events":
        return 10
    return 4 if config.data.duration else 3


# What accuracy means: for a model, and for one that always gives the same answer.
ACCURACY = {
    "notes": (
        "accuracy as Keras counts it: is the largest column of both the same?",
        "always naming the commonest column",
    ),
    "frames": ("share of keys that are right", "no key at all"),
    "events": ("share of bins whose likeliest is the true one", "always the commonest bins"),
}


def accuracy_meaning(encoding: str) -> tuple[str, str]:
    """What the accuracy of a model of this encoding is, and which constant answer its majority accuracy belongs to."""
    return ACCURACY[encoding]


def trials(config: Config) -> list[tuple[int, float, float]]:
    """(seed, learning rate, dropout) of each trial: seeds count up, all pairs of the lists take turns."""
    rates = config.train.learning_rates or (config.train.learning_rate,)
    dropouts = config.train.dropouts or (config.model.dropout,)
    return [
        (config.seed + k, rates[k % len(rates)], dropouts[k // len(rates) % len(dropouts)])
        for k in range(config.train.trials)
    ]


def require_field(path: str) -> None:
    """Raises UsageError if no knob or section has this path; names the nearest."""
    known = [name for name, _, _ in fields(Config())]
    sections = sorted({name.rsplit(".", 1)[0] for name in known if "." in name})
    if path in known or path in sections:
        return
    last = {name.split(".")[-1]: name for name in [*known, *sections]}
    near = difflib.get_close_matches(path, [*known, *sections], n=1)
    near = near or [last[name] for name in difflib.get_close_matches(path.split(".")[-1], last, n=1)]
    hint = f"did you mean config.{near[0]}?" if near else f"the fields are {', '.join(known)}"
    raise UsageError(f"unknown field config.{path}: {hint}")


def hint(flag: str) -> str:
    """Which knob somebody may mean who writes a flag that there is not; empty if none."""
    paths = [path for path, _, _ in fields(Config()) if flag == path.split(".")[-1] or path.startswith(f"{flag}.")]
    return f"; did you mean --config.{paths[0]}?" if paths else ""


def set_field(config: Config, path: str, value: Any) -> None:
    """Sets the knob named by a path such as "train.epochs"; raises UsageError if there is none."""
    require_field(path)
    *sections, name = path.split(".")
    owner: Any = config
    for section in sections:
        owner = getattr(owner, section)
    setattr(owner, name, value)


def describe() -> list[str]:
    """The configs by name, and one line a knob: its flag, default and meaning."""
    lines = [f"configs: {', '.join(names())}; without --config, demo. Fields, with their values in demo:"]
    for path, field, value in fields(load("demo")):
        flag = f"--config.{path}={value}"
        allowed = " or ".join(field.metadata["choices"])
        lines.append(f"  {flag:<38} {field.metadata['meaning']}{f' ({allowed})' if allowed else ''}")
    return lines


def differences(saved: Config, present: Config) -> list[tuple[str, Any, Any]]:
    """(path, saved value, present value) of each knob that differs and may not change within a run."""
    pairs = zip(fields(saved), fields(present), strict=True)
    return [
        (path, old, new) for (path, field, old), (_, _, new) in pairs if old != new and not field.metadata["may_change"]
    ]


def to_dict(config: Config) -> dict:
    """The config as nested dicts of JSON values."""
    return dataclasses.asdict(config)


def from_dict(values: dict) -> Config:
    """The inverse of `to_dict`, validated; knobs that are absent keep their defaults.

    Raises:
        UsageError: a knob is unknown, of the wrong type or out of range.
    """
    config = Config()

    def fill(section: dict, prefix: str) -> None:
        for name, value in section.items():
            path = prefix + name
            require_field(path)
            is_section = any(known.startswith(f"{path}.") for known, _, _ in fields(config))
            if is_section != isinstance(value, dict):
                expected = "an object with fields" if is_section else "a value"
                raise UsageError(f"config.{path}={value!r}: expected {expected}")
            if is_section:
                fill(value, f"{path}.")
            else:
                set_field(config, path, value)

    fill(_without_mute_echo(values), "")
    return validate(config)


def _without_mute_echo(values: dict) -> dict:
    """Before frames had an echo, every saved config named one, which changed nothing but for events: it is none.

    What was saved then is known by its having the newest knob of that time, and not the next one.
    """
    data, sample = values.get("data"), values.get("sample")
    if not isinstance(data, dict) or not isinstance(sample, dict) or "echo" not in data:
        return values
    if "soundfont" not in sample or "every" in sample or data.get("encoding") == "events":
        return values
    return {**values, "data": {**data, "echo": 0.0}}


def names() -> list[str]:
    """Names of the configs that come with the program."""
    return sorted(path.stem for path in _config_folder().glob("*.py"))


def load(name_or_path: str | Config) -> Config:
    """A config by its name (`names()`), or from a .py file with get_config() or a .json file.

    A Config is given back as it is.

    Raises:
        UsageError: there is no such config, or the file does not give one.
    """
    if isinstance(name_or_path, Config):
        return name_or_path
    path = Path(name_or_path)
    if name_or_path in names():
        path = _config_folder() / f"{name_or_path}.py"
    elif path.suffix not in (".py", ".json") or not path.is_file():
        near = difflib.get_close_matches(name_or_path, names(), n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UsageError(
            f"unknown config {name_or_path!r}: {hint}expected one of {', '.join(names())}, "
            "or the path of a .py or .json file"
        )
    if path.suffix == ".json":
        return _load_json(path)
    try:
        config = runpy.run_path(str(path))["get_config"]()
    except UsageError:
        raise
    except Exception as error:  # whatever the user's file does
        raise UsageError(
            f"config file {path}: {type(error).__name__}: {error}; expected a function get_config()"
        ) from error
    if not isinstance(config, Config):
        raise UsageError(f"config file {path}: get_config() returned {type(config).__name__}, expected musicjax.Config")
    return validate(config)


def _load_json(path: Path) -> Config:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"config file {path} cannot be read: {error}; expected the JSON of a config") from error
    if not isinstance(values, dict):
        raise UsageError(f"config file {path}: expected a JSON object, found {type(values).__name__}")
    return from_dict(values)


def _config_folder() -> Path:
    """configs/ inside the installed package, or beside it in a checkout."""
    installed = Path(__file__).parent / "configs"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "configs"
