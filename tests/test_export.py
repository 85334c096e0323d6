"""Weights for other programs: what docs/python.md does with them gives the predictions of the model itself."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import musicjax
from musicjax import main
from musicjax.export import weights
from musicjax.model import network

PYTHON = Path(__file__).parent.parent / "docs" / "python.md"

pytestmark = pytest.mark.usefixtures("own_signal_handlers")


@pytest.fixture
def exported(trained_notes, tmp_path, monkeypatch, capsys) -> Path:
    pytest.importorskip("safetensors")
    monkeypatch.chdir(tmp_path)
    assert main.main(["export", f"--workdir={trained_notes}", "--output=model.safetensors"]) == 0
    assert capsys.readouterr().out.split() == ["model.safetensors", "model.json"]
    return tmp_path / "model.safetensors"


def test_every_parameter_is_there_by_name_in_float32(exported, trained_notes):
    from safetensors.numpy import load_file

    model = musicjax.load(trained_notes)
    found = load_file(exported)
    assert set(found) == {"lstm.kernel", "lstm.recurrent_kernel", "lstm.bias", "dense.kernel", "dense.bias"}
    assert sum(array.size for array in found.values()) == network.count(model.params)
    assert all(array.dtype == np.float32 for array in found.values())
    np.testing.assert_array_equal(found["lstm.recurrent_kernel"], model.params["lstm"].recurrent_kernel)
    beside = json.loads(exported.with_suffix(".json").read_text())
    assert beside["config"]["model"]["units"] == model.config.model.units
    assert beside["learned"] == json.loads(json.dumps(model.encoding.learned))


@pytest.mark.long
def test_keras_and_pytorch_predict_the_same_with_them(exported, trained_notes, keras):
    torch = pytest.importorskip("torch")
    (text,) = re.findall(r"<!-- export -->\n+```python\n(.*?)^```", PYTHON.read_text(), re.MULTILINE | re.DOTALL)
    names: dict = {}
    exec(compile(text, str(PYTHON), "exec"), names)
    model = musicjax.load(trained_notes)
    windows = np.asarray(model.primers[:4])
    expected = np.asarray(network.predict_next(model.network, model.params, windows))
    np.testing.assert_allclose(np.asarray(names["in_keras"](windows)), expected, atol=1e-5)
    with torch.no_grad():
        np.testing.assert_allclose(names["in_torch"](torch.tensor(windows)).numpy(), expected, atol=1e-5)


def test_layers_embeddings_and_heads_have_names_of_their_own(trained_events):
    params = musicjax.load(trained_events).params
    found = weights.arrays_of(params)
    assert len(found) == len(jax.tree.leaves(params))
    assert {"embedding", "lstm.kernel", "dense.kernel"} < set(found)
    assert any(name.startswith("head.") for name in found)


def test_what_cannot_be_exported_is_refused_by_name(trained_notes, tmp_path, monkeypatch, capsys):
    def refused(*words: str) -> str:
        assert main.main(["export", *words]) in (1, 2)
        return capsys.readouterr().err

    assert "expected a name that ends with .safetensors" in refused(f"--workdir={trained_notes}", "--output=model.pt")
    assert "no checkpoint" in refused(f"--workdir={tmp_path}")
    (tmp_path / "file").touch()
    output = tmp_path / "file" / "model.safetensors"
    assert "cannot be written" in refused(f"--workdir={trained_notes}", f"--output={output}")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    assert "pip install safetensors" in refused(f"--workdir={trained_notes}", f"--output={tmp_path / 'a.safetensors'}")


def test_the_model_that_comes_with_musicjax_can_be_exported(tmp_path, capsys):
    pytest.importorskip("safetensors")
    assert main.main(["export", f"--output={tmp_path / 'new' / 'builtin.safetensors'}"]) == 0
    assert len(list((tmp_path / "new").iterdir())) == 2
