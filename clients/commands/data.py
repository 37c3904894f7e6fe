"""`omni data`: the speech, the answers and the test material, made with espeak-ng and flite."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clients.commands.arguments import add_command, positive

EXAMPLES = """
omni data all                                      # everything that nano is trained and tested on
omni data speech --scale 0.01 --folder /tmp/small  # a hundredth of it
omni data speech --sets talk                       # what a new dialogue needs, with `omni data answers`
omni data scenes                                   # "stop omni" in many surroundings; after speech and answers
omni data test                                     # data/test/manifest.jsonl, for `omni eval`
"""


def add(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, "data", run, "make training speech with espeak-ng and flite; what is there already is kept", EXAMPLES)
    kinds = parser.add_subparsers(dest="kind", metavar="|".join(_KINDS), required=True)
    for name, (describe, help_text, _) in _KINDS.items():
        kind = kinds.add_parser(name, help=help_text)
        folders = "of speech/, answers/, scenes/, test/, slt/; default: %(default)s"
        kind.add_argument("--folder", type=Path, default=Path("data"), metavar="DIR", help=folders)
        kind.add_argument("--seed", type=int, default=1, metavar="N", help="default: %(default)s")
        for describe_one in describe:
            describe_one(kind)


def run(args: argparse.Namespace) -> int:
    """Make it."""
    _KINDS[args.kind][2](args)
    return 0


def _scale(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scale", type=positive, default=1.0, metavar="X", help="times the number of clips of every set; default: 1")


def _sets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sets", nargs="+", metavar="NAME", help="open, or skills; default: all")
    parser.add_argument("--skip-bad", action="store_true", help="leave out and count clips that can't be spoken, instead of stopping")


def _sentences(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sentences", type=int, default=3000, metavar="N", help="open sentences beside the skills' answers; default: %(default)s")


def _minutes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=positive, default=90.0, metavar="N", help="of speech for the codec; default: 90")


def _scenes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scenes", type=int, default=30_000, metavar="N", help="interruption scenes of about 6 s; default: %(default)s")


def _speech(args: argparse.Namespace) -> None:
    from omni_core.datagen.speech import SIZES, SpeechConfig, make_speech

    config = SpeechConfig(str(args.folder), args.scale, tuple(args.sets or SIZES), seed=args.seed, skip_bad=args.skip_bad)
    if skipped := make_speech(config):
        print(f"{skipped} clips could not be spoken and were left out")


def _answers(args: argparse.Namespace) -> None:
    from omni_core.datagen.answers import make_answers

    make_answers(args.folder / "answers", args.sentences)


def _test(args: argparse.Namespace) -> None:
    from omni_core.datagen.testset import make_test

    make_test(args.folder / "test", scale=args.scale, seed=args.seed)


def _interruptions(args: argparse.Namespace) -> None:
    from omni_core.datagen.scenes import make_phrases, make_scenes

    make_phrases(args.folder, args.scale, args.seed)
    make_scenes(args.folder, args.scenes, args.seed)


def _codec(args: argparse.Namespace) -> None:
    from omni_core.training.codec_clips import make_clips

    make_clips(args.folder / "slt", args.minutes, seed=args.seed)


def _all(args: argparse.Namespace) -> None:
    for make in (_answers, _test, _speech, _interruptions, _codec):
        make(args)


_Describe = Callable[[argparse.ArgumentParser], None]

#: name -> its options beside --folder and --seed, what it is, what makes it
_KINDS: dict[str, tuple[tuple[_Describe, ...], str, Callable[[argparse.Namespace], None]]] = {
    "speech": ((_scale, _sets), "spoken questions: open sentences, and a set for each skill", _speech),
    "answers": ((_sentences,), "every answer, in nano's voice", _answers),
    "scenes": ((_scale, _scenes), "what interrupts and what must not, in many voices, and scenes of it", _interruptions),
    "test": ((_scale,), "held-out questions in held-out voices, with a manifest", _test),
    "codec": ((_minutes,), "the answering voice, and a share of others", _codec),
    "all": ((_scale, _sets, _sentences, _scenes, _minutes), "all of these", _all),
}
