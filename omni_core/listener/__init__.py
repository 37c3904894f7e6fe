"""The listener: statuses irq and n-irq from the microphone's codes, one a frame, while the assistant speaks (model-facts section 5).

Owns how a status is asked for and decided. Where codes come from is the codec's, what follows from irq the session's.
"""

from omni_core.listener.batch import BatchListener
from omni_core.listener.reading import listener_tokens, margins

__all__ = ["BatchListener", "listener_tokens", "margins"]
