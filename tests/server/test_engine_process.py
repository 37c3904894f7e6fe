"""`omni serve` with two gateways, as people run it: what dies is told at once and comes back, what gateways share holds for all of them.

One server for all tests of this module, in their order; the last one kills it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.server.conftest import User

pytestmark = pytest.mark.timeout(300)
PATIENCE_S = 90.0  # a busy machine may take long to load a model
SESSIONS = 12


class Served:
    """The server's processes."""

    def __init__(self, parent: subprocess.Popen[bytes], folder: Path) -> None:
        self.parent, self._folder, self.port = parent, folder, 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/realtime"

    def children(self, module: str) -> list[int]:
        listed = Path(f"/proc/{self.parent.pid}/task/{self.parent.pid}/children").read_text().split()
        return sorted(int(pid) for pid in listed if module in Path(f"/proc/{pid}/cmdline").read_text())

    @property
    def engine(self) -> int:
        (pid,) = self.children("omni_core.engine.process")
        return pid

    @property
    def gateways(self) -> list[int]:
        return self.children("server.gateway")

    def sessions(self) -> list[int]:
        """Of each gateway."""
        (file,) = self._folder.glob("omni-*/sessions")
        return np.fromfile(file, np.int32).tolist()

    def ready(self) -> bool:
        """All gateways: whichever takes a connection."""
        try:
            return all(httpx.get(f"http://127.0.0.1:{self.port}/readyz", trust_env=False).status_code == 200 for _ in range(12))
        except httpx.TransportError:
            return False

    async def user(self, stack: AsyncExitStack, secret: str | None = None) -> User:
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        socket = await connect(self.url, proxy=None, max_size=None, max_queue=None, additional_headers=headers)
        stack.push_async_callback(socket.close)
        user = User(socket)
        await user.until("session.created")
        return user


async def until(true: Callable[[], bool]) -> None:
    """Wait for something that nobody announces; sockets are served meanwhile."""
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def memory_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("serve")
    settings = {"MODEL": "nano", "DEVICE": "cpu", "PORT": "0", "PORT_FILE": str(folder / "port"), "GATEWAYS": "2", "MAX_SESSIONS": str(SESSIONS)}
    environment = {**os.environ, "TMPDIR": str(folder), **{f"OMNI_{name}": value for name, value in settings.items()}}
    with (folder / "log").open("wb") as log:
        parent = subprocess.Popen([sys.executable, "-m", "server"], cwd=repository, env=environment, stdout=log, stderr=log)
    served = Served(parent, folder)
    try:
        asyncio.run(until((folder / "port").is_file))
        served.port = int((folder / "port").read_text())
        asyncio.run(until(served.ready))
        yield served
    finally:
        parent.kill()
        parent.wait()
        print((folder / "log").read_text())


async def test_gateways_share_the_port_the_secrets_and_the_number_of_sessions(served: Served) -> None:
    assert len(served.gateways) == 2
    assert not any("libtorch" in Path(f"/proc/{pid}/maps").read_text() for pid in (served.parent.pid, *served.gateways))  # they see no tensor
    made = httpx.post(f"http://127.0.0.1:{served.port}/v1/realtime/client_secrets", json={"session": {"instructions": "Be brief"}}, trust_env=False)
    async with AsyncExitStack() as stack:
        users = [await served.user(stack, made.json()["value"]) for _ in range(SESSIONS)]
        assert all(user.heard[0]["session"]["instructions"] == "Be brief" for user in users)
        assert sum(served.sessions()) == SESSIONS
        assert min(served.sessions()) > 0  # one in 2,000 runs has them all in one
        assert httpx.get(f"http://127.0.0.1:{served.port}/readyz", trust_env=False).json()["sessions"] == SESSIONS
        for _ in range(4):
            async with connect(served.url, proxy=None) as socket:
                with pytest.raises(ConnectionClosed) as closed:
                    await socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1013
    await until(lambda: sum(served.sessions()) == 0)


async def test_killing_the_engine_under_speaking_users(served: Served) -> None:
    """All are told within a second; the same sessions and new ones work again; nothing is left in the gateways' memory."""
    async with AsyncExitStack() as stack:
        users = [await served.user(stack) for _ in range(8)]
        await asyncio.gather(*[answered(user) for user in users])
        before = [memory_mb(pid) for pid in served.gateways]
        await asyncio.gather(*[speaking(user) for user in users])
        killed = time.monotonic()
        os.kill(served.engine, signal.SIGKILL)
        failed = await asyncio.gather(*[user.until("response.done") for user in users])
        took = time.monotonic() - killed
        assert [event["response"]["status"] for event in failed] == ["failed"] * 8
        assert {event["response"]["status_details"]["error"]["code"] for event in failed} == {"engine_stopped"}
        assert took < 1
        assert not served.ready()
        await until(served.ready)
        await asyncio.gather(*[answered(user) for user in users])
        await answered(await served.user(stack))
        print(f"8 users were told after {1000 * took:.0f} ms and answered again after {time.monotonic() - killed:.1f} s")
    await until(lambda: sum(served.sessions()) == 0)
    assert all(memory_mb(pid) < was + 20 for pid, was in zip(served.gateways, before, strict=True))


async def answered(user: User) -> None:
    """Ask and hear an answer."""
    user.heard.clear()
    await user.ask()
    done = await user.until("response.done")
    assert done["response"]["status"] in ("completed", "incomplete")
    assert user.of("response.output_audio.delta")


async def speaking(user: User) -> None:
    """Ask, and hear the beginning of an answer that lasts."""
    user.heard.clear()
    await user.ask(max_output_tokens=4096)
    await user.until("response.output_audio.delta")


async def test_a_gateway_that_is_killed_takes_its_sessions_along_and_comes_back(served: Served) -> None:
    async with AsyncExitStack() as stack:
        users = [await served.user(stack) for _ in range(10)]
        first, second = served.gateways
        os.kill(first, signal.SIGKILL)
        outcomes = await asyncio.gather(*[answered(user) for user in users], return_exceptions=True)
        lost = [outcome for outcome in outcomes if isinstance(outcome, ConnectionClosed)]
        assert 0 < len(lost) < 10
        assert all(outcome is None or isinstance(outcome, ConnectionClosed) for outcome in outcomes)
        await until(lambda: len(served.gateways) == 2)
        assert second in served.gateways
        for _ in lost:  # some of them reach the new one
            await answered(await served.user(stack))


async def test_when_the_server_is_killed_nothing_is_left_behind(served: Served) -> None:
    async with AsyncExitStack() as stack:
        await speaking(await served.user(stack))
        children = [served.engine, *served.gateways]
        (folder,) = (file.parent for file in served._folder.glob("omni-*/sessions"))
        served.parent.kill()
        await until(lambda: all(map(gone, children)))
        await until(lambda: not folder.exists())
