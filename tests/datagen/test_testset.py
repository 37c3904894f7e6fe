import json
from collections import Counter, defaultdict

import numpy as np
import pytest
import soundfile
from PIL import Image

from omni_core.datagen import testset
from omni_core.datagen.exchange import Split
from omni_core.datagen.sentences import load_dialogues, split_of, spoken_form
from omni_core.datagen.skills import SKILLS
from omni_core.datagen.testset import COUNTS, GROUPS, TYPED_PICTURES, make_test
from omni_core.datagen.voices import EVALUATION_ESPEAK_VOICES


@pytest.fixture(scope="module")
def asked():
    return list(testset._asked(1.0, seed=1))


def test_all_dialogues_are_asked_and_of_the_rest_the_counts(asked):
    counts = Counter(exchange.skill for exchange in asked)
    assert counts == COUNTS | {"talk": len(load_dialogues())}
    assert [exchange.question for exchange in asked[: counts["talk"]]] == [dialogue.held_out for dialogue in load_dialogues()]


def test_only_held_out_things_are_asked(asked):
    held_out = {dialogue.held_out for dialogue in load_dialogues()}
    for exchange in asked:
        if exchange.skill == "talk":
            assert exchange.question in held_out
        if exchange.skill == "open":
            assert split_of(exchange.question, 0.05) is Split.TEST
        if exchange.picture is not None:
            assert exchange.picture.split is Split.TEST


def test_every_held_out_voice_asks_and_no_other(asked):
    clips = list(testset._clips("espeak", asked, 0, seed=1))
    assert {clip.row["voice"] for clip in clips} == {voice.name for voice in EVALUATION_ESPEAK_VOICES}
    assert {clip.row["voice"] for clip in testset._clips("flite", asked, 0, seed=1)} == {"flite-rms"}


@pytest.mark.speech
def test_the_manifest_lists_what_is_there(tmp_path):
    manifest = make_test(tmp_path, scale=0.01)
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    groups = defaultdict(list)
    for row in rows:
        groups[row.get("group"), row.get("condition")].append(row)
        if "image" in row:
            assert Image.open(tmp_path / row["image"]).size[0] > 32
    assert set(groups) == {(None, None), *((group, condition) for group in GROUPS for condition in ("clean", "10 dB"))}
    assert [row["text"] for row in groups[None, None]] == [row["question"] for row in groups[None, None]]
    assert len(groups[None, None]) == round(0.01 * TYPED_PICTURES)
    assert {row["noise_seed"] for row in groups["espeak", "10 dB"]} == {0, 1, 2}
    for clean, noisy in zip(groups["espeak", "clean"], groups["espeak", "10 dB"], strict=True):
        assert {**clean, "audio": "", "condition": ""}.items() <= {**noisy, "audio": "", "condition": ""}.items()
        (wave, rate), (other, _) = (soundfile.read(tmp_path / row["audio"]) for row in (clean, noisy))
        assert rate == 16_000
        scale = np.dot(wave, other) / np.dot(wave, wave)
        assert 10 * np.log10(np.sum((scale * wave) ** 2) / np.sum((other - scale * wave) ** 2)) == pytest.approx(10, abs=1.5)
        if clean["skill"] == "repeat":
            assert SKILLS["repeat"].draw(np.random.default_rng(0), Split.TEST, clean["question"]).answer == clean["expect"]
        if clean["skill"] == "open":
            assert spoken_form(clean["expect"]) == clean["expect"]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    make_test(tmp_path, scale=0.01)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
