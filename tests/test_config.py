"""The knobs: declared in full, checked at the boundary, the same after a trip through JSON."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicjax import config as config_lib
from musicjax import config_files, console
from musicjax.cli import flags
from musicjax.config import ENCODINGS, Config, DataConfig, ModelConfig, SampleConfig, TrainConfig
from musicjax.errors import UsageError


def _of(encoding: str) -> Config:
    return Config(data=DataConfig(encoding=encoding))


# Each knob once, with a config that has it: (path, declaration, default).
OWNERS: dict[str, str] = {}
KNOBS = []
for _encoding in ENCODINGS:
    for _path, _field, _default in config_lib.fields(_of(_encoding)):
        if _path not in OWNERS:
            OWNERS[_path] = _encoding
            KNOBS.append((_path, _field, _default))
IDS = [path for path, _, _ in KNOBS]
NUMBERS = [(path, field) for path, field, value in KNOBS if type(value) in (int, float)]
LISTS = [(path, field) for path, field, value in KNOBS if type(value) is tuple]


def _owner(path: str) -> Config:
    """A config that has this knob and lets it be set."""
    config = _of(OWNERS[path])
    if path in ("train.half_life", "train.clip_norm"):
        config.train.optimizer = "adam"
    if path == "model.layer_dropout":
        config.model.layers = 2
    return config


def _set(path: str, value) -> Config:
    config = _owner(path)
    config_lib.set_field(config, path, value)
    return config


# What is declared.


@pytest.mark.parametrize(("path", "field", "default"), KNOBS, ids=IDS)
def test_every_knob_has_a_meaning_and_its_default_is_allowed(path, field, default):
    rules = field.metadata
    assert len(rules["meaning"]) > 3
    assert type(default) in (int, float, str, bool, tuple)
    if type(default) in (int, float):
        assert type(rules["low"]) is type(default) and type(rules["high"]) is type(default)
        assert rules["low"] < rules["high"]
        assert rules["low"] <= default <= rules["high"]
    if type(default) is tuple:
        assert default == (), "a list that is not given is empty"
        assert type(rules["low"]) is type(rules["high"]) is float
        assert rules["low"] < rules["high"]
    if rules["choices"]:
        assert default in rules["choices"]
        assert len(set(rules["choices"])) > 1
    config_lib.validate(_set(path, default))


def test_every_section_is_part_of_the_config():
    names = {field.name: type(getattr(Config(), field.name)) for field in dataclasses.fields(Config)}
    for section in (DataConfig, ModelConfig, TrainConfig, SampleConfig):
        assert section in names.values()
    assert sorted(IDS) == sorted(config_lib.paths())
    assert len(IDS) == len(set(IDS)) >= 20


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_each_knob_is_described_by_its_flag_and_its_meaning(encoding):
    knobs = {path: field for path, field, _ in config_lib.fields(_of(encoding))}
    lines = config_files.describe(_of(encoding))
    assert [line.split("=")[0] for line in lines[::2]] == [f"  --config.{path}" for path in knobs]
    for line, field in zip(lines[1::2], knobs.values(), strict=True):
        assert line.strip().startswith(field.metadata["meaning"])


def test_the_defaults_of_the_flags_are_those_of_the_config():
    sample = SampleConfig()
    assert flags.FLAGS["num_outputs"].default == sample.num_outputs
    assert flags.FLAGS["temperature"].default is None  # as the config has it
    assert str(sample.num_notes) in flags.FLAGS["num_notes"].meaning


# What is refused.


@pytest.mark.parametrize(("path", "field"), NUMBERS, ids=[path for path, _ in NUMBERS])
def test_a_number_may_be_its_bounds_and_nothing_beyond(path, field):
    low, high = field.metadata["low"], field.metadata["high"]
    for value in (low, high):
        config_lib.validate(_set(path, value))
    step = 1 if type(low) is int else 1e-3 * max(abs(low), abs(high))
    for value in (low - step, high + step):
        with pytest.raises(UsageError) as raised:
            config_lib.validate(_set(path, value))
        for part in (f"config.{path}", repr(value), f"{low}..{high}"):
            assert part in str(raised.value)


@pytest.mark.parametrize(("path", "field"), NUMBERS, ids=[path for path, _ in NUMBERS])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_no_number_may_be_infinite_or_undefined(path, field, value):
    with pytest.raises(UsageError, match=rf"config\.{path}="):
        config_lib.validate(_set(path, value))


@pytest.mark.parametrize(("path", "field", "default"), KNOBS, ids=IDS)
def test_a_value_of_another_type_is_refused_by_name(path, field, default):
    wrong = {
        int: ["7", 7.0, True, None, [default]],
        float: ["0.5", True, None, [default]],
        str: [7, True, None, [default]],
        bool: [1, "true", None, [default]],
        tuple: ["0.5", 0.5, True, None],
    }
    for value in [*wrong[type(default)], {}]:
        with pytest.raises(UsageError) as raised:
            config_lib.validate(_set(path, value))
        assert f"config.{path}={value!r}" in str(raised.value)
        assert f"is not of type {'list' if type(default) is tuple else type(default).__name__}: " in str(raised.value)


@pytest.mark.parametrize("digits", [400, 5000])
@pytest.mark.parametrize("path", ["train.learning_rate", "train.learning_rates", "train.epochs", "model.dropout"])
def test_a_number_beyond_all_floats_is_refused_in_a_short_line(path, digits):
    value = [10**digits] if path == "train.learning_rates" else 10**digits
    with pytest.raises(UsageError, match=rf"config\.{path}=.*: expected ") as raised:
        config_lib.validate(_set(path, value))
    assert len(str(raised.value)) < 250


def test_a_whole_number_will_do_for_a_real_one():
    config = config_lib.validate(_set("data.seconds_per_file", 5))
    assert type(config.data.seconds_per_file) is float
    assert config.data.seconds_per_file == 5.0
    config.train.trials, config.train.learning_rates = 2, [1, 0.5]
    config_lib.validate(config)
    assert config.train.learning_rates == (1.0, 0.5)
    assert type(config.train.learning_rates[0]) is float


@pytest.mark.parametrize(("path", "field"), LISTS, ids=[path for path, _ in LISTS])
def test_each_number_of_a_list_may_be_its_bounds_and_nothing_beyond(path, field):
    low, high = field.metadata["low"], field.metadata["high"]
    both = [low, high] * (2 if path == "sample.temperature_factors" else 1)  # these are four
    config = _set(path, both)
    config.train.trials = 2
    assert {name: value for name, _, value in config_lib.fields(config_lib.validate(config))}[path] == tuple(both)
    beyond = (low - 1e-3 * high, 1.001 * high, float("nan"), float("inf"), float("-inf"))
    for value in (*beyond, True, None, "0.5", (0.5,)):
        config = _set(path, [high, value])
        config.train.trials = 2
        with pytest.raises(UsageError) as raised:
            config_lib.validate(config)
        assert f"config.{path}={(high, value)!r}: expected numbers in {low}..{high}" in str(raised.value)


def _trials(trials: int, rates: int, dropouts: int) -> Config:
    rate_list = tuple(1e-3 / (1 + k) for k in range(rates))
    return Config(train=TrainConfig(trials=trials, learning_rates=rate_list, dropouts=(0.5,) * dropouts))


@pytest.mark.parametrize(("rates", "dropouts", "least"), [(2, 0, 2), (0, 3, 3), (2, 3, 6), (1, 1, 2), (1, 0, 2)])
def test_each_pair_of_the_lists_needs_a_trial(rates, dropouts, least):
    config_lib.validate(_trials(least, rates, dropouts))
    config_lib.validate(_trials(least + 1, rates, dropouts))
    if least > 1:
        with pytest.raises(UsageError) as raised:
            config_lib.validate(_trials(least - 1, rates, dropouts))
        for part in (f"config.train.trials={least - 1}", f"at least {least}"):
            assert part in str(raised.value)


def test_the_seed_of_the_last_trial_must_be_a_seed_too():
    config_lib.validate(Config(seed=2**31 - 4, train=TrainConfig(trials=4)))
    with pytest.raises(UsageError, match=f"config.seed={2**31 - 3}: expected at most {2**31 - 4}, so that all trials"):
        config_lib.validate(Config(seed=2**31 - 3, train=TrainConfig(trials=4)))


@pytest.mark.parametrize("path", ["train.half_life", "train.clip_norm"])
def test_fields_of_adam_need_adam(path):
    config = _set(path, 1.0)
    config_lib.validate(config)
    config.train.optimizer = "rmsprop"
    with pytest.raises(UsageError, match="optimizer=adam"):
        config_lib.validate(config)


def test_dropout_between_layers_needs_two():
    config = _set("model.layer_dropout", 0.5)
    config_lib.validate(config)
    config.model.layers = 1
    with pytest.raises(UsageError, match=r"config\.model\.layer_dropout=0\.5 .* expected --config\.model\.layers=2"):
        config_lib.validate(config)
    config_lib.set_field(config, "data.encoding", "frames")
    config.model.head = "note_lstm"  # which has two layers along the keys
    config_lib.validate(config)


def test_the_parameters_of_trials_are_not_divided_over_devices():
    config = Config(train=TrainConfig(shard_parameters=True))
    config_lib.validate(config)
    config.train.trials = 2
    with pytest.raises(UsageError, match=r"config\.train\.shard_parameters=True with config\.train\.trials=2"):
        config_lib.validate(config)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"train.momentum": 0.9, "train.optimizer": "adam"}, "config.train.momentum=0.9 needs rmsprop"),
        ({"train.half_life": 3.0, "train.optimizer": "adadelta"}, "need adam"),
        (
            {"data.encoding": "frames", "data.onsets": True, "model.head": "tied_nade"},
            "config.data.onsets=True, but config.model.head='tied_nade'",
        ),
        ({"model.head": "note_lstm"}, "the encoding notes has no such field; these have it: frames"),
        (
            {"data.encoding": "events", "model.head": "tied_nade"},
            "the encoding events has no such field; these have it: frames",
        ),
    ],
)
def test_models_along_two_axes_and_their_training_are_refused_where_they_do_not_fit(fields, told):
    with pytest.raises(UsageError, match=re.escape(told)):
        config_lib.with_fields(Config(), fields)


# For each field of one or two encodings: (path, a value, the encodings that have it).
SHARED = [
    (
        path,
        value,
        [encoding for encoding in ENCODINGS if path in {name for name, _, _ in config_lib.fields(_of(encoding))}],
    )
    for path, value in {
        "data.duration": True,
        "data.split": "windows",
        "data.per_beat": 4,
        "data.onsets": True,
        "data.transpose": 2,
        "data.match_share": 0.5,
        "data.keys": 78,
        "data.bar_position": True,
        "data.tempo_stretch_percent": 3,
        "data.velocity_shift_bins": 2,
        "data.instruments": "merge",
        "data.resident_mib": 7,
        "data.block_rows": 7,
        "model.head": "nade",
        "model.head_units": 7,
        "model.embedding": 7,
        "sample.top_p": 0.5,
        "sample.min_p": 0.5,
        "sample.temperature_factors": (1.0, 0.8, 1.0, 1.3),
        "sample.no_repeat": 4,
        "sample.best_of": 3,
        "sample.stop_loops": False,
        "sample.fit": True,
    }.items()
]


@pytest.mark.parametrize(("path", "value", "encodings"), SHARED, ids=[path for path, _, _ in SHARED])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_field_that_an_encoding_lacks_is_refused_with_the_encodings_that_have_it(encoding, path, value, encodings):
    assert 0 < len(encodings) < len(ENCODINGS)
    section, name = path.split(".")
    ways = [
        lambda: config_lib.set_field(_of(encoding), path, value),
        lambda: config_files.from_dict({"data": {"encoding": encoding}, section: {}} | _nested(encoding, path, value)),
        lambda: flags.parse([f"--config.data.encoding={encoding}", f"--config.{path}={value}"]),
        lambda: _assigned(_of(encoding), section, name, value),
    ]
    for way in ways:
        if encoding in encodings:
            way()
            continue
        with pytest.raises(UsageError) as raised:
            way()
        told = str(raised.value)
        for part in (f"config.{path}=", encoding, *encodings, "--config.data.encoding="):
            assert part in told


def _assigned(config: Config, section: str, name: str, value) -> Config:
    setattr(getattr(config, section), name, value)
    return config_lib.validate(config)


def _nested(encoding: str, path: str, value) -> dict:
    section, name = path.split(".")
    data = {"encoding": encoding}
    return {"data": {**data, name: value}} if section == "data" else {"data": data, section: {name: value}}


def test_all_encodings_have_all_fields_that_are_not_in_this_list():
    listed = {path for path, _, _ in SHARED}
    for encoding in ENCODINGS:
        assert {path for path, _, _ in config_lib.fields(_of(encoding))} >= set(IDS) - listed


def test_the_part_of_another_encoding_is_refused():
    with pytest.raises(UsageError, match=r"config\.model\.own is EventsModel: expected FramesModel"):
        Config(data=DataConfig(encoding="frames"), model=ModelConfig(own=config_lib.EventsModel()))
    with pytest.raises(UsageError, match=r"config\.data\.own=3: expected the part of an encoding"):
        DataConfig(own=3)


# What a config file may do wrong with a config c, and what it is told.
WRONG_CODE = [
    ("c.model = 5", "config.model=5: expected a ModelConfig"),
    ("c.data = None", "config.data=None: expected a DataConfig"),
    ("c.train = None", "config.train=None: expected a TrainConfig"),
    ("c.sample = DataConfig()", "expected a SampleConfig"),
    ("c.data = FramesData()", "expected a DataConfig, or config.data.own=FramesData(...)"),
    ("Config(data=None)", "config.data=None: expected a DataConfig"),
    ("Config(data={'window': 3})", "config.data={'window': 3}: expected a DataConfig"),
    ("Config(data=DataConfig('builtin'))", "DataConfig('builtin'): expected fields by their names, as in DataConfig("),
    ("c = Config(data=DataConfig(encoding=['events']))", "config.data.encoding=['events'] is not of type str"),
    ("c = Config(data=DataConfig(encoding='x', own=FramesData()))", "config.data.encoding='x': expected one of"),
    ("DataConfig(encoding='events', own=FramesData(per_beat=4))", "config.data.own is FramesData: expected EventsData"),
    ("c.model.own = FramesModel(head='nade')", "config.model.own is FramesModel: expected EventsModel, since "),
    ("c = Config(); c.model.own = FramesModel('nade')", "config.model.own is FramesModel: expected NotesModel"),
    ("c = Config(); c.sample.own = EventsSample(0.5)", "config.sample.own is EventsSample: expected NoControls"),
    ("d = c; c = Config(); c.model = d.model", "config.model.own is EventsModel: expected NotesModel"),
    ("c.model.own = 3", "config.model.own=3: expected the part of an encoding"),
    ("c.data.own = None", "config.data.own=None: expected the part of an encoding"),
    ("c.trian = 3", "unknown field config.trian: did you mean config.train?"),
    ("c.train.epoch = 5", "unknown field config.train.epoch: did you mean config.train.epochs?"),
    ("c.data.windwo = 5", "unknown field config.data.windwo: did you mean config.data.window?"),
    ("DataConfig(ecko=1)", "unknown field config.data.ecko: did you mean config.data.match_share?"),
    ("c.data.own.zzz = 3", "unknown field config.data.zzz: the fields are data.transpose"),
    ("DataConfig(echo=0.1, match_share=0.7)", "config.data.echo and config.data.match_share are the same"),
]


@pytest.mark.parametrize(("code", "message"), WRONG_CODE, ids=[code for code, _ in WRONG_CODE])
def test_code_that_gives_a_config_what_it_does_not_take_is_refused(tmp_path, code, message):
    lines = ["from musicjax.config import *", "from musicjax.config_files import load", "def get_config():"]
    lines += [f"    {line}" for line in ("c = load('demo')", *code.split("; "), "return c")]
    (tmp_path / "mine.py").write_text("\n".join(lines))
    with pytest.raises(UsageError) as raised:
        config_files.load(str(tmp_path / "mine.py"))
    assert message in str(raised.value)
    assert f"config file {tmp_path / 'mine.py'}: " in str(raised.value)
    assert "get_config()" not in str(raised.value)


def test_a_part_may_be_assigned_before_or_after_its_encoding():
    before, after = config_files.load("demo"), config_files.load("demo")
    before.model.own = config_lib.FramesModel(head="nade")
    before.data.encoding = after.data.encoding = "frames"
    after.model.own = config_lib.FramesModel(head="nade")
    for config in (before, after):
        assert config_lib.validate(config).model.own == config_lib.FramesModel(head="nade")


def test_a_part_with_its_defaults_gives_way_to_that_of_the_encoding():
    config = Config()
    config.data.encoding = "frames"
    config.model = dataclasses.replace(config.model, units=5)  # which still has the part of notes
    assert config_lib.validate(config).model == ModelConfig(units=5, own=config_lib.FramesModel())


def test_a_config_stays_refused_however_often_it_is_validated():
    config = Config()
    config.model.head = "nade"
    for _ in range(2):
        with pytest.raises(UsageError, match=r"config\.model\.head='nade': the encoding notes has no such field"):
            config_lib.validate(config)


def test_fields_may_be_assigned_before_the_encoding_that_has_them():
    config = Config()
    config.model.head = "nade"
    config.data.encoding = "frames"
    assert config_lib.validate(config).model.own == config_lib.FramesModel(head="nade")
    config.data = DataConfig(encoding="events")
    assert config_lib.validate(config).sample.own == config_lib.EventsSample()
    config.data.own = config_lib.NotesData(split="windows")
    assert config_lib.validate(config).data.encoding == "notes" and config.model.own == config_lib.NotesModel()


def test_no_two_sections_share_a_part(capsys, monkeypatch):
    monkeypatch.setattr(console, "_said", set())
    data = DataConfig(encoding="events", transpose=3)
    copies = [dataclasses.replace(data), dataclasses.replace(data, transpose=7), Config(data=data).data]
    copies[0].transpose = 9
    assert [one.transpose for one in (data, *copies)] == [3, 9, 7, 3]
    assert dataclasses.replace(data, encoding="notes").own == config_lib.NotesData()
    assert "data.encoding='notes' drops EventsData(transpose=3" in capsys.readouterr().err


def test_another_encoding_says_which_fields_it_drops(capsys, monkeypatch):
    monkeypatch.setattr(console, "_said", set())
    config = config_files.load("balstm")
    config_lib.set_field(config, "data.encoding", "notes")
    said = capsys.readouterr().err
    assert "data.encoding='notes' drops FramesData(per_beat=1" in said
    assert "data.encoding='notes' drops FramesModel(head='note_lstm'" in said
    config_lib.set_field(Config(), "data.encoding", "frames")
    assert not capsys.readouterr().err  # nothing but defaults is lost


def test_fields_of_other_encodings_may_have_their_defaults_in_files_as_in_0_1_0():
    assert Config(data=DataConfig(encoding="events", split="piece", duration=False)).data.own == config_lib.EventsData()
    config_files.from_dict({"data": {"encoding": "frames", "split": "piece"}})
    with pytest.raises(UsageError, match="no such field"):
        flags.parse(["--config.data.encoding=frames", "--config.data.split=piece"])


@pytest.mark.parametrize("way", ["flags", "json"])
def test_an_old_and_a_new_name_together_are_refused(way):
    with pytest.raises(UsageError, match=r"config\.data\.\w+ and config\.data\.\w+ are the same"):
        if way == "flags":
            flags.parse(["--config.data.echo=0.5", "--config.data.match_share=0.1"])
        else:
            config_files.from_dict({"data": {"encoding": "events", "echo": 0.5, "match_share": 0.1}})


def test_another_encoding_begins_with_the_defaults_of_its_own_fields():
    config = config_files.load("frames_nade_match")
    config_lib.set_field(config, "data.encoding", "events")
    config_lib.validate(config)
    assert config.data.own == config_lib.EventsData()
    assert config.model.own == config_lib.EventsModel()
    assert config.sample.own == config_lib.EventsSample()


@pytest.mark.parametrize("encoding", ["notes", "events"])
def test_polyphonic_files_need_frames(encoding):
    config = _of(encoding)
    config.data.source = "polyphonic:jsb:DIR"
    with pytest.raises(UsageError, match="holds frames, not notes"):
        config_lib.validate(config)


def test_polyphonic_files_have_no_onsets():
    config = _set("data.onsets", True)
    config.data.source = "polyphonic:jsb:DIR"
    with pytest.raises(UsageError, match="where notes begin"):
        config_lib.validate(config)


def test_a_value_that_no_encoding_takes_is_told_the_choices():
    with pytest.raises(UsageError, match=r"config\.model\.head='foo': expected one of regression, bernoulli, nade"):
        config_lib.set_field(_of("events"), "model.head", "foo")


def test_a_value_that_is_no_choice_is_told_the_choices():
    with pytest.raises(UsageError, match=r"config\.data\.split='song': expected one of piece, windows"):
        config_lib.validate(_set("data.split", "song"))


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("train.epoch", "did you mean config.train.epochs?"),
        ("trian.epochs", "did you mean config.train.epochs?"),
        ("epochs", "did you mean config.train.epochs?"),
        ("model.learning_rate", "did you mean config.train.learning_rate?"),
        ("train.seed", "did you mean config.seed?"),
        ("sample.window", "did you mean config.data.window?"),
        ("data.windoww", "did you mean config.data.window?"),
        ("data.echoo", "did you mean config.data.match_share?"),
        ("loudr", "did you mean config.data.velocity_shift_bins?"),
        ("zzz", "the fields are name, seed, data.source"),
    ],
)
def test_an_unknown_knob_is_told_the_nearest(path, hint):
    for attempt in (lambda: config_lib.require_field(path), lambda: config_lib.set_field(Config(), path, 1)):
        with pytest.raises(UsageError) as raised:
            attempt()
        assert f"unknown field config.{path}: {hint}" in str(raised.value)


@pytest.mark.parametrize("path", ["seed", "data.window", "train.learning_rate", "sample.temperature_factors"])
@pytest.mark.parametrize("part", ["data", "model", "train", "sample"])
def test_an_attribute_of_the_wrong_part_is_told_the_part_that_has_it(path, part):
    name = path.split(".")[-1]
    if path != f"{part}.{name}":
        with pytest.raises(UsageError, match=rf"^unknown field config\.{part}\.{name}: did you mean config\.{path}\?$"):
            setattr(getattr(Config(), part), name, 11)


# JSON.


def test_every_config_comes_back_from_json_as_it_was():
    for config in [Config(), *map(config_files.load, config_files.names())]:
        text = json.dumps(config_files.to_dict(config))
        assert config_files.from_dict(json.loads(text)) == config


@st.composite
def _configs(draw) -> Config:
    config = _of(draw(st.sampled_from(ENCODINGS)))
    for path, field, default in list(config_lib.fields(config)):
        rules = field.metadata
        if path == "data.encoding":
            continue
        if rules["choices"]:
            value = draw(st.sampled_from(rules["choices"]))
        elif type(default) is bool:
            value = draw(st.booleans())
        elif type(default) is int:
            value = draw(st.integers(rules["low"], rules["high"]))
        elif type(default) is float:
            value = draw(st.floats(rules["low"], rules["high"]))
        elif type(default) is tuple:
            value = tuple(draw(st.lists(st.floats(rules["low"], rules["high"]), max_size=3)))
        else:
            value = draw(st.text(min_size=1 if default else 0, max_size=10))
        config_lib.set_field(config, path, value)
    # No single knob's range says these: each pair of the lists needs a trial, each trial a seed, and so on.
    pairs = max(len(config.train.learning_rates), 1) * max(len(config.train.dropouts), 1)
    config.train.trials = max(config.train.trials, pairs + (pairs == 1 and bool(config.train.learning_rates)))
    config.train.trials = max(config.train.trials, 2 if config.train.dropouts else 1)
    config.seed = min(config.seed, 2**31 - config.train.trials)
    if config.data.encoding == "events":
        config.sample.no_repeat += config.sample.no_repeat == 1
        config.sample.temperature_factors += (1.0,) * (-len(config.sample.temperature_factors) % 4)
    if config.train.optimizer != "adam":
        config.train.half_life = config.train.clip_norm = 0.0
    if config.train.optimizer != "rmsprop":
        config.train.momentum = 0.0
    if config.data.encoding == "frames":
        config.data.onsets &= config.model.head != "tied_nade"
    config.model.layers = max(config.model.layers, 2 if config.model.layer_dropout else 1)
    config.train.shard_parameters &= config.train.trials == 1
    return config


@settings(max_examples=20, deadline=None, derandomize=True)
@given(config=_configs())
def test_any_valid_config_comes_back_from_json_as_it_was(config):
    read = config_files.from_dict(json.loads(json.dumps(config_files.to_dict(config))))
    assert read == config_lib.validate(config)
    for path, _, value in config_lib.fields(read):
        assert type(value) is type({name: default for name, _, default in KNOBS}[path])


def test_knobs_that_a_file_leaves_out_keep_their_defaults():
    assert config_files.from_dict({"train": {"epochs": 3}}) == Config(train=TrainConfig(epochs=3))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train": {"epoch": 3}}, "unknown field config.train.epoch: did you mean config.train.epochs?"),
        ({"tarin": {"epochs": 3}}, "unknown field config.tarin: did you mean config.train?"),
        ({"train": {"epochs": 0}}, "config.train.epochs=0: expected 1..1000000"),
        ({"train": {"epochs": "3"}}, "config.train.epochs='3' is not of type int"),
        ({"data": {"source": None}}, "config.data.source=None is not of type str"),
        ({"data.encoding": "frames"}, 'config.data.encoding: expected it as {"data": {"encoding": ...}}'),
        ({"train": 3}, "config.train=3: expected an object with fields"),
        ({"train": None}, "config.train"),
        ({"seed": {"a": 1}}, "config.seed"),
        ({"seed": {}}, "config.seed"),
        ({"train": {"learning_rates": 1e-3}}, "config.train.learning_rates=0.001 is not of type list"),
        ({"train": {"learning_rates": ["1e-3"]}}, "config.train.learning_rates=('1e-3',): expected numbers"),
        ({"train": {"dropouts": [0.1, 0.2]}}, "config.train.trials=1: expected at least 2"),
        ({"train": {"dropouts": {"a": 1}}}, "config.train.dropouts"),
        (
            {"data": {"encoding": "events"}, "sample": {"temperature_factors": [1, 0.8]}},
            "config.sample.temperature_factors=[1.0, 0.8]: expected four numbers, for interval, pitch, duration and",
        ),
    ],
)
def test_json_of_another_shape_is_refused_by_name(values, message):
    with pytest.raises(UsageError) as raised:
        config_files.from_dict(values)
    assert message in str(raised.value)


# Loading.


def test_the_configs_that_come_along_are_valid_and_named_after_their_files():
    assert set(config_files.names()) >= {"demo", "paper", "paper_code"}
    for name in config_files.names():
        assert config_files.load(name).name == name
        assert config_lib.validate(config_files.load(name)) == config_files.load(name)


def test_the_paper_is_the_defaults_with_its_own_split_and_the_epsilon_of_its_time():
    theirs = {"data": DataConfig(split="windows"), "train": TrainConfig(epsilon_in_root=False)}
    assert config_files.load("paper") == Config(name="paper", **theirs)
    theirs["train"] = TrainConfig(epsilon_in_root=False, learning_rate=1e-3)
    assert config_files.load("paper_code") == Config(name="paper_code", seed=5, **theirs)


def test_a_config_is_given_back_as_it_is():
    config = Config(seed=5)
    assert config_files.load(config) is config
    with pytest.raises(UsageError, match=r"config\.seed=-5: expected"):
        config_files.load(Config(seed=-5))


def test_a_python_file_gives_the_config_its_function_returns(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from musicjax.config import Config\ndef get_config():\n    return Config(name='mine', seed=7)\n")
    assert config_files.load(str(path)) == Config(name="mine", seed=7)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def get_config():\n    raise KeyError('lost')\n", "KeyError: 'lost'"),
        ("import sys\nsys.exit(0)\n", "SystemExit: 0; expected Python code whose get_config() returns a config"),
        ("def get_config():\n    raise SystemExit\n", "SystemExit; expected Python code"),
        ("def get_config():\n    return {'seed': 1}\n", "returned dict, expected musicjax.Config"),
        ("def get_config(:\n", "SyntaxError"),
        ("import nothing_of_this_name\n", "ModuleNotFoundError"),
        ("x = 1\n", "expected a function get_config()"),
        ("from musicjax.config import *\ndef get_config():\n    return Config(seed=-1)\n", "config.seed=-1"),
    ],
)
def test_a_python_file_that_gives_no_config_is_told_why(tmp_path, code, message):
    path = tmp_path / "mine.py"
    path.write_text(code)
    with pytest.raises(UsageError) as raised:
        config_files.load(str(path))
    assert message in str(raised.value)


def test_a_json_file_gives_the_config_it_holds(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(config_files.to_dict(Config(name="mine", train=TrainConfig(epochs=3)))))
    assert config_files.load(str(path)) == Config(name="mine", train=TrainConfig(epochs=3))


@pytest.mark.parametrize(
    ("lacks", "said"),
    [
        (["seed"], "1 field is not in {} and takes its default: seed=0"),
        (["model.units", "seed"], "2 fields are not in {} and take defaults: seed=0, model.units=512"),
        (
            None,
            "{count} fields are not in {} and take defaults: name=custom, seed=0, data.source=builtin, {others}",
        ),
    ],
)
def test_the_fields_that_a_json_file_lacks_are_counted_and_named_with_their_defaults(tmp_path, capsys, lacks, said):
    path, values = tmp_path / "mine.json", config_files.to_dict(Config(name="custom"))
    for field in lacks or []:
        *section, name = field.split(".")
        del (values[section[0]] if section else values)[name]
    path.write_text("{}" if lacks is None else json.dumps(values))
    assert config_files.load(str(path)) == Config()
    (line,) = capsys.readouterr().err.splitlines()
    count = len(list(config_lib.fields(Config())))
    beginning, _, end = said.partition(", {others}")
    assert line.startswith("config   " + beginning.format(path, count=count))
    assert line.endswith(f" and {count - config_files.MOST_NAMED} more" if lacks is None else end)


def test_a_json_file_with_every_field_or_an_older_name_of_it_says_nothing_of_defaults(tmp_path, capsys):
    values = config_files.to_dict(config_files.load("events"))
    values["data"]["echo"] = values["data"].pop("match_share")
    (tmp_path / "mine.json").write_text(json.dumps(values))
    assert config_files.load(str(tmp_path / "mine.json")) == config_files.load("events")
    assert capsys.readouterr().err == "renamed  config.data.echo is now config.data.match_share\n"


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '"demo"', '{"seed": -1}', '{"seed": NaN}', "\x00\xff"])
def test_a_json_file_that_holds_no_config_is_told_why(tmp_path, text):
    path = tmp_path / "mine.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError) as raised:
        config_files.load(str(path))
    assert str(raised.value).startswith(f"config file {path}: ")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("papr", "did you mean paper?"),
        (
            "zzz",
            "expected one of auto, balstm, demo, events, events_gpu, events_large, events_xl, frames_bernoulli, ",
        ),
        ("absent.py", "or the path of a .py or .json file"),
        ("", "expected one of auto, balstm, demo"),
    ],
)
def test_an_unknown_config_is_told_the_names(name, hint):
    with pytest.raises(UsageError) as raised:
        config_files.load(name)
    assert f"unknown config {name!r}" in str(raised.value)
    assert hint in str(raised.value)


def test_a_file_of_another_kind_is_no_config(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 1")
    with pytest.raises(UsageError, match="unknown config"):
        config_files.load(str(tmp_path / "config.yaml"))


# One run or another.


@pytest.mark.parametrize(("path", "field", "default"), KNOBS, ids=IDS)
def test_a_knob_makes_another_run_unless_it_may_change(path, field, default):
    if field.metadata["choices"]:
        other = next(choice for choice in field.metadata["choices"] if choice != default)
    else:
        other = {
            bool: lambda: not default,
            str: lambda: f"{default}-other",
            int: lambda: default + 1,
            float: lambda: default / 2 if default else 0.5,
            tuple: lambda: (0.5,),
        }[type(default)]()
    changed = _owner(path)
    config_lib.set_field(changed, path, other)
    found = config_lib.differences(_owner(path), changed)
    if path == "data.encoding":  # whose own fields differ with it
        assert found[0] == (path, default, other)
    else:
        assert found == ([] if field.metadata["may_change"] else [(path, default, other)])


def test_what_may_change_within_a_run_is_what_does_not_change_its_numbers():
    changeable = {path for path, field, _ in KNOBS if field.metadata["may_change"]}
    assert changeable == {
        "name",
        "data.source",  # what it holds is compared by its fingerprint
        "data.cache",
        "sample.top_p",
        "sample.temperature_factors",
        "sample.best_of",
        "sample.min_p",
        "sample.no_repeat",
        "sample.stop_loops",
        "sample.fit",
        "sample.audio",
        "sample.soundfont",
        "sample.page",
        "data.workers",
        "data.seconds_per_file",
        "train.epochs",
        "train.patience",
        # Which trials share a program, devices a batch, and parts of it a sum: the sums' order at most.
        "train.trial_group",
        "train.devices",
        "train.accumulate",
        "train.shard_parameters",
        "model.remat_rows",
        "train.histograms",
        "sample.num_outputs",
        "sample.num_notes",
        "sample.temperature",
        "sample.every",
    }
