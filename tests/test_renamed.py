"""What 0.1.0 wrote and what people wrote for it still works; each old name is told once, with the present one."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import tarfile
from pathlib import Path

import pytest

import musicjax
from musicjax import config as config_lib
from musicjax import config_files, console, renamed
from musicjax.cli import flags
from musicjax.config import Config, DataConfig
from musicjax.corpus import corpus as corpus_lib
from musicjax.errors import RunError, UsageError
from musicjax.main import main
from musicjax.music import builtin_clips
from musicjax.report import records
from musicjax.store import checkpoint as checkpoint_lib
from musicjax.store import checksums
from musicjax.store import metadata as metadata_lib

FIXTURES = Path(__file__).parent / "fixtures"
ENCODINGS = ("notes", "frames", "events")
# For each renamed field of a config, a value that is not its default and an encoding that has it.
VALUES = {"data.echo": (0.5, "frames"), "data.louder": (2, "events"), "data.tempo_percent": (3, "events")}
# Tables of names; a name of any of them has its line in OLD_NAMES below.
TABLES = ("FIELDS", "CONFIGS", "FLAGS", "PYTHON", "KEYWORDS", "CHECKPOINT", "METRICS")


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch, own_signal_handlers) -> None:
    """As in a new process, each line is still to be said."""
    monkeypatch.setattr(console, "_said", set())


def _renamed_lines(capsys) -> list[str]:
    return [line.removeprefix("renamed").strip() for line in capsys.readouterr().err.splitlines() if "renamed" in line]


# Old names.


def _python_keyword(old: str) -> Config:
    value, encoding = VALUES[old]
    return Config(data=DataConfig(encoding=encoding, **{old.removeprefix("data."): value}))


def _python_attribute(old: str) -> Config:
    config = Config(data=DataConfig(encoding=VALUES[old][1]))
    setattr(config.data, old.removeprefix("data."), VALUES[old][0])
    return config


def _set_field(old: str) -> Config:
    config = Config(data=DataConfig(encoding=VALUES[old][1]))
    config_lib.set_field(config, old, VALUES[old][0])
    return config


def _flag(old: str) -> Config:
    value, encoding = VALUES[old]
    return flags.parse(["--config=paper", f"--config.{old}={value}", f"--config.data.encoding={encoding}"]).config


def _json(old: str) -> Config:
    value, encoding = VALUES[old]
    return config_files.from_dict({"data": {"encoding": encoding, old.removeprefix("data."): value}})


def _part_attribute(old: str) -> Config:
    config = Config(data=DataConfig(encoding=VALUES[old][1]))
    setattr(config.data.own, old.removeprefix("data."), VALUES[old][0])
    return config


@pytest.mark.parametrize("way", [_python_keyword, _python_attribute, _part_attribute, _set_field, _flag, _json])
@pytest.mark.parametrize(("old", "new"), renamed.FIELDS.items())
def test_an_old_field_sets_the_present_one_with_one_line(capsys, old, new, way):
    config = way(old)
    assert {path: value for path, _, value in config_lib.fields(config)}[new] == VALUES[old][0]
    assert _renamed_lines(capsys) == [f"config.{old} is now config.{new}"]
    way(old)
    assert _renamed_lines(capsys) == [], "said once"


@pytest.mark.parametrize(("old", "new"), renamed.FIELDS.items())
def test_an_old_field_reads_the_present_one(old, new):
    config = _set_field(old)
    assert getattr(config.data, old.removeprefix("data.")) == VALUES[old][0]


def test_several_old_fields_in_one_constructor():
    data = DataConfig(encoding="events", echo=0.9, louder=1, tempo_percent=5, transpose=6)
    own = config_lib.EventsData(transpose=6, tempo_stretch_percent=5, velocity_shift_bins=1, match_share=0.9)
    assert data.own == own
    assert config_lib.validate(Config(data=data)).data.own == own


def test_an_old_field_of_another_encoding_is_refused_with_those_that_have_it():
    for way in (
        lambda: Config(data=DataConfig(louder=1)),
        lambda: flags.parse(["--config=paper", "--config.data.louder=1"]),
    ):
        with pytest.raises(
            UsageError, match=r"velocity_shift_bins=1: the encoding notes has no such field; these have it: events"
        ):
            way()


@pytest.mark.parametrize(("encoding", "head"), [("notes", "regression"), ("events", "categorical")])
def test_the_only_head_of_an_encoding_may_still_be_named(encoding, head):
    config = Config(data=DataConfig(encoding=encoding))
    config.model.head = head
    flags.parse([f"--config.data.encoding={encoding}", f"--config.model.head={head}"])
    assert config_lib.validate(config) == Config(data=DataConfig(encoding=encoding))
    config.model.head = "nade"
    with pytest.raises(UsageError, match=r"config\.model\.head='nade': .*these have it: frames"):
        config_lib.validate(config)


@pytest.mark.parametrize(("old", "new"), renamed.CONFIGS.items())
def test_an_old_config_is_the_present_one_with_one_line(capsys, old, new):
    assert config_files.load(old) == config_files.load(new)
    assert new in config_files.names() and old not in config_files.names()
    assert _renamed_lines(capsys) == [f"config {old} is now {new}"]


@pytest.mark.parametrize(("old", "new"), renamed.FLAGS.items())
def test_an_old_flag_is_the_present_one_with_one_line(capsys, old, new):
    assert flags.parse(["generate", f"--{old}=3"]).options[new] == "3"
    assert _renamed_lines(capsys) == [f"--{old} is now --{new}"]
    with pytest.raises(UsageError, match=f"--{new} and --{old} are the same"):
        flags.parse(["generate", f"--{old}=3", f"--{new}=3"])


@pytest.mark.parametrize(("old", "new"), renamed.PYTHON.items())
def test_an_old_name_of_the_interface_is_the_present_one_with_one_line(capsys, old, new):
    assert getattr(musicjax, old) is getattr(musicjax, new)
    assert old not in musicjax.__all__
    assert _renamed_lines(capsys) == [f"musicjax.{old} is now musicjax.{new}"]


def test_an_old_keyword_is_the_present_one_with_one_line(capsys):
    assert musicjax.Setting(echo=3) == musicjax.SamplingParams(longest_match=3)
    for _ in range(2):
        with pytest.raises(UsageError, match="top_p=7"):  # taken, and told before a model is read
            musicjax.generate("absent", num_notes=3, settings=musicjax.SamplingParams(top_p=7))
    assert _renamed_lines(capsys) == [
        "musicjax.Setting is now musicjax.SamplingParams",
        "SamplingParams(echo=...) is now SamplingParams(longest_match=...)",
        "generate(settings=...) is now generate(sampling=...)",
    ]
    assert set(renamed.KEYWORDS) == {"SamplingParams", "generate"}


@pytest.mark.parametrize(("name", "names"), renamed.KEYWORDS.items())
def test_an_old_and_a_present_keyword_together_are_refused(name, names):
    for old, new in names.items():
        with pytest.raises(UsageError, match=f"{name}: {old} and {new} are the same: expected one of them"):
            getattr(musicjax, name)(**{old: 3, new: 3})


@pytest.mark.parametrize(("old", "new"), [*renamed.METRICS.items(), *((name, None) for name in renamed.DUPLICATES)])
def test_an_old_metric_is_read_under_its_present_name(tmp_path, old, new):
    line = {"split": "valid", "epoch": 1, "step": 3, "loss": 1.0, "accuracy": 0.25, old: 0.75}
    present = {name: value for name, value in line.items() if name != old} | ({new: 0.75} if new else {})
    assert renamed.metrics(line) == present
    assert renamed.metrics(present) == present
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    assert records.read_metrics(tmp_path, []) == [present]


def test_every_table_of_renamed_names_is_covered():
    assert set(VALUES) == set(renamed.FIELDS)
    tables = {name for name, value in vars(renamed).items() if name.isupper() and isinstance(value, dict)}
    assert tables == set(TABLES), "CHECKPOINT and METRICS are those of the old workdirs below too"
    for table in TABLES:
        assert getattr(renamed, table)


# Old workdirs.


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the old workdirs learned from."""
    folder = tmp_path_factory.mktemp("music")
    builtin_clips.write_corpus(folder, seed=3, clips=2)
    return folder


def _unpacked(encoding: str, folder: Path) -> Path:
    with tarfile.open(FIXTURES / f"workdir-0.1.0-{encoding}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_old_workdir_is_restored_as_it_was(encoding, tmp_path):
    workdir = _unpacked(encoding, tmp_path)
    found = checkpoint_lib.restore(workdir)
    assert (found.metadata.epoch, found.metadata.versions["musicjax"]) == (2, "0.1.0")
    saved = json.loads((workdir / "config.json").read_text())
    present = {path: value for path, _, value in config_lib.fields(found.metadata.config)}
    for old, new in renamed.FIELDS.items():
        if new in present:
            assert present[new] == saved["data"][old.removeprefix("data.")]
    assert found.metadata.config.data.encoding == encoding
    assert set(found.metadata.learned) == {"notes": {"scaling"}, "frames": set(), "events": {"bins"}}[encoding]
    assert (workdir / "checkpoints" / "2" / "facts").is_dir(), "nothing is rewritten"


def test_an_empty_folder_of_an_old_name_does_not_win(trained_notes, tmp_path):
    workdir = shutil.copytree(trained_notes, tmp_path / "w")
    for place in (workdir / "checkpoints").iterdir():
        for old in renamed.CHECKPOINT:
            (place / old).mkdir()
    assert checkpoint_lib.read_metadata(workdir) == checkpoint_lib.read_metadata(trained_notes)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_config_of_an_old_workdir_starts_a_new_run(encoding, tmp_path, capsys):
    path = _unpacked(encoding, tmp_path) / "config.json"
    config = config_files.load(str(path))
    of_run = checkpoint_lib.read_metadata(tmp_path).config
    assert (config.data.duplicates, of_run.data.duplicates) == ("together", "keep"), "the run itself goes on as it was"
    of_run.data.duplicates = "together"
    assert config == of_run
    assert config_lib.validate(config) == config
    assert flags.parse([f"--config={path}", "--workdir=new"]).config == config
    said = {"notes": [], "frames": ["data.echo"], "events": ["data.echo", "data.louder", "data.tempo_percent"]}
    lines = [f"config.{old} is now config.{renamed.FIELDS[old]}" for old in said[encoding]]
    assert sorted(_renamed_lines(capsys)) == lines


@pytest.mark.parametrize("encoding", [pytest.param(encoding, marks=pytest.mark.long) for encoding in ENCODINGS])
def test_an_old_workdir_is_generated_from_evaluated_resumed_and_drawn(encoding, music, tmp_path, capsys):
    _lives_on(_unpacked(encoding, tmp_path), music, capsys, encoding)


def test_an_old_workdir_of_notes_is_generated_from_evaluated_resumed_and_drawn(music, tmp_path, capsys):
    """The short form of the test above: this encoding compiles fastest."""
    _lives_on(_unpacked("notes", tmp_path), music, capsys, "notes")


def _lives_on(workdir: Path, music: Path, capsys, encoding: str) -> None:
    recorded = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
    source = f"--config.data.source={music}"
    assert main(["generate", f"--workdir={workdir}", "--num_outputs=1", "--num_notes=20", "--audio=none"]) == 0
    assert len(list((workdir / "generated").glob("*.mid"))) == 1
    capsys.readouterr()
    assert main(["evaluate", f"--workdir={workdir}", f"--data={music}", "--checkpoint=latest"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["epoch"] == 2 and scores["pieces"] == 2
    quick = ["--config.train.histograms=false", "--config.sample.num_outputs=0"]
    go_on = [f"--workdir={workdir}", source, "--config.train.epochs=3", *quick]
    assert main(go_on) == 1, "the reader has changed since"
    assert "reader 3 of musicjax 0.1.0" in capsys.readouterr().err
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_lib, "READER_VERSION", 3)
        assert main(go_on) == (1 if encoding == "events" else 0)
    if encoding == "events":  # its bins know no meter, and those learned now do
        assert "go on with musicjax 0.1.0" in capsys.readouterr().err
        return
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 1, 2, 2, 3, 3]
    assert lines[3] == renamed.metrics(recorded) != recorded, "the old lines get the present names"
    assert lines[-1]["loss"] == pytest.approx(recorded["loss"], rel=0.5)
    assert {"majority_accuracy", "accuracy"} <= set(lines[-1])
    assert checkpoint_lib.read_metadata(workdir).epoch == 3
    assert {path.name for path in (workdir / "checkpoints" / "3").iterdir()} >= {"metadata", "state"}
    (workdir / "report.html").unlink()
    assert main(["report", f"--workdir={workdir}"]) == 0
    assert "accuracy" in (workdir / "report.html").read_text()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_old_workdir_is_evaluated_on_its_own_data_to_the_loss_that_was_recorded(encoding, music, tmp_path, capsys):
    workdir = _unpacked(encoding, tmp_path)
    _with_saved_config(workdir, lambda config: config["data"].update(source=str(music)))
    recorded = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
    assert main(["evaluate", f"--workdir={workdir}", "--checkpoint=latest"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["loss"] == pytest.approx(recorded["loss"], rel=1e-5)
    assert scores["accuracy"] == pytest.approx(recorded["accuracy"], rel=1e-5)


def test_an_old_run_goes_on_as_it_was_where_there_is_a_field_now(tmp_path):
    read = checkpoint_lib.read_metadata(_unpacked("notes", tmp_path))
    again = metadata_lib.from_saved(json.loads(json.dumps(metadata_lib.to_saved(read))))
    assert again == read and read.older == ("data.duplicates",), "later saves know it too"
    present = Config()
    assert metadata_lib.as_it_began(present, read).data.duplicates == "keep"
    assert present.data.duplicates == "together", "the config that was given is not changed"
    present.data.duplicates = "drop"
    assert metadata_lib.as_it_began(present, read).data.duplicates == "drop", (
        "what was asked for is refused, not ignored"
    )
    new = dataclasses.replace(read, older=())
    assert metadata_lib.as_it_began(Config(), new).data.duplicates == "together"


def _with_saved_config(workdir: Path, change) -> None:
    """Changes the config beside the checkpoint, as another version would have written it."""
    place = workdir / "checkpoints" / "2"
    path = next(place.glob("*/metadata"))
    saved = json.loads(path.read_text())
    change(saved["config"])
    path.write_text(json.dumps(saved))
    checksums.write(place)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_field_that_nobody_knows_is_named_with_the_version_that_wrote_it(encoding, tmp_path, capsys):
    workdir = _unpacked(encoding, tmp_path)
    _with_saved_config(workdir, lambda config: config["data"].update(swing=0.5))
    with pytest.raises(RunError, match=r"config\.data\.swing.*written by musicjax 0\.1\.0, this is "):
        checkpoint_lib.read_metadata(workdir)
    for argv in (["generate"], ["evaluate"], ["train", "--config.train.epochs=3"]):
        assert main([*argv, f"--workdir={workdir}"]) == 1
        out, err = capsys.readouterr()
        (told,) = [line for line in err.splitlines() if line.startswith("musicjax: ")]
        assert re.search(r"config\.data\.swing.*written by musicjax 0\.1\.0", told)
        assert out == "" and "Traceback" not in err


@pytest.mark.parametrize(("name", "match_share"), [("small", None), ("frames_nade", 0.0), ("events", 0.9)])
def test_a_match_share_that_was_saved_before_frames_heeded_it_is_none(name, match_share):
    """Before frames could see a match, every file named a share of 0.9; such a file lacks a field of a later time."""
    saved = _as_0_1_0(config_files.load(name))
    saved["data"]["echo"] = 0.9
    del saved["sample"]["every"]
    read = config_files.from_dict(saved)
    assert getattr(read.data.own, "match_share", None) == match_share


def test_a_match_share_that_somebody_asked_for_is_kept():
    config = config_files.load("frames_nade_match")
    assert config_files.from_dict(_as_0_1_0(config)) == config
    asked = {"data": {"encoding": "frames", "echo": 0.9}, "model": {"head": "nade"}}
    assert config_files.from_dict(asked).data.match_share == 0.9


# Fields that 0.1.0 did not have, by section.
NEWER = {
    "data": ("sustain", "tracks", "instruments", "resident_mib", "block_rows", "keys", "bar_position"),
    "model": ("layer_dropout", "remat_rows"),
    "train": ("accumulate", "shard_parameters", "momentum"),
    "sample": ("temperature_factors", "best_of", "stop_loops", "fit", "page"),
}


def _as_0_1_0(config: Config) -> dict:
    """The config as 0.1.0 wrote it: with the fields of all encodings, under their old names."""
    values: dict = {}
    for encoding in ENCODINGS:
        for section, fields in config_files.to_dict(Config(data=DataConfig(encoding=encoding))).items():
            values.setdefault(section, {}).update(fields) if isinstance(fields, dict) else None
    own = config_files.to_dict(config)
    for section, fields in own.items():
        if isinstance(fields, dict):
            values[section].update(fields)
        else:
            values[section] = fields
    values["model"].setdefault("head", "regression")
    if config.data.encoding != "frames":
        values["model"]["head"] = {"notes": "regression", "events": "categorical"}[config.data.encoding]
    for section, newer in NEWER.items():
        for name in newer:
            del values[section][name]
    for old, new in renamed.FIELDS.items():
        values["data"][old.removeprefix("data.")] = values["data"].pop(new.removeprefix("data."))
    for path in metadata_lib.AS_0_1_0:
        del values["data"][path.removeprefix("data.")]
    return values


def test_the_saved_config_of_0_1_0_has_the_fields_that_this_file_gives_it(tmp_path):
    saved = json.loads((_unpacked("events", tmp_path) / "config.json").read_text())
    made = _as_0_1_0(config_files.load("events"))
    assert {section: set(fields) if isinstance(fields, dict) else None for section, fields in made.items()} == {
        section: set(fields) if isinstance(fields, dict) else None for section, fields in saved.items()
    }
