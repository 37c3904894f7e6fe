"""nano's own tokenizer: byte-level BPE, trained on the texts it will read and write."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from omni_core.datagen.exchange import Split
from omni_core.datagen.sentences import open_sentence
from omni_core.datagen.skills import SKILLS

_OPEN_SENTENCES = 20_000
_QUESTIONS = 1_000  #: drawn from each skill
_REPEATS = 10  #: of each text of a skill, so that the answers come out in few ids


def train_tokenizer(texts: Iterable[str], size: int, path: Path) -> None:
    """Write `tokenizer.json` with `size` ids: the 256 bytes first, so that any text has an encoding."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path))


def training_texts(seed: int) -> list[str]:
    """What nano reads and writes: open sentences, and what its skills ask and answer many times over."""
    rng = np.random.default_rng(seed)
    texts = [open_sentence(rng) for _ in range(_OPEN_SENTENCES)]
    for skill in SKILLS.values():
        texts += [*skill.answers(), *(skill.spoken(rng, Split.TRAIN) for _ in range(_QUESTIONS))] * _REPEATS
    return texts
