"""A Python client of the Realtime protocol, and the conversation that `omni talk` holds with it."""

from clients.errors import ClientError
from clients.python.audio import RATE, load_audio, save_audio
from clients.python.client import Answer, Event, RealtimeClient

__all__ = ["RATE", "Answer", "ClientError", "Event", "RealtimeClient", "load_audio", "save_audio"]
