"""What a checkpoint gives once it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from omni_core.config import ListenerConfig, ReadAloudConfig
from omni_core.models import EndOfTurn, OmniModel
from omni_core.tokens import Tokenizer

if TYPE_CHECKING:
    from omni_core.codec.base import Codec
    from omni_core.encoders.base import AudioEncoder
    from omni_core.encoders.vision import VisionEncoder


@dataclass(frozen=True, eq=False)
class Bundle:
    """A model and the parts around it; a part the checkpoint does not hold is None."""

    model: OmniModel
    tokenizer: Tokenizer | None
    audio_encoder: AudioEncoder | None
    vision_encoder: VisionEncoder | None
    codec: Codec | None
    name: str
    listener: ListenerConfig | None  #: None: the irq / n-irq ids are untrained
    memory_turns: int = 0  #: earlier turns that reach the prompt
    end_of_turn: EndOfTurn | None = None  #: tells a turn that has ended from one that pauses
    read_aloud: ReadAloudConfig | None = None  #: None: it answers every text
