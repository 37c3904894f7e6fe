"""What a server on this machine uses: its processes' time from /proc, the GPU's from nvidia-smi. Where there is neither, nothing is said."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

_LISTENING = "0A"  # the state of a socket, in /proc/net/tcp
_PERIOD_S = 1.0
_GPU = ("nvidia-smi", "--query-gpu=index,utilization.gpu,memory.used", "--format=csv,noheader,nounits", "-l", "1")


@dataclass
class Usage:
    """So far."""

    cpu_s: float | None = None  #: of the server's processes together
    gpu: dict[str, list[float]] = field(default_factory=dict)  #: by index: readings, their sum in per cent, the most memory in MiB

    @property
    def busiest_gpu(self) -> tuple[float, float] | None:
        """Its use on average, 0 .. 1, and the most memory, MiB."""
        return max(((total / readings / 100, memory) for readings, total, memory in self.gpu.values()), default=None)


class Watch:
    """Of the server at a URL."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._port = parts.port or {"ws": 80, "wss": 443}.get(parts.scheme, 0)
        self._here = _is_here(parts.hostname or "")
        self._before: dict[int, float] = {}  # s of each process when it was first seen
        self._cpu: dict[int, float] = {}  # and last
        self._holders: set[int] = set()
        self.usage = Usage()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """It is watched inside the block."""
        if not self._here:
            yield
            return
        self._read_cpu()
        tasks = [asyncio.create_task(self._keep_reading()), asyncio.create_task(self._read_gpu())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self._read_cpu()

    async def _keep_reading(self) -> None:
        while True:  # not only at the end: a server that dies takes its figures with it
            await asyncio.sleep(_PERIOD_S)
            self._read_cpu()

    def _read_cpu(self) -> None:
        if not Path("/proc/net/tcp").exists():
            return
        self._holders = self._holders or _listening_on(self._port)
        for pid in _with_children(self._holders):
            with contextlib.suppress(OSError):
                self._cpu[pid] = _cpu_s(pid)
                self._before.setdefault(pid, self._cpu[pid])
        if self._cpu:
            self.usage.cpu_s = sum(self._cpu.values()) - sum(self._before.values())

    async def _read_gpu(self) -> None:
        try:
            process = await asyncio.create_subprocess_exec(*_GPU, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        except OSError:
            return
        try:
            assert process.stdout is not None
            async for line in process.stdout:
                with contextlib.suppress(ValueError):
                    index, used, memory = line.decode().split(",")
                    readings, total, most = self.usage.gpu.get(index, [0.0, 0.0, 0.0])
                    self.usage.gpu[index] = [readings + 1, total + float(used), max(most, float(memory))]
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listening_on(port: int) -> set[int]:
    """Processes of ours that hold the listening socket of that port."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
            inodes |= {f"socket:[{row[9]}]" for row in rows if row[3] == _LISTENING and int(row[1].rpartition(":")[2], 16) == port}
    return {pid for pid in _processes() if not inodes.isdisjoint(_open_files(pid))}


def _open_files(pid: int) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                yield os.readlink(entry.path)


def _with_children(roots: set[int]) -> set[int]:
    """With all that they started, and what those started."""
    parents = {}
    for pid in _processes():
        with contextlib.suppress(OSError, IndexError, ValueError):
            parents[pid] = int(_fields(pid)[1])
    found = set(roots)
    while more := {pid for pid, parent in parents.items() if parent in found and pid not in found}:
        found |= more
    return found


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _cpu_s(pid: int) -> float:
    fields = _fields(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime


def _fields(pid: int) -> list[str]:
    """Of /proc/PID/stat, from its third: what stands before may hold blanks."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
