"""The `omni` command: one parser, one place where errors become a line and an exit status.

The composition root: what a command needs is imported when it runs, so that `--help` is instant. Each command lives in `clients.commands`.
Exit status: 0 done, 1 the check or the demo did not come out right, 2 can't be done as asked, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from clients.commands import COMMANDS
from clients.errors import ClientError


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="omni",
        description="Omni Duplex: a voice assistant that hears speech and answers in speech.",
        epilog="Each command has --help with examples. Start with `omni demo`.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"omni-duplex {version('omni-duplex')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = build_parser().parse_args(argv)
    try:
        return args.run(args)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `omni ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if not _is_ours(error):
            raise
        print(f"omni {args.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def _is_ours(error: Exception) -> bool:
    """An error raised on purpose, whose message names the thing and the remedy."""
    if isinstance(error, ClientError):
        return True
    from omni_core.errors import OmniError

    return isinstance(error, OmniError)


if __name__ == "__main__":
    sys.exit(main())
