"""A gateway in this process with a filled home, on its own thread, and Schemathesis' cases for each of its operations."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from podium.config import load
from podium.runtime import Gateway

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
SETTINGS = """
[server]
auth = "off"
[network]
offline = true
[judging]
enabled = true
sample = 1.0
[tasks.jobs]
keywords = ["job"]
[windows.nightly]
cron = "0 3 * * *"
duration = "1h"
"""
LONGEST_S = 20.0


class Filled:
    """``known`` holds, by path parameter, names that are there."""

    def __init__(self, folder: Path) -> None:
        home = folder / "home"
        home.mkdir()
        (home / "podium.toml").write_text(SETTINGS)
        self._script = folder / "script.json"
        self._script.write_text(json.dumps({"text": "one two three"}))
        self._config = load(home=home, environ={})
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.session = requests.Session()
        self.session.trust_env = False
        self.known: dict[str, list[str]] = {}
        self.url = ""

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with Gateway.open(self._config) as gateway:
            self.url = await gateway.serve(port=0)
            self._ready.set()
            await self._stop.wait()

    def open(self) -> None:
        self._thread.start()
        assert self._ready.wait(60)
        self._fill()

    def close(self) -> None:
        self.session.close()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)
        assert not self._thread.is_alive(), "the gateway did not end"

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        raw = None if body is None else json.dumps(body).encode()
        reply = self.session.request(method, self.url + path, data=raw, headers=headers, timeout=LONGEST_S)
        assert reply.status_code < 400, (path, reply.text)
        return reply.json()

    def _fill(self) -> None:
        source = {"provider": "scripted", "location": str(self._script)}
        for ref in ("m@1", "m@2", "other@1"):
            name, _, version = ref.partition("@")
            self.ask("POST", "/api/v1/models", {"name": name, "version": version, "source": source, "activate": True})
        self.ask("PUT", "/api/v1/aliases/short", {"target": "m@1"})
        for number in range(4):
            said = {"model": "task:jobs", "messages": [{"role": "user", "content": "hello"}], "stream": number == 3}
            reply = self.session.post(
                f"{self.url}/v1/chat/completions", json=said, headers={"x-request-id": f"known-{number}"}, timeout=30
            )
            assert reply.status_code == 200, reply.text
        self.ask("POST", "/api/v1/feedback", {"request_id": "known-0", "score": 0.5})
        self.ask("POST", "/api/v1/tasks/jobs/swap", {"to": "m@2"})
        began = self.ask("POST", "/api/v1/tasks/jobs/swap", {"to": "m@1", "mode": "gradual"})
        rollout = self.ask("POST", f"/api/v1/rollouts/{began['id']}/abort")["id"]
        run = self.ask("POST", "/api/v1/benchmarks/runs", {"suite": "classification", "models": ["m@1"]})["id"]
        planned = {"swaps": [{"task": "jobs", "to": "m@1"}], "at": time.time() + 86_400}
        schedule = self.ask("POST", "/api/v1/schedules", planned)["id"]
        execution = self.ask("POST", "/api/v1/executions", {"type": "jobs", "agent": "a"})["id"]
        budget = {"scope": "task", "subject": "jobs", "unit": "tokens", "limit": 1e9}
        self.ask("PUT", "/api/v1/budgets/plenty", budget)
        self.known = {
            "spec": ["m@1", "m@2", "other", "short"],
            "task": ["jobs", "general"],
            "request_id": [f"known-{number}" for number in range(4)],
            "alias": ["short"],
            "run_id": [run],
            "rollout_id": [rollout],
            "schedule_id": [schedule],
            "execution_id": [execution],
            "charged_to": ["known-0"],
            "name": ["plenty"],
        }


@contextlib.contextmanager
def filled(folder: Path) -> Iterator[Filled]:
    made = Filled(folder)
    made.open()
    try:
        yield made
    finally:
        made.close()


def try_all(place: Filled, *, examples: int, start: int) -> tuple[list[str], int]:
    """Ask every operation so many things, made from ``start``; returns what went against the document, and how many
    operations there are.
    """
    schema = schemathesis.openapi.from_dict(place.ask("GET", "/openapi.json"))
    found, count = [], 0
    for result in schema.get_all_operations():
        operation = result.ok()
        count += 1
        found += _try(place, operation, examples, start)
    return found, count


def _try(place: Filled, operation: Any, examples: int, start: int) -> list[str]:
    wrong: dict[str, str] = {}

    @seed(start)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(), known=st.integers(0, 5))
    def ask(case: Any, known: int) -> None:
        for name in case.path_parameters or {}:
            names = place.known.get(name)
            if names and known < 4:
                case.path_parameters[name] = names[known % len(names)]
        try:
            reply = case.call(base_url=place.url, session=place.session, timeout=LONGEST_S)
        except requests.exceptions.InvalidHeader:
            return  # this client does not send it
        except requests.exceptions.RequestException as error:
            wrong.setdefault(type(error).__name__, f"{operation.label}: {error!r}\n{_shown(case)}")
            return
        try:
            case.validate_response(reply, checks=CHECKS)
        except schemathesis.core.failures.FailureGroup as group:
            for failure in group.exceptions:
                title = f"{type(failure).__name__} {reply.status_code}"
                wrong.setdefault(title, f"{operation.label}: {title}: {reply.text[:300]}\n{_shown(case)}")

    ask()
    return list(wrong.values())


def _shown(case: Any) -> str:
    return f"    {case.method} {case.formatted_path} query={case.query} body={str(case.body)[:300]}"
