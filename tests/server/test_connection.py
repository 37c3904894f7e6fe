"""Whole conversations over a real socket with a real engine, and what goes wrong in them."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from websockets.exceptions import ConnectionClosed

from omni_core.config import EngineConfig, ListenerConfig
from omni_core.engine.request import GenerateRequest
from omni_core.tokens import HISTORY_TOKENS, Task
from tests.server.conftest import Server, Start, eventually
from tests.session.harness import PICTURE, silence

QUESTION = Path(__file__).parents[1] / "assets" / "questions"


def speech() -> bytes:
    """A recorded question between silences, s16le at 24 kHz."""
    samples, rate = soundfile.read(sorted(QUESTION.glob("*.flac"))[0], dtype="float32")
    wave = np.concatenate([np.zeros(12_000), soxr.resample(samples, rate, 24_000), np.zeros(20_000)])
    return (np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes()


async def closed(user: Any) -> tuple[int, str]:
    """The code and reason with which the server closes."""
    async with asyncio.timeout(20):
        with pytest.raises(ConnectionClosed) as end:  # noqa: PT012
            while True:
                user.heard.append(json.loads(await user.socket.recv()))
    assert end.value.rcvd is not None
    return end.value.rcvd.code, end.value.rcvd.reason


async def test_a_typed_question_is_answered_in_speech_as_it_is_made(server: Server) -> None:
    async with server.user() as user:
        await user.ask()
        done = (await user.until("response.done"))["response"]
        await user.until("rate_limits.updated")
    assert done["status"] in ("completed", "incomplete")
    deltas = user.of("response.output_audio.delta")
    assert len(deltas) > 3
    audio = b"".join(base64.b64decode(event["delta"]) for event in deltas)
    assert len(audio) % 2 == 0
    assert done["usage"]["output_token_details"]["audio_tokens"] >= 7 * (len(audio) // 4096)
    transcript = "".join(event["delta"] for event in user.of("response.output_audio_transcript.delta"))
    assert user.of("response.output_audio_transcript.done")[0]["transcript"] == transcript
    assert not user.of("omni.response.timings")


async def test_a_turn_whose_hearing_was_lost_with_its_engine_is_answered_all_the_same(server: Server) -> None:
    async with server.user() as user:
        await user.send("session.update", session={"type": "realtime", "max_output_tokens": 80})
        sound = speech()
        half = len(sound) // 4 * 2
        await user.say(sound[:half])
        await user.until("input_audio_buffer.speech_started")
        await eventually(lambda: bool(server.engine._turns))
        server.engine._turns.clear()  # as when the engine dies and another is started
        await user.say(sound[half:])
        assert (await user.until("response.done"))["response"]["status"] in ("completed", "incomplete")
    assert user.of("response.output_audio.delta")


async def test_a_spoken_question_is_heard_transcribed_and_answered(server: Server) -> None:
    async with server.user() as user:
        session = {"type": "realtime", "max_output_tokens": 80, "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
        await user.send("session.update", session=session)
        await user.say(speech())
        started = await user.until("input_audio_buffer.speech_started")
        stopped = await user.until("input_audio_buffer.speech_stopped")
        assert 0 <= started["audio_start_ms"] < 600 < stopped["audio_end_ms"]
        await user.until("response.done")
        while not user.of("conversation.item.input_audio_transcription.completed"):
            await user.next()
    assert user.of("response.output_audio.delta")


async def test_the_next_answer_is_given_what_was_said_before(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[GenerateRequest] = []
    generate = server.engine.generate
    monkeypatch.setattr(server.engine, "generate", lambda request: [asked.append(request), generate(request)][1])
    async with server.user() as user:
        await user.manual(output_modalities=["text"], max_output_tokens=12)
        for _ in range(2):
            await user.say(speech())
            await user.send("input_audio_buffer.commit")
            await user.send("response.create")
            await user.until("response.done")
            await server.idle()  # the transcript too is made
        await user.send("conversation.item.retrieve", item_id=user.of("input_audio_buffer.committed")[0]["item_id"])
        question = (await user.until("conversation.item.retrieved"))["item"]["content"][0]["transcript"]
    first, second = (event["response"] for event in user.of("response.done"))
    assert [request.task for request in asked] == [Task.A1T2, Task.A1T1] * 2
    assert asked[1].max_steps < 200  # a transcript is bounded by the speech
    assert [request.history for request in asked] == [(), (), ((question, first["output"][0]["content"][0]["text"]),), ()]
    turn = 4 + sum(min(HISTORY_TOKENS, len(text.encode())) for text in asked[2].history[0])  # an id is a byte here
    assert second["usage"]["input_tokens"] == first["usage"]["input_tokens"] + turn
    assert not [event for event in user.heard if "transcription" in event["type"]]


async def test_a_committed_turn_is_answered_in_text(server: Server) -> None:
    async with server.user() as user:
        await user.manual(output_modalities=["text"], max_output_tokens=12)
        await user.say(silence(500))
        await user.send("input_audio_buffer.commit")
        await user.send("response.create")
        done = (await user.until("response.done"))["response"]
    assert done["output"][0]["content"][0]["type"] == "output_text"
    assert not user.of("response.output_audio.delta")


async def test_timings_go_to_those_who_ask_for_extensions(server: Server) -> None:
    async with server.user("?extensions=omni") as user:
        await user.ask()
        await user.until("response.done")
    timings = user.heard[-2]
    assert timings["type"] == "omni.response.timings"
    assert 0 < timings["server_ttfa_ms"] < 20_000
    assert timings["audio_ms"] > 0
    assert timings["rtf"] > 0


async def test_two_users_at_once(server: Server) -> None:
    async with server.user() as one, server.user() as two:
        await asyncio.gather(one.ask(), two.ask())
        first, second = await asyncio.gather(one.until("response.done"), two.until("response.done"))
    assert first["response"]["id"] != second["response"]["id"]
    for user, done in ((one, first), (two, second)):
        assert {event["response_id"] for event in user.of("response.output_audio.delta")} == {done["response"]["id"]}


async def test_cancel_ends_the_answer_and_frees_its_slot(server: Server) -> None:
    async with server.user() as user:
        await user.ask(max_output_tokens="inf")
        await user.until("response.output_audio.delta")
        await user.send("response.cancel")
        done = await user.until("response.done")
        assert done["response"]["status"] == "cancelled"
        await server.idle()
        await user.ask()
        assert (await user.until("response.done"))["response"]["status"] != "cancelled"


async def test_speech_over_an_answer_cancels_it(server: Server) -> None:
    async with server.user() as user:
        await user.ask(max_output_tokens="inf")
        await user.until("response.output_audio.delta")
        await user.say(speech())
        done = await user.until("response.done")
        assert done["response"]["status_details"]["reason"] == "turn_detected"
        await user.until("input_audio_buffer.speech_started")


async def test_a_client_that_leaves_in_the_middle_of_an_answer_frees_its_slot(serving: Start) -> None:
    async with serving(EngineConfig(slots=1, queue=0)) as server:
        async with server.user() as user:
            await user.ask(max_output_tokens="inf")
            await user.until("response.output_audio.delta")
        await server.idle()
        async with server.user() as user:
            await user.ask()
            assert (await user.until("response.done"))["response"]["status"] != "failed"
            assert len(server.sessions) == 1


async def test_an_engine_without_a_free_slot_says_so_and_the_session_goes_on(serving: Start) -> None:
    async with serving(EngineConfig(slots=1, queue=0)) as server, server.user() as one, server.user() as two:
        await one.ask(max_output_tokens="inf")
        await one.until("response.output_audio.delta")
        await two.ask()
        done = (await two.until("response.done"))["response"]
        assert (done["status"], done["status_details"]["error"]["code"]) == ("failed", "server_busy")
        await one.send("response.cancel")
        await one.until("response.done")
        await two.send("response.create", response={"max_output_tokens": 80})
        assert (await two.until("response.done"))["response"]["status"] != "failed"


async def test_an_engine_that_stops_is_named_in_the_response(server: Server) -> None:
    async with server.user() as user:
        await user.ask(max_output_tokens="inf")
        await user.until("response.output_audio.delta")
        await server.engine.close()
        done = (await user.until("response.done"))["response"]
    assert (done["status"], done["status_details"]["error"]["code"]) == ("failed", "engine_stopped")


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("{not json", "invalid_json"),
        ('{"type": "response.dance", "event_id": "mine"}', "unknown_event_type"),
        ('{"type": "input_audio_buffer.append", "audio": "%%%"}', "invalid_audio"),
        ('{"type": "input_audio_buffer.append", "audio": "YWJj"}', "invalid_audio"),
        ('{"type": "input_audio_buffer.commit"}', "input_audio_buffer_commit_empty"),
        ('{"type": "response.cancel"}', "response_cancel_not_active"),
    ],
)
async def test_a_bad_event_is_answered_and_the_session_goes_on(server: Server, frame: str, code: str) -> None:
    async with server.user() as user:
        await user.socket.send(frame)
        assert (await user.until("error"))["error"]["code"] == code
        await user.ask(output_modalities=["text"], max_output_tokens=4)
        await user.until("response.done")


async def test_a_picture_for_a_model_that_can_not_see(server: Server) -> None:
    async with server.user() as user:
        content = [{"type": "input_image", "image_url": PICTURE}, {"type": "input_text", "text": "What is this?"}]
        await user.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})
        await user.send("response.create", response={"max_output_tokens": 80})
        assert (await user.until("error"))["error"]["code"] == "image_not_supported"
        assert (await user.until("response.done"))["response"]["status"] != "failed"


async def test_a_binary_frame_closes_with_1003(server: Server) -> None:
    async with server.user() as user:
        await user.socket.send(b"\x00\x01")
        assert await closed(user) == (1003, "binary_frame")
        assert user.heard[-1]["error"]["code"] == "binary_frame"


async def test_text_that_is_no_utf8_closes_with_1007(server: Server) -> None:
    async with server.user() as user:
        await user.socket.send(b'"\xff"', text=True)
        assert (await closed(user))[0] == 1007


async def test_too_large_a_frame_closes_with_1009(serving: Start) -> None:
    async with serving(max_message_bytes=10_000) as server, server.user() as user:
        await user.say(silence(1000), chunk_ms=1000)
        assert (await closed(user))[0] == 1009


async def test_the_session_limit_closes_with_1001(serving: Start) -> None:
    async with serving(session_s=0.3) as server, server.user() as user:
        assert await closed(user) == (1001, "session_expired")
        assert user.heard[-1]["error"]["code"] == "session_expired"


async def test_a_client_that_does_not_read_is_dropped_by_name(serving: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "omni.server")
    async with serving(outgoing_events=10) as server, server.user() as user:
        user.socket.transport.pause_reading()
        # Every answer is as large as the question: together more than the socket's buffers and the queue take.
        flood = asyncio.create_task(ask_for_ever(user))
        await eventually(lambda: not server.sessions)
        flood.cancel()
        user.socket.transport.abort()
    assert "1008 client_too_slow" in caplog.text


async def ask_for_ever(user: Any) -> None:
    update = json.dumps({"type": "session.update", "session": {"instructions": "x" * 200_000}})
    while True:
        await user.socket.send(update)


async def test_a_turn_goes_to_the_engine_while_it_is_spoken_and_its_answer_is_prepared(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[GenerateRequest] = []
    generate = server.engine.generate
    monkeypatch.setattr(server.engine, "generate", lambda request: [asked.append(request), generate(request)][1])
    async with server.user() as user:
        await user.send("session.update", session={"type": "realtime", "max_output_tokens": 80})
        await user.say(speech())
        await user.until("response.done")
    answers = [request for request in asked if request.task is Task.A1A2]
    assert all(request.audio is None and request.turn is not None for request in answers)
    assert not server.engine._turns


async def test_the_listener_stops_an_answer_that_speech_does_not(serving: Start) -> None:
    listener = ListenerConfig(band_frames=8, margin=-1e9)  # whatever it hears is the command
    async with serving(listener=listener) as server, server.user("?extensions=omni") as user:
        detection = {"type": "server_vad", "interrupt_response": False}
        await user.send("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": detection}}})
        await user.ask(max_output_tokens="inf")
        await user.until("response.output_audio.delta")
        await user.say(silence(400))
        done = await user.until("response.done")
        assert done["response"]["status_details"]["reason"] == "turn_detected"
        assert user.of("omni.listener.status")[-1]["status"] == "irq"
        await user.until("input_audio_buffer.speech_started")
        await user.until("input_audio_buffer.speech_stopped")
        await server.idle()
        assert not server.engine._listeners
