import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import omni_core.training
from omni_core.encoders.chunked import ChunkedEncoder
from omni_core.encoders.ctc import BLANK, VOCABULARY, character_ids, greedy_text
from omni_core.errors import ConfigError
from omni_core.training.encoders import collate, ctc_loss, rate_at, read_config

CONFIG = Path(omni_core.training.__file__).parent / "configs" / "encoders.yaml"


def test_labels_and_text_go_both_ways():
    ids = [label for one in character_ids("it's off") for label in (one, BLANK)]
    assert greedy_text(torch.nn.functional.one_hot(torch.tensor(ids), VOCABULARY).float()) == "it's off"
    with pytest.raises(KeyError):
        character_ids("7")


def test_the_configuration_reads_and_the_schedule_rises_and_falls():
    config = read_config(CONFIG)
    rates = [rate_at(progress, config) for progress in np.linspace(0, 1, 100)]
    assert max(rates) == pytest.approx(config.rate, rel=0.01)
    assert rates[0] < rates[2]
    assert rates[-1] == pytest.approx(0.01 * config.rate)


def test_a_vocabulary_that_is_not_ctcs_is_refused(tmp_path):
    path = tmp_path / "encoders.yaml"
    path.write_text(CONFIG.read_text().replace(f"ctc_vocabulary: {VOCABULARY}", "ctc_vocabulary: 7"))
    with pytest.raises(ConfigError, match="ctc_vocabulary"):
        read_config(path)


def test_a_small_encoder_learns_two_sounds():
    torch.manual_seed(0)
    config = dataclasses.replace(read_config(CONFIG).encoder, width=32, layers=1, heads=2, mlp=64)
    encoder = ChunkedEncoder(config)
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=1e-2)
    low, high = torch.zeros(30, 80), torch.zeros(41, 80)
    low[:, :20], high[:, 60:] = 2, 2
    batch = collate([(low, character_ids("low")), (high, character_ids("high"))])
    assert batch.mel.shape == (2, 44, 80)
    assert batch.lengths.tolist() == [8, 11]
    first = float(ctc_loss(encoder, batch).detach())
    for _ in range(60):
        loss = ctc_loss(encoder, batch)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert float(loss.detach()) < 0.1 * first
