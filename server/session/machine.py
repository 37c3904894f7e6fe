"""The session: one client's configuration, microphone, conversation and answers.

Owns what happens and in which order; owns no socket, clock, thread or model. `handle(input, now)` gives wire events, to be
sent in that order, and commands for the shell around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import assert_never

from server.protocol import events as client
from server.protocol import server_events as events
from server.protocol.errors import ProtocolError
from server.protocol.events import ItemObject, ResponseParams
from server.protocol.ids import Ids
from server.protocol.media import decode_pcm, pcm_samples, samples_to_ms
from server.protocol.server_events import ServerEvent
from server.protocol.session_object import SessionObject
from server.session.conversation import Conversation, Item, item_from, read_media
from server.session.messages import (
    Abilities,
    AnswerAudio,
    AnswerFailed,
    AnswerFinished,
    AnswerText,
    CancelResponse,
    Close,
    Expired,
    Input,
    Limits,
    Output,
    Refused,
    SpeechProbability,
    StartResponse,
    StartTranscription,
    TranscriptFailed,
    TranscriptFinished,
    TranscriptText,
)
from server.session.microphone import Microphone, Speech
from server.session.planning import plan
from server.session.response import Ending, Response, Status
from server.session.transcripts import Transcripts
from server.session.turns import SpeechStarted, SpeechStopped


class State(Enum):
    """Who has the floor."""

    LISTENING = auto()  #: nobody
    HEARING = auto()  #: the user speaks
    ANSWERING = auto()  #: a response is being made
    OVERLAP = auto()  #: both: speech does not interrupt, or the answer was asked for while the user spoke
    CLOSED = auto()


class Session:
    """Sans-I/O: see the module."""

    def __init__(self, session: SessionObject, ids: Ids, abilities: Abilities, limits: Limits | None = None) -> None:
        self.config = session
        self._ids = ids
        self._abilities = abilities
        self._limits = limits or Limits()
        self._conversation = Conversation(self._limits, abilities.memory_turns)
        self._transcripts = Transcripts(self._conversation, abilities, self._limits)
        self._microphone = Microphone(buffer_s=self._limits.buffer_s, turn_s=self._limits.turn_s, max_audio_s=abilities.max_audio_s)
        self._microphone.configure(session.audio.input.turn_detection)
        self._responses: dict[str, Response] = {}  # in progress, by id
        self._active: Response | None = None  # the one of them that writes to the conversation
        self._answer_due = False  # a turn was committed over an answer that speech does not interrupt
        self._voice_used = False
        self._state = State.LISTENING
        self._out: list[Output] = []

    @property
    def state(self) -> State:
        return self._state

    def open(self) -> list[Output]:
        """What a client is sent first."""
        self._send(events.session_created(self.config))
        return self._taken()

    def handle(self, event: Input, now: float) -> list[Output]:
        """Take one input at time `now` (seconds, monotonic). A request that is refused becomes an error event."""
        if self._state is State.CLOSED:
            return []
        try:
            self._handle(event, now)
        except ProtocolError as error:
            error.event_id = error.event_id or getattr(event, "event_id", None)
            self._send(events.error(error))
        return self._taken()

    def _handle(self, event: Input, now: float) -> None:
        match event:
            case client.InputAudioBufferAppend():
                self._append(decode_pcm(event.audio, "audio"))
            case SpeechProbability():
                self._judge(event, now)
            case AnswerAudio() | AnswerText() | AnswerFinished() | AnswerFailed():
                self._answer(event, now)
            case client.SessionUpdate():
                self._update(event.session)
            case client.InputAudioBufferCommit():
                self._commit_by_client()
            case client.InputAudioBufferClear():
                self._clear()
            case client.ConversationItemCreate():
                self._create_item(event.item, event.previous_item_id)
            case client.ConversationItemRetrieve():
                self._send(events.item_retrieved(self._conversation.get(event.item_id, "retrieve").wire()))
            case client.ConversationItemDelete():
                self._conversation.delete(event.item_id)
                self._send(events.item_deleted(event.item_id))
            case client.ConversationItemTruncate():
                at = self._conversation.truncate(event.item_id, event.audio_end_ms)
                self._send(events.item_truncated(event.item_id, event.content_index, at))
            case client.ResponseCreate():
                self._respond(event.response or ResponseParams(), now)
            case client.ResponseCancel():
                self._cancel(event.response_id, now)
            case TranscriptText() | TranscriptFinished() | TranscriptFailed():
                self._send_all(self._transcripts.take(event))
            case Refused():
                raise event.error
            case Expired():
                self._expire()
            case _:
                assert_never(event)

    # -- the session object

    def _update(self, patch: dict[str, object]) -> None:
        updated = self.config.updated(patch)
        if self._voice_used and updated.audio.output.voice != self.config.audio.output.voice:
            raise ProtocolError(
                "cannot_update_voice", "The voice can't change once the assistant has spoken in this session", param="session.audio.output.voice"
            )
        self.config = updated
        self._microphone.configure(updated.audio.input.turn_detection)
        if self._microphone.speech is None:
            self._speech_over()
        self._send(events.session_updated(updated))

    # -- the microphone

    def _append(self, pcm: bytes) -> None:
        detect = self._microphone.append(pcm)
        if detect is not None:
            self._out.append(detect)
        for turn in self._microphone.overlong():
            self._commit(self._ids.new("item"), turn)

    def _judge(self, event: SpeechProbability, now: float) -> None:
        match self._microphone.judge(event):
            case SpeechStarted(at):
                self._speech_starts(at, now)
            case SpeechStopped(at):
                self._speech_stops(at, now)
            case None:
                pass

    def _speech_starts(self, start: int, now: float) -> None:
        turn_detection = self.config.audio.input.turn_detection
        self._microphone.speech = Speech(self._ids.new("item"), start)
        match self._state:
            case State.LISTENING:
                self._set_state(State.HEARING)
            case State.ANSWERING:
                if self._active is not None and turn_detection is not None and turn_detection.interrupt_response:
                    self._interrupt(self._active, now)
                    self._set_state(State.HEARING)
                else:
                    # Stock clients stop their playback on speech_started, so it waits for the end of the answer.
                    self._set_state(State.OVERLAP)
            case State.HEARING | State.OVERLAP | State.CLOSED:
                raise AssertionError(f"speech can't start in {self._state}")
            case _:
                assert_never(self._state)
        if self._state is State.HEARING:
            self._announce_speech()

    def _announce_speech(self) -> None:
        speech = self._microphone.speech
        if speech is not None and not speech.announced:
            speech.announced = True
            self._send(events.speech_started(speech.item_id, samples_to_ms(speech.start)))

    def _speech_stops(self, end: int, now: float) -> None:
        speech, turn_detection = self._microphone.speech, self.config.audio.input.turn_detection
        if speech is None or turn_detection is None:
            return
        self._speech_over()
        if speech.announced:
            self._send(events.speech_stopped(speech.item_id, samples_to_ms(end)))
        self._commit(speech.item_id, self._microphone.take(speech.start, end))
        if turn_detection.create_response:
            self._answer_due = True
            self._answer_if_due(now)

    def _speech_over(self) -> None:
        """The user has the floor no more."""
        self._microphone.speech = None
        match self._state:
            case State.HEARING:
                self._set_state(State.LISTENING)
            case State.OVERLAP:
                self._set_state(State.ANSWERING)
            case State.LISTENING | State.ANSWERING | State.CLOSED:
                pass
            case _:
                assert_never(self._state)

    def _commit_by_client(self) -> None:
        speech = self._microphone.speech
        audio = self._microphone.take_all()
        self._speech_over()
        self._commit(speech.item_id if speech else self._ids.new("item"), audio)

    def _clear(self) -> None:
        self._microphone.clear()
        self._speech_over()
        self._send(events.buffer_cleared())

    def _commit(self, item_id: str, audio: bytes) -> None:
        """Buffered audio becomes the user's item. It creates no response."""
        item = Item(item_id, "user", [{"type": "input_audio", "transcript": None}], audio=audio, samples=pcm_samples(audio))
        previous = self._conversation.last_id
        self._conversation.add(item)
        self._send(events.buffer_committed(item_id, previous))
        self._send(events.item_added(item.wire(), previous))
        self._send(events.item_done(item.wire(), previous))
        if self.config.audio.input.transcription is not None:
            self._send_all(self._transcripts.start(item, asked=True))

    # -- items

    def _create_item(self, source: ItemObject, after: str | None) -> None:
        media = read_media(source.content, "item.content")
        self._microphone.check_item(media.audio, self._abilities.model)
        item = item_from(source, source.id or self._ids.new("item"), media)
        self._conversation.add(item, after)
        if media.image is not None:
            self._conversation.picture = (item.id, media.image)
        previous = self._conversation.previous_id(item)
        self._send(events.item_added(item.wire(), previous))
        self._send(events.item_done(item.wire(), previous))

    # -- responses

    def _answer_if_due(self, now: float) -> None:
        if self._answer_due and self._active is None and self._microphone.speech is None:
            self._respond(ResponseParams(), now)

    def _respond(self, params: ResponseParams, now: float) -> None:
        """`response.create`, or the end of a detected turn. Raises ProtocolError where no answer is possible."""
        in_conversation = params.conversation != "none"
        self._check_room(in_conversation)
        if in_conversation:
            self._answer_due = False
        speaks = self.config.speaks if params.output_modalities is None else "audio" in params.output_modalities
        planned = plan(params, self._conversation, self._abilities, speaks=speaks)
        if planned.left_out is not None:
            self._send(events.error(planned.left_out))
        response = Response(
            id=self._ids.new("resp"),
            item=Item(self._ids.new("item"), "assistant", [], status="in_progress", speaks=speaks),
            turn=planned.turn,
            asked_at=now,
            max_output_tokens=params.max_output_tokens or self.config.max_output_tokens,
            voice=self.config.audio.output.voice,
            metadata=params.metadata,
        )
        if in_conversation:
            self._conversation.add(response.item)
            response.conversation, response.conversation_id = self._conversation, self._ids.conversation()
            self._active = response
            self._answer_begins()
        self._responses[response.id] = response
        self._send_all(response.open())
        turn, limit = planned.turn, response.max_output_tokens
        tokens = limit if isinstance(limit, int) else None
        self._out.append(StartResponse(response.id, planned.task, turn.audio, planned.image, turn.text, tokens, turn.history))
        if in_conversation and self._abilities.memory_turns and turn.item is not None:
            self._send_all(self._transcripts.start(turn.item, asked=False))

    def _check_room(self, in_conversation: bool) -> None:
        if in_conversation and self._active is not None:
            raise ProtocolError(
                "conversation_already_has_active_response",
                f"The response {self._active.id} is in progress: wait for its response.done, cancel it, or use conversation 'none'",
            )
        if len(self._responses) >= self._limits.parallel_responses:
            raise ProtocolError("too_many_responses", f"{self._limits.parallel_responses} responses are in progress: wait for one to be done")

    def _answer_begins(self) -> None:
        match self._state:
            case State.LISTENING:
                self._set_state(State.ANSWERING)
            case State.HEARING:
                self._set_state(State.OVERLAP)
            case State.ANSWERING | State.OVERLAP | State.CLOSED:
                raise AssertionError(f"an answer can't begin in {self._state}")
            case _:
                assert_never(self._state)

    def _answer(self, event: AnswerAudio | AnswerText | AnswerFinished | AnswerFailed, now: float) -> None:
        response = self._responses.get(event.response_id)
        if response is None:
            return  # it was cancelled, and nothing of a response follows its response.done
        match event:
            case AnswerAudio():
                self._voice_used = True
                self._send(response.audio(event.pcm, now))
            case AnswerText():
                self._send(response.text(event.text))
            case AnswerFinished():
                ending = Ending(Status.COMPLETED) if event.complete else Ending(Status.INCOMPLETE, reason="max_output_tokens")
                self._finish(response, Ending(ending.status, ending.reason, finished=event), now)
            case AnswerFailed():
                self._finish(response, Ending(Status.FAILED, error=event.error), now)
            case _:
                assert_never(event)

    def _cancel(self, response_id: str | None, now: float) -> None:
        response = self._active if response_id is None else self._responses.get(response_id)
        if response is None:
            raise ProtocolError("response_cancel_not_active", "Cancellation failed: no active response found")
        self._out.append(CancelResponse(response.id))
        self._finish(response, Ending(Status.CANCELLED, reason="client_cancelled"), now)

    def _interrupt(self, response: Response, now: float) -> None:
        """Barge-in: the `.done` events and response.done come before speech_started; what was not heard is forgotten."""
        self._out.append(CancelResponse(response.id))
        self._finish(response, Ending(Status.CANCELLED, reason="turn_detected"), now)
        response.item.cut(response.playout.played(now))

    def _finish(self, response: Response, ending: Ending, now: float) -> None:
        """The one end of every response."""
        del self._responses[response.id]
        self._send_all(response.close(ending))
        if response is self._active:
            self._active = None
            if ending.status in (Status.COMPLETED, Status.INCOMPLETE):
                self._conversation.answered(response.turn)
            self._answer_ends()
            self._answer_if_due(now)

    def _answer_ends(self) -> None:
        match self._state:
            case State.ANSWERING:
                self._set_state(State.LISTENING)
            case State.OVERLAP:
                self._set_state(State.HEARING)
                self._announce_speech()
            case State.LISTENING | State.HEARING | State.CLOSED:
                raise AssertionError(f"an answer can't end in {self._state}")
            case _:
                assert_never(self._state)

    # -- the end

    def _expire(self) -> None:
        """The session limit: close code 1001 after an error."""
        self._send(events.error(ProtocolError("session_expired", "The session has reached its longest duration: reconnect to go on")))
        self._out.append(Close(1001, "session_expired"))
        self._set_state(State.CLOSED)

    # -- output

    def _set_state(self, state: State) -> None:
        self._state = state

    def _send(self, event: ServerEvent) -> None:
        self._out.append({"event_id": self._ids.new("event"), **event})

    def _send_all(self, outputs: Sequence[Output]) -> None:
        for output in outputs:
            if isinstance(output, dict):
                self._send(output)
            else:
                self._out.append(output)

    def _taken(self) -> list[Output]:
        # The answer is asked for before the transcript of what it answers.
        out, self._out = sorted(self._out, key=lambda output: isinstance(output, StartTranscription)), []
        return out
