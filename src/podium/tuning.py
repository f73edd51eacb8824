"""The limits of pool and gateway as configured: from the units of the file to those of the services."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from podium.config import Config, WebhookEntry, read_secret
from podium.core.breaker import BreakerRules
from podium.core.retrying import Retries
from podium.errors import ConfigError
from podium.host import Host
from podium.ports import RAM, Deadlines, Secrets
from podium.services.gateway import GatewayLimits
from podium.services.pool import MB, PoolLimits
from podium.services.webhook_courier import Hook
from podium.services.webhook_signing import read_keys
from podium.transport.addresses import target

RAM_SHARE = 0.8
GPU_SHARE = 0.9
"""Parts of the memory that models may take unless the configuration says otherwise."""


def pool_limits(config: Config, host: Host) -> PoolLimits:
    """The pool's limits. GPUs that are not there get no budget, whatever the file says."""
    pool = config.pool
    sizes = dict(host.devices())
    budget = pool.memory_budget_mb
    gpus = {
        name: int(pool.gpu_budget_mb[name] * MB) if name in pool.gpu_budget_mb else int(size * GPU_SHARE)
        for name, size in sizes.items()
        if name != RAM
    }
    return PoolLimits(
        memory_bytes=int(budget * MB) if budget is not None else int(sizes[RAM] * RAM_SHARE),
        helper_reserve_bytes=int(pool.helper_reserve_mb * MB),
        gpu_bytes=gpus,
        queue_limit=pool.queue_limit,
        load_timeout_s=pool.load_timeout_s,
        idle_ttl_s=pool.idle_ttl_s or None,
        max_wait_s=pool.max_wait_s,
        min_residency_s=pool.min_residency_s,
        residency_loads=pool.residency_loads,
        linger_s=pool.linger_s,
        patience_s=pool.patience_s,
        balancing=pool.balancing,
        breaker=BreakerRules(failures=pool.breaker_failures, open_s=pool.breaker_open_s),
        health_interval_s=pool.health_interval_s,
        health_timeout_s=pool.health_timeout_s,
        health_failures=pool.health_failures,
        hang_timeout_s=pool.hang_timeout_s,
        scale_up_at=pool.scale_up_at,
        scale_down_at=pool.scale_down_at,
        scale_up_after_s=pool.scale_up_after_s,
        scale_down_after_s=pool.scale_down_after_s,
        scale_cooldown_s=pool.scale_cooldown_s,
    )


def gateway_limits(config: Config) -> GatewayLimits:
    """Time limits of the data plane, and where it turns to when a model fails."""
    times = config.timeouts
    deadlines = Deadlines(connect_s=times.connect_s, first_token_s=times.first_token_s, total_s=times.total_s)
    return GatewayLimits(
        deadlines=deadlines, queue_timeout_s=config.pool.queue_timeout_s, fallbacks=dict(config.fallbacks)
    )


def hooks(config: Config, environ: Mapping[str, str], secrets: Secrets) -> tuple[Hook, ...]:
    """Webhooks as configured, with their secrets as they are now. One whose secret cannot be read says so itself."""
    folder = config.file.parent if config.file is not None else config.home
    return tuple(_hook(name, entry, folder, environ, secrets) for name, entry in config.webhooks.items())


def _hook(name: str, entry: WebhookEntry, folder: Path, environ: Mapping[str, str], secrets: Secrets) -> Hook:
    keys: tuple[bytes, ...] = ()
    problem = None
    try:
        keys = read_keys(read_secret(entry, folder, environ, secrets))
    except ConfigError as error:
        problem = error.message
    except ValueError as error:
        problem = f"its secret cannot be used: {error}"
    return Hook(
        name=name,
        url=entry.url,
        shown=str(target(entry.url)),
        events=entry.events,
        keys=keys,
        problem=problem,
        timeout_s=entry.timeout_s,
        retries=Retries(first_s=entry.retry_first_s, most_s=entry.retry_most_s, give_up_s=entry.give_up_h * 3600),
        most_waiting=entry.outbox_limit,
        allow_link_local=entry.allow_link_local,
    )
