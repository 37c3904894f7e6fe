from omni_core.datagen import voices
from omni_core.datagen.voices import ANSWER_VOICE, EVALUATION_VOICES, QUESTION_VOICES, TRAIN_VOICES


def test_no_speaker_of_evaluation_is_heard_in_training():
    trained = {(voice.engine, voice.speaker) for voice in (*TRAIN_VOICES, ANSWER_VOICE)}
    held_out = {(voice.engine, voice.speaker) for voice in EVALUATION_VOICES}
    assert not trained & held_out


def test_speakers_of_one_family_stay_on_one_side():
    """steph and steph2, edward and edward2 ... are nearly the same voice."""
    trained, held_out = ({name.rstrip("0123456789").lower() for name in names if len(name) > 2} for names in
                         (voices.TRAIN_VARIANTS, voices.EVALUATION_VARIANTS))  # fmt: skip
    assert not trained & held_out


def test_sizes_of_the_catalogue():
    assert len(voices.EVALUATION_VARIANTS) >= 14
    assert voices.EVALUATION_FLITE == ("rms",)
    assert len(TRAIN_VOICES) > 400
    assert len({voice.name for voice in (*TRAIN_VOICES, *EVALUATION_VOICES)}) == len(TRAIN_VOICES) + len(EVALUATION_VOICES)


def test_the_acceptance_voices_are_three_espeak_and_rms():
    assert [voice.engine for voice in QUESTION_VOICES] == [voices.ESPEAK] * 3 + [voices.FLITE]
    assert set(QUESTION_VOICES) <= set(EVALUATION_VOICES)
