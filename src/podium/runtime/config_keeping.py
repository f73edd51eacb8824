"""The configuration's file and its history: what was in force is kept, a kept one is restored, a changed file is noticed.

Owns writing ``podium.toml``; nothing else of Podium does. What is kept holds nothing that looks like a secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import NoReturn

import structlog

from podium.config import Config, Difference, json_schema
from podium.config.reading import FILE_NAME
from podium.config.redacting import redacted, restored
from podium.domain.audit import AppliedConfig, Author
from podium.errors import ConfigError, Conflict, PodiumError
from podium.ports import Clock, ConfigStore
from podium.services.auditing import Audit, Ending, Order
from podium.services.config_history import ConfigHistory

Reload = Callable[..., Awaitable[Mapping[str, object]]]
POLL_S = 1.0
"""How often the file is looked at with ``server.watch_config``; it must be the same twice to be read."""
START, SIGNAL, WATCH = "start", "SIGHUP", "watch"
_log = structlog.get_logger("podium.config")


class ConfigKeeper:
    """One per gateway. ``config`` tells what is in force, ``reload`` reads the file again."""

    def __init__(self, store: ConfigStore, clock: Clock, audit: Audit) -> None:
        self._audit = audit
        self.config: Callable[[], Config] = _nothing
        self.reload: Reload = _nothing
        self.history = ConfigHistory(store, clock, present=self._present, restore=self._restore, schema=json_schema)
        self._refused: str | None = None

    def problems(self) -> tuple[str, ...]:
        """What somebody should know of."""
        return tuple(one for one in (self._refused, self.history.problem) if one is not None)

    async def applied(
        self, config: Config, how: str, by: str, changes: Difference | None = None, problems: int = 0
    ) -> int | None:
        """It is in force; returns its number in the history, ``None`` when it could not be kept."""
        content, count = redacted(config.text)
        kept = AppliedConfig(
            number=0,
            at=0.0,
            by=by,
            how=how,
            file=str(config.file) if config.file is not None else None,
            digest=digest(config.text),
            content=content,
            redacted=count,
            environment=config.environment,
            changes=_named(changes),
            problems=problems,
        )
        self._refused = None
        return await self.history.applied(kept)

    async def reread(self, how: str) -> Mapping[str, object]:
        """Read the file again because of something that came by no route, on record. Raises as ``reload`` does."""
        author = Author(id="owner", name="owner", role="admin", via=how)
        begun = await self._audit.begin(Order(author=author, what=f"reload by {how}", subject="config"))
        try:
            done = await self.reload(by="owner", how=how)
        except BaseException as error:
            code = error.code if isinstance(error, PodiumError) else type(error).__name__
            says = error.message if isinstance(error, PodiumError) else str(error)
            self._audit.leave(begun, Ending(outcome=code, after={"says": says}))
            await self._audit.tick()
            raise
        after = {"number": done.get("number"), "changed": done.get("changed"), "names": list(_listed(done))}
        await self._audit.end(begun, Ending(after=after))
        return done

    async def watch(self) -> None:
        """Read the file again whenever it was changed and is whole; a bad one is reported once and changes nothing."""
        seen = settled = _signature(self._file())
        while True:
            await asyncio.sleep(POLL_S)
            now = _signature(self._file())
            if now != seen or now == settled:
                seen = now
                continue
            settled = now
            if now is None or digest(_text(self._file())) == digest(self.config().text):
                continue
            try:
                done = await self.reread(WATCH)
            except PodiumError as error:
                self._refused = f"the configuration file was changed and is not in force: {error.message}"
                _log.warning("the configuration stays as it was", error=error.message)
            else:
                _log.info("configuration read again", changed=list(_listed(done)))

    def _file(self) -> Path:
        config = self.config()
        return config.file if config.file is not None else config.home / FILE_NAME

    def _present(self) -> str:
        return redacted(_text(self._file()))[0]

    async def _restore(self, number: int, force: bool, by: str) -> Mapping[str, object]:
        kept = await self.history.find(number)
        file = self._file().resolve()
        before = _text(file)
        if not force and digest(before) != digest(self.config().text):
            raise Conflict(
                f"{file} was changed since it was put in force, and those changes would be lost: `podium config reload` "
                "puts them in force, `--force` keeps them in a copy beside the file and goes on",
                code="config_changed",
            )
        text, missing = restored(kept.content, before)
        if missing:
            raise Conflict(
                f"configuration {number} held values that look like secrets and were not kept, and the present file has "
                f"none for {', '.join(missing)}; write the file by hand: `podium config diff {number}` shows the rest",
                code="config_redacted",
            )
        copy = await asyncio.to_thread(_replace, file, text, number)
        try:
            done = await self.reload(by=by, how=f"restore of {number}")
        except BaseException:
            if copy is not None:
                copy.replace(file)
            else:
                file.unlink(missing_ok=True)
            raise
        return {"restored": number, "file": str(file), "copy": None if copy is None else str(copy), **done}


def digest(text: str) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def _replace(file: Path, text: str, number: int) -> Path | None:
    """Write ``text`` at once or not at all; what was there before is kept beside it, whose place is returned."""
    partial = file.with_name(f".{file.name}.partial")
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    copy = file.with_name(f"{file.name}.before-{number}-{stamp}-{time.time_ns() % 10**9:09d}")
    try:
        mode = file.stat().st_mode & 0o777 if file.exists() else 0o600
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        kept = file.exists()
        if kept:
            os.link(file, copy)
        partial.replace(file)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise ConfigError(
            f"{file} cannot be written: {error.strerror}; it is as it was. Make it and its folder writable for Podium"
        ) from error
    return copy if kept else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _signature(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _listed(done: Mapping[str, object]) -> list[str]:
    return [name for name, value in done.items() if isinstance(value, list) and value and name != "problems"]


def _named(changes: Difference | None) -> tuple[str, ...]:
    """``models_added big@1`` and so on, a few words for a list."""
    if changes is None:
        return ()
    return tuple(f"{name} {one}" for name in type(changes).__slots__ for one in getattr(changes, name))


def _nothing(*_: object, **__: object) -> NoReturn:
    raise AssertionError("nobody asks before it is started")
