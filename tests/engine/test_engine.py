"""Whole responses through the engine, on a clock that the test moves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from omni_core.config import EngineConfig, SamplingParams
from omni_core.engine.engine import Engine
from omni_core.engine.request import AudioChunk, EngineEvent, Failed, Finished, FinishReason, GenerateRequest, TextDelta
from omni_core.errors import AudioError, EngineBusy, EngineError, ImageError, InputError, TaskError, TextError
from omni_core.tokens import TEXT_STREAM, Task, revert_delay
from tests.engine.parts import LAYOUT, Ear, ScriptedModel, Voice, make_bundle, make_frames, make_tokenizer, script, wave


class Clock:
    """Seconds that pass only when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def _engine(model, clock: Clock | None = None, config: EngineConfig | None = None, **parts) -> Engine:
    return Engine(make_bundle(model, **parts), config, clock=clock or Clock())


def _request(id: str = "r", task: Task = Task.A1A2, **values) -> GenerateRequest:
    audio = wave() if task.needs_audio else None
    return GenerateRequest(**({"id": id, "task": task, "audio": audio, "text": "hi" if task.needs_text else None} | values))


def _run(engine: Engine, *requests: GenerateRequest) -> dict[str, list[EngineEvent]]:
    """Step until all have ended; the events of each."""
    events: dict[str, list[EngineEvent]] = {request.id: [] for request in requests}
    for request in requests:
        engine.submit(request)
    while engine.wait_s(0.0) is not None:
        for id, event in engine.step(0.0):
            events[id].append(event)
    return events


def _text(events: list[EngineEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def _audio(events: list[EngineEvent]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.float32), *[event.pcm for event in events if isinstance(event, AudioChunk)]])


def _expected(frames: np.ndarray) -> np.ndarray:
    return np.repeat((frames[:, 0] + 1) / 100, 2048).astype(np.float32)


@pytest.mark.parametrize("task", [Task.A1A2, Task.T1A2])
@pytest.mark.parametrize("lag", [0, 2])
def test_an_answer_gives_its_text_all_its_frames_and_one_last_event(task, lag):
    frames = make_frames(11)
    events = _run(_engine(ScriptedModel(script("hello you", frames)), codec=Voice(lag)), _request(task=task))["r"]
    assert _text(events) == "hello you"
    assert np.array_equal(_audio(events), _expected(frames))
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.reason is FinishReason.STOP
    assert (finished.usage.text_tokens, finished.usage.audio_tokens) == (9, 77)
    assert finished.timings.steps == 19  # 11 frames, the delay of 7, and layer 7's eoa
    assert finished.timings.audio_s == pytest.approx(11 * 2048 / 24000)


@pytest.mark.parametrize(("lag", "steps"), [(0, 8), (2, 10)])
def test_first_audio_leaves_after_the_fewest_steps_the_delay_and_the_codec_allow(lag, steps):
    engine = _engine(ScriptedModel(script("hello", make_frames(9))), codec=Voice(lag))
    engine.submit(_request())
    taken = 0
    while not any(isinstance(event, AudioChunk) for _, event in engine.step(0.0)):
        taken += 1
    assert taken + 1 == engine.first_audio_steps == steps


@pytest.mark.parametrize(("task", "text"), [(Task.T1T2, "naïve ☃ 🙂!"), (Task.A1T2, "plain")])
def test_text_is_whole_characters_and_ends_at_eot(task, text):
    events = _run(_engine(ScriptedModel(script(text, make_frames(40)))), _request(task=task))["r"]
    deltas = [event.text for event in events if isinstance(event, TextDelta)]
    assert "".join(deltas) == text
    assert not any("\ufffd" in delta for delta in deltas)
    assert isinstance(events[-1], Finished)
    assert len(_audio(events)) == 0


def test_an_id_that_is_no_code_is_replaced_and_its_frame_kept():
    frames = make_frames(5)
    broken = frames.copy()
    broken[0, 0], broken[3, 0], broken[3, 5] = LAYOUT.pad_a, LAYOUT.split, LAYOUT.answer_a
    frames[0, 0], frames[3, 0] = 0, frames[2, 0]
    assert np.array_equal(_audio(_run(_engine(ScriptedModel(script("a", broken))), _request())["r"]), _expected(frames))


def test_a_frame_whose_first_layer_is_eoa_ends_the_audio():
    columns = script("a", make_frames(9))
    columns[0, 5] = LAYOUT.eoa  # layer 1 of frame 4; layer 7 goes on
    events = _run(_engine(ScriptedModel(columns)), _request())["r"]
    assert np.array_equal(_audio(events), _expected(make_frames(9)[:4]))
    assert isinstance(events[-1], Finished)
    assert events[-1].reason is FinishReason.STOP


def test_length_ends_an_answer_and_still_flushes():
    frames = make_frames(20)
    events = _run(_engine(ScriptedModel(script("hello", frames)), codec=Voice(2)), _request(max_steps=12))["r"]
    assert isinstance(events[-1], Finished)
    assert (events[-1].reason, events[-1].timings.steps) == (FinishReason.LENGTH, 12)
    assert np.array_equal(_audio(events), _expected(frames[:5]))


def test_the_model_s_positions_end_an_answer():
    events = _run(_engine(ScriptedModel(script("hello", make_frames(500)))), _request(max_steps=1000))["r"]
    assert isinstance(events[-1], Finished)
    assert events[-1].reason is FinishReason.LENGTH
    assert events[-1].usage.prompt_tokens - 1 + events[-1].timings.steps == 160


def test_a_paced_response_is_never_further_ahead_than_allowed():
    clock = Clock()
    engine = _engine(ScriptedModel(script("hello", make_frames(60))), clock, EngineConfig(max_ahead_s=1.0))
    engine.submit(_request(paced=True))
    first, sent, largest = None, 0.0, 0.0
    while (wait := engine.wait_s(clock.now)) is not None:
        clock.now += max(wait, 0.001)
        for _, event in engine.step(clock.now):
            if isinstance(event, AudioChunk):
                first = clock.now if first is None else first
                largest = max(largest, sent - (clock.now - first))
                sent += len(event.pcm) / 24000
            if isinstance(event, Finished):
                assert event.timings.total_s > 60 * 2048 / 24000 - 1.2
    assert 0.8 < largest <= 1.0


def test_times_are_what_the_clock_says():
    clock = Clock()
    engine = _engine(ScriptedModel(script("hi", make_frames(3))), clock, EngineConfig(slots=1))
    engine.submit(_request("a"))
    engine.submit(_request("b"))
    finished = {}
    while engine.wait_s(clock.now) is not None:
        clock.now += 1.0
        finished |= {id: event for id, event in engine.step(clock.now) if isinstance(event, Finished)}
    assert (finished["a"].timings.queued_s, finished["a"].timings.first_audio_s, finished["a"].timings.total_s) == (1, 8, 11)
    assert (finished["b"].timings.queued_s, finished["b"].timings.first_audio_s, finished["b"].timings.total_s) == (12, 19, 22)


def test_cancelling_frees_the_slot_and_disturbs_nobody():
    frames = make_frames(12)
    engine = _engine(ScriptedModel(script("hello", frames)), config=EngineConfig(slots=2, queue=1))
    for id in "abc":
        engine.submit(_request(id))
    events = [event for _ in range(10) for event in engine.step(0.0)]
    engine.cancel("a")
    engine.cancel("a")
    engine.cancel("nobody")
    assert engine.wait_s(0.0) == 0
    while engine.wait_s(0.0) is not None:
        events += engine.step(0.0)
    own = {id: [event for found, event in events if found == id] for id in "abc"}
    assert isinstance(own["a"][-1], Finished)
    assert own["a"][-1].reason is FinishReason.CANCELLED
    assert np.array_equal(_audio(own["a"]), _expected(frames[:3]))
    for id in "bc":
        assert np.array_equal(_audio(own[id]), _expected(frames))


def test_a_full_engine_refuses_and_takes_again_when_one_has_ended():
    engine = _engine(ScriptedModel(script("hello", make_frames(3))), config=EngineConfig(slots=1, queue=1))
    engine.submit(_request("a"))
    engine.submit(_request("b"))
    with pytest.raises(EngineBusy):
        engine.submit(_request("c"))
    engine.cancel("b")
    engine.submit(_request("c"))
    assert engine.step(0.0)


def test_a_response_that_fails_harms_no_other():
    frames = make_frames(6)
    unheard = wave()
    unheard[:] = 0.5
    engine = _engine(ScriptedModel(script("hello", frames)), config=EngineConfig(slots=4))
    events = _run(engine, _request("good"), _request("unheard", audio=unheard, sample_rate=16000), _request("long", audio=wave(3.0)))
    assert np.array_equal(_audio(events["good"]), _expected(frames))
    for id, error in (("unheard", AudioError), ("long", InputError)):
        (failed,) = events[id]
        assert isinstance(failed, Failed)
        assert isinstance(failed.error, error)


@pytest.mark.parametrize("part", ["codec", "tokenizer"])
def test_a_part_that_breaks_in_the_middle_ends_the_responses_that_use_it(part):
    """Speech fails with the codec, text goes on; everything fails with the tokenizer; the engine lives."""
    voice, tokenizer = Voice(), make_tokenizer()
    engine = _engine(ScriptedModel(script("hello", make_frames(6))), codec=voice, tokenizer=tokenizer)
    speech = engine.submit(_request("speech"))
    engine.submit(_request("text", Task.A1T2))
    engine.step(0.0)
    if part == "codec":
        speech.decoder.push = lambda frames: 1 / 0  # type: ignore[method-assign, union-attr, assignment, return-value]
    else:
        tokenizer.decode = lambda ids: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    events: dict[str, list[EngineEvent]] = {"speech": [], "text": []}
    while engine.wait_s(0.0) is not None:
        for id, event in engine.step(0.0):
            events[id].append(event)
    last = events["speech"][-1]
    assert isinstance(last, Failed)
    assert type(last.error) is EngineError
    assert isinstance(events["text"][-1], Finished if part == "codec" else Failed)


@pytest.mark.parametrize(
    ("values", "error", "says"),
    [
        ({"audio": None}, AudioError, "audio"),
        ({"audio": np.zeros(0, np.float32)}, AudioError, "empty"),
        ({"audio": np.array([0.1, np.nan], np.float32)}, AudioError, "finite"),
        ({"audio": np.zeros((2, 50), np.float32)}, AudioError, "channel"),
        ({"sample_rate": 0}, AudioError, "rate"),
        ({"audio": wave(2.5)}, AudioError, "at most 2 s"),
        ({"text": "hello"}, TaskError, "text"),
        ({"image": b"x"}, TaskError, "image"),
        ({"task": Task.VA1A2, "image": b"x"}, TaskError, "VA1A2"),
        ({"task": Task.T1A2, "audio": None, "text": "  "}, TextError, "empty"),
        ({"task": Task.T1A2, "audio": None, "text": None}, TextError, "text"),
        ({"max_steps": 0}, InputError, "max_steps"),
    ],
)
def test_unusable_requests_are_refused_at_once(values, error, says):
    engine = _engine(ScriptedModel(script("a", make_frames(1))), audio_encoder=Ear(2.0))
    with pytest.raises(error, match=says):
        engine.submit(_request(**values))
    assert engine.wait_s(0.0) is None


def test_a_picture_task_needs_its_picture():
    eye = type("Eye", (), {"encode": lambda self, image: None})()
    engine = _engine(ScriptedModel(script("a", make_frames(1))), vision_encoder=eye)
    for image in (None, b""):
        with pytest.raises(ImageError):
            engine.submit(_request(task=Task.VA1A2, image=image))


def test_tasks_follow_from_the_parts():
    model = ScriptedModel(script("a", make_frames(1)))
    assert set(_engine(model).info.tasks) == {Task.A1A2, Task.A1T2, Task.A1T1, Task.T1A2, Task.T1T2}
    assert set(_engine(model, codec=None, audio_encoder=None).info.tasks) == {Task.T1T2}
    assert _engine(model, tokenizer=None).info.tasks == ()


def test_many_random_answers_at_once_are_those_they_are_alone(random_model):
    """A real model, real sampling, slots reused: tokens by request alone."""
    requests = [_request(str(n), task, sampling=SamplingParams(temperature=n % 2, seed=n), max_steps=25) for n, task in enumerate(
        [Task.A1A2, Task.T1A2, Task.A1T2, Task.A1A2, Task.T1T2, Task.A1A2, Task.T1A2]
    )]  # fmt: skip

    def run(*chosen: GenerateRequest) -> list[np.ndarray]:
        engine = _engine(random_model, config=EngineConfig(slots=3, queue=9))
        responses = [engine.submit(request) for request in chosen]
        while engine.wait_s(0.0) is not None:
            engine.step(0.0)
        return [np.stack(response.columns, axis=1) for response in responses]

    for request, together in zip(requests, run(*requests), strict=True):
        (alone,) = run(request)
        assert np.array_equal(alone, together), request.task
        if request.task.speaks:
            assert (revert_delay(alone[:TEXT_STREAM], LAYOUT) >= 0).all()


def test_a_long_prompt_is_read_in_pieces_while_somebody_speaks(random_model):
    """And says what it says when it is read at once."""
    long = _request("long", audio=wave(1.0), max_steps=5)
    pieces, whole = _engine(random_model, config=EngineConfig(slots=2, prompt_piece=16)), _engine(random_model)
    alone = whole.submit(long)
    whole.step(0.0)
    assert len(alone.columns) == 1  # nobody else was there
    speaking = pieces.submit(_request("speaking", max_steps=200))
    pieces.step(0.0)
    response = pieces.submit(long)
    for _ in range(alone.prompt_tokens // 16):
        pieces.step(0.0)
        assert not response.columns
    assert len(speaking.columns) == 1 + alone.prompt_tokens // 16
    pieces.cancel("speaking")
    for engine in (pieces, whole):
        while engine.wait_s(0.0) is not None:
            engine.step(0.0)
    assert np.array_equal(np.stack(response.columns), np.stack(alone.columns))


@pytest.mark.parametrize("where", ["prompt", "step"])
def test_where_memory_runs_out_the_newest_is_refused_and_the_others_go_on(random_model, where):
    old, new = _request("old", max_steps=20), _request("new", max_steps=20)
    engine, expected = _engine(random_model, config=EngineConfig(slots=2)), _engine(random_model)
    alone = expected.submit(old)
    response = engine.submit(old)
    for _ in range(5):
        engine.step(0.0)
    engine.submit(new)
    part, name = (engine._runner, "advance" if where == "prompt" else "step_listening")
    working = getattr(part, name)
    if where == "step":
        engine.step(0.0)

    def full(*_):
        setattr(part, name, working)
        raise torch.OutOfMemoryError("no memory is left")

    setattr(part, name, full)
    events = [event for _ in range(20) for event in engine.step(0.0)]
    ((_, failed),) = [(id, event) for id, event in events if isinstance(event, Failed)]
    assert isinstance(failed.error, EngineBusy)
    while expected.wait_s(0.0) is not None:
        expected.step(0.0)
    assert np.array_equal(np.stack(response.columns), np.stack(alone.columns))


def test_numbers_that_run_away_end_their_own_response_alone(random_model):
    """NaN in one prompt: not in a neighbour's answer, nor in that of whoever has the slot next."""

    class Broken(Ear):
        def encode(self, wave):
            return super().encode(wave) * (torch.nan if len(wave) > 16_000 / 2 else 1)

    good = _request("good", max_steps=20)
    alone = _engine(random_model)
    expected = alone.submit(good)
    while alone.wait_s(0.0) is not None:
        alone.step(0.0)
    engine = _engine(random_model, config=EngineConfig(slots=2), audio_encoder=Broken())
    engine.submit(_request("bad", audio=wave(0.6)))
    beside = engine.submit(good)
    ended: dict[str, EngineEvent] = {}
    while engine.wait_s(0.0) is not None:
        ended |= dict(engine.step(0.0))
        if "bad" in ended and "next" not in ended and len(beside.columns) == 5:
            after = engine.submit(_request("next", max_steps=20))
    assert isinstance(ended["bad"], Failed)
    assert "NaN" in str(ended["bad"].error)
    for response in (beside, after):
        assert np.array_equal(np.stack(response.columns), np.stack(expected.columns))


def test_who_finds_no_slot_in_time_is_told(random_model):
    engine = _engine(random_model, config=EngineConfig(slots=1, max_wait_s=5.0))
    for name in ("runs", "waits"):
        engine.submit(_request(name, max_steps=200))
    engine.step(0.0)
    ((id, failed),) = [(id, event) for id, event in engine.step(5.1) if isinstance(event, Failed)]
    assert id == "waits"
    assert isinstance(failed.error, EngineBusy)


def test_warming_up_leaves_nothing_behind(random_model):
    engine = _engine(random_model)
    engine.warm_up()
    assert engine.wait_s(0.0) is None
