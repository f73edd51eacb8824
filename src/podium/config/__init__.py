"""Owns the configuration: one TOML file, environment overrides, defaults, and the difference of two readings.

It reads files and the environment, nothing else: no database, no network, no provider.
"""

from podium.config.autoswap import AutoSwap, TaskAutoSwap
from podium.config.budgets import BudgetEntry, declared_budgets
from podium.config.changes import Difference, difference
from podium.config.energy import Energy, PriceEntry
from podium.config.judging import Judging, TaskJudging
from podium.config.limits import LimitEntry, role_limits
from podium.config.network import Network
from podium.config.objectives import TaskObjectives
from podium.config.pool import Pool
from podium.config.reading import configured_file, is_loopback, load, prepare_home, reread
from podium.config.rules import RuleEntry
from podium.config.schema import json_schema
from podium.config.telemetry import Logging, Telemetry
from podium.config.values import (
    Config,
    ModelEntry,
    Recording,
    Selection,
    Server,
    Settings,
    TaskEntry,
    Timeouts,
)
from podium.config.webhooks import WebhookEntry, read_secret
from podium.home import default_home

__all__ = [
    "AutoSwap",
    "BudgetEntry",
    "Config",
    "Difference",
    "Energy",
    "Judging",
    "LimitEntry",
    "Logging",
    "ModelEntry",
    "Network",
    "Pool",
    "PriceEntry",
    "Recording",
    "RuleEntry",
    "Selection",
    "Server",
    "Settings",
    "TaskAutoSwap",
    "TaskEntry",
    "TaskJudging",
    "TaskObjectives",
    "Telemetry",
    "Timeouts",
    "WebhookEntry",
    "configured_file",
    "declared_budgets",
    "default_home",
    "difference",
    "is_loopback",
    "json_schema",
    "load",
    "prepare_home",
    "read_secret",
    "reread",
    "role_limits",
]
