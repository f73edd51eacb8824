"""Feedback through a real server: every form of it, before the answer ended, after a restart, and to nothing."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from server import Reply, Server


def give(server: Server, request_id: str, **said: Any) -> Reply:
    return server.call("POST", "/api/v1/feedback", {"request_id": request_id, **said})


def shown(server: Server, request_id: str) -> list[dict[str, Any]]:
    return server.ok("GET", f"/api/v1/decisions/{request_id}")["feedback"]  # type: ignore[no-any-return] # JSON


def quality(server: Server, task: str, ref: str = "m@1") -> tuple[int, float | None]:
    server.ok("GET", "/api/v1/stats")  # answered after everything recorded so far was folded
    row = server.ok("GET", f"/api/v1/tasks/{task}")["evidence"][ref]
    return row["quality_samples"], row["quality"]


@pytest.fixture
def asked(server: Server) -> tuple[Server, str]:
    """A server and a request it answered for the task ``jobs``."""
    server.script("m@1", text="one two three")
    reply = server.chat("auto", headers={"x-podium-task": "jobs"})
    assert reply.status == 200
    return server, reply.headers["x-request-id"]


@pytest.mark.requirement("LRN-2")
def test_every_form_of_feedback_joins_and_the_latest_word_of_a_source_counts(asked: tuple[Server, str]):
    server, request_id = asked
    assert give(server, request_id, score=0.75).json["score"] == 0.75
    assert give(server, request_id, thumbs="down", source="check").json["score"] == 0.0
    assert give(server, request_id, label="Wrong  language").json["label"] == "wrong language"
    corrected = give(server, request_id, correction="uno dos tres", source="agent").json
    assert (corrected["score"], corrected["correction_chars"]) == (0.0, 12)
    assert "correction" not in corrected
    assert quality(server, "jobs") == (3, 0.25)
    again = give(server, request_id, thumbs="up")
    assert (again.status, again.json["score"], again.json["label"]) == (201, 1.0, "wrong language")
    assert quality(server, "jobs") == (3, pytest.approx(1 / 3))
    assert {one["source"]: one["score"] for one in shown(server, request_id)} == {"user": 1.0, "check": 0, "agent": 0}
    counted = server.ok("GET", "/api/v1/stats")["feedback"]
    assert (counted["joined"], counted["replaced"], counted["unjoined"]) == (5, 2, 0)


def test_late_feedback_after_kill_9_joins_and_revises_what_was_said_before(asked: tuple[Server, str]):
    server, request_id = asked
    give(server, request_id, score=1.0)
    assert quality(server, "jobs") == (1, 1.0)
    server.kill()
    server.start()
    assert give(server, request_id, score=0.5).status == 201
    assert quality(server, "jobs") == (1, 0.5)
    server.ok("POST", "/api/v1/models", {
        "name": "m", "version": "2", "activate": True,
        "source": {"provider": "scripted", "location": str(server.home.parent / "m-1.json"), "settings": {}},
    })  # fmt: skip
    for order in ("deprecate", "retire"):
        server.ok("POST", f"/api/v1/models/m@1/{order}", {"reason": "old"})
    assert give(server, request_id, score=0.25).json["ref"] == "m@1"
    assert quality(server, "jobs") == (1, 0.25)


def test_feedback_while_the_answer_streams_is_held_and_joins_when_it_ends(server: Server):
    server.script("m@1", text="a b c d e f g h i j", chunk_gap_ms=60)
    lines = server.stream("task:general")
    request_id = json.loads(next(lines))["x-request-id"]
    held = give(server, request_id, thumbs="up")
    assert (held.status, held.json["joined"]) == (202, False)
    assert server.ok("GET", "/api/v1/stats")["feedback"]["held"] == 1
    assert any(b"[DONE]" in line for line in lines)
    deadline = time.monotonic() + 10
    while server.ok("GET", "/api/v1/stats")["feedback"]["held"]:
        assert time.monotonic() < deadline, "it was not joined in time"
    assert [one["score"] for one in shown(server, request_id)] == [1.0]
    assert quality(server, "general") == (1, 1.0)


@pytest.mark.requirement("LRN-5")
def test_feedback_that_joins_nothing_is_an_error_and_is_seen(asked: tuple[Server, str]):
    server, request_id = asked
    for name in ("never-seen", f"{request_id[:-8]}ffffffff"):
        reply = give(server, name, score=1.0)
        assert (reply.status, reply.error["code"], reply.error["param"]) == (404, "not_found", "request_id")
    assert "later than any" in reply.error["message"]
    counted = server.ok("GET", "/api/v1/stats")["feedback"]
    assert counted["unjoined"] == 2
    assert [one["request_id"] for one in counted["last_unjoined"]] == [name, "never-seen"]


WRONG = {
    "not a number": ({"score": float("nan")}, "score"),
    "infinite": ({"score": float("-inf")}, "score"),
    "above one": ({"score": 1.5}, "score"),
    "a text for a score": ({"score": "0.5"}, "score"),
    "a truth value for a score": ({"score": True}, "score"),
    "a list for a score": ({"score": [1]}, "score"),
    "score and thumbs": ({"score": 1, "thumbs": "up"}, "thumbs"),
    "another thumb": ({"thumbs": "left"}, "thumbs"),
    "nothing at all": ({}, "score"),
    "an unknown field": ({"stars": 5}, "stars"),
    "an endless label": ({"label": "x" * 500}, "label"),
    "an unknown source": ({"score": 1, "source": "mallory"}, "source"),
}


def test_wrong_feedback_is_refused_by_field_and_teaches_nothing(asked: tuple[Server, str]):
    server, request_id = asked
    for name, (said, field) in WRONG.items():
        reply = give(server, request_id, **said)
        assert (reply.status, reply.error["param"]) == (400, field), (name, reply.body)
    for bad_id in ("", "a b", "x" * 129, 7, None):
        reply = give(server, bad_id, score=1)  # type: ignore[arg-type] # wrong on purpose
        assert (reply.status, reply.error["param"]) == (400, "request_id"), bad_id
    assert quality(server, "jobs") == (0, None)
