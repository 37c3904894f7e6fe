"""Token ids, prompts, the delay pattern and text: everything about the eight streams that needs no tensor library."""

from omni_core.tokens.delay import DelayBuffer, apply_delay, revert_delay
from omni_core.tokens.history import HISTORY_TOKENS, history_ids
from omni_core.tokens.layout import AUDIO_LAYERS, RELEASED, STREAMS, TEXT_STREAM, TokenLayout
from omni_core.tokens.prompts import IMAGE_FRAMES, Prompt, Task, build_prompt
from omni_core.tokens.text import TextStream, Tokenizer

__all__ = [
    "AUDIO_LAYERS",
    "HISTORY_TOKENS",
    "IMAGE_FRAMES",
    "RELEASED",
    "STREAMS",
    "TEXT_STREAM",
    "DelayBuffer",
    "Prompt",
    "Task",
    "TextStream",
    "TokenLayout",
    "Tokenizer",
    "apply_delay",
    "build_prompt",
    "history_ids",
    "revert_delay",
]
