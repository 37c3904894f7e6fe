"""How much of a conversation a model remembers: the newest turns, as text, each cut to a bound. For serving and training alike.

Text and not features or codes: a turn of text costs its words and four marks, a turn as it sounded some 25 positions a second.
"""

from __future__ import annotations

from collections.abc import Sequence

from omni_core.tokens.text import Tokenizer

HISTORY_TOKENS = 64  #: of an earlier question or answer, at most
_HISTORY_CHARACTERS = 16 * HISTORY_TOKENS  # more is not even tokenised


def history_ids(tokenizer: Tokenizer, history: Sequence[tuple[str, str]], turns: int) -> list[tuple[list[int], list[int]]]:
    """The newest `turns` of `history` (question, answer; oldest first) as ids for `build_prompt`; 0 turns are none.

    Of a long question the end stays, where people say what they want, of a long answer the beginning, which says what it is about.
    """
    newest = history[max(0, len(history) - turns) :]
    return [
        (tokenizer.encode(question[-_HISTORY_CHARACTERS:])[-HISTORY_TOKENS:], tokenizer.encode(answer[:_HISTORY_CHARACTERS])[:HISTORY_TOKENS])
        for question, answer in newest
    ]
