"""`omni train`: nano's codec and encoders, then its language model in stages, then its sense of turns. The same stages adapt public weights."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from clients.commands.arguments import add_command, positive

EXAMPLES = """
omni train codec --config omni_core/training/configs/codec.yaml
omni train encoders --config omni_core/training/configs/encoders.yaml --max-minutes 30
omni train encoders --config omni_core/training/configs/vision.yaml --resume
omni train stage1 --config my.yaml --dry-run
omni train stage3 --config omni_core/training/configs/stage3.yaml    # then: omni serve --model runs/stage3/model
"""
PARTS = ("codec", "encoders")
STAGES = ("lm", "stage1", "stage2", "stage3")
ENDING = "ending"


def add(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, "train", run, "train a part of a model by a configuration file", EXAMPLES)
    parser.add_argument(
        "part",
        choices=(*PARTS, *STAGES, ENDING),
        help="from scratch in this order: codec; encoders (the configuration says audio or vision); lm: the language model on text; "
        "stage1: its adapters; stage2: it learns to answer; stage3: to answer in speech and to stop; ending: to tell a turn that has ended from a "
        "pause. Every stage writes a model directory",
    )
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="YAML; the ones nano was trained with are in omni_core/training/configs"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the saved state, if there is one")
    parser.add_argument("--max-minutes", type=positive, metavar="N", help="stop (and save) after this long")
    parser.add_argument("--dry-run", action="store_true", help="lm and stages: build, do one step, write the model, and stop")


def run(args: argparse.Namespace) -> int:
    """Train until the configuration's last step or --max-minutes."""
    from omni_core.errors import ConfigError

    if not args.config.is_file():
        raise ConfigError(f"{args.config}: no such file; the configurations of nano are in omni_core/training/configs")
    if args.part in STAGES:
        from omni_core.training import stages

        stages.run(args.part, args.config, resume=args.resume, max_minutes=args.max_minutes, dry_run=args.dry_run)
        return 0
    if args.part == ENDING:
        from omni_core.training import ending

        ending.run(args.config)
        return 0
    if args.dry_run:
        raise ConfigError(f"--dry-run is for {', '.join(STAGES)}; for {args.part} use --max-minutes")
    if args.part == "codec":
        from omni_core.training import codec as part
    else:
        from omni_core.training import encoders as part
    part.run(args.config, resume=args.resume, max_minutes=args.max_minutes)
    return 0
