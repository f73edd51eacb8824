"""llama-swap's configuration as proposals: each model's command with its macros filled in, aliases, time to live, peers.

Follows the documented format (docs/config.example.yaml of mostlygeek/llama-swap). Runs none of the commands.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from podium.importing.report import SECRET_NAME, Proposal, Report, usable_name
from podium.importing.taking import Taking
from podium.importing.yaml_file import Value, read_yaml

_MACRO = re.compile(r"\$\{([A-Za-z0-9_.-]+)\}")
_KEPT = {"PORT", "PID"}
_SAFE = re.compile(r"[A-Za-z0-9@%+=:,./${}_-]+")
_DEEPEST = 20
_LONGEST = 32_768
_KEY_OPTION = re.compile(
    r"--?(api[-_]?keys?|api[-_]?key[-_]?file|auth[-_]?token|password|hf[-_]?token)(=.*)?", re.IGNORECASE
)
_TOP = {
    "apiKeys": "keys are not copied; Podium listens on this machine alone",
    "captureBuffer": "requests are not stored",
    "includeAliasesInList": "aliases are names like any other",
    "logLevel": "see `podium serve --help`",
    "logTimeFormat": "logs are structured",
    "logToStdout": "logs of models are in PODIUM_HOME/logs",
    "logRequests": "see `podium explain`",
    "matrix": "Podium decides by memory what runs together, see docs/pool.md",
    "metricsMaxInMemory": "the record is bounded by [recording]",
    "performance": "see `podium stats`",
    "profiles": "bind tasks instead: `podium swap TASK NAME@VERSION`",
    "selectors": "ask for `auto` or `task:NAME`: Podium chooses by what it learned",
    "sendLoadingState": "streams get comments while a model loads",
    "startPort": "Podium picks free ports",
    "store": "Podium keeps its own record",
    "tailcat": "there is no such transport",
    "ui": "there is no such page",
    "unlisted": "every active version is listed",
    "upstream": "there is no pass-through",
}
_MODEL = {
    "name": "versions are named by their id",
    "description": "use --tag to find it by",
    "unlisted": "every active version is listed",
    "sendLoadingState": "streams get comments while a model loads",
    "metadata": "use --tag to find it by",
    "capabilities": "they are probed when it is registered",
    "timeouts": "see [timeouts] of the configuration",
    "compat": "there is nothing of the kind",
}


def read_llama_swap(path: Path, environ: Mapping[str, str]) -> Report:
    """Everything a file says. Raises ``InvalidRequest`` for one that is no YAML."""
    report = Report()
    top = Taking(read_yaml(path, lambda said, line: report.note(said, path.name, line)), path.name, report)
    filled = _Macros(top.table("macros"), environ, report)
    ready, ttl = top.number("healthCheckTimeout"), top.number("globalTTL")
    stop = top.number("unloadTimeout")
    models = top.table("models")
    if not models:
        report.note("there are no models in it", path.name, top.line, wrong=True)
    preload, pinned = _preloaded(top, report), _groups(top, report)
    defaults = {"ready_timeout_s": ready, "stop_timeout_s": stop, "ttl": ttl}
    for name, value in models.items():
        made = _model(name, value, filled, defaults, report, str(path))
        if made is not None:
            report.add(replace(made, preload=name in preload, pinned=name in pinned))
    for name, value in top.table("peers").items():
        _peer(name, value, filled, report, str(path))
    for name in sorted((preload | pinned) - set(models)):
        report.note(f"names the model {name!r}, which is not in models", "hooks or groups")
    top.lost(_TOP)
    top.rest(("macros", "models", "peers", "groups", "hooks", "routing"))
    return report


def _model(
    name: str, value: Value, filled: _Macros, defaults: Mapping[str, Value | None], report: Report, file: str
) -> Proposal | None:
    where = f"models.{name}"
    own = Taking(value, where, report)
    macros = filled.within(own.table("macros"), name)
    raw, proxy = own.text("cmd"), own.text("proxy")
    settings: dict[str, Any] = {}
    remote, health, limit = own.text("useModelName"), own.text("checkEndpoint"), own.number("concurrencyLimit")
    if remote is not None:
        settings["remote"] = macros.fill(remote, where)
    if health is not None and health.data != "none":
        settings["health"] = health.data
    if limit is not None and limit.data > 0:
        settings["concurrency"] = int(limit.data)
    stop = own.number("unloadTimeout") or defaults["stop_timeout_s"]
    settings |= {"stop_timeout_s": stop.data} if stop is not None and stop.data > 0 else {}
    ready = defaults["ready_timeout_s"]
    settings |= {"ready_timeout_s": ready.data} if ready is not None and ready.data > 0 else {}
    env = _environment(own, macros, where, report)
    settings |= {"env": env} if env else {}
    ttl = own.number("ttl")
    if ttl is None or ttl.data < 0:
        ttl = defaults["ttl"]
    alive = None if ttl is None else float(ttl.data) or -1.0
    aliases = _aliases(own, name, report)
    _filters(own, report)
    stopping = own.text("cmdStop")
    if stopping is not None:
        report.note("cmdStop does not carry over: Podium ends the process it started by SIGTERM", where, stopping.line)
    own.lost(_MODEL)
    own.rest(("cmd", "proxy", "aliases", "filters", "macros", "ttl"))
    if raw is None:
        report.note("has no cmd, so there is nothing to start", where, own.line, wrong=True)
        return None
    command = _command(raw, proxy, macros, where, report)
    if command is None:
        return None
    return Proposal(
        name=usable_name(name),
        provider="command",
        location=command,
        origin=f"{file}:{value.line}",
        settings=settings,
        aliases=tuple(usable_name(alias) for alias in aliases if usable_name(alias) != usable_name(name)),
        keep_alive_s=alive,
        about="a command of llama-swap",
    )


def _command(raw: Value, proxy: Value | None, macros: _Macros, where: str, report: Report) -> str | None:
    """The command in one line, its port ours to choose, without keys."""
    lines = [line for line in raw.data.splitlines() if not line.lstrip().startswith("#")]
    text = macros.fill(Value(" ".join(line.rstrip().removesuffix("\\") for line in lines), raw.line), where)
    if text is None:
        return None
    try:
        words = shlex.split(text)
    except ValueError as error:
        report.note(f"cmd cannot be split into words: {error}", where, raw.line, wrong=True)
        return None
    if not words:
        report.note("cmd is empty", where, raw.line, wrong=True)
        return None
    words = _without_keys(words, where, raw.line, report)
    if not any("${PORT}" in word for word in words):
        port = urlsplit(proxy.data).port if proxy is not None and "${" not in proxy.data else None
        swapped = [_own_port(word, port) for word in words]
        if port is None or swapped == words:
            report.note(
                "its port is fixed in cmd; write ${PORT} there, so that Podium can choose a free one", where, raw.line,
                wrong=True,
            )  # fmt: skip
            return None
        report.note(f"port {port} in cmd was replaced by ${{PORT}}: Podium picks a free one", where, raw.line)
        words = swapped
    elif proxy is not None and "${PORT}" not in proxy.data:
        report.note("proxy does not carry over: the server is asked at the port it was started with", where, proxy.line)
    if "docker" in words[0] or "podman" in words[0]:
        report.note("a container: it must end when its client gets SIGTERM (--init --rm, no -d)", where, raw.line)
    return " ".join(word if _SAFE.fullmatch(word) else shlex.quote(word) for word in words)


def _own_port(word: str, port: int | None) -> str:
    return re.sub(rf"(?<![0-9.]){port}(?![0-9.])", "${PORT}", word) if port is not None else word


def _without_keys(words: list[str], where: str, line: int, report: Report) -> list[str]:
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
            continue
        found = _KEY_OPTION.fullmatch(word)
        if found is None:
            kept.append(word)
            continue
        skip = found[2] is None
        report.note(f"{word.partition('=')[0]} and its value are not copied: secrets stay where they are", where, line)
    return kept


def _environment(own: Taking, macros: _Macros, where: str, report: Report) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in own.texts("env"):
        name, equals, _ = entry.data.partition("=")
        if not equals or not name:
            report.note(f"env needs NAME=value, not {name[:40]!r}", where, entry.line, wrong=True)
        elif SECRET_NAME.search(name):
            report.note(f"env {name} is not copied: start Podium with it in its environment", where, entry.line)
        elif (text := macros.fill(entry, where)) is not None:
            found[name] = text.partition("=")[2]
    return found


def _aliases(own: Taking, name: str, report: Report) -> list[str]:
    return [alias.data for alias in own.texts("aliases") if alias.data != name]


def _filters(own: Taking, report: Report) -> None:
    filters = own.table("filters")
    for key, value in filters.items():
        report.note(f"filters.{key} does not carry over: requests reach the model as they came", own.where, value.line)


def _preloaded(top: Taking, report: Report) -> set[str]:
    hooks = Taking(top.value("hooks"), "hooks", report)
    start = Taking(hooks.value("on_startup"), "hooks.on_startup", report)
    found = {one.data for one in start.texts("preload")}
    start.lost({"profile": "bind tasks instead: `podium swap TASK NAME@VERSION`"})
    start.rest()
    hooks.rest()
    return found


def _groups(top: Taking, report: Report) -> set[str]:
    """Members of persistent groups; what else groups say is decided by memory here."""
    pinned: set[str] = set()
    routing = Taking(top.value("routing"), "routing", report)
    router = Taking(routing.value("router"), "routing.router", report)
    settings = Taking(router.value("settings"), "routing.router.settings", report)
    for group, value in {**top.table("groups"), **settings.table("groups")}.items():
        own = Taking(value, f"groups.{group}", report)
        members = [one.data for one in own.texts("members")]
        lasting = own.value("persistent")
        if lasting is not None and lasting.data is True:
            pinned |= set(members)
        for key in ("swap", "exclusive"):
            found = own.value(key)
            if found is not None:
                report.note(
                    f"{key} does not carry over: Podium decides by memory what runs together", own.where, found.line
                )
        own.rest()
    settings.lost({"matrix": "Podium decides by memory what runs together, see docs/pool.md"})
    routing.lost({"scheduler": "waiting requests have a priority of their own: x-podium-priority"})
    return pinned


def _peer(name: str, value: Value, filled: _Macros, report: Report, file: str) -> None:
    where = f"peers.{name}"
    own = Taking(value, where, report)
    proxy, key = own.text("proxy"), own.text("apiKey")
    models = own.texts("models")
    own.lost({"filters": "requests reach the model as they came", "timeouts": "see [timeouts] of the configuration",
              "tailcatKey": "there is no such transport"})  # fmt: skip
    own.rest()
    url = filled.fill(proxy, where) if proxy is not None else None
    if proxy is None or url is None or urlsplit(url).scheme not in ("http", "https"):
        report.note("has no proxy that is an http or https URL", where, proxy.line if proxy else own.line, wrong=True)
        return
    settings: dict[str, Any] = {}
    if key is not None:
        named = re.fullmatch(r"\$\{env\.([A-Za-z_][A-Za-z0-9_]*)\}", key.data.strip())
        settings["api_key_env"] = named[1] if named else variable(name)
        if named is None:
            said = f"apiKey is not copied: put it into the environment variable {settings['api_key_env']}"
            report.note(said, where, key.line)
    for model in models:
        report.add(
            Proposal(
                name=usable_name(f"{name}/{model.data}"),
                provider="openai",
                location=url.rstrip("/") + "/v1",
                origin=f"{file}:{model.line}",
                settings={"remote": model.data, **settings},
                about=f"a model of the peer {name}",
            )
        )


def variable(name: str) -> str:
    """Name of an environment variable for the key of something."""
    return re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_") + "_API_KEY"


class _Macros:
    """Fills ``${name}`` in; ``PORT`` and ``PID`` stay. Environment variables that look secret are not read."""

    def __init__(self, table: Mapping[str, Value], environ: Mapping[str, str], report: Report) -> None:
        self._texts = {name: _plain(value) for name, value in table.items()}
        self._environ = environ
        self._report = report

    def within(self, table: Mapping[str, Value], model: str) -> _Macros:
        """With those of a model, which win."""
        made = _Macros({}, self._environ, self._report)
        made._texts = {**self._texts, **{name: _plain(value) for name, value in table.items()}, "MODEL_ID": model}
        return made

    def fill(self, value: Value, where: str) -> str | None:
        """The text with everything put in; ``None`` when something is not known, which is said."""
        text = str(value.data)
        for _ in range(_DEEPEST):
            problems: list[str] = []

            def put_in(match: re.Match[str], problems: list[str] = problems) -> str:
                name = match[1]
                if name in _KEPT:
                    return match[0]
                if name.startswith("env."):
                    return self._variable(name[4:], problems)
                if name not in self._texts:
                    problems.append(f"the macro ${{{name}}} is not defined")
                return self._texts.get(name, "")

            following = _MACRO.sub(put_in, text)
            if problems:
                self._report.note(problems[0], where, value.line, wrong=True)
                return None
            if following == text:
                return text
            text = following
            if len(text) > _LONGEST:
                break
        self._report.note("its macros hold each other without end", where, value.line, wrong=True)
        return None

    def _variable(self, name: str, problems: list[str]) -> str:
        if SECRET_NAME.search(name):
            problems.append(
                f"${{env.{name}}} looks like a secret and is not copied; put the command together without it"
            )
        elif name not in self._environ:
            problems.append(f"the environment variable {name} is not set here; set it and import again")
        return self._environ.get(name, "")


def _plain(value: Value) -> str:
    if isinstance(value.data, bool):
        return "true" if value.data else "false"
    return " ".join(str(value.data).split()) if not isinstance(value.data, list | dict) else ""
