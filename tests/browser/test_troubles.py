"""When things go wrong: each trouble has its own plain words on the screen, and a way on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from clients.commands.server_process import running_server
from tests.browser.conftest import Visit
from tests.browser.test_page import PAGE
from tests.browser.visitor import Visitor

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

KEY = "open-sesame"
WITH_KEY = f"sessionStorage.setItem('omni-key', '{KEY}')"
PICTURES = os.environ.get("TROUBLES")  #: a folder for screenshots of them


def check(visitor: Visitor, code: str, *words: str) -> None:
    """Those words are on the screen."""
    shown = visitor.notice(code)
    for word in words:
        assert word in shown
    if PICTURES:
        visitor.page.screenshot(path=Path(PICTURES) / f"{code}.png")


def test_a_refused_microphone_leaves_typing(visit: Visit) -> None:
    visitor = visit(allowed=False)
    visitor.page.click("#talk")
    check(visitor, "microphone-refused", "The microphone is blocked", "You can type meanwhile.", "Try the microphone again")
    visitor.type("What is your name?")
    visitor.answered()


def test_no_microphone(visit: Visit) -> None:
    visitor = visit()
    visitor.do("(navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no device', 'NotFoundError')))")
    visitor.page.click("#talk")
    check(visitor, "microphone-missing", "No microphone was found", "Try the microphone again")


def test_a_refused_camera_and_a_picture_that_is_none(visit: Visit) -> None:
    visitor = visit(allowed=False)
    visitor.page.click("#camera")
    check(visitor, "camera-refused", "The conversation goes on without.", "Try again")
    visitor.page.set_input_files("#picture-file", {"name": "letter.txt", "mimeType": "text/plain", "buffer": b"Dear Omni"})
    check(visitor, "picture-unreadable", "Try a JPEG or a PNG.")


def test_every_trouble_has_words_of_its_own(visit: Visit) -> None:
    visitor = visit(viewport={"width": 360, "height": 640})
    declared = re.search(r"@typedef \{([^}]*)\} ProblemCode", (PAGE / "realtime" / "problems.js").read_text())
    assert declared is not None
    codes = re.findall(r'"([a-z-]+)"', declared[1])
    assert len(codes) > 15
    shown = set()
    for code in codes:
        visitor.do("omni.dispatchEvent(new CustomEvent('problem', { detail: { code: argument, message: 'why, for the log' } }))", code)
        shown.add(visitor.notice(code))
        visitor.page.locator(f".notice[data-code={code}] button").last.click()
    assert len(shown) == len(codes)


def test_without_https_the_page_says_how_to_get_it(visit: Visit, nano: str) -> None:
    visitor = visit(url=nano.replace("127.0.0.1", "omni.test"))
    check(visitor, "insecure", "--tls-self-signed", "https://omni.test:")
    visitor.type("What is your name?")
    visitor.until("omni.conversation.items.some((item) => item.role === 'assistant' && !item.open)")  # in writing
    assert visitor.items("assistant")[0]["text"].startswith("My name is Omni")


def test_an_unplugged_microphone_is_replaced(visit: Visit) -> None:
    visitor = visit(30.0)
    visitor.talk()
    visitor.do("omni.devices.microphone.track.dispatchEvent(new Event('ended'))")
    visitor.until("omni.devices.microphone?.track.readyState === 'live'")
    visitor.page.locator(".notice").wait_for(state="detached")


def test_an_unplugged_microphone_that_has_no_successor(visit: Visit) -> None:
    visitor = visit(30.0)
    visitor.talk()
    visitor.do("(omni.hidden = navigator.mediaDevices.getUserMedia)")
    visitor.do("(navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no device', 'NotFoundError')))")
    visitor.do("omni.devices.microphone.track.dispatchEvent(new Event('ended'))")
    check(visitor, "microphone-lost", "The microphone is gone", "Another one is used as soon as there is one")
    visitor.do("delete navigator.mediaDevices.getUserMedia")
    visitor.do("navigator.mediaDevices.dispatchEvent(new Event('devicechange'))")
    visitor.page.locator(".notice").wait_for(state="detached")
    assert visitor.do("omni.devices.microphone !== null")


def test_a_page_that_the_browser_silenced(visit: Visit) -> None:
    """As phones do to pages in the background: only a touch brings the sound back."""
    visitor = visit(script="const it = AudioContext.prototype; it.blocked = it.resume; it.resume = () => new Promise(() => {})")
    visitor.do("omni.start({ microphone: false })")
    visitor.until_state("ready")
    visitor.do("omni.devices.speaker.analyser.context.suspend()")
    visitor.do("document.dispatchEvent(new Event('visibilitychange'))")
    check(visitor, "sound-blocked", "The sound is paused", "Turn the sound on")
    visitor.do("void (AudioContext.prototype.resume = AudioContext.prototype.blocked)")
    visitor.page.click("text=Turn the sound on")
    visitor.until("omni.devices.speaker.running")


def test_a_tab_in_the_background_goes_on_talking(visit: Visit) -> None:
    visitor = visit()
    visitor.type("Please tell me a joke.")
    other = visitor.context.new_page()
    other.bring_to_front()
    visitor.answered()
    assert visitor.page.title().endswith("– Omni")


class Guarded:
    """A server that asks for a key and has one place; it can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running = ExitStack()
        self._port = 0
        (folder / "keys").write_text(f"{KEY}\n")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/"

    def start(self) -> None:
        """On the port it had before."""
        options = ("--device", "cpu", "--port", str(self._port), "--api-key-file", str(self._folder / "keys"), "--max-sessions", "1")
        self._port = self._running.enter_context(running_server(self._folder / "server.log", *options, timeout_s=300))

    def stop(self) -> None:
        self._running.close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    server = Guarded(tmp_path_factory.mktemp("guarded"))
    server.start()
    yield server
    server.stop()


def test_a_key_is_asked_for_and_a_full_server_is_waited_for(visit: Visit, guarded: Guarded) -> None:
    first = visit(url=guarded.url)
    first.type("What is your name?")
    check(first, "key-needed", "This server asks for a key", "Enter a key")
    first.page.click("text=Enter a key")
    first.page.keyboard.type("guessed")
    first.page.keyboard.press("Escape")
    first.type("What is your name?")
    check(first, "key-wrong", "The key does not fit")
    first.page.click("text=Enter a key")
    first.page.fill("#key", KEY)
    first.page.keyboard.press("Escape")
    first.type("What is your name?")
    first.answered()
    assert first.page.locator(".notice").count() == 0

    second = visit(url=guarded.url, script=WITH_KEY)
    second.page.click("#ideas button")
    check(second, "full", "All places are taken", "Next attempt in", "Try now")
    first.page.click("#end")
    second.answered()
    assert second.page.locator(".notice").count() == 0


def test_a_restarted_server_is_found_again_and_told_what_was_said(visit: Visit, guarded: Guarded) -> None:
    visitor = visit(url=guarded.url, script=WITH_KEY)
    visitor.type("What is the capital of France?")
    visitor.answered()
    guarded.stop()
    visitor.until("omni.state === 'connecting'")
    check(visitor, "unreachable", "The server can’t be reached", "Try now")
    guarded.start()
    visitor.until("omni.state === 'ready'")
    assert visitor.page.locator(".notice").count() == 0
    told = [event["item"]["content"][0]["text"] for event in visitor.sent if event["type"] == "conversation.item.create"]
    assert told[-2:] == [item["text"] for item in visitor.do("omni.conversation.items.slice(0, 2)")]
    assert "Connected again" in visitor.page.inner_text(".note")
    visitor.type("What is your name?")
    visitor.answered(2)
