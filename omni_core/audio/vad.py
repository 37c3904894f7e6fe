"""How likely each short window of sound is speech: silero-vad's network, with state per session.

The package's own Python is not imported, because that calls `torch.set_num_threads(1)` for the whole process; its ONNX file is run
here by onnxruntime. Deciding when a turn begins or ends is not done here: that is endpointing, in the session.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omni_core.audio.resample import Resampler
from omni_core.errors import ConfigError

RATE = 24_000  #: Hz, of the sound pushed
WINDOW = 768  #: samples at RATE that one probability stands for (32 ms)
_NETWORK_RATE = 16_000
_NETWORK_WINDOW = 512
_CONTEXT = 64  # samples of the window before that the network sees again (silero-vad `OnnxWrapper.__call__`)


class VoiceActivity:
    """Speech probability of one continuous sound, window by window. One object per microphone."""

    def __init__(self) -> None:
        self._session = _network()
        self._rate = np.array(_NETWORK_RATE, np.int64)
        self._resampler = Resampler(RATE, _NETWORK_RATE, quality="LQ")
        self.reset()

    def reset(self) -> None:
        """Forget the sound so far; sample counts start at 0 again."""
        self._resampler.reset()
        self._pending = np.zeros(0, np.float32)  # at 16 kHz, less than a window
        self._context = np.zeros(_CONTEXT, np.float32)
        self._state = np.zeros((2, 1, 128), np.float32)
        self._windows = 0

    def push(self, pcm: NDArray[np.float32]) -> list[tuple[int, float]]:
        """Take float32 [samples] at 24 kHz; give (end, probability in 0..1) for each window completed by them.

        `end` counts 24 kHz samples since the start or `reset`: the window is [end - 768, end).
        """
        self._pending = np.concatenate([self._pending, self._resampler.push(pcm)])
        count = len(self._pending) // _NETWORK_WINDOW
        windows, self._pending = np.split(self._pending, [count * _NETWORK_WINDOW])
        return [self._probability(window) for window in windows.reshape(count, _NETWORK_WINDOW)]

    def _probability(self, window: NDArray[np.float32]) -> tuple[int, float]:
        heard = np.concatenate([self._context, window])[None]  # [1, 64 + 512]
        output, self._state = self._session.run(None, {"input": heard, "state": self._state, "sr": self._rate})
        self._context = window[-_CONTEXT:]
        self._windows += 1
        return self._windows * WINDOW, float(output[0, 0])


@functools.cache
def _network() -> Any:
    """The network, loaded once per process: running it keeps no state, so every session may share it."""
    import onnxruntime

    spec = importlib.util.find_spec("silero_vad")
    if spec is None or spec.origin is None:
        raise ConfigError("voice activity detection needs the package silero-vad: install it with pip install silero-vad")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    file = Path(spec.origin).parent / "data" / "silero_vad.onnx"
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
