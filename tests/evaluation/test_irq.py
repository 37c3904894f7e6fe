"""Misses, early statuses, delays, near misses and false alarms, counted for a listener whose ear is a threshold."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from omni_core.config import ListenerConfig
from omni_core.datagen.interruptions import Material
from omni_core.evaluation import irq
from tests.datagen.test_interruptions import make_material

FRAME = 2048


class Loudness:
    """A codec whose codes are loudness: in dB, from -100."""

    frame_samples = FRAME

    def stream_encoder(self) -> Any:
        return SimpleNamespace(push=self.encode, flush=lambda: torch.zeros(0, 7, dtype=torch.int64))

    def encode(self, wave: torch.Tensor) -> torch.Tensor:
        power = torch.nn.functional.pad(wave, (0, -len(wave) % FRAME)).view(-1, FRAME).square().mean(1)
        return (100 + 10 * torch.log10(power + 1e-10)).long()[:, None].expand(-1, 7)


class Threshold:
    """Says irq when loudness falls by 8 dB from one frame to the next: after a phrase. With `deaf`, never; with `nervous`, at its start."""

    deaf = nervous = False

    def __init__(self, model: Any, band_frames: int, margin: float, streams: int) -> None:
        self._last = torch.zeros(streams)

    def push(self, frames: torch.Tensor) -> torch.Tensor:
        loud = frames[..., 0].float()
        change = torch.diff(loud, dim=1, prepend=self._last[:, None])
        self._last = loud[:, -1]
        if self.deaf:
            return torch.zeros_like(change).bool()
        return change > 15 if self.nervous else change < -8


@pytest.fixture
def material() -> Material:
    return make_material()


def measure(monkeypatch: pytest.MonkeyPatch, material: Material, **ear: bool) -> irq.IrqReport:
    monkeypatch.setattr(irq, "BatchListener", type("Ear", (Threshold,), ear))
    monkeypatch.setattr(irq, "_STREAMS", 2)
    model: Any = SimpleNamespace()
    codec: Any = Loudness()
    return irq.measure(model, codec, ListenerConfig(117, 0.0), material, hours=0.02, commands=6, seed=1)


def test_a_listener_that_hears_nothing(monkeypatch: pytest.MonkeyPatch, material: Material) -> None:
    report = measure(monkeypatch, material, deaf=True)
    assert (report.clean.missed, report.clean.early, report.clean.delays_ms, report.clean.commands) == (1.0, 0.0, (), 6)
    assert np.isnan(report.clean.delay_ms(50))
    assert report.false_alarms.alarms == 0
    assert report.false_alarms.hours == pytest.approx(0.025)
    assert report.near_miss_rate == 0
    assert set(report.near_misses) <= {"stop", "omni"}
    assert report.times_real_time > 1


def test_statuses_before_the_end_are_early(monkeypatch: pytest.MonkeyPatch, material: Material) -> None:
    report = measure(monkeypatch, material, nervous=True)
    assert report.clean.early == 1.0
    assert report.near_miss_rate > 0


def test_delays_are_from_the_phrases_end(monkeypatch: pytest.MonkeyPatch, material: Material) -> None:
    report = measure(monkeypatch, material)
    assert len(report.clean.delays_ms) >= 4
    assert -100 < report.clean.delay_ms(0) <= report.clean.delay_ms(100) < 1000


def test_alarms_less_than_a_second_apart_are_one() -> None:
    said = np.zeros(60, bool)
    assert irq.alarms(said) == 0
    said[[3, 4, 12, 40]] = True
    assert irq.alarms(said) == 2
