"""One response on its way out: columns of ids in, events out. Undoes the delay, repairs frames, decodes audio and text, and sees the end."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import NDArray

from omni_core.codec.base import FRAME_CODES, Codec
from omni_core.codec.frames import repair_frames
from omni_core.engine.request import AudioChunk, EngineEvent, FinishReason, GenerateRequest, TextDelta, Usage
from omni_core.tokens import AUDIO_LAYERS, TEXT_STREAM, DelayBuffer, TextStream, Tokenizer, TokenLayout

_LAST_LAYER = AUDIO_LAYERS - 1


class Response:
    """The state of one response between decode steps."""

    def __init__(self, request: GenerateRequest, layout: TokenLayout, tokenizer: Tokenizer, codec: Codec | None, device: torch.device) -> None:
        self.request = request
        self.columns: list[NDArray] = []  #: [8] each, as fed back; the step that ends the response included
        self.prompt_tokens = 0
        self.limit = request.max_steps  #: steps at most
        self.reason: FinishReason | None = None  #: set when it has ended
        self.samples = 0  #: of audio emitted
        self._layout, self._device = layout, device
        self._text = TextStream(tokenizer)
        self._text_tokens, self._text_ended = 0, False
        self._delay = DelayBuffer(layout)
        self._codec = codec if request.task.speaks else None
        self._decoder = None if self._codec is None else self._codec.stream()
        self._last_frame: torch.Tensor | None = None  # [7], repaired
        self._frames = 0

    @property
    def usage(self) -> Usage:
        """Tokens so far."""
        return Usage(self.prompt_tokens, self._text_tokens, self._frames * FRAME_CODES)

    def advance(self, column: NDArray) -> list[EngineEvent]:
        """Take one step's column [8]; give what can be heard and read now. Sets `reason` when it was the last."""
        self.columns.append(column)
        ids: Sequence[int] = column.tolist()
        self.reason = self._ending(ids)
        text = self._read(ids[TEXT_STREAM])
        samples = []
        if self._decoder is not None and ids[_LAST_LAYER] != self._layout.eoa:
            samples += self._decode(ids[:TEXT_STREAM])
            if self._delay.ended:
                self.reason = FinishReason.STOP
        if self.reason is not None:
            text += "" if self._text_ended else self._text.flush()
            samples += [] if self._decoder is None else [self._decoder.flush()]
        return self._events(text, samples)

    def _ending(self, ids: Sequence[int]) -> FinishReason | None:
        """Speech ends where its last layer says eoa, text alone at eot."""
        last, end = (ids[TEXT_STREAM], self._layout.eot) if self._decoder is None else (ids[_LAST_LAYER], self._layout.eoa)
        if last == end:
            return FinishReason.STOP
        return FinishReason.LENGTH if len(self.columns) >= self.limit else None

    def _read(self, token: int) -> str:
        """The text that a text id completes."""
        if self._text_ended:
            return ""
        if token == self._layout.eot:
            self._text_ended = True
            return self._text.flush()
        self._text_tokens += 1
        return self._text.push(token) if token < self._layout.text_tokens else ""

    def _decode(self, audio: Sequence[int]) -> list[torch.Tensor]:
        """The samples that seven audio ids complete."""
        assert self._codec is not None
        assert self._decoder is not None
        self._delay.push(audio)
        frames = torch.from_numpy(self._delay.pop())  # [k, 7]
        if not len(frames):
            return []
        frames = repair_frames(frames, self._codec.codes, self._last_frame)
        self._last_frame = frames[-1]
        self._frames += len(frames)
        return [self._decoder.push(frames.to(self._device))]

    def _events(self, text: str, samples: list[torch.Tensor]) -> list[EngineEvent]:
        events: list[EngineEvent] = [TextDelta(text)] if text else []
        pcm = torch.cat([part.float().cpu() for part in samples]) if samples else torch.zeros(0)
        if len(pcm):
            self.samples += len(pcm)
            events.append(AudioChunk(pcm.numpy()))
        return events
