"""What was said before: the earlier turns of a conversation as questions and answers, for a model with memory."""

from __future__ import annotations

from collections.abc import Iterable

History = tuple[tuple[str, str], ...]  #: question ("" where its words are not known) and answer, oldest first


def recent_turns(said: Iterable[tuple[str | None, str]], turns: int) -> History:
    """The newest `turns` turns of items in order, each given as its role and its words.

    A turn is what the user said, in one item or several, with the assistant's next item. Without a word of answer (cancelled before any was
    heard) it is none, and neither is an answer that nobody asked for. Other roles don't count.
    """
    if not turns:
        return ()
    found: list[tuple[str, str]] = []
    asked: list[str] = []
    for role, words in said:
        if role == "user":
            asked.append(words)
        elif role == "assistant":
            if asked and words.strip():
                found.append((" ".join(filter(None, asked)), words))
            asked = []
    return tuple(found[-turns:])
