"""The interfaces services talk to, by what they are about. Protocols and the small values that cross them; no implementation."""

from __future__ import annotations

from podium.ports.access import KeyStore
from podium.ports.audit import AuditStore, ConfigStore
from podium.ports.benchmark import Answers, BenchmarkStore, Judge, Sandbox, Suites
from podium.ports.budget import BudgetStore
from podium.ports.clock import Clock
from podium.ports.cost import CostStore, KeyCostStore
from podium.ports.costing import CellKey, CostCellStore
from podium.ports.event import AsyncCallback, DeliveryStore, EventLog, EventSink, Poster
from podium.ports.export import ExportStore, Extent, RecordedAttempt, Window
from podium.ports.host import Accelerator, HostFacts, HostProbe
from podium.ports.judgment import CalibrationStore, JudgmentFilter, JudgmentStore
from podium.ports.power import Power
from podium.ports.provider import (
    RAM,
    AtEndpoint,
    Call,
    Characteristics,
    Deadlines,
    Hosting,
    Instance,
    OnDevices,
    Patient,
    Probes,
    Provider,
    Reply,
)
from podium.ports.rollout import KeptRollout, RolloutChange, RolloutStore, ScheduleStore
from podium.ports.secret import Sealer, Secrets, SecretStore
from podium.ports.store import Batch, Page, Recorded, Sought, Store
from podium.ports.tracking import AlertStore, ExecutionStore, Piece

__all__ = [
    "RAM",
    "Accelerator",
    "AlertStore",
    "Answers",
    "AsyncCallback",
    "AtEndpoint",
    "AuditStore",
    "Batch",
    "BenchmarkStore",
    "BudgetStore",
    "CalibrationStore",
    "Call",
    "CellKey",
    "Characteristics",
    "Clock",
    "ConfigStore",
    "CostCellStore",
    "CostStore",
    "Deadlines",
    "DeliveryStore",
    "EventLog",
    "EventSink",
    "ExecutionStore",
    "ExportStore",
    "Extent",
    "HostFacts",
    "HostProbe",
    "Hosting",
    "Instance",
    "Judge",
    "JudgmentFilter",
    "JudgmentStore",
    "KeptRollout",
    "KeyCostStore",
    "KeyStore",
    "OnDevices",
    "Page",
    "Patient",
    "Piece",
    "Poster",
    "Power",
    "Probes",
    "Provider",
    "Recorded",
    "RecordedAttempt",
    "Reply",
    "RolloutChange",
    "RolloutStore",
    "Sandbox",
    "ScheduleStore",
    "Sealer",
    "SecretStore",
    "Secrets",
    "Sought",
    "Store",
    "Suites",
    "Window",
]
