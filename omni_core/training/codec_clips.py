"""Speech for codec training: the answer voice (flite `slt`) saying varied English, with a share of other voices.

Owns the sentences and the folder of FLAC shards that `training.codec` reads; any other folder of WAV or FLAC files does as well.
Run as `python -m omni_core.training.codec_clips data/slt --minutes 90`.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

SAMPLE_RATE = 24000
ANSWER_VOICE = "slt"
OTHER_FLITE = ("kal16", "awb")  # `rms` is an evaluation voice: never heard in training
OTHER_ESPEAK = ("en-us+m1", "en-us+m3", "en-us+f2", "en-us+f4", "en-gb", "en-gb+f3", "en-gb-scotland+m7", "en-us+f1", "en-gb-x-rp+m2", "en-029+f5")

NAMES = """Alice Robert Maria James Sofia Oliver Emma Liam Noah Ava Isabella Mason Lucas Charlotte Henry Amelia Jack Harper Daniel Ella Samuel Grace
David Chloe Joseph Zoe Thomas Hannah George Victoria Peter Julia Paul Laura Simon Claire Edward Rachel Frank Diana Kevin Nora Walter Ruth Martin
Alexander Elizabeth Michael Jennifer Christopher Patricia William Barbara Susan Jessica Karen Nancy Margaret Omni Yuki Hassan Priya Chen Olga Igor""".split()
PLACES = """London Paris Berlin Madrid Rome Vienna Prague Tokyo Beijing Sydney Toronto Boston Chicago Denver Seattle Austin Dallas Miami Houston Dublin
Oslo Stockholm Helsinki Moscow Athens Cairo Nairobi Lagos Delhi Mumbai Bangkok Seoul Lisbon Brussels Amsterdam Zurich Geneva Budapest Warsaw Mexico
Brazil Canada Germany France Spain Italy China Japan India Australia Russia Egypt Kenya Poland Sweden Norway Finland Greece Turkey England Scotland
Ireland Portugal California Florida Texas Virginia Ohio Michigan Oregon""".split()
NOUNS = """dog cat bird horse cow sheep fish mouse lion tiger elephant rabbit frog snake spider bee apple orange banana bread cheese butter milk coffee tea
water juice sugar salt pepper soup salad rice potato tomato onion carrot egg chicken house garden kitchen window door table chair bed lamp mirror floor
roof wall bridge road street river lake ocean mountain valley forest tree flower grass leaf stone sand cloud rain snow wind storm sun moon star planet
sky fire ice car bus train plane boat ship bicycle truck engine wheel doctor nurse teacher student lawyer farmer baker soldier painter singer writer
driver king queen child boy girl man woman mother father sister brother friend neighbor stranger book letter paper pencil picture music song story
language number question answer problem reason idea thought dream memory word name voice sound light color shape size weight clock watch phone computer
screen keyboard camera radio television robot machine tool hammer nail rope box bag bottle cup glass plate knife fork spoon shirt shoe hat coat
dress pocket button ring coin money bank market store office school church hospital library museum theater station airport hotel restaurant city
village country world history science nature energy power law war peace future past morning evening night week month year summer winter spring autumn
birthday holiday weather temperature distance speed measure circle square triangle corner edge center middle beginning end path journey adventure
treasure island beach desert jungle castle tower palace prison army enemy weapon shield sword judge thief crowd group team game ball prize winner
university philosophy chemistry electricity oxygen hydrogen vegetable zebra giraffe umbrella vision measure leisure garage village cottage""".split()
ADJECTIVES = """big small large tiny huge little old young new ancient modern fast slow quick quiet loud bright dark light heavy soft hard smooth rough
warm cold hot cool wet dry clean dirty rich poor happy sad angry calm brave afraid kind cruel gentle strong weak tall short long wide narrow deep shallow
round flat sharp sweet sour bitter fresh strange common rare simple difficult easy beautiful ugly famous secret empty full broken perfect golden silver
red blue green yellow purple orange brown black white pink gray wooden curious clever foolish lazy busy careful serious funny important useful
dangerous peaceful wonderful terrible delicious expensive cheap early late thick thin usual unusual thirsty healthy favorite enormous""".split()
VERBS = """sees finds makes takes gives keeps holds brings sends shows buys sells builds breaks opens closes carries follows watches hears likes loves wants
needs knows remembers forgets understands believes washes paints cooks eats drinks throws catches pushes pulls lifts drops hides reads writes draws
measures counts chooses changes visits leaves reaches crosses covers fills moves turns cuts joins protects discovers explains describes imagines
answers asks calls helps teaches joins measures shares judges judges enjoys destroys chases squeezes""".split()
PLACES_IN = ["in the", "near the", "behind the", "under the", "above the", "beside the", "across the", "inside the", "around the", "beyond the",
             "through the", "from the", "toward the", "against the", "without the", "before the", "after the", "with the", "over the", "between the"]
ADVERBS = """today tomorrow yesterday now soon later always never often sometimes usually quickly slowly carefully quietly suddenly finally again together
already probably certainly perhaps early outside everywhere twice once gently easily almost""".split()
MONTHS = "January February March April May June July August September October November December".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
UNITS = "meters miles kilometers hours minutes seconds days weeks years dollars euros pounds kilograms degrees percent people books apples pages steps".split()
OPENERS = ["Yes,", "No,", "Sure,", "Of course,", "Well,", "Okay,", "I think", "I believe that", "You know,", "In my opinion,", "Actually,", "For example,",
           "However,", "First,", "Then", "Sorry, but", "Thank you,", "Hello,", "Great question.", "Let me see.", "Good morning!", "Right,", "It seems that"]

HELD_OUT = """The birch canoe slid on the smooth planks.
Glue the sheet to the dark blue background.
It is easy to tell the depth of a well.
These days a chicken leg is a rare dish.
Rice is often served in round bowls.
The juice of lemons makes fine punch.
The box was thrown beside the parked truck.
Four hours of steady work faced us.
A large size in stockings is hard to sell.
The boy was there when the sun rose.
The capital of France is Paris.
Seven plus five equals twelve.
I can hear you very well, thank you for asking.
The weather will be sunny in the afternoon, with a light wind from the west.
My name is Omni, and I am happy to help you with that.
There are three hundred and sixty five days in a year.
The meeting starts at half past nine on Thursday morning.
Please remember to close the window before you leave the house.
She bought nineteen apples and eleven oranges at the market.
Water boils at one hundred degrees.""".splitlines()


def sentence(rng: random.Random) -> str:
    """One English sentence from templates and word lists; many are nonsense, which spreads the sounds evenly."""
    def noun() -> str:
        return rng.choice(NOUNS)

    def phrase() -> str:
        return f"{rng.choice(['the', 'a', 'my', 'your', 'that', 'this', 'every', 'our'])} " + (f"{rng.choice(ADJECTIVES)} " * rng.choice((0, 1, 1))) + noun()

    def number() -> int:
        return rng.choice((rng.randint(0, 20), rng.randint(10, 100), rng.randint(0, 1000), rng.randint(1000, 2100)))

    kinds = (
        lambda: f"{phrase()} {rng.choice(VERBS)} {phrase()}.",
        lambda: f"{phrase()} {rng.choice(VERBS)} {phrase()} {rng.choice(PLACES_IN)} {noun()}.",
        lambda: f"{rng.choice(NAMES)} {rng.choice(VERBS)} {phrase()} {rng.choice(ADVERBS)}.",
        lambda: f"{rng.choice(NAMES)} and {rng.choice(NAMES)} went from {rng.choice(PLACES)} to {rng.choice(PLACES)} on {rng.choice(DAYS)}.",
        lambda: f"{number()} {rng.choice(['plus', 'minus', 'times', 'divided by'])} {number()} is {number()}.",
        lambda: f"there are {number()} {rng.choice(UNITS)} {rng.choice(PLACES_IN)} {noun()}.",
        lambda: f"the {noun()} is {number()} {rng.choice(UNITS)} away from {rng.choice(PLACES)}.",
        lambda: f"it was {rng.choice(MONTHS)} {rng.randint(1, 31)}, {rng.randint(1700, 2030)}, when {rng.choice(NAMES)} {rng.choice(VERBS)} {phrase()}.",
        lambda: f"it is {rng.randint(1, 12)} {rng.choice(['o clock', 'thirty', 'fifteen', 'forty five', 'ten', 'twenty'])} on {rng.choice(DAYS)}.",
        lambda: f"is {phrase()} {rng.choice(ADJECTIVES)} or {rng.choice(ADJECTIVES)}?",
        lambda: f"why is {phrase()} {rng.choice(PLACES_IN)} {noun()} so {rng.choice(ADJECTIVES)}?",
        lambda: f"{rng.choice(OPENERS)} {phrase()} is {rng.choice(['not ', 'very ', 'quite ', ''])}{rng.choice(ADJECTIVES)}.",
        lambda: f"{rng.choice(OPENERS)} I {rng.choice(['would', 'could', 'can', 'will', 'should', 'did', 'do'])} not {rng.choice(VERBS).rstrip('s')} {phrase()}.",
        lambda: f"the opposite of {rng.choice(ADJECTIVES)} is {rng.choice(ADJECTIVES)}, and {noun()} comes after {noun()}.",
        lambda: f"the {rng.choice(['capital', 'name', 'color', 'size', 'age', 'king', 'center'])} of {rng.choice(PLACES)} is {rng.choice(PLACES)}.",
        lambda: f"{rng.choice(['stop', 'wait', 'hold on', 'listen', 'continue', 'okay', 'thank you', 'please', 'hello', 'goodbye'])}, {rng.choice(NAMES)}.",
        lambda: " ".join(rng.choice(NOUNS + ADJECTIVES + VERBS + ADVERBS) for _ in range(rng.randint(4, 10))) + ".",
        lambda: "the letters are " + ", ".join(rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(rng.randint(3, 8))) + ".",
        lambda: "the numbers are " + ", ".join(str(number()) for _ in range(rng.randint(3, 6))) + ".",
        lambda: f"{noun()}s, {noun()}s and {noun()}s are {rng.choice(ADJECTIVES)}, but {noun()}s are {rng.choice(ADJECTIVES)}.",
    )
    text = rng.choice(kinds)()
    return text[0].upper() + text[1:]


def sentences(seed: int) -> Iterator[str]:
    """Endless sentences; the same seed gives the same ones. None of `held_out()` is among them."""
    rng, apart = random.Random(seed), set(held_out())
    while True:
        text = sentence(rng)
        if text not in apart:
            yield text


def held_out(count: int = 60) -> list[str]:
    """The evaluation sentences: never trained on."""
    rng = random.Random("held out")
    return HELD_OUT + [sentence(rng) for _ in range(count - len(HELD_OUT))]


def synthesise(voice: str, text: str) -> np.ndarray:
    """`text` said by flite's `voice`, or by espeak-ng's `espeak:VOICE`: [N] float32 at 24 kHz."""
    if voice.startswith("espeak:"):
        command = ["espeak-ng", "-v", voice.removeprefix("espeak:"), "--stdout", text]
    else:
        command = ["flite", "-voice", voice, "-t", text, "/dev/stdout"]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    with io.BytesIO(data) as file:
        wave, rate = soundfile.read(file, dtype="float32")
    return soxr.resample(wave, rate, SAMPLE_RATE).astype(np.float32)


def make_clips(folder: Path, minutes: float, other_share: float = 0.2, seed: int = 1) -> None:
    """Write `minutes` of speech as FLAC shards of about a minute, and `held_out/` with WAV files and `texts.json`."""
    (folder / "held_out").mkdir(parents=True, exist_ok=True)
    texts = held_out()
    for n, text in enumerate(texts):
        soundfile.write(folder / "held_out" / f"{n:03d}.wav", synthesise(ANSWER_VOICE, text), SAMPLE_RATE, subtype="PCM_16")
    (folder / "held_out" / "texts.json").write_text(json.dumps(texts, indent=1))
    rng, source = random.Random(seed), sentences(seed)
    for shard in range(round(minutes)):
        other = (shard % 10) / 10 < other_share
        parts, seconds = [], 0.0
        while seconds < 60:
            voice = rng.choice([*OTHER_FLITE, *(f"espeak:{v}" for v in OTHER_ESPEAK)]) if other else ANSWER_VOICE
            wave = synthesise(voice, next(source))
            gap = np.zeros(rng.randint(0, SAMPLE_RATE // 2), np.float32)
            parts += [wave, gap]
            seconds += (len(wave) + len(gap)) / SAMPLE_RATE
        name = f"{'other' if other else ANSWER_VOICE}-{shard:03d}.flac"
        soundfile.write(folder / name, np.concatenate(parts).clip(-1, 1), SAMPLE_RATE, subtype="PCM_16")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=90)
    arguments = parser.parse_args()
    make_clips(arguments.folder, arguments.minutes)
