"""What README and docs/ say is so: their commands run, their example runs, their tables and names are the real ones.

The commands run one after the other in this process, as a reader would type them in one folder, with sizes cut down by
flags that are appended.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
import scipy.io

import musicjax
from benchmarks import tables
from musicjax import config_files, main, version
from musicjax.cli import flags
from musicjax.corpus.frame_sets import NAMES, SPLITS
from musicjax.music import builtin_clips, midi
from musicjax.run import sampling_choice
from musicjax.search import halving, space

REPOSITORY = Path(__file__).parents[1]
README, GUIDE, PYTHON = REPOSITORY / "README.md", REPOSITORY / "docs" / "guide.md", REPOSITORY / "docs" / "python.md"
DOCUMENTS = [README, REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
MOST_README_BYTES = 12 * 1024
# Appended to every command of these kinds. The last of two flags of one name counts.
SHORT_TRAINING = {
    "--config.train.epochs": "1",
    "--config.train.histograms": "false",
    "--config.model.units": "8",
    "--config.data.workers": "1",
    "--config.sample.num_outputs": "0",
    "--config.sample.every": "0",
}
# The file in the reader's folder asks for two trials of one epoch.
SHORT_SEARCH = ["--config.data.workers=1", "--config.sample.num_outputs=0"]
# A sweep of two temperatures and two values of min_p makes four pieces of each output.
SHORT_GENERATING = {"--num_outputs": "2", "--bars": "1", "--seconds": "2"}
# A run compares ways to draw samples by this many pieces of each way, of this many notes: for users it takes minutes.
SHORT_CHOICE = {"SAMPLES": 2, "WHOLE_NOTES": 8, "CUT_NOTES": 16}
PRIMER_NOTES = 16  # as many as without a primer, so that the same compiled program serves both


def commands(path: Path) -> list[list[str]]:
    """The words after `musicjax` of each command in the shell blocks of a document."""
    blocks = re.findall(r"^```(?:console|bash)\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
    parts = [shlex.split(part) for block in blocks for line in block.splitlines() for part in line.split("&&")]
    return [words[1:] for words in parts if words and words[0] == "musicjax"]


def cut_short(words: list[str]) -> list[str]:
    """A command with flags that make it quick: another epoch where it goes on with a run, one otherwise."""
    if any(word.startswith("--search") for word in words):
        return [*words, *SHORT_SEARCH]
    if words[0].startswith("--"):
        more = dict(SHORT_TRAINING)
        if words[0].startswith("--data") and not any(word.startswith("--init_from") for word in words):
            more["--minutes"] = "1"  # too few for trials
        if any(word.startswith("--config.train.epochs=") for word in words):
            more["--config.train.epochs"] = "2"
        return [*words, *(f"{flag}={value}" for flag, value in more.items())]
    if words[0] == "generate":
        given = {word.split("=")[0] for word in words} | {"--num_outputs"}
        return [*words, *(f"{flag}={value}" for flag, value in SHORT_GENERATING.items() if flag in given)]
    return words


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a reader stands: a folder with a song, my_midi with its beginning, and a cache and runs of its own.

    The built-in corpus, the paper's data and Lakh are the same few clips, so that programs are compiled once for all.
    """
    here = tmp_path_factory.mktemp("reader")
    (here / "my_midi").mkdir()
    builtin_clips.write_corpus(here / "my_midi", seed=3, clips=6)
    (here / "configs").mkdir()
    short = '{"fields": {"model.units": [8], "model.dropout": [0.1, 0.2]}, "trials": 2, "epochs": 1}'
    (here / "configs" / "small_search.json").write_text(short)
    first = midi.read(sorted((here / "my_midi").iterdir())[0])
    midi.write(first[:PRIMER_NOTES], here / "my_midi" / "song.mid")
    midi.write(first, here / "song.mid")
    for name in ("pop_music_midi", "lakh"):
        shutil.copytree(here / "my_midi", here / name)
    (here / "mat_files").mkdir()
    pieces = np.empty((1, 2), object)
    pieces[0, :] = [np.eye(8, 88, 40), np.eye(12, 88, 50)]
    scipy.io.savemat(here / "mat_files" / NAMES["jsb"], {f"{split}data": pieces for split in SPLITS})

    def write_few(target: Path, **_: int) -> None:
        shutil.copytree(here / "my_midi", target, dirs_exist_ok=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setenv("XDG_CACHE_HOME", str(here / "cache"))
        patch.setattr(builtin_clips, "write_corpus", write_few)
        for name, less in SHORT_CHOICE.items():
            patch.setattr(sampling_choice, name, less)
        optimized = jax.config.read("jax_disable_most_optimizations")
        jax.config.update("jax_disable_most_optimizations", True)  # compiling takes nearly all of the time
        yield here
        jax.config.update("jax_disable_most_optimizations", optimized)
        jax.clear_caches()  # no other test may meet programs compiled like this


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    status = main.main(words)
    said = capsys.readouterr().err
    assert status == 0, f"musicjax {shlex.join(words)}: {said}"


def run_in_order(typed: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """Runs each command, cut short; one that comes again runs once."""
    done: set[tuple[str, ...]] = set()
    for words in map(cut_short, typed):
        if tuple(words) not in done:
            run(words, capsys)
        done.add(tuple(words))


def test_the_commands_of_readme_run_in_order(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = commands(README)
    assert len(typed) >= 8
    run_in_order(typed, capsys)
    assert (folder / "runs" / "demo" / "report.html").is_file()
    assert len((folder / "runs" / "mine" / "metrics.jsonl").read_text().splitlines()) == 4  # two epochs, two splits
    for place in ("runs/mine/generated", "continued", "bundled"):
        assert len(list((folder / place).glob("*.mid"))) == 2, place


@pytest.mark.long
def test_the_commands_of_the_guide_run_in_order(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not (folder / "runs" / "mine").exists():
        run_in_order([words for words in commands(README) if "--workdir=runs/mine" in words], capsys)
    typed = commands(GUIDE)
    assert len(typed) >= 8
    run_in_order(typed, capsys)
    for place in ("frames", "in_d"):
        assert len(list((folder / place).glob("*.mid"))) == 2, place
    assert len(list((folder / "sweep").glob("*.mid"))) == 8
    assert list((folder / "runs" / "mine" / "report").glob("*.png"))


@pytest.mark.long
@pytest.mark.parametrize("name", ["paper.md", "python.md", "shards.md"])
def test_the_commands_of_another_document_run_in_order(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not (folder / "runs" / "mine").exists():
        run_in_order([words for words in commands(README) if "--workdir=runs/mine" in words], capsys)
    run_in_order(commands(REPOSITORY / "docs" / name), capsys)


def test_every_document_with_commands_has_a_test_that_runs_them() -> None:
    with_commands = {path.name for path in DOCUMENTS if commands(path)}
    assert with_commands == {"README.md", "guide.md", "shards.md", "paper.md", "python.md"}


def test_the_python_example_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = PYTHON.read_text().split("<!-- export -->")[0]  # what follows it is run by test_export
    examples = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(examples) == 5
    example = "".join(examples)
    less = "epochs = 1; config.model.units = 8; config.sample.num_outputs = 0; config.train.histograms = False"
    short = example.replace("epochs = 20", less)
    assert short != example
    exec(compile(short, str(PYTHON), "exec"), {})
    said, told = capsys.readouterr()
    assert "onset of" not in told and "lacks the instruments" not in told  # what is scored is what was generated
    assert re.search(r"^[1-9]\d* notes$", said, re.MULTILINE)
    assert re.search(r"^pitch -\d\S* nats a note$", said, re.MULTILINE)
    assert re.search(r"^\([1-9]\d*, 8\) rows and LSTM units$", said, re.MULTILINE)
    assert re.search(r"^\d\S* s: the note that the model expected least$", said, re.MULTILINE)
    assert re.search(r"^ended after epoch 1$", said, re.MULTILINE)
    assert "runs/python" in told and "runs/other" not in told and not (folder / "runs/other/report.html").exists()
    ((alone, other),) = re.findall(r"^best validation loss +(\d\S+) +(\d\S+)$", said, re.MULTILINE)
    (printed,) = re.findall(r"^validation loss (\S+)$", said, re.MULTILINE)
    assert float(alone) == pytest.approx(float(printed), abs=1e-4) != float(other)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_of_a_document_is_one_that_the_program_takes(document: Path) -> None:
    for words in commands(document):
        flags.parse(words)


def test_the_citation_names_this_version() -> None:
    assert f"\nversion: {version.__version__}\n" in (REPOSITORY / "CITATION.cff").read_text()


def test_python_md_names_the_interface() -> None:
    text = PYTHON.read_text()
    assert len(musicjax.__all__) == 15  # "these fifteen names"
    for name in musicjax.__all__:
        assert f"`{name}`" in text
        assert getattr(musicjax, name).__doc__


def test_internals_names_every_module_and_no_other() -> None:
    named = set(re.findall(r"`((?:[a-z]+/)?[a-z_]+\.py)`", (REPOSITORY / "docs" / "internals.md").read_text()))
    package = REPOSITORY / "musicjax"
    paths = {path.relative_to(package) for path in package.rglob("*.py") if path.name != "__init__.py"}
    modules = {path.as_posix() for path in paths if path.parts[0] != "configs"}
    others = {name for name in named if (REPOSITORY / name).is_file()}
    assert named - others == modules, f"missing: {sorted(modules - named)}; not there: {sorted(named - modules)}"


def test_the_search_of_the_guide_is_the_one_that_comes_along(tmp_path: Path) -> None:
    example = re.search(r"<!-- search -->\n\n```json\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    path = REPOSITORY / "configs" / "small_search.json"
    assert example is not None and example[1] == path.read_text()
    found, wrong = space.read(path, config_files.load("small"))
    assert found is not None and not wrong
    rungs = halving.rungs(found.trials, found.epochs, found.halving)
    assert [tuple(rung) for rung in rungs] == [(200, 3), (67, 10), (23, 30)]
    assert halving.total_epochs(rungs) == 1_529 and found.trials * found.epochs == 6_000
    table = GUIDE.read_text().split("<!-- search -->")[1].split("| key |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(space.KEYS)


def test_the_guide_names_every_config() -> None:
    for name in config_files.names():
        assert f"`{name}`" in GUIDE.read_text(), name


def test_tables_are_those_of_the_kept_results() -> None:
    results = (REPOSITORY / "docs" / "results.md").read_text()
    (machine,) = set(re.findall(r"`benchmarks/results/([a-z0-9_-]+)`", results))
    made, texts = tables.tables(machine), [(REPOSITORY / place).read_text() for place in tables.PLACES]
    promised = {
        "speed",
        "own_folders",
        "train",
        "train_events",
        "step_parts",
        "player",
        "sample",
        "sample_many",
        "sample_events",
        "start",
        "paper",
        "trials",
        "search",
        "scaling",
        "sizes",
        "sizes_speed",
        "ingest",
        "ingest_large",
        "shards",
        "tpu",
        "infill",
    }
    assert promised | {
        "reliability",
        "likelihood",
        "likelihood_tonic",
        "published",
        "notes_events",
        "notes_demo",
        "quality",
        "quality_apart",
    } == set(made)
    for name, table in made.items():
        assert any(f"<!-- {name} -->\n\n{table}\n" in f"{text}\n" for text in texts), name


@pytest.mark.parametrize(
    ("machine", "names"),
    [("nvidia-h200", ("persistent_lstm", "persistent_lstm_sizes"))],
)
def test_the_tables_of_another_machine_are_those_of_its_kept_results(machine: str, names: tuple[str, ...]) -> None:
    text = (REPOSITORY / "docs" / "results.md").read_text()
    made = tables.tables(machine)
    for name in names:
        assert f"<!-- {name} -->\n\n{made[name]}\n" in text, name


def test_readme_is_two_screens() -> None:
    assert len(README.read_bytes()) <= MOST_README_BYTES


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_lead_somewhere(document: Path) -> None:
    text = document.read_text()
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    for target in targets:
        if not re.match(r"[a-z]+:", target):
            name, _, anchor = target.partition("#")
            linked = (document.parent / name) if name else document
            assert linked.exists(), target
            assert not anchor or anchor in anchors(linked), target


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
