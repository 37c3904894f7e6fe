"""A loudspeaker, where the machine has one and the package sounddevice is installed."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Self

import numpy as np

from clients.errors import ClientError
from clients.python.audio import RATE, Wave


class Speaker:
    """Plays what it is given; `stop` forgets what has not been played."""

    def __init__(self) -> None:
        try:
            import sounddevice
        except ImportError as error:
            raise ClientError("--play needs the package sounddevice; pip install 'omni-duplex[play]'") from error
        except OSError as error:  # the package is there, PortAudio is not
            raise ClientError(f"--play can't reach a sound system ({error}); on Debian or Ubuntu: apt install libportaudio2") from error
        self._lock = threading.Lock()
        self._waiting = np.zeros(0, np.float32)
        try:
            self._stream = sounddevice.OutputStream(samplerate=RATE, channels=1, dtype="float32", callback=self._fill)
        except sounddevice.PortAudioError as error:
            raise ClientError(f"--play found no usable sound device ({error}); leave it out and listen to the saved file") from error

    def __enter__(self) -> Self:
        self._stream.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stream.stop()
        self._stream.close()

    def play(self, wave: Wave) -> None:
        """Queue samples."""
        with self._lock:
            self._waiting = np.concatenate([self._waiting, wave])

    def stop(self) -> None:
        """Forget what has not been played."""
        with self._lock:
            self._waiting = self._waiting[:0]

    def _fill(self, out: Any, frames: int, time: Any, status: Any) -> None:
        with self._lock:
            ready, self._waiting = self._waiting[:frames], self._waiting[frames:]
        out[: len(ready), 0] = ready
        out[len(ready) :, 0] = 0.0
