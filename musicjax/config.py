"""Every field of a config, declared once with its meaning, unit and range.

Fields that only one encoding has are in a part of their own: `config.data.own`, `config.model.own` and
`config.sample.own`. Flags, files and attributes name them as if they were in the section: `config.data.transpose` is
the field of the chosen encoding.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

from musicjax.arguments import shown
from musicjax.config_fields import (
    HEAD,
    ONLY_HEAD,
    Fields,
    Section,
    fields_of,
    knob,
    present_path,
    require_one_name,
    takes_own_fields,
    unknown_field,
    valid,
    wrong_part,
)
from musicjax.errors import UsageError


@dataclasses.dataclass
class NotesData(Fields):
    """A row is a note in numbers, as in the paper."""

    NAME = "data"

    duration: bool = knob(False, "each note's duration as a fourth column beside the paper's three")
    split: str = knob(
        "piece",
        "piece: hold out whole pieces, windows stay inside a piece; "
        "windows: join all notes into one list, so that windows cross files, and hold out its end (the paper)",
        choices=("piece", "windows"),
    )


TRANSPOSE = ("transpose each training window at random each epoch, by at most this many semitones up or down", 0, 24)
MATCH_SHARE = (
    "share of training windows that see what followed the longest match: the longest earlier run equal to the last "
    "rows of the piece; 0: the model never sees it"
)


@dataclasses.dataclass
class FramesData(Fields):
    """A row is the piano keys, 88 or fewer, at one step of the beat."""

    NAME = "data"

    per_beat: int = knob(2, "frames per quarter note; for polyphonic files, as many as they have", low=1, high=96)
    onsets: bool = knob(False, "a second column for each key that marks note onsets, so that repeated notes stay apart")
    transpose: int = knob(0, TRANSPOSE[0], low=0, high=24)
    match_share: float = knob(0.0, MATCH_SHARE, low=0.0, high=1.0)
    keys: int = knob(
        88,
        "keys in a frame: 88 is a full piano; fewer start at pitch 24 (C1), or lower so as not to end above 108",
        low=24,
        high=88,
    )
    bar_position: bool = knob(False, "columns for a frame's position in its bar of four quarter notes")


@dataclasses.dataclass
class EventsData(Fields):
    """A row is a note as bins that are learned from the data."""

    NAME = "data"

    transpose: int = knob(0, TRANSPOSE[0], low=0, high=24)
    tempo_stretch_percent: int = knob(
        0,
        "stretch or shrink the times of each training window by a random percentage each epoch, at most this, "
        "before they are rounded to the nearest bin",
        low=0,
        high=50,
    )
    velocity_shift_bins: int = knob(
        0, "shift each training window's velocities by a random number of bins each epoch, at most this", low=0, high=16
    )
    match_share: float = knob(0.0, MATCH_SHARE, low=0.0, high=1.0)
    instruments: str = knob(
        "keep",
        "keep: up to 16 instruments from the data, including drums; merge: all instruments except drums become one",
        choices=("keep", "merge"),
    )
    resident_mib: int = knob(
        256,
        "keep up to this many MiB of shard rows in memory; above that, an epoch is one block, not a pass over all rows",
        low=0,
        high=2**20,
    )
    block_rows: int = knob(
        2**20,
        "approximate number of rows (notes) in such a block; at least one shard record, which has up to 16,384",
        low=1,
        high=2**31 - 1,
    )


@dataclasses.dataclass
class NotesModel(Fields):
    """The paper's output: the next row itself."""

    NAME = "model"


# The heads of frames that read one LSTM for every key, with weights tied over the keys.
TIED_HEADS = ("note_lstm", "tied_nade")


@dataclasses.dataclass
class FramesModel(Fields):
    """What the outputs of a frame model mean."""

    NAME = "model"

    head: str = knob(
        "regression",
        "regression: the next frame itself; bernoulli: independent keys; nade: keys in order, each given those below; "
        "note_lstm and tied_nade: likewise, by an LSTM along the keys, or by units that see an octave below; both "
        "have an LSTM along time for every key, with shared weights",
        choices=("regression", "bernoulli", "nade", *TIED_HEADS),
    )
    head_units: int = knob(
        128, "hidden units of nade and tied_nade, or of each of note_lstm's two layers", low=1, high=65_536
    )


@dataclasses.dataclass
class EventsModel(Fields):
    """Each column's bin, given the columns before it."""

    NAME = "model"

    head_units: int = knob(128, "hidden units for each column", low=1, high=65_536)
    embedding: int = knob(128, "size of the vector that represents a note event", low=1, high=65_536)


@dataclasses.dataclass
class NoControls(Fields):
    """Such a model takes a length and one temperature, nothing else."""

    NAME = "sample"


@dataclasses.dataclass
class EventsSample(Fields):
    """How bins are drawn."""

    NAME = "sample"

    top_p: float = knob(
        1.0,
        "draw from the likeliest bins that add up to this probability; 1: all",
        low=0.001,
        high=1.0,
        may_change=True,
    )
    min_p: float = knob(
        0.0,
        "draw from bins with at least this share of the likeliest bin's probability; 0: all",
        low=0.0,
        high=1.0,
        may_change=True,
    )
    temperature_factors: tuple = knob(
        (),
        "four factors that multiply the temperature for intervals, pitches, durations and velocities; "
        "none: all use the temperature itself",
        low=0.0,
        high=100.0,
        may_change=True,
    )
    no_repeat: int = knob(
        0, "never repeat a run of this many pitches, 2..32; 0: runs may repeat", low=0, high=32, may_change=True
    )
    best_of: int = knob(
        1,
        "of this many tries that end, keep the one most like a training piece",
        low=1,
        high=100,
        may_change=True,
    )
    stop_loops: bool = knob(True, "no loop lasts longer than the longest loop in the training pieces", may_change=True)
    fit: bool = knob(
        False,
        "after training, choose the temperature and min_p whose samples are most like the training pieces",
        may_change=True,
    )


# The parts of data, model and sample, by encoding.
PARTS: dict[str, dict[str, type]] = {
    "data": {"notes": NotesData, "frames": FramesData, "events": EventsData},
    "model": {"notes": NotesModel, "frames": FramesModel, "events": EventsModel},
    "sample": {"notes": NoControls, "frames": NoControls, "events": EventsSample},
}
ENCODINGS = tuple(PARTS["data"])
# What accuracy means, and which constant answer the majority accuracy belongs to.
ACCURACY = {
    "notes": (
        "accuracy as Keras counts it: is the largest column of both the same?",
        "always naming the commonest column",
    ),
    "frames": ("share of keys that are right", "no key at all"),
    "events": ("share of columns in which no bin is likelier than the true one", "always the commonest bins"),
}


@takes_own_fields
@dataclasses.dataclass(kw_only=True)
class DataConfig(Section):
    """Which music, and how it becomes windows."""

    NAME, PARTS = "data", PARTS["data"]

    source: str = knob(
        "builtin",
        "builtin (the composed corpus), a folder of MIDI or MusicXML files, bach (chorales, pip install "
        "'musicjax[bach]'), pop_music_midi (the paper's), pop909, maestro, lakh or lakh_matched (downloaded into the "
        "cache once), or polyphonic:NAME:DIR with one of jsb, nottingham, musedata, piano_midi",
        may_change=True,
    )
    cache: str = knob(
        "",
        "folder for notes already read and programs already compiled; empty: the user's cache folder; off: none",
        may_change=True,
    )
    workers: int = knob(0, "processes that read files; 0: one for each core", low=0, high=256, may_change=True)
    seconds_per_file: float = knob(
        10.0, "time limit for reading one file, seconds", low=1.0, high=3600.0, may_change=True
    )
    percussion: bool = knob(True, "keep the notes on MIDI channel 10, the drum channel")
    sustain: str = knob(
        "key",
        "key: a note lasts until its key is released; pedal: as long as the sustain pedal holds it",
        choices=("key", "pedal"),
    )
    tracks: str = knob(
        "merge",
        "merge: tracks of a MIDI file that have the same program are one instrument; apart: each track is one, with "
        "another program of the same family",
        choices=("merge", "apart"),
    )
    window: int = knob(50, "rows in a window: notes, which predict the next note, or frames", low=1, high=10_000)
    validation_fraction: float = knob(0.2, "share of pieces or windows held out", low=0.001, high=0.9)
    split_seed: int = knob(0, "decides which pieces are held out", low=0, high=2**31 - 1)
    duplicates: str = knob(
        "together",
        "pieces with the same notes, whatever their key, tempo and title. together: the split keeps them on one side; "
        "drop: only one of them is used; keep: they are split as if they were different pieces",
        choices=("together", "drop", "keep"),
    )
    encoding: str = knob(
        "notes",
        "notes: a row is a note in numbers, as in the paper; frames: a row is the keys of a piano at a step of the "
        "beat; events: a row is a note as bins, learned from the data. Choosing another encoding sets its fields to "
        "their defaults",
        choices=ENCODINGS,
    )
    own: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.own is None and self.encoding in ENCODINGS:
            self.own = PARTS["data"][self.encoding]()

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if self.__dict__.get("own") is None:
            return
        if name == "encoding" and value in ENCODINGS and type(self.own) is not PARTS["data"][value]:
            self.replace_part(value)
        elif name == "own":  # the part that is assigned chooses the encoding
            self.__dict__["encoding"] = next(each for each in ENCODINGS if PARTS["data"][each] is type(value))


@takes_own_fields
@dataclasses.dataclass(kw_only=True)
class ModelConfig(Section):
    """The network."""

    NAME, PARTS = "model", PARTS["model"]

    units: int = knob(512, "LSTM units of each layer", low=1, high=65_536)
    layers: int = knob(1, "stacked LSTM layers", low=1, high=64)
    dropout: float = knob(0.75, "share of the last layer's outputs dropped in training", low=0.0, high=0.99)
    layer_dropout: float = knob(0.0, "share of each lower layer's outputs dropped in training", low=0.0, high=0.99)
    precision: str = knob(
        "auto",
        "float32; tf32: rounds the operands of large products to 10 mantissa bits, on NVIDIA GPUs; "
        "bfloat16: rounds them to 7; everything else stays float32; "
        "auto: whichever trains faster when measured on this machine; the run then keeps it",
        choices=("auto", "float32", "tf32", "bfloat16"),
    )
    remat_rows: int = knob(
        0,
        "rows between saved states in training: the gates in between are recomputed for "
        "the gradient, which takes less memory and more time; 0: the gates of every row are saved",
        low=0,
        high=10_000,
        may_change=True,
    )
    own: Any = None


@dataclasses.dataclass
class TrainConfig(Fields):
    """How the model learns."""

    NAME = "train"

    epochs: int = knob(200, "passes over the training windows", low=1, high=1_000_000, may_change=True)
    batch_size: int = knob(200, "windows in a step", low=1, high=1_000_000)
    accumulate: int = knob(
        1,
        "equal parts of a batch, computed one after the other and summed into one update: less memory, the same "
        "numbers",
        low=1,
        high=1_000_000,
        may_change=True,
    )
    optimizer: str = knob(
        "rmsprop",
        "rmsprop (the paper), adam, or adadelta, which wants a learning rate of 1",
        choices=("rmsprop", "adam", "adadelta"),
    )
    learning_rate: float = knob(1e-4, "step size at the start", low=1e-12, high=10.0)
    half_life: float = knob(0.0, "epochs over which adam's step size halves; 0: it stays the same", low=0.0, high=1e6)
    clip_norm: float = knob(0.0, "with adam, clip gradients to this norm; 0: no limit", low=0.0, high=1e9)
    epsilon_in_root: bool = knob(
        True, "add RMSprop's 1e-7 inside the square root, as Keras 3 does; false: outside it, as Keras did in 2018"
    )
    momentum: float = knob(0.0, "Nesterov momentum of rmsprop; 0: none, as in the paper", low=0.0, high=0.999)
    patience: int = knob(
        0,
        "stop after this many epochs without a lower validation loss; 0: never stop early",
        low=0,
        high=1_000_000,
        may_change=True,
    )
    trials: int = knob(
        1,
        "models trained in one run, trial k from seed + k; the one with the lowest validation loss becomes the model",
        low=1,
        high=100_000,
    )
    learning_rates: tuple = knob(
        (), "learning rates that the trials take in turn; none: learning_rate", low=1e-12, high=10.0
    )
    dropouts: tuple = knob((), "dropouts that the trials take in turn; none: model.dropout", low=0.0, high=0.99)
    trial_group: int = knob(
        0, "trials trained together; 0: as many as save time and fit in memory", low=0, high=100_000, may_change=True
    )
    devices: int = knob(0, "devices that share each batch; 0: all", low=0, high=1_000_000, may_change=True)
    shard_parameters: bool = knob(
        False,
        "each device stores part of the large parameters and of their optimizer state, and gathers the parameters "
        "for each step; false: each device stores them whole",
        may_change=True,
    )
    histograms: bool = knob(True, "write histograms of the weights for TensorBoard each epoch", may_change=True)


@takes_own_fields
@dataclasses.dataclass(kw_only=True)
class SampleConfig(Section):
    """The music that training writes into the workdir at its end, and measures on the way."""

    NAME, PARTS = "sample", PARTS["sample"]

    num_outputs: int = knob(8, "how many files", low=0, high=10_000, may_change=True)
    num_notes: int = knob(300, "notes (or frames) in each", low=1, high=1_000_000, may_change=True)
    temperature: float = knob(
        1.0,
        "0: always the likeliest; higher: more varied. Notes: noise in standard deviations of the validation residual; "
        "frames and events: divides the logits",
        low=0.0,
        high=100.0,
        may_change=True,
    )
    every: int = knob(
        0,
        "epochs between previews, which draw up to 8 samples and record their metrics; 0: no previews",
        low=0,
        high=1_000_000,
        may_change=True,
    )
    audio: str = knob(
        "wav", "sound file beside each MIDI file", choices=("none", "wav", "flac", "ogg"), may_change=True
    )
    soundfont: str = knob("", "sound font for these sounds; empty: one found on this machine, if any", may_change=True)
    page: bool = knob(True, "write report.html after training", may_change=True)
    own: Any = None


SECTIONS: dict[str, type] = {"data": DataConfig, "model": ModelConfig, "train": TrainConfig, "sample": SampleConfig}


@dataclasses.dataclass
class Config(Fields):
    """All that defines a run. The defaults are the paper's model and training on the built-in corpus."""

    name: str = knob("custom", "name of the configuration; the default workdir is runs/NAME", may_change=True)
    seed: int = knob(0, "the one source of randomness", low=0, high=2**31 - 1)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    sample: SampleConfig = dataclasses.field(default_factory=SampleConfig)

    def __post_init__(self) -> None:
        encoding = self.data.encoding
        for section in (self.model, self.sample) if encoding in ENCODINGS else ():
            if section.own is not None and type(section.own) is not section.PARTS[encoding]:
                raise wrong_part(section, encoding)
        settle(self)

    def __setattr__(self, name: str, value: Any) -> None:
        wanted = SECTIONS.get(name)
        if wanted is not None and not isinstance(value, wanted):
            is_part = type(value) in PARTS.get(name, {}).values()
            hint = f", or config.{name}.own={type(value).__name__}(...)" if is_part else ""
            raise UsageError(f"config.{name}={shown(value)}: expected a {wanted.__name__}{hint}")
        super().__setattr__(name, value)
        if isinstance(value, Section):
            value.require_part()


def settle(config: Config) -> None:
    """Gives each section the part of the chosen encoding, with its defaults where it had another encoding's.

    Raises:
        UsageError: a field or a part was set that the encoding does not have.
    """
    if config.data.encoding in ENCODINGS:
        for section in (config.data, config.model, config.sample):
            section.settle(config.data.encoding)


def fields(config: Config) -> Iterator[tuple[str, dataclasses.Field, Any]]:
    """(path such as "train.epochs", declaration, value) of every field."""
    yield from fields_of(config, "")


def validate(config: Config, together: bool = True) -> Config:
    """The config itself, if every field has its type and lies in its range.

    Args:
        together: whether the fields must also fit each other; False while a saved run's may still replace some.

    Raises:
        UsageError: names the field, its value and what is allowed.
    """
    settle(config)
    for path, field, value in list(fields(config)):
        found = valid(path, field, value)
        if found is not value:
            set_field(config, path, found)
    if together:
        _require_fit(config)
    return config


def _require_frames_fit(config: Config, own: FramesData) -> None:
    """Raises UsageError if fields of frames do not go together."""
    if own.onsets and config.data.source.startswith("polyphonic:"):
        raise UsageError(
            "config.data.onsets=True: expected False, since the polyphonic files do not mark where notes begin"
        )
    if own.onsets and getattr(config.model.own, "head", "") == "tied_nade":
        raise UsageError(
            "config.data.onsets=True, but config.model.head='tied_nade' predicts no onsets: expected "
            "--config.model.head=note_lstm, or --config.data.onsets=false"
        )


def _require_fit(config: Config) -> None:
    """Raises UsageError for fields that do not go together."""
    data, train = config.data, config.train
    if data.source.startswith("polyphonic:") and data.encoding != "frames":
        raise UsageError(
            f"config.data.source={data.source!r} holds frames, not notes: expected --config.data.encoding=frames "
            "with it, as in the configs frames_bernoulli, frames_nade and frames_mse"
        )
    if isinstance(data.own, FramesData):
        _require_frames_fit(config, data.own)
    if getattr(config.sample.own, "no_repeat", 0) == 1:
        raise UsageError("config.sample.no_repeat=1: expected 2..32, or 0 to let runs repeat")
    factors = getattr(config.sample.own, "temperature_factors", ())
    if len(factors) not in (0, 4):
        raise UsageError(
            f"config.sample.temperature_factors={shown(list(factors))}: expected four numbers, for interval, pitch, "
            "duration and velocity, or none"
        )
    if train.optimizer != "rmsprop" and train.momentum:
        raise UsageError(
            f"config.train.momentum={train.momentum} needs rmsprop: expected --config.train.optimizer=rmsprop, "
            "or a momentum of 0"
        )
    if train.optimizer != "adam" and (train.half_life or train.clip_norm):
        raise UsageError(
            "config.train.half_life and config.train.clip_norm need adam: expected --config.train.optimizer=adam"
        )
    pairs = max(len(train.learning_rates), 1) * max(len(train.dropouts), 1)
    if pairs > train.trials or ((train.learning_rates or train.dropouts) and train.trials == 1):
        raise UsageError(
            f"config.train.trials={train.trials}: expected at least {max(pairs, 2)}, one for each pair of the learning "
            "rates and dropouts listed"
        )
    # The note axis has two layers of its own.
    along_keys = getattr(config.model.own, "head", "") == "note_lstm"
    if config.model.layer_dropout and config.model.layers == 1 and not along_keys:
        raise UsageError(
            f"config.model.layer_dropout={config.model.layer_dropout} drops outputs between layers, but there is only "
            "one layer: expected --config.model.layers=2 or more, or a layer_dropout of 0"
        )
    if train.shard_parameters and train.trials > 1:
        raise UsageError(
            f"config.train.shard_parameters=True with config.train.trials={train.trials}: the parameters of several "
            "trials cannot be sharded; expected False, or 1 trial"
        )
    if config.seed + train.trials > 2**31:
        raise UsageError(
            f"config.seed={config.seed}: expected at most {2**31 - train.trials}, so that all trials have seeds below "
            f"{2**31}"
        )


def trials(config: Config) -> list[tuple[int, float, float]]:
    """(seed, learning rate, dropout) of each trial: seeds count up, and all pairs from the two lists take turns."""
    rates = config.train.learning_rates or (config.train.learning_rate,)
    dropouts = config.train.dropouts or (config.model.dropout,)
    return [
        (config.seed + k, rates[k % len(rates)], dropouts[k // len(rates) % len(dropouts)])
        for k in range(config.train.trials)
    ]


def accuracy_meaning(encoding: str) -> tuple[str, str]:
    """What the accuracy of a model of this encoding is, and which constant answer its majority accuracy belongs to."""
    return ACCURACY[encoding]


def differences(saved: Config, present: Config) -> list[tuple[str, Any, Any]]:
    """(path, saved value, present value) of each field that differs and may not change within a run."""
    old, new = ({path: (field, value) for path, field, value in fields(one)} for one in (saved, present))
    nothing = (None, None)
    return [
        (path, old.get(path, nothing)[1], new.get(path, nothing)[1])
        for path in {**old, **new}
        if old.get(path, nothing)[1] != new.get(path, nothing)[1]
        and not (old.get(path) or new[path])[0].metadata["may_change"]
    ]


@functools.cache
def kinds() -> dict[str, type]:
    """The type of every field of every encoding, by its path, in the order of declaration."""
    configs = [Config(data=DataConfig(encoding=encoding)) for encoding in ENCODINGS]
    return {path: type(field.default) for config in configs for path, field, _ in fields(config)}


def paths() -> list[str]:
    """The paths of all fields of all encodings."""
    return list(kinds())


def require_field(path: str) -> None:
    """Raises UsageError, which names the nearest, if no field or section has this path, now or in 0.1.0."""
    known = paths()
    sections = sorted({name.rsplit(".", 1)[0] for name in known if "." in name})
    if present_path(path) in [*known, *sections, HEAD]:
        return
    raise unknown_field(path, [*known, *sections])


def require_valid(path: str, value: Any) -> None:
    """Raises UsageError if no field of any encoding has this path, or the field may not have this value."""
    require_field(path)
    if path == HEAD and value in ONLY_HEAD.values():
        return
    for encoding in ENCODINGS:
        for known, field, _ in fields(Config(data=DataConfig(encoding=encoding))):
            if known == present_path(path):
                valid(known, field, value)
                return


def set_field(config: Config, path: str, value: Any, strict: bool = True) -> None:
    """Sets the field named by a path such as "train.epochs".

    Args:
        strict: False lets a field of another encoding pass if it has its default, as 0.1.0 did.

    Raises:
        UsageError: there is no such field, or the config's encoding lacks it; it then names those that have it.
    """
    require_field(path)
    section, _, name = present_path(path, say=True).rpartition(".")
    owner: Any = getattr(config, section) if section else config
    if strict and isinstance(owner, Section) and config.data.encoding in ENCODINGS:
        owner.require_own(name, value, config.data.encoding)
    setattr(owner, name, value)
    settle(config)


def with_fields(config: Config, values: Mapping[str, Any]) -> Config:
    """A copy of the config with these fields, by path; raises UsageError if it is not valid."""
    config = copy.deepcopy(config)
    set_fields(config, values)
    return validate(config)


def set_fields(config: Config, values: Mapping[str, Any], strict: bool = True) -> None:
    """`set_field` for each path; the encoding first, since it decides which others there are.

    Raises:
        UsageError: as `set_field`; or a field is given under its old and its present name.
    """
    require_one_name(values)
    for path in sorted(values, key=lambda path: path != "data.encoding"):
        set_field(config, path, values[path], strict)
