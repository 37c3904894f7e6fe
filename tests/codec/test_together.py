"""Streams of any ages in one pass, of nano's codec and of SNAC: each hears only itself, from its first frame to its flush."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from snac import SNAC
from torch import Tensor

from omni_core.codec.base import FRAME_SAMPLES, Codec
from omni_core.codec.causal import CausalCodec
from omni_core.codec.snac import SnacCodec
from omni_core.config import CausalCodecConfig
from omni_core.errors import AudioError

CAUSAL = CausalCodecConfig(
    codes=16, code_dim=4, mels=20, encoder_width=16, encoder_layers=2, latent=8, decoder_width=16, frame_layers=1, decoder_layers=2,
    expansion=2, fft=1024, hop=256, delay=512,
)  # fmt: skip
SMALL_SNAC = {
    "sampling_rate": 24000, "encoder_dim": 4, "encoder_rates": [2, 4, 8, 8], "decoder_dim": 32, "decoder_rates": [8, 8, 4, 2],
    "attn_window_size": None, "codebook_size": 16, "codebook_dim": 4, "vq_strides": [4, 2, 1], "noise": True, "depthwise": True,
}  # fmt: skip


@pytest.fixture(scope="module", params=["causal", "SNAC", "SNAC, no depthwise layers"])
def codec(request) -> Codec:
    torch.manual_seed(0)
    if request.param == "causal":
        return CausalCodec(CAUSAL).eval()
    return SnacCodec(SNAC(**{**SMALL_SNAC, "depthwise": request.param == "SNAC"}))


def frames_of(count: int, seed: int) -> Tensor:
    return torch.randint(0, 16, (count, 7), generator=torch.Generator().manual_seed(seed))


def waves(count: int, frames: int) -> Tensor:
    return 0.1 * torch.randn(count, frames * FRAME_SAMPLES, generator=torch.Generator().manual_seed(count))


def test_answers_that_come_and_go_sound_as_each_alone(codec):
    """Random sets of answers of 1 to 9 frames, 1 or 2 frames a pass: young ones, old ones and those about to end side by side."""
    chance = random.Random(0)
    answers = [frames_of(length, seed) for seed, length in enumerate((9, 1, 2, 3, 4, 5, 9, 7))]
    streams: list[Any] = [codec.stream() for _ in answers]
    heard: list[list[Tensor]] = [[] for _ in answers]
    done = [0] * len(answers)
    while waiting := [n for n, frames in enumerate(answers) if done[n] < len(frames)]:
        width = chance.choice((1, 2))
        chosen = [n for n in chance.sample(waiting, chance.randint(1, len(waiting))) if done[n] + width <= len(answers[n])]
        if not chosen:
            continue
        frames = torch.stack([answers[n][done[n] : done[n] + width] for n in chosen])
        for n, samples in zip(chosen, type(streams[0]).push_all([streams[n] for n in chosen], frames), strict=True):
            heard[n].append(samples)
            done[n] += width
            if done[n] == len(answers[n]):
                heard[n].append(streams[n].flush())
    for n, frames in enumerate(answers):
        whole = codec.decode(frames)
        assert whole.shape == (len(frames) * FRAME_SAMPLES,)
        torch.testing.assert_close(torch.cat(heard[n]), whole, atol=1e-5, rtol=0.0)


def test_a_pass_of_snac_can_be_recorded():
    """It depends on no value, or a device that holds none would fail: ages, begins and ends are masks."""
    with torch.device("meta"):
        decoder = SnacCodec(SNAC(**SMALL_SNAC))._decoder
    latents, state = torch.zeros(64, 5, 4, device="meta"), torch.zeros(5, decoder.state_size, device="meta")
    first, end = torch.zeros(2, 5, dtype=torch.int64, device="meta")
    assert decoder(latents, state, first, end).shape == (1, 5, FRAME_SAMPLES)


def test_microphones_encoded_together_give_the_codes_of_each_alone(codec):
    """They begin one after the other, and one has heard a part of a frame before and got rid of it."""
    sounds = waves(3, 8)
    encoders: list[Any] = [codec.stream_encoder() for _ in sounds]
    encoders[1].push(torch.ones(100))
    encoders[1].reset()
    codes: list[list[Tensor]] = [[] for _ in sounds]
    for step in range(12):
        listening = [n for n in range(3) if 0 <= step - 2 * n < 8]
        now = torch.stack([sounds[n].view(8, -1)[step - 2 * n] for n in listening])
        for n, frames in zip(listening, type(encoders[0]).push_all([encoders[n] for n in listening], now), strict=True):
            assert frames.shape == (1, 7)
            codes[n].append(frames)
    for n, sound in enumerate(sounds):
        assert (torch.cat(codes[n]) == codec.stream_encoder().push(sound)).float().mean() > 0.99  # a sum in another order may turn a tie
    two = type(encoders[0]).push_all([codec.stream_encoder(), codec.stream_encoder()], sounds[:2])
    assert two.shape == (2, 8, 7)


def test_parts_of_frames_are_refused_and_change_nothing(codec):
    one, other, alone = codec.stream_encoder(), codec.stream_encoder(), codec.stream_encoder()
    (sound,) = waves(1, 2)
    other.push(sound[:100])
    for streams, samples in (([one, other], FRAME_SAMPLES), ([one, alone], 100)):
        with pytest.raises(AudioError, match="whole frames of 2048"):
            type(one).push_all(streams, sound[None, :samples].expand(2, -1))
    assert torch.equal(one.push(sound), codec.stream_encoder().push(sound))
    assert torch.equal(other.push(sound[100:]), codec.stream_encoder().push(sound))


def test_a_stream_that_rests_keeps_its_own_memory_alone(codec):
    """Joined once with many, it holds no tensor of all of them."""
    streams: list[Any] = [codec.stream() for _ in range(4)]
    type(streams[0]).push_all(streams, torch.stack([frames_of(1, n) for n in range(4)]))
    state = streams[0]._state
    assert state.untyped_storage().nbytes() == state.numel() * 4
