"""`omni train`: nano's codec, then its audio encoder, then its language model; at last all of it in one directory."""

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
omni train bundle --config omni_core/training/configs/lm.yaml --out my-nano    # then: omni serve --model my-nano
"""


def add(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, "train", run, "train a part of nano by a configuration file", EXAMPLES)
    parser.add_argument(
        "part", choices=("codec", "encoders", "lm", "bundle"), help="in this order: each needs the one before; bundle puts them together"
    )
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="YAML; the ones nano was trained with are in omni_core/training/configs"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="bundle: the directory that becomes a model")
    parser.add_argument("--resume", action="store_true", help="go on from the saved state, if there is one")
    parser.add_argument("--max-minutes", type=positive, metavar="N", help="stop (and save) after this long")


def run(args: argparse.Namespace) -> int:
    """Train until the configuration's end or --max-minutes, or put the trained parts together."""
    from omni_core.errors import ConfigError

    if not args.config.is_file():
        raise ConfigError(f"{args.config}: no such file; the configurations of nano are in omni_core/training/configs")
    if (args.out is not None) != (args.part == "bundle"):
        raise ConfigError("omni train bundle writes to --out DIR; the other parts write where their configuration says")
    if args.part == "bundle":
        from omni_core.training import bundle

        bundle.run(args.config, args.out)
        print(f"{args.out}: omni serve --model {args.out}")
        return 0
    importlib.import_module(f"omni_core.training.{args.part}").run(args.config, resume=args.resume, max_minutes=args.max_minutes)
    return 0
