"""What ``podium serve`` writes to standard error: one line an entry, JSON or text, with ids and without content.

Owns the formatting of every log entry of the process, structlog's and the standard library's. Secrets are masked.
Exceptions are told by type and place alone: their messages and variables quote what was being worked on.
"""

from __future__ import annotations

import contextlib
import json
import logging
import traceback
from collections.abc import MutableMapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

import structlog

from podium.errors import PodiumError
from podium.services.redaction import MASKER

FRAMES = 30
CHARS = 2_000
"""Of one value; what is longer is cut."""
FIELDS = "podium"
"""The attribute of a standard library record that holds the fields of an entry."""
_ORDER = ("at", "level", "logger", "event")
Entry = MutableMapping[str, Any]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class Log:
    """Where entries go, as ``as_json`` says how."""

    def __init__(self, stream: TextIO, *, as_json: bool) -> None:
        self._stream = stream
        self._as_json = as_json

    def write(self, entry: Entry) -> None:
        """One entry: ``level``, ``logger``, ``event`` and fields; ``exc_info`` is read and removed."""
        failed = entry.pop("exc_info", None)
        entry.pop("stack_info", None)
        shown = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), **entry}
        if isinstance(failed, BaseException):
            shown["exception"] = told(failed)
        masked = MASKER.value({name: _plain(value) for name, value in shown.items()})
        assert isinstance(masked, dict)
        line = json.dumps(masked, ensure_ascii=False) if self._as_json else _text(masked)
        with contextlib.suppress(OSError, ValueError):  # nobody reads it: that must not end a request
            self._stream.write(line + "\n")
            self._stream.flush()


class Handler(logging.Handler):
    """Takes the entries of the standard library's loggers."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """One entry; of asyncio's the first line, as the others hold objects of the program."""
        said = record.getMessage()
        event = said.partition("\n")[0] if record.name == "asyncio" else said
        entry: Entry = {"level": record.levelname.lower(), "logger": record.name, "event": event}
        entry.update(getattr(record, FIELDS, {}))
        if record.exc_info:
            entry["exc_info"] = record.exc_info[1]
        self._log.write(entry)


class Named:
    """A logger of structlog's that hands entries on."""

    def __init__(self, log: Log, name: str) -> None:
        self._log = log
        self._name = name

    def msg(self, **entry: Any) -> None:
        """One entry."""
        exc_info = entry.get("exc_info")
        if isinstance(exc_info, tuple):
            entry["exc_info"] = exc_info[1]
        self._log.write({"level": entry.pop("level", "info"), "logger": self._name, **entry})

    debug = info = warning = warn = error = critical = exception = fatal = log = msg


def configure(level: str, stream: TextIO, *, as_json: bool) -> None:
    """Send everything that is at least ``level`` to ``stream``; other programs' libraries from warnings on."""
    number = logging.getLevelNamesMapping()[level.upper()]
    log = Log(stream, as_json=as_json)
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, Handler):
            root.removeHandler(handler)
    root.addHandler(Handler(log))
    root.setLevel(max(number, logging.WARNING))
    logging.getLogger("podium").setLevel(number)

    def named(name: str = "podium", *more: object) -> Named:
        return Named(log, name)

    structlog.configure(
        processors=[structlog.stdlib.add_log_level, _exception, _handed_on],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=named,
        cache_logger_on_first_use=False,
    )


class Library:
    """A logger of structlog's whose entries become the standard library's."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def msg(self, **entry: Any) -> None:
        """One entry; its fields are in the record's attribute ``podium``."""
        number = logging.getLevelNamesMapping().get(str(entry.pop("level", "info")).upper(), logging.INFO)
        if not self._logger.isEnabledFor(number):
            return
        event, failed = entry.pop("event", ""), entry.pop("exc_info", None)
        failed = failed[1] if isinstance(failed, tuple) else failed
        if isinstance(failed, BaseException):
            entry["exception"] = told(failed)
        said = MASKER.value({name: _plain(value) for name, value in entry.items()})
        self._logger.log(number, "%s", event, extra={FIELDS: said})

    debug = info = warning = warn = error = critical = exception = fatal = log = msg


def embedded() -> None:
    """Inside a program that set up nothing for structlog: entries go where the program's own go. structlog's own way, to
    standard output with the variables of every frame, would show what was asked.
    """
    if structlog.is_configured():
        return

    def named(name: str = "podium", *more: object) -> Library:
        return Library(name)

    structlog.configure(
        processors=[structlog.stdlib.add_log_level, _exception, _handed_on],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=named,
        cache_logger_on_first_use=False,
    )


def told(error: BaseException) -> dict[str, object]:
    """Type and place of an exception, and of what caused it."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    found: dict[str, object] = {
        "type": type(error).__qualname__,
        "frames": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
    if isinstance(error, PodiumError):
        found["code"] = error.code
    elif isinstance(error, OSError) and error.strerror:
        found["reason"] = error.strerror
    if error.__cause__ is not None:
        found["cause"] = type(error.__cause__).__qualname__
    return found


def _exception(logger: object, method: str, entry: Entry) -> Entry:
    """Find the exception where only its being there is said."""
    if entry.get("exc_info") is True:
        import sys  # noqa: PLC0415 - used here only

        entry["exc_info"] = sys.exc_info()[1]
    return entry


def _handed_on(logger: object, method: str, entry: Entry) -> tuple[tuple[()], Entry]:
    return (), entry


def _plain(value: object) -> object:
    """What JSON can hold; of other objects the name of their type, as their text may quote anything."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value if len(value) <= CHARS else f"{value[:CHARS]}…"
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return f"<{type(value).__name__}>"


def _text(entry: dict[str, Any]) -> str:
    failed = entry.pop("exception", None)
    at, level, logger, event = (entry.pop(name, "") for name in _ORDER)
    fields = "".join(f" {name}={_word(value)}" for name, value in entry.items())
    line = f"{at} {level:<7} {logger}: {_one_line(str(event))}{fields}"
    if isinstance(failed, dict):
        line += "".join(f"\n    {frame}" for frame in failed["frames"])
        line += "\n    " + " ".join(f"{name}={_word(value)}" for name, value in failed.items() if name != "frames")
    return line


def _word(value: object) -> str:
    text = value if isinstance(value, str) and value and " " not in value else json.dumps(value, ensure_ascii=False)
    return _one_line(text)


def _one_line(text: str) -> str:
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)
