"""One running Podium: it owns the home directory (one process at a time), the listeners, and the configuration in force."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

from podium._version import __version__
from podium.config import Config, Difference, declared_budgets, difference, prepare_home, reread, role_limits
from podium.config.automation import standing_orders
from podium.domain.swap import Event
from podium.errors import ConfigError
from podium.host import Host
from podium.providers.leftovers import reap_stale
from podium.runtime.alerting import objectives
from podium.runtime.assembly import Parts, assemble
from podium.runtime.config_keeping import START
from podium.runtime.declaring import apply_models, check_strategies, declared_names
from podium.runtime.judging import judge_orders
from podium.server.doorman import Doorman
from podium.server.http import HttpServer
from podium.server.late import LateApp
from podium.server.limits import Limits
from podium.server.openai import DataPlane
from podium.services.plane import Services
from podium.services.pool import MB
from podium.store import open_store
from podium.telemetry.logs import embedded
from podium.tuning import gateway_limits, hooks, pool_limits

LAST_WORDS_S = 2.0
"""Time to send errors to requests that had to be ended at shutdown."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Gateway:
    """One running Podium. Use ``async with Gateway.open(config) as gateway``."""

    def __init__(self, config: Config, parts: Parts) -> None:
        self.config = config
        self._host: Host = parts.host
        self.services: Services = parts.services
        self._data_plane: DataPlane = parts.data_plane
        self._doorman: Doorman = parts.doorman
        self._exposure = parts.exposure
        self._control = LateApp(self._build_control)
        self._servers: list[HttpServer] = []
        self._published: Path | None = None
        self._reloading = asyncio.Lock()
        self.keeper = parts.keeper
        parts.keeper.config, parts.keeper.reload = (lambda: self.config), self.reload
        self.failed: set[str] = set()
        """Declared models that could not be made ready; the next reload tries them again."""
        self.url: str | None = None
        self.when_built: Callable[[], None] = lambda: None
        """Called, in a thread, when the control API has been built."""

    @classmethod
    @asynccontextmanager
    async def open(cls, config: Config) -> AsyncIterator[Gateway]:
        """Start everything but the listener. Raises ``ConfigError`` when the home is in use, ``StoreError``."""
        embedded()
        prepare_home(config.home)
        with _sole_owner(config.home):
            reap_stale(config.home)
            store = open_store(config.database)
            async with contextlib.AsyncExitStack() as stack:
                stack.push_async_callback(store.close)
                parts = await assemble(config, store, stack)
                stack.callback(parts.exposure.close)
                gateway = cls(config, parts)
                await parts.start(gateway.declare, gateway.reload, stack)
                if config.text or config.file is None:
                    await gateway.keeper.applied(config, START, "owner")
                stack.push_async_callback(gateway.stop_serving)
                yield gateway

    async def serve(self, host: str | None = None, port: int | None = None) -> str:
        """Listen on a loopback address; returns the URL. Raises ``ConfigError`` (address refused or taken)."""
        host = host or self.config.server.host
        port = self.config.server.port if port is None else port
        if host not in LOOPBACK and not host.startswith("127.") and not self._doorman.required:
            raise ConfigError(
                f"refusing to listen on {host}: without keys Podium serves loopback only (127.0.0.1); "
                "make one first: podium keys create --role admin"
            )
        hosts = frozenset({host, *LOOPBACK, *self.config.server.allowed_hosts})
        server = HttpServer(limits=self._limits(), allowed_hosts=hosts, allowed_origins=hosts)
        tls = self._exposure.open()
        await server.start(
            host,
            port,
            data_handler=self._data_plane.handle,
            gate=self._data_plane.gate,
            asgi_app=self._control,
            tls=None if tls is None else tls.context,
        )
        self._servers.append(server)
        self.url = server.address
        if tls is not None:  # a certificate is for other names than this machine's own commands use
            await self.serve_unix(self._exposure.own_socket())
        self._publish()
        return self.url

    async def serve_unix(self, path: Path) -> None:
        """Listen on a unix socket in a directory only this user can enter."""
        server = HttpServer(limits=self._limits())
        await server.start(
            data_handler=self._data_plane.handle, gate=self._data_plane.gate, asgi_app=self._control, unix_path=path
        )
        self._servers.append(server)

    def _build_control(self) -> Any:
        """The control API and the pages: a second of work and a quarter of the memory, so not before somebody asks."""
        from podium.server.control.app import create_app  # noqa: PLC0415 - FastAPI is a third of the start-up time
        from podium.web.app import Front  # noqa: PLC0415 - as above

        front = Front(create_app(self.services, self._doorman), self.services, self._doorman)
        self.when_built()
        return front

    def _limits(self) -> Limits:
        settings = self.config.server
        return Limits(
            head_bytes=settings.header_limit_kb * 1024,
            body_bytes=int(settings.body_limit_mb * MB),
            body_s=settings.request_timeout_s,
            keep_alive_s=settings.idle_timeout_s,
            unread_s=settings.unread_timeout_s,
        )

    def _publish(self) -> None:
        """Let the command line find this server."""
        path = self.config.run_dir / "server.json"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        own = next((each.address for each in self._servers if each.address.startswith("unix:")), self.url)
        record = {"pid": os.getpid(), "url": own, "version": __version__, "started_at": self.services.started_at}
        record["public_url"] = self.url
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(record))
        _write_secret(self.config.run_dir / "local.key", self._doorman.local_key)
        partial.replace(path)
        self._published = path

    async def stop_serving(self) -> None:
        """Stop accepting, let requests in flight end within the configured time."""
        self.services.events.close()
        servers, self._servers = self._servers, []
        drain_s = self.config.server.drain_s
        stopping = [asyncio.ensure_future(server.stop(drain_s + LAST_WORDS_S)) for server in servers]
        if stopping:
            _, late = await asyncio.wait(stopping, timeout=drain_s)
            if late:
                await self.services.pool.close()  # ends what still waits or runs, with an error that says why
            await asyncio.gather(*stopping)
        if self._published is not None:
            self._published.unlink(missing_ok=True)
            self._published.with_name("local.key").unlink(missing_ok=True)

    async def declare(self) -> list[str]:
        """Register what the configuration declares; returns what is wrong with it."""
        made = await apply_models(self.services, self.config, tuple(self.config.models))
        self.failed |= {name for name in self.config.models if f"model {name}" in made}
        return [f"{what}: {why}" for what, why in made.items()]

    async def reload(self, new: Config | None = None, *, by: str = "owner", how: str = "api") -> dict[str, object]:
        """Apply the difference between the configuration in force and ``new`` (default: the file, read again).

        Unchanged models keep their process. ``by`` and ``how`` are for its history. Raises ``ConfigError`` for a bad
        file; the old one stays in force.
        """
        async with self._reloading:
            new = new or reread(self.config)
            check_strategies(self.services.selector, new)
            self.services.automation.check(standing_orders(new), declared_names(new))
            changes = difference(self.config, new)
            old, self.config = self.config, new
            try:
                done = await self._apply(old, new, changes)
            except BaseException:
                self.config = old  # the next reload applies what is missing
                raise
            problems = done["problems"]
            count = len(problems) if isinstance(problems, list) else 0
            return {**done, "number": await self.keeper.applied(new, how, by, changes, count)}

    async def _apply(self, old: Config, new: Config, changes: Difference) -> dict[str, object]:
        self._exposure.reload()
        self.services.pool.limits = pool_limits(new, self._host)
        self.services.gateway.limits = gateway_limits(new)
        self.services.selector.weigh(new.selection.weights)
        self.services.tasks.inherit(new.selection.strategy)
        for name in changes.models_removed:
            self.services.directives.withdraw(name)
        fresh = dict.fromkeys((*changes.models_added, *changes.models_changed, *sorted(self.failed & set(new.models))))
        made = await apply_models(self.services, new, tuple(fresh), changed=True)
        self.failed = {name for name in fresh if f"model {name}" in made}
        problems = [f"{what}: {why}" for what, why in made.items()]
        for name in (*changes.tasks_added, *changes.tasks_changed):
            await self.services.tasks.put(new.tasks[name].spec(name, new.selection.strategy))
        for name in changes.tasks_removed:
            await self.services.tasks.put(type(old.tasks[name])().spec(name, new.selection.strategy))
        self.services.classifier.learn = new.selection.learn_tasks
        self.services.recorder.knowledge.enhance = new.selection.enhance
        self.services.selector.refresh()
        self.services.schedules.windows = {name: entry.window(name) for name, entry in new.windows.items()}
        self.services.automation.configure(standing_orders(new))
        self.services.judging.configure(judge_orders(new))
        await self.services.budgeting.declare(declared_budgets(new.budgets))
        self.services.limiter.configure(role_limits(new.limits))
        await self.services.alerts.configure(objectives(new))
        await self.services.webhooks.configure(hooks(new, os.environ, self.services.vault))
        problems += self.services.webhooks.problems()
        summary = {name: list(getattr(changes, name)) for name in type(changes).__slots__}
        if changes.models_removed:
            problems.append(f"still registered: {', '.join(changes.models_removed)}; `podium models retire` ends them")
        self.services.events.emit(Event(kind="config.reloaded", at=time.time(), subject="config"))
        return {"changed": bool(changes), **summary, "problems": problems}


def _write_secret(path: Path, secret: str) -> None:
    """A file that nobody else could read at any moment."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret)


@contextlib.contextmanager
def _sole_owner(home: Path) -> Any:
    """One process per home: state has one owner."""
    handle: IO[str] = (home / "podium.lock").open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise ConfigError(
            f"another Podium is using {home}; a program talks to it with Podium.connect(), a command finds it by itself or "
            "by PODIUM_URL. If it is just starting, try again in a moment; another PODIUM_HOME is another Podium",
            code="home_in_use",
            status=409,
        ) from None
    try:
        yield
    finally:
        handle.close()
