"""Fusion, heads, and that a cache in any use gives what one causal pass gives."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from omni_core.config import ModelConfig
from omni_core.errors import TaskError
from omni_core.models import KVCache, OmniModel
from omni_core.models.layers import Rotary

EXACT = {"atol": 2e-5, "rtol": 0.0}


def inputs(model: OmniModel, rows: int, length: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """x [R, T, width] and positions [R, T]."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, length, model.config.backbone.width, generator=random)
    return x, torch.arange(length).expand(rows, -1)


def test_embedding_is_the_mean_with_features_in_the_audio_rows(model: OmniModel) -> None:
    tokens = torch.randint(0, model.layout.rows, (2, 8, 5))
    features, mask = torch.randn(2, 5, 64), torch.tensor([[0, 1, 1, 0, 0], [0, 0, 0, 0, 1]]).bool()
    rows = model.embedding.weight[tokens]  # [2, 8, 5, width]
    torch.testing.assert_close(model.embed(tokens), rows.mean(1))
    fused = model.embed(tokens, features, mask)
    torch.testing.assert_close(fused[~mask], rows.mean(1)[~mask])
    torch.testing.assert_close(fused[mask], ((rows[:, 7] + 7 * features) / 8)[mask])


def test_heads_are_slices_of_the_embedding(model: OmniModel) -> None:
    hidden = torch.randn(3, 64)
    joint = hidden @ model.embedding.weight.T  # [3, rows]
    text, audio = model.text_logits(hidden), model.audio_logits(hidden)
    assert (text.shape, audio.shape) == ((3, 208), (3, 7, 40))
    torch.testing.assert_close(torch.cat([text, audio.flatten(1)], 1), joint)


@pytest.mark.parametrize("rows", [None, [1, 2, 3], [4, 0, 2]])
def test_steps_through_a_cache_equal_one_pass(model: OmniModel, rows: list[int] | None) -> None:
    x, positions = inputs(model, 3, 20)
    whole = model(x, positions)
    cache = KVCache(model.config.backbone, 5, 32)
    chosen = None if rows is None else torch.tensor(rows)
    parts = [model(x[:, a:b], positions[:, a:b], cache, chosen) for a, b in ((0, 7), (7, 11), *((i, i + 1) for i in range(11, 20)))]
    torch.testing.assert_close(torch.cat(parts, 1), whole, **EXACT)


def test_each_row_at_its_own_position(model: OmniModel) -> None:
    x, positions = inputs(model, 3, 20)
    whole = model(x, positions)
    cache = KVCache(model.config.backbone, 3, 32)
    starts = [4, 15, 9]
    for row, start in enumerate(starts):
        model(x[row : row + 1, :start], positions[:1, :start], cache, torch.tensor([row]))
    order = torch.tensor([2, 0, 1])
    for step in range(4):
        at = torch.tensor([[starts[row] + step] for row in order])  # [3, 1]
        hidden = model(x[order].gather(1, at[..., None].expand(-1, -1, 64)), at, cache, order)
        torch.testing.assert_close(hidden[:, 0], whole[order, at[:, 0]], **EXACT)


def test_copied_row_goes_on_as_the_first_would(model: OmniModel) -> None:
    x, positions = inputs(model, 1, 12)
    whole = model(x, positions)
    cache = KVCache(model.config.backbone, 4, 16)
    cache.k.fill_(50.0), cache.v.fill_(50.0)  # what an earlier response left behind
    model(x[:, :11], positions[:, :11], cache, torch.tensor([3]))
    cache.copy(3, 1, 11)
    hidden = model(x[:, 11:], positions[:, 11:], cache, torch.tensor([1]))
    torch.testing.assert_close(hidden, whole[:, 11:], **EXACT)


def test_longer_reach_changes_nothing(model: OmniModel) -> None:
    x, positions = inputs(model, 2, 9)
    caches = [KVCache(model.config.backbone, 2, 32) for _ in range(2)]
    torch.testing.assert_close(model(x, positions, caches[0], None, length=30), model(x, positions, caches[1]), **EXACT)


def test_a_band_hides_what_is_older(model: OmniModel) -> None:
    x, positions = inputs(model, 2, 12)
    torch.testing.assert_close(model(x, positions, band=12), model(x, positions), **EXACT)
    changed = x.clone()
    changed[:, 3] += 1
    moved = (model(changed, positions, band=3) - model(x, positions, band=3)).abs().amax((0, 2)) > 1e-4  # [T]
    reach = 3 + 3 * 2  # three layers, each two positions further
    assert moved.tolist() == [3 <= at <= reach for at in range(12)]


def test_right_padding_changes_nothing_before_it(model: OmniModel) -> None:
    x, positions = inputs(model, 2, 10)
    padded = torch.cat([x, torch.randn(2, 5, 64)], 1)
    torch.testing.assert_close(model(padded, torch.arange(15).expand(2, -1))[:, :10], model(x, positions), **EXACT)


def test_rotation_depends_on_distance_alone_and_reaches_any_position() -> None:
    q, k = torch.randn(1, 1, 1, 16), torch.randn(1, 1, 1, 16)

    def score(at: int, before: int) -> Tensor:
        return (Rotary(torch.tensor([[at]]), 16, 1e4)(q) * Rotary(torch.tensor([[before]]), 16, 1e4)(k)).sum()

    torch.testing.assert_close(score(7, 4), score(1003, 1000), atol=1e-3, rtol=0)
    torch.testing.assert_close(score(7, 4), score(450_003, 450_000), atol=1e-4, rtol=0)  # ten hours of listening


def test_half_precision_weights(model: OmniModel) -> None:
    half = OmniModel(model.config).to(torch.bfloat16)
    half.load_state_dict(model.state_dict())
    x, positions = inputs(model, 2, 6)
    cache = KVCache(model.config.backbone, 2, 8, torch.bfloat16)
    with torch.inference_mode():
        hidden = half(x.bfloat16(), positions, cache)
    assert hidden.dtype == torch.bfloat16
    torch.testing.assert_close(hidden.float(), model(x, positions), atol=0.5, rtol=0)


def test_training_reaches_every_parameter(model: OmniModel) -> None:
    learner = OmniModel(model.config)
    tokens = torch.randint(0, learner.layout.rows, (2, 8, 6))
    for features in (learner.adapt_audio(torch.randn(2, 6, 24)), learner.adapt_image(torch.randn(2, 6, 40))):
        x = learner.embed(tokens, features, torch.ones(2, 6, dtype=torch.bool))
        hidden = learner(x, torch.arange(6).expand(2, -1))
        (learner.text_logits(hidden).square().mean() + learner.audio_logits(hidden).square().mean()).backward()
    assert not [name for name, parameter in learner.named_parameters() if parameter.grad is None or not parameter.grad.any()]


def test_a_model_without_eyes_says_so(model: OmniModel) -> None:
    blind: ModelConfig = dataclasses.replace(model.config, vision_features=None)
    with pytest.raises(TaskError, match="sees no pictures"):
        OmniModel(blind).adapt_image(torch.zeros(50, 40))
