"""An error answer of a model's server becomes our own error: whose fault, which code, what to do."""

from __future__ import annotations

import json

import pytest

from podium.errors import ContextExceeded, Overloaded, ProviderError, ProviderRejected
from podium.services.rejection import rejection


def body(**error: object) -> bytes:
    return json.dumps({"error": error}).encode()


@pytest.mark.requirement("SEL-5")
@pytest.mark.parametrize(
    ("status", "kind", "ours", "retryable"),
    [
        (400, ProviderRejected, 400, False),
        (401, ProviderError, 502, True),
        (403, ProviderError, 502, True),
        (404, ProviderError, 502, True),
        (408, Overloaded, 503, True),
        (413, ProviderRejected, 413, False),
        (422, ProviderRejected, 422, False),
        (429, Overloaded, 503, True),
        (500, ProviderError, 502, True),
        (501, ProviderRejected, 400, False),
        (503, Overloaded, 503, True),
        (599, ProviderError, 502, True),
    ],
)
def test_a_status_becomes_an_error_with_the_right_owner(status: int, kind: type, ours: int, retryable: bool) -> None:
    found = rejection(status, body(message="because"), "m@1")
    assert type(found) is kind
    assert found.status == ours
    assert found.retryable is retryable
    assert "m@1" in found.message
    assert "because" in found.message


def test_the_parameter_and_the_code_of_a_refusal_are_passed_on() -> None:
    found = rejection(400, body(message="no such thing", code="bad_tool", param="tools[0]"), "m@1")
    assert (found.code, found.param) == ("bad_tool", "tools[0]")
    assert rejection(400, body(message="no", code=400, param=3), "m@1").code == "provider_rejected"


@pytest.mark.parametrize(
    "raw",
    [
        body(message="too long", type="exceed_context_size_error"),
        body(message="too long", code="context_length_exceeded"),
        body(message="This model's maximum context length is 4096 tokens"),
    ],
)
def test_a_prompt_that_is_too_long_is_named_as_such_in_every_dialect(raw: bytes) -> None:
    found = rejection(400, raw, "m@1")
    assert isinstance(found, ContextExceeded)
    assert found.code == "context_length_exceeded"
    assert "shorten the prompt" in found.message


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"", "HTTP 500 without a message"),
        (b"<html>oh no</html>", "<html>oh no</html>"),
        (b"\xff\xfe", "\ufffd"),
        (b'"plain words"', "plain words"),
        (b"[1, 2]", "[1, 2]"),
        (b'{"detail": "from another framework"}', "from another framework"),
        (b'{"error": "a word"}', "a word"),
        (b'{"error": {}}', "HTTP 500 without a message"),
    ],
)
def test_whatever_a_server_says_is_read_without_failing(raw: bytes, word: str) -> None:
    assert word in rejection(500, raw, "m@1").message
