"""`omni convert`: a model directory from one format to the other."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from clients.commands.arguments import MODEL_HELP, add_command

EXAMPLES = """
omni convert path/to/mini-omni2 mini-omni2-safetensors
omni convert gpt-omni/mini-omni2 mini-omni2-half --dtype bfloat16
omni convert nano nano-as-released --to reference
"""


def add(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, "convert", run, "write a model in another format", EXAMPLES)
    parser.add_argument("source", metavar="SRC", help=MODEL_HELP)
    parser.add_argument("target", type=Path, metavar="DST", help="a new or empty directory")
    parser.add_argument("--to", choices=("omni", "reference"), default="omni", help="omni: safetensors and JSON; reference: the released layout")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32", help="of the stored weights; default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Read, write, say where."""
    import torch

    from omni_core.checkpoint import convert

    convert(args.source, args.target, args.to, storage=getattr(torch, args.dtype))
    size = sum(file.stat().st_size for file in args.target.rglob("*") if file.is_file())
    print(f"{args.target}: {size / 1e6:,.1f} MB in the {'released' if args.to == 'reference' else 'omni'} layout")
    return 0
