"""Who may import whom, and other rules that hold for every file of the package."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import musicjax

PACKAGE = Path(musicjax.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [path.relative_to(PACKAGE).as_posix() for path in FILES]

# The packages from the ground up. A file imports from its own package and from those of the floors below.
FLOORS = (
    ("version.py", "errors.py", "arguments.py", "cores.py", "zip_archive.py"),
    (
        "console.py",
        "files.py",
        "renamed.py",
        "config_fields.py",
        "config.py",
        "config_files.py",
        "jax_environment.py",
        "model/",
    ),
    ("music/", "training/"),
    ("corpus/", "report/"),
    ("shards/",),
    ("encodings/",),
    ("store/",),
    ("generation/", "export/"),
    ("run/",),
    ("search/",),
    ("studio/",),
    ("cli/",),
    ("main.py", "__main__.py", "__init__.py"),
)
# The one import that runs up, inside a method. A notebook asks the object itself how to show it, so a piece has to know
# who draws it.
RUNS_UP = {("music/notes.py", "report/notebook.py")}
# Libraries that one file stands for, and the files that may import them.
ONLY = {
    "mido": {"music/midi.py"},
    "orbax": {"store/checkpoint.py"},
    "tensorboardX": {"store/tensorboard_graph.py", "store/recorder.py", "report/tensorboard_files.py"},
    "matplotlib": {"report/pictures.py"},
    "PIL": {"report/pictures.py"},
    "midirenderer": {"report/audio.py"},
    "soundfile": {"report/audio.py"},
    "onnx": {"export/onnx_graph.py"},
    "safetensors": {"export/weights.py"},
    "jinja2": {"report/page.py"},
    "rich": {"console.py"},
    "scipy": {"corpus/frame_sets.py"},
    "xml": {"music/musicxml_file.py"},
    "urllib.request": {"corpus/download.py"},
    "tarfile": {"corpus/archives.py"},
    "zipfile": {"zip_archive.py"},
    "absl": {"cli/flags.py"},
    "starlette": {"studio/app.py", "studio/access.py"},
    "uvicorn": {"studio/server.py"},
    "optuna": {"search/journal.py"},
    "array_record": {"shards/shards.py"},
    "pyarrow": {"shards/shard_report.py"},
    "ray": {"shards/ray_runner.py"},
}


@cache
def _tree(name: str) -> ast.Module:
    return ast.parse((PACKAGE / name).read_text(encoding="utf-8"))


def _imports_of(tree: ast.AST) -> set[str]:
    """Dotted names that are imported anywhere, functions included; `from a import b` gives a and a.b."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@cache
def _imports(name: str) -> set[str]:
    return _imports_of(_tree(name))


def _at_start(name: str) -> set[str]:
    """What is imported as soon as the file is: outside of functions and of `if TYPE_CHECKING`."""
    body = [node for node in _tree(name).body if isinstance(node, ast.Import | ast.ImportFrom)]
    return _imports_of(ast.Module(body, []))


def _below(imported: set[str], name: str) -> set[str]:
    """Those of the imports that are `name` or lie in it."""
    return {module for module in imported if module == name or module.startswith(f"{name}.")}


def test_imports_are_seen_wherever_and_however_they_are_written():
    code = "import a.b as c\nfrom d import e\ndef f():\n    from g.h import i\n"
    assert _imports_of(ast.parse(code)) == {"a.b", "d", "d.e", "g.h", "g.h.i"}
    assert _below({"jaxlib", "jax.numpy"}, "jax") == {"jax.numpy"}


def _floor(name: str) -> int:
    """The floor of a file, 0 the ground; of several places that fit, the longest."""
    fitting = [(len(place), floor) for floor, places in enumerate(FLOORS) for place in places if name.startswith(place)]
    return max(fitting)[1]


def test_every_package_is_there_and_every_file_has_a_floor():
    for place in [place for places in FLOORS for place in places]:
        assert any(name.startswith(place) for name in NAMES), place
    for files in ONLY.values():
        assert files <= set(NAMES)
    assert all(_floor(name) >= 0 for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_no_import_runs_back_up(name):
    for module in _imports(name):
        path = module.removeprefix("musicjax").replace(".", "/").strip("/")
        for file in (f"{path}.py", f"{path}/__init__.py"):
            if module.startswith("musicjax") and file in NAMES and (name, file) not in RUNS_UP:
                assert _floor(file) <= _floor(name), f"{name} must not import {module}"


def test_the_import_that_runs_up_is_made_only_when_it_is_needed():
    for name, file in RUNS_UP:
        module = f"musicjax.{file.removesuffix('.py').replace('/', '.')}"
        assert _below(_imports(name), module) and not _below(_at_start(name), module)


@pytest.mark.parametrize("package", ["music/", "corpus/", "report/"])
def test_music_is_read_and_drawn_without_jax(package):
    for name in NAMES:
        if name.startswith(package):
            for library in ("jax", "flax", "optax", "orbax"):
                assert not _below(_imports(name), library), f"{name} must not import {library}"


def test_music_and_model_know_nothing_of_each_other():
    for name in NAMES:
        for package, other in (
            ("music/", "musicjax.model"),
            ("model/", "musicjax.music"),
            ("model/", "musicjax.config"),
        ):
            if name.startswith(package):
                assert not _below(_imports(name), other), f"{name} must not import {other}"


@pytest.mark.parametrize("library", ONLY)
def test_a_library_is_imported_by_the_file_that_stands_for_it_and_by_no_other(library):
    assert {name for name in NAMES if _below(_imports(name), library)} == ONLY[library]


def test_starting_the_program_imports_no_library_that_is_slow_to_load():
    reached, waiting = set(), ["main.py"]
    while waiting:
        name = waiting.pop()
        reached.add(name)
        for module in _at_start(name):
            path = module.removeprefix("musicjax").replace(".", "/").strip("/")
            waiting += [file for file in (f"{path}.py", f"{path}/__init__.py") if file in set(NAMES) - reached]
    assert {"main.py", "config.py", "errors.py"} <= reached
    for name in reached:
        slow = (
            "jax",
            "flax",
            "optax",
            "orbax",
            "mido",
            "numpy",
            "rich",
            "scipy",
            "tensorboardX",
            "matplotlib",
            "optuna",
        )
        for library in slow:
            assert not _below(_at_start(name), library), f"{name} imports {library}"


def test_no_import_goes_round_in_a_circle():
    graph = {}
    for name in NAMES:
        modules = _at_start(name)
        graph[name] = [other for other in NAMES if f"musicjax.{other.removesuffix('.py').replace('/', '.')}" in modules]
    assert sum(map(len, graph.values())) > 30
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path, name])
        if name not in done:
            for other in graph[name]:
                visit(other, (*path, name))
            done.add(name)

    for name in NAMES:
        visit(name, ())


# Libraries that run what they load, and calls that run or unpack what may come from a stranger.
UNSAFE_LIBRARIES = ("pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "yaml", "joblib", "tarfile")
UNSAFE_LIBRARIES += ("zipfile", "xmlrpc", "msgpack", "code", "codeop", "pty")
UNSAFE_CALLS = ("eval", "exec", "compile", "__import__", "os.system", "os.popen", "shutil.unpack_archive")
UNSAFE_CALLS += ("subprocess.getoutput", "subprocess.getstatusoutput", "tempfile.mktemp")
NUMPY_LOADS = ("np.load", "numpy.load", "np.lib.format.read_array", "np.memmap")
# The one place where a file is run: a config that the user names, which is said to be Python.
RUNS_A_FILE = {"config_files.py": "runpy.run_path"}
# Where archives are opened, which the tests of these files try to trick: members are read one by one, within bounds.
OPENS_ARCHIVES = {"corpus/archives.py": ["tarfile"], "zip_archive.py": ["zipfile"]}


def _unsafe(tree: ast.Module) -> list[str]:
    """What a file does that could run, or unpack to anywhere, what comes from data."""
    found = [library for library in UNSAFE_LIBRARIES if _below(_imports_of(tree), library)]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called, given = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
        if called in UNSAFE_CALLS or re.fullmatch(r"runpy\.\w+", called):
            found.append(called)
        if called in NUMPY_LOADS and given.get("allow_pickle") != "False":
            found.append(f"{called} without allow_pickle=False")
        if given.get("allow_pickle", "False") != "False" or given.get("shell", "False") != "False":
            found.append(f"{called} with {given}")
        if called.endswith(".extractall") and given.get("filter") != "'data'":
            found.append(f"{called} without filter='data'")
    return found


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from yaml import load",
        "def f():\n    import tarfile",
        "eval('1')",
        "exec(text)",
        "os.system(line)",
        "runpy.run_path(path)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.savez(path, a, allow_pickle=yes)",
        "subprocess.run(line, shell=True)",
        "archive.extractall(folder)",
    ],
)
def test_what_is_unsafe_is_seen(code):
    assert len(_unsafe(ast.parse(code))) >= 1


@pytest.mark.parametrize("name", NAMES)
def test_no_file_runs_or_unpacks_what_comes_from_data(name):
    allowed = OPENS_ARCHIVES.get(name, []) + ([RUNS_A_FILE[name]] if name in RUNS_A_FILE else [])
    assert _unsafe(_tree(name)) == allowed


def _undocumented(tree: ast.Module) -> list[str]:
    """Public functions and classes without a docstring."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    public = [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
    return [f"{node.name} (line {node.lineno})" for node in public if not ast.get_docstring(node)]


def test_missing_docstrings_are_seen():
    code = 'class A:\n    """Yes."""\ndef b(): pass\ndef _c(): pass\nclass D:\n    e = 1\n'
    assert _undocumented(ast.parse(code)) == ["b (line 3)", "D (line 5)"]


@pytest.mark.parametrize("name", NAMES)
def test_files_functions_and_classes_that_others_may_use_are_documented(name):
    assert ast.get_docstring(_tree(name)), f"{name} has no docstring"
    assert not _undocumented(_tree(name))


# Where it may be asked which encoding this is.
KNOWS_ENCODINGS = ("config.py", "config_files.py", "config_fields.py", "encodings/")
OF_AN_ENCODING = ("Windows", "Streams", "Sequences", "Categorical", "NoteEncoding", "FrameEncoding", "EventEncoding")


def _asks_which_encoding(tree: ast.Module) -> list[str]:
    """Expressions that ask which encoding this is, by its name, its types or what only one of them has."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            left, right = ast.unparse(node.left), ast.unparse(node.comparators[0])
            by_name = "encoding" in (left.split(".")[-1], right.split(".")[-1])
            if by_name and isinstance(node.ops[0], ast.Eq | ast.NotEq | ast.In | ast.NotIn):
                found.append(ast.unparse(node))
            if left.split(".")[-1] == "bins" and isinstance(node.ops[0], ast.Is | ast.IsNot):
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Attribute) and node.attr in ("every_position", "match_lengths"):
            found.append(ast.unparse(node))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
            types = {part.id for part in ast.walk(node.args[1]) if isinstance(part, ast.Name)}
            types |= {part.attr for part in ast.walk(node.args[1]) if isinstance(part, ast.Attribute)}
            found += [ast.unparse(node)] if types & set(OF_AN_ENCODING) else []
        elif isinstance(node, ast.Dict):
            keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
            found += [ast.unparse(node)] if keys >= {"notes", "frames", "events"} else []
        elif isinstance(node, ast.Match) and ast.unparse(node.subject).split(".")[-1] == "encoding":
            found.append(f"match {ast.unparse(node.subject)}")
    return found


@pytest.mark.parametrize(
    "code",
    [
        "if config.data.encoding == 'notes': pass",
        "if 'frames' != encoding: pass",
        "encoding in ('notes', 'events')",
        "if metadata.bins is None: pass",
        "x = bins is not None",
        "net.every_position",
        "net.match_lengths",
        "isinstance(data, Windows)",
        "isinstance(data, windows.Windows | sequences.Streams)",
        "isinstance(net.head, (Regression, Categorical))",
        "{'notes': 1, 'frames': 2, 'events': 3}[name]",
        "match data.encoding:\n    case 'notes': pass",
    ],
)
def test_asking_which_encoding_this_is_is_seen(code):
    assert len(_asks_which_encoding(ast.parse(code))) == 1


def test_other_code_is_not_taken_for_asking_which_encoding_this_is():
    code = "encoding.of(config)\nx == 'notes'\nisinstance(x, str)\n{'notes': 1, 'frames': 2}\nbins = None\n"
    assert not _asks_which_encoding(ast.parse(code))


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith((*KNOWS_ENCODINGS, "model/"))])
def test_only_configs_and_encodings_ask_which_encoding_this_is(name):
    assert not _asks_which_encoding(_tree(name))
