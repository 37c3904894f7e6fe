"""nano's codec: streaming equals decoding at once, and nothing looks past a frame's end."""

import json
import math
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file

from omni_core.codec.base import FRAME_SAMPLES
from omni_core.codec.causal import CausalCodec
from omni_core.config import CausalCodecConfig, from_dict
from omni_core.errors import AudioError

SMALL = CausalCodecConfig(
    codes=64, code_dim=4, mels=20, encoder_width=16, encoder_layers=2, latent=8, decoder_width=16, frame_layers=2, decoder_layers=3,
    expansion=2, fft=1024, hop=256, delay=512,
)  # fmt: skip


@pytest.fixture(scope="module", params=["random", "random, no delay", "bundled"])
def codec(request, repository) -> CausalCodec:
    if request.param == "bundled":
        folder = repository / "omni_core" / "assets" / "nano"
        config = from_dict(CausalCodecConfig, json.loads((folder / "config.json").read_text())["codec"], "codec")
        codec = CausalCodec(config)
        codec.load_state_dict({name: value.float() for name, value in load_file(folder / "codec.safetensors").items()})
        return codec.eval()
    torch.manual_seed(0)
    config = SMALL if request.param == "random" else CausalCodecConfig(**{**SMALL.__dict__, "delay": 0})
    return CausalCodec(config).eval()


@pytest.fixture(scope="module")
def wave() -> torch.Tensor:
    """Two seconds of tones that come and go, with a little noise."""
    time = torch.arange(2 * 24000) / 24000
    generator = torch.Generator().manual_seed(0)
    tones = sum(torch.sin(2 * math.pi * hertz * time) * torch.sin(2 * math.pi * (1 + n) * time) for n, hertz in enumerate((180, 720, 2400)))
    return 0.1 * tones + 0.005 * torch.randn(len(time), generator=generator)


def snr(signal: torch.Tensor, other: torch.Tensor) -> float:
    """dB."""
    return 10 * math.log10(signal.square().sum().item() / max((signal - other).square().sum().item(), 1e-20))


@pytest.mark.parametrize("chunk", range(1, 13))
def test_streaming_equals_decoding_at_once(codec, wave, chunk):
    frames = codec.encode(wave)
    whole = codec.decode(frames)
    stream = codec.stream()
    parts = [stream.push(frames[start:start + chunk]) for start in range(0, len(frames), chunk)]
    streamed = torch.cat([*parts, stream.flush()])
    assert streamed.shape == whole.shape == (len(frames) * FRAME_SAMPLES,)
    assert snr(whole, streamed) >= 60
    assert len(parts[0]) == min(chunk, len(frames)) * FRAME_SAMPLES - codec.config.delay  # the first frame speaks


def test_a_reset_stream_starts_afresh(codec, wave):
    frames = codec.encode(wave)[:4]
    stream = codec.stream()
    first = torch.cat((stream.push(frames), stream.flush()))
    stream.reset()
    assert torch.allclose(torch.cat((stream.push(frames), stream.flush())), first)


def test_nothing_in_gives_nothing_out(codec):
    assert codec.encode(torch.zeros(0)).shape == (0, 7)
    assert codec.decode(torch.zeros(0, 7, dtype=torch.int64)).shape == (0,)
    assert codec.stream().push(torch.zeros(0, 7, dtype=torch.int64)).shape == (0,)


@pytest.mark.parametrize("samples", [1, 2047, 2048, 2049])
def test_the_tail_is_padded_with_zeros_to_a_whole_frame(codec, wave, samples):
    frames = codec.encode(wave[:samples])
    assert frames.shape == (math.ceil(samples / FRAME_SAMPLES), 7)
    assert frames.dtype == torch.int64
    assert 0 <= frames.min() <= frames.max() < codec.codes
    padded = torch.cat((wave[:samples], torch.zeros(-samples % FRAME_SAMPLES)))
    assert torch.equal(frames, codec.encode(padded))


@pytest.mark.parametrize("frame", [1, 5, 11])
def test_later_samples_never_change_earlier_codes(codec, wave, frame):
    changed = wave.clone()
    changed[frame * FRAME_SAMPLES:] = 0.3 * torch.randn(len(wave) - frame * FRAME_SAMPLES, generator=torch.Generator().manual_seed(1))
    assert torch.equal(codec.encode(wave)[:frame], codec.encode(changed)[:frame])


@pytest.mark.parametrize("frame", [1, 5, 11])
def test_later_codes_never_change_samples_that_have_left(codec, wave, frame):
    frames = codec.encode(wave)
    changed = frames.clone()
    changed[frame:] = (changed[frame:] + 7) % codec.codes
    left = frame * FRAME_SAMPLES - codec.config.delay
    assert torch.allclose(codec.decode(frames)[:left], codec.decode(changed)[:left], atol=1e-6)


@pytest.mark.parametrize("chunk", [1, 480, 2048, 5000])
def test_encoding_as_samples_come_gives_the_same_codes(codec, wave, chunk):
    encoder = codec.stream_encoder()
    cuts = [0, *range(chunk, len(wave), max(chunk, 480)), len(wave)]  # one sample first, where that is asked
    parts = [encoder.push(wave[start:end]) for start, end in pairwise(cuts)]
    streamed = torch.cat([*parts, encoder.flush()])
    whole = codec.encode(wave)
    assert streamed.shape == whole.shape
    assert (streamed == whole).float().mean() > 0.99  # a sum in another order may turn a tie


def test_audio_that_no_codec_can_take_is_refused(codec):
    with pytest.raises(AudioError, match="one channel"):
        codec.encode(torch.zeros(2, 100))
    with pytest.raises(AudioError, match="NaN"):
        codec.encode(torch.tensor([0.0, math.nan]))
