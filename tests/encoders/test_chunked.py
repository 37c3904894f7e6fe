import dataclasses

import pytest
import torch

from omni_core.config import ChunkedEncoderConfig
from omni_core.encoders.base import AudioEncoder
from omni_core.encoders.chunked import FEATURE_SAMPLES, ChunkedEncoder
from omni_core.encoders.ctc import VOCABULARY
from omni_core.encoders.mel import HISTORY, LogMel, mel_bands
from omni_core.errors import AudioError, ConfigError

CONFIG = ChunkedEncoderConfig(
    mels=80, width=48, layers=3, heads=2, mlp=96, features_per_s=25, chunk_features=8, left_chunks=2, ctc_vocabulary=VOCABULARY
)
CHUNK = CONFIG.chunk_features * FEATURE_SAMPLES


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return ChunkedEncoder(CONFIG).eval()


def noise(samples, seed=0):
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def test_it_is_an_audio_encoder(encoder):
    assert isinstance(encoder, AudioEncoder)
    assert (encoder.sample_rate, encoder.features_per_s, encoder.width, encoder.max_audio_s) == (16_000, 25, 48, None)


@pytest.mark.parametrize("samples", [1, FEATURE_SAMPLES, CHUNK, CHUNK + 1, 5 * CHUNK + 777])
@pytest.mark.parametrize("step", [160, 1000, 4096, 10**6])
def test_a_stream_gives_what_the_whole_clip_gives(encoder, samples, step):
    wave = noise(samples)
    stream = encoder.stream()
    parts = [stream.push(wave[start : start + step]) for start in range(0, samples, step)]
    streamed = torch.cat([*parts, stream.finish()])
    assert streamed.shape == (-(-samples // FEATURE_SAMPLES), encoder.width)
    torch.testing.assert_close(streamed, encoder.encode(wave), rtol=1e-4, atol=1e-5)


def test_a_stream_gives_a_chunk_as_soon_as_it_is_full(encoder):
    stream = encoder.stream()
    assert len(stream.push(noise(CHUNK - 1))) == 0
    assert len(stream.push(noise(1))) == CONFIG.chunk_features
    assert len(stream.push(noise(0))) == 0
    assert len(stream.finish()) == 0


def test_a_fork_goes_on_by_itself(encoder):
    wave, other = noise(4 * CHUNK), noise(2 * CHUNK, seed=1)
    stream = encoder.stream()
    begun = stream.push(wave[: 2 * CHUNK])
    fork = stream.fork()
    rest = stream.push(wave[2 * CHUNK :])
    branched = torch.cat([begun, fork.push(other)])
    torch.testing.assert_close(torch.cat([begun, rest]), encoder.encode(wave), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(branched, encoder.encode(torch.cat([wave[: 2 * CHUNK], other])), rtol=1e-4, atol=1e-5)


def test_what_comes_later_changes_no_finished_chunk_but_the_own_chunk(encoder):
    wave = noise(4 * CHUNK)
    changed = wave.clone()
    changed[3 * CHUNK - 1600 :] = 0
    before, after = encoder.encode(wave), encoder.encode(changed)
    first = 2 * CONFIG.chunk_features
    torch.testing.assert_close(before[:first], after[:first], rtol=0, atol=1e-6)
    assert (before[first] - after[first]).abs().max() > 1e-4, "the chunk sees to its own end"


def test_what_is_longer_ago_than_the_layers_reach_is_forgotten(encoder):
    reach = CONFIG.layers * CONFIG.left_chunks + 2  # and the convolutions and windows before the first layer
    wave = noise((reach + 2) * CHUNK)
    changed = wave.clone()
    changed[:CHUNK] = 0
    last = CONFIG.chunk_features
    torch.testing.assert_close(encoder.encode(wave)[-last:], encoder.encode(changed)[-last:], rtol=0, atol=1e-6)


def test_positions_are_relative(encoder):
    """The same speech after long silence reads the same, so there is no length limit."""
    wave = noise(2 * CHUNK)
    late = encoder.encode(torch.cat([torch.zeros(40 * CHUNK), wave]))[-2 * CONFIG.chunk_features :]
    later = encoder.encode(torch.cat([torch.zeros(60 * CHUNK), wave]))[-2 * CONFIG.chunk_features :]
    torch.testing.assert_close(late, later, rtol=1e-4, atol=1e-4)


def test_padding_in_a_batch_changes_nothing(encoder):
    lengths = torch.tensor([5, 12, 21])
    mel = torch.randn(3, 84, 80, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        together = encoder(mel, lengths)
        for row, length in enumerate(lengths.tolist()):
            alone = encoder(mel[row : row + 1, : 4 * length])[0]
            torch.testing.assert_close(together[row, :length], alone, rtol=1e-4, atol=1e-5)
        assert torch.isfinite(together).all()
        assert encoder.ctc_logits(together).shape == (3, 42, VOCABULARY)


@pytest.mark.parametrize("wave", [torch.zeros(0), torch.zeros(2, 100), torch.tensor([0.0, float("nan")]), torch.tensor([float("inf")])])
def test_impossible_audio_is_refused(encoder, wave):
    with pytest.raises(AudioError):
        encoder.encode(wave)


def test_impossible_configurations_are_refused():
    with pytest.raises(ConfigError, match="features_per_s"):
        ChunkedEncoder(dataclasses.replace(CONFIG, features_per_s=50))
    with pytest.raises(ConfigError, match="width"):
        ChunkedEncoder(dataclasses.replace(CONFIG, width=50))
    without = ChunkedEncoder(dataclasses.replace(CONFIG, ctc_vocabulary=0))
    with pytest.raises(ConfigError, match="CTC"):
        without.ctc_logits(torch.zeros(1, 2, 48))


def test_silence_is_the_floor_and_a_tone_lights_its_band():
    mel = LogMel(80)
    silence = mel(torch.zeros(1600))
    assert silence.shape == (10, 80)
    assert silence.max() - silence.min() < 1e-5
    tone = mel(torch.sin(2 * torch.pi * 1000 * torch.arange(1600) / 16_000))[5]
    centres = mel_bands(80).argmax(0) * 16_000 / 512
    assert abs(float(centres[tone.argmax()]) - 1000) < 60


def test_a_mel_frame_sees_nothing_after_its_hop():
    mel = LogMel(80)
    wave = noise(1600)
    changed = wave.clone()
    changed[800:] = 0
    torch.testing.assert_close(mel(wave)[:5], mel(changed)[:5])
    torch.testing.assert_close(mel(wave)[5:], mel(wave[800:], wave[800 - HISTORY : 800]))
