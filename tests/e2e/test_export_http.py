"""The training export of a running server: over HTTP and by the command line at the same time, the same rows."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import forking
from podium.datasets.export_file import verify
from server import Server

pytestmark = pytest.mark.requirement("TRK-3")


def test_a_running_server_exports_what_it_decided_and_was_told(server: Server, tmp_path: Path):
    empty = server.call("GET", "/api/v1/export")
    assert (empty.status, "nothing to export" in empty.error["message"]) == (404, True)
    server.script("m@1", text="one two three")
    secret = "the launch code is 0000"
    for number in range(5):
        reply = server.chat("auto", text=secret, headers={"x-podium-task": ("jobs", "other")[number % 2]})
        assert reply.status == 200
        given = {"request_id": reply.headers["x-request-id"], "score": 0.5, "comment": secret}
        assert server.call("POST", "/api/v1/feedback", given).status == 201

    streamed = server.call("GET", "/api/v1/export")
    assert (streamed.status, streamed.headers["content-type"]) == (200, "application/x-ndjson")
    rows = [json.loads(line) for line in streamed.body.splitlines()]
    assert [(row["task"], row["chosen"], row["reward"]) for row in rows] == [
        (("jobs", "other")[number % 2], "m@1", 0.5) for number in range(5)
    ]
    assert all(row["success"] and row["output_tokens"] == 3 and row["wall_ms"] > 0 for row in rows)
    for word in (secret, "one two three", reply.headers["x-request-id"]):
        assert word.encode() not in streamed.body
    file = tmp_path / "streamed.jsonl"
    file.write_bytes(streamed.body)
    assert verify(file)[1].intact

    out = tmp_path / "written.jsonl"
    done = forking.podium("export", "--out", str(out), env={**os.environ, "PODIUM_HOME": str(server.home)}, timeout=100)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == streamed.body

    only = server.call("GET", f"/api/v1/export?task=jobs&since={rows[1]['at']}")
    assert [json.loads(line)["at"] for line in only.body.splitlines()] == [rows[2]["at"], rows[4]["at"]]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("prompts=true", "prompts and answers are not stored"),
        ("since=5&until=4", "since 5 is not before until 4"),
        ("since=yesterday", "since must be a number"),
        ("until=-1", "until must be at least 0"),
    ],
)
def test_wrong_parameters_are_refused_by_name(server: Server, query: str, says: str):
    reply = server.call("GET", f"/api/v1/export?{query}")
    assert (reply.status, says in reply.error["message"]) == (400, True), reply.body
