"""One decode step, on the device alone: embed, layers, the heads that are needed, sampling, the delay's state, keys and values.

`DecodeStep` owns what a step reads and leaves behind, in buffers that stay where they are; which rows take part says a `Batch`. No shape and no
branch depends on what the buffers hold, and nothing is read back, so that a step can be recorded once and replayed (`graphs`).
On a CPU the same function runs on just the rows that are due.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from omni_core.listener import listener_tokens, margins
from omni_core.models import EndOfTurn, KVCache, OmniModel, Sampling, greedy, sample
from omni_core.tokens import AUDIO_LAYERS, STREAMS, TEXT_STREAM

NO_NUMBER = -1  #: no id: the model's numbers have run away, to infinity or NaN


@dataclass(frozen=True)
class Batch:
    """Who takes part in a step: L listeners, N responses, A of which speak, in R rows. Index tensors, int64, on the device.

    A response's rows lie anywhere behind the listeners'. Padding names the scratch row and the scratch slot, any number of times.
    """

    rows: Tensor  #: [R] rows of the cache, the L listeners' first
    codes: Tensor  #: [L, 7] what listeners hear
    slots: Tensor  #: [N]
    slot_at: Tensor  #: [R - L] index into `slots`, per row of a response
    text_at: Tensor  #: [N] index into `rows`: whose hidden state gives the text
    audio_at: Tensor  #: [A] index into `rows`: whose hidden state gives the audio
    speaker: Tensor  #: [A] index into `slots`
    candidates: int  #: the most that any response needs (`sampling.candidates`); below 0 all are greedy
    length: int  #: places of the cache to read, above all that hold something


@dataclass(frozen=True)
class Outcome:
    """What a step gave, on the device."""

    columns: Tensor  #: [N, 8] int64, audio ids local to their layer, pad_a where nothing is spoken; the text is NO_NUMBER where the model gave none
    margins: Tensor  #: [L] float32, how far irq is ahead of n-irq
    turn_ended: Tensor  #: [N] float32, how likely the speaker has ended: of use where an answer begins. 0 without a head for it


class DecodeStep:
    """The step, and the state it moves on: per row the next input and its position, per slot what decides on ids. Not thread-safe.

    Slots and rows count from 0; behind the last of each lies a scratch one, which padding may overwrite.
    """

    def __init__(self, model: OmniModel, cache: KVCache, slots: int, *, end_of_turn: EndOfTurn | None = None, force_delay: bool = True) -> None:
        """cache: with a row more than are in use."""
        self._model, self._cache, layout = model, cache, model.layout
        self._end_of_turn, self._force_delay = end_of_turn, force_delay
        device = model.device
        self.device, self.scratch_row, self.scratch_slot = device, cache.rows - 1, slots
        self.inputs = torch.zeros(cache.rows, STREAMS, dtype=torch.int64, device=device)  #: [rows, 8] next column of each, global ids
        self.positions = torch.zeros(cache.rows, dtype=torch.int64, device=device)  #: [rows] where it goes
        self.steps = torch.zeros(slots + 1, dtype=torch.int64, device=device)  #: [slots + 1] decode steps done
        self.text_ended = torch.zeros(slots + 1, dtype=torch.bool, device=device)  #: [slots + 1] eot was drawn
        self.speaks = torch.zeros(slots + 1, dtype=torch.bool, device=device)  #: [slots + 1] not text alone
        self.sampling = Sampling.greedy(slots + 1, device)  #: [slots + 1]
        self._eot, self._pad_t, self._pad_a = layout.eot, layout.pad_t, layout.pad_a
        self._offsets = torch.as_tensor(layout.offsets, device=device)[:AUDIO_LAYERS]  # [7], local -> global
        self.pad_inputs = self._offsets + self._pad_a  #: [7] pad_a in every layer, global ids
        self._layers = torch.arange(AUDIO_LAYERS, device=device)

    def __call__(self, batch: Batch) -> Outcome:
        """Move every row of `batch` on by one position."""
        rows, heard = batch.rows, len(batch.codes)
        if heard:
            self.inputs[rows[:heard]] = listener_tokens(self._model.layout, batch.codes[:, None])[..., 0]
        x = self._model.embed(self.inputs[rows].unsqueeze(-1), None, None)  # [R, 1, width]
        positions = self.positions[rows]
        hidden = self._model(x, positions.unsqueeze(-1), self._cache, rows, batch.length)[:, 0]  # [R, width]
        self.positions[rows] = positions + (rows != self.scratch_row)  # the scratch row never moves on: it must not run full
        columns = self._answer(hidden, batch)
        return Outcome(columns, self._margins(hidden[:heard]), self._turn_ended(hidden, batch))

    def _answer(self, hidden: Tensor, batch: Batch) -> Tensor:
        """The responses' next columns, which are fed back: [N, 8]."""
        columns = torch.full((len(batch.slots), STREAMS), self._pad_a, dtype=torch.int64, device=self.device)
        if not len(batch.slots):
            return columns
        sampling = self.sampling.of(batch.slots) if batch.candidates >= 0 else None
        columns[:, TEXT_STREAM] = text = self._text(hidden, batch, sampling)
        if len(batch.speaker):
            columns[batch.speaker, :TEXT_STREAM] = audio = self._audio(hidden, batch, sampling)
            self.inputs[batch.rows[batch.audio_at], :TEXT_STREAM] = audio + self._offsets
        self.inputs[batch.rows[len(batch.codes) :], TEXT_STREAM] = text[batch.slot_at]
        self.steps[batch.slots] += 1
        finite = hidden.isfinite().all(-1)
        columns[:, TEXT_STREAM] = torch.where(finite[batch.text_at], text, NO_NUMBER)
        if len(batch.speaker):
            columns[batch.speaker, TEXT_STREAM] = torch.where(finite[batch.audio_at], columns[batch.speaker, TEXT_STREAM], NO_NUMBER)
        return columns

    def _text(self, hidden: Tensor, batch: Batch, sampling: Sampling | None) -> Tensor:
        """[N]: the text ids to feed, pad_t after eot."""
        steps, ended = self.steps[batch.slots], self.text_ended[batch.slots]
        logits = self._model.text_logits(hidden[batch.text_at])  # [N, text_rows]
        text = greedy(logits) if sampling is None else sample(logits[:, None], sampling, steps, TEXT_STREAM, batch.candidates)[:, 0]
        text = text.masked_fill(ended, self._pad_t)
        ends = text == self._eot
        if not self._force_delay:
            ends &= steps > 0
        self.text_ended[batch.slots] = ended | ends
        return text

    def _audio(self, hidden: Tensor, batch: Batch, sampling: Sampling | None) -> Tensor:
        """[A, 7]: the audio ids to feed, local to their layers; pad_a before a layer's turn, and where nothing is spoken."""
        slots = batch.slots[batch.speaker]
        steps = self.steps[slots]
        logits = self._model.audio_logits(hidden[batch.audio_at])  # [A, 7, audio_rows]
        audio = greedy(logits) if sampling is None else sample(logits, sampling.of(batch.speaker), steps, most=batch.candidates)
        silent = ~self.speaks[slots].unsqueeze(-1)
        if self._force_delay:
            silent = silent | (steps.unsqueeze(-1) <= self._layers)
        return audio.masked_fill(silent, self._pad_a)

    def _margins(self, hidden: Tensor) -> Tensor:
        return margins(self._model, hidden) if len(hidden) else torch.zeros(0, device=self.device)

    def _turn_ended(self, hidden: Tensor, batch: Batch) -> Tensor:
        if self._end_of_turn is None:
            return torch.zeros(len(batch.slots), device=self.device)
        return self._end_of_turn.probability(hidden[batch.text_at])
