"""Several streams of nano's codec in one pass: each hears only itself."""

import torch

from omni_core.codec.causal import CausalCodec, CausalStream
from omni_core.config import CausalCodecConfig

CONFIG = CausalCodecConfig(
    codes=16, code_dim=4, mels=20, encoder_width=16, encoder_layers=2, latent=8, decoder_width=16, frame_layers=1, decoder_layers=2,
    expansion=2, fft=1024, hop=256, delay=512,
)  # fmt: skip


def test_streams_pushed_together_give_what_each_gives_alone():
    torch.manual_seed(0)
    codec = CausalCodec(CONFIG).eval()
    frames = torch.randint(0, 16, (3, 9, 7))
    streams, starts = [codec.stream() for _ in range(3)], (0, 2, 3)  # they join while others already run
    heard: list[list[torch.Tensor]] = [[], [], []]
    for step in range(12):
        active = [n for n in range(3) if 0 <= step - starts[n] < 9]
        if active:
            now = torch.stack([frames[n, step - starts[n]][None] for n in active])
            for n, samples in zip(active, CausalStream.push_all([streams[n] for n in active], now), strict=True):
                heard[n].append(samples)
    for n in range(3):
        joined = torch.cat([*heard[n], streams[n].flush()])
        assert joined.shape == (9 * 2048,)
        assert torch.allclose(joined, codec.decode(frames[n]), atol=1e-5)
