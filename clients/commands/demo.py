"""`omni demo`: start a server, ask it the bundled spoken questions, show what it answered and how fast."""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clients.commands.arguments import add_command, add_json, add_model, print_json

if TYPE_CHECKING:
    from clients.python.talk import Turn

QUESTIONS = Path(__file__).resolve().parents[1] / "questions"

EXAMPLES = """
omni demo
omni demo --model path/to/model --out /tmp/demo
"""


@dataclass(frozen=True)
class Question:
    """A line of the manifest."""

    audio: Path
    question: str  #: what is said in it
    expect: str  #: the right answer
    voice: str
    image: Path | None = None  #: shown with it


def add(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, "demo", run, "ask the bundled spoken questions and show the answers", EXAMPLES)
    add_model(parser)
    parser.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR", help="where the answers are saved; default: %(default)s")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Serve, ask, show. 0 when most answers are right."""
    from rich.console import Console

    from clients.commands.server_process import running_server
    from clients.python.audio import save_audio
    from omni_core.metrics import same_words

    console = Console(stderr=args.json)
    questions = read_questions(QUESTIONS)
    answers: list[tuple[Question, Turn, bool, Path]] = []
    with (
        console.status(f"starting a server with {args.model}") as status,
        running_server(args.out / "server.log", "--model", args.model, "--device", args.device) as port,
    ):
        url = f"ws://127.0.0.1:{port}/v1/realtime"
        for number, question in enumerate(questions, 1):
            status.update(f"asking {number} of {len(questions)}: {question.question}")
            for turn in asyncio.run(_ask(url, question)):
                path = save_audio(args.out / f"answer-{len(answers) + 1}.wav", turn.audio)
                answers.append((question, turn, same_words(turn.answer.text, question.expect), path))
    right = sum(good for _, _, good, _ in answers)
    if args.json:
        rows = [turn.to_json() | {"question": q.question, "voice": q.voice, "right": good, "file": str(path)} for q, turn, good, path in answers]
        print_json({"model": args.model, "right": right, "asked": len(questions), "answers": rows})
    else:
        _show(console, answers)
        console.print(f"\n{right} of {len(questions)} right. You can hear them in [bold]{args.out}/answer-*.wav[/bold].")
        console.print(
            "Next: [bold]make serve[/bold] (or `omni serve`), then, in a second terminal, `omni talk your.wav`. "
            "Any client of the OpenAI Realtime API can connect to [bold]ws://127.0.0.1:8000/v1/realtime[/bold] too."
        )
    return 0 if answers and 2 * right >= len(questions) else 1


def read_questions(folder: Path) -> list[Question]:
    """The spoken questions of a folder with a `manifest.jsonl`."""
    lines = (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    return [
        Question(folder / row["audio"], row["question"], row["expect"], row["voice"], folder / row["image"] if row.get("image") else None)
        for row in rows
    ]


async def _ask(url: str, question: Question) -> list[Turn]:
    from clients.python.client import RealtimeClient
    from clients.python.talk import Conversation, Utterance, load_image

    async with RealtimeClient.connect(url, extensions=True) as client:
        image = load_image(question.image) if question.image else None
        return await Conversation(client, timings=True).run([Utterance.load(question.audio)], image=image)


def _show(console: Any, answers: list[tuple[Question, Turn, bool, Path]]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("question", max_width=36)
    table.add_column("answer", max_width=44)
    table.add_column("")
    table.add_column("client\nTTFA", justify="right")
    table.add_column("server\nTTFA", justify="right")
    table.add_column("\nRTF", justify="right")
    for question, turn, good, _ in answers:
        figures = turn.to_json()
        table.add_row(
            question.question + (" (with a picture)" if question.image else ""),
            turn.answer.text.strip() or "(no words)",
            "[green]right[/green]" if good else "[red]wrong[/red]",
            _milliseconds(figures["client_ttfa_ms"]),
            _milliseconds(figures["server_ttfa_ms"]),
            "–" if figures["rtf"] is None else f"{figures['rtf']:.2f}",
        )
    console.print(table)
    console.print(
        "TTFA: time to first audio. The client counts from the last sound of the question, so the silence by which the server knows that the turn is "
        "over is in it; the server counts from there. RTF: compute time / audio time, below 1 keeps up.",
        style="dim",
    )
    if underruns := sum(turn.player.underruns for _, turn, _, _ in answers):
        console.print(f"{underruns} underrun{'s' if underruns > 1 else ''}: this machine was too busy to keep up with the voice.", style="yellow")


def _milliseconds(value: Any) -> str:
    return "–" if value is None else f"{value} ms"
