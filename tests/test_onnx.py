"""Models as ONNX graphs: onnxruntime computes what the models themselves do."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import musicjax
from musicjax import main
from musicjax.encodings import encoding
from musicjax.errors import RunError, UsageError
from musicjax.export import export, onnx_graph
from musicjax.model import heads, network
from musicjax.music import note_bins
from musicjax.store.model import Model
from musicjax.version import __version__
from tests import tiny_events, whole_windows

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

PYTHON = Path(__file__).parent.parent / "docs" / "python.md"

pytestmark = pytest.mark.usefixtures("own_signal_handlers")


def with_network(model: Model, **changes) -> Model:
    """The model with a changed network, whose parameters are random."""
    net = model.network.clone(**changes)
    shapes = jax.eval_shape(lambda: network.init(net, jax.random.key(0), 8))
    generator = np.random.default_rng(2)
    params = jax.tree.map(lambda leaf: generator.normal(0, 0.5, leaf.shape).astype(np.float32), shapes)
    return dataclasses.replace(model, network=net, params=params)


def events(layout: tuple[int, ...]) -> Model:
    """A note-event model with random parameters, whose rows have these columns."""
    model = tiny_events.model()
    bins = dataclasses.replace(model.encoding.bins, sizes=layout)
    own = encoding.of(model.config, {"bins": dataclasses.asdict(bins)})
    return with_network(dataclasses.replace(model, encoding=own, network=own.network()))


def session(model: Model) -> onnxruntime.InferenceSession:
    content = onnx_graph.content(model)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    return onnxruntime.InferenceSession(content)


def run(running: onnxruntime.InferenceSession, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    names = [output.name for output in running.get_outputs()]
    return dict(zip(names, running.run(names, inputs), strict=True))


def start(model: Model, batch: int) -> dict[str, np.ndarray]:
    """The state before the first row."""
    return {name: np.zeros((model.network.layers, batch, model.network.units), np.float32) for name in ("h", "c")}


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def log_prob(model: Model, outputs: dict[str, np.ndarray], next_rows: np.ndarray) -> dict[str, np.ndarray]:
    """What the logits say of each predicted column of next_rows [T, B, C]: [T, B]."""
    found = {}
    for name in model.encoding.likelihoods:
        chosen = next_rows[..., model.encoding.columns.index(name)]
        found[name] = np.take_along_axis(log_softmax(outputs[f"logits_{name}"]), chosen[..., None], -1)[..., 0]
    return found


@pytest.mark.parametrize("layers", [1, 2])
def test_windows_of_any_number_and_length_are_predicted_as_by_the_model(trained_notes, layers):
    model = musicjax.load(trained_notes)
    model = model if layers == 1 else with_network(model, layers=layers)
    running = session(model)
    assert running.get_modelmeta().custom_metadata_map["columns"] == "pitch velocity interval duration"
    for windows in (np.asarray(model.primers[:4]), np.asarray(model.primers[5:6, :3])):
        (found,) = run(running, windows=windows).values()
        expected = np.asarray(network.predict_next(model.network, model.params, windows))
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("head", "output"), [(heads.Bernoulli(), "logits"), (heads.FrameRegression(), "prediction")])
def test_frames_leave_as_what_the_dense_layer_gives(trained_frames, head, output):
    model = with_network(musicjax.load(trained_frames), head=head)
    windows = np.asarray(model.primers[:2])
    found = run(session(model), windows=windows)
    expected = np.asarray(network.predict_next(model.network, model.params, windows))
    assert list(found) == [output]
    np.testing.assert_allclose(found[output], expected, atol=1e-5)


@pytest.mark.parametrize("layout", note_bins.LAYOUTS, ids=len)
@pytest.mark.parametrize("layers", [1, 2])
def test_the_logits_give_pieces_the_likelihood_that_the_model_gives_them(layout, layers):
    model = events(layout)
    model = with_network(model, layers=layers)
    pieces = tiny_events.pieces()[:2]
    rows = np.stack([model.encoding.rows(piece) for piece in pieces], axis=1).astype(np.int64)
    outputs = run(session(model), rows=rows[:-1], next_rows=rows[1:], **start(model, 2))
    found = log_prob(model, outputs, rows[1:])
    for place, piece in enumerate(pieces):
        expected = model.log_prob(piece)
        assert list(found) == list(expected)
        for name, values in expected.items():
            np.testing.assert_allclose(found[name][:, place], values, atol=1e-5)
    states = np.stack([model.hidden_states(piece)[-2] for piece in pieces])
    np.testing.assert_allclose(outputs["h_out"][-1], states, atol=1e-5)


def test_a_trained_model_of_note_events_is_the_same_in_onnxruntime(trained_events):
    model = musicjax.load(trained_events)
    (piece, *_) = model.encoding.music()[0].held_out
    rows = model.encoding.rows(piece).astype(np.int64)[:, None]
    outputs = run(session(model), rows=rows[:-1], next_rows=rows[1:], **start(model, 1))
    found = log_prob(model, outputs, rows[1:])
    for name, values in model.log_prob(piece).items():
        np.testing.assert_allclose(found[name][:, 0], values, atol=1e-5)


def test_row_by_row_and_column_by_column_gives_the_same_as_all_at_once():
    model = with_network(tiny_events.model(), layers=2)
    running, columns = session(model), model.encoding.columns
    rows = model.encoding.rows(tiny_events.pieces()[0]).astype(np.int64)[:12, None]
    whole = run(running, rows=rows[:-1], next_rows=rows[1:], **start(model, 1))
    state = start(model, 1)
    for step in range(len(rows) - 1):
        for column in model.network.head.predicted:
            known = list(model.network.head.before(column))
            so_far = np.zeros_like(rows[:1])
            so_far[0][:, known] = rows[step + 1][:, known]
            outputs = run(running, rows=rows[step : step + 1], next_rows=so_far, **state)
            name = f"logits_{columns[column]}"
            np.testing.assert_allclose(outputs[name][0], whole[name][step], atol=1e-5)
        state = {"h": outputs["h_out"], "c": outputs["c_out"]}
    for name in ("h", "c"):
        np.testing.assert_allclose(state[name], whole[f"{name}_out"], atol=1e-5)


def test_the_file_is_in_float32_whatever_the_precision_of_training():
    model = tiny_events.model()
    assert model.network.precision == "float32"
    rough = dataclasses.replace(model, network=model.network.clone(precision="bfloat16"))
    assert onnx_graph.content(rough) == onnx_graph.content(model)


def test_the_command_writes_a_file_that_says_what_it_is(trained_events, tmp_path, capsys):
    output = tmp_path / "model.onnx"
    assert main.main(["export", f"--workdir={trained_events}", f"--output={output}"]) == 0
    assert capsys.readouterr().out.split() == [str(output), str(tmp_path / "model.json")]
    assert "bins" in json.loads(output.with_suffix(".json").read_text())["learned"]
    file = onnx.load(output)
    assert [opset.version for opset in file.opset_import] == [17]
    about = {one.key: one.value for one in file.metadata_props}
    assert about == {"producer": f"musicjax {__version__}", "columns": " ".join(note_bins.COLUMNS)}
    assert all(port.doc_string for port in [*file.graph.input, *file.graph.output])
    given = {port.name: port.doc_string for port in file.graph.output}
    assert "interval" in given["logits_pitch"] and "velocity" not in given["logits_pitch"]


def test_what_has_no_graph_is_refused_in_one_line(trained_frames, trained_notes, tmp_path, monkeypatch):
    output = tmp_path / "model.onnx"
    model = with_network(musicjax.load(trained_frames), head=heads.Nade(4))
    with pytest.raises(UsageError, match=r"a model with the head nade; expected .* regression or bernoulli"):
        export.write(model, output)
    model = musicjax.load(trained_notes)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(RunError, match=r"export needs onnx: pip install onnx"):
        export.write(model, output)
    assert not list(tmp_path.iterdir())


class Likeliest:
    """Draws the likeliest bin, and remembers its probability."""

    def __init__(self) -> None:
        self.shares: list[float] = []

    def choice(self, count: int, p: np.ndarray) -> int:
        assert len(p) == count
        self.shares.append(p.max())
        return int(p.argmax())


@pytest.mark.long
def test_the_example_draws_one_column_after_the_other(trained_events, tmp_path, monkeypatch):
    model = musicjax.load(trained_events)
    export.write(model, tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    (text,) = re.findall(r"<!-- onnx -->\n+```python\n(.*?)^```", PYTHON.read_text(), re.MULTILINE | re.DOTALL)
    names: dict = {}
    exec(compile(text, str(PYTHON), "exec"), names)
    first, likeliest = names["edge"], Likeliest()
    assert (names["row"] < model.network.sizes).all() and first[note_bins.INTERVAL] == note_bins.EDGE
    names["random"] = likeliest
    row, h, _ = names["next_row"](first, *start(model, 1).values())
    both = np.stack([first, row])[None].astype(np.float32)
    expected = np.asarray(whole_windows.log_probs(model.network, model.params, both))[0, 0]
    np.testing.assert_allclose(np.log(likeliest.shares), expected, atol=1e-5)
    np.testing.assert_allclose(h[-1], model.network.hidden(model.params, both)[:, 0], atol=1e-5)
