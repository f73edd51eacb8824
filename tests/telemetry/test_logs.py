"""Log entries: one line each, ids and fields, secrets masked, and of exceptions no more than type and place."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from podium.errors import StoreError
from podium.services.redaction import MASKER
from podium.telemetry import logs

pytestmark = pytest.mark.requirement("OPS-7")
PROMPT = "canary-what-was-asked"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("podium")
    level, mine, handlers = root.level, own.level, list(root.handlers)
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
    root.setLevel(level)
    own.setLevel(mine)
    root.handlers[:] = handlers


def failing(prompt: str) -> None:
    raise KeyError(prompt)


def full() -> None:
    raise StoreError("the disk is full")


def written(level: str, *, as_json: bool = True) -> str:
    stream = io.StringIO()
    logs.configure(level, stream, as_json=as_json)
    log = structlog.get_logger("podium.test")
    log.debug("small")
    log.info("said", request_id="r-1", task="code", odd=object(), many=[1, {"deep": object()}])
    try:
        failing(PROMPT)
    except KeyError:
        log.exception("went wrong", decision="dec-1")
        logging.getLogger("podium.other").exception("too %s", "bad")
    logging.getLogger("asyncio").error("a task was lost\nfuture: <Task exception=ValueError('%s')>", PROMPT)
    logging.getLogger("library").info("chatter")
    return stream.getvalue()


def test_every_line_is_an_object_with_level_logger_and_fields() -> None:
    entries = [json.loads(line) for line in written("info").splitlines()]
    assert [one["event"] for one in entries] == ["said", "went wrong", "too bad", "a task was lost"]
    said, wrong, other, _ = entries
    assert (said["level"], said["logger"], said["request_id"]) == ("info", "podium.test", "r-1")
    assert (said["odd"], said["many"]) == ("<object>", [1, {"deep": "<object>"}])
    assert wrong["exception"]["type"] == other["exception"]["type"] == "KeyError"
    assert wrong["exception"]["frames"][-1].endswith(" failing")


@pytest.mark.parametrize("as_json", [True, False])
def test_neither_messages_nor_variables_of_exceptions_are_written(as_json: bool) -> None:
    text = written("debug", as_json=as_json)
    assert "small" in text
    assert PROMPT not in text


def test_text_is_one_line_an_entry_and_a_line_break_cannot_make_another() -> None:
    stream = io.StringIO()
    logs.configure("info", stream, as_json=False)
    structlog.get_logger("podium.test").warning("one\ntwo", field="a\nb \x1b[31m")
    (line,) = stream.getvalue().splitlines()
    assert "podium.test: one\\ntwo" in line
    assert "\x1b" not in line


def test_secrets_are_masked_and_codes_of_our_own_errors_are_kept() -> None:
    stream = io.StringIO()
    logs.configure("info", stream, as_json=True)
    MASKER.learn("the-very-secret-value")
    try:
        full()
    except StoreError:
        structlog.get_logger("podium.test").exception("no", note="it is the-very-secret-value", api_key="anything")
    (entry,) = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert "the-very-secret-value" not in stream.getvalue()
    assert "anything" not in stream.getvalue()
    assert entry["exception"]["code"] == StoreError("x").code


def test_a_reader_that_went_away_ends_nothing() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    logs.configure("info", Broken(), as_json=True)
    structlog.get_logger("podium.test").error("nobody reads this")


def test_inside_another_program_entries_are_the_standard_librarys_without_content(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logs.embedded()
    log = structlog.get_logger("podium.test")
    with caplog.at_level(logging.INFO, "podium"):
        try:
            failing(PROMPT)
        except KeyError:
            log.exception("went wrong", decision="dec-1")
        log.debug("small")
    (record,) = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == ("podium.test", "ERROR", "went wrong")
    assert record.podium["decision"] == "dec-1"  # type: ignore[attr-defined]  # an extra of ours
    assert PROMPT not in str(vars(record))


def test_a_program_that_set_up_structlog_keeps_its_own_way() -> None:
    kept = [structlog.processors.KeyValueRenderer()]
    structlog.configure(processors=kept)
    logs.embedded()
    assert structlog.get_config()["processors"] == kept
