"""What a response answers, and as which task. Task names are the model's (docs/architecture.md): inputs, then output."""

from __future__ import annotations

from dataclasses import dataclass

from server.protocol.errors import ProtocolError
from server.protocol.events import ResponseParams
from server.protocol.session_object import AudioFormat
from server.session.conversation import Conversation, Turn
from server.session.messages import Abilities

TRANSCRIBE = "A1T1"


@dataclass(frozen=True)
class Plan:
    """A response that the model can make."""

    turn: Turn
    task: str
    speaks: bool
    left_out: ProtocolError | None = None  #: says that the picture is left out

    @property
    def image(self) -> bytes | None:
        """The picture, where the task takes one."""
        return None if self.left_out is not None else self.turn.image


def plan(turn: Turn, abilities: Abilities, *, speaks: bool) -> Plan:
    """How to answer `turn`. Raises ProtocolError when the model can't."""
    kind = ("A1" if turn.audio is not None else "T1") + ("A2" if speaks else "T2")
    if turn.image is not None and f"V{kind}" in abilities.tasks:
        return Plan(turn, f"V{kind}", speaks)
    if kind not in abilities.tasks:
        raise ProtocolError(
            "task_not_supported",
            f"The model {abilities.model!r} can't answer {'speech' if turn.audio is not None else 'text'} in {'speech' if speaks else 'text'} "
            f"(task {kind}); it can do {', '.join(sorted(abilities.tasks))}",
        )
    if turn.image is None:
        return Plan(turn, kind, speaks)
    left_out = ProtocolError("image_not_supported", f"The model {abilities.model!r} can't see: the picture is left out of this answer")
    return Plan(turn, kind, speaks, left_out)


def turn_asked(params: ResponseParams, conversation: Conversation, format: AudioFormat) -> Turn:
    """The response's own input; else the newest turn that has no answer; else the instructions (a greeting asked of the server); else the
    newest turn again. format: of audio in the input. Raises ProtocolError when there is nothing to answer."""
    if params.input is not None:
        candidates = [conversation.turn_of(params.input, format)]
    else:
        newest = conversation.newest_turn()
        candidates = [newest if newest and not newest.answered else None]
    if params.instructions:
        candidates.append(Turn(text=params.instructions, history=() if params.input is not None else conversation.history()))
    if params.input is None:
        candidates.append(conversation.newest_turn())
    turn = next((candidate for candidate in candidates if candidate is not None), None)
    if turn is None:
        raise ProtocolError("response_input_empty", "There is nothing to answer: commit audio, or create a user item with text or audio, first")
    return turn
