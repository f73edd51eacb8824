"""Tables and triggers of the newest schema, and its revision. Holds no queries and opens nothing."""

from __future__ import annotations

from podium.store.schema.access import api_keys
from podium.store.schema.audit import audit, config_history
from podium.store.schema.base import HEAD, REVISIONS, metadata
from podium.store.schema.budgets import budget_accounts, budget_reservations, budgets
from podium.store.schema.changes import bars, deliveries, rollout_steps, rollouts, schedules
from podium.store.schema.costing import cost_cells, cost_progress
from podium.store.schema.costs import charges, operations, price_tables, spending
from podium.store.schema.key_costs import key_costs
from podium.store.schema.quality import (
    alerts,
    benchmark_items,
    benchmark_runs,
    calibrations,
    executions,
    judge_queue,
    judgments,
)
from podium.store.schema.record import choices, decisions, events, evidence, feedback, knowledge, swaps
from podium.store.schema.registry import (
    aliases,
    bindings,
    directives,
    learned,
    profiles,
    provenance,
    retention,
    tasks,
    transitions,
    versions,
)
from podium.store.schema.secrets import secrets
from podium.store.schema.triggers import TRIGGERS

__all__ = [
    "HEAD",
    "REVISIONS",
    "TRIGGERS",
    "alerts",
    "aliases",
    "api_keys",
    "audit",
    "bars",
    "benchmark_items",
    "benchmark_runs",
    "bindings",
    "budget_accounts",
    "budget_reservations",
    "budgets",
    "calibrations",
    "charges",
    "choices",
    "config_history",
    "cost_cells",
    "cost_progress",
    "decisions",
    "deliveries",
    "directives",
    "events",
    "evidence",
    "executions",
    "feedback",
    "judge_queue",
    "judgments",
    "key_costs",
    "knowledge",
    "learned",
    "metadata",
    "operations",
    "price_tables",
    "profiles",
    "provenance",
    "retention",
    "rollout_steps",
    "rollouts",
    "schedules",
    "secrets",
    "spending",
    "swaps",
    "tasks",
    "transitions",
    "versions",
]
