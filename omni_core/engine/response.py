"""One response on its way out: columns of ids in, events out. Undoes the delay, repairs frames, decodes audio and text, and sees the end."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import NDArray

from omni_core.codec.base import FRAME_CODES, Codec, StreamDecoder
from omni_core.codec.frames import repair_frames
from omni_core.engine.decode import NO_NUMBER
from omni_core.engine.request import AudioChunk, EngineEvent, FinishReason, GenerateRequest, TextDelta, Usage
from omni_core.errors import EngineError
from omni_core.tokens import AUDIO_LAYERS, TEXT_STREAM, DelayBuffer, TextStream, Tokenizer, TokenLayout

_LAST_LAYER = AUDIO_LAYERS - 1


class Response:
    """The state of one response between decode steps."""

    def __init__(self, request: GenerateRequest, layout: TokenLayout, tokenizer: Tokenizer, codec: Codec | None) -> None:
        self.request = request
        self.columns: list[NDArray] = []  #: [8] each, as fed back; the step that ends the response included
        self.prompt_tokens = 0
        self.limit = request.max_steps  #: steps at most
        self.reason: FinishReason | None = None  #: set when it has ended
        self.decoder: StreamDecoder | None = codec.stream() if codec is not None and request.task.speaks else None
        self.frames: torch.Tensor | None = None  #: [k, 7] that the last step finished
        self.samples = 0  #: of audio emitted
        self._layout = layout
        self._text = TextStream(tokenizer)
        self._text_tokens, self._text_ended = 0, False
        self._delay = DelayBuffer(layout)
        self._new_text = ""
        self._last_frame: torch.Tensor | None = None  # [7], repaired
        self._frames_made = 0

    @property
    def usage(self) -> Usage:
        """Tokens so far."""
        return Usage(self.prompt_tokens, self._text_tokens, self._frames_made * FRAME_CODES)

    def read(self, column: NDArray) -> None:
        """Take one step's column [8]. Sets `frames` to what the codec has to decode now, and `reason` when it was the last.

        Raises EngineError where the model gave no number.
        """
        if column[TEXT_STREAM] == NO_NUMBER:
            raise EngineError("the model's numbers ran away (NaN or infinity): ask again; `omni check` tries its weights")
        self.columns.append(column)
        ids: Sequence[int] = column.tolist()
        self.reason = self._ending(ids)
        self._new_text = self._read_text(ids[TEXT_STREAM])
        self.frames = None
        if self.decoder is not None and ids[_LAST_LAYER] != self._layout.eoa:
            self._delay.push(ids[:TEXT_STREAM])
            self.frames = self._repaired(torch.from_numpy(self._delay.pop()))
            if self._delay.ended:
                self.reason = FinishReason.STOP

    def emit(self, samples: torch.Tensor | None) -> list[EngineEvent]:
        """What can be read and heard now, given the samples that the codec made of `frames`; at the end, all that was held back too."""
        text, heard = self._new_text, [] if samples is None else [samples]
        if self.reason is not None:
            text += "" if self._text_ended else self._text.flush()
            heard += [] if self.decoder is None else [self.decoder.flush()]
        events: list[EngineEvent] = [TextDelta(text)] if text else []
        pcm = torch.cat([part.float().cpu() for part in heard]) if heard else torch.zeros(0)
        if len(pcm):
            self.samples += len(pcm)
            events.append(AudioChunk(pcm.numpy()))
        return events

    def _ending(self, ids: Sequence[int]) -> FinishReason | None:
        """Speech ends where its last layer says eoa, text alone at eot."""
        last, end = (ids[TEXT_STREAM], self._layout.eot) if self.decoder is None else (ids[_LAST_LAYER], self._layout.eoa)
        if last == end:
            return FinishReason.STOP
        return FinishReason.LENGTH if len(self.columns) >= self.limit else None

    def _read_text(self, token: int) -> str:
        """The text that a text id completes."""
        if self._text_ended:
            return ""
        if token == self._layout.eot:
            self._text_ended = True
            return self._text.flush()
        self._text_tokens += 1
        return self._text.push(token) if token < self._layout.text_tokens else ""

    def _repaired(self, frames: torch.Tensor) -> torch.Tensor | None:
        """Frames [k, 7] of codes alone; None for no frame."""
        if not len(frames):
            return None
        frames = repair_frames(frames, self._layout.codes, self._last_frame)
        self._last_frame = frames[-1]
        self._frames_made += len(frames)
        return frames


def decode_all(responses: Sequence[Response]) -> list[torch.Tensor | Exception | None]:
    """Decode each response's `frames`, on the host: in one pass of the codec, or, where that fails, each in its own. An error stands where the
    samples of its response would.
    """
    results: list[torch.Tensor | Exception | None] = [None] * len(responses)
    asking = [(index, each.decoder, each.frames) for index, each in enumerate(responses) if each.decoder is not None and each.frames is not None]
    if not asking:
        return results
    try:
        streams = [decoder for _, decoder, _ in asking]
        pushed = streams[0].push_all(streams, torch.stack([frames for _, _, frames in asking]))
        samples = torch.cat(pushed).float().cpu().split([len(each) for each in pushed])  # one copy for all: each waits for the device
    except Exception:
        for index, decoder, frames in asking:
            try:
                results[index] = decoder.push(frames)
            except Exception as error:
                results[index] = error
    else:
        for (index, _, _), each in zip(asking, samples, strict=True):
            results[index] = each
    return results
