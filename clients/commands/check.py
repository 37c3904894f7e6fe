"""`omni check`: is this checkpoint whole, and does it behave? For people who have weights that nobody here could try."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from clients.commands.arguments import MODEL_HELP, add_command, add_json, print_json

if TYPE_CHECKING:
    from omni_core.api import Omni
    from omni_core.checkpoint import Bundle

EXAMPLES = """
omni check path/to/mini-omni2
omni check gpt-omni/mini-omni2 --device cuda --json
"""

_TEXT = "What is your name?"
_STEPS = 300  #: no sample question needs a longer answer: 300 steps are 25 s of speech


def add(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(commands, "check", run, "load a model, report its sizes and try it on small questions", EXAMPLES)
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda; default: auto")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Names and shapes are checked by loading; then greedy answers, each made twice. 0 when every trial passed."""
    import omni_core

    omni = omni_core.load(args.model, device=args.device)
    sizes, trials = _sizes(omni.bundle), _trials(omni)
    passed = all(trial["passed"] for trial in trials)
    if args.json:
        print_json({"sizes": sizes, "trials": trials, "passed": passed})
        return 0 if passed else 1
    print(f"{sizes['name']}: every tensor is there and has its shape")
    for key, value in sizes.items():
        if key != "name":
            print(f"  {key.replace('_', ' '):<18} {f'{value:,}' if isinstance(value, int) else value}")
    for trial in trials:
        print(f"{'passed' if trial['passed'] else 'FAILED'}  {trial['trial']}: {trial['result']}")
    return 0 if passed else 1


def _sizes(bundle: Bundle) -> dict[str, Any]:
    from omni_core.engine.inputs import info_of

    config = bundle.model.config
    parts = {"language_model": bundle.model, "audio_encoder": bundle.audio_encoder, "vision_encoder": bundle.vision_encoder, "codec": bundle.codec}
    net = config.backbone
    return {
        "name": bundle.name,
        **{name: _parameters(part) for name, part in parts.items()},
        "backbone": f"{net.layers} layers, {net.width} wide, {net.heads} heads over {net.kv_heads}, {net.max_positions} positions",
        "vocabulary": f"{config.layout.text_rows} text rows + 7 x {config.layout.audio_rows} audio rows",
        "tokenizer": f"{bundle.tokenizer.size} ids" if bundle.tokenizer else "absent",
        "listener": "trained" if bundle.listener else "untrained",
        "tasks": " ".join(info_of(bundle).tasks) or "none: parts are absent",
    }


def _parameters(part: Any) -> str:
    import torch

    if part is None:
        return "absent"
    modules = [part] if isinstance(part, torch.nn.Module) else [value for value in vars(part).values() if isinstance(value, torch.nn.Module)]
    return f"{sum(p.numel() for module in modules for p in module.parameters()):,} parameters"


def _trials(omni: Omni) -> list[dict[str, Any]]:
    from clients.commands.demo import QUESTIONS, read_questions

    tasks = omni.info.tasks
    trials = [_trial("raw decoding, 24 steps", lambda: _decode(omni))]
    if "T1T2" in tasks:
        trials.append(_trial(f"T1T2 {_TEXT!r}", lambda: _answer(omni, "T1T2", text=_TEXT)))
    questions = read_questions(QUESTIONS)
    if "A1T1" in tasks:
        trials += [_trial(f"A1T1 {q.question!r}", lambda q=q: _answer(omni, "A1T1", audio=q.audio)) for q in questions[:2]]
    if "A1A2" in tasks:
        trials += [_trial(f"A1A2 {q.question!r}", lambda q=q: _answer(omni, "A1A2", audio=q.audio)) for q in questions]
    return trials


def _trial(name: str, attempt: Callable[[], tuple[bool, str]]) -> dict[str, Any]:
    passed, result = attempt()
    return {"trial": name, "passed": passed, "result": result}


def _decode(omni: Omni) -> tuple[bool, str]:
    """The model alone: every id in its range, the same ids again."""
    import numpy as np

    layout = omni.bundle.model.config.layout
    once, again = (omni.decode_features("T1T2", text_ids=[0, 1, 2], max_steps=24) for _ in range(2))
    if not np.array_equal(once, again):
        return False, "two greedy runs differ"
    if once.min(initial=0) < 0 or once[:7].max(initial=0) >= layout.audio_rows or once[7].max(initial=0) >= layout.text_rows:
        return False, "an id is out of range"
    return True, f"{once.shape[1]} steps, the same twice"


def _answer(omni: Omni, task: str, **inputs: Any) -> tuple[bool, str]:
    """A greedy answer that has words, ends by itself, is the same twice, and sounds if it should."""
    import numpy as np

    answer = omni.generate(task, max_steps=_STEPS, **inputs)
    shown = repr(answer.text.strip()[:200])
    if not answer.text.strip():
        return False, "no words"
    if answer.reason != "stop":
        return False, f"did not end by itself within {_STEPS} steps: {shown}"
    if not np.array_equal(answer.tokens, omni.generate(task, max_steps=_STEPS, **inputs).tokens):
        return False, f"a second greedy run differs: {shown}"
    if answer.audio is None:
        return True, shown
    if not len(answer.audio) or np.abs(answer.audio).max() < 0.01:
        return False, f"{shown} without a sound"
    return True, f"{shown}, {len(answer.audio) / answer.sample_rate:.1f} s of sound, RTF {answer.timings.rtf:.2f}"
