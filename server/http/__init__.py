"""The HTTP faces: OpenAI's audio and chat addresses and the reference server's `/chat`, each one request to the engine."""

from server.http.faces import add_http_faces

__all__ = ["add_http_faces"]
