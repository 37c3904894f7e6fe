"""Who has the floor: the states of a conversation and every transition between them, in one table.

The user is silent or speaks; the assistant is silent, thinks (a response is being made, none of it has been heard) or speaks (until what it
was sent has been played, also after its response is done). States are the pairs of the two.
"""

from __future__ import annotations

from enum import Enum, auto


class State(Enum):
    """Of the conversation."""

    IDLE = auto()
    USER_SPEAKING = auto()
    THINKING = auto()
    SPEAKING = auto()
    OVER_THINKING = auto()  #: the user speaks while a response is thought of
    OVER_SPEAKING = auto()  #: ... while one is heard
    CLOSED = auto()


class Trigger(Enum):
    """What changes the state."""

    SPEECH_BEGINS = auto()
    SPEECH_ENDS = auto()
    ANSWER_BEGINS = auto()
    ANSWER_SOUNDS = auto()  #: its first audio leaves
    ANSWER_OVER = auto()  #: played to the end, interrupted, cancelled, failed, or text that is complete
    EXPIRES = auto()


TRANSITIONS: dict[tuple[State, Trigger], State] = {
    (State.IDLE, Trigger.SPEECH_BEGINS): State.USER_SPEAKING,
    (State.IDLE, Trigger.ANSWER_BEGINS): State.THINKING,
    (State.USER_SPEAKING, Trigger.SPEECH_ENDS): State.IDLE,
    (State.USER_SPEAKING, Trigger.ANSWER_BEGINS): State.OVER_THINKING,  # the client asked for it in the middle of the turn
    (State.THINKING, Trigger.SPEECH_BEGINS): State.OVER_THINKING,
    (State.THINKING, Trigger.ANSWER_SOUNDS): State.SPEAKING,
    (State.THINKING, Trigger.ANSWER_OVER): State.IDLE,
    (State.SPEAKING, Trigger.SPEECH_BEGINS): State.OVER_SPEAKING,
    (State.SPEAKING, Trigger.ANSWER_BEGINS): State.THINKING,  # asked for while the end of the last one is still played
    (State.SPEAKING, Trigger.ANSWER_OVER): State.IDLE,
    (State.OVER_THINKING, Trigger.SPEECH_ENDS): State.THINKING,
    (State.OVER_THINKING, Trigger.ANSWER_SOUNDS): State.OVER_SPEAKING,
    (State.OVER_THINKING, Trigger.ANSWER_OVER): State.USER_SPEAKING,
    (State.OVER_SPEAKING, Trigger.SPEECH_ENDS): State.SPEAKING,
    (State.OVER_SPEAKING, Trigger.ANSWER_BEGINS): State.OVER_THINKING,
    (State.OVER_SPEAKING, Trigger.ANSWER_OVER): State.USER_SPEAKING,
    **{(state, Trigger.EXPIRES): State.CLOSED for state in State if state is not State.CLOSED},
}


class Floor:
    """The state and its one setter."""

    def __init__(self) -> None:
        self.state = State.IDLE

    def advance(self, trigger: Trigger) -> None:
        """Follow the table. KeyError: the session has lost track of who speaks, which no input may cause."""
        self.state = TRANSITIONS[self.state, trigger]

    @property
    def user_speaks(self) -> bool:
        return self.state in (State.USER_SPEAKING, State.OVER_THINKING, State.OVER_SPEAKING)

    @property
    def assistant_busy(self) -> bool:
        """It thinks or speaks."""
        return self.state in (State.THINKING, State.SPEAKING, State.OVER_THINKING, State.OVER_SPEAKING)

    @property
    def assistant_speaks(self) -> bool:
        return self.state in (State.SPEAKING, State.OVER_SPEAKING)
