"""The server: the Realtime protocol over WebSocket in front of the engine."""
