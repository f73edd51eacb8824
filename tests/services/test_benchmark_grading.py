"""Graders that need the sandbox or a schema, and what a gateway's own instances are asked."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fakes import FakeClock, version
from podium.core.suites import read_grader
from podium.domain.model import Capability
from podium.errors import InvalidRequest, ProviderError, ProviderRejected
from podium.sandbox import Limits, Sandbox
from podium.services.benchmark_answers import PoolAnswers
from podium.services.grading import grade
from podium.suites import schema_problem

pytestmark = pytest.mark.requirement("LRN-6")


@pytest.fixture(scope="module")
def sandbox():
    return Sandbox(Limits(cpu_s=1))


def grader(**raw):
    return read_grader(raw, "here", schema_problem)


@pytest.mark.no_cover
def test_regex_is_searched_in_the_answer_and_a_catastrophic_one_ends(sandbox):
    date = grader(grader="regex", pattern=r"\b2024-0[1-9]\b")
    assert grade(date, "on 2024-05, I think", sandbox).score == 1
    assert grade(date, "in May", sandbox).why == "the pattern was not found"
    slow = grade(grader(grader="regex", pattern=r"^(\w+\s?)*$"), "word " * 40 + "!", sandbox)
    assert slow.score == 0
    assert "too long" in slow.why


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
}


@pytest.mark.parametrize(
    ("answer", "score", "why"),
    [
        ('{"name": "Nora", "age": 34}', 1.0, ""),
        ('Of course:\n```json\n{"name": "nora", "age": 34, "more": 1}\n```', 1.0, ""),
        ('{"name": "Nora", "age": 35}', 0.5, "wrong: age"),
        ('{"name": "Nora", "age": "34"}', 0.0, "$.age: '34' is not of type 'integer'"),
        ('{"name": "Nora"}', 0.0, "'age' is a required property"),
        ("Nora is 34", 0.0, "no JSON"),
        ("[" * 5000 + "]" * 5000, 0.0, "no JSON"),
    ],
)
def test_json_is_validated_then_compared_field_by_field(sandbox, answer, score, why):
    given = grade(grader(grader="json_schema", schema=SCHEMA, fields={"name": "Nora", "age": 34}), answer, sandbox)
    assert given.score == score
    assert why in given.why


@pytest.mark.no_cover
def test_schemas_with_patterns_and_references_are_bounded(sandbox):
    slow = grader(grader="json_schema", schema={"type": "string", "pattern": "^(a+)+$"})
    assert grade(slow, '"aaa"', sandbox).score == 1
    assert grade(slow, json.dumps("a" * 60 + "!"), sandbox).score == 0
    tree = {"$ref": "#/$defs/n", "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}}}
    assert grade(grader(grader="json_schema", schema=tree), "[[], [[]]]", sandbox).score == 1
    for schema in ({"$ref": "#"}, {"$ref": "#/$defs/nowhere"}):
        broken = grade(grader(grader="json_schema", schema=schema), "1", sandbox)
        assert broken.score == 0
        assert "schema" in broken.why


def test_code_in_a_fence_is_tested(sandbox):
    python = grader(grader="python", tests="assert f(2) == 4")
    assert grade(python, "Sure:\n```python\ndef f(x):\n    return x * x\n```", sandbox).score == 1
    assert grade(python, "def f(x):\n    return x", sandbox).score == 0
    assert grade(python, "I cannot.", sandbox).why == "no Python code that compiles"
    assert grade(grader(grader="judge", rubric="short"), "x", sandbox).score is None


class FakeReply:
    def __init__(self, status, body):
        self.status, self.body, self.closed = status, body, False

    async def read(self):
        return self.body

    def close(self):
        self.closed = True


class FakeLease:
    def __init__(self, reply):
        self.instance, self.model, self.concurrency = self, "served", 3
        self.reply, self.released, self.calls = reply, 0, []

    async def send(self, call):
        self.calls.append(call)
        return self.reply

    def release(self):
        self.released += 1


def asking(status, body):
    lease = FakeLease(FakeReply(status, json.dumps(body).encode() if not isinstance(body, bytes) else body))

    async def take(version):
        return lease

    return lease, PoolAnswers(take, FakeClock())


MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}]
DONE = {"choices": [{"message": {"content": "4"}, "finish_reason": "length"}], "usage": {"completion_tokens": 1}}


async def test_answers_are_asked_greedily_with_a_fixed_seed_and_the_lease_comes_back():
    lease, answers = asking(200, DONE)
    assert await answers.prepare(version("m@1")) == 3
    got = await answers.generate(version("m@1"), MESSAGES, max_tokens=5, request_id="r")
    assert (got.text, got.truncated, got.output_tokens, got.input_tokens) == ("4", True, 1, None)
    body = json.loads(lease.calls[0].body)
    assert body == {
        "model": "served",
        "max_tokens": 5,
        "temperature": 0,
        "seed": 0,
        "stream": False,
        "messages": MESSAGES,
    }
    assert (lease.released, lease.reply.closed) == (2, True)


async def test_a_base_model_gets_a_plain_prompt_and_an_embedding_model_is_refused():
    plain = version("m@1")
    lease, answers = asking(200, {"choices": [{"text": "four", "finish_reason": "stop"}]})
    base = replace(plain, facts=replace(plain.facts, capabilities=frozenset({Capability.COMPLETION})))
    assert (await answers.generate(base, MESSAGES, max_tokens=5, request_id="r")).text == "four"
    assert json.loads(lease.calls[0].body)["prompt"] == "Be brief.\n\n2+2?\n"
    embedder = replace(plain, facts=replace(plain.facts, capabilities=frozenset({Capability.EMBEDDING})))
    with pytest.raises(InvalidRequest, match="generates no text"):
        await answers.generate(embedder, MESSAGES, max_tokens=5, request_id="r")
    assert lease.released == 2


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, {"error": {"message": "bad"}}, ProviderRejected),
        (500, b"oops", ProviderError),
        (200, b"not json", ProviderError),
        (200, {"choices": []}, ProviderError),
    ],
)
async def test_errors_of_the_server_are_ours_and_release_the_lease(status, body, error):
    lease, answers = asking(status, body)
    with pytest.raises(error):
        await answers.generate(version("m@1"), MESSAGES, max_tokens=5, request_id="r")
    assert (lease.released, lease.reply.closed) == (1, True)
