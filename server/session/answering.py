"""The session's responses: prepared in the silence, begun, heard, cut short, done.

One response at a time writes to the conversation and has the floor; others, out-of-band, don't. A response may be prepared before anybody knows
that the turn has ended: it has its place in the engine and none in the conversation, until it is confirmed or thrown away.
"""

from __future__ import annotations

from typing import assert_never

from server.protocol import server_events as events
from server.protocol.errors import ProtocolError
from server.protocol.events import ResponseParams
from server.protocol.ids import Ids
from server.protocol.media import SAMPLE_BYTES, pcm_samples
from server.protocol.server_events import Place
from server.protocol.session_object import SessionObject
from server.session.conversation import Conversation, Item, Turn
from server.session.floor import Floor, Trigger
from server.session.messages import (
    Abilities,
    AnswerAudio,
    AnswerFailed,
    AnswerFinished,
    AnswerText,
    CancelResponse,
    FindWords,
    HearNoMore,
    Limits,
    Played,
    PlayedNoMore,
    StartResponse,
)
from server.session.outbox import Outbox
from server.session.planning import Plan, plan
from server.session.playout import Playout
from server.session.response import Ending, Response, Status
from server.session.transcripts import Transcripts

AnswerEvent = AnswerAudio | AnswerText | AnswerFinished | AnswerFailed


class Answering:
    """See the module."""

    def __init__(
        self, conversation: Conversation, transcripts: Transcripts, abilities: Abilities, limits: Limits, ids: Ids, floor: Floor, outbox: Outbox
    ) -> None:
        self._conversation, self._transcripts, self._abilities, self._limits = conversation, transcripts, abilities, limits
        self._ids, self._floor, self._outbox = ids, floor, outbox
        self._responses: dict[str, Response] = {}  # in progress, by id; the prepared one too
        self._prepared: tuple[Response, Plan] | None = None
        self._playout = Playout()
        self._voiced: Response | None = None  # the newest spoken answer of the conversation
        self.active: Response | None = None  #: the one in progress that writes to the conversation
        self.voice_used = False  #: something has been said

    # -- beginning

    def begin(self, turn: Turn, params: ResponseParams, session: SessionObject, now: float) -> None:
        """Answer `turn`. Raises ProtocolError where no answer is possible."""
        in_conversation = params.conversation != "none"
        self._check_room(in_conversation)
        speaks = session.speaks if params.output_modalities is None else "audio" in params.output_modalities
        planned = plan(turn, self._abilities, speaks=speaks)
        response = self._response(planned, params, session, now)
        if in_conversation:
            self._enter_conversation(response)
        self._open(response, planned)
        self._start(response, planned)
        self._recall(response)

    def prepare(self, turn: Turn, session: SessionObject, now: float) -> None:
        """Begin to answer a turn that may not have ended. Where no answer is possible nothing happens: its real beginning will say so."""
        self.discard()
        try:
            self._check_room(in_conversation=True)
            planned = plan(turn, self._abilities, speaks=session.speaks)
        except ProtocolError:
            return
        response = self._response(planned, ResponseParams(), session, now)
        response.held = []
        self._prepared = response, planned
        self._start(response, planned)

    def confirm(self, turn: Turn, now: float) -> bool:
        """The turn had ended: what was prepared becomes its answer. False: nothing was prepared for it."""
        if self._prepared is None or self._prepared[0].turn != turn or self.active is not None:
            self.discard()
            return False
        (response, planned), self._prepared = self._prepared, None
        held, response.held, response.asked_at, response.turn = response.held or [], None, now, turn
        self._enter_conversation(response)
        self._open(response, planned)
        self._recall(response)
        for event in held:
            self.take(event, now)
        return True

    def discard(self) -> None:
        """The turn went on, or something that matters has changed: what was prepared was for nothing."""
        if self._prepared is None:
            return
        response = self._prepared[0]
        self._prepared = None
        if response.id in self._responses:
            del self._responses[response.id]
            self._outbox.send(CancelResponse(response.id))

    def is_prepared(self, response_id: str) -> bool:
        """That response waits for the turn's end."""
        return self._prepared is not None and self._prepared[0].id == response_id

    def _check_room(self, in_conversation: bool) -> None:
        if in_conversation and self.active is not None:
            raise ProtocolError(
                "conversation_already_has_active_response",
                f"The response {self.active.id} is in progress: wait for its response.done, cancel it, or use conversation 'none'",
            )
        if len(self._responses) >= self._limits.parallel_responses:
            raise ProtocolError("too_many_responses", f"{self._limits.parallel_responses} responses are in progress: wait for one to be done")

    def _response(self, planned: Plan, params: ResponseParams, session: SessionObject, now: float) -> Response:
        response = Response(
            id=self._ids.new("resp"),
            item=Item(self._ids.new("item"), "assistant", [], status="in_progress", speaks=planned.speaks),
            turn=planned.turn,
            asked_at=now,
            max_output_tokens=params.max_output_tokens or session.max_output_tokens,
            output=params.audio_output(session.audio.output),
            metadata=params.metadata,
        )
        self._responses[response.id] = response
        return response

    def _enter_conversation(self, response: Response) -> None:
        try:
            self._conversation.add(response.item)
        except ProtocolError:
            del self._responses[response.id]
            raise
        response.conversation, response.conversation_id = self._conversation, self._ids.conversation()
        self.active = response
        self._floor.advance(Trigger.ANSWER_BEGINS)

    def _open(self, response: Response, planned: Plan) -> None:
        if planned.left_out is not None:
            self._outbox.send(events.error(planned.left_out))
        self._outbox.send_all(response.open())

    def _start(self, response: Response, planned: Plan) -> None:
        turn, limit = planned.turn, response.max_output_tokens
        tokens = limit if isinstance(limit, int) else None
        self._outbox.send(StartResponse(response.id, planned.task, turn.audio, turn.hearing, planned.image, turn.text, tokens, turn.history))

    def _recall(self, response: Response) -> None:
        """Find out the words of what is answered, for later turns."""
        if response is self.active and self._abilities.memory_turns and response.turn.item is not None:
            self._outbox.send_all(self._transcripts.start(response.turn.item, asked=False))

    # -- going on

    def take(self, event: AnswerEvent, now: float) -> None:
        """What the engine made of a response."""
        response = self._responses.get(event.response_id)
        if response is None:
            return  # it was cancelled, and nothing of a response follows its response.done
        if response.held is not None:
            response.held.append(event)
            return
        if response.turn.hearing is not None and not response.heard:
            response.heard = True
            self._outbox.send(HearNoMore(response.turn.hearing.name))
        match event:
            case AnswerAudio():
                self._speak(response, event.pcm, now)
            case AnswerText():
                self._outbox.send(response.text(event.text))
            case AnswerFinished():
                ending = Ending(Status.COMPLETED) if event.complete else Ending(Status.INCOMPLETE, reason="max_output_tokens")
                self._finish(response, Ending(ending.status, ending.reason, finished=event), now)
            case AnswerFailed():
                self._finish(response, Ending(Status.FAILED, error=event.error), now)
            case _:
                assert_never(event)

    def _speak(self, response: Response, pcm: bytes, now: float) -> None:
        self.voice_used = True
        if response is self.active:
            if self._voiced is not response:
                if self._voiced is not None:
                    self._voiced.item.pcm.clear()
                self._voiced = response
                self._floor.advance(Trigger.ANSWER_SOUNDS)
            response.item.pcm += pcm
            begins = self._playout.send(response.item.id, pcm_samples(pcm), now)
            self._outbox.send(Played(pcm, begins))
        self._outbox.send_all(response.audio(pcm))

    # -- ending

    def cancel(self, response_id: str | None, now: float) -> None:
        """`response.cancel`. What was sent may still be heard: clients say with other events that they have thrown it away."""
        response = self.active if response_id is None else self._responses.get(response_id)
        if response is None or self.is_prepared(response.id):
            raise ProtocolError("response_cancel_not_active", "Cancellation failed: no active response found")
        self._end(response, "client_cancelled", now)
        self._cut(response.item, response.item.samples)

    def interrupt(self, now: float) -> None:
        """Barge-in: the `.done` events and response.done, and what was not heard is forgotten."""
        heard = [] if self.active is None else [self.active.item]
        if self._voiced is not None and self._voiced is not self.active and self._playout.ends_at > now:
            heard.append(self._voiced.item)
        if self.active is not None:
            self._end(self.active, "turn_detected", now)
        for item in heard:
            self._cut(item, self._playout.played(item.id, now))
        self.silence(now)

    def truncate(self, item_id: str, samples: int, now: float) -> int:
        """`conversation.item.truncate`: the client says what was heard of an answer; gives the samples kept. Raises ProtocolError."""
        item = self._conversation.spoken_answer(item_id)
        self._cut(item, samples)
        if self._voiced is not None and item is self._voiced.item:
            self.silence(now)
        return item.samples if item.heard is None else item.heard

    def silence(self, now: float) -> None:
        """What the client had not played by now it never will."""
        self._playout.stop(now)
        self._outbox.send(PlayedNoMore())
        self.fall_silent(now)

    def acknowledge(self, item_id: str, samples: int, now: float) -> None:
        """The client says how far its playback is."""
        self._playout.acknowledge(item_id, samples, now)

    @property
    def voice(self) -> Place | None:
        """Whose voice is heard, or was last."""
        return None if self._voiced is None else self._voiced.place

    @property
    def silent_at(self) -> float | None:
        """When what was said will have been heard; None: nothing is being heard, or more is to come."""
        return self._playout.ends_at if self.active is None and self._floor.assistant_speaks else None

    def fall_silent(self, now: float) -> None:
        """Give the floor back once all has been heard."""
        if self.silent_at is not None and self._playout.ends_at <= now:
            self._floor.advance(Trigger.ANSWER_OVER)

    def _end(self, response: Response, reason: str, now: float) -> None:
        self._outbox.send(CancelResponse(response.id))
        self._finish(response, Ending(Status.CANCELLED, reason=reason), now)

    def _finish(self, response: Response, ending: Ending, now: float) -> None:
        """The one end of every response."""
        del self._responses[response.id]
        self._outbox.send_all(response.close(ending))
        if response is not self.active:
            return
        self.active = None
        if ending.status in (Status.COMPLETED, Status.INCOMPLETE):
            self._conversation.answered(response.turn)
        if self._floor.assistant_speaks:
            self.fall_silent(now)
        else:
            self._floor.advance(Trigger.ANSWER_OVER)

    def _cut(self, item: Item, samples: int) -> None:
        """Of `item` only the first `samples` were heard; the words in them are estimated, and found out."""
        if not item.speaks or (samples >= item.samples and item.status == "completed"):
            return
        heard = item.cut(samples)
        if heard and item.text.strip() and len(item.pcm) >= heard * SAMPLE_BYTES:
            self._outbox.send(FindWords(item.id, item.text, bytes(item.pcm[: heard * SAMPLE_BYTES])))
