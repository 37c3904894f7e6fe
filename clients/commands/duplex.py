"""The suite `duplex` of `omni eval`: starts a server, or takes one that runs, and holds the conversations with it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from clients.commands.duplex_material import make_material
from clients.commands.duplex_suite import suite_of
from clients.commands.server_process import server_at
from clients.duplex import evaluation as duplex
from clients.duplex.evaluation import Findings, Plan, evaluate
from clients.duplex.scenarios import BY_COMMAND, BY_VOICE, Line
from clients.duplex.sound import Aligner
from clients.duplex.truncation import Truncations, judge
from clients.errors import ClientError
from omni_core.evaluation.results import Suite

CASES = 60  #: of each scene
ECHO_S = 600.0  #: with as many cases


@dataclass(frozen=True)
class Setting:
    """What is measured, and on what."""

    model: str
    device: str
    url: str | None = None  #: of a server that runs; None: one of our own with that model
    manifest: Path | None = None
    data: Path = Path("data")
    seed: int = 1
    limit: int | None = None  #: cases of each scene at most, and so much less of the echo
    listenable: bool = False


def measure(setting: Setting) -> tuple[Suite, dict[str, str]]:
    """All conversations; the suite, and why some of it was not run. Raises ClientError and OmniError."""
    cases = min(setting.limit or CASES, CASES)
    material = make_material(setting.manifest, setting.data, cases, setting.seed)
    plan = Plan(setting.seed, cases, ECHO_S * cases / CASES)
    bar = Progress(console=Console(stderr=True), transient=True)
    with server_at(setting.url, "--model", setting.model, "--device", setting.device) as url, bar as progress:
        bars = {}

        def show(scenario: str, done: int, count: int) -> None:
            if scenario not in bars:
                bars[scenario] = progress.add_task(scenario, total=count)
            progress.update(bars[scenario], completed=done, total=count)

        findings = asyncio.run(evaluate(Line(url), material, plan, show))
    not_run = dict(findings.not_run)
    truncations = _judged(findings, not_run)
    return suite_of(findings, truncations, listenable=setting.listenable), {f"duplex, {scene}": why for scene, why in not_run.items()}


def _judged(findings: Findings, not_run: dict[str, str]) -> Truncations | None:
    cut = [*findings.interrupted(duplex.INTERRUPTIONS, BY_VOICE), *findings.interrupted(duplex.COMMANDS, BY_COMMAND)]
    if not cut:
        return None
    try:
        return judge(cut, findings.long_answers, Aligner())
    except ClientError as error:
        not_run["truncation"] = str(error)
        return None
