"""Slots, queue and pacing, with numbers only."""

import pytest

from omni_core.config import EngineConfig
from omni_core.engine.scheduler import Scheduler, Ticket
from omni_core.errors import ConfigError, EngineBusy, EngineError


def _scheduler(**config) -> Scheduler:
    return Scheduler(EngineConfig(**config))


def _admit(scheduler: Scheduler) -> Ticket:
    """Give a response a slot, and have its prompt read."""
    ticket = scheduler.admit()
    assert ticket is not None
    ticket.reading = False
    return ticket


def test_first_come_first_served_and_a_full_queue_is_refused():
    scheduler = _scheduler(slots=2, queue=1)
    for name in "abc":
        scheduler.submit(name, paced=False)
    with pytest.raises(EngineBusy):
        scheduler.submit("d", paced=False)
    assert [_admit(scheduler).id, _admit(scheduler).id] == ["a", "b"]
    assert scheduler.admit() is None
    scheduler.release("a")
    admitted = _admit(scheduler)
    assert (admitted.id, admitted.slot) == ("c", 0)
    assert [ticket.id for ticket in scheduler.due(0.0)] == ["c", "b"]


def test_a_waiting_response_can_leave_the_queue_and_an_id_is_used_once():
    scheduler = _scheduler(slots=1, queue=2)
    for name in "abc":
        scheduler.submit(name, paced=False)
    with pytest.raises(EngineError):
        scheduler.submit("b", paced=False)
    scheduler.admit()
    scheduler.release("b")
    assert scheduler.release("b") is None
    scheduler.release("a")
    admitted = _admit(scheduler)
    assert admitted.id == "c"


def test_the_background_comes_after_all_others_and_leaves_them_half_of_the_slots():
    scheduler = _scheduler(slots=4, queue=4)
    for name in "wxyz":
        scheduler.submit(name, paced=False, background=True)
    with pytest.raises(EngineBusy, match="background"):
        scheduler.submit("v", paced=False, background=True)
    for name in "ab":
        scheduler.submit(name, paced=False)

    def admitted() -> str:
        return "".join(ticket.id for ticket in iter(scheduler.admit, None))

    assert admitted() == "abwx"
    scheduler.release("a")
    scheduler.release("b")
    assert admitted() == ""  # two slots stay free for others
    scheduler.submit("c", paced=False)
    assert admitted() == "c"
    scheduler.release("y")  # out of its queue
    scheduler.release("w")
    assert admitted() == "z"


def test_a_single_slot_serves_the_background_too():
    scheduler = _scheduler(slots=1, queue=1)
    scheduler.submit("w", paced=False, background=True)
    scheduler.submit("a", paced=False)
    assert [getattr(scheduler.admit(), "id", None) for _ in range(2)] == ["a", None]
    scheduler.release("a")
    assert getattr(scheduler.admit(), "id", None) == "w"


def test_a_paced_response_is_never_due_when_it_is_further_ahead_than_allowed():
    scheduler = _scheduler(slots=1, max_ahead_s=1.0)
    scheduler.submit("a", paced=True)
    ticket = _admit(scheduler)
    now, frame, ahead = 100.0, 2048 / 24000, []
    for _ in range(2000):  # 10 ms each
        if scheduler.due(now):
            if ticket.first_audio_at is not None:
                ahead.append(ticket.audio_s - (now - ticket.first_audio_at))
            scheduler.emitted(ticket, frame, now)
        now += 0.01
    assert max(ahead) <= 1.0
    assert min(ahead[20:]) > 1.0 - frame - 0.02  # and it keeps its lead
    assert ticket.audio_s == pytest.approx(20.0 + 1.0, abs=0.15)


def test_an_unpaced_response_is_always_due():
    scheduler = _scheduler(slots=1)
    scheduler.submit("a", paced=False)
    ticket = _admit(scheduler)
    scheduler.emitted(ticket, 1000.0, 0.0)
    assert scheduler.due(0.0) == [ticket]


def test_waiting_time_says_when_there_is_something_to_do():
    scheduler = _scheduler(slots=1, max_ahead_s=1.0)
    assert scheduler.wait_s(5.0) is None
    scheduler.submit("a", paced=True)
    assert scheduler.wait_s(5.0) == 0
    ticket = scheduler.admit()
    assert ticket is not None
    assert scheduler.wait_s(5.0) == 0  # there is a prompt to read
    ticket.reading = False
    assert scheduler.wait_s(5.0) == 0
    scheduler.emitted(ticket, 1.5, 5.0)
    assert scheduler.wait_s(5.0) == pytest.approx(0.5)
    assert scheduler.wait_s(9.0) == 0
    scheduler.submit("b", paced=True)  # waits for the slot: nothing to do for it
    assert scheduler.wait_s(5.0) == pytest.approx(0.5)


def test_those_who_are_due_within_a_frame_of_another_take_the_same_step():
    scheduler = _scheduler(slots=3, max_ahead_s=1.0)
    for name, audio_s in (("a", 1.0), ("b", 1.05), ("c", 1.2)):
        scheduler.submit(name, paced=True)
        scheduler.emitted(_admit(scheduler), audio_s, 0.0)
    assert [ticket.id for ticket in scheduler.due(-0.01)] == []
    assert [ticket.id for ticket in scheduler.due(0.0)] == ["a", "b"]


def test_first_samples_go_ahead_of_those_with_sound_in_hand():
    scheduler = _scheduler(slots=4)
    for name, audio_s in (("much", 0.8), ("little", 0.2)):
        scheduler.submit(name, paced=True)
        scheduler.emitted(_admit(scheduler), audio_s, 0.0)
    scheduler.submit("file", paced=False)
    _admit(scheduler)
    assert [ticket.id for ticket in scheduler.due(0.0)] == ["much", "little", "file"]
    scheduler.submit("new", paced=True)
    new = _admit(scheduler)
    assert [ticket.id for ticket in scheduler.due(0.01)] == ["little", "new"]
    assert [ticket.id for ticket in scheduler.due(0.11)] == ["little", "file", "new"]  # what nobody plays goes on all the same
    scheduler.emitted(new, 0.085, 0.12)
    assert [ticket.id for ticket in scheduler.due(0.12)] == ["much", "little", "file", "new"]


def test_who_waits_too_long_for_a_slot_is_told():
    scheduler = _scheduler(slots=1, max_wait_s=15.0)
    for name in "ab":
        scheduler.submit(name, paced=True)
    _admit(scheduler)
    assert scheduler.expired(100.0) == []
    assert scheduler.expired(115.0) == []
    assert [ticket.id for ticket in scheduler.expired(115.1)] == ["b"]


def test_an_engine_without_slots_is_refused():
    with pytest.raises(ConfigError):
        _scheduler(slots=0)
