"""The voices that training data, answers and evaluation are spoken in.

Owns the split: a voice of `EVALUATION_VOICES` is never heard in training, at any speed or pitch. `tests/datagen` holds this.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

ESPEAK = "espeak-ng"
FLITE = "flite"

RATES_WPM = (130, 210)
PITCHES = (20, 80)
FLITE_STRETCH = (0.75, 1.25)
FLITE_F0_HZ = (75, 230)
FLITE_TRACT = (0.84, 1.16)


@dataclass(frozen=True)
class Voice:
    """One voice of one synthesiser. A setting of None is drawn from the seed for each clip (`settled`)."""

    name: str  #: unique, fit for a file name
    engine: str  #: ESPEAK or FLITE
    speaker: str  #: espeak-ng's variant (a file of its `!v` folder) or flite's voice: the identity that is held out
    accent: str = ""  #: espeak-ng's language; flite voices have none
    rate: float | None = None  #: espeak-ng: words per minute; flite: duration_stretch, 0: the voice's own
    pitch: float | None = None  #: espeak-ng: 0 to 99; flite: mean f0 in Hz, 0: the voice's own (rms knows no other)
    tract: float | None = 1.0  #: formants times this, by resampling: another speaker from the same recording

    def settled(self, rng: np.random.Generator) -> Voice:
        """This voice with every open setting drawn from `rng` within the ranges of this module."""
        if self.engine == ESPEAK:
            rate, pitch = float(rng.integers(*RATES_WPM)), float(rng.integers(*PITCHES))
        else:
            rate = float(rng.uniform(*FLITE_STRETCH))
            pitch = float(np.exp(rng.uniform(*np.log(FLITE_F0_HZ))))
        tract = float(rng.uniform(*FLITE_TRACT))
        return dataclasses.replace(
            self,
            rate=rate if self.rate is None else self.rate,
            pitch=pitch if self.pitch is None else self.pitch,
            tract=tract if self.tract is None else self.tract,
        )


ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-029", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-us-nyc")

#: Left out of both lists: whispers, croaks, robots, the klatt family, announcers and other effects (hard to understand for people too).
TRAIN_VARIANTS = (
    "m1", "m2", "m4", "m5", "m6", "m8", "f1", "f2", "f3", "f5",
    "Alex", "Alicia", "Andrea", "Diogo", "Gene", "Gene2", "Henrique", "Jacky", "Lee", "Mario", "Mr serious", "Nguyen",
    "RicishayMax", "RicishayMax2", "RicishayMax3", "Storm", "adam", "anika", "antonio", "aunty", "benjamin", "boris", "caleb",
    "ed", "edward", "edward2", "grandma", "grandpa", "gustave", "iven", "iven2", "iven3", "iven4", "john", "kaukovalta",
    "marcelo", "max", "michel", "miguel", "norbert", "pablo", "pedro", "quincy", "rob", "robert", "sandro",
    "steph", "steph2", "steph3",
)  # fmt: skip
EVALUATION_VARIANTS = (
    "m3", "m7", "f4", "Andy", "Annie", "Denis", "Hugo", "Marco", "Michael", "belinda", "david", "linda", "paul", "shelby", "travis",
    "victor", "zac",
)  # fmt: skip

TRAIN_FLITE = ("slt", "awb", "kal", "kal16")
EVALUATION_FLITE = ("rms",)


def _espeak(accent: str, variant: str, rate: float | None = None, pitch: float | None = None) -> Voice:
    return Voice(f"espeak-{accent}-{variant.replace(' ', '_')}", ESPEAK, variant, accent, rate, pitch)


#: Every training voice, settings open: espeak-ng's accents times variants, and flite's with a varied vocal tract.
TRAIN_ESPEAK_VOICES = tuple(_espeak(accent, variant) for variant in TRAIN_VARIANTS for accent in ACCENTS)
TRAIN_FLITE_VOICES = tuple(Voice(f"flite-{speaker}", FLITE, speaker, tract=None) for speaker in TRAIN_FLITE)
TRAIN_VOICES = TRAIN_ESPEAK_VOICES + TRAIN_FLITE_VOICES

#: Held out, at settings in the middle of the range; accents alternate.
EVALUATION_ESPEAK_VOICES = tuple(_espeak(ACCENTS[i % len(ACCENTS)], variant, 165, 50) for i, variant in enumerate(EVALUATION_VARIANTS))
EVALUATION_FLITE_VOICES = tuple(Voice(f"flite-{speaker}", FLITE, speaker, "", None, 0) for speaker in EVALUATION_FLITE)

#: The voices of the acceptance test's spoken questions: none was heard in training.
QUESTION_VOICES = (
    Voice("annie", ESPEAK, "Annie", "en-us", 160, 50),
    Voice("michael", ESPEAK, "Michael", "en-gb", 160, 45),
    Voice("linda", ESPEAK, "linda", "en-gb-scotland", 165, 50),
    Voice("rms", FLITE, "rms", "", 0, 0),
)

EVALUATION_VOICES = EVALUATION_ESPEAK_VOICES + EVALUATION_FLITE_VOICES + QUESTION_VOICES

#: nano's own voice, plain.
ANSWER_VOICE = Voice("slt", FLITE, "slt", "", 0, 0)
