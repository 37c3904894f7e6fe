"""What a decode step costs for so many users at once: the model alone, beside its floor, and with all that goes with it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from omni_core.bench.floor import Machine, step_bytes, step_operations
from omni_core.bench.parts import prompt_inputs, spoken_request
from omni_core.checkpoint import Bundle
from omni_core.codec import FRAME_SAMPLES, SAMPLE_RATE
from omni_core.config import EngineConfig, Precision, SamplingParams
from omni_core.engine.engine import Engine
from omni_core.engine.request import EngineEvent, Failed, Finished, GenerateRequest
from omni_core.engine.runner import Runner
from omni_core.errors import EngineError

_PATIENCE = 20  # steps tried for one that counts
_WARM = 3  # steps that don't count
FRAME_S = FRAME_SAMPLES / SAMPLE_RATE  #: a user in real time needs one step in this time


@dataclass(frozen=True)
class BatchFigures:
    """What a number of users costs. ms."""

    users: int
    rows: int  #: of the batch: two a user for spoken questions
    positions: int  #: behind each row
    step_ms: float  #: median decode step of the model: no codec, no text
    step_ms_p99: float
    floor_ms: float  #: what reading the weights, keys and values takes on this machine, or the multiplications if they take longer
    floor_share: float  #: floor_ms / step_ms: 1 would be perfect
    frame_ms: float  #: median step of the whole engine: model, codec, text
    rtf: float  #: frame_ms / 85.3 ms; below 1 all users are served in real time


def measure_batch(bundle: Bundle, machine: Machine, precision: Precision, users: int, question_s: float, steps: int) -> BatchFigures:
    """Measure a number of users. Raises EngineError where answers are too short to be measured side by side."""
    inputs = prompt_inputs(bundle, question_s)
    runner = Runner(bundle.model, users)
    if bundle.model.device.type == "cuda":
        runner.record()
    for slot in range(users):
        runner.prefill(slot, inputs, SamplingParams())
    times = _step_times(runner, users, _WARM + steps)[_WARM:]
    rows = users * (2 if inputs.task.needs_audio else 1)
    positions = inputs.prompt.tokens.shape[1] + _WARM + steps // 2
    del runner
    floor_s = max(
        step_bytes(bundle.model, precision, rows, positions) / machine.bytes_per_s,
        step_operations(bundle.model, users, positions) / machine.operations_per_s,
    )
    frame_s = float(np.median(_serve(bundle, users, question_s, steps)))
    step_s = float(np.median(times))
    return BatchFigures(
        users=users,
        rows=rows,
        positions=positions,
        step_ms=1e3 * step_s,
        step_ms_p99=1e3 * float(np.percentile(times, 99)),
        floor_ms=1e3 * floor_s,
        floor_share=floor_s / step_s,
        frame_ms=1e3 * frame_s,
        rtf=frame_s / FRAME_S,
    )


def _step_times(runner: Runner, users: int, steps: int) -> list[float]:
    times = []
    for _ in range(steps):
        begin = time.perf_counter()
        runner.step(range(users))
        times.append(time.perf_counter() - begin)
    return times


def _serve(bundle: Bundle, users: int, question_s: float, steps: int) -> list[float]:
    """Users who ask again as soon as they were answered. Seconds of the `steps` steps of an engine that served everybody and did nothing else."""
    engine = Engine(bundle, EngineConfig(slots=users, queue=users))
    engine.warm_up()
    requests: dict[str, GenerateRequest] = {}
    times: list[float] = []
    asked = 0
    for _ in range(_PATIENCE * (steps + users)):
        while len(requests) < users:
            request = requests[str(asked)] = spoken_request(bundle, engine, str(asked), question_s)
            engine.submit(request)
            asked += 1
        begin = time.perf_counter()
        events = engine.step(begin)
        took = time.perf_counter() - begin
        ended = _ended(events)
        if engine.speaking == users and not ended:
            times.append(took)
        for id in ended:
            del requests[id]
        if len(times) == steps:
            return times
    raise EngineError(f"{engine.info.model} ends its answers so soon that {users} users never speak at once: measure fewer")


def _ended(events: Sequence[tuple[str, EngineEvent]]) -> list[str]:
    for _, event in events:
        if isinstance(event, Failed):
            raise event.error
    return [id for id, event in events if isinstance(event, Finished)]
