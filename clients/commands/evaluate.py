"""`omni eval`: how well a model hears, answers and speaks."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from clients.commands.arguments import add_command, add_json, add_model, print_json

EXAMPLES = """
omni eval qa                                       # the bundled spoken questions
omni eval qa --manifest tests/assets/questions/manifest.jsonl --json
omni eval codec                                    # needs `omni data codec` and the extra train
omni eval qa --listen                              # and how well pocketsphinx understands the answers
"""


def add(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, "eval", run, "measure how well a model hears, answers and speaks", EXAMPLES)
    parser.add_argument("suite", choices=("qa", "codec"), help="qa: spoken questions, right answers; codec: held-out sentences through the codec")
    add_model(parser)
    parser.add_argument(
        "--manifest", type=Path, metavar="FILE", help="JSON lines with audio, expect and any of question, voice; default: the bundled questions"
    )
    parser.add_argument(
        "--listen", action="store_true", help="also pocketsphinx's word error rate, on the answers and on flite's own voice (extra train, flite)"
    )
    parser.add_argument(
        "--held-out", type=Path, default=Path("data/slt/held_out"), metavar="DIR", help="codec: made by `omni data codec`; default: %(default)s"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    return _codec(args) if args.suite == "codec" else _questions(args)


def _codec(args: argparse.Namespace) -> int:
    """Held-out sentences through the codec."""
    import dataclasses

    from omni_core.checkpoint import load_bundle
    from omni_core.errors import CheckpointError
    from omni_core.evaluation.codec import measure, read_held_out

    waves, texts = read_held_out(args.held_out)
    codec = load_bundle(args.model, args.device).codec
    if codec is None:
        raise CheckpointError(f"{args.model}: has no codec; put one beside the model")
    quality = measure(codec, waves, texts)
    if args.json:
        print_json(dataclasses.asdict(quality))
    else:
        print(f"{quality.clips} sentences: word error rate {quality.wer:.1%} (original {quality.wer_original:.1%}), "
              f"STOI {quality.stoi:.3f}, PESQ {quality.pesq:.2f}")
    return 0


def _questions(args: argparse.Namespace) -> int:
    """Ask every question."""
    from rich.progress import track

    import omni_core
    from clients.commands.demo import QUESTIONS
    from omni_core.errors import InputError
    from omni_core.evaluation.qa import ask, original_wer, read_manifest, summary

    manifest = args.manifest or QUESTIONS / "manifest.jsonl"
    if not manifest.is_file():
        raise InputError(f"{manifest}: no such file; give a manifest of JSON lines")
    questions = read_manifest(manifest)
    omni = omni_core.load(args.model, device=args.device)
    replies = list(track(ask(omni, questions, listen=args.listen), total=len(questions), description="asking", disable=args.json, transient=True))
    report = summary(replies)
    if args.listen:
        report["original_wer"] = original_wer([reply.text for reply in replies])
    if args.json:
        print_json(report)
        return 0
    print(f"{round(report['right'] * len(replies))} of {len(replies)} right ({report['right']:.1%})")
    for voice, share in report["right_by_voice"].items():
        print(f"  {voice or '(no voice named)'}: {share:.1%}")
    for wrong in report["wrong"]:
        print(f"  wrong: {wrong['question']} ({wrong['voice']}) got: {wrong['answered'].strip() or '(no words)'}")
    if report["answer_wer"] is not None:
        print(f"word error rate of the answers' sound: {report['answer_wer']:.1%}")
        print(f"of the same sentences in flite's own voice: {report['original_wer']:.1%}")
    return 0
