"""Other ways to talk: typed, by holding the space bar, with pictures; and what the page asks of the network."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clients.python.audio import RATE
from omni_core.datagen.painting import paint
from omni_core.datagen.pictures import Picture, Thing
from omni_core.metrics import same_words
from tests.browser.conftest import Visit
from tests.browser.visitor import Visitor, question

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


def test_push_to_talk_with_the_space_bar(visit: Visit) -> None:
    said = question("capital-france-annie")
    visitor = visit(4.0, said, 60.0)
    visitor.page.click("#settings-button")
    visitor.page.check("input[name=turns][value=push]")
    visitor.page.keyboard.press("Escape")
    visitor.talk()
    visitor.page.focus("body")
    visitor.page.keyboard.down("Space")
    visitor.until_state("hearing")
    visitor.until("omni.devices.microphone.analyser.context.currentTime > argument", 4.3 + len(said) / RATE)
    assert visitor.items("assistant") == []  # the server does not guess when the turn ends
    visitor.page.keyboard.up("Space")
    (answer,) = visitor.answered()
    assert same_words(answer["text"], "The capital of France is the city of Paris.")


def test_muted_nothing_is_heard(visit: Visit) -> None:
    visitor = visit(3.0, question("joke-annie"), 30.0)
    visitor.talk()
    visitor.page.click("#talk")
    assert visitor.page.inner_text("#status-text") == "Muted"
    visitor.page.wait_for_timeout(8_000)
    assert visitor.do("omni.conversation.items") == []


def test_escape_silences_an_answer(visit: Visit) -> None:
    visitor = visit()
    visitor.type("Can you tell me a short story?")
    visitor.until_state("speaking")
    visitor.page.wait_for_timeout(1_000)
    visitor.page.keyboard.press("Escape")
    visitor.page.locator("del:not(:empty)").wait_for()
    visitor.until_state("ready")
    played = visitor.do("omni.recorder.seconds")
    visitor.page.wait_for_timeout(2_000)
    assert visitor.do("omni.recorder.seconds") == played
    assert [event["type"] for event in visitor.sent].count("response.cancel") <= 1


# -- pictures


def y4m(path: Path, picture: Image.Image) -> Path:
    """A camera's file that shows one picture."""
    width, height = picture.size
    y, cb, cr = (np.asarray(plane) for plane in picture.convert("YCbCr").split())
    luma = (16 + y * (219 / 255)).astype(np.uint8)
    chroma = [(128 + (plane[::2, ::2] - 128.0) * (224 / 255)).astype(np.uint8) for plane in (cb, cr)]
    frame = b"FRAME\n" + b"".join(plane.tobytes() for plane in (luma, *chroma))
    path.write_bytes(f"YUV4MPEG2 W{width} H{height} F10:1 Ip C420mpeg2\n".encode() + 3 * frame)
    return path


def thing(shape: str, colour: str) -> Image.Image:
    """A picture of one thing, as nano knows them."""
    return Image.fromarray(paint(Picture((Thing(shape, colour, "middle"),), "", seed=7), 640))


def frames(visitor: Visitor) -> list[Image.Image]:
    """What the camera has sent."""
    urls = [event["image"] for event in visitor.sent if event["type"] == "input_image_buffer.append"]
    return [Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/jpeg;base64,")))) for url in urls]


def test_the_camera_sends_a_small_jpeg_every_second(visit: Visit, tmp_path: Path) -> None:
    red = Image.new("RGB", (1280, 720), (200, 30, 40))
    visitor = visit(flags=[f"--use-file-for-fake-video-capture={y4m(tmp_path / 'camera.y4m', red)}"])
    visitor.talk()
    visitor.do("omni.devices.openCamera()")
    visitor.page.locator("#preview-video").wait_for()
    visitor.page.wait_for_timeout(4_000)
    sent = frames(visitor)
    assert 2 <= len(sent) <= 6
    assert sent[0].size == (768, 432)
    assert np.abs(np.asarray(sent[-1])[216, 384].astype(int) - (200, 30, 40)).max() < 25
    visitor.page.click("#preview-close")
    assert visitor.page.locator("#preview").is_hidden()


def test_what_the_camera_shows_is_answered(visit: Visit, able: dict[str, Any], tmp_path: Path) -> None:
    if not able["sees"]:
        pytest.skip("the bundled model declares no vision")
    visitor = visit(flags=[f"--use-file-for-fake-video-capture={y4m(tmp_path / 'camera.y4m', thing('circle', 'red'))}"])
    visitor.page.click("#camera")
    visitor.until("omni.devices.showing === 'camera'")
    visitor.talk()
    visitor.page.wait_for_timeout(2_500)
    visitor.type("What shape is this?")
    visitor.answered(1)
    visitor.page.click("#camera")
    show(visitor, thing("square", "blue"))
    visitor.type("What shape is this?")
    assert [item["text"] for item in visitor.answered(2)] == ["It is a circle.", "It is a square."]


def show(visitor: Visitor, picture: Image.Image) -> None:
    """Choose a picture's file."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    visitor.page.set_input_files("#picture-file", {"name": "picture.png", "mimeType": "image/png", "buffer": file.getvalue()})
    visitor.page.locator("article.user img").last.wait_for()


def test_a_picture_is_shown_small_and_left_out_by_a_model_that_can_not_see(visit: Visit, able: dict[str, Any]) -> None:
    visitor = visit()
    visitor.type("Who are you?")
    visitor.answered(1)
    show(visitor, Image.effect_noise((2000, 1000), 60))
    picture = next(event for event in visitor.sent if event["type"] == "conversation.item.create" and "image_url" in event["item"]["content"][0])
    data = picture["item"]["content"][0]["image_url"].removeprefix("data:image/jpeg;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (768, 384)
    visitor.type("Who are you?")
    visitor.answered(2)
    if not able["sees"]:
        assert "This model can’t see" in visitor.notice("picture-ignored")
