"""What a newcomer does first: `omni demo`, and the example of the README."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile


@pytest.mark.timeout(180)
def test_the_demo_asks_answers_and_says_how_to_go_on(tmp_path: Path, repository: Path) -> None:
    command = [sys.executable, "-m", "clients.cli", "demo", "--device", "cpu", "--json"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.stdout, run.stderr
    report = json.loads(run.stdout)
    assert 4 <= report["asked"] <= 6
    assert report["right"] >= 0.75 * report["asked"], [(answer["question"], answer["answer"]) for answer in report["answers"]]
    assert run.returncode == 0
    for number, answer in enumerate(report["answers"], 1):
        samples, rate = soundfile.read(tmp_path / f"demo/answer-{number}.wav")
        assert rate == 24_000
        assert abs(1000 * len(samples) / rate - answer["audio_ms"]) < 2
        assert answer["server_ttfa_ms"] > 0
        assert answer["rtf"] > 0


def test_the_readme_s_client_works_as_written(nano_url: str, repository: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (repository / "README.md").read_text(encoding="utf-8"), re.S)
    (program,) = [block for block in blocks if "AsyncOpenAI" in block]
    address = nano_url.removeprefix("ws://").split("/")[0]
    assert "127.0.0.1:8000" in program
    program = program.replace("127.0.0.1:8000", address).replace("answer.wav", str(tmp_path / "answer.wav"))
    run = subprocess.run([sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.split()) >= 3
    samples, rate = soundfile.read(tmp_path / "answer.wav")
    assert rate == 24_000
    assert len(samples) > rate // 2
