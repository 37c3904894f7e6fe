"""What a model calculates in: chosen, applied, and what of it stays exact."""

import pytest
import torch

from omni_core.checkpoint import load_bundle
from omni_core.checkpoint.precision import dtype_for, fastest, load_to_serve, serve_in
from omni_core.config import Precision, WhisperConfig
from omni_core.encoders.whisper import WhisperEncoder
from omni_core.errors import ConfigError
from omni_core.models.int8 import Int8Linear, quantise, supported

needs_int8 = pytest.mark.skipif(not supported(), reason="int8 needs an x86 processor with AVX2")


@needs_int8
@pytest.mark.parametrize("rows", [1, 2, 17])
def test_a_row_of_an_int8_layer_depends_on_itself_alone(rows):
    torch.manual_seed(0)
    exact = torch.nn.Linear(96, 40)
    layer = Int8Linear(exact.weight, exact.bias)
    x = torch.randn(rows, 96) * torch.logspace(-3, 3, rows)[:, None]
    x[0] = 0
    together = layer(x)
    assert torch.equal(together, torch.cat([layer(row[None]) for row in x]))
    torch.testing.assert_close(together, exact(x), rtol=0, atol=0.02 * float(x.norm(dim=1).max()))
    assert torch.equal(together[0], exact.bias)


@needs_int8
def test_int8_stands_in_for_every_matrix_product_and_keeps_the_embedding():
    bundle = load_bundle("nano", "cpu")
    exact = load_bundle("nano", "cpu").model
    assert serve_in(bundle, Precision.INT8) is Precision.INT8
    model = bundle.model
    assert not [name for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)]
    tokens = torch.randint(0, exact.layout.text_tokens, (1, 8, 40), generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.embed(tokens), exact.embed(tokens))
    x, positions = exact.embed(tokens), torch.arange(40)[None]
    hidden, expected = model(x, positions), exact(x, positions)
    assert torch.cosine_similarity(hidden, expected, dim=-1).mean() > 0.99
    assert model.text_logits(hidden).shape == exact.text_logits(expected).shape
    assert model.audio_logits(hidden).shape == exact.audio_logits(expected).shape


@needs_int8
def test_whisper_in_int8_gives_nearly_the_same_features():
    torch.manual_seed(0)
    encoder = WhisperEncoder(WhisperConfig(80, 1500, 64, 4, 2)).eval().requires_grad_(False)
    wave = 0.1 * torch.randn(16_000)
    exact = encoder.encode(wave)
    quantise(encoder.tower)
    encoder.attend_in_bfloat16()
    assert torch.cosine_similarity(encoder.encode(wave), exact, dim=-1).min() > 0.99


def test_a_cpu_chooses_by_measurement_and_loads_for_it():
    assert dtype_for(Precision.AUTO, torch.device("cpu")) is torch.float32
    assert dtype_for(Precision.AUTO, torch.device("cuda")) is torch.bfloat16
    assert fastest(load_bundle("nano", "cpu").model) in tuple(Precision)[1:]
    bundle, chosen = load_to_serve("nano", "cpu", Precision.BFLOAT16)
    assert chosen is Precision.BFLOAT16
    assert bundle.model.dtype is torch.bfloat16


def test_int8_where_it_can_not_be_is_refused(monkeypatch):
    monkeypatch.setattr("omni_core.models.int8.supported", lambda: False)
    with pytest.raises(ConfigError, match="bf16"):
        serve_in(load_bundle("nano", "cpu"), Precision.INT8)
