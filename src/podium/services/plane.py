"""All services of one running gateway, bundled for the control plane. Built by ``runtime`` alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from podium.core.energy import CpuPower
from podium.ports import AuditStore, Clock, CostStore, EventLog, HostProbe, Provider, Store
from podium.services.alerts import Alerts
from podium.services.auditing import Audit
from podium.services.automation import Automation
from podium.services.benchmark import Benchmarks
from podium.services.budgeting import Budgeting
from podium.services.classifier import TaskClassifier
from podium.services.config_history import ConfigHistory
from podium.services.cost_profiles import CostProfiles
from podium.services.directives import Directives
from podium.services.events import EventBus
from podium.services.export import Exports
from podium.services.gateway import Gateway
from podium.services.judging import Judging
from podium.services.key_costs import KeyCosts
from podium.services.keys import Keys
from podium.services.learner import Learner
from podium.services.limiting import Limiter
from podium.services.onboarding import Onboarding
from podium.services.policy import Policy
from podium.services.pool import Pool
from podium.services.recorder import Recorder
from podium.services.registry import Registry
from podium.services.rollouts.service import Rollouts
from podium.services.schedules import Schedules
from podium.services.swap import Swapper
from podium.services.tasks import Tasks
from podium.services.tracker import Tracker
from podium.services.traffic import Traffic
from podium.services.vault import Vault
from podium.services.webhooks import Webhooks


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """``reload`` reads the configuration again and applies the difference; it returns what changed."""

    registry: Registry
    onboarding: Onboarding
    selector: Policy
    tasks: Tasks
    pool: Pool
    directives: Directives
    swapper: Swapper
    rollouts: Rollouts
    automation: Automation
    schedules: Schedules
    gateway: Gateway
    recorder: Recorder
    learner: Learner
    classifier: TaskClassifier
    benchmarks: Benchmarks
    judging: Judging
    alerts: Alerts
    budgeting: Budgeting
    keys: Keys
    vault: Vault
    audit: Audit
    audit_log: AuditStore
    configurations: ConfigHistory
    limiter: Limiter
    tracker: Tracker
    traffic: Traffic
    store: Store
    costs: CostStore
    cost_profiles: CostProfiles
    key_costs: KeyCosts
    host: HostProbe
    power: Callable[[], CpuPower]
    clock: Clock
    events: EventBus
    event_log: EventLog
    exports: Exports
    webhooks: Webhooks
    providers: Callable[[str], Provider]
    provider_problems: Callable[[], Mapping[str, str]]
    reload: Callable[..., Awaitable[Mapping[str, object]]]
    """Its one parameter is ``by``, who asks for it."""
    metrics: Callable[[str], tuple[bytes, str]]
    """The page for Prometheus and its content type, in the format an ``Accept`` header asks for."""
    version: str
    started_at: float
    warnings: Callable[[], tuple[str, ...]]
