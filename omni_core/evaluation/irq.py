"""Does the model stop when it is told to, soon, and only then?

Statuses come from codes alone, by `BatchListener`. Scenes are drawn from held-out material (`datagen.scenes`), other ones for another seed.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from omni_core.codec.base import FRAME_SAMPLES, SAMPLE_RATE, Codec, encode_as_stream
from omni_core.config import ListenerConfig
from omni_core.datagen.interruptions import BEDS, Material, Scene, SceneConfig, draw_scene
from omni_core.listener import BatchListener
from omni_core.models import OmniModel

FRAME_S = FRAME_SAMPLES / SAMPLE_RATE
EARLY_S = 0.1  #: a status this long before the phrase's end is no answer to it
_STREAMS = 16
_PUSH = 117  # frames
_APART = 12  # frames without irq between two alarms
_NEAR_S = 1.0  # a near miss triggers by an irq this long before or after its end

CLEAN = SceneConfig(seconds=(8, 20), command_share=1, near_misses=0, beds=("quiet",), echo_share=0)
AT_10_DB = SceneConfig(seconds=(8, 20), command_share=1, near_misses=0, beds=BEDS[:-1], snr_db=(10, 10))
NEAR = SceneConfig(seconds=(8, 20), command_share=0, near_misses=4, snr_db=(5, 25))
NEGATIVE = SceneConfig(seconds=(45, 45), command_share=0, near_misses=0)


@dataclass(frozen=True)
class Stops:
    """Commands, one in a scene."""

    commands: int
    missed: float  #: share with no irq until 0.9 s after the phrase
    early: float  #: share with irq over 100 ms before the phrase's end
    delays_ms: tuple[float, ...]  #: of the others: end of the frame in which irq is first said, minus the phrase's end

    def delay_ms(self, percentile: float) -> float:
        """nan where every command was missed."""
        return float(np.percentile(self.delays_ms, percentile)) if self.delays_ms else float("nan")


@dataclass(frozen=True)
class FalseAlarms:
    """Sound without the command. Alarms less than a second apart are one."""

    hours: float
    alarms: int

    @property
    def per_hour(self) -> float:
        return self.alarms / self.hours


@dataclass(frozen=True)
class IrqReport:
    """What `measure` found."""

    clean: Stops
    at_10_db: Stops
    negatives: dict[str, FalseAlarms]  #: by bed, "+ echo" where the assistant is heard too
    near_misses: dict[str, tuple[int, float]]  #: phrase -> how often it was said, share that triggered
    times_real_time: float  #: of coding and listening, in the negatives

    @property
    def false_alarms(self) -> FalseAlarms:
        """All of them."""
        return FalseAlarms(sum(n.hours for n in self.negatives.values()), sum(n.alarms for n in self.negatives.values()))

    @property
    def near_miss_rate(self) -> float:
        """Share of all near misses that triggered."""
        said = sum(count for count, _ in self.near_misses.values())
        return sum(count * share for count, share in self.near_misses.values()) / max(said, 1)


def measure(
    model: OmniModel, codec: Codec, listener: ListenerConfig, material: Material, *, hours: float = 8.0, commands: int = 400, seed: int = 1
) -> IrqReport:
    """`commands` in each condition and as many scenes of near misses, and `hours` without any.

    The hours run on without a reset, in 16 streams side by side. Drawing 8 hours of scenes takes some minutes, listening to them about two.
    """
    negatives, speed = _negatives(model, codec, listener, material, hours, seed)
    return IrqReport(
        clean=_stops(model, codec, listener, _draw("clean", CLEAN, commands, material, (seed, 0))),
        at_10_db=_stops(model, codec, listener, _draw("10 dB", AT_10_DB, commands, material, (seed, 1))),
        negatives=negatives,
        near_misses=_near_misses(model, codec, listener, _draw("near misses", NEAR, commands, material, (seed, 2))),
        times_real_time=speed,
    )


def statuses(model: OmniModel, codec: Codec, listener: ListenerConfig, scenes: Sequence[Scene]) -> list[np.ndarray]:
    """Whether irq is said in each frame, bool [F], of scenes that are heard side by side from their start."""
    stream = BatchListener(model, listener.band_frames, listener.margin, len(scenes))
    return _listen(stream, codec, scenes)


def alarms(said: np.ndarray) -> int:
    """How many times irq is said in statuses [F], those less than a second apart counted once."""
    at = np.flatnonzero(said)
    return int(len(at) > 0) + int((np.diff(at) > _APART).sum())


def _listen(stream: BatchListener, codec: Codec, scenes: Sequence[Scene]) -> list[np.ndarray]:
    codes = [encode_as_stream(codec, torch.from_numpy(scene.wave)) for scene in scenes]
    frames = torch.nn.utils.rnn.pad_sequence(codes, batch_first=True)  # [B, F, 7]
    said = torch.cat([stream.push(part) for part in frames.split(_PUSH, 1)], 1).cpu().numpy()
    return [row[: len(own)] for row, own in zip(said, codes, strict=True)]


def _draw(name: str, config: SceneConfig, count: int, material: Material, seed: tuple[int, int]) -> Iterator[list[Scene]]:
    """`count` scenes, as many at once as there are streams."""
    with ThreadPoolExecutor() as pool:
        for start in tqdm(range(0, count, _STREAMS), desc=f"irq, {name}", unit="batch", disable=None):
            numbers = range(start, min(start + _STREAMS, count))
            yield list(pool.map(lambda number: draw_scene(np.random.default_rng((*seed, number)), material, config), numbers))


def _stops(model: OmniModel, codec: Codec, listener: ListenerConfig, batches: Iterator[list[Scene]]) -> Stops:
    missed, early, delays = 0, 0, []
    for scenes in batches:
        for scene, said in zip(scenes, statuses(model, codec, listener, scenes), strict=True):
            assert scene.irq_at is not None
            if not said.any():
                missed += 1
                continue
            delay = (int(said.argmax()) + 1) * FRAME_S - scene.irq_at
            if delay < -EARLY_S:
                early += 1
            else:
                delays.append(1000 * delay)
    count = missed + early + len(delays)
    return Stops(count, missed / count, early / count, tuple(delays))


def _near_misses(model: OmniModel, codec: Codec, listener: ListenerConfig, batches: Iterator[list[Scene]]) -> dict[str, tuple[int, float]]:
    triggered: dict[str, list[bool]] = defaultdict(list)
    for scenes in batches:
        for scene, said in zip(scenes, statuses(model, codec, listener, scenes), strict=True):
            for phrase in scene.near_misses:
                start, stop = (max(0, int((phrase.end + shift) / FRAME_S)) for shift in (-_NEAR_S, _NEAR_S))
                triggered[phrase.text].append(bool(said[start : stop + 1].any()))
    return {text: (len(found), float(np.mean(found))) for text, found in sorted(triggered.items())}


def _negatives(
    model: OmniModel, codec: Codec, listener: ListenerConfig, material: Material, hours: float, seed: int
) -> tuple[dict[str, FalseAlarms], float]:
    """Alarms by bed, and how many times real time coding and listening went."""
    batches = max(1, round(hours * 3600 / (NEGATIVE.seconds[0] * _STREAMS)))
    stream = BatchListener(model, listener.band_frames, listener.margin, _STREAMS)
    heard, found, spent = defaultdict(float), defaultdict(int), 0.0
    for scenes in _draw("negatives", NEGATIVE, batches * _STREAMS, material, (seed, 3)):
        started = time.perf_counter()
        rows = _listen(stream, codec, scenes)
        spent += time.perf_counter() - started
        for scene, said in zip(scenes, rows, strict=True):
            kind = scene.bed if scene.echo_db is None else f"{scene.bed} + echo"
            heard[kind] += len(scene.wave) / SAMPLE_RATE / 3600
            found[kind] += alarms(said)
    return {kind: FalseAlarms(heard[kind], found[kind]) for kind in sorted(heard)}, 3600 * sum(heard.values()) / spent
