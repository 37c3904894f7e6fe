"""A model with an end-of-turn head says, before anything else, how likely the spoken turn has ended."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from omni_core.checkpoint import load_bundle
from omni_core.engine.engine import Engine
from omni_core.engine.request import Finished, GenerateRequest, TurnEnded
from omni_core.models import EndOfTurn
from omni_core.tokens import Task


def test_the_first_event_of_a_spoken_turn_says_whether_it_has_ended() -> None:
    torch.manual_seed(0)
    bundle = load_bundle("nano", "cpu")
    head = EndOfTurn(bundle.model.config.backbone.width)
    engine = Engine(dataclasses.replace(bundle, end_of_turn=head))
    wave = np.random.default_rng(0).standard_normal(24_000).astype(np.float32) * 0.1
    said: dict[str, list[object]] = {"spoken": [], "heard": [], "written": []}
    engine.submit(GenerateRequest("spoken", Task.A1A2, audio=wave, max_steps=12))
    engine.submit(GenerateRequest("heard", Task.A1T2, audio=wave, max_steps=12))
    engine.submit(GenerateRequest("written", Task.T1T2, text="Hello", max_steps=12))
    while engine.wait_s(0.0) is not None:
        for id, event in engine.step(0.0):
            said[id].append(event)
    spoken, heard = said["spoken"][0], said["heard"][0]
    assert isinstance(spoken, TurnEnded)
    assert isinstance(heard, TurnEnded)
    assert 0.0 < spoken.probability < 1.0
    assert abs(spoken.probability - heard.probability) < 1e-4  # it is the turn that counts, not how it is answered
    assert not [event for event in said["written"] if isinstance(event, TurnEnded)]
    assert [sum(isinstance(event, TurnEnded) for event in events) for events in said.values()] == [1, 1, 0]
    assert all(isinstance(events[-1], Finished) for events in said.values())
