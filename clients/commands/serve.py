"""`omni serve`: the server, until Ctrl+C."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from clients.commands.arguments import MODEL_HELP, add_command, add_precision

EXAMPLES = """
omni serve
omni serve --open                                  # and talk to it in your browser
omni serve --host 0.0.0.0 --port 9000 --api-key-file keys.txt
omni serve --host 0.0.0.0 --tls-self-signed        # https and wss: what a browser on another machine needs for its microphone
omni serve --model gpt-omni/mini-omni2 --device cuda
omni serve --gateways 4 --max-sessions 1000        # one engine, and four processes that share the connections
OMNI_MAX_SESSIONS=8 omni serve                     # each option has such a variable; the option wins
"""

_PAGE = Path(__file__).resolve().parents[1] / "browser"

#: Options that replace the setting of the same name.
_OPTIONS = (
    "model",
    "device",
    "host",
    "port",
    "port_file",
    "api_key_file",
    "tls_cert",
    "tls_key",
    "tls_self_signed",
    "gateways",
    "max_sessions",
    "slots",
)


def add(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, "serve", run, "serve the OpenAI Realtime protocol over WebSocket", EXAMPLES)
    parser.add_argument("--model", metavar="NAME", help=f"{MODEL_HELP}; default: nano")
    parser.add_argument("--device", help="auto, cpu or cuda; default: auto")
    add_precision(parser, default=None)
    parser.add_argument("--host", metavar="ADDRESS", help="default: 127.0.0.1 (this machine only); 0.0.0.0: everyone who can reach it")
    parser.add_argument("--port", type=int, metavar="N", help="default: 8000; 0: any free one")
    parser.add_argument("--port-file", type=Path, metavar="FILE", help="write the port here once the server is ready")
    parser.add_argument("--api-key-file", type=Path, metavar="FILE", help="keys that clients must know, one per line; default: none is asked for")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="serve https and wss with this certificate (PEM, its chain included)")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="the certificate's key (PEM, not encrypted)")
    parser.add_argument("--tls-self-signed", action="store_true", default=None, help="... with a certificate made for this machine, and kept")
    parser.add_argument("--gateways", type=int, metavar="N", help="processes that connections are spread over; default: 1")
    parser.add_argument("--max-sessions", type=int, metavar="N", help="connections at once, in all gateways together; default: 64")
    parser.add_argument("--slots", type=int, metavar="N", help="answers made at once; more wait; default: 16")
    parser.add_argument("--open", action="store_true", help="open the page in this machine's browser once the server is ready")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info", help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Serve until it is stopped."""
    import dataclasses
    import logging

    from omni_core.config import Precision
    from server.main import serve
    from server.settings import Settings

    logging.basicConfig(level=args.log_level.upper(), format="%(asctime)s %(name)s %(levelname)s %(message)s")
    given = {name: value for name in _OPTIONS if (value := getattr(args, name)) is not None}
    if args.precision is not None:
        given["precision"] = Precision(args.precision)
    settings = dataclasses.replace(Settings.from_environment(os.environ), **given)
    serve(dataclasses.replace(settings, page=settings.page or _PAGE), _open if args.open else None)
    return 0


def _open(address: str) -> None:
    """In a thread: a browser that runs in the terminal comes back when it is closed."""
    import threading
    import webbrowser

    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
