"""What hides secrets in text and data, and the value that does not print itself."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle

import pytest

from podium.core.redaction import MOST_VALUES, Masker, secretive
from podium.core.secret_reference import parse_reference, refers
from podium.domain.secret import Secret

CANARY = "canary-secret-0123456789"


@dataclasses.dataclass(frozen=True)
class Holder:
    key: Secret


@pytest.mark.requirement("OPS-1")
@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        "{}".format,
        "{!r}".format,
        lambda secret: f"{secret:>40}",
        lambda secret: f"{Holder(secret)}",
        lambda secret: json.dumps(dataclasses.asdict(Holder(secret)), default=str),
        lambda secret: str([secret, {secret: secret}]),
        lambda secret: logging.makeLogRecord({"msg": "%s %r", "args": (secret, secret)}).getMessage(),
    ],
)
def test_a_secret_does_not_print_itself(show):
    shown = show(Secret(CANARY))
    assert CANARY not in shown
    assert "***" in shown


def test_a_secret_is_revealed_on_purpose_compared_and_not_pickled():
    secret = Secret(CANARY)
    assert secret.reveal() == CANARY
    assert secret == Secret(CANARY)
    assert len({secret, Secret(CANARY), Secret("other")}) == 2
    assert secret != CANARY
    assert copy.deepcopy(secret) is secret
    assert copy.copy(secret) is secret
    with pytest.raises(TypeError, match="not written"):
        pickle.dumps(secret)
    assert not hasattr(secret, "__dict__")


@pytest.mark.requirement("OPS-1")
@pytest.mark.parametrize(
    "text",
    [
        "authorization: Bearer aZ0-9._~canary-xyz",
        "Basic dXNlcjpjYW5hcnktcGFzcw==",
        "postgresql+psycopg://podium:canary-xyz@db:5432/podium",
        "redis://:canary-xyz@cache",
        "key pod_abcd2345_canary-xyz_0123456789-abc is bad",
        "Incorrect API key provided: sk-proj-canary-xyz-0123456789",
        "hf_canaryxyzcanaryxyzcanaryxyz",
        "whsec_canaryxyz0123456789==",
        "AKIACANARYXYZ0123456",
    ],
)
def test_what_has_the_form_of_a_key_is_hidden(text):
    hidden = Masker().text(text).lower()
    assert "canary" not in hidden
    assert "***" in hidden


@pytest.mark.parametrize(
    "text",
    ["https://example.org:8080/v1", "pod_count of 3", "bearer of news", "mailto:someone@example.org", "max_tokens=5"],
)
def test_ordinary_text_stays(text):
    assert Masker().text(text) == text


def test_values_that_were_learnt_are_hidden_wherever_they_stand_the_longest_first():
    masker = Masker()
    masker.learn("canary-1")
    masker.learn("canary-1-longer")
    masker.learn("short")
    assert masker.known("x canary-1-longer y canary-1 short") == "x ******** y ******** short"
    assert masker.value({"a": ["canary-1", {"b": ("canary-1-longer", 7)}], "canary-1": None}) == {
        "a": ["********", {"b": ["********", 7]}],
        "********": None,
    }


def test_what_is_remembered_is_bounded():
    masker = Masker()
    for number in range(MOST_VALUES + 10):
        masker.learn(f"value-number-{number}")
    assert masker.known("value-number-3") == "value-number-3"
    assert masker.known(f"value-number-{MOST_VALUES + 9}") == "********"


def test_data_under_a_telling_name_is_hidden_whatever_it_is():
    data = {"password": "x", "X-Api-Key": b"y", "nested": {"OPENAI_API_KEY": "z", "api_key_env": "NAME"}, "tokens": 5}
    assert Masker().value(data) == {
        "password": "********",
        "X-Api-Key": "********",
        "nested": {"OPENAI_API_KEY": "********", "api_key_env": "NAME"},
        "tokens": 5,
    }
    assert Masker().value({"first_token_s": 1.5, "secret": Secret(CANARY), "none": None, "token": None}) == {
        "first_token_s": 1.5,
        "secret": "********",
        "none": None,
        "token": None,
    }
    deep: object = CANARY
    for _ in range(50):
        deep = [deep]
    assert CANARY not in repr(Masker().value(deep))


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "PGPASSWORD_password", "client_secret", "auth-token"])
def test_names_of_secrets_are_known(name):
    assert secretive(name)


@pytest.mark.parametrize(
    "name", ["tokens", "max_tokens", "monkey", "api_key_env", "key_id", "secretary", "secret_names"]
)
def test_names_of_other_things_are_left_alone(name):
    assert not secretive(name)


def test_a_reference_says_where_a_secret_is_and_a_secret_is_no_reference():
    assert str(parse_reference("secret:open-ai")) == "secret:open-ai"
    assert parse_reference("env:OPENAI_API_KEY").name == "OPENAI_API_KEY"
    assert parse_reference("file:/run/x", ("file",)).name == "/run/x"
    assert refers("secret:x")
    for text in ("", "secret:", "sk-123456", "env:two words", "secret:../x", "file:/run/x", "env:1X", "http://x"):
        assert parse_reference(text) is None
