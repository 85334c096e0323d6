"""The README's commands and its Python example are run as they stand, with training cut short."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import tables

README = (Path(__file__).parents[1] / "README.md").read_text()
SHORT = ("--config.train.epochs=1", "--config.model.units=16", "--config.sample.num_notes=20")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("console") for line in block.splitlines() if line]
    return [shlex.split(line) for line in lines]


@pytest.fixture(scope="module")
def folder(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader of the README would stand: a folder with my_midi, which holds a song.mid."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(clips, folder / "my_midi")
    shutil.copy(sorted(clips.iterdir())[0], folder / "my_midi" / "song.mid")
    return folder


def run(argv: list[str], folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


def test_every_command_runs(folder: Path) -> None:
    assert len(commands()) >= 7
    for words in commands():
        assert words[:3] == ["python", "-m", "musicjax.main"], words
        trains = len(words) < 4 or words[3].startswith("--")
        more = [
            flag for flag in SHORT if trains and not (flag.startswith("--config.train") and "epochs=90" in words[-1])
        ]
        if trains and "epochs=90" in words[-1]:
            words[-1] = "--config.train.epochs=2"
        run([sys.executable, *words[1:], *more], folder)
    assert len(list((folder / "runs" / "mine" / "generated").glob("*.mid"))) == 4
    assert list((folder / "continued").glob("*.mid"))


def test_the_python_example_runs(folder: Path) -> None:
    (example,) = blocks("python")
    short = re.sub(r"epochs = \d+", "epochs = 1; config.model.units = 16", example)
    assert short != example
    assert run([sys.executable, "-c", short], folder).splitlines()[-1] == "200 notes"


def test_the_nine_names_are_the_interface() -> None:
    import musicjax

    assert len(musicjax.__all__) == 9
    for name in musicjax.__all__:
        assert f"`{name}`" in README
        assert getattr(musicjax, name).__doc__


def test_every_module_has_its_place_in_the_file_tree() -> None:
    tree = next(block for block in blocks("text") if "main.py" in block)
    package = Path(__file__).parents[1] / "musicjax"
    for path in package.rglob("*.py"):
        if path.name != "__init__.py" and "configs" not in path.parts:
            assert path.name in tree, f"{path.name} is missing in the README's tree"


def test_the_tables_of_numbers_are_those_of_the_kept_results() -> None:
    (machine,) = set(re.findall(r"`benchmarks/results/([a-z0-9_-]+)`", README))
    made = tables.tables(machine)
    promised = {"train", "sample", "sample_many", "start", "paper", "trials", "scaling"}
    assert promised | {"ingest", "reliability", "likelihood", "published"} <= set(made)
    for name, table in made.items():
        assert table in README, f"{name}: {table}"
