"""SNAC in its real directory layout, small and random: the stream against the package's own decoder, for every chunk size."""

import json

import pytest
import torch
from snac import SNAC
from snac.layers import NoiseBlock

from omni_core.codec.base import encode_as_stream
from omni_core.codec.frames import pack_frames
from omni_core.codec.snac import SnacCodec
from omni_core.errors import CheckpointError, ConfigError

CONFIG = {
    "sampling_rate": 24000,
    "encoder_dim": 4,
    "encoder_rates": [2, 4, 8, 8],
    "decoder_dim": 32,
    "decoder_rates": [8, 8, 4, 2],
    "attn_window_size": None,
    "codebook_size": 64,
    "codebook_dim": 4,
    "vq_strides": [4, 2, 1],
    "noise": True,
    "depthwise": True,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A directory as on the hub: `config.json` and `pytorch_model.bin` with weight norms unfolded."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("snac_24khz")
    (path / "config.json").write_text(json.dumps(CONFIG))
    torch.save(SNAC(**CONFIG).state_dict(), path / "pytorch_model.bin")
    return path


@pytest.fixture(scope="module")
def quiet(folder):
    return SnacCodec.load(folder, noise=False)


@pytest.fixture(scope="module")
def package(folder):
    """The package's own network, with its noise blocks silenced."""
    network = SNAC(**CONFIG).eval()
    network.load_state_dict(torch.load(folder / "pytorch_model.bin", weights_only=True))
    for module in network.modules():
        if isinstance(module, NoiseBlock):
            module.forward = lambda x: x
    return network


def _frames(count: int) -> torch.Tensor:
    return torch.randint(0, 64, (count, 7), generator=torch.Generator().manual_seed(count))


def _package_decode(network: SNAC, frames: torch.Tensor) -> torch.Tensor:
    """By the order written in model-facts section 3, not by the project's own unpacking."""
    levels = [frames[:, 0], frames[:, [1, 4]].flatten(), frames[:, [2, 3, 5, 6]].flatten()]
    with torch.no_grad():
        return network.decode([level[None] for level in levels])[0, 0]


def _snr(signal: torch.Tensor, other: torch.Tensor) -> float:
    return float(10 * torch.log10(signal.square().sum() / (signal - other).square().sum().clamp(min=1e-30)))


@pytest.mark.parametrize("chunk", range(1, 13))
def test_streamed_audio_equals_the_package_decoding_all_at_once(quiet, package, chunk):
    frames = _frames(17)
    stream = quiet.stream()
    pieces = [stream.push(frames[i : i + chunk]) for i in range(0, 17, chunk)] + [stream.flush()]
    whole = _package_decode(package, frames)
    assert sum(map(len, pieces)) == len(whole) == 17 * 2048
    assert _snr(whole, torch.cat(pieces)) >= 60


def test_noise_is_there_and_chunking_does_not_change_it(folder, quiet):
    noisy, frames = SnacCodec.load(folder), _frames(9)
    stream = noisy.stream()
    pieces = [stream.push(frame[None]) for frame in frames] + [stream.flush()]
    whole = noisy.decode(frames)
    assert _snr(whole, torch.cat(pieces)) >= 60
    assert _snr(whole, quiet.decode(frames)) < 60


def test_first_audio_leaves_as_early_as_the_decoder_allows(quiet, package):
    stream, frames = quiet.stream(), _frames(8)
    ready = [len(stream.push(frame[None])) for frame in frames[: quiet.first_audio_frames]]
    assert quiet.first_audio_frames == 3
    assert ready == [0, 0, 1387]
    # Later samples still depend on the frame that is to come (faintly at first, hence a few of them).
    other = frames.clone()
    other[3:] = (other[3:] + 1) % 64
    same = _package_decode(package, frames) == _package_decode(package, other)
    assert same[:1387].all()
    assert not same[1387:1900].all()


def test_a_stream_that_is_reset_or_empty(quiet):
    stream = quiet.stream()
    assert len(stream.flush()) == 0
    first = torch.cat([stream.push(_frames(5)), stream.flush()])
    stream.reset()
    assert torch.equal(torch.cat([stream.push(_frames(5)), stream.flush()]), first)
    assert quiet.decode(_frames(0)).shape == (0,)


def test_encoding_gives_the_package_codes_with_a_padded_tail(quiet, package):
    wave = torch.randn(3 * 2048 + 5, generator=torch.Generator().manual_seed(1)) * 0.1
    frames = quiet.encode(wave)
    with torch.no_grad():
        c1, c2, c3 = package.encode(torch.nn.functional.pad(wave, (0, 2043))[None, None])
    assert frames.shape == (4, 7)
    assert torch.equal(frames[:, 0], c1[0])
    assert torch.equal(frames[:, [1, 4]].flatten(), c2[0])
    assert torch.equal(frames[:, [2, 3, 5, 6]].flatten(), c3[0])


def test_a_microphone_is_encoded_frame_by_frame_in_a_window_of_the_past(quiet, package):
    wave = torch.randn(7 * 2048 + 5, generator=torch.Generator().manual_seed(1)) * 0.1
    frames = encode_as_stream(quiet, wave)
    assert frames.shape == (8, 7)
    encoder = quiet.stream_encoder()
    assert torch.equal(torch.cat([*(encoder.push(part) for part in wave.split(1500)), encoder.flush()]), frames)
    assert torch.equal(encode_as_stream(quiet, wave[: 5 * 2048]), frames[:5])  # what comes later changes nothing
    with torch.no_grad():
        newest = pack_frames(*package.encode(wave[3 * 2048 : 7 * 2048][None, None]))[0, -1]
    assert torch.equal(frames[6], newest)


def test_unusable_directories_are_named(folder, tmp_path):
    with pytest.raises(CheckpointError, match=r"config\.json"):
        SnacCodec.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "vq_strides": [8, 4, 2, 1]}))
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.save(weights, tmp_path / "pytorch_model.bin")
    with pytest.raises((CheckpointError, ConfigError)):
        SnacCodec.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "codebook_size": 128}))
    with pytest.raises(CheckpointError, match="codebook"):
        SnacCodec.load(tmp_path)
    torch.save({**weights, "evil": print}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="unreadable"):
        SnacCodec.load(tmp_path)
