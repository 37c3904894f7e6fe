from collections import Counter

import numpy as np
import pytest

from omni_core.datagen import speech
from omni_core.datagen.exchange import Split
from omni_core.datagen.sentences import load_dialogues
from omni_core.datagen.skills import SKILLS
from omni_core.datagen.speech import OPEN, SIZES, TALK, UNCLEAR, SpeechConfig, SpeechSet, make_speech
from omni_core.datagen.voices import EVALUATION_VARIANTS
from omni_core.errors import ConfigError

SMALL = SpeechConfig(scale=0.001, shard_clips=30)


def test_every_skill_has_a_set():
    assert set(SIZES) == {OPEN, *SKILLS}


def test_an_unknown_set_is_refused():
    with pytest.raises(ConfigError, match="unknown set song; there are open, talk"):
        SpeechConfig(sets=("song",))


def test_each_shard_of_the_talk_is_a_mixture():
    shards = speech._shards(SpeechConfig(scale=0.05), TALK)
    assert Counter(job.text for shard in shards for job in shard) == Counter(
        {text: 2 for dialogue in load_dialogues() for text in dialogue.wordings}
    )
    answers = {SKILLS[TALK].draw(np.random.default_rng(0), Split.TRAIN, job.text).answer for job in shards[0]}
    assert len(answers) > 0.8 * len(load_dialogues())


@pytest.mark.parametrize("name", SIZES)
def test_a_larger_scale_only_adds_shards(name):
    small, large = (speech._shards(SpeechConfig(scale=scale, shard_clips=10), name) for scale in (0.02, 0.05))
    whole = [list(shard) for shard in small if len(shard) == 10]
    assert [list(shard) for shard in large[: len(whole)]] == whole


def test_no_clip_is_of_a_held_out_voice_or_sentence():
    for name in SIZES:
        for job in speech._shards(SMALL, name)[0]:
            assert job.voice.speaker not in (*EVALUATION_VARIANTS, "rms")
            if name not in (OPEN, UNCLEAR):
                assert SKILLS[name].draw(np.random.default_rng(0), Split.TRAIN, job.text).question == job.text


@pytest.mark.speech
def test_small_sets_are_made_and_read(tmp_path):
    config = SpeechConfig(str(tmp_path), scale=0.001, sets=(OPEN, "sums", UNCLEAR))
    assert make_speech(config) == 0
    for name, clips in ((OPEN, 60), ("sums", 14), (UNCLEAR, 2)):
        spoken = SpeechSet(tmp_path / "speech", name)
        assert (len(spoken), spoken.rate) == (clips, 16_000)
        for index, row in enumerate(spoken.rows):
            assert set(row) == {"text", "skill", "voice", "samples"}
            assert row["skill"] == name
            assert bool(row["text"]) == (name != UNCLEAR)
            assert 3000 < len(spoken.wave(index)) == row["samples"]


@pytest.mark.speech
@pytest.mark.parametrize("kind", speech._UNINTELLIGIBLE)
def test_each_kind_without_meaning_is_sound_without_text(kind):
    voice = speech.training_voice(np.random.default_rng(0), 0.0)
    clip = speech.make_clip(speech.Job("what is the time", UNCLEAR, voice, kind, seed=3))
    assert clip.row["text"] == ""
    assert 0.01 < np.sqrt(np.mean(np.square(clip.wave))) < 0.2
    np.testing.assert_array_equal(clip.wave, speech.make_clip(speech.Job("what is the time", UNCLEAR, voice, kind, seed=3)).wave)
