"""`omni bench`: how fast the engine is here, beside what the machine allows, and how many users it serves in real time."""

from __future__ import annotations

import argparse
import dataclasses
import platform
from typing import Any

from clients.commands.arguments import MODEL_HELP, add_command, add_json, add_precision, counts, positive, print_json

_QUESTIONS = 40

EXAMPLES = """
omni bench
omni bench --model random:full --batch 1,2,4 --precision int8
omni bench --model random:full --device cuda --batch 1,8,64,256,1000 --users 1000
omni bench --json > figures.json
"""


def add(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, "bench", run, "measure the engine: a step, its parts, and users in real time, without a server", EXAMPLES)
    parser.add_argument("--model", default="nano", metavar="NAME", help=f"{MODEL_HELP}; or random:nano, random:full: random weights of that size")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda; default: auto")
    add_precision(parser)
    parser.add_argument("--batch", type=counts, default=(1, 2, 4, 8), metavar="N,N", help="users in a step; default: 1,2,4,8")
    parser.add_argument("--users", type=int, metavar="N", help="also let N users talk at once in real time, and say how late their audio comes")
    parser.add_argument("--seconds", type=positive, default=20.0, metavar="S", help="of it; default: %(default)s")
    parser.add_argument("--question", type=positive, default=5.0, metavar="S", help="seconds of speech to ask with; default: %(default)s")
    parser.add_argument("--steps", type=int, default=60, metavar="N", help="decode steps of each batch; default: %(default)s")
    parser.add_argument("--agreement", action="store_true", help="also: how often it chooses the token that float32 would, on nano's questions")
    parser.add_argument("--threads", type=int, metavar="N", help="of a CPU's cores for one operation; default: what the server takes")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print row by row."""
    import torch
    from rich.console import Console
    from rich.progress import Progress

    from omni_core.bench import measure_batch, measure_machine, measure_parts, measure_users
    from omni_core.bench.floor import bytes_per_position
    from omni_core.checkpoint.precision import load_to_serve
    from omni_core.config import Precision

    shown = Console(stderr=args.json)
    bundle, precision = load_to_serve(args.model, args.device, Precision(args.precision), args.threads)
    model = bundle.model
    machine = measure_machine(model.device, precision)
    threads = torch.get_num_threads()
    where = f"{machine.device}, {threads} threads" if machine.device == "cpu" else torch.cuda.get_device_name(model.device)
    shown.print(
        f"[bold]{bundle.name}[/] in {precision.value} on {where}, torch {torch.__version__}\n"
        f"reads {machine.bytes_per_s / 1e9:.1f} GB/s, multiplies {machine.operations_per_s / 1e9:,.0f} GFLOP/s\n"
        f"{bytes_per_position(model):,} bytes of keys and values a position and row"
    )
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("parts", total=None)
        parts = measure_parts(bundle, args.question)
        for name, value in _named(parts):
            shown.print(f"  {name:36}{value:>12}")
        shown.print("users  rows   step ms    99 %   floor ms   of floor   frame ms    RTF", highlight=False)
        entries = []
        for users in args.batch:
            progress.update(task, description=f"{users} users")
            entries.append(row := measure_batch(bundle, machine, precision, users, args.question, args.steps))
            shown.print(
                f"{row.users:5}{row.rows:6}{row.step_ms:10.1f}{row.step_ms_p99:8.1f}{row.floor_ms:11.2f}{row.floor_share:11.0%}"
                f"{row.frame_ms:11.1f}{row.rtf:7.2f}",
                highlight=False,
            )
        talk = None
        if args.users:
            progress.update(task, description=f"{args.users} users talk", total=1.0)
            talk = measure_users(bundle, args.users, args.seconds, args.question, lambda share: progress.update(task, completed=share))
    if talk is not None:
        shown.print(
            f"{talk.users} users, {talk.speaking:.1f} spoken to at once: "
            f"first audio {talk.first_audio_ms_p50:.0f} ms (95 %: {talk.first_audio_ms_p95:.0f}), "
            f"{talk.late_chunks} of {talk.chunks} chunks late (99 %: {talk.late_ms_p99:+.0f} ms), the engine busy {talk.busy:.0%} of the time"
        )
        if talk.status_ms_p50 is not None:
            shown.print(f"  listened to: a frame's status after {talk.status_ms_p50:.0f} ms (99 %: {talk.status_ms_p99:.0f})")
    agreement = _agreement(bundle, args) if args.agreement else None
    if agreement is not None:
        shown.print(f"the same as float32, of {agreement.steps} steps: text {agreement.text:.1%}, codes {agreement.audio:.1%}")
    if args.json:
        print_json(
            {
                "model": args.model,
                "precision": precision.value,
                "threads": threads,
                "processor": platform.processor() or platform.machine(),
                "torch": torch.__version__,
                "machine": dataclasses.asdict(machine),
                "parts": dataclasses.asdict(parts),
                "entries": [dataclasses.asdict(entry) for entry in entries],
                "agreement": None if agreement is None else dataclasses.asdict(agreement),
                "users": None if talk is None else dataclasses.asdict(talk),
            }
        )
    return 0


def _agreement(bundle: Any, args: argparse.Namespace) -> Any:
    from omni_core.bench import measure_agreement
    from omni_core.checkpoint.precision import load_to_serve
    from omni_core.config import Precision
    from omni_core.datagen.sentences import load_dialogues

    exact, _ = load_to_serve(args.model, args.device, Precision.FLOAT32, args.threads)
    return measure_agreement(exact, bundle.model, [dialogue.question for dialogue in load_dialogues()[:_QUESTIONS]])


def _named(parts: Any) -> list[tuple[str, str]]:
    """What is printed of the parts."""
    rows = [
        (f"audio encoder, {parts.question_s:g} s at once", parts.encode_ms),
        ("vision encoder, one picture", parts.see_ms),
        (f"prefill of {parts.question_s:g} s", parts.prefill_ms),
        ("codec decodes a frame of 85 ms", parts.codec_decode_ms),
        ("codec encodes a frame of 85 ms", parts.codec_encode_ms),
        ("first audio, cold", parts.first_audio_ms),
    ]
    return [(name, f"{value:.1f} ms") for name, value in rows if value is not None]
