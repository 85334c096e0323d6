"""A sweep: every combination of sampling parameters, ranked, as a table and as a contact sheet."""

from __future__ import annotations

import dataclasses
import html
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tiny_events
from PIL import Image

from musicjax.cli import flags as flags_lib
from musicjax.config import EventsSample, SampleConfig
from musicjax.encodings import sampling_params
from musicjax.encodings.sampling_params import SamplingParams
from musicjax.generation import generate as generate_lib
from musicjax.generation import request
from musicjax.generation import sweep as sweep_lib
from musicjax.main import main
from musicjax.music import metrics, midi
from musicjax.music.notes import from_seconds
from musicjax.report import pictures

NOTES = 16


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_events.save(tmp_path_factory.mktemp("sweep") / "run")


@pytest.fixture(scope="module")
def folder(workdir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a sweep of 2 x 2 combinations, 2 pieces of each, writes."""
    folder = tmp_path_factory.mktemp("swept")
    argv = ["generate", f"--workdir={workdir}", f"--output_dir={folder}", "--num_outputs=2", f"--num_notes={NOTES}"]
    argv += ["--exact", "--seed=5", "--sweep", "--temperature=0.2,1.5", "--scale=blues,none", "--polyphony=4"]
    assert main(argv) == 0
    return folder


@pytest.fixture(scope="module")
def table(folder: Path) -> dict:
    return json.loads((folder / "sweep-seed5.json").read_text())


def test_every_combination_has_its_pieces(folder: Path, table: dict) -> None:
    expected = {f"temperature={heat} scale={scale} polyphony=4" for heat in (0.2, 1.5) for scale in ("blues", "none")}
    assert {line["setting"] for line in table["settings"]} == expected
    pairs = [(line["setting"], line["number"]) for line in table["pieces"]]
    assert sorted(pairs) == sorted((setting, number) for setting in expected for number in (0, 1))
    assert sorted(path.name for path in folder.glob("*.mid")) == sorted(line["file"] for line in table["pieces"])
    for line in table["pieces"]:
        assert len(midi.read(folder / line["file"])) == NOTES
        assert set(line["metrics"]) == set(metrics.NAMES)
        if "scale=blues" in line["setting"]:
            used = {pitch % 12 for pitch in midi.read(folder / line["file"]).pitch.tolist()}
            assert any(used <= {(tonic + step) % 12 for step in (0, 3, 5, 6, 7, 10)} for tonic in range(12))


def test_what_earlier_calls_left_in_the_folder_is_named_and_stays(workdir: Path, tmp_path: Path, capsys) -> None:
    argv = ["generate", f"--workdir={workdir}", f"--output_dir={tmp_path}", f"--num_notes={NOTES}", "--audio=none"]
    for name in ("seed1-000 mine.mid", "other.mid", "seedling-000.mid"):
        (tmp_path / name).write_bytes(b"of somebody else")
    assert main([*argv, "--exact", "--seed=1", "--num_outputs=3"]) == 0
    assert "earlier  " not in capsys.readouterr().err
    assert main([*argv, "--exact", "--seed=1", "--num_outputs=1", "--sweep", "--temperature=0.2,1.5"]) == 0
    assert f"earlier  seed1-000.mid and 2 more in {tmp_path}: " in capsys.readouterr().err
    assert main([*argv, "--exact", "--seed=1", "--num_outputs=1"]) == 0
    assert f"earlier  seed1-001.mid and 5 more in {tmp_path}: " in capsys.readouterr().err
    left = {"seed1-000 mine.mid", "other.mid", "seedling-000.mid", "seed1-002.mid", "sweep-seed1-take2.json"}
    assert left <= {path.name for path in tmp_path.iterdir()}


def test_pieces_and_combinations_are_ranked_by_a_score_that_the_table_explains(table: dict) -> None:
    scores = [line["score"] for line in table["pieces"]]
    assert (
        scores == sorted(scores)
        and len(set(scores)) > 4
        and [line["rank"] for line in table["pieces"]] == [*range(1, 9)]
    )
    assert "standard deviations" in table["score"] and table["notes_compared"] == tiny_events.WINDOW
    means = [line["mean_score"] for line in table["settings"]]
    assert means == sorted(means)
    for line in table["settings"]:
        own = [piece["score"] for piece in table["pieces"] if piece["setting"] == line["setting"]]
        assert line["mean_score"] == pytest.approx(np.mean(own), abs=2e-4)


def test_a_piece_of_a_sweep_is_the_one_that_its_parameters_give_alone(workdir: Path, folder: Path, table: dict) -> None:
    line = table["pieces"][3]
    fields = {"temperature", "scale", "polyphony"}
    asked = dict(word.split("=") for word in line["setting"].split())
    assert set(asked) <= fields
    params = sampling_params.in_turn(sampling_params.from_flags(asked), 1)[0]
    pieces = generate_lib.generate(workdir, num_outputs=2, num_notes=NOTES, exact=True, seed=5, sampling=params)
    alone, swept = pieces[line["number"]], midi.read(folder / line["file"])
    assert sorted(alone.pitch.tolist()) == sorted(swept.pitch.tolist())
    np.testing.assert_allclose(np.sort(alone.onset), np.sort(swept.onset), atol=2e-3)


def test_the_table_and_the_page_name_every_value_that_a_piece_was_drawn_with(folder: Path, table: dict) -> None:
    names = {field.name for field in dataclasses.fields(SamplingParams)}
    for line in table["settings"]:
        assert set(line) == names | {"mean_score", "setting"}
        assert line["pitch_temperature"] == line["temperature"], "the temperature of a column that has none of its own"
        assert (line["min_p"], line["no_repeat"], line["polyphony"]) == (0.0, 0, 4), "the config's, and what was asked"
    text = (folder / "samples.html").read_text()
    cards = re.findall(r'<article class="card sample" aria-label="([^"]*)">(.*?)</article>', text, re.S)
    assert [name for name, _ in cards] == [Path(line["file"]).stem for line in table["pieces"]], "the best first"
    for (_, card), line in zip(cards, table["pieces"], strict=True):
        assert f"<p>{line['rank']}. score {line['score']}: {line['setting']}</p>" in card
        values = dict(re.findall(r"<dt>(\w+)</dt><dd>([^<]*)</dd>", card.split("<details>")[0]))
        assert set(values) == names
        assert values["velocity_temperature"] == values["temperature"] == line["setting"].split()[0].split("=")[1]
        scale = "blues" if "scale=blues" in line["setting"] else "-"
        assert (values["scale"], values["polyphony"], values["top_p"]) == (scale, "4", "1")
    assert table["score"] in html.unescape(text)


def test_values_of_the_config_and_products_of_them_are_named() -> None:
    sample = SampleConfig(own=EventsSample(temperature_factors=(1.0, 0.75, 1.0, 1.3)))
    asked = sampling_params.grid(sampling_params.from_flags({"temperature": "0.8,1"}))
    first, second = (sampling_params.with_factors(dataclasses.replace(one, min_p=0.07), sample) for one in asked)
    assert first.temperatures == (0.8, 0.6, 0.8, 1.04) and first.used["pitch_temperature"] == 0.6
    assert first.text() == "temperature=0.8 pitch_temperature=0.6 velocity_temperature=1.04 min_p=0.07"
    assert second.text(("temperature",)).startswith("temperature=1 pitch_temperature=0.75 ")


@pytest.mark.parametrize("pair", [(0.1234567, 0.1234568), (1.0, 1.0000000000000002), (1e-17, 2e-17), (0.5, 50.0)])
def test_labels_tell_any_two_values_apart_and_can_be_asked_for(pair: tuple[float, float]) -> None:
    labels = [SamplingParams(temperature=value).text(("temperature",)) for value in pair]
    assert labels[0] != labels[1]
    for label, value in zip(labels, pair, strict=True):
        assert sampling_params.from_flags(dict([label.split("=")])) == {"temperature": [value]}


def test_a_few_pieces_get_sound_and_many_get_none(workdir: Path, folder: Path, tmp_path: Path) -> None:
    assert sorted(path.stem for path in folder.glob("*.wav")) == sorted(path.stem for path in folder.glob("*.mid"))
    for flags, kind in (
        (["--top_k=1,2,3", "--num_outputs=5"], "wav"),
        (["--top_k=1,2,3", "--num_outputs=6"], "none"),
        (["--top_k=1,2,3", "--num_outputs=6", "--audio=ogg"], "ogg"),
        (["--top_k=1,2", "--num_outputs=1", "--audio=none"], "none"),
    ):
        options = flags_lib.parse(["generate", "--sweep", *flags]).options
        assert request.of(options).audio == kind, flags


def test_the_distance_is_in_deviations_of_the_data_and_bounded() -> None:
    real = [{"a": 1.0, "b": 7.0, "c": 0.0}, {"a": 3.0, "b": 7.0, "c": 2.0}]  # means 2, 7, 1; deviations 1, 0, 1
    found = [{"a": 2.0, "b": 7.0, "c": 1.5}, {"a": 4.5, "b": 8.0, "c": 100.0}]
    assert sweep_lib.distances_of(found, real).tolist() == [[0, 0, 0.5], [2.5, 5, 5]]


def test_windows_of_the_data_themselves_score_better_than_noise() -> None:
    model, generator = tiny_events.model(), np.random.default_rng(0)
    noise = from_seconds(generator.integers(0, 128, 40), [1] * 40, np.arange(40) * 3.0, [9.0] * 40)
    silence = from_seconds([], [], [], [])
    scores, _, notes = sweep_lib.score([noise, *tiny_events.pieces(), silence], model)
    assert notes == tiny_events.WINDOW and scores[1:-1].max() < 1.5 < scores[0] <= scores[-1] == sweep_lib.FARTHEST


def test_the_contact_sheet_shows_every_piece(folder: Path) -> None:
    picture = Image.open(folder / "sweep-seed5.png").convert("RGB")
    assert picture.width == pictures.WIDTH and picture.height == 60 + 4 * pictures.SHEET_HEIGHT
    loud, silent = from_seconds([60], [120], [0.0], [1.0]), from_seconds([], [], [], [])
    shown = [
        np.asarray(Image.open(io.BytesIO(pictures.contact_sheet_png("a", [("b", "c", loud), ("b", "c", notes)]))))
        for notes in (loud, silent)
    ]
    half = pictures.WIDTH // 2
    assert shown[0].shape == shown[1].shape
    assert (shown[0][:, half:] != shown[1][:, half:]).any()
