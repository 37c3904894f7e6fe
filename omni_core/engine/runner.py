"""The model's side of a response: cache rows, prefill, and decode steps for any set of slots and listeners. Knows no text, no codec, no clock.

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

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omni_core.config import SamplingParams
from omni_core.errors import InputError
from omni_core.listener import listener_tokens, margins
from omni_core.models import EndOfTurn, KVCache, OmniModel, sample
from omni_core.tokens import AUDIO_LAYERS, STREAMS, TEXT_STREAM, Prompt, Task


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
class _Lane:
    """What a slot is doing."""

    mode: Mode
    sampling: SamplingParams
    generator: torch.Generator
    length: int  #: positions in the cache, known here so that no step waits for the device to tell
    begins: bool = True  #: it has not taken a step


@dataclass
class _Plan:
    """Where in the batch of one decode step each thing lies."""

    listeners: list[int]  #: theirs are the first rows
    rows: list[int] = field(default_factory=list)  #: cache rows, R of them
    slot_of_row: list[int] = field(default_factory=list)  #: index into the step's slots, per row of a response
    text_at: list[int] = field(default_factory=list)  #: index into `rows`, per slot
    audio_at: list[int] = field(default_factory=list)  #: index into `rows`, per speaking slot
    speaking: list[int] = field(default_factory=list)  #: index into the step's slots, per speaking slot


class Runner:
    """Owns the KV cache and each slot's next inputs. Not thread-safe."""

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
        self.model, self.device, layout = model, model.device, model.layout
        self.max_positions = max_positions or model.config.backbone.max_positions
        self._force_delay, self._end_of_turn = force_delay, end_of_turn
        self.turn_ended: dict[int, float] = {}  #: of responses that took their first step just now: how likely their turn has ended, by slot
        # Listeners' rows are counted down to 0 and slots' up from there, so that the first of both are neighbours, which are read in place.
        self._base = 0 if band is None else slots
        self._band = band or 0
        rows = self._base + 2 * slots
        self._cache = KVCache(
            model.config.backbone, rows, self.max_positions, model.dtype, model.device, rings=self._base, band=self._band
        )
        self._lanes: dict[int, _Lane] = {}
        self._heard: dict[int, int] = {}  # frames so far, by listener
        self._inputs = torch.zeros(rows, STREAMS, dtype=torch.int64, device=self.device)  # next column of each row, global ids
        self._positions = torch.zeros(rows, dtype=torch.int64, device=self.device)  # where it goes
        self._steps = torch.zeros(slots, dtype=torch.int64, device=self.device)  # decode steps done
        self._text_ended = torch.zeros(slots, dtype=torch.bool, device=self.device)  # eot was drawn
        self._eot, self._pad_t, self._pad_a = layout.eot, layout.pad_t, layout.pad_a
        self._offsets = torch.as_tensor(layout.offsets, device=self.device)[:AUDIO_LAYERS]  # [7], local -> global
        self._layers = torch.arange(AUDIO_LAYERS, device=self.device)

    @torch.inference_mode()
    def prefill(self, slot: int, inputs: Inputs, sampling: SamplingParams) -> int:
        """Start a response in `slot`: run its prompt but for the last position. Returns the steps that its positions leave room for.

        The prompt is computed once and copied to the text row. The last position of each row is the first decode step's input.
        Raises InputError when the prompt is too long.
        """
        tokens = torch.as_tensor(inputs.prompt.tokens, device=self.device)  # [8, n]
        length = tokens.shape[1] - 1
        if length >= self.max_positions:
            raise InputError(f"the prompt has {length + 1} positions, the model {self.max_positions}: send less")
        mode, (audio_row, text_row) = Mode.of(inputs.task), self._rows(slot)
        features, mask = self._features(inputs, length)
        x = self.model.embed(tokens[None, :, :-1], features, mask)  # [1, n-1, width]
        positions = torch.arange(length, device=self.device)[None]
        self.model(x, positions, self._cache, torch.tensor([audio_row], device=self.device), length)
        self._inputs[audio_row] = self._inputs[text_row] = tokens[:, -1]
        if mode is Mode.PARALLEL:
            self._cache.copy(audio_row, text_row, length)
            self._inputs[text_row, :TEXT_STREAM] = self._offsets + self._pad_a
        self._positions[audio_row] = self._positions[text_row] = length
        self._steps[slot], self._text_ended[slot] = 0, False
        generator = torch.Generator(self.device)
        if sampling.seed is None:
            generator.seed()
        else:
            generator.manual_seed(sampling.seed)
        self._lanes[slot] = _Lane(mode, sampling, generator, length)
        return self.max_positions - length

    def release(self, slot: int) -> None:
        """Forget the response in `slot`."""
        self._lanes.pop(slot, None)

    def listen(self, listener: int) -> None:
        """Start a listener anew: its next frame is the first."""
        self._heard[listener] = 0
        self._positions[self._base - 1 - listener] = 0

    def step(self, slots: Sequence[int]) -> NDArray[np.int64]:
        """One decode step of each of `slots`, at their own positions. Returns the columns [slots, 8] that are fed back next.

        Audio ids are local to their layer; a text-only response's are pad_a.
        """
        return self.step_listening(slots, {})[0]

    @torch.inference_mode()
    def step_listening(self, slots: Sequence[int], frames: Mapping[int, Tensor]) -> tuple[NDArray[np.int64], dict[int, float]]:
        """As `step`; in the same pass each listener in `frames` hears its next frame, [7] codes. Returns irq's margin over n-irq too, by listener."""
        plan = self._plan(slots, sorted(frames, reverse=True))
        rows = torch.tensor(plan.rows, device=self.device)  # [R]
        listening, answering = rows.split([len(frames), len(rows) - len(frames)])
        if frames:
            codes = torch.stack([frames[listener] for listener in plan.listeners])[:, None]  # [listeners, 1, 7]
            self._inputs[listening] = listener_tokens(self.model.layout, codes.to(self.device))[..., 0]
        x = self.model.embed(self._inputs[rows].unsqueeze(-1), None, None)  # [R, 1, width]
        hidden = self.model(x, self._positions[rows].unsqueeze(-1), self._cache, rows, self._advance(slots, frames))[:, 0]  # [R, width]
        self._positions[rows] += 1
        columns = torch.full((len(slots), STREAMS), self._pad_a, dtype=torch.int64, device=self.device)
        if slots:
            columns[:, TEXT_STREAM] = self._next_text(hidden, plan, slots)
            if plan.speaking:
                audio = self._next_audio(hidden, plan, slots)
                columns[plan.speaking, :TEXT_STREAM] = audio
                self._inputs[rows[plan.audio_at], :TEXT_STREAM] = audio + self._offsets
            self._inputs[answering, TEXT_STREAM] = columns[plan.slot_of_row, TEXT_STREAM]
            self._judge_turns(hidden, plan, slots)
            self._steps[list(slots)] += 1
        ahead = margins(self.model, hidden[: len(frames)]).tolist() if frames else []
        return columns.cpu().numpy(), dict(zip(plan.listeners, ahead, strict=True))

    def _advance(self, slots: Sequence[int], listeners: Iterable[int]) -> int:
        """Count one position more of each; the places of the cache that this step reads."""
        for listener in listeners:
            self._heard[listener] += 1
        for slot in slots:
            self._lanes[slot].length += 1
        return max([*(min(self._heard[listener], self._band) for listener in listeners), *(self._lanes[slot].length for slot in slots)])

    def _rows(self, slot: int) -> tuple[int, int]:
        """A slot's audio row and text row."""
        return self._base + 2 * slot, self._base + 2 * slot + 1

    def _plan(self, slots: Sequence[int], listeners: list[int]) -> _Plan:
        plan = _Plan(listeners, [self._base - 1 - listener for listener in listeners])
        for index, slot in enumerate(slots):
            mode = self._lanes[slot].mode
            if mode is not Mode.TEXT:
                plan.speaking.append(index)
                plan.audio_at.append(len(plan.rows))
            own = self._rows(slot)[: 2 if mode is Mode.PARALLEL else 1]
            plan.rows += own
            plan.slot_of_row += [index] * len(own)
            plan.text_at.append(len(plan.rows) - 1)
        return plan

    def _judge_turns(self, hidden: Tensor, plan: _Plan, slots: Sequence[int]) -> None:
        """Where an answer begins, the model has just taken in its turn."""
        self.turn_ended = {}
        begin = [index for index, slot in enumerate(slots) if self._lanes[slot].begins]
        for index in begin:
            self._lanes[slots[index]].begins = False
        if begin and self._end_of_turn is not None:
            probabilities = self._end_of_turn.probability(hidden[[plan.text_at[index] for index in begin]]).tolist()
            self.turn_ended = {slots[index]: probability for index, probability in zip(begin, probabilities, strict=True)}

    def _next_text(self, hidden: Tensor, plan: _Plan, slots: Sequence[int]) -> Tensor:
        """[slots]: the text ids to feed."""
        lanes, chosen = [self._lanes[slot] for slot in slots], list(slots)
        logits = self.model.text_logits(hidden[plan.text_at])  # [slots, text_rows]
        text = sample(logits, [lane.sampling for lane in lanes], [lane.generator for lane in lanes])
        ended = self._text_ended[chosen]
        text = torch.where(ended, self._pad_t, text)
        ends = text == self._eot
        if not self._force_delay:
            ends &= self._steps[chosen] > 0
        self._text_ended[chosen] = ended | ends
        return text

    def _next_audio(self, hidden: Tensor, plan: _Plan, slots: Sequence[int]) -> Tensor:
        """[speaking slots, 7]: the audio ids to feed, local to their layers."""
        speaking = [slots[index] for index in plan.speaking]
        lanes = [self._lanes[slot] for slot in speaking]
        logits = self.model.audio_logits(hidden[plan.audio_at])  # [speaking, 7, audio_rows]
        audio = sample(logits, [lane.sampling for lane in lanes], [lane.generator for lane in lanes])
        if self._force_delay:
            audio = torch.where(self._steps[speaking].unsqueeze(-1) <= self._layers, self._pad_a, audio)
        return audio

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
