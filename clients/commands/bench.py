"""`omni bench`: how many users one machine serves in real time."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from clients.commands.arguments import MODEL_HELP, add_command, add_json, counts, print_json

EXAMPLES = """
omni bench
omni bench --model random:full --device cuda --users 1,8,32
omni bench --json > figures.json
"""


def add(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, "bench", run, "measure the engine: a step for growing numbers of users, without a server", EXAMPLES)
    parser.add_argument("--model", default="nano", metavar="NAME", help=f"{MODEL_HELP}; or random:nano, random:full: random weights of that size")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda; default: auto")
    parser.add_argument("--users", type=counts, default=(1, 2, 4, 8), metavar="N,N", help="answers at once; default: 1,2,4,8")
    parser.add_argument("--steps", type=int, default=60, metavar="N", help="decode steps of each; default: %(default)s")
    parser.add_argument("--threads", type=int, metavar="N", help="of a CPU's cores for one operation; default: what the server takes")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print row by row."""
    from omni_core.bench import run_bench

    rows = run_bench(args.model, device=args.device, users=args.users, steps=args.steps, threads=args.threads)
    if args.json:
        print_json({"model": args.model, "rows": [dataclasses.asdict(row) for row in rows]})
        return 0
    print("users   step ms   95 % ms   x real time   prefill ms   first audio ms")
    for row in rows:
        print(
            f"{row.users:5}{row.step_ms:10.1f}{row.step_p95_ms:10.1f}{row.real_time:14.1f}{row.prefill_ms:13.1f}{row.first_audio_ms:17.1f}",
            flush=True,
        )
    return 0
