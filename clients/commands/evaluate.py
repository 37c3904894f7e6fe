"""`omni eval`: how well a model hears, sees, answers, speaks and knows when to stop."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clients.commands.arguments import add_command, add_json, add_model, add_precision, print_json

if TYPE_CHECKING:
    from omni_core.evaluation.results import Evaluation, Suite

EXAMPLES = """
omni eval qa                                       # spoken questions: the test material, or what is bundled
omni eval qa --listen                              # and how well pocketsphinx understands the answers (extra train, flite)
omni eval all --report report                      # everything, with a page to look at and listen to: report/index.html
omni eval asr --manifest my/recordings.jsonl --json
omni eval codec                                    # needs `omni data codec` and the extra train
omni eval irq                                      # needs `omni data scenes`
omni eval duplex --limit 10 --report report        # conversations in real time, with a server of its own; needs espeak-ng and flite
"""

ABOUT = {
    "asr": "transcription",
    "qa": "spoken questions",
    "vision": "questions about pictures",
    "irq": "stopping when told to",
    "codec": "held-out sentences through the codec",
    "duplex": "conversations: taking turns, interrupting, echo",
}


def add(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, "eval", run, "measure how well a model hears, sees, answers, speaks and knows when to stop", EXAMPLES)
    suites = "; ".join(f"{name}: {what}" for name, what in ABOUT.items())
    everything = "all: these but duplex, which takes real time, and the sound of the answers"
    parser.add_argument("suite", choices=(*ABOUT, "all"), help=f"{suites}; {everything}")
    add_model(parser)
    add_precision(parser)
    parser.add_argument(
        "--manifest",
        type=Path,
        metavar="FILE",
        help="JSON lines with audio (or text), expect and any of image, question, history, skill, voice, group, condition; "
        "default: that of `omni data test`",
    )
    parser.add_argument("--listen", action="store_true", help="qa: also pocketsphinx's word error rate, on the answers and on flite's own voice")
    parser.add_argument("--url", metavar="URL", help="duplex: a server that runs, such as ws://127.0.0.1:8000/v1/realtime; default: one of its own")
    parser.add_argument("--data", type=Path, default=Path("data"), metavar="DIR", help="where `omni data` wrote; default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of what is drawn: the choice under --limit, scenes; default: %(default)s")
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many questions, clips or commands of each suite")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write DIR/index.html: one page with plots and samples, complete in itself")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, print and write the report."""
    import datetime
    import time

    from rich.console import Console

    from omni_core.errors import ConfigError
    from omni_core.evaluation.report import write_report
    from omni_core.evaluation.results import Evaluation

    if args.limit is not None and args.limit < 1:
        raise ConfigError(f"--limit {args.limit}: measure at least one")
    if args.url is not None and args.suite != "duplex":
        raise ConfigError(f"--url is for the suite duplex: {args.suite} loads the model itself")
    begin = time.perf_counter()
    found = _conversations(args) if args.suite == "duplex" else _questions(args)
    evaluation = Evaluation(
        model=found.model,
        machine=found.machine,
        date=datetime.date.today().isoformat(),
        command=_command(args),
        seed=args.seed,
        seconds=time.perf_counter() - begin,
        suites=found.suites,
        not_run=found.not_run,
    )
    if args.json:
        print_json(evaluation.to_json())
    else:
        _show(Console(), evaluation)
    if args.report:
        path = write_report(evaluation, args.report)
        if not args.json:
            print(f"report: {path}")
    return 0


@dataclass(frozen=True)
class _Found:
    """What the suites gave, and on what."""

    model: str
    machine: str
    suites: tuple[Suite, ...]
    not_run: dict[str, str]


def _questions(args: argparse.Namespace) -> _Found:
    """The suites that ask a model in this process."""
    from rich.console import Console
    from rich.progress import track

    from clients.commands.demo import QUESTIONS
    from omni_core.checkpoint.precision import load_to_serve
    from omni_core.config import Precision
    from omni_core.evaluation.suites import SUITES, Setting, evaluate

    bundle, _ = load_to_serve(args.model, args.device, Precision(args.precision))
    bar = Console(stderr=True)
    setting = Setting(
        bundle,
        data=args.data,
        manifest=args.manifest,
        questions=QUESTIONS / "manifest.jsonl",
        seed=args.seed,
        limit=args.limit,
        listenable=args.report is not None,
        track=lambda loop, count, name: track(loop, name, count, console=bar, transient=True),
    )
    names = list(SUITES) if args.suite == "all" else ["qa", "speech"] if args.suite == "qa" and args.listen else [args.suite]
    suites, not_run = evaluate(names, setting, keep_going=args.suite == "all")
    return _Found(bundle.name, _machine(bundle.model.device), tuple(suites), not_run)


def _conversations(args: argparse.Namespace) -> _Found:
    """The suite that talks to a server."""
    from clients.commands.duplex import Setting, measure
    from omni_core.checkpoint.load import pick_device

    machine = _machine(pick_device("cpu" if args.url else args.device))
    setting = Setting(args.model, args.device, args.url, args.manifest, args.data, args.seed, args.limit, listenable=args.report is not None)
    suite, not_run = measure(setting)
    if args.url is not None:
        return _Found(f"the server at {args.url}", f"its machine, the users on {machine}", (suite,), not_run)
    return _Found(args.model, machine, (suite,), not_run)


def _show(console: Any, evaluation: Evaluation) -> None:
    """Tables on a terminal: of each suite what it found, then the figures that have a goal."""
    from rich.markup import escape

    from clients.commands.showing import print_rows, print_table
    from omni_core.evaluation.targets import GOALS

    for suite in evaluation.suites:
        console.print(f"\n[bold]{suite.title}[/bold]  [dim]{suite.about}[/dim]")
        for table in suite.tables:
            print_table(console, table)
    figures = {figure.key: figure for figure in evaluation.figures}
    rows = [
        [goal.name, goal.unit.write(figure.value), goal.unit.write(goal.least), goal.unit.write(goal.aim), _VERDICTS[goal.verdict(figure.value)]]
        for key, goal in GOALS.items()
        if (figure := figures.get(key))
    ]
    print_rows(console, "Beside what nano is meant to reach", ("goal", "figure", "least", "aim", ""), [False, True, True, True, False], rows)
    for name, reason in evaluation.not_run.items():
        console.print(f"[yellow]{name} was not run[/yellow]: {escape(reason)}", highlight=False)


_VERDICTS = {"met": "[green]aim met[/green]", "least": "[yellow]least met[/yellow]", "short": "[red]short[/red]"}


def _command(args: argparse.Namespace) -> str:
    """The command line that repeats this run."""
    options = {
        "--model": args.model if args.model != "nano" else None,
        "--device": args.device if args.device != "auto" else None,
        "--url": args.url,
        "--manifest": args.manifest,
        "--data": args.data if args.data != Path("data") else None,
        "--limit": args.limit,
        "--seed": args.seed,
        "--report": args.report,
    }
    given = [part for name, value in options.items() if value is not None for part in (name, str(value))]
    return shlex.join(["omni", "eval", args.suite, *(["--listen"] if args.listen else []), *given])


def _machine(device: Any) -> str:
    """The processor that the model ran on, as people know it."""
    import torch

    from clients.commands.showing import processor

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return processor()
