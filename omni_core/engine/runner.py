"""The model's side of a response: cache rows, prefill, and who takes part in a decode step. Knows no text, no codec, no clock.

Delayed-parallel decoding as in the reference (model-facts section 3). A slot owns two rows of the cache:

    Mode.PARALLEL  A1A2, VA1A2   the audio row gives the audio ids, the text row the text id, which is fed to both; the text row's audio
                                 inputs are pad_a. Their prompts differ in the last position only, so one prefill serves both.
    Mode.ALONE     T1A2, VT1A2   one row gives both and is fed both
    Mode.TEXT      A1T2 ...      one row gives text; its audio inputs are pad_a

A listener owns one row, a ring (`KVCache`): each frame of its microphone is one position, and of its logits only irq's and n-irq's are looked at.

After eot the text input is pad_t. An audio layer speaks from step layer + 1 on: what it says before is replaced by pad_a. The reference replaces
nothing there and takes no eot in its very first step for the end: `force_delay=False` does as it does.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omni_core.config import SamplingParams
from omni_core.engine.decode import DecodeStep
from omni_core.engine.graphs import Due, StepGraphs, run_exactly
from omni_core.errors import InputError
from omni_core.models import EndOfTurn, KVCache, OmniModel
from omni_core.models.fused import can_fuse
from omni_core.models.sampling import candidates
from omni_core.tokens import TEXT_STREAM, Prompt, Task

log = logging.getLogger(__name__)


class Mode(Enum):
    """Which rows a response uses and what they give."""

    PARALLEL = auto()
    ALONE = auto()
    TEXT = auto()

    @classmethod
    def of(cls, task: Task) -> Mode:
        """How `task` is decoded."""
        if not task.speaks:
            return cls.TEXT
        return cls.PARALLEL if task.needs_audio else cls.ALONE


@dataclass(frozen=True)
class Inputs:
    """One prompt, ready for the model."""

    task: Task
    prompt: Prompt
    audio: Tensor | None = None  #: [frames, audio_features]
    image: Tensor | None = None  #: [IMAGE_FRAMES, vision_features]


@dataclass
class _Prompt:
    """What is still to be read of a prompt."""

    x: Tensor  #: [1, n-1, width], all positions but the last
    last: Tensor  #: [8], the last position's ids
    done: int = 0  #: positions read


class Runner:
    """Owns the KV cache and what is where in it. Not thread-safe."""

    def __init__(
        self,
        model: OmniModel,
        slots: int,
        *,
        band: int | None = None,
        end_of_turn: EndOfTurn | None = None,
        max_positions: int | None = None,
        force_delay: bool = True,
    ) -> None:
        """band: frames that a listener sees, and there are as many listeners as slots; None: no listeners."""
        self.model, self.device = model, model.device
        self.max_positions = max_positions or model.config.backbone.max_positions
        self.turn_ended: dict[int, float] = {}  #: of responses that took their first step just now: how likely their turn has ended, by slot
        # Listeners' rows are counted down to 0 and slots' up from there, so that the first of both are neighbours, which are read in place.
        self._base = 0 if band is None else slots
        self._band = band or 0
        rows = self._base + 2 * slots + 1  # the last is for padding
        self._cache = KVCache(model.config.backbone, rows, self.max_positions, model.dtype, model.device, rings=self._base, band=self._band)
        self._step = DecodeStep(model, self._cache, slots, end_of_turn=end_of_turn, force_delay=force_delay)
        self._graphs: StepGraphs | None = None
        self._judges = end_of_turn is not None
        self._every_row = torch.arange(rows, device=self.device)  # there, so that to name one waits for no copy
        self._prompts: dict[int, _Prompt] = {}  # by slot, while they are read
        self._paired = np.zeros(slots, bool)  # by slot: two rows
        self._speaks = np.zeros(slots, bool)
        self._candidates = np.zeros(slots, np.int64)  # what drawing its ids needs
        self._begins = np.zeros(slots, bool)  # it has not taken a step
        self._lengths = np.zeros(slots, np.int64)  # positions in the cache, known here so that no step waits for the device to tell
        self._heard = np.zeros(slots, np.int64)  # frames so far, by listener

    @torch.inference_mode()
    def record(self) -> None:
        """Record every size of a step there can be, once and for all, before the first response: `graphs`. Of use on an accelerator."""
        if self.device.type == "cuda" and not can_fuse(self.model.config.backbone, self._every_row[None, :1]):
            log.warning("no kernels for this model on a GPU (no triton, or an odd head size): each step reads the whole cache")
        self._graphs = StepGraphs(self._step, len(self._lengths), self._base > 0, self.max_positions)

    def prefill(self, slot: int, inputs: Inputs, sampling: SamplingParams) -> int:
        """Start a response in `slot` and run its whole prompt: `begin`, and `advance` to its end. Returns and raises what `begin` does."""
        room = self.begin(slot, inputs, sampling)
        self.advance(slot, self.max_positions)
        return room

    @torch.inference_mode()
    def begin(self, slot: int, inputs: Inputs, sampling: SamplingParams) -> int:
        """Start a response in `slot`, which takes steps once `advance` has read its prompt. Returns the steps that its positions leave room for.

        Raises InputError when the prompt is too long.
        """
        tokens = torch.as_tensor(inputs.prompt.tokens, device=self.device)  # [8, n]
        length = tokens.shape[1] - 1
        if length >= self.max_positions:
            raise InputError(f"the prompt has {length + 1} positions, the model {self.max_positions}: send less")
        mode = Mode.of(inputs.task)
        self._prompts[slot] = _Prompt(self.model.embed(tokens[None, :, :-1], *self._features(inputs, length)), tokens[:, -1])
        self._paired[slot], self._speaks[slot] = mode is Mode.PARALLEL, mode is not Mode.TEXT
        self._candidates[slot], self._lengths[slot] = candidates(sampling), 0
        self._step.sampling.set(slot, sampling)
        return self.max_positions - length

    @torch.inference_mode()
    def advance(self, slot: int, positions: int) -> bool:
        """Read at most `positions` more of the prompt in `slot`. True once the response can take steps.

        The prompt is computed once and copied to the text row. The last position of each row is the first decode step's input.
        """
        prompt = self._prompts[slot]
        audio_row, text_row = self._rows(slot)
        start, end = prompt.done, min(prompt.done + positions, prompt.x.shape[1])
        self._lengths[slot] = end
        if end > start:
            at = torch.arange(start, end, device=self.device)[None]
            self.model(prompt.x[:, start:end], at, self._cache, self._every_row[audio_row : audio_row + 1], end)
        prompt.done = end
        if end < prompt.x.shape[1]:
            return False
        del self._prompts[slot]
        step = self._step
        step.inputs[audio_row] = step.inputs[text_row] = prompt.last
        if self._paired[slot]:
            self._cache.copy(audio_row, text_row, end)
            step.inputs[text_row, :TEXT_STREAM] = step.pad_inputs
        step.positions[audio_row] = step.positions[text_row] = end
        step.steps[slot], step.text_ended[slot], step.speaks[slot] = 0, False, bool(self._speaks[slot])
        self._begins[slot] = True
        return True

    @torch.inference_mode()
    def release(self, slot: int) -> None:
        """Forget the response in `slot`."""
        self._prompts.pop(slot, None)
        audio_row, text_row = self._rows(slot)
        self._cache.clear(audio_row, text_row + 1, int(self._lengths[slot]))
        self._lengths[slot] = 0

    @torch.inference_mode()
    def listen(self, listener: int) -> None:
        """Start a listener anew: its next frame is the first."""
        row = self._base - 1 - listener
        self._heard[listener], self._step.positions[row] = 0, 0
        self._cache.clear(row, row + 1, self._band)

    def step(self, slots: Sequence[int]) -> NDArray[np.int64]:
        """One decode step of each of `slots`, at their own positions. Returns the columns [slots, 8] that are fed back next.

        Audio ids are local to their layer; a text-only response's are pad_a.
        """
        return self.step_listening(slots, {})[0]

    @torch.inference_mode()
    def step_listening(self, slots: Sequence[int], frames: Mapping[int, Tensor]) -> tuple[NDArray[np.int64], dict[int, float]]:
        """As `step`; in the same pass each listener in `frames` hears its next frame, [7] codes. Returns irq's margin over n-irq too, by listener."""
        listeners = sorted(frames, reverse=True)
        due = self._due(np.array(slots, np.int64), listeners, [frames[listener] for listener in listeners])
        answered = run_exactly(self._step, due) if self._graphs is None else self._graphs.run(due)
        begin = np.flatnonzero(self._begins[due.slots]) if self._judges else ()
        self.turn_ended = {int(due.slots[index]): float(answered.turn_ended[index]) for index in begin}
        self._begins[due.slots] = False
        return answered.columns, dict(zip(listeners, answered.margins, strict=True))

    def _due(self, slots: NDArray[np.int64], listeners: list[int], codes: list[Tensor]) -> Due:
        """Counts one position more of each."""
        assert not self._prompts or self._prompts.keys().isdisjoint(slots.tolist()), "a response's prompt is to be read before it takes steps"
        heard = np.array(listeners, np.int64)
        self._lengths[slots] += 1
        self._heard[heard] += 1
        places = np.concatenate([self._lengths[slots], np.minimum(self._heard[heard], self._band)])
        return Due(
            listeners=self._base - 1 - heard,
            codes=codes,
            slots=slots,
            first_rows=self._base + 2 * slots,
            paired=self._paired[slots],
            speaks=self._speaks[slots],
            candidates=int(self._candidates[slots].max(initial=-1)),
            length=int(places.max()),
        )

    def _rows(self, slot: int) -> tuple[int, int]:
        """A slot's audio row and text row."""
        return self._base + 2 * slot, self._base + 2 * slot + 1

    def _features(self, inputs: Inputs, length: int) -> tuple[Tensor | None, Tensor | None]:
        """The adapted features [1, length, width] and where they stand [1, length]; None when the task has none."""
        found = []
        if inputs.image is not None and inputs.prompt.image_at is not None:
            found.append((inputs.prompt.image_at, self.model.adapt_image(self._as_weights(inputs.image))))
        if inputs.audio is not None and inputs.prompt.audio_at is not None:
            found.append((inputs.prompt.audio_at, self.model.adapt_audio(self._as_weights(inputs.audio))))
        if not found:
            return None, None
        features = found[0][1].new_zeros(1, length, self.model.config.backbone.width)
        mask = torch.zeros(1, length, dtype=torch.bool, device=self.device)
        for start, adapted in found:
            features[0, start : start + len(adapted)] = adapted
            mask[0, start : start + len(adapted)] = True
        return features, mask

    def _as_weights(self, features: Tensor) -> Tensor:
        return features.to(self.device, self.model.dtype)
