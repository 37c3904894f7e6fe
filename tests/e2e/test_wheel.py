"""The wheel, alone in an empty environment, serves nano."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from clients.commands.demo import QUESTIONS, Question, read_questions
from clients.commands.server_process import running_server
from clients.python.client import RealtimeClient
from clients.python.talk import Conversation, Turn, Utterance
from omni_core.metrics import same_words


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_wheel_alone_serves_nano(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # so that nothing of the checkout can be imported
    subprocess.run(["git", "clone", "--quiet", "--depth=1", f"file://{repository}", "clone"], check=True)
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", ".", "clone"], check=True)
    (wheel,) = Path().glob("omni_duplex-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"omni_core", "server", "clients", "deploy"}
    assert "omni_core/assets/nano/model.safetensors" in names
    assert "clients/questions/manifest.jsonl" in names
    page = repository / "clients" / "browser"
    assert {str(file.relative_to(repository)) for file in page.rglob("*") if file.is_file()} <= set(names)

    venv.create("alone", with_pip=True)
    python = str(tmp_path / "alone" / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "-c", repository / "constraints.txt", wheel], check=True)
    question = read_questions(QUESTIONS)[0]
    with running_server(Path("server.log"), "--device", "cpu", python=python) as port:
        turn = asyncio.run(_ask(f"ws://127.0.0.1:{port}/v1/realtime", question))
    assert same_words(turn.answer.text, question.expect)


async def _ask(url: str, question: Question) -> Turn:
    async with RealtimeClient.connect(url) as client:
        (turn,) = await Conversation(client).run([Utterance.load(question.audio)])
    return turn
