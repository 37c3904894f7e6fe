"""Tokenizers, and text that comes id by id."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers

from omni_core.errors import CheckpointError
from omni_core.tokens import TextStream, Tokenizer

ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())  # one printable character per byte


def byte_tokenizer(merges: tuple[tuple[str, str], ...] = ()) -> Tokenizer:
    """Byte-level BPE with the given merges: 256 ids and one per merge."""
    vocabulary = {character: index for index, character in enumerate([*ALPHABET, *(a + b for a, b in merges)])}
    inner = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges)))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    return Tokenizer(inner)


BYTES = byte_tokenizer()
SPACED = byte_tokenizer((("Ġ", "Ð"), ("°", "Ñ")))  # merges across characters: " Ð" + half, half + half


@settings(max_examples=60)
@given(st.text(max_size=30), st.sampled_from([BYTES, SPACED]))
def test_stream_gives_whole_characters_and_all_of_the_text(text: str, tokenizer: Tokenizer) -> None:
    stream = TextStream(tokenizer)
    pieces = [stream.push(token) for token in tokenizer.encode(text)]
    assert "".join([*pieces, stream.flush()]) == text
    assert "\ufffd" in text or not any("\ufffd" in piece for piece in pieces)


def test_half_a_surrogate_pair_is_a_question_mark() -> None:
    assert BYTES.decode(BYTES.encode("a\ud800b")) == "a?b"


@settings(max_examples=60)
@given(st.lists(st.integers(0, 255), max_size=200))
def test_stream_equals_decode_for_any_bytes(ids: list[int]) -> None:
    stream = TextStream(BYTES)
    given_out = 0
    pieces = []
    for count, token in enumerate(ids, 1):
        pieces.append(stream.push(token))
        given_out += len(pieces[-1])
        assert len(BYTES.decode(ids[:count])) - given_out <= 3, "more held back than one character can be"
    assert "".join([*pieces, stream.flush()]) == BYTES.decode(ids)


def test_endless_garbage_is_given_out() -> None:
    stream = TextStream(BYTES)
    (continuation,) = BYTES.encode("é")[1:]
    out = "".join(stream.push(continuation) for _ in range(300))
    assert 297 <= len(out) <= 300


def test_flush_begins_anew() -> None:
    stream = TextStream(BYTES)
    first, second = BYTES.encode("é")
    assert (stream.push(first), stream.flush()) == ("", "\ufffd")
    assert (stream.push(first), stream.push(second), stream.flush()) == ("", "é", "")


def test_reads_a_file_and_a_directory(tmp_path: Path) -> None:
    BYTES.save(tmp_path / "tokenizer.json")
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        loaded = Tokenizer.load(path)
        assert loaded.size == 256
        assert loaded.decode(loaded.encode("Grüße 👋")) == "Grüße 👋"


def test_reads_the_files_of_qwen2(tmp_path: Path) -> None:
    vocabulary = {character: index for index, character in enumerate([*ALPHABET, "Ġo", "Ġom", "12"])}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text("#version: 0.2\nĠ o\nĠo m\n1 2\n")
    added = {"259": {"content": "<|endoftext|>", "special": True}, "260": {"content": "<|im_end|>", "special": True}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": added}))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.encode(" om")[0] == vocabulary["Ġom"]
    assert len(tokenizer.encode("12")) == 2, "digits are never merged"
    assert tokenizer.encode("e\u0301") == tokenizer.encode("\u00e9"), "text is composed first"
    assert tokenizer.encode("hi<|im_end|>")[-1] == 260
    assert tokenizer.decode([*tokenizer.encode("hi there"), 259]) == "hi there"
    assert tokenizer.size == 261


def test_what_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"merges\.txt"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match="can't be read"):
        Tokenizer.load(tmp_path)
