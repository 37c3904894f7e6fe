"""Whatever a client, a microphone and an engine do, in whatever order: every event is legal, and every response ends exactly once."""

from __future__ import annotations

from functools import partial
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.protocol.errors import ProtocolError
from server.session import Limits
from server.session.messages import (
    AnswerAudio,
    AnswerFailed,
    AnswerFinished,
    AnswerText,
    CancelResponse,
    Output,
    StartResponse,
    StartTranscription,
    TranscriptFailed,
    TranscriptFinished,
    TranscriptText,
)
from tests.server.harness import NANO, PICTURE, SEEING, Talk, base64_audio, silence

IDS = st.sampled_from(["a", "b", "item_t_1", "item_t_2", "item_t_3", "root", "resp_t_1", ""])
ANY = st.one_of(st.none(), st.booleans(), st.integers(-1, 10**6), st.floats(allow_nan=False), st.text(max_size=5), st.lists(st.text(max_size=2)))
PARTS = st.sampled_from(
    [
        {"type": "input_text", "text": "Hi"},
        {"type": "input_text", "text": ""},
        {"type": "input_audio", "audio": base64_audio(silence(300))},
        {"type": "input_audio", "audio": "%"},
        {"type": "input_image", "image_url": PICTURE},
        {"type": "output_text", "text": "Yes"},
        {"type": "output_audio", "transcript": "Yes"},
    ]
)
ITEMS = st.fixed_dictionaries(
    {"type": st.sampled_from(["message", "message", "function_call", "function_call_output", "item_reference"])},
    optional={
        "id": IDS,
        "role": st.sampled_from(["user", "user", "assistant", "system", None]),
        "content": st.lists(PARTS, max_size=3),
        "call_id": ANY,
    },
)
TURN_DETECTION = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["server_vad", "semantic_vad"])},
        optional={
            "create_response": st.booleans(),
            "interrupt_response": st.booleans(),
            "silence_duration_ms": st.integers(-1, 900),
            "threshold": ANY,
        },
    ),
)
SESSIONS = st.one_of(
    ANY,
    TURN_DETECTION.map(lambda detection: {"audio": {"input": {"turn_detection": detection}}}),
    st.fixed_dictionaries(
        {},
        optional={
            "output_modalities": st.sampled_from([["text"], ["audio"], ["text", "audio"], [], None]),
            "audio": st.fixed_dictionaries({}, optional={"input": ANY, "output": st.fixed_dictionaries({}, optional={"voice": ANY, "speed": ANY})}),
            "instructions": ANY,
            "max_output_tokens": ANY,
            "tool_choice": ANY,
        },
    ),
    st.just({"audio": {"input": {"transcription": {"model": "whisper-1"}}}}),
)
RESPONSES = st.fixed_dictionaries(
    {},
    optional={
        "conversation": st.sampled_from(["auto", "none", None]),
        "input": st.lists(ITEMS, max_size=2),
        "output_modalities": st.sampled_from([["text"], ["audio"], []]),
        "instructions": ANY,
        "metadata": st.sampled_from([{"k": "v"}, {}, None]),
        "max_output_tokens": st.sampled_from([1, "inf", 0]),
    },
)


def event(type: str, **fields: Any) -> st.SearchStrategy[Any]:
    return st.tuples(st.just(type), st.fixed_dictionaries(fields))


def user_item(**part: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [part]}


#: how sessions begin
BEGINNINGS = st.fixed_dictionaries(
    {
        "output_modalities": st.sampled_from([["audio"], ["audio"], ["text"]]),
        "audio": st.fixed_dictionaries(
            {
                "input": st.fixed_dictionaries(
                    {
                        "transcription": st.sampled_from([None, {"model": "whisper-1"}]),
                        "turn_detection": st.sampled_from(
                            [
                                {"type": "server_vad"},
                                {"type": "server_vad", "interrupt_response": False},
                                {"type": "semantic_vad", "create_response": False},
                                None,
                            ]
                        ),
                    }
                )
            }
        ),
    }
)
HEARD = st.lists(st.tuples(st.integers(40, 900), st.sampled_from([0.0, 0.4, 0.9])), min_size=1, max_size=3)
TURN = st.integers(100, 1500).map(lambda ms: [(ms, 0.9), (1300, 0.0)])
SAID = st.lists(st.sampled_from(["audio", "text", "finish", "run out", "fail"]), min_size=1, max_size=4)
ACTIONS = st.one_of(
    st.tuples(st.just("hear"), HEARD),
    st.tuples(st.just("hear"), TURN),
    st.tuples(st.just("hear"), TURN),
    st.tuples(st.just("engine"), SAID),
    st.tuples(st.just("engine"), SAID),
    event("response.create", response=RESPONSES),
    event("response.create"),
    event("response.cancel"),
    event("session.update", session=SESSIONS),
    event("conversation.item.create", item=st.just(user_item(type="input_text", text="Hi"))),
    event("conversation.item.create", item=st.just(user_item(type="input_image", image_url=PICTURE))),
    event("conversation.item.create", item=ITEMS, previous_item_id=IDS),
    st.one_of(
        event("response.cancel", response_id=IDS),
        event("input_audio_buffer.append", audio=st.sampled_from(["", "%", base64_audio(silence(50)), base64_audio(b"abc")])),
        event("input_audio_buffer.commit"),
        event("input_audio_buffer.clear"),
        event("conversation.item.retrieve", item_id=IDS),
        event("conversation.item.delete", item_id=IDS),
        event("conversation.item.truncate", item_id=IDS, content_index=st.just(0), audio_end_ms=st.integers(-1, 5000)),
        event("nonsense", x=ANY),
        event("conversation.item.delete"),
    ),
)


class Engine:
    """Answers what was started and not cancelled."""

    def __init__(self) -> None:
        self.open: list[StartResponse | StartTranscription] = []
        self.ended: set[str] = set()

    def obey(self, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case StartResponse() | StartTranscription():
                    self.open.append(output)
                case CancelResponse(id):
                    self.open = [one for one in self.open if not (isinstance(one, StartResponse) and one.response_id == id)]

    def act(self, talk: Talk, what: str) -> list[Output]:
        if not self.open:
            return []
        command = self.open[0]
        if what in ("finish", "run out", "fail"):
            self.open.pop(0)
        failure = ProtocolError("server_busy", "try again")
        if isinstance(command, StartTranscription):
            id = command.item_id
            ends = {"finish": TranscriptFinished(id), "run out": TranscriptFinished(id), "fail": TranscriptFailed(id, failure)}
            return talk.feed(ends.get(what, TranscriptText(id, "words ")))
        id = command.response_id
        inputs = {
            "audio": AnswerAudio(id, silence(80)) if command.task.endswith("A2") else AnswerText(id, "x"),
            "text": AnswerText(id, "words "),
            "finish": AnswerFinished(id, True, 1, 1, 1, 0.1),
            "run out": AnswerFinished(id, False, 1, 1, 1, None),
            "fail": AnswerFailed(id, failure),
        }
        return talk.feed(inputs[what])


class Watch:
    """What must hold of the events of any session."""

    def __init__(self, memory_turns: int) -> None:
        self.memory_turns = memory_turns
        self.running: set[str] = set()
        self.done: set[str] = set()
        self.speaking = False

    def see(self, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, StartResponse):
                assert len(output.history) <= self.memory_turns
                assert all(answer.strip() for _, answer in output.history)
            if not isinstance(output, dict):
                continue
            type, id = output["type"], output.get("response_id") or output.get("response", {}).get("id")
            if type == "response.created":
                assert id not in self.running | self.done
                self.running.add(id)
            elif type.startswith("response."):
                assert id in self.running, f"{type} outside of its response"
            if type == "response.done":
                self.running.remove(id)
                self.done.add(id)
            if type == "input_audio_buffer.speech_stopped":
                assert self.speaking
                self.speaking = False
            if type in ("input_audio_buffer.speech_started", "input_audio_buffer.cleared", "input_audio_buffer.committed", "session.updated"):
                self.speaking = type == "input_audio_buffer.speech_started" or (self.speaking and type == "session.updated")


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    actions=st.lists(ACTIONS, min_size=3, max_size=40),
    beginning=BEGINNINGS,
    tasks=st.sampled_from([NANO, SEEING, SEEING, frozenset({"A1A2"})]),
    max_audio_s=st.sampled_from([None, 1.0]),
    memory_turns=st.sampled_from([0, 2]),
)
def test_every_event_is_legal_and_every_response_ends_once(
    actions: list[Any], beginning: dict[str, Any], tasks: frozenset[str], max_audio_s: float | None, memory_turns: int
) -> None:
    talk = Talk(tasks, max_audio_s=max_audio_s, memory_turns=memory_turns, limits=Limits(buffer_s=3.0, items=12), **beginning)
    engine, watch = Engine(), Watch(memory_turns)
    for kind, detail in actions:
        if kind == "hear":
            steps = [partial(talk.hear, *heard) for heard in detail]
        elif kind == "engine":
            steps = [partial(engine.act, talk, what) for what in detail]
        else:
            steps = [partial(talk.send, kind, **detail)]
        for step in steps:
            out = step()
            engine.obey(out)
            watch.see(out)
    for _ in range(100):
        out = engine.act(talk, "finish")
        engine.obey(out)
        watch.see(out)
    assert not watch.running
    assert not engine.open
