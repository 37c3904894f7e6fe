"""Characters of the CTC head."""

from __future__ import annotations

import pytest
import torch

from omni_core.encoders.ctc import BLANK, VOCABULARY, character_ids, greedy_text


def test_labels_and_text_go_both_ways() -> None:
    ids = [label for one in character_ids("it's off") for label in (one, BLANK)]
    assert greedy_text(torch.nn.functional.one_hot(torch.tensor(ids), VOCABULARY).float()) == "it's off"
    with pytest.raises(KeyError):
        character_ids("7")
