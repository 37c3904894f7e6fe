"""A conversation against a scripted server: pace, turns, figures, barge-in, and what goes wrong."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from clients import cli
from clients.errors import ClientError
from clients.python.audio import RATE
from clients.python.client import RealtimeClient
from clients.python.talk import Conversation, Turn, Utterance
from tests.clients.conftest import Script, tone


async def _converse(
    script: Script, files: list[Path], manual: bool = False, timeout_s: float = 10.0, barge_in: tuple[Path, float] | None = None
) -> list[Turn]:
    async with RealtimeClient.connect(script.url, extensions=True) as client:
        conversation = Conversation(client, manual=manual, timeout_s=timeout_s, timings=True)
        interruption = (Utterance.load(barge_in[0]), barge_in[1]) if barge_in else None
        return await conversation.run([Utterance.load(file) for file in files], barge_in=interruption)


async def test_audio_leaves_at_the_pace_of_speech_and_silence_ends_the_turn(script: Script, wav: Path) -> None:
    (turn,) = await _converse(script, [wav])
    assert turn.answer.text == "word0 word1 word2 "
    assert turn.answer.status == "completed"
    assert len(turn.audio) == round(0.6 * RATE)
    figures = turn.to_json()
    # The server waits for 0.5 s of silence; 0.2 s of them are in the file.
    assert 450 <= turn.client_ttfa_ms <= 900
    assert figures["server_ttfa_ms"] == 12
    assert figures["rtf"] == 0.251
    assert figures["underruns"] == 0
    assert figures["interrupted"] is False
    seconds = script.arrivals[-1] - script.arrivals[0]
    assert abs(script.samples / RATE - seconds) < 0.2  # as much audio as time went by


async def test_a_slow_server_is_heard_as_underruns(script: Script, wav: Path) -> None:
    script.pauses_s = (0.0, 0.4, 0.0)
    (turn,) = await _converse(script, [wav])
    assert turn.player.underruns == 1
    assert 100 < turn.to_json()["starved_ms"] < 350


async def test_turns_ended_by_hand(script: Script, wav: Path) -> None:
    (turn,) = await _converse(script, [wav], manual=True)
    assert [event["type"] for event in script.received] == ["session.update", "input_audio_buffer.commit", "response.create"]
    assert turn.answer.text == "word0 word1 word2 "
    assert turn.client_ttfa_ms < 400


async def test_files_are_said_one_after_the_other(script: Script, wav: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.flac"
    soundfile.write(second, np.stack([tone(0.4, 48_000)] * 2, axis=1), 48_000)
    turns = await _converse(script, [wav, second])
    assert [turn.question for turn in turns] == ["question.wav", "second.flac"]
    first, last = turns
    assert last.first_sound_at > first.player.ends()  # a person listens to the end before asking again


async def test_barge_in_stops_the_player_and_says_what_was_heard(script: Script, wav: Path, tmp_path: Path) -> None:
    script.chunks = 20
    stop = tmp_path / "stop.wav"
    soundfile.write(stop, tone(0.3), RATE)
    first, second = await _converse(script, [wav], barge_in=(stop, 0.5))
    assert first.answer.status == "cancelled" or first.heard is not None
    assert 0.4 < first.heard / RATE < 1.0
    assert len(first.audio) == first.heard
    truncate = next(event for event in script.received if event["type"] == "conversation.item.truncate")
    assert truncate["item_id"] == first.answer.item_id
    assert truncate["audio_end_ms"] == round(1000 * first.heard / RATE)
    figures = first.to_json()
    assert figures["interrupted"] is True
    assert figures["onset_to_silence_ms"] < 200  # the server takes the first loud chunk for speech
    assert figures["end_to_silence_ms"] == pytest.approx(figures["onset_to_silence_ms"] - 300, abs=2)
    assert figures["kept"] == "word0 word1"
    assert second.question == "stop.wav"
    assert second.heard is None


async def test_how_turns_are_taken_is_said_first(script: Script, wav: Path, tmp_path: Path) -> None:
    command = ["talk", str(wav), "--url", script.url, "--out", str(tmp_path / "a.wav")]
    assert await asyncio.to_thread(cli.main, [*command, "--turn-detection", "semantic", "--no-interrupt"]) == 0
    update = script.received[0]["session"]["audio"]["input"]
    assert update == {"turn_detection": {"type": "semantic_vad", "interrupt_response": False}}
    assert await asyncio.to_thread(cli.main, [*command, "--manual", "--no-interrupt"]) == 2


async def test_a_file_without_speech_and_a_server_that_refuses(script: Script, wav: Path, tmp_path: Path) -> None:
    script.deaf = True
    with pytest.raises(ClientError, match=r"question\.wav: the server heard no speech"):
        await _converse(script, [wav], timeout_s=0.5)
    script.error = "the model is on holiday"
    with pytest.raises(ClientError, match="the model is on holiday"):
        await _converse(script, [wav], manual=True)


async def test_the_command_prints_and_saves(script: Script, wav: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "answers" / "a.wav"
    assert await asyncio.to_thread(cli.main, ["talk", str(wav), str(wav), "--url", script.url, "--out", str(out), "--json"]) == 0
    turns = json.loads(capsys.readouterr().out)["turns"]
    assert [turn["file"] for turn in turns] == [str(out), str(out.with_name("a-2.wav"))]
    for turn in turns:
        samples, rate = soundfile.read(turn["file"])
        assert (len(samples), rate) == (round(0.6 * RATE), RATE)
    assert await asyncio.to_thread(cli.main, ["talk", str(wav), "--url", script.url, "--out", str(out), "--manual"]) == 0
    text = capsys.readouterr().out
    assert "> word0 word1 word2" in text
    assert "server 12 ms" in text
    assert "0 underruns" in text


async def test_a_picture_is_shown_first_and_a_blind_model_answers_all_the_same(
    script: Script, wav: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script.blind = True
    (tmp_path / "cat.png").write_bytes(b"\x89PNG")
    command = ["talk", str(wav), "--url", script.url, "--out", str(tmp_path / "a.wav"), "--manual", "--image", str(tmp_path / "cat.png")]
    assert await asyncio.to_thread(cli.main, command) == 0
    shown = next(event for event in script.received if event["type"] == "conversation.item.create")
    assert shown["item"]["content"] == [{"type": "input_image", "image_url": "data:image/png;base64,iVBORw=="}]
    said = capsys.readouterr()
    assert "note: I can't see" in said.err
    assert "> word0 word1 word2" in said.out


async def test_collect_reads_one_response(script: Script) -> None:
    async with RealtimeClient.connect(script.url) as client:
        await client.end_turns_by_hand()
        await client.append(tone(0.5))
        await client.commit()
        await client.create_response()
        answer = await asyncio.wait_for(client.collect(), 5)
    assert answer.text == "word0 word1 word2 "
    assert len(answer.audio) == round(0.6 * RATE)
    assert answer.usage == {"total_tokens": 1}
