"""Every id and offset of the joint vocabulary. The only module that may hold them as numbers.

Source: Mini-Omni2's reference code. Rows of the one embedding: the text part, then seven audio layers of equal size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from omni_core.config import LayoutConfig
from omni_core.errors import ConfigError

AUDIO_LAYERS = 7  #: codes of one codec frame, one layer each
STREAMS = AUDIO_LAYERS + 1
TEXT_STREAM = AUDIO_LAYERS  #: index of the text stream; 0..6 are the audio layers

RELEASED = LayoutConfig(text_tokens=151_936, text_rows=152_000, codes=4096, audio_rows=4160)

_TEXT_SPECIALS = 7  # eot, pad_t, input_t, answer_t, asr, n_irq, irq
_AUDIO_SPECIALS = 7  # eoa, pad_a, input_a, answer_a, split, image, eoimage


@dataclass(frozen=True)
class TokenLayout:
    """Ids that follow from the sizes of the vocabulary. Audio ids are local to a layer unless a name says global."""

    text_tokens: int
    text_rows: int
    codes: int
    audio_rows: int

    @classmethod
    def from_config(cls, config: LayoutConfig) -> TokenLayout:
        """The layout of `config`; ConfigError if the special ids don't fit."""
        if config.text_rows < config.text_tokens + _TEXT_SPECIALS:
            raise ConfigError(f"text_rows {config.text_rows} is below {config.text_tokens} text tokens + {_TEXT_SPECIALS} special ids: raise it")
        if config.audio_rows < config.codes + _AUDIO_SPECIALS:
            raise ConfigError(f"audio_rows {config.audio_rows} is below {config.codes} codes + {_AUDIO_SPECIALS} special ids: raise it")
        return cls(config.text_tokens, config.text_rows, config.codes, config.audio_rows)

    @property
    def eot(self) -> int:
        """End of text."""
        return self.text_tokens

    @property
    def pad_t(self) -> int:
        return self.text_tokens + 1

    @property
    def input_t(self) -> int:
        return self.text_tokens + 2

    @property
    def answer_t(self) -> int:
        return self.text_tokens + 3

    @property
    def asr(self) -> int:
        """Asks for a transcription in place of an answer."""
        return self.text_tokens + 4

    @property
    def n_irq(self) -> int:
        """Listener status: go on speaking."""
        return self.text_tokens + 5

    @property
    def irq(self) -> int:
        """Listener status: stop speaking."""
        return self.text_tokens + 6

    @property
    def eoa(self) -> int:
        """End of audio."""
        return self.codes

    @property
    def pad_a(self) -> int:
        return self.codes + 1

    @property
    def input_a(self) -> int:
        return self.codes + 2

    @property
    def answer_a(self) -> int:
        return self.codes + 3

    @property
    def split(self) -> int:
        return self.codes + 4

    @property
    def image(self) -> int:
        return self.codes + 5

    @property
    def eoimage(self) -> int:
        return self.codes + 6

    @property
    def rows(self) -> int:
        """Rows of the embedding, which is also the head."""
        return self.text_rows + AUDIO_LAYERS * self.audio_rows

    @property
    def offsets(self) -> NDArray[np.int64]:
        """[8]: what turns a stream's own ids into global ones (0 for text)."""
        offsets = self.text_rows + self.audio_rows * np.arange(STREAMS, dtype=np.int64)
        offsets[TEXT_STREAM] = 0
        return offsets

    def audio_id(self, layer: int, local: int) -> int:
        """Global id of `local` in audio layer `layer` (0..6)."""
        return self.text_rows + self.audio_rows * layer + local

    def to_global(self, columns: NDArray[np.integer]) -> NDArray[np.int64]:
        """[8, n] ids as generated (audio local to its layer, text as it is) -> [8, n] global ids, as the model reads them."""
        return columns + self.offsets[:, None]

    def to_local(self, tokens: NDArray[np.integer]) -> NDArray[np.int64]:
        """The inverse of `to_global`."""
        return tokens - self.offsets[:, None]
