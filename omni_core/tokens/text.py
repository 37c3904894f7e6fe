"""Text <-> ids, and text out of a stream of ids without ever splitting a character.

Special ids of the layout are not the tokenizer's: callers keep them out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from omni_core.errors import CheckpointError

_REPLACEMENT = "\ufffd"
_MAX_HELD = 3  # bytes of an unfinished UTF-8 character, so replacement characters that a decoder can make of one
_MAX_WINDOW = 64  # ids: beyond it the tail is not an unfinished character but bytes that are none

# Qwen2's way to cut text before byte-pair merging, as published with its tokenizer.
_QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Tokenizer:
    """A `tokenizers` tokenizer behind two functions."""

    def __init__(self, inner: tokenizers.Tokenizer) -> None:
        self._inner = inner

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read a `tokenizer.json`, or a directory that holds one or Qwen2's `vocab.json` and `merges.txt`.

        Raises CheckpointError if there is neither, or if a file is damaged.
        """
        file = path / "tokenizer.json" if path.is_dir() else path
        try:
            if file.is_file():
                return cls(tokenizers.Tokenizer.from_file(str(file)))
            if (path / "vocab.json").is_file() and (path / "merges.txt").is_file():
                return cls(_read_qwen2(path))
        except Exception as error:  # the library raises bare Exception for any damaged file
            raise CheckpointError(f"{path}: the tokenizer can't be read ({error}): download it again") from error
        raise CheckpointError(f"{path}: no tokenizer.json, and no vocab.json with merges.txt: copy the tokenizer's files here")

    @property
    def size(self) -> int:
        """One above the largest id."""
        return max(self._inner.get_vocab(with_added_tokens=True).values()) + 1

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, with no special token added. Half a surrogate pair, which JSON may escape and UTF-8 can't hold, counts as "?"."""
        return self._inner.encode(text.encode("utf-8", "replace").decode(), add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`; special tokens and unknown ids give nothing, bytes that are no character give U+FFFD."""
        return self._inner.decode(list(ids), skip_special_tokens=True)

    def save(self, path: Path) -> None:
        """Write a `tokenizer.json`."""
        self._inner.save(str(path))


class TextStream:
    """Text of ids that come one at a time; what is pushed and flushed, concatenated, is `decode` of all of them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._context: list[int] = []  # ids already given out: some decoders look at the token before
        self._window: list[int] = []  # ids since then
        self._given = 0  # characters of decode(context + window) already given out

    def push(self, token: int) -> str:
        """The characters that `token` completes, often none or several."""
        self._window.append(token)
        text = self._tokenizer.decode(self._context + self._window)
        whole = len(text)
        if len(self._window) < _MAX_WINDOW:
            while whole > self._given and len(text) - whole < _MAX_HELD and text[whole - 1] == _REPLACEMENT:
                whole -= 1
        ready, self._given = text[self._given : whole], whole
        if whole == len(text):
            self._context, self._window = self._window, []
            self._given = len(self._tokenizer.decode(self._context))
        return ready

    def flush(self) -> str:
        """What is held back, however unfinished; the stream starts anew."""
        rest = self._tokenizer.decode(self._context + self._window)[self._given :]
        self._context, self._window, self._given = [], [], 0
        return rest


def _read_qwen2(directory: Path) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.BPE.from_file(str(directory / "vocab.json"), str(directory / "merges.txt")))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_QWEN2_SPLIT), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    config = directory / "tokenizer_config.json"
    if config.is_file():
        added = json.loads(config.read_text(encoding="utf-8")).get("added_tokens_decoder", {})
        for _, token in sorted(added.items(), key=lambda item: int(item[0])):
            tokenizer.add_tokens([AddedToken(token["content"], special=token.get("special", True), normalized=token.get("normalized", False))])
    return tokenizer
