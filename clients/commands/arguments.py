"""Argument types and options that several commands share."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODEL_HELP = "nano (bundled), a directory (our format or the released one), or a hub name such as gpt-omni/mini-omni2"


def add_command(commands: Any, name: str, run: Callable[[argparse.Namespace], int], help: str, examples: str) -> argparse.ArgumentParser:
    """A command with its examples under the options."""
    lines = "\n".join(f"  {line.strip()}" for line in examples.strip().splitlines())
    parser = commands.add_parser(
        name,
        help=help,
        description=help[0].upper() + help[1:] + ".",
        epilog=f"examples:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def add_model(parser: argparse.ArgumentParser) -> None:
    """--model and --device."""
    parser.add_argument("--model", default="nano", metavar="NAME", help=f"{MODEL_HELP}; default: nano")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda; default: auto")


def add_precision(parser: argparse.ArgumentParser, default: str | None = "auto") -> None:
    """--precision. Values: `omni_core.config.Precision`. default: what stands for not given."""
    choices = ("auto", "float32", "bf16", "int8")
    parser.add_argument("--precision", choices=choices, default=default, help="what the model calculates in; default: auto, on a CPU the fastest")


def add_json(parser: argparse.ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def print_json(data: Any) -> None:
    """One JSON object on standard output."""
    print(json.dumps(data, indent=2, ensure_ascii=False))


def file_at(value: str) -> tuple[Path, float]:
    """FILE@SECONDS."""
    name, at, seconds = value.rpartition("@")
    try:
        after = float(seconds)
    except ValueError:
        after = -1.0
    if not (name and at and 0 <= after < 3600):
        raise argparse.ArgumentTypeError(f"{value!r} is not FILE@SECONDS, such as stop.wav@1.5")
    return Path(name), after


def positive(value: str) -> float:
    """A number of seconds above 0."""
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{value!r} is not a number above 0")
    return seconds


def counts(value: str) -> tuple[int, ...]:
    """Whole numbers above 0, such as 1,2,4."""
    try:
        numbers = tuple(int(part) for part in value.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"{value!r} is not a list of numbers above 0, such as 1,2,4")
    return numbers
