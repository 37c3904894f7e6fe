"""Items: ids, order, duplicates, truncation, and what is held of them."""

from __future__ import annotations

from typing import Any

import pytest

from server.session import Limits
from server.session.messages import AnswerAudio, AnswerFinished, AnswerText
from tests.session.harness import PICTURE, RATE, Talk, base64_audio, names, only, silence


def create(talk: Talk, id: str | None = None, after: str | None = None, **item: Any) -> dict[str, Any]:
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}], **({"id": id} if id else {}), **item}
    out = talk.send("conversation.item.create", item=item, previous_item_id=after)
    assert names(out) in (["conversation.item.added", "conversation.item.done"], ["error"])
    return out[0]


def code(event: dict[str, Any]) -> str:
    return event["error"]["code"]


def spoken(talk: Talk, text: str, ms: int) -> str:
    """A whole answer of `ms`: its item's id."""
    start = talk.started(talk.turn())
    talk.feed(AnswerText(start.response_id, text))
    talk.feed(AnswerAudio(start.response_id, silence(ms)))
    return only(talk.feed(AnswerFinished(start.response_id, True, 1, 1, 1, None)), "response.output_item.done")["item"]["id"]


def transcript(talk: Talk, item_id: str) -> str:
    return talk.send("conversation.item.retrieve", item_id=item_id)[0]["item"]["content"][0]["transcript"]


def test_items_stand_where_the_client_puts_them() -> None:
    talk = Talk()
    assert create(talk, "a")["previous_item_id"] is None
    assert create(talk, "b")["previous_item_id"] == "a"
    assert create(talk, "c", after="root")["previous_item_id"] is None
    assert create(talk, "d", after="a")["previous_item_id"] == "a"
    assert create(talk, "e")["previous_item_id"] == "b"
    assert code(create(talk, "f", after="nobody")) == "item_create_invalid_previous_item_id"


def test_a_duplicate_id_is_refused() -> None:
    talk = Talk()
    create(talk, "a")
    assert code(create(talk, "a")) == "item_create_duplicate_item_id"


def test_retrieve_and_delete() -> None:
    talk = Talk()
    added = create(talk, "a")["item"]
    assert talk.send("conversation.item.retrieve", item_id="a")[0]["item"] == added
    assert names(talk.send("conversation.item.delete", item_id="a")) == ["conversation.item.deleted"]
    assert code(talk.send("conversation.item.retrieve", item_id="a")[0]) == "item_retrieve_invalid_item_id"
    assert code(talk.send("conversation.item.delete", item_id="a")[0]) == "item_delete_invalid_item_id"


@pytest.mark.parametrize(
    "item",
    [
        {"role": "system", "content": [{"type": "input_text", "text": "Be kind"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Hello"}]},
        {"role": "user", "content": [{"type": "input_image", "image_url": PICTURE, "detail": "high"}]},
        {"type": "function_call", "role": None, "content": [], "name": "f", "call_id": "1", "arguments": "{}"},
        {"type": "function_call_output", "role": None, "content": [], "call_id": "1", "output": "4"},
    ],
)
def test_items_of_every_kind_are_kept_and_echoed(item: dict[str, Any]) -> None:
    talk = Talk()
    echoed = create(talk, "a", **item)["item"]
    assert echoed["type"] == item.get("type", "message")
    assert "image_url" not in str(echoed)


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"role": None}, "item.role"),
        ({"content": []}, "item.content"),
        ({"content": [{"type": "smell"}]}, "item.content.0.type"),
        ({"content": [{"type": "input_audio", "audio": "%"}]}, "item.content.0.audio"),
        ({"role": "assistant", "content": [{"type": "input_audio", "audio": base64_audio(b"ab")}]}, "item.content.0.type"),
        ({"content": [{"type": "output_audio", "transcript": "Hi"}]}, "item.content.0.type"),
        ({"type": "item_reference"}, "item.type"),
    ],
)
def test_items_that_are_none(item: dict[str, Any], param: str) -> None:
    assert create(Talk(), "x", **item)["error"]["param"] == param


def test_an_item_with_audio_is_a_turn() -> None:
    talk = Talk(max_audio_s=2.0)
    create(talk, content=[{"type": "input_audio", "audio": base64_audio(silence(600))}])
    start = talk.started(talk.send("response.create"))
    assert (start.task, start.audio) == ("A1A2", silence(600))
    assert code(create(talk, content=[{"type": "input_audio", "audio": base64_audio(silence(2001))}])) == "input_audio_too_long"


def test_a_truncated_answer_keeps_the_words_that_were_heard() -> None:
    talk = Talk()
    item_id = spoken(talk, "One two three four", ms=1800)
    (event,) = talk.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=800)
    assert (event["type"], event["audio_end_ms"]) == ("conversation.item.truncated", 800)
    assert transcript(talk, item_id) == "One two"


def test_too_long_a_truncation_is_clamped() -> None:
    """pipecat drops its session on an error here."""
    talk = Talk()
    item_id = spoken(talk, "One two three four", ms=1800)
    (event,) = talk.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=60_000)
    assert event["audio_end_ms"] == 1800
    assert transcript(talk, item_id) == "One two three four"


def test_only_spoken_answers_can_be_truncated() -> None:
    talk = Talk()
    create(talk, "a")
    assert code(talk.send("conversation.item.truncate", item_id="a", audio_end_ms=1)[0]) == "item_truncate_invalid_item"
    assert code(talk.send("conversation.item.truncate", item_id="b", audio_end_ms=1)[0]) == "item_truncate_invalid_item_id"


def test_deleting_the_item_of_a_running_answer_does_no_harm() -> None:
    talk = Talk()
    out = talk.turn()
    start, item_id = talk.started(out), only(out, "response.output_item.added")["item"]["id"]
    talk.send("conversation.item.delete", item_id=item_id)
    out = talk.feed(AnswerText(start.response_id, "Hi")) + talk.feed(AnswerFinished(start.response_id, True, 1, 1, 1, None))
    assert names(out)[-2:] == ["response.done", "rate_limits.updated"]


def test_only_the_newest_turns_keep_their_audio() -> None:
    talk = Talk(limits=Limits(item_audio=2)).manual()
    ids = []
    for _ in range(3):
        talk.hear(1000)
        ids.append(only(talk.send("input_audio_buffer.commit"), "input_audio_buffer.committed")["item_id"])
    held = [talk.session._conversation.get(item_id, "retrieve").audio is not None for item_id in ids]
    assert held == [False, True, True]
    assert len(talk.started(talk.send("response.create")).audio or b"") == 2 * RATE


def test_a_full_conversation_says_so() -> None:
    talk = Talk(limits=Limits(items=2))
    create(talk)
    create(talk)
    assert code(create(talk)) == "conversation_full"


def test_so_does_one_with_too_many_words() -> None:
    talk = Talk(limits=Limits(characters=3))
    create(talk, "a")
    assert code(create(talk)) == "conversation_full"
    talk.send("conversation.item.delete", item_id="a")
    assert create(talk)["type"] == "conversation.item.added"
