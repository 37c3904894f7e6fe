"""A server that has seen a thousand sessions is as large as one that has seen two hundred: engine, gateway and all they keep."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.conftest import Server

SESSIONS, SETTLED = 1_000, 200


def memory_kib() -> int:
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_memory_is_flat_over_a_thousand_sessions(server: Server) -> None:
    settled = 0
    for number in range(SESSIONS):
        if number == SETTLED:
            settled = memory_kib()
        async with server.user() as user:
            item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Who are you?"}]}
            await user.send("conversation.item.create", item=item)
            await user.send("response.create", response={"max_output_tokens": 40})
            assert (await user.until("response.done"))["response"]["status"] in ("completed", "incomplete")
    grown = memory_kib() - settled
    print(f"{settled / 1024:.0f} MiB after {SETTLED} sessions, {grown / 1024:+.1f} MiB after {SESSIONS}")
    assert grown < 8 * 1024
