"""`omni load`: many users at once over real WebSockets, and whether the server kept up with them."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from clients.commands.arguments import add_command, add_json, add_model, counts, positive, print_json

EXAMPLES = """
omni load --users 4 --seconds 20                   # 4 people ask aloud, against a server of its own
omni load --scenario speak --users 4,8,16,32 --report load.html
omni load --scenario speak --find                  # how many users may hear answers all at once without a late chunk
omni load --scenario duplex --users 8              # a third of the answers are talked into
omni load --url ws://host:8000/v1/realtime --scenario mixed --users 500 --processes 4 --seconds 60
"""

_MOST = 64  #: users of --find, where the server is our own and --serve says nothing else
_MOST_ELSEWHERE = 4096


def add(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, "load", run, "let many scripted users talk to a server at once, and measure what they hear", EXAMPLES)
    parser.add_argument("--users", type=counts, default=(4,), metavar="N[,N]", help="how many at once; several: one after the other; default: 4")
    parser.add_argument("--seconds", type=positive, default=20.0, metavar="S", help="of each measurement; default: 20")
    parser.add_argument(
        "--scenario",
        choices=("talk", "duplex", "speak", "mixed"),
        default="talk",
        help="talk: ask aloud, listen, pause; duplex: the same, a third of the answers interrupted; speak: long stories asked for in writing, so "
        "that all users hear answers all the time; mixed: users of these three come and go at random; default: %(default)s",
    )
    parser.add_argument("--find", action="store_true", help="find the most users that are served without a late chunk (99 %%), from --users up")
    parser.add_argument("--url", metavar="URL", help="a server that runs, such as ws://127.0.0.1:8000/v1/realtime; default: one of its own")
    parser.add_argument("--api-key", metavar="KEY", help="the server's key, if it wants one")
    add_model(parser)
    parser.add_argument("--serve", default="", metavar="OPTIONS", help="more options of `omni serve` for its own server, such as '--slots 16'")
    parser.add_argument("--processes", type=int, metavar="P", help="of users; default: one for every 250")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of what is drawn; default: %(default)s")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write one HTML page with plots, complete in itself")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, print, report. 0, or 130 when stopped. ClientError after the figures when the server was lost."""
    from rich.console import Console

    from clients.commands.load_figures import Load
    from clients.commands.load_rounds import Rounds, show
    from clients.commands.server_process import server_at
    from clients.errors import ClientError
    from clients.loadtest.plan import Scenario

    if args.processes is not None and args.processes < 1:
        raise ClientError(f"--processes {args.processes}: at least one")
    if args.find and len(args.users) > 1:
        raise ClientError("--find begins with one number of users: give --users one")
    if args.url and args.serve:
        raise ClientError("--serve is for a server of its own, which --url does without: drop one of them")
    most = _MOST_ELSEWHERE if args.url else max(_MOST, *args.users) if args.find else max(args.users)
    try:
        more = shlex.split(args.serve)
    except ValueError as error:
        raise ClientError(f"--serve {args.serve}: {error}") from error
    if args.report:
        try:  # now, not after minutes of measuring
            args.report.parent.mkdir(parents=True, exist_ok=True)
            args.report.open("a").close()
        except OSError as error:
            raise ClientError(f"--report {args.report}: can't be written ({error.strerror}); name a file") from error
    options = ("--model", args.model, "--device", args.device, "--slots", str(most), "--max-sessions", str(2 * most), *more)
    console = Console(stderr=True, highlight=False)
    if args.url is None:
        console.print(f"starting a server: omni serve {shlex.join(options)}", style="dim", soft_wrap=True)
    with server_at(args.url, *options) as url:
        how = Rounds(url, Scenario(args.scenario), args.seconds, args.seed, args.api_key, args.processes, console)
        rounds = how.search(args.users[0], most) if args.find else how.series(args.users)
    load = Load(_command(args), "a server that ran" if args.url else args.model, tuple(rounds), args.find)
    if args.json:
        print_json(load.to_json())
    else:
        show(Console(highlight=False), load)
    if args.report:
        from clients.commands.load_report import render

        args.report.write_text(render(load), encoding="utf-8")
        console.print(f"report: {args.report}")
    if rounds[-1].error:
        raise ClientError(rounds[-1].error)
    return 130 if rounds[-1].stopped else 0


def _command(args: argparse.Namespace) -> str:
    """The command line that repeats this run."""
    options = {
        "--users": ",".join(map(str, args.users)),
        "--seconds": f"{args.seconds:g}",
        "--scenario": args.scenario,
        "--processes": args.processes,
        "--url": args.url,
        "--model": args.model if args.model != "nano" else None,
        "--device": args.device if args.device != "auto" else None,
        "--serve": args.serve or None,
        "--seed": args.seed,
    }
    given = [part for name, value in options.items() if value is not None for part in (name, str(value))]
    return shlex.join(["omni", "load", *(["--find"] if args.find else []), *given])
