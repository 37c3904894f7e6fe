"""Other ways to talk: typed, by holding the space bar, with pictures; and what the page asks of the network."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Playwright

from clients.python.audio import RATE
from omni_core.datagen.painting import paint
from omni_core.datagen.pictures import Picture, Thing
from omni_core.metrics import same_words
from tests.browser.conftest import Visit
from tests.browser.visitor import Visitor, house, question

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


def test_a_typed_turn_needs_no_microphone(visit: Visit, nano: str) -> None:
    visitor = visit(allowed=False)
    visitor.type("What is your name?")
    (answer,) = visitor.answered()
    assert same_words(answer["text"], "My name is Omni. It is nice to meet you.")
    assert visitor.page.locator("article.user").inner_text().endswith("What is your name?")
    assert visitor.do("omni.recorder.file() !== null")  # it was spoken all the same
    assert visitor.complaints == []
    assert all(url.startswith((nano, "data:", "blob:")) for url in visitor.requested)  # nothing comes from elsewhere


def test_answers_can_be_written_only(visit: Visit) -> None:
    visitor = visit()
    visitor.page.click("#settings-button")
    visitor.page.check("input[name=answers][value=text]")
    visitor.page.keyboard.press("Escape")
    visitor.type("What is the capital of France?")
    (answer,) = visitor.answered()
    assert same_words(answer["text"], "The capital of France is the city of Paris.")
    assert visitor.do("omni.recorder.file()") is None
    assert visitor.page.locator("#captions").get_attribute("aria-live") == "polite"  # a screen reader says what nobody else does


def test_push_to_talk_with_the_space_bar(visit: Visit) -> None:
    said = question("capital-france-annie")
    visitor = visit(2.0, said, 60.0)
    visitor.page.click("#settings-button")
    visitor.page.check("input[name=turns][value=push]")
    visitor.page.keyboard.press("Escape")
    visitor.talk()
    visitor.page.focus("body")
    visitor.page.keyboard.down("Space")
    visitor.until_state("hearing")
    visitor.until("omni.devices.microphone.analyser.context.currentTime > argument", 2.3 + len(said) / RATE)
    assert visitor.items("assistant") == []  # the server does not guess when the turn ends
    visitor.page.keyboard.up("Space")
    (answer,) = visitor.answered()
    assert same_words(answer["text"], "The capital of France is the city of Paris.")


def test_muted_nothing_is_heard(visit: Visit) -> None:
    said = question("joke-annie")
    visitor = visit(2.0, said, 30.0)
    visitor.talk()
    visitor.page.click("#talk")
    assert visitor.page.inner_text("#status-text") == "Muted"
    visitor.until("omni.devices.microphone.analyser.context.currentTime > argument", 4 + len(said) / RATE)
    assert visitor.do("omni.conversation.items") == []


def test_escape_silences_an_answer(visit: Visit, tmp_path: Path) -> None:
    visitor = visit()
    visitor.type("Can you tell me a short story?")
    visitor.until_state("speaking")
    visitor.page.wait_for_timeout(1_000)
    visitor.page.keyboard.press("Escape")
    visitor.page.locator("del:not(:empty)").wait_for()
    visitor.until_state("ready")
    visitor.page.wait_for_timeout(1_000)
    (heard_ms,) = (event["audio_end_ms"] for event in visitor.sent if event["type"] == "conversation.item.truncate")
    stretches = visitor.recording(tmp_path / "conversation.wav").answers()
    played_ms = sum(end - begin for begin, end in stretches) * 1000 / RATE
    assert 500 < heard_ms < played_ms + 100  # and not the story's ten seconds
    assert [event["type"] for event in visitor.sent].count("response.cancel") <= 1


def test_the_conversation_can_be_kept(visit: Visit) -> None:
    """As a text, in the clipboard or in a file; `Visitor.recording` downloads the sound."""
    visitor = visit()
    visitor.page.click("#keep-button")
    assert visitor.page.locator("#keep button:enabled").count() == 0  # there is nothing yet
    visitor.type("What is your name?")
    visitor.answered()
    words = "You: What is your name?\nOmni: My name is Omni. It is nice to meet you."
    visitor.page.click("#copy")
    visitor.page.get_by_text("Copied").wait_for()
    assert visitor.page.evaluate("navigator.clipboard.readText()") == words
    with visitor.page.expect_download() as download:
        visitor.page.click("#download-text")
    assert Path(download.value.path()).read_text() == f"{words}\n"


def test_another_microphone_and_loudspeaker_are_chosen_and_remembered(visit: Visit) -> None:
    visitor = visit()
    visitor.talk()
    visitor.page.click("#settings-button")
    chosen = {}
    for kind in ("microphone", "speaker"):
        select = visitor.page.locator(f"#device-{kind}")
        chosen[kind] = select.locator("option").last.get_attribute("value")
        select.select_option(chosen[kind])
    opened = "omni.devices.microphone?.track.getSettings().deviceId === argument"
    visitor.until(opened, chosen["microphone"])
    visitor.until("omni.devices.speaker.analyser.context.sinkId === argument", chosen["speaker"])
    visitor.page.reload()
    visitor.talk()
    visitor.until(opened, chosen["microphone"])
    visitor.until("omni.devices.speaker.analyser.context.sinkId === argument", chosen["speaker"])


# -- pictures


def thing(shape: str, colour: str) -> Image.Image:
    """A picture of one thing, as nano knows them."""
    return Image.fromarray(paint(Picture((Thing(shape, colour, "middle"),), "", seed=7), 640))


def frames(visitor: Visitor) -> list[Image.Image]:
    """What the camera has sent."""
    urls = [event["image"] for event in visitor.sent if event["type"] == "input_image_buffer.append"]
    return [Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/jpeg;base64,")))) for url in urls]


def test_the_camera_sends_a_small_jpeg_every_second(visit: Visit) -> None:
    visitor = visit(camera=Image.new("RGB", (1280, 720), (200, 30, 40)))
    visitor.talk()
    visitor.page.click("#camera")
    visitor.page.locator("#preview-video").wait_for()
    visitor.page.wait_for_timeout(4_000)
    sent = frames(visitor)
    assert 2 <= len(sent) <= 6
    assert sent[0].size == (768, 432)
    assert np.abs(np.asarray(sent[-1])[216, 384].astype(int) - (200, 30, 40)).max() < 25
    visitor.page.click("#preview-close")
    assert visitor.page.locator("#preview").is_hidden()


def test_the_screen_is_shown_too(playwright: Playwright, nano: str, tmp_path: Path) -> None:
    """In a browser of its own: one that shares a screen without a question asks for no device's permission either."""
    with house(playwright, tmp_path, "--use-fake-ui-for-media-stream") as home, home.visiting(nano) as visitor:
        visitor.talk()
        visitor.page.click("#screen")
        visitor.page.locator("#preview-video").wait_for()
        visitor.page.wait_for_timeout(2_500)
        assert {max(frame.size) for frame in frames(visitor)} == {768}
        assert visitor.page.locator("#screen").get_attribute("aria-pressed") == "true"
        visitor.page.click("#camera")  # one of the two at a time
        visitor.until("omni.devices.showing === 'camera'")
        assert visitor.page.locator("#screen").get_attribute("aria-pressed") == "false"


def test_what_the_camera_shows_is_answered(visit: Visit, able: dict[str, Any]) -> None:
    if not able["sees"]:
        pytest.skip("the bundled model declares no vision")
    visitor = visit(camera=thing("circle", "red"))
    visitor.talk()
    visitor.page.click("#camera")
    visitor.page.wait_for_timeout(2_500)
    visitor.type("What shape is this?")
    assert visitor.answered()[0]["text"] == "It is a circle."


def test_a_picture_that_is_chosen_is_answered(visit: Visit, able: dict[str, Any]) -> None:
    if not able["sees"]:
        pytest.skip("the bundled model declares no vision")
    visitor = visit()
    show(visitor, thing("square", "blue"))
    visitor.type("What shape is this?")
    assert visitor.answered()[0]["text"] == "It is a square."


def show(visitor: Visitor, picture: Image.Image) -> None:
    """Choose a picture's file."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    visitor.page.set_input_files("#picture-file", {"name": "picture.png", "mimeType": "image/png", "buffer": file.getvalue()})
    visitor.page.locator("article.user img").last.wait_for()


def test_a_picture_is_shown_small_and_left_out_by_a_model_that_can_not_see(visit: Visit, able: dict[str, Any]) -> None:
    visitor = visit()
    show(visitor, Image.effect_noise((2000, 1000), 60))
    picture = next(event for event in visitor.sent if event["type"] == "conversation.item.create" and "image_url" in event["item"]["content"][0])
    data = picture["item"]["content"][0]["image_url"].removeprefix("data:image/jpeg;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (768, 384)
    visitor.type("Who are you?")
    visitor.answered()
    if not able["sees"]:
        assert "This model can’t see" in visitor.notice("picture-ignored")
