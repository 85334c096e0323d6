"""The knobs: declared in full, checked at the boundary, the same after a trip through JSON."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicjax import config as config_lib
from musicjax import main
from musicjax.config import Config, DataConfig, ModelConfig, SampleConfig, TrainConfig
from musicjax.errors import UsageError

KNOBS = list(config_lib.fields(Config()))
IDS = [path for path, _, _ in KNOBS]
NUMBERS = [(path, field) for path, field, value in KNOBS if type(value) in (int, float)]
LISTS = [(path, field) for path, field, value in KNOBS if type(value) is tuple]


# Knobs that only go with another one's value.
COMPANIONS = {
    "data.transpose": ("data.encoding", "frames"),
    "data.onsets": ("data.encoding", "frames"),
    "data.echo": ("data.encoding", "frames"),
    "data.tempo_percent": ("data.encoding", "events"),
    "data.louder": ("data.encoding", "events"),
    "sample.top_p": ("data.encoding", "events"),
    "sample.min_p": ("data.encoding", "events"),
    "sample.no_repeat": ("data.encoding", "events"),
    "model.head": ("data.encoding", "frames"),
    "train.half_life": ("train.optimizer", "adam"),
    "train.clip_norm": ("train.optimizer", "adam"),
}


def _set(path: str, value) -> Config:
    config = Config()
    if path in COMPANIONS:
        config_lib.set_field(config, *COMPANIONS[path])
    config_lib.set_field(config, path, value)
    if path == "model.head":
        config.data.encoding = "events" if value == "categorical" else "frames"
    elif config.data.encoding == "events":
        config.model.head = "categorical"
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


def test_every_section_is_a_part_of_the_config():
    names = {field.name: type(getattr(Config(), field.name)) for field in dataclasses.fields(Config)}
    for section in (DataConfig, ModelConfig, TrainConfig, SampleConfig):
        assert section in names.values()
    assert len(IDS) == len(set(IDS)) >= 20


def test_the_help_has_one_line_a_knob():
    names, *lines = config_lib.describe()
    assert all(name in names for name in config_lib.names())
    assert [line.split("=")[0].strip() for line in lines] == [f"--config.{path}" for path in IDS]


def test_help_exits_well_and_names_every_flag_and_knob(capsys):
    assert main.main(["--help"]) == 0
    text = capsys.readouterr().out
    for word in [*main.COMMANDS, *(f"--{name}" for name in main.FLAGS), *(f"--config.{path}=" for path in IDS)]:
        assert word in text


def test_the_defaults_of_the_flags_are_those_of_the_config():
    sample = SampleConfig()
    defaults = {name: default for name, (_, default, _, _) in main.FLAGS.items()}
    assert defaults["num_outputs"] == sample.num_outputs
    assert defaults["temperature"] is None  # as the config has it
    assert str(sample.num_notes) in main.FLAGS["num_notes"][2]


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
        assert type(default).__name__ in str(raised.value)


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
    config = _set(path, [low, high])
    config.train.trials = 2
    assert {name: value for name, _, value in config_lib.fields(config_lib.validate(config))}[path] == (low, high)
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
    with pytest.raises(UsageError, match=f"config.seed={2**31 - 3}: expected room for 4 seeds below {2**31}"):
        config_lib.validate(Config(seed=2**31 - 3, train=TrainConfig(trials=4)))


@pytest.mark.parametrize(("path", "companion"), COMPANIONS.items())
def test_a_knob_without_the_other_that_it_goes_with_is_refused(path, companion):
    field = next(field for name, field, _ in KNOBS if name == path)
    others = {"sample.top_p": 0.5, "sample.no_repeat": 2}
    other = field.metadata["choices"][1] if field.metadata["choices"] else others.get(path, type(field.default)(1))
    config_lib.validate(_set(path, other))
    alone = Config()
    config_lib.set_field(alone, path, other)
    with pytest.raises(UsageError, match=companion[1]):
        config_lib.validate(alone)


@pytest.mark.parametrize(
    ("encoding", "path", "value", "message"),
    [
        ("notes", "data.source", "polyphonic:jsb:DIR", "holds frames, not notes"),
        ("frames", "data.duration", True, "expected False for frames"),
        ("frames", "data.split", "windows", "expected 'piece' for frames"),
        ("frames", "model.head", "categorical", "expected 'regression' or 'bernoulli' or 'nade' for frames"),
        ("events", "model.head", "nade", "expected 'categorical' for events"),
        ("events", "data.split", "windows", "expected 'piece' for events"),
        ("events", "data.source", "polyphonic:jsb:DIR", "holds frames, not notes"),
    ],
)
def test_what_an_encoding_does_not_take_is_refused(encoding, path, value, message):
    config = _set("data.encoding", encoding)
    config_lib.set_field(config, path, value)
    with pytest.raises(UsageError, match=message):
        config_lib.validate(config)


def test_polyphonic_files_have_no_onsets():
    config = _set("data.onsets", True)
    config.data.source = "polyphonic:jsb:DIR"
    with pytest.raises(UsageError, match="where notes begin"):
        config_lib.validate(config)


def test_rows_have_the_columns_of_their_encoding():
    assert config_lib.columns(Config()) == 3
    assert config_lib.columns(_set("data.duration", True)) == 4
    assert config_lib.columns(_set("data.encoding", "frames")) == 88
    assert config_lib.columns(_set("data.onsets", True)) == 176


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
        ("data.windoww", "did you mean config.data.window?"),
        ("zzz", "the fields are name, seed, data.source"),
    ],
)
def test_an_unknown_knob_is_told_the_nearest(path, hint):
    for attempt in (lambda: config_lib.require_field(path), lambda: config_lib.set_field(Config(), path, 1)):
        with pytest.raises(UsageError) as raised:
            attempt()
        assert f"unknown field config.{path}: {hint}" in str(raised.value)


# JSON.


def test_every_config_comes_back_from_json_as_it_was():
    for config in [Config(), *map(config_lib.load, config_lib.names())]:
        text = json.dumps(config_lib.to_dict(config))
        assert config_lib.from_dict(json.loads(text)) == config


@st.composite
def _configs(draw) -> Config:
    config = Config()
    for path, field, default in KNOBS:
        rules = field.metadata
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
    # No single knob's range says these two: each pair of the lists needs a trial, each trial a seed.
    pairs = max(len(config.train.learning_rates), 1) * max(len(config.train.dropouts), 1)
    config.train.trials = max(config.train.trials, pairs)
    config.seed = min(config.seed, 2**31 - config.train.trials)
    data, model = config.data, config.model
    if data.encoding != "notes":
        data.duration, data.split = False, "piece"
    config.sample.no_repeat += config.sample.no_repeat == 1
    if data.encoding != "events":
        data.tempo_percent = data.louder = config.sample.no_repeat = 0
        config.sample.top_p, config.sample.min_p = 1.0, 0.0
    if data.encoding == "notes":
        data.transpose, data.echo = 0, 0.0
    if data.encoding != "frames":
        data.onsets = False
    if data.encoding == "notes" or (data.encoding == "frames" and model.head == "categorical"):
        model.head = "regression"
    elif data.encoding == "events":
        model.head = "categorical"
    if config.train.optimizer == "rmsprop":
        config.train.half_life = config.train.clip_norm = 0.0
    return config


@settings(max_examples=50, deadline=None, derandomize=True)
@given(config=_configs())
def test_any_valid_config_comes_back_from_json_as_it_was(config):
    read = config_lib.from_dict(json.loads(json.dumps(config_lib.to_dict(config))))
    assert read == config_lib.validate(config)
    for path, _, value in config_lib.fields(read):
        assert type(value) is type({name: default for name, _, default in KNOBS}[path])


@pytest.mark.parametrize(("name", "echo"), [("small", 0.0), ("frames_nade", 0.0), ("events", 0.9)])
def test_the_echo_that_runs_saved_without_effect_is_none(name, echo):
    saved = config_lib.to_dict(config_lib.load(name))
    saved["data"]["echo"] = 0.9
    del saved["sample"]["every"]
    assert config_lib.from_dict(saved).data.echo == echo


def test_an_echo_that_somebody_asks_for_is_kept():
    config = config_lib.load("frames_nade_echo")
    assert config_lib.from_dict(config_lib.to_dict(config)) == config
    asked = {"data": {"encoding": "frames", "echo": 0.9}, "model": {"head": "nade"}}
    assert config_lib.from_dict(asked).data.echo == 0.9


def test_knobs_that_a_file_leaves_out_keep_their_defaults():
    assert config_lib.from_dict({"train": {"epochs": 3}}) == Config(train=TrainConfig(epochs=3))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train": {"epoch": 3}}, "unknown field config.train.epoch: did you mean config.train.epochs?"),
        ({"tarin": {"epochs": 3}}, "unknown field config.tarin: did you mean config.train?"),
        ({"train": {"epochs": 0}}, "config.train.epochs=0: expected 1..1000000"),
        ({"train": {"epochs": "3"}}, "config.train.epochs='3' is not of type int"),
        ({"data": {"source": None}}, "config.data.source=None is not of type str"),
        ({"train": 3}, "config.train"),
        ({"train": None}, "config.train"),
        ({"seed": {"a": 1}}, "config.seed"),
        ({"seed": {}}, "config.seed"),
        ({"train": {"learning_rates": 1e-3}}, "config.train.learning_rates=0.001 is not of type tuple"),
        ({"train": {"learning_rates": ["1e-3"]}}, "config.train.learning_rates=('1e-3',): expected numbers"),
        ({"train": {"dropouts": [0.1, 0.2]}}, "config.train.trials=1: expected at least 2"),
        ({"train": {"dropouts": {"a": 1}}}, "config.train.dropouts"),
    ],
)
def test_json_of_another_shape_is_refused_by_name(values, message):
    with pytest.raises(UsageError) as raised:
        config_lib.from_dict(values)
    assert message in str(raised.value)


# Loading.


def test_the_configs_that_come_along_are_valid_and_named_after_their_files():
    assert set(config_lib.names()) >= {"demo", "paper", "paper_code"}
    for name in config_lib.names():
        assert config_lib.load(name).name == name
        assert config_lib.validate(config_lib.load(name)) == config_lib.load(name)


def test_the_paper_is_the_defaults_with_its_own_split_and_the_epsilon_of_its_time():
    theirs = {"data": DataConfig(split="windows"), "train": TrainConfig(epsilon_in_root=False)}
    assert config_lib.load("paper") == Config(name="paper", **theirs)
    theirs["train"] = TrainConfig(epsilon_in_root=False, learning_rate=1e-3)
    assert config_lib.load("paper_code") == Config(name="paper_code", seed=5, **theirs)


def test_a_config_is_given_back_as_it_is():
    config = Config(seed=5)
    assert config_lib.load(config) is config


def test_a_python_file_gives_the_config_its_function_returns(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from musicjax.config import Config\ndef get_config():\n    return Config(name='mine', seed=7)\n")
    assert config_lib.load(str(path)) == Config(name="mine", seed=7)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def get_config():\n    raise KeyError('lost')\n", "KeyError: 'lost'"),
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
        config_lib.load(str(path))
    assert message in str(raised.value)


def test_a_json_file_gives_the_config_it_holds(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(config_lib.to_dict(Config(name="mine", train=TrainConfig(epochs=3)))))
    assert config_lib.load(str(path)) == Config(name="mine", train=TrainConfig(epochs=3))


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '"demo"', '{"seed": -1}', '{"seed": NaN}', "\x00\xff"])
def test_a_json_file_that_holds_no_config_is_told_why(tmp_path, text):
    path = tmp_path / "mine.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match="config"):
        config_lib.load(str(path))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("papr", "did you mean paper?"),
        ("zzz", "expected one of demo, events, events_gpu, events_large, frames_bernoulli, frames_bernoulli_echo, "),
        ("absent.py", "or the path of a .py or .json file"),
        ("", "expected one of demo"),
    ],
)
def test_an_unknown_config_is_told_the_names(name, hint):
    with pytest.raises(UsageError) as raised:
        config_lib.load(name)
    assert f"unknown config {name!r}" in str(raised.value)
    assert hint in str(raised.value)


def test_a_file_of_another_kind_is_no_config(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 1")
    with pytest.raises(UsageError, match="unknown config"):
        config_lib.load(str(tmp_path / "config.yaml"))


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
    changed = Config()
    config_lib.set_field(changed, path, other)
    found = config_lib.differences(Config(), changed)
    assert found == ([] if field.metadata["may_change"] else [(path, default, other)])


def test_what_may_change_within_a_run_is_what_does_not_change_its_numbers():
    changeable = {path for path, field, _ in KNOBS if field.metadata["may_change"]}
    assert changeable == {
        "name",
        "data.source",  # what it holds is compared by its fingerprint
        "data.cache",
        "sample.top_p",
        "sample.min_p",
        "sample.no_repeat",
        "sample.audio",
        "sample.soundfont",
        "data.workers",
        "data.seconds_per_file",
        "train.epochs",
        "train.patience",
        "train.trial_group",  # which trials share a program, and devices a batch: the sums' order at most
        "train.devices",
        "train.histograms",
        "sample.num_outputs",
        "sample.num_notes",
        "sample.temperature",
        "sample.every",
    }


# The command line.

# What `train` takes beside a config and its fields, when nothing is given.
TRAIN_OPTIONS = {"workdir": "", "coordinator": "", "num_processes": None, "process_id": None, "distributed": "off"}


def test_a_field_overrides_the_config_wherever_it_is_written():
    for argv in (
        ["--config=paper", "--config.train.epochs=3"],
        ["--config.train.epochs=3", "--config=paper"],
        ["train", "--config.train.epochs=3", "--workdir=here", "--config=paper"],
    ):
        command, options, config, overrides = main.parse(argv)
        assert command == "train"
        assert config == dataclasses.replace(
            config_lib.load("paper"), train=TrainConfig(epochs=3, epsilon_in_root=False)
        )
        assert overrides is None
        assert set(options) == set(TRAIN_OPTIONS)


def test_without_a_named_config_the_fields_are_told_apart_from_the_demo_they_are_laid_over():
    _, _, config, overrides = main.parse(["generate", "--config.seed=3", "--seed=4", "--config.data.duration=false"])
    assert overrides == {"seed": 3, "data.duration": False}
    assert config.name == "demo"
    assert config.seed == 3 and config.data.duration is False


def test_the_flags_have_their_types_and_their_commands():
    command, options, _, _ = main.parse(["generate", "--num_notes=7", "--temperature=0", "--workdir", "somewhere"])
    assert command == "generate"
    assert options["num_notes"] == 7 and options["temperature"] == "0" and options["workdir"] == "somewhere"
    with pytest.raises(UsageError, match="num_notes"):
        main.parse(["train", "--num_notes=7"])


def test_parsing_twice_keeps_nothing_of_the_first_time(tmp_path):
    main.parse(["--config.seed=3", f"--workdir={tmp_path}"])
    _, options, config, overrides = main.parse([])
    assert options == TRAIN_OPTIONS
    assert overrides == {}
    assert config == config_lib.load("demo")


def test_a_config_by_path_is_the_same_as_by_name():
    path = Path(config_lib.__file__).parents[1] / "configs" / "paper.py"
    if not path.is_file():
        path = Path(config_lib.__file__).parent / "configs" / "paper.py"
    assert main.parse([f"--config={path}"])[2] == main.parse(["--config=paper"])[2]
