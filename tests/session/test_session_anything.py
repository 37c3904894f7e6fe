"""Whatever a client, a microphone, a listener and an engine do, in whatever order: every event is legal, every response ends exactly once, nothing
is left open, and all of it is tried: every rule below and every transition of the floor is fired.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from server.protocol.errors import ProtocolError
from server.session import Limits
from server.session.floor import TRANSITIONS, Floor, State, Trigger
from server.session.messages import (
    AnswerAudio,
    AnswerFailed,
    AnswerFinished,
    AnswerText,
    CancelResponse,
    Expired,
    FindWords,
    Listen,
    ListenerStatus,
    ListenNoMore,
    Output,
    StartResponse,
    StartTranscription,
    TranscriptFailed,
    TranscriptFinished,
    TranscriptText,
    TurnFinished,
    WordsHeard,
)
from tests.session.harness import NANO, PICTURE, RATE, SEEING, Talk, base64_audio, silence

STEPS, RUNS = 80, 250  # 20,000 in all

IDS = st.sampled_from(["a", "b", "item_t_1", "item_t_2", "item_t_3", "root", "resp_t_1", ""])
ANY = st.one_of(st.none(), st.booleans(), st.integers(-1, 10**6), st.floats(allow_nan=False), st.text(max_size=5), st.lists(st.text(max_size=2)))
PARTS = st.sampled_from(
    [
        {"type": "input_text", "text": "Hi"},
        {"type": "input_text", "text": ""},
        {"type": "input_audio", "audio": base64_audio(silence(30))},
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

MADE = st.sampled_from([[], ["audio"], ["text", "audio", "audio"], ["audio", "finish"]])


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
        command = next((command for command in self.open if isinstance(command, StartResponse)), self.open[0])
        if what in ("finish", "run out", "fail"):
            self.open.remove(command)
        failure = ProtocolError("server_busy", "try again")
        if isinstance(command, StartTranscription):
            id = command.item_id
            ends = {"finish": TranscriptFinished(id), "run out": TranscriptFinished(id), "fail": TranscriptFailed(id, failure)}
            return talk.feed(ends.get(what, TranscriptText(id, "words ")))
        id = command.response_id
        inputs = {
            "finished?": TurnFinished(id, 0.9),
            "audio": AnswerAudio(id, silence(500)) if command.task.endswith("A2") else AnswerText(id, "x"),
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
        self.speaking: str | None = None  # the item of the speech that was announced
        self.listening = False

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
            if type == "input_audio_buffer.speech_started":
                assert self.speaking is None
                self.speaking = output["item_id"]
            if type == "input_audio_buffer.speech_stopped":
                assert output["item_id"] == self.speaking
                self.speaking = None
            unwatched = type == "session.updated" and output["session"]["audio"]["input"]["turn_detection"] is None
            if unwatched or type in ("input_audio_buffer.cleared", "input_audio_buffer.committed"):
                self.speaking = None

    def see_plumbing(self, commands: list[Output]) -> None:
        for command in commands:
            if isinstance(command, Listen | ListenNoMore):
                assert self.listening is isinstance(command, ListenNoMore)
                self.listening = isinstance(command, Listen)


class Sessions(RuleBasedStateMachine):
    """One session and everybody around it."""

    fired: ClassVar[Counter[str]] = Counter()

    @initialize(
        beginning=BEGINNINGS,
        tasks=st.sampled_from([NANO, SEEING, SEEING, frozenset({"A1A2"})]),
        max_audio_s=st.sampled_from([None, None, 1.0]),
        memory_turns=st.sampled_from([0, 2]),
        listens=st.booleans(),
        expires=st.one_of(st.none(), st.tuples(MADE, st.sampled_from([0, 300]))),
    )
    def begin(self, **drawn: Any) -> None:
        self.prepare(**drawn)

    def prepare(
        self,
        beginning: dict[str, Any],
        tasks: frozenset[str],
        max_audio_s: float | None,
        memory_turns: int,
        listens: bool,
        expires: tuple[list[str], int] | None,
    ) -> None:
        self.expires = expires  # in the middle of it all
        limits = Limits(buffer_s=3.0, items=30)
        self.talk = Talk(tasks, max_audio_s=max_audio_s, memory_turns=memory_turns, listens=listens, limits=limits, extended=True, **beginning)
        self.engine, self.watch = Engine(), Watch(memory_turns)

    def see(self, name: str, outputs: list[Output]) -> None:
        self.fired[name] += 1
        self.engine.obey(outputs)
        self.watch.see(outputs)
        self.watch.see_plumbing(self.talk.plumbing)
        self.words = [command for command in self.talk.plumbing if isinstance(command, FindWords)] or getattr(self, "words", [])
        self.talk.plumbing.clear()

    @rule(ms=st.integers(40, 1600), probability=st.sampled_from([0.0, 0.0, 0.4, 0.9, 0.9]))
    def hear(self, ms: int, probability: float) -> None:
        self.see("hear", self.talk.hear(ms, probability))

    @rule(ms=st.integers(300, 1500))
    def say(self, ms: int) -> None:
        self.see("say", self.talk.hear(ms, 0.9) + self.talk.hear(1300))

    @rule(before=MADE, ms=st.integers(0, 1000), after=MADE, again=st.booleans())
    def talk_over(self, before: list[str], ms: int, after: list[str], again: bool) -> None:
        """A turn; what is made of its answer before, and after, speech over that; perhaps another answer is asked for."""
        self.say(600)
        for what in before:
            self.see("talk_over", self.engine.act(self.talk, what))
        self.see("talk_over", self.talk.hear(ms, 0.9))
        for what in after:
            self.see("talk_over", self.engine.act(self.talk, what))
        if again:
            self.write({"type": "input_text", "text": "Hi"})
            self.create_response({})

    @rule(interrupts=st.booleans(), ms=st.sampled_from([0, 300, 600]), after=st.sampled_from([["audio"], ["audio", "finish"]]), again=st.booleans())
    def talk_before_it_answers(self, interrupts: bool, ms: int, after: list[str], again: bool) -> None:
        """Everything is over; a turn, speech while its answer is thought of, and the answer's first sound."""
        self.fired["talk_before_it_answers"] += 1
        self.end_all(interrupts)
        self.talk_over([], ms, after, again)

    def end_all(self, interrupts: bool) -> None:
        detection = {"type": "server_vad", "interrupt_response": interrupts}
        self.see("end_all", self.talk.update(output_modalities=["audio"], audio={"input": {"turn_detection": detection}}))
        self.buffer("clear")
        self.playback("root", 0, cleared=True)
        while self.engine.open:
            self.end_answer("finish")

    @rule(said=st.lists(st.sampled_from(["finished?", "audio", "audio", "text"]), min_size=1, max_size=4))
    def answer(self, said: list[str]) -> None:
        for what in said:
            self.see("answer", self.engine.act(self.talk, what))

    @rule(how=st.sampled_from(["finish", "finish", "run out", "fail"]))
    def end_answer(self, how: str) -> None:
        self.see("end_answer", self.engine.act(self.talk, how))

    @rule(ms=st.integers(1, 6000))
    def wait(self, ms: int) -> None:
        self.see("wait", self.talk.wait(ms))

    @rule(irq=st.booleans(), late=st.integers(0, 400))
    def listener(self, irq: bool, late: int) -> None:
        self.see("listener", self.talk.feed(ListenerStatus(max(0, int((self.talk.now - late / 1000) * RATE)), irq, 1.0)))

    @precondition(lambda self: getattr(self, "words", None))
    @rule(characters=st.integers(0, 20))
    def find_words(self, characters: int) -> None:
        find = self.words[-1]
        self.see("find_words", self.talk.feed(WordsHeard(find.item_id, len(find.pcm) // 2, characters)))

    @rule(fields=st.one_of(st.just({}), st.fixed_dictionaries({"response": RESPONSES})))
    def create_response(self, fields: dict[str, Any]) -> None:
        self.see("create_response", self.talk.send("response.create", **fields))

    @rule(fields=st.one_of(st.just({}), st.fixed_dictionaries({"response_id": IDS})))
    def cancel(self, fields: dict[str, Any]) -> None:
        self.see("cancel", self.talk.send("response.cancel", **fields))

    @rule(session=SESSIONS)
    def update(self, session: Any) -> None:
        self.see("update", self.talk.send("session.update", session=session))

    @rule(part=st.sampled_from([{"type": "input_text", "text": "Hi"}, {"type": "input_image", "image_url": PICTURE}]))
    def write(self, part: dict[str, str]) -> None:
        self.see("write", self.talk.send("conversation.item.create", item={"type": "message", "role": "user", "content": [part]}))

    @rule(item=ITEMS, previous=IDS)
    def create_item(self, item: dict[str, Any], previous: str) -> None:
        self.see("create_item", self.talk.send("conversation.item.create", item=item, previous_item_id=previous))

    @rule(audio=st.sampled_from([b"", b"abc", 50, 4000, "%"]))
    def append(self, audio: bytes | int | str) -> None:
        """Odd bytes, milliseconds, or no base64."""
        pcm = silence(audio) if isinstance(audio, int) else audio
        self.see("append", self.talk.send("input_audio_buffer.append", audio=pcm if isinstance(pcm, str) else base64_audio(pcm)))

    @rule(what=st.sampled_from(["commit", "commit", "clear"]))
    def buffer(self, what: str) -> None:
        self.see("buffer", self.talk.send(f"input_audio_buffer.{what}"))

    @rule(what=st.sampled_from(["retrieve", "delete"]), item_id=IDS)
    def item(self, what: str, item_id: str) -> None:
        self.see("item", self.talk.send(f"conversation.item.{what}", item_id=item_id))

    @rule(item_id=IDS, ms=st.integers(-1, 5000))
    def truncate(self, item_id: str, ms: int) -> None:
        self.see("truncate", self.talk.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=ms))

    @rule(item_id=IDS, ms=st.integers(0, 5000), cleared=st.booleans())
    def playback(self, item_id: str, ms: int, cleared: bool) -> None:
        out = self.talk.send("output_audio_buffer.clear") if cleared else self.talk.send("omni.playback", item_id=item_id, audio_ms=ms)
        self.see("playback", out)

    @rule(picture=st.sampled_from([PICTURE, PICTURE.partition(",")[2], "%"]))
    def camera(self, picture: str) -> None:
        self.see("camera", self.talk.send("input_image_buffer.append", image=picture))

    @rule(event=st.sampled_from([{"type": "nonsense"}, {"type": "conversation.item.delete"}, {}]))
    def nonsense(self, event: dict[str, str]) -> None:
        self.see("nonsense", self.talk.send(**{"type": "", **event}))

    def teardown(self) -> None:
        """Whatever is in progress ends, and the session is over."""
        if not hasattr(self, "talk"):
            return
        if self.expires is not None:
            self.end_all(interrupts=False)
            self.talk_over(self.expires[0], self.expires[1], [], again=False)
            self.talk.feed(Expired())
            assert self.talk.session.state is State.CLOSED
            assert self.talk.turn() == []
            return
        for _ in range(20):  # turns that waited get their answers
            while self.engine.open:
                self.see("end", self.engine.act(self.talk, "finish"))
            self.see("end", self.talk.wait(30_000))
        assert not self.watch.running
        assert not self.engine.open
        assert not self.watch.listening or self.talk.session.state is State.USER_SPEAKING  # who interrupted, and is not heard any more
        self.see("end", self.talk.feed(Expired()))
        assert self.talk.session.state is State.CLOSED


@pytest.mark.timeout(600)
def test_random_clients_find_no_illegal_order(monkeypatch: pytest.MonkeyPatch) -> None:
    followed: set[tuple[State, Trigger]] = set()
    advance = Floor.advance

    def noted(floor: Floor, trigger: Trigger) -> None:
        followed.add((floor.state, trigger))
        advance(floor, trigger)

    monkeypatch.setattr(Floor, "advance", noted)
    Sessions.fired.clear()
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        Sessions,
        settings=settings(
            max_examples=RUNS, stateful_step_count=STEPS, deadline=None, derandomize=True, suppress_health_check=checks, phases=(Phase.generate,)
        ),
    )
    for made, ms in itertools.product([[], ["audio"]], [0, 300]):  # an end in each state, should chance have left one out
        sessions = Sessions()
        sessions.prepare({"output_modalities": ["audio"]}, NANO, max_audio_s=None, memory_turns=0, listens=True, expires=(made, ms))
        sessions.teardown()
    rules = {name for name, member in vars(Sessions).items() if hasattr(member, "hypothesis_stateful_rule")}
    assert rules <= Sessions.fired.keys(), rules - Sessions.fired.keys()
    assert set(TRANSITIONS) <= followed, set(TRANSITIONS) - followed
    assert sum(Sessions.fired.values()) >= STEPS * RUNS
