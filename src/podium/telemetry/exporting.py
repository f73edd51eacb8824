"""Where telemetry goes: exporters by OpenTelemetry's own environment variables, and the providers that feed them.

Sets nothing global: what else runs in this process and knows OpenTelemetry is left alone.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from podium.errors import ConfigError
from podium.telemetry.spans import GivenIds

SIGNALS = ("TRACES", "METRICS", "LOGS")
_PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Providers:
    """Of one gateway. ``shut`` sends what is left and ends their threads."""

    traces: TracerProvider
    metrics: MeterProvider
    logs: LoggerProvider
    ids: GivenIds

    def shut(self, patience_s: float) -> None:
        """Blocks for at most ``patience_s``; a collector that does not answer must not hold up the end."""
        done = [threading.Thread(target=one.shutdown, daemon=True) for one in (self.traces, self.metrics, self.logs)]
        for thread in done:
            thread.start()
        for thread in done:
            thread.join(patience_s / len(done))


def providers(environ: Mapping[str, str], version: str, *, offline: bool) -> Providers:
    """What the environment asks for. Raises ``ConfigError``.

    ``environ`` is looked at to choose exporters; these then read the environment of the process themselves.
    """
    made = {signal: _exporters(signal, environ, offline=offline) for signal in SIGNALS}
    readers = [PeriodicExportingMetricReader(one) for one in made["METRICS"]]
    found = assembled(resource_of(environ, version), readers)
    for one in made["TRACES"]:
        found.traces.add_span_processor(BatchSpanProcessor(one))
    for one in made["LOGS"]:
        found.logs.add_log_record_processor(BatchLogRecordProcessor(one))
    return found


def assembled(resource: Resource, readers: list[Any] | list[MetricReader]) -> Providers:
    """Providers without exporters of spans and logs."""
    ids = GivenIds()
    return Providers(
        traces=TracerProvider(resource=resource, id_generator=ids, shutdown_on_exit=False),
        metrics=MeterProvider(metric_readers=readers, resource=resource, shutdown_on_exit=False),
        logs=LoggerProvider(resource=resource, shutdown_on_exit=False),
        ids=ids,
    )


def resource_of(environ: Mapping[str, str], version: str) -> Resource:
    """Who is speaking: named in the environment, else Podium."""
    given = environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    named = environ.get("OTEL_SERVICE_NAME") or "service.name=" in given
    own = {"service.version": version} if named else {"service.name": "podium", "service.version": version}
    return Resource.create(own)


def _exporters(signal: str, environ: Mapping[str, str], *, offline: bool) -> list[Any]:
    named = [one.strip() for one in environ.get(f"OTEL_{signal}_EXPORTER", "otlp").split(",")]
    return [_exporter(signal, one, environ, offline=offline) for one in named if one not in ("", "none")]


def _exporter(signal: str, name: str, environ: Mapping[str, str], *, offline: bool) -> Any:
    entry = _entry(signal, environ) if name == "otlp" else name
    if offline and entry != "console":
        _refuse_remote(signal, environ)
    found = next(iter(entry_points(group=f"opentelemetry_{signal.lower()}_exporter", name=entry)), None)
    if found is None:
        raise ConfigError(
            f"OTEL_{signal}_EXPORTER: there is no exporter {name!r} ({entry}) here; install the package that has it, or "
            "use otlp, console or none"
        )
    return found.load()()


def _entry(signal: str, environ: Mapping[str, str]) -> str:
    said = environ.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = said or "http/protobuf"
    if protocol not in _PROTOCOLS:
        raise ConfigError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}; use {' or '.join(_PROTOCOLS)}")
    return _PROTOCOLS[protocol]


def _refuse_remote(signal: str, environ: Mapping[str, str]) -> None:
    url = environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if url and (urlsplit(url).hostname or "") not in _LOOPBACK:
        raise ConfigError(
            f"telemetry would go to {urlsplit(url).hostname or url!r}, and `[network] offline` is on; send it to a collector "
            "on this machine, or switch [telemetry] off"
        )
