"""`omni train`: nano's codec, then its audio encoder, then its language model."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

from clients.commands.arguments import add_command, positive

EXAMPLES = """
omni train codec --config omni_core/training/configs/codec.yaml
omni train encoders --config my.yaml --max-minutes 30
omni train encoders --config my.yaml --resume
"""


def add(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, "train", run, "train a part of nano by a configuration file", EXAMPLES)
    parser.add_argument("part", choices=("codec", "encoders", "lm"), help="in this order: each needs the one before")
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="YAML; the ones nano was trained with are in omni_core/training/configs"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the saved state")
    parser.add_argument("--max-minutes", type=positive, metavar="N", help="stop (and save) after this long")


def run(args: argparse.Namespace) -> int:
    """Train until the configuration's end or --max-minutes."""
    from omni_core.errors import ConfigError

    if not args.config.is_file():
        raise ConfigError(f"{args.config}: no such file; the configurations of nano are in omni_core/training/configs")
    importlib.import_module(f"omni_core.training.{args.part}").run(args.config, resume=args.resume, max_minutes=args.max_minutes)
    return 0
