"""Any model can talk: a Qwen2 language model as the hub has it, with Whisper, CLIP and SNAC, becomes a start that answers as it did before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file

from omni_core.codec.frames import unpack_frames
from omni_core.codec.snac import SnacCodec
from omni_core.errors import CheckpointError
from omni_core.training.starts import PublicModel, open_start, read_qwen2, seed_codes
from tests.engine.parts import make_tokenizer
from tests.small import small_nano, write_released


@pytest.fixture(scope="module")
def qwen2(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, transformers.Qwen2ForCausalLM]:
    """A small Qwen2 in the hub's layout, and the same in transformers."""
    folder = tmp_path_factory.mktemp("qwen2")
    torch.manual_seed(0)
    sizes = {
        "num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48, "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
    }  # fmt: skip
    config: Any = transformers.Qwen2Config.from_dict(sizes | {"vocab_size": 300, "tie_word_embeddings": True})
    model = transformers.Qwen2ForCausalLM(config).eval()
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter) * 0.2  # biases and norms too
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2"} | sizes))
    save_file({key: value for key, value in model.state_dict().items() if key != "lm_head.weight"}, folder / "model.safetensors")
    make_tokenizer().save(folder / "tokenizer.json")
    return folder, model


def test_a_language_model_of_the_hub_reads_text_as_before(qwen2, tmp_path):
    folder, theirs = qwen2
    released = write_released(tmp_path)
    public = PublicModel("mine", str(folder), str(released / "small.pt"), str(released / "ViT-B-32.pt"), str(released / "snac_24khz"))
    bundle = open_start(None, None, public, seed=1)
    ids = torch.tensor([[5, 17, 250, 3, 99]])
    with torch.no_grad():
        x = bundle.model.embedding(ids)
        ours = bundle.model.text_logits(bundle.model(x, torch.arange(5)[None]))
        wanted = theirs(ids).logits
    assert torch.allclose(ours[..., :300], wanted, atol=1e-4)
    assert bundle.model.layout.codes == 32  # SNAC's
    assert (bundle.model.config.audio_features, bundle.model.config.vision_features) == (32, 16)  # Whisper's and CLIP's


def test_codes_that_sound_alike_begin_alike():
    nano = small_nano()
    assert nano.codec is not None
    before = nano.model.embedding.weight.clone()
    seed_codes(nano.model, nano.codec)
    layout, after = nano.model.layout, nano.model.embedding.weight
    for layer, level in enumerate((0, 1, 2, 2, 1, 2, 2)):
        first = layout.audio_id(layer, 0)
        rows, vectors = (x - x.mean(0) for x in (after[first : first + layout.codes], nano.codec.code_vectors()[level]))
        likeness = torch.corrcoef(torch.stack([(rows @ rows.T).flatten(), (vectors @ vectors.T).flatten()]))[0, 1]
        assert likeness > 0.8
        specials = slice(first + layout.codes, first + layout.audio_rows)
        assert torch.equal(before[specials], after[specials])
    assert torch.equal(before[: layout.text_rows], after[: layout.text_rows])


def test_snac_tells_what_its_codes_stand_for(tmp_path):
    codec = SnacCodec.load(write_released(tmp_path) / "snac_24khz")
    frames = torch.randint(0, codec.codes, (3, 7))
    levels = unpack_frames(frames)
    vectors = codec.code_vectors()
    summed = torch.stack([vectors[n][level].repeat_interleave((4, 2, 1)[n], 0) for n, level in enumerate(levels)]).sum(0)
    assert torch.allclose(codec._network.quantizer.from_codes([level[None] for level in levels])[0].T, summed, atol=1e-5)


def test_what_is_not_a_qwen2_is_named(qwen2, tmp_path):
    with pytest.raises(CheckpointError, match=r"config\.json: no Qwen2 configuration"):
        read_qwen2(tmp_path)
    (tmp_path / "config.json").write_text((qwen2[0] / "config.json").read_text())
    save_file({"model.norm.weight": torch.ones(32)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="holds no tensor"):
        read_qwen2(tmp_path)
