"""Characters of the CTC head, and how far into a text a sound has come."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from omni_core.encoders.ctc import BLANK, VOCABULARY, Prefixes, character_ids, greedy_text


def test_labels_and_text_go_both_ways() -> None:
    ids = [label for one in character_ids("it's off") for label in (one, BLANK)]
    assert greedy_text(torch.nn.functional.one_hot(torch.tensor(ids), VOCABULARY).float()) == "it's off"
    with pytest.raises(KeyError):
        character_ids("7")


@pytest.mark.parametrize("pieces", [1, 4, 17])
def test_every_beginning_s_score_is_its_ctc_loss(pieces: int) -> None:
    labels = character_ids("a little less")  # letters that repeat
    logits = torch.randn(40, VOCABULARY, generator=torch.Generator().manual_seed(0)).double().log_softmax(-1)
    prefixes = Prefixes(labels)
    for part in np.array_split(logits.numpy(), pieces):
        prefixes.push(part)
    for length, score in enumerate(prefixes.scores()):
        loss = torch.nn.functional.ctc_loss(logits, torch.tensor(labels[:length]), [40], [length], blank=BLANK, reduction="sum")
        assert score == pytest.approx(-float(loss), abs=1e-8), length


def test_what_is_longer_than_the_sound_can_not_have_been_said() -> None:
    prefixes = Prefixes(character_ids("hello"))
    prefixes.push(np.zeros((2, VOCABULARY)))
    assert np.isfinite(prefixes.scores()).tolist() == [True, True, True, False, False, False]
