"""`omni talk`: say sound files to a server at the pace of speech, and hear the answers."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clients.commands.arguments import add_command, add_json, file_at, positive, print_json

if TYPE_CHECKING:
    from clients.python.talk import Turn

EXAMPLES = """
omni talk question.wav
omni talk first.flac second.wav --out answer.wav --json
omni talk question.wav --image photo.jpg
omni talk story.wav --barge-in stop.wav@1.5        # talk into the answer after 1.5 s
omni talk story.wav --barge-in mhm.wav@1.5 --no-interrupt   # only "stop omni" may stop it
omni talk question.wav --manual                    # say that the turn is over instead of falling silent
"""


def add(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, "talk", run, "say sound files to a server at the pace of speech and hear its answers", EXAMPLES)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="WAV, FLAC ... of any rate; one after the other")
    parser.add_argument("--url", default="ws://127.0.0.1:8000/v1/realtime", help="default: %(default)s")
    parser.add_argument("--image", type=Path, metavar="FILE", help="show this PNG or JPEG first")
    parser.add_argument(
        "--out", type=Path, default=Path("answer.wav"), metavar="FILE", help="where the answer goes (then answer-2.wav ...); default: %(default)s"
    )
    parser.add_argument("--barge-in", type=file_at, metavar="FILE@S", help="say FILE into the first answer, S seconds after it began")
    parser.add_argument(
        "--turn-detection", choices=("server", "semantic"), help="turns end by silence, or by meaning too; default: as the server has it"
    )
    parser.add_argument("--no-interrupt", action="store_true", help="speech does not interrupt an answer: only the command to stop does")
    parser.add_argument("--manual", action="store_true", help="end each turn by commit, with the server's turn detection off")
    parser.add_argument("--play", action="store_true", help="play the answers too (needs the package sounddevice)")
    parser.add_argument("--api-key", metavar="KEY", help="the server's key, if it wants one")
    parser.add_argument(
        "--timeout", type=positive, default=60.0, metavar="S", help="give up after this long without a word of the server; default: 60"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Talk and report."""
    from clients.errors import ClientError
    from clients.python.audio import save_audio

    if args.manual and (args.barge_in or args.no_interrupt or args.turn_detection):
        raise ClientError("--manual turns the server's listening off, which --barge-in, --no-interrupt and --turn-detection need: drop one of them")
    turns = asyncio.run(_talk(args))
    saved = [(turn, save_audio(_numbered(args.out, index), turn.audio)) for index, turn in enumerate(turns, 1) if len(turn.audio)]
    paths = {id(turn): path for turn, path in saved}
    if args.json:
        print_json({"turns": [turn.to_json() | {"file": str(paths[id(turn)]) if id(turn) in paths else None} for turn in turns]})
    else:
        for turn in turns:
            print(describe(turn, paths.get(id(turn))))
    if args.barge_in and not any(turn.interrupted for turn in turns):
        heard = "no command" if args.no_interrupt else "no speech"
        print(f"the answer was not interrupted: it was over before, or the server heard {heard} in {args.barge_in[0].name}", file=sys.stderr)
    return 0 if all(turn.answer.status in ("completed", "cancelled") for turn in turns) else 1


async def _talk(args: argparse.Namespace) -> list[Turn]:
    from clients.python.client import RealtimeClient
    from clients.python.talk import Conversation, Utterance, load_image

    utterances = [Utterance.load(path) for path in args.files]
    image = load_image(args.image) if args.image else None
    barge_in = (Utterance.load(args.barge_in[0]), args.barge_in[1]) if args.barge_in else None
    with contextlib.ExitStack() as stack:
        speaker = None
        if args.play:
            from clients.python.speaker import Speaker

            speaker = stack.enter_context(Speaker())
        async with RealtimeClient.connect(args.url, api_key=args.api_key, extensions=True) as client:
            chosen = args.turn_detection or args.no_interrupt
            detection = {"type": f"{args.turn_detection or 'server'}_vad", "interrupt_response": not args.no_interrupt} if chosen else None
            conversation = Conversation(client, manual=args.manual, turn_detection=detection, timeout_s=args.timeout, timings=True)
            if speaker:
                conversation.on_audio, conversation.on_stop = speaker.play, speaker.stop
            turns = await conversation.run(utterances, image=image, barge_in=barge_in)
    for notice in conversation.notices:
        print(f"note: {notice}", file=sys.stderr)
    return turns


def describe(turn: Turn, path: Path | None) -> str:
    """One answer for people."""
    figures = turn.to_json()
    parts = []
    if figures["client_ttfa_ms"] is not None:
        parts.append(f"first sound {figures['client_ttfa_ms']} ms after the end of speech")
    if figures["server_ttfa_ms"] is not None:
        parts.append(f"server {figures['server_ttfa_ms']} ms")
    parts.append(f"{turn.player.samples / turn.player.rate:.1f} s of sound")
    if figures["rtf"] is not None:
        parts.append(f"RTF {figures['rtf']}")
    parts.append(f"{turn.player.underruns} underrun{'' if turn.player.underruns == 1 else 's'}")
    lines = [turn.question, f"  > {turn.answer.text.strip() or '(no words)'}", f"    {', '.join(parts)}"]
    if turn.interrupted:
        lines.append(f"    interrupted after {figures['interrupted_at_ms']} ms of it{_silenced(figures)}")
        lines += [] if turn.kept is None else [f"    the server kept: {turn.kept}"]
    elif turn.answer.status != "completed":
        lines.append(f"    {turn.answer.status}: {turn.answer.reason or 'no reason given'}")
    if path is not None:
        lines.append(f"    saved as {path}")
    return "\n".join(lines)


def _silenced(figures: dict[str, object]) -> str:
    if figures["end_to_silence_ms"] is None:
        return ""
    return f", {figures['onset_to_silence_ms']} ms after the onset and {figures['end_to_silence_ms']} ms after the end of what was said"


def _numbered(path: Path, index: int) -> Path:
    return path if index == 1 else path.with_stem(f"{path.stem}-{index}")
