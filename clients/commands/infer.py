"""`omni infer`: one answer without a server."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from clients.commands.arguments import add_command, add_json, add_model, print_json

EXAMPLES = """
omni infer --task A1A2 --audio question.wav --out answer.wav
omni infer --task T1T2 --text "What is your name?"
omni infer --task A1T1 --audio question.wav --json          # its transcript
omni infer --model gpt-omni/mini-omni2 --task VA1A2 --image photo.jpg --audio question.wav
"""


def add(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, "infer", run, "make one answer without a server", EXAMPLES)
    parser.add_argument(
        "--task", required=True, help="what goes in and comes out: A1A2 A1T2 A1T1 T1A2 T1T2 VA1A2 VA1T2 VT1A2 VT1T2 (A speech, T text, V picture)"
    )
    add_model(parser)
    parser.add_argument("--audio", type=Path, metavar="FILE", help="speech: WAV, FLAC ... of any rate")
    parser.add_argument("--image", type=Path, metavar="FILE", help="a picture: PNG or JPEG")
    parser.add_argument("--text", metavar="S", help="what is asked in writing")
    parser.add_argument("--history", type=Path, metavar="FILE", help='earlier turns, for a model with memory: JSON, [["question", "answer"], ...]')
    parser.add_argument("--out", type=Path, metavar="FILE", help="where a spoken answer goes; default: answer.wav")
    parser.add_argument("--max-steps", type=int, default=1024, metavar="N", help="decode steps at most; default: %(default)s")
    parser.add_argument("--temperature", type=float, default=0.0, metavar="X", help="0: always the likeliest token (default)")
    parser.add_argument("--top-k", type=int, default=0, metavar="N", help="choose among the N likeliest; 0: all (default)")
    parser.add_argument("--top-p", type=float, default=1.0, metavar="X", help="choose among the likeliest that make up this share; default: 1")
    parser.add_argument("--seed", type=int, metavar="N", help="the same choices again")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Load, answer, print, save."""
    from omni_core.api import parse_task
    from omni_core.config import SamplingParams
    from omni_core.infer import run_infer

    task = parse_task(args.task)
    done = run_infer(
        task,
        model=args.model,
        device=args.device,
        audio=args.audio,
        image=args.image,
        text=args.text,
        history=args.history,
        out=args.out or ("answer.wav" if task.speaks else None),
        sampling=SamplingParams(temperature=args.temperature, top_k=args.top_k, top_p=args.top_p, seed=args.seed),
        max_steps=args.max_steps,
    )
    if args.json:
        print_json(dataclasses.asdict(done))
    else:
        print("\n".join(done.lines()))
    return 0
