"""However the frames come, and however late it is, the statuses are those of one pass with the band that training has."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from omni_core.checkpoint import load_bundle
from omni_core.codec.causal import CausalCodec
from omni_core.config import BackboneConfig, LayoutConfig, ModelConfig
from omni_core.listener import BatchListener, listener_tokens
from omni_core.models import OmniModel

BAND = 9
CONFIG = ModelConfig(
    name="test",
    layout=LayoutConfig(text_tokens=20, text_rows=32, codes=16, audio_rows=24),
    backbone=BackboneConfig(layers=3, width=48, heads=4, kv_heads=2, head_size=16, mlp=64, rope_base=10_000.0, norm_eps=1e-6, max_positions=64),
    audio_features=8,
    vision_features=None,
    adapter_mlp=8,
    image_overwrites_input=False,
)
EXACT = {"atol": 1e-4, "rtol": 0.0}


@pytest.fixture(scope="module")
def model() -> OmniModel:
    torch.manual_seed(0)
    model = OmniModel(CONFIG).eval().requires_grad_(False)
    for parameter in model.parameters():  # larger than at the start of training, so that attention is not all but uniform
        if parameter.dim() > 1:
            parameter.mul_(5)
    return model


def make_frames(streams: int, count: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 16, (streams, count, 7), generator=torch.Generator().manual_seed(seed))


def one_pass(model: OmniModel, frames: Tensor) -> Tensor:
    """Margins [B, T], as training computes them."""
    positions = torch.arange(frames.shape[1]).expand(len(frames), -1)
    logits = model.text_logits(model(model.embed(listener_tokens(model.layout, frames)), positions, band=BAND))
    return logits[..., model.layout.irq] - logits[..., model.layout.n_irq]


def test_what_the_model_reads(model: OmniModel) -> None:
    frames = make_frames(1, 2)
    tokens, layout = listener_tokens(model.layout, frames), model.layout
    assert tokens[0, :7, 1].tolist() == [layout.audio_id(layer, int(frames[0, 1, layer])) for layer in range(7)]
    assert tokens[0, 7].tolist() == [layout.n_irq] * 2


@pytest.mark.parametrize("pushes", [[40], [1] * 40, [3, 1, 20, 9, 7]])
def test_any_pushes_equal_one_pass_of_training(model: OmniModel, pushes: list[int]) -> None:
    frames = make_frames(3, 40)
    stream = BatchListener(model, BAND, 0.0, streams=3)
    margins = torch.cat([stream.margins(part) for part in frames.split(pushes, 1)], 1)
    torch.testing.assert_close(margins, one_pass(model, frames), **EXACT)


def test_irq_has_to_win_by_the_margin(model: OmniModel) -> None:
    frames = make_frames(2, 30)
    expected = one_pass(model, frames)
    margin = float(expected.median()) + 1e-3
    assert torch.equal(BatchListener(model, BAND, margin, streams=2).push(frames), expected > margin)


def test_after_an_hour_it_hears_as_at_the_start(model: OmniModel) -> None:
    frames = make_frames(1, 60)
    late, early = BatchListener(model, BAND, 0.0), BatchListener(model, BAND, 0.0)
    late._cache._seen += 45_000
    late.margins(make_frames(1, BAND * 3, seed=1))
    reach = 3 * (BAND - 1)  # three layers: what lies before has no influence on later frames
    torch.testing.assert_close(late.margins(frames)[:, reach:], early.margins(frames)[:, reach:], **EXACT)


def test_one_stream_starts_anew_and_its_neighbour_goes_on(model: OmniModel) -> None:
    frames = make_frames(2, 20)
    stream = BatchListener(model, BAND, 0.0, streams=2)
    stream.push(make_frames(2, 11, seed=1))
    stream.reset([0])
    margins = stream.margins(frames)
    torch.testing.assert_close(margins[:1], one_pass(model, frames[:1]), **EXACT)
    whole = one_pass(model, torch.cat([make_frames(2, 11, seed=1), frames], 1))[1:, 11:]
    torch.testing.assert_close(margins[1:], whole, **EXACT)


def test_stored_codes_and_the_waveform_give_the_same_statuses() -> None:
    bundle = load_bundle("nano", "cpu")
    assert isinstance(bundle.codec, CausalCodec)
    wave = torch.randn(2048 * 24, generator=torch.Generator().manual_seed(0)) * 0.1
    stored = BatchListener(bundle.model, 117, 0.0).push(bundle.codec.encode(wave)[None])
    encoder, listener = bundle.codec.stream_encoder(), BatchListener(bundle.model, 117, 0.0)
    live = [listener.push(encoder.push(part)[None]) for part in wave.split(1500)]  # as it comes from a socket
    assert torch.equal(torch.cat(live, 1), stored)
