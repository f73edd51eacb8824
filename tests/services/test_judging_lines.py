"""Who waits to be judged: in the order they came, past tasks that must wait, counted once."""

from __future__ import annotations

import time

from podium.domain.judging import Waiting
from podium.services.judging.lines import Lines


def waiting(name: str, task: str = "a", share: float = 1.0) -> Waiting:
    return Waiting(decision_id=name, task=task, place=0.1, odds=1.0, share=share)


def anybody(task: str) -> bool:
    return True


def drained(lines: Lines) -> list[str]:
    found = []
    while (one := lines.first(anybody)) is not None:
        found.append(one.decision_id)
        lines.take(one.decision_id)
    return found


def test_turns_come_in_the_order_of_arrival_over_all_tasks():
    lines = Lines()
    for name, task in (("1", "a"), ("2", "b"), ("3", "a"), ("4", "c")):
        lines.put(waiting(name, task))
    lines.put(waiting("1", "a", share=0.5))
    assert len(lines) == 4
    assert lines.first(anybody) == waiting("1", "a", share=0.5), "a new entry keeps the place"
    one = lines.take("1")
    assert one is not None
    lines.put(one, again=True)
    assert drained(lines) == ["2", "3", "4", "1"], "who had a turn goes last"
    assert (len(lines), lines.take("1")) == (0, None)


def test_a_task_that_must_wait_is_passed_over_and_each_of_its_answers_counted_once():
    lines = Lines()
    for number in range(4):
        lines.put(waiting(f"x{number}", "dear"))
    lines.put(waiting("y", "cheap"))
    for _ in range(3):
        found = lines.first(lambda task: task == "cheap")
        assert found is not None
        assert found.decision_id == "y"
    assert lines.held_up == 4
    lines.take("x0")
    lines.put(waiting("x4", "dear"))
    assert lines.first(lambda task: False) is None
    assert lines.held_up == 4 + 1 + 1, "one more of each task"


def test_a_decision_waits_in_one_line_only():
    lines = Lines()
    lines.put(waiting("1", "a"))
    lines.put(waiting("1", "b"))
    assert [one.task for one in lines] == ["b"]
    assert len(lines) == 1


def test_a_full_queue_that_must_wait_costs_next_to_nothing():
    lines = Lines()
    for number in range(50_000):
        lines.put(waiting(str(number)))
    began = time.process_time()
    for _ in range(1_000):
        assert lines.first(lambda task: False) is None
    assert time.process_time() - began < 0.5, "a thousand looks at fifty thousand that must wait"
