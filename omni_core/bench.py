"""How fast is the engine here? The whole of it: encoder, prefill, decode steps, codec and text, unpaced, for growing numbers of users.

`random:nano` and `random:full` measure without weights: random ones of the bundled model's size and of the released one's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from omni_core.checkpoint import Bundle, load_bundle
from omni_core.codec import FRAME_SAMPLES, SAMPLE_RATE
from omni_core.config import EngineConfig
from omni_core.engine.engine import Engine
from omni_core.engine.request import EngineEvent, Failed, Finished, GenerateRequest
from omni_core.engine.worker import default_threads
from omni_core.errors import EngineError
from omni_core.tokens import Task

_PATIENCE = 20  # steps tried for one that counts
FRAME_S = FRAME_SAMPLES / SAMPLE_RATE  #: a user in real time needs one step in this time


@dataclass(frozen=True)
class BenchRow:
    """What a number of users costs."""

    users: int
    step_ms: float  #: median of a whole engine step that serves all of them: model, codec, text
    step_p95_ms: float
    real_time: float  #: FRAME_S / median step: 1 and more keep up
    prefill_ms: float  #: encoder, adapters and prompt of one question, median
    first_audio_ms: float  #: median over answers, where all users ask at once


def run_bench(
    source: str = "nano",
    *,
    device: str = "auto",
    dtype: torch.dtype | None = None,
    users: Sequence[int] = (1, 2, 4, 8),
    question_s: float = 5.0,
    steps: int = 60,
    threads: int | None = None,
) -> Iterator[BenchRow]:
    """Measure one number of users after the other. Raises what loading raises, and ConfigError for an unknown `random:` size."""
    bundle = load_bundle(source, device, dtype)
    if bundle.model.device.type == "cpu":
        torch.set_num_threads(threads or default_threads(bundle))
    for count in users:
        yield _measure(bundle, count, question_s, steps)


def _measure(bundle: Bundle, users: int, question_s: float, steps: int) -> BenchRow:
    engine = Engine(bundle, EngineConfig(slots=users, queue=0))
    engine.warm_up()
    task = Task.A1A2 if Task.A1A2 in engine.info.tasks else Task.T1A2
    audio = np.random.default_rng(0).standard_normal(int(SAMPLE_RATE * question_s)).astype(np.float32) * 0.05 if task.needs_audio else None
    text = "What can you do?" if task.needs_text else None
    times, finished = _serve(engine, lambda id: GenerateRequest(id, task, audio=audio, text=text), users, steps)
    step = _median(times)
    return BenchRow(
        users=users,
        step_ms=1e3 * step,
        step_p95_ms=1e3 * float(np.percentile(times, 95)),
        real_time=FRAME_S / step,
        prefill_ms=1e3 * _median([event.timings.prefill_s for event in finished if event.timings.prefill_s]),
        first_audio_ms=1e3 * _median([event.timings.first_audio_s for event in finished if event.timings.first_audio_s]),
    )


def _serve(engine: Engine, ask: Callable[[str], GenerateRequest], users: int, steps: int) -> tuple[list[float], list[Finished]]:
    """Users who ask again as soon as they were answered. Seconds of the `steps` steps that served everybody and did nothing else; all answers."""
    times: list[float] = []
    finished: list[Finished] = []
    asked = waiting = 0  # one that waits is taken in per step
    for _ in range(_PATIENCE * (steps + users)):
        while asked - len(finished) < users:
            engine.submit(ask(str(asked)))
            asked, waiting = asked + 1, waiting + 1
        begin = time.perf_counter()
        events = engine.step(begin)
        took = time.perf_counter() - begin
        if waiting:
            waiting -= 1
        else:
            times.append(took)
        finished += _ended(events)
        if len(times) == steps:
            break
    else:
        raise EngineError(f"{engine.info.model} ends its answers so soon that {users} users never speak at once: measure fewer")
    for id in range(asked):
        engine.cancel(str(id))
    return times, finished + _ended(engine.step(0.0))


def _ended(events: list[tuple[str, EngineEvent]]) -> list[Finished]:
    for _, event in events:
        if isinstance(event, Failed):
            raise event.error
    return [event for _, event in events if isinstance(event, Finished)]


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if len(values) else float("nan")
