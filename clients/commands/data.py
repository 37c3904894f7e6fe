"""`omni data`: the speech that nano is trained on, made with espeak-ng and flite."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from clients.commands.arguments import add_command, positive

EXAMPLES = """
omni data speech                                   # what encoders and lm train on; about 40 clips a second and core
omni data speech --open-clips 500 --takes 2 --folder /tmp/small
omni data codec --minutes 90                       # what the codec trains on
"""


def add(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, "data", run, "make training speech with espeak-ng and flite; what is there already is kept", EXAMPLES)
    kinds = parser.add_subparsers(dest="kind", metavar="speech|codec", required=True)
    speech = kinds.add_parser("speech", help="open sentences, the questions that nano knows, and its answers")
    speech.add_argument("--folder", default="data", metavar="DIR", help="gets speech/ and answers/; default: %(default)s")
    speech.add_argument("--open-clips", type=int, default=20_000, metavar="N", help="clips of sentences that are no question; default: %(default)s")
    speech.add_argument("--takes", type=int, default=100, metavar="N", help="clips of each wording of each question; default: %(default)s")
    speech.add_argument("--seed", type=int, default=1, metavar="N", help="default: %(default)s")
    codec = kinds.add_parser("codec", help="the answering voice, and a share of others")
    codec.add_argument("--folder", type=Path, default=Path("data/slt"), metavar="DIR", help="default: %(default)s")
    codec.add_argument("--minutes", type=positive, default=90.0, metavar="N", help="of speech; default: 90")
    codec.add_argument("--seed", type=int, default=1, metavar="N", help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Make it."""
    if args.kind == "speech":
        from omni_core.datagen import speech

        speech.run(speech.SpeechConfig(folder=args.folder, open_clips=args.open_clips, takes=args.takes, seed=args.seed))
    else:
        from omni_core.training.codec_clips import make_clips

        make_clips(args.folder, args.minutes, seed=args.seed)
    return 0
