"""How many sessions all gateways of a server have open together: a few numbers in a file that each of them maps into its memory."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

_BYTES = 4  # of one gateway's number


class OpenSessions:
    """Each gateway writes its own number and reads all. Two that let somebody in at the same moment may pass the limit by one."""

    def __init__(self, file: Path, gateway: int, gateways: int) -> None:
        """gateway: its number, from 0; one that is started again begins with none."""
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, _BYTES * gateways)
            self._counts = memoryview(mmap.mmap(descriptor, _BYTES * gateways)).cast("i")
        finally:
            os.close(descriptor)
        self._gateway = gateway
        self.here(0)

    def here(self, count: int) -> None:
        """So many are open in this gateway."""
        self._counts[self._gateway] = count

    @property
    def total(self) -> int:
        """So many are open in all."""
        return sum(self._counts)
