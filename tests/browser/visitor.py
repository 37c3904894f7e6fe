"""Somebody in front of the page: a real Chromium whose microphone is a WAV file, and what can be seen and heard there."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Playwright

from clients.python.audio import RATE, Wave, edges, load_audio

PATIENCE_MS = 60_000
_BETWEEN_S = 1.5  # of silence
_BLOCK = 128  # samples that an audio context makes at a time
_MICROPHONE_RATE = 48_000  # Hz, as most devices have it
_QUESTIONS = Path(__file__).resolve().parents[1] / "assets" / "questions"
_HANDLE = "import('/browser/page/main.js').then(({ omni }) => omni)"  # the page's own conversation: a module is loaded once
_FLAGS = (
    "--headless=new",
    "--use-fake-device-for-media-stream",
    "--disable-features=AudioServiceSandbox",  # it must read the WAV
    "--host-resolver-rules=MAP omni.test 127.0.0.1",
)
_ALLOWED = ("microphone", "camera", "clipboard-read", "clipboard-write")
_REFUSED = ("midi",)  # a list without the others: they are refused without a question


def chromium() -> str | None:
    """Where it is installed: a path, as Playwright does not search."""
    names = [named] if (named := os.environ.get("CHROMIUM")) else ["chromium", "chromium-browser", "google-chrome"]
    return next((path for name in names if (path := shutil.which(name))), None)


def question(name: str) -> Wave:
    """One of the recorded questions."""
    return load_audio(_QUESTIONS / f"{name}.flac")


@dataclass(frozen=True)
class Said:
    """A sound in the microphone's file."""

    wave: Wave
    begin: int  #: sample of the file at 24 kHz

    @property
    def end(self) -> int:
        """The sample after its last that is above -40 dB of its peak."""
        found = edges(self.wave)
        assert found is not None
        return self.begin + found[1]


def write_wav(path: Path, parts: tuple[float | Wave, ...]) -> tuple[Said, ...]:
    """A microphone's file: seconds of silence and waves, one after the other. Gives the waves' places."""
    waves: list[Wave] = []
    said: list[Said] = []
    for part in parts:
        if isinstance(part, np.ndarray):
            said.append(Said(part, sum(map(len, waves))))
        waves.append(part if isinstance(part, np.ndarray) else np.zeros(round(part * RATE), np.float32))
    soundfile.write(path, soxr.resample(np.concatenate(waves), RATE, _MICROPHONE_RATE), _MICROPHONE_RATE, subtype="PCM_16")
    return tuple(said)


def write_y4m(path: Path, picture: Image.Image) -> None:
    """A camera's file: one picture, again and again."""
    width, height = picture.size
    y, cb, cr = (np.asarray(plane) for plane in picture.convert("YCbCr").split())
    luma = (16 + y * (219 / 255)).astype(np.uint8)
    chroma = [(128 + (plane[::2, ::2] - 128.0) * (224 / 255)).astype(np.uint8) for plane in (cb, cr)]
    frame = b"FRAME\n" + b"".join(plane.tobytes() for plane in (luma, *chroma))
    path.write_bytes(f"YUV4MPEG2 W{width} H{height} F10:1 Ip C420mpeg2\n".encode() + 3 * frame)


@dataclass(frozen=True)
class Recording:
    """What the page's own recording holds, float32 [N] at 24 kHz on one time line."""

    heard: Wave  #: by its microphone
    played: Wave  #: by its audio context

    def find(self, said: Said, begin: int = 0, stop: int | None = None) -> int:
        """The sample at which `said` begins in what was heard, somewhere after `begin`; with `stop`, all of it lies before that."""
        rest = self.heard[begin:stop]
        size = 1 << (len(rest) + len(said.wave) - 1).bit_length()
        likeness = np.fft.irfft(np.fft.rfft(rest, size) * np.conj(np.fft.rfft(said.wave, size)), size)[: len(rest)]
        return begin + int(np.argmax(likeness))

    def end(self, said: Said, begin: int = 0) -> int:
        """The sample at which its speech ends."""
        return self.find(said, begin) + said.end - said.begin

    def answers(self) -> list[tuple[int, int]]:
        """First sample and the one after the last of each answer that was played: stretches with a longer silence between them than within."""
        loud = np.flatnonzero(np.abs(self.played) > 1e-3)
        if not len(loud):
            return []
        breaks = np.flatnonzero(np.diff(loud) > _BETWEEN_S * RATE)
        begins, ends = [loud[0], *loud[breaks + 1]], [*loud[breaks], loud[-1]]
        return [(int(begin), int(end) + 1) for begin, end in zip(begins, ends, strict=True)]

    def sound(self, stretch: tuple[int, int]) -> Wave:
        """What was played there, less the times when it had run dry: blocks of nothing at all, on a machine with too much to do."""
        wave = self.played[slice(*stretch)]
        changes = np.flatnonzero(np.diff(np.concatenate(([False], wave == 0, [False]))))
        sounding = np.ones(len(wave), bool)
        for begin, end in changes.reshape(-1, 2):
            sounding[begin:end] = end - begin < _BLOCK
        return wave[sounding]


class Visitor:
    """A page of a running server."""

    def __init__(self, context: BrowserContext, url: str, said: tuple[Said, ...], ready: str) -> None:
        self.context, self.page, self.said = context, context.new_page(), said
        self.page.set_default_timeout(PATIENCE_MS)
        self.complaints: list[str] = []  #: of the browser: errors, and what the content security policy forbade
        self.requested: list[str] = []
        self.sent: list[dict[str, Any]] = []
        self.page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("websocket", lambda socket: socket.on("framesent", lambda frame: self._sent(frame)))
        self.page.goto(url)
        self.page.wait_for_selector(ready)

    def _sent(self, frame: Any) -> None:
        event = json.loads(frame)
        if event["type"] != "input_audio_buffer.append":
            self.sent.append(event)

    def do(self, script: str, argument: object = None) -> Any:
        """Run `script` with `omni`, the page's conversation, and `argument`; gives what it gives."""
        return self.page.evaluate(f"async (argument) => {{ const omni = await {_HANDLE}; return {script}; }}", argument)

    def until(self, condition: str, argument: object = None, patience_s: float = PATIENCE_MS / 1000) -> None:
        """Wait until an expression of `omni` and `argument` is true. Playwright's own wait needs eval, which the page's policy forbids."""
        deadline = time.monotonic() + patience_s
        while not self.do(condition, argument):
            assert time.monotonic() < deadline, f"{condition} was not to be; the page says: {self.page.inner_text('footer')!r}"
            self.page.wait_for_timeout(50)

    def until_state(self, *states: str) -> None:
        self.until("argument.includes(omni.state)", list(states))

    def talk(self) -> None:
        """Click on the big button, and wait until the microphone is open."""
        self.page.click("#talk")
        self.until("omni.devices.microphone !== null && omni.state !== 'connecting'")

    def type(self, text: str) -> None:
        self.page.fill("#text", text)
        self.page.press("#text", "Enter")

    def choose(self, **settings: object) -> None:
        """Settings by name, as the dialog would make and keep them."""
        self.page.evaluate("(settings) => localStorage.setItem('omni-settings', JSON.stringify({ settings }))", settings)
        self.do("omni.configure(argument)", settings)

    def items(self, role: str) -> list[dict[str, Any]]:
        """Captions of that side, oldest first."""
        return [item for item in self.do("omni.conversation.items") if item["role"] == role]

    def answered(self, count: int = 1) -> list[dict[str, Any]]:
        """Wait until `count` answers are complete and heard; gives them."""
        complete = "omni.conversation.items.filter((item) => item.role === 'assistant' && !item.open).length >= argument"
        self.until(f"{complete} && !omni.devices.speaker?.busy && omni.state === 'ready'", count)
        return self.items("assistant")

    def notice(self, code: str) -> str:
        """Wait for that trouble to be on the screen, on top of all else; gives its words."""
        notice = self.page.locator(f".notice[data-code={code}]")
        notice.wait_for()
        centre = "const { x, y, width, height } = it.getBoundingClientRect(); const at = document.elementFromPoint(x + width / 2, y + height / 2)"
        assert notice.evaluate(f"(it) => {{ {centre}; return it.contains(at) }}")
        return notice.inner_text()

    def recording(self, path: Path) -> Recording:
        """Save the sound as a user would."""
        self.page.click("#keep-button")
        with self.page.expect_download() as download:
            self.page.click("#download-sound")
        self.page.click("#keep-button")
        download.value.save_as(path)
        samples, rate = soundfile.read(path, dtype="float32")
        assert (rate, samples.shape[1]) == (RATE, 2)
        return Recording(*(np.ascontiguousarray(channel, np.float32) for channel in samples.T))


@dataclass(frozen=True)
class House:
    """A running browser with a microphone and a camera. Both are files, read anew whenever a page opens the device."""

    browser: Browser
    folder: Path

    @contextmanager
    def visiting(
        self,
        url: str,
        *said: float | Wave,
        camera: Image.Image | None = None,
        allowed: bool = True,
        script: str = "",
        ready: str = "#ideas button",
        **options: Any,
    ) -> Iterator[Visitor]:
        """Open the page at `url` in a profile of its own.

        said: what the microphone hears from when it is opened, then silence; camera: what that shows; allowed: the page is given both;
        script: runs first of all; ready: is there once the page is; options: of Playwright's context.
        """
        places = write_wav(self.folder / "microphone.wav", said or (1.0,))
        if camera:
            write_y4m(self.folder / "camera.y4m", camera)
        with self.browser.new_context(permissions=_ALLOWED if allowed else _REFUSED, **options) as context:
            context.add_init_script(script)
            yield Visitor(context, url, places, ready)


@contextmanager
def house(playwright: Playwright, folder: Path, *flags: str) -> Iterator[House]:
    """Start a browser, its devices' files in `folder`."""
    microphone, camera = folder / "microphone.wav", folder / "camera.y4m"
    write_y4m(camera, Image.new("RGB", (640, 480), "gray"))
    files = [f"--use-file-for-fake-audio-capture={microphone}%noloop", f"--use-file-for-fake-video-capture={camera}"]
    with playwright.chromium.launch(executable_path=chromium(), args=[*_FLAGS, *files, *flags]) as browser:
        yield House(browser, folder)
