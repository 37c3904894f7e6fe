"""The end-of-turn head: where questions are cut, what the fit finds, and that a checkpoint keeps it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch

from omni_core.checkpoint import load_bundle, save_bundle
from omni_core.training.ending import cut_between_words, fit, judged


def test_a_question_is_cut_where_it_is_quiet() -> None:
    rng = np.random.default_rng(0)
    word, gap = np.sin(np.arange(2400) / 5).astype(np.float32), np.zeros(800, np.float32)
    wave = np.concatenate([np.zeros(3200, np.float32), *[part for _ in range(8) for part in (word, gap)], np.zeros(8000, np.float32)])
    for _ in range(20):
        length = len(cut_between_words(wave, rng))
        assert 0.2 * len(wave) < length < 3200 + 8 * 3200
        assert not wave[length : length + 160].any()
    assert len(cut_between_words(gap, rng)) == len(gap)


def test_the_fit_tells_whole_turns_from_cut_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    ended = torch.rand(800, generator=generator) < 0.5
    hidden = 100 + 7 * torch.randn(800, 16, generator=generator)
    hidden[:, 3] += 21 * ended
    head = fit(hidden[:600], ended[:600], steps=300, weight_decay=1e-3)
    found = judged(head, hidden[600:], ended[600:])
    assert found["auc"] > 0.9
    assert min(found["whole"], found["cut"]) > 0.75


def test_a_checkpoint_keeps_the_head(tmp_path: Path) -> None:
    bundle = load_bundle("nano", "cpu")
    assert bundle.end_of_turn is None or bundle.end_of_turn.head.in_features == bundle.model.config.backbone.width
    hidden = torch.randn(20, bundle.model.config.backbone.width)
    head = fit(hidden, hidden[:, 0] > 0, steps=5, weight_decay=0.0)
    save_bundle(dataclasses.replace(bundle, end_of_turn=head), tmp_path, storage=torch.float16)
    kept = load_bundle(tmp_path, "cpu").end_of_turn
    assert kept is not None
    torch.testing.assert_close(kept.probability(hidden), head.probability(hidden))
