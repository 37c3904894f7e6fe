"""The page as a page: its files, what it lets in, and whether everybody can use it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.browser.conftest import Visit
from tests.browser.visitor import Visitor, question
from tests.npm import NODE, NPM, installed

JS = Path(__file__).parent / "js"
PAGE = Path(__file__).resolve().parents[2] / "clients" / "browser"
SCREENSHOTS = os.environ.get("SCREENSHOTS")  #: a folder for those of docs/
SIZES = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True},
}


@NODE
def test_the_parts_that_need_no_browser() -> None:
    """Jitter buffer, resampling, recording, captions, figures, states: `node --test` tells them one by one."""
    run = subprocess.run(["node", "--test", *sorted(map(str, JS.glob("*.test.mjs")))], capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("compiler", [pytest.param("typescript", marks=NPM)])
def test_the_types_are_right(compiler: str) -> None:
    run = subprocess.run(
        ["node", installed(JS) / "node_modules" / compiler / "bin" / "tsc", "-p", PAGE / "jsconfig.json"], capture_output=True, text=True, timeout=100
    )
    assert run.returncode == 0, run.stdout


def test_every_file_that_the_page_names_is_there() -> None:
    named = re.findall(r'(?:href|src)="browser/([^"#]+)', (PAGE / "index.html").read_text())
    named += [f"{part}/{name}" for part in ("page", "realtime") for name in re.findall(r'from "\./([^"]+)"', _all_of(part))]
    missing = {name for name in named if not (PAGE / name).is_file()}
    assert not missing


def _all_of(part: str) -> str:
    return "\n".join(file.read_text() for file in (PAGE / part).glob("*.js"))


def test_the_readme_of_the_module_names_its_events() -> None:
    text = (PAGE / "realtime" / "README.md").read_text()
    told = set(re.findall(r'#tell\("([a-z]+)"', (PAGE / "realtime" / "index.js").read_text()))
    assert told
    assert not {name for name in told if f"`{name}`" not in text}


# -- in the browser


@pytest.mark.browser
def test_a_browser_gets_the_page_and_anyone_else_what_it_is_about(nano: str) -> None:
    page = httpx.get(nano, headers={"accept": "text/html,*/*"}, trust_env=False)
    assert page.text.startswith("<!doctype html>")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    script = httpx.get(f"{nano}browser/page/main.js", trust_env=False)
    assert script.headers["content-security-policy"] == policy
    about = httpx.get(nano, trust_env=False).json()
    assert about["realtime"] == f"{nano}v1/realtime".replace("http", "ws")
    assert {"model", "listens", "sees"} <= about.keys()


@pytest.mark.browser
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("size", "scheme"),
    [
        pytest.param("desktop", "light", marks=NPM),
        pytest.param("phone", "dark", marks=NPM),
        pytest.param("desktop", "dark", marks=[*NPM, pytest.mark.slow]),
        pytest.param("phone", "light", marks=[*NPM, pytest.mark.slow]),
    ],
)
def test_it_can_be_seen_and_used_by_everybody(visit: Visit, size: str, scheme: str) -> None:
    """No violation that axe-core knows of: before, during and after a conversation, in every panel."""
    visitor = visit(0.5, question("capital-france-annie"), 60.0, color_scheme=scheme, **SIZES[size])
    look(visitor, f"{size}-{scheme}-welcome")
    visitor.type("Can you tell me a short story?")
    visitor.until_state("speaking")
    visitor.page.wait_for_timeout(2_500)
    visitor.page.keyboard.press("Escape")
    visitor.page.locator("del:not(:empty)").wait_for()
    visitor.talk()
    visitor.until_state("speaking")
    visitor.page.wait_for_timeout(1_500)
    look(visitor, f"{size}-{scheme}-talking")
    visitor.page.click("#figures-button")
    look(visitor, f"{size}-{scheme}-timing")
    visitor.page.click("#keep-button")
    look(visitor, f"{size}-{scheme}-save")
    visitor.page.click("#keep-button")
    visitor.page.click("#settings-button")
    look(visitor, f"{size}-{scheme}-settings")
    visitor.page.keyboard.press("Escape")
    visitor.do("omni.dispatchEvent(new CustomEvent('problem', { detail: { code: 'microphone-lost' } }))")
    visitor.notice("microphone-lost")
    look(visitor, f"{size}-{scheme}-trouble")
    assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert visitor.complaints == []


def look(visitor: Visitor, name: str) -> None:
    """Judge what is on the screen, and keep a picture where one is wanted."""
    if SCREENSHOTS:
        visitor.page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png", animations="disabled")
    visitor.page.evaluate((installed(JS) / "node_modules" / "axe-core" / "axe.min.js").read_text())
    found = visitor.page.evaluate("axe.run()")["violations"]
    assert [(each["id"], each["impact"], [node["html"] for node in each["nodes"]][:3]) for each in found] == []


@pytest.mark.browser
@pytest.mark.timeout(300)
def test_the_keyboard_alone_is_enough(visit: Visit) -> None:
    visitor = visit(1.0, question("joke-annie"), 60.0)
    pressed = []
    for _ in range(20):
        visitor.page.keyboard.press("Tab")
        pressed.append(visitor.page.evaluate("document.activeElement.id || document.activeElement.className"))
        assert visitor.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        if pressed[-1] == "talk":
            break
    assert {"figures-button", "keep-button", "settings-button"} <= set(pressed)
    visitor.page.keyboard.press("Enter")
    (answer,) = visitor.answered()
    assert answer["text"]
    visitor.page.keyboard.press("Shift+Tab")
