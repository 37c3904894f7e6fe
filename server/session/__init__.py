"""The conversation session as a sans-I/O state machine: inputs and `now` in, wire events and commands out."""

from server.session.machine import Session
from server.session.messages import Abilities, Limits

__all__ = ["Abilities", "Limits", "Session"]
