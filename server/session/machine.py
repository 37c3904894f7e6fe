"""The session: one client's configuration, microphone, conversation and answers.

Owns what happens and in which order; owns no socket, clock, thread or model. `handle(input, now)` gives wire events, to be
sent in that order, and commands for the shell around it; `wake_at` says when it wants to be told that time has passed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from server.protocol import events as client
from server.protocol import server_events as events
from server.protocol.audio_formats import AudioIn
from server.protocol.errors import ProtocolError
from server.protocol.events import ItemObject, ResponseParams
from server.protocol.ids import Ids
from server.protocol.media import decode_base64, decode_frame, ms_to_samples, pcm_samples, samples_to_ms
from server.protocol.session_object import ServerVad, SessionObject
from server.session.answering import Answering
from server.session.conversation import Conversation, Item, Turn, item_from, read_media
from server.session.floor import Floor, State, Trigger
from server.session.hearing import TurnHearing
from server.session.messages import (
    Abilities,
    AnswerAudio,
    AnswerFailed,
    AnswerFinished,
    AnswerText,
    Close,
    Expired,
    Hearing,
    Input,
    Limits,
    Listen,
    ListenerStatus,
    ListenNoMore,
    Output,
    Refused,
    SpeechProbability,
    Tick,
    TranscriptFailed,
    TranscriptFinished,
    TranscriptText,
    TurnFinished,
    WordsHeard,
)
from server.session.microphone import SHORTEST_TURN_MS, Microphone, Speech
from server.session.outbox import Outbox
from server.session.planning import turn_asked
from server.session.transcripts import Transcripts
from server.session.turns import SpeechPaused, SpeechResumed, SpeechStarted, SpeechStopped

#: speech over an answer that goes on, shorter than this, is "mm-hm", a cough or a word to somebody else: no turn
BACKCHANNEL_MS = 700
#: the listener's verdict on what interrupted an answer may come so long after its last sound
VERDICT_MS = 450
#: a turn spoken over an answer that ended no longer than this before the command was heard is the command
COMMAND_MS = 1_500

#: inputs that change nothing about an answer that is being prepared
_HARMLESS = (
    client.InputAudioBufferAppend,
    client.InputImageBufferAppend,
    client.ConversationItemRetrieve,
    client.OmniPlayback,
    client.OutputAudioBufferClear,
)


@dataclass(frozen=True)
class _HeldTurn:
    """Spoken over an answer that speech does not interrupt: it waits for the answer's end."""

    item_id: str
    start: int  #: sample
    end: int
    audio: bytes


class Session:
    """Sans-I/O: see the module."""

    def __init__(self, session: SessionObject, ids: Ids, abilities: Abilities, limits: Limits | None = None, *, extended: bool = False) -> None:
        """extended: the client asked for events that the protocol does not have."""
        self.config = session
        self._ids, self._abilities, self._extended = ids, abilities, extended
        self._limits = limits or Limits()
        self._out = Outbox(ids)
        self._floor = Floor()
        self._conversation = Conversation(self._limits, abilities.memory_turns)
        self._transcripts = Transcripts(self._conversation, abilities, self._limits)
        self._answers = Answering(self._conversation, self._transcripts, abilities, self._limits, ids, self._floor, self._out)
        self._microphone = Microphone(buffer_s=self._limits.buffer_s, turn_s=self._limits.turn_s, max_audio_s=abilities.max_audio_s)
        self._microphone.configure(session.audio.input.turn_detection)
        self._incoming = AudioIn(session.audio.input.format)
        self._answer_due = False  # a turn waits for its answer until the floor is free
        self._held: list[_HeldTurn] = []
        self._hearing = TurnHearing(self._out)
        self._listening = False
        self._busy = False  # the assistant thought or spoke when it was last looked at
        self._silent_since: tuple[float, int] | None = None  # when the last answer had been heard, s and sample; None: since then something was said

    @property
    def state(self) -> State:
        return self._floor.state

    @property
    def wake_at(self) -> float | None:
        """When the session wants a `Tick`, s; None: it waits for other inputs."""
        times = [self._answers.silent_at, self._idle_at()]
        return min((at for at in times if at is not None), default=None)

    def open(self) -> list[Output]:
        """What a client is sent first."""
        self._out.send(events.session_created(self.config))
        return self._out.take()

    def handle(self, event: Input, now: float) -> list[Output]:
        """Take one input at time `now` (seconds, monotonic). A request that is refused becomes an error event."""
        if self.state is State.CLOSED:
            return []
        for step in (lambda: self._pass_time(now), lambda: self._handle(event, now), lambda: self._settle(now)):
            try:
                step()
            except ProtocolError as error:
                error.event_id = error.event_id or getattr(event, "event_id", None)
                self._out.send(events.error(error))
        self._direct_listener()
        return self._out.take()

    def _handle(self, event: Input, now: float) -> None:
        if isinstance(event, client.ClientEvent) and not isinstance(event, _HARMLESS) and not _only_pictures(event):
            self._answers.discard()
        match event:
            case client.InputAudioBufferAppend():
                self._append(self._incoming.push(decode_base64(event.audio, "audio")))
            case SpeechProbability():
                self._judge(event, now)
            case ListenerStatus():
                self._listener_says(event, now)
            case TurnFinished():
                if self._answers.is_prepared(event.response_id):
                    self._microphone.finished(event.probability)
            case AnswerAudio() | AnswerText() | AnswerFinished() | AnswerFailed():
                self._answers.take(event, now)
            case client.SessionUpdate():
                self._update(event.session)
            case client.InputAudioBufferCommit():
                self._commit_by_client()
            case client.InputAudioBufferClear():
                self._clear()
            case client.InputImageBufferAppend():
                self._conversation.picture = ("", decode_frame(event.image, "image"))
            case client.OutputAudioBufferClear():
                self._answers.silence(now)
            case client.OmniPlayback():
                self._answers.acknowledge(event.item_id, ms_to_samples(event.audio_ms), now)
            case client.ConversationItemCreate():
                self._create_item(event.item, event.previous_item_id)
            case client.ConversationItemRetrieve():
                self._out.send(events.item_retrieved(self._conversation.get(event.item_id, "retrieve").wire()))
            case client.ConversationItemDelete():
                self._conversation.delete(event.item_id)
                self._out.send(events.item_deleted(event.item_id))
            case client.ConversationItemTruncate():
                kept = self._answers.truncate(event.item_id, ms_to_samples(event.audio_end_ms), now)
                self._out.send(events.item_truncated(event.item_id, event.content_index, samples_to_ms(kept)))
            case client.ResponseCreate():
                self._respond(event.response or ResponseParams(), now)
            case client.ResponseCancel():
                self._answers.cancel(event.response_id, now)
            case TranscriptText() | TranscriptFinished() | TranscriptFailed():
                self._out.send_all(self._transcripts.take(event))
            case WordsHeard():
                self._conversation.heard(event.item_id, event.samples, event.characters)
            case Refused():
                raise event.error
            case Tick():
                pass
            case Expired():
                self._expire()
            case _:
                assert_never(event)

    def _pass_time(self, now: float) -> None:
        """What is due by now: an answer has been heard to its end; nothing was said for long."""
        self._answers.fall_silent(now)
        self._settle(now)
        idle_at = self._idle_at()
        if idle_at is not None and idle_at <= now:
            self._idle(now)

    def _settle(self, now: float) -> None:
        """What waited for the end of an answer, once nothing is thought or said any more."""
        if self._floor.assistant_busy or self.state is State.CLOSED:
            self._busy, self._silent_since = True, None
            return
        if self._busy:
            self._busy, self._silent_since = False, (now, self._microphone.position)
        held_turns, self._held = self._held, []
        for held in held_turns:
            self._out.send(events.speech_started(held.item_id, samples_to_ms(held.start)))
            self._out.send(events.speech_stopped(held.item_id, samples_to_ms(held.end)))
            self._commit(held.item_id, held.audio)
        speech = self._microphone.speech
        if speech is not None and not speech.announced:
            speech.announced = True
            self._out.send(events.speech_started(speech.item_id, samples_to_ms(speech.start)))
        if self._answer_due and not self._floor.user_speaks:
            self._respond(ResponseParams(), now)

    # -- the session object

    def _update(self, patch: dict[str, object]) -> None:
        updated = self.config.updated(patch)
        if self._answers.voice_used and updated.audio.output.voice != self.config.audio.output.voice:
            raise ProtocolError(
                "cannot_update_voice", "The voice can't change once the assistant has spoken in this session", param="session.audio.output.voice"
            )
        self.config = updated
        if (updated.audio.input.turn_detection is None) is self._microphone.detects_turns:
            self._hearing.end()  # turns begin elsewhere from now on
        self._microphone.configure(updated.audio.input.turn_detection)
        if updated.audio.input.format != self._incoming.format:
            self._incoming = AudioIn(updated.audio.input.format)
        if self._microphone.speech is None and self._floor.user_speaks:
            self._speech_over()
        self._out.send(events.session_updated(updated))

    # -- the microphone

    def _append(self, pcm: bytes) -> None:
        if not self._microphone.detects_turns and not self._hearing.on:
            self._hear(self._ids.new("turn"), self._microphone.begin)
        detect = self._microphone.append(pcm)
        if detect is not None:
            self._out.send(detect)
        self._hearing.more(pcm)
        for turn in self._microphone.overlong():
            self._commit(self._ids.new("item"), turn)

    def _hear(self, name: str, start: int) -> None:
        """From sample `start` on, a turn is spoken that may be answered as soon as it ends. A model with a window hears it at once, then."""
        if self._abilities.max_audio_s is None:
            self._hearing.begin(name, start, self._microphone.read(start, self._microphone.position))

    def _judge(self, event: SpeechProbability, now: float) -> None:
        match self._microphone.judge(event):
            case SpeechStarted(at):
                self._speech_starts(at, now)
            case SpeechPaused(at):
                self._speech_pauses(at, now)
            case SpeechResumed():
                self._answers.discard()
            case SpeechStopped(at, spoken):
                self._speech_stops(at, spoken, now)
            case None:
                pass

    def _speech_starts(self, start: int, now: float) -> None:
        turn_detection = self.config.audio.input.turn_detection
        speech = self._microphone.speech = Speech(self._ids.new("item"), start)
        self._floor.advance(Trigger.SPEECH_BEGINS)
        self._silent_since = None
        self._microphone.least_silence(0)
        if self._floor.assistant_busy and turn_detection is not None and turn_detection.interrupt_response:
            self._answers.interrupt(now)
            speech.interrupts = True
            if self._listening:
                self._microphone.least_silence(VERDICT_MS)
        if not self._floor.assistant_busy:  # else stock clients, which stop their playback on speech_started, get it when the answer has ended
            self._hear(speech.item_id, start)

    def _speech_pauses(self, end: int, now: float) -> None:
        """It may have ended: begin its answer, which nobody hears before that is certain."""
        speech, turn_detection = self._microphone.speech, self.config.audio.input.turn_detection
        if speech is None or turn_detection is None or self.state is not State.USER_SPEAKING:
            return
        speech.pause = (end, self._conversation.image)
        if turn_detection.create_response and not self._answer_due:
            self._answers.prepare(self._turn(speech, end), self.config, now)

    def _turn(self, speech: Speech, end: int) -> Turn:
        """What is answered if the speech ends at `end`."""
        audio = self._microphone.read(speech.start, end)
        item = self._user_item(speech.item_id, audio, self._hearing.of(speech.start, end))
        image = speech.pause[1] if speech.pause is not None and speech.pause[0] == end else self._conversation.image
        return Turn(item, audio, None, image, self._conversation.history(), item.hearing)

    def _speech_stops(self, end: int, spoken: int, now: float) -> None:
        speech, turn_detection = self._microphone.speech, self.config.audio.input.turn_detection
        if speech is None or turn_detection is None:
            return
        if self._floor.assistant_busy and not turn_detection.interrupt_response and not speech.announced:
            self._hold(speech, end, spoken, create_response=turn_detection.create_response)
            return
        turn = self._turn(speech, end)
        self._microphone.take(speech.start, end)
        self._speech_over()
        self._hearing.leave(turn.hearing)
        if speech.announced:
            self._out.send(events.speech_stopped(speech.item_id, samples_to_ms(end)))
        assert turn.item is not None
        self._commit_item(turn.item)
        if turn_detection.create_response and not self._answers.confirm(turn, now):
            self._answer_due = True

    def _hold(self, speech: Speech, end: int, spoken: int, *, create_response: bool) -> None:
        """Speech over an answer that goes on: it becomes a turn afterwards, unless it was too short to be one."""
        audio = self._microphone.take(speech.start, end)
        self._speech_over()
        if spoken >= ms_to_samples(BACKCHANNEL_MS):
            self._held = [*self._held, _HeldTurn(speech.item_id, speech.start, end, audio)][-self._limits.held_turns :]
            self._answer_due |= create_response

    def _speech_over(self) -> None:
        """The user has the floor no more."""
        self._microphone.speech = None
        if self._floor.user_speaks:
            self._floor.advance(Trigger.SPEECH_ENDS)

    def _commit_by_client(self) -> None:
        self._conversation.check_room()  # nothing is taken from the buffer in vain
        speech, start, end = self._microphone.speech, self._microphone.begin, self._microphone.position
        audio = self._microphone.take_all()
        hearing = self._hearing.of(start, end)
        self._hearing.leave(hearing)
        self._speech_over()
        self._commit_item(self._user_item(speech.item_id if speech else self._ids.new("item"), audio, hearing))

    def _clear(self) -> None:
        self._microphone.clear()
        self._hearing.end()
        self._speech_over()
        self._out.send(events.buffer_cleared())

    def _commit(self, item_id: str, audio: bytes) -> None:
        self._commit_item(self._user_item(item_id, audio, None))

    def _commit_item(self, item: Item) -> None:
        """Buffered audio becomes the user's item. It creates no response."""
        previous = self._conversation.last_id
        self._conversation.add(item)
        self._out.send(events.buffer_committed(item.id, previous))
        self._out.send(events.item_added(item.wire(), previous))
        self._out.send(events.item_done(item.wire(), previous))
        if self.config.audio.input.transcription is not None:
            self._out.send_all(self._transcripts.start(item, asked=True))

    def _user_item(self, item_id: str, audio: bytes, hearing: Hearing | None) -> Item:
        content = [{"type": "input_audio", "transcript": None}]
        return Item(item_id, "user", content, audio=audio, hearing=hearing, samples=pcm_samples(audio))

    # -- the listener

    def _direct_listener(self) -> None:
        """It listens while the assistant is heard, and until it is known whether what interrupted it was the command."""
        speech = self._microphone.speech
        open_question = self._listening and speech is not None and speech.interrupts and self.state is State.USER_SPEAKING
        wanted = self._abilities.listens and self._microphone.detects_turns and (self._floor.assistant_speaks or open_question)
        if wanted is not self._listening:
            self._listening = wanted
            self._out.send(Listen() if wanted else ListenNoMore())

    def _listener_says(self, status: ListenerStatus, now: float) -> None:
        if not self._listening:
            return
        voice = self._answers.voice
        if self._extended and voice is not None:
            self._out.send(events.omni_listener_status(voice, samples_to_ms(status.end), status.irq, status.margin))
        if status.irq:
            self._stop(status.end, now)

    def _stop(self, at: int, now: float) -> None:
        """The command was heard: silence, and what was said is no turn."""
        self._answers.discard()
        if self._floor.assistant_busy:
            self._answers.interrupt(now)
        speech = self._microphone.speech
        self._held = [held for held in self._held if held.end + ms_to_samples(COMMAND_MS) < at]
        self._answer_due &= bool(self._held)
        item_id, start = (speech.item_id, speech.start) if speech is not None else (self._ids.new("item"), at)
        if speech is None or not speech.announced:
            self._out.send(events.speech_started(item_id, samples_to_ms(start)))
        self._out.send(events.speech_stopped(item_id, samples_to_ms(max(start, at))))
        self._hearing.end()
        self._microphone.dismiss(at)
        self._speech_over()

    # -- items

    def _create_item(self, source: ItemObject, after: str | None) -> None:
        media = read_media(source.content, "item.content", self._incoming.format)
        self._microphone.check_item(media.audio, self._abilities.model)
        item = item_from(source, source.id or self._ids.new("item"), media)
        self._conversation.add(item, after)
        if media.image is not None:
            self._conversation.picture = (item.id, media.image)
        previous = self._conversation.previous_id(item)
        self._out.send(events.item_added(item.wire(), previous))
        self._out.send(events.item_done(item.wire(), previous))

    # -- responses

    def _respond(self, params: ResponseParams, now: float) -> None:
        """`response.create`, or the end of a detected turn. Raises ProtocolError where no answer is possible."""
        if params.conversation != "none":
            self._answer_due = False
        self._answers.begin(turn_asked(params, self._conversation, self._incoming.format), params, self.config, now)

    # -- time

    def _idle_at(self) -> float | None:
        """When the user will have been silent for as long as the session waits."""
        turn_detection = self.config.audio.input.turn_detection
        if self._silent_since is None or self.state is not State.IDLE or not isinstance(turn_detection, ServerVad):
            return None
        return None if turn_detection.idle_timeout_ms is None else self._silent_since[0] + turn_detection.idle_timeout_ms / 1000

    def _idle(self, now: float) -> None:
        """Nobody has answered the last answer: the silence becomes a turn, and the model says something to it."""
        assert self._silent_since is not None
        start, end = self._silent_since[1], self._microphone.position
        self._silent_since = None
        audio = self._microphone.read(start, end).ljust(2 * ms_to_samples(SHORTEST_TURN_MS), b"\0")
        item_id = self._ids.new("item")
        self._out.send(events.timeout_triggered(item_id, samples_to_ms(start), samples_to_ms(end)))
        self._commit(item_id, audio)
        self._respond(ResponseParams(), now)

    def _expire(self) -> None:
        """The session limit: close code 1001 after an error."""
        self._out.send(events.error(ProtocolError("session_expired", "The session has reached its longest duration: reconnect to go on")))
        self._out.send(Close(1001, "session_expired"))
        self._floor.advance(Trigger.EXPIRES)


def _only_pictures(event: client.ClientEvent) -> bool:
    """A camera's frame: the answer that is being prepared keeps the one it has."""
    return isinstance(event, client.ConversationItemCreate) and all(part.type == "input_image" for part in event.item.content)
