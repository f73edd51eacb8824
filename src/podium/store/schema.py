"""Tables and triggers of the newest schema, and its revision. Holds no queries and opens nothing.

What must hold whoever writes (another process, a hand with ``sqlite3``) is a constraint or a trigger here:
versions never change but for their status, a status changes only together with a recorded, legal transition, and
the record of transitions is append only. Migrations hold their own frozen text; a test compares both.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0007", "0008", "0009", "0010")
"""Every revision there ever was, oldest first; the last one is this code's."""
HEAD = REVISIONS[-1]

metadata = MetaData()

versions = Table(
    "versions",
    metadata,
    Column("ref", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("settings", Text, nullable=False, comment="JSON object"),
    Column("digest", Text, nullable=False),
    Column("architecture", Text),
    Column("parameters", Integer),
    Column("quantization", Text),
    Column("context_length", Integer),
    Column("size_bytes", Integer),
    Column("kv_bytes_per_token", Integer),
    Column("chat_template", Text),
    Column("licence", Text),
    Column("declared_version", Text),
    Column("capabilities", Text, nullable=False, comment="JSON array"),
    Column("category", Text),
    Column("tags", Text, nullable=False, comment="JSON array"),
    Column("parent", Text),
    Column("specialisation", Text),
    Column("created_at", Float, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("activated_at", Float),
    UniqueConstraint("name", "version", name="uq_versions_name_version"),
    CheckConstraint("ref = name || '@' || version", name="ck_versions_ref"),
    CheckConstraint("status IN ('registered', 'ready', 'active', 'deprecated', 'retired')", name="ck_versions_status"),
)

transitions = Table(
    "transitions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("ref", Text, ForeignKey("versions.ref"), nullable=False),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Index("ix_transitions_ref", "ref"),
    sqlite_autoincrement=True,
)

retention = Table(
    "retention",
    metadata,
    Column("ref", Text, ForeignKey("versions.ref"), primary_key=True),
    Column("keep_until", Float, nullable=False),
)

profiles = Table(
    "profiles",
    metadata,
    Column("ref", Text, ForeignKey("versions.ref"), primary_key=True),
    Column("load_s", Float),
    Column("memory_bytes", Integer),
    Column("ttft_ms", Float),
    Column("tokens_per_s", Float),
    Column("latency_ms", Float),
    Column("measured_at", Float),
)

aliases = Table(
    "aliases",
    metadata,
    Column("alias", Text, primary_key=True),
    Column("target", Text, nullable=False),
)

learned = Table(
    "learned",
    metadata,
    Column("name", Text, primary_key=True),
    Column("content", LargeBinary, nullable=False, comment="whole state of one learner, with its own version"),
    Column("saved_at", Float, nullable=False),
)

directives = Table(
    "directives",
    metadata,
    Column("ref", Text, ForeignKey("versions.ref"), primary_key=True),
    Column("pinned", Boolean, nullable=False),
    Column("preload", Boolean, nullable=False),
    Column("keep_alive_s", Float, comment="-1: for ever; NULL: as the pool is configured"),
    Column("min_copies", Integer, nullable=False),
    Column("max_copies", Integer, nullable=False),
)

tasks = Table(
    "tasks",
    metadata,
    Column("name", Text, primary_key=True),
    Column("spec", Text, nullable=False, comment="JSON object"),
)

bindings = Table(
    "bindings",
    metadata,
    Column("task", Text, primary_key=True),
    Column("ref", Text, ForeignKey("versions.ref"), nullable=False),
    Column("previous", Text, nullable=False, comment="JSON array, newest first"),
    Column("since", Float, nullable=False),
    Column("by", Text, nullable=False),
    Column("reason", Text, nullable=False),
)

swaps = Table(
    "swaps",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("task", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("before", Text),
    Column("after", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("requested_at", Float, nullable=False),
    Column("by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("finished_at", Float),
    Column("error", Text),
    Column("compatibility", Text, comment="JSON object"),
    Column("load_ms", Float),
    Column("swap_ms", Float),
    Index("ix_swaps_task", "task"),
    sqlite_autoincrement=True,
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("subject", Text, nullable=False),
    Column("data", Text, nullable=False, comment="JSON array of pairs"),
    sqlite_autoincrement=True,
)

choices = Table(
    "choices",
    metadata,
    Column("digest", LargeBinary, primary_key=True, comment="BLAKE2b-128 of content"),
    Column("content", LargeBinary, nullable=False, comment="MessagePack, see store/packing"),
    Column("last_at", Float, nullable=False, comment="newest decision that refers to it"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("request_id", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("choice", LargeBinary, nullable=False, comment="choices.digest"),
    Column("served", Text, nullable=False),
    Column("propensity", Float, nullable=False),
    Column("parent", Text),
    Column("classified_by", Text, nullable=False),
    Column("task_confidence", Float, nullable=False),
    Column("task", Text, nullable=False),
    Column("ref", Text, nullable=False),
    Column("finished_at", Float, nullable=False),
    Column("success", Integer, nullable=False),
    Column("error", Text),
    Column("streamed", Integer, nullable=False),
    Column("latency_ms", Float, nullable=False),
    Column("ttft_ms", Float),
    Column("cost", LargeBinary, nullable=False, comment="MessagePack, see store/packing"),
    Index("ix_decisions_request_id", "request_id"),
    Index("ix_decisions_at", "at"),
    sqlite_autoincrement=True,
)

feedback = Table(
    "feedback",
    metadata,
    Column("decision_id", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("request_id", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("ref", Text, nullable=False),
    Column("score", Float, comment="NULL: only words"),
    Column("at", Float, nullable=False),
    Column("comment", Text),
    Column("label", Text),
    Column("correction_hash", Text, comment="SHA-256, hex"),
    Column("correction_chars", Integer),
    Index("ix_feedback_request_id", "request_id"),
)

knowledge = Table(
    "knowledge",
    metadata,
    Column("task", Text, primary_key=True),
    Column("content", Text, nullable=False, comment="JSON object with its own version"),
)

evidence = Table(
    "evidence",
    metadata,
    Column("task", Text, primary_key=True),
    Column("ref", Text, primary_key=True),
    Column("samples", Integer, nullable=False),
    Column("successes", Integer, nullable=False),
    Column("latency_ms_sum", Float, nullable=False),
    Column("latency_buckets", LargeBinary, nullable=False, comment="MessagePack array of pairs"),
    Column("ttft_ms_sum", Float, nullable=False),
    Column("ttft_samples", Integer, nullable=False),
    Column("tokens_per_s_sum", Float, nullable=False),
    Column("tokens_per_s_samples", Integer, nullable=False),
    Column("quality_sum", Float, nullable=False),
    Column("quality_samples", Integer, nullable=False),
    Column("memory_mb_max", Float),
    Column("cpu_ms_sum", Float, nullable=False),
    Column("cpu_samples", Integer, nullable=False),
    Column("last_at", Float),
)

benchmark_runs = Table(
    "benchmark_runs",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("suite", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("items", Integer, nullable=False),
    Column("refs", Text, nullable=False, comment="JSON array"),
    Column("state", Text, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("finished_at", Float),
    Column("problems", Text, nullable=False, comment="JSON object"),
    sqlite_autoincrement=True,
)

benchmark_items = Table(
    "benchmark_items",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("item", Text, primary_key=True),
    Column("ref", Text, primary_key=True),
    Column("suite", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("score", Float, nullable=False),
    Column("why", Text, nullable=False),
    Column("latency_ms", Float, nullable=False),
    Column("input_tokens", Integer),
    Column("output_tokens", Integer),
    Column("answer_hash", Text, nullable=False),
    Column("answer", Text),
    Column("at", Float, nullable=False),
    Index("ix_benchmark_items_suite", "suite", "task"),
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("task", Text, nullable=False),
    Column("baseline", Text, nullable=False),
    Column("candidate", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("requested_at", Float, nullable=False),
    Column("finished_at", Float),
    Column("content", Text, nullable=False, comment="the whole rollout, JSON object"),
    Column("arms", LargeBinary, comment="evidence of both arms, whole, with its own version"),
    Column("owner", Text, comment="the gateway that drives it"),
    Column("owned_until", Float, comment="Unix time; another gateway may take over after it"),
    Index("ix_rollouts_task", "task"),
    Index("ix_rollouts_open", "task", unique=True, sqlite_where=text("finished_at IS NULL")),
    sqlite_autoincrement=True,
)

rollout_steps = Table(
    "rollout_steps",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("rollout", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Column("share", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Index("ix_rollout_steps_rollout", "rollout"),
    sqlite_autoincrement=True,
)

bars = Table(
    "bars",
    metadata,
    Column("task", Text, primary_key=True),
    Column("ref", Text, primary_key=True),
    Column("at", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("samples", Integer, nullable=False),
)

schedules = Table(
    "schedules",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),
    Column("due_at", Float, comment="Unix time of the next window, if it is known"),
    Column("content", Text, nullable=False, comment="the whole schedule, JSON object"),
    Column("created_at", Float, nullable=False),
    Column("finished_at", Float),
    sqlite_autoincrement=True,
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("webhook", Text, nullable=False),
    Column("subject", Text, nullable=False, comment="deliveries of one webhook and subject go out in order"),
    Column("kind", Text, nullable=False),
    Column("content", Text, nullable=False, comment="the body, JSON object"),
    Column("created_at", Float, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Float, nullable=False),
    Column("error", Text, comment="of the last attempt"),
    Index("ix_deliveries_webhook", "webhook", "subject", "seq"),
    sqlite_autoincrement=True,
)

judgments = Table(
    "judgments",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("request_id", Text, nullable=False),
    Column("decision_id", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("ref", Text, nullable=False, comment="the version that was judged"),
    Column("criterion", Text, nullable=False),
    Column("judge", Text, nullable=False),
    Column("raw", Float),
    Column("score", Float, comment="after calibration"),
    Column("sd", Float),
    Column("calibrated", Boolean, nullable=False),
    Column("method", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("invalid", Text),
    Column("reply", Text, comment="of an invalid judgment, shortened"),
    Column("features", Text, nullable=False, comment="JSON object"),
    Column("latency_ms", Float),
    Column("input_tokens", Integer),
    Column("output_tokens", Integer),
    Column("at", Float, nullable=False),
    Column("probability", Float, nullable=False),
    Column("signal", Text),
    Column("used", Boolean, nullable=False),
    UniqueConstraint("decision_id", "criterion", "judge"),
    Index("ix_judgments_task", "task", "ref"),
    Index("ix_judgments_at", "at"),
    sqlite_autoincrement=True,
)

judge_queue = Table(
    "judge_queue",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("decision_id", Text, nullable=False, unique=True),
    Column("task", Text, nullable=False),
    Column("content", Text, nullable=False, comment="what is to be judged, JSON object; gone when it was"),
    Column("created_at", Float, nullable=False),
    sqlite_autoincrement=True,
)

calibrations = Table(
    "calibrations",
    metadata,
    Column("judge", Text, primary_key=True),
    Column("criterion", Text, primary_key=True),
    Column("content", Text, nullable=False, comment="JSON object"),
    Column("at", Float, nullable=False),
)

executions = Table(
    "executions",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("type", Text, nullable=False, comment="the task"),
    Column("agent", Text),
    Column("started_at", Float, nullable=False),
    Column("finished_at", Float),
    Column("success", Boolean),
    Column("quality", Float),
    Column("ref", Text, comment="the version that was routed to"),
    Column("decision_id", Text),
    Column("request_id", Text, comment="of the newest request that named this execution"),
    Column("metadata", Text, nullable=False, comment="JSON object"),
    Index("ix_executions_type", "type", "started_at"),
    Index("ix_executions_agent", "agent"),
    Index("ix_executions_undecided", "finished_at", sqlite_where=text("success IS NULL")),
    sqlite_autoincrement=True,
)

alerts = Table(
    "alerts",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("task", Text, nullable=False),
    Column("ref", Text),
    Column("kind", Text, nullable=False),
    Column("opened_at", Float, nullable=False),
    Column("closed_at", Float),
    Column("content", Text, nullable=False, comment="JSON object"),
    Index("ix_alerts_task", "task"),
    sqlite_autoincrement=True,
)

_LEGAL = (
    (
        "(before = 'registered' AND after IN ('ready', 'retired'))"
        " OR (before = 'ready' AND after IN ('active', 'retired'))"
        " OR (before = 'active' AND after = 'deprecated')"
        " OR (before = 'deprecated' AND after IN ('active', 'retired'))"
        " OR (before = 'retired' AND after = 'active' AND trim(reason) <> '')"
    )
    .replace("before", "NEW.before")
    .replace("after", "NEW.after")
    .replace("reason", "NEW.reason")
)

_FROZEN = " OR ".join(
    f"OLD.{column.name} IS NOT NEW.{column.name}"
    for column in versions.columns
    if column.name not in {"status", "activated_at"}
)


def _refuse(name: str, what: str, when: str, message: str) -> str:
    condition = f" WHEN {when}" if when else ""
    return f"CREATE TRIGGER {name} BEFORE {what}{condition} BEGIN SELECT RAISE(ABORT, '{message}'); END"


TRIGGERS: tuple[str, ...] = (
    _refuse(
        "versions_exist_once",
        "INSERT ON versions",
        "EXISTS (SELECT 1 FROM versions WHERE ref = NEW.ref)",
        "this version exists already",
    ),
    _refuse(
        "versions_start_registered",
        "INSERT ON versions",
        "NEW.status <> 'registered' OR NEW.activated_at IS NOT NULL",
        "a version starts as registered",
    ),
    _refuse(
        "versions_shadow_no_alias",
        "INSERT ON versions",
        "EXISTS (SELECT 1 FROM aliases WHERE alias = NEW.name)",
        "an alias has this name",
    ),
    _refuse("versions_never_change", "UPDATE ON versions", _FROZEN, "a registered version never changes"),
    _refuse(
        "versions_change_status_by_transition",
        "UPDATE ON versions",
        "OLD.status IS NOT NEW.status AND NOT EXISTS (SELECT 1 FROM transitions WHERE id ="
        " (SELECT max(id) FROM transitions WHERE ref = NEW.ref)"
        " AND before = OLD.status AND after = NEW.status)",
        "a status changes only with a recorded transition",
    ),
    _refuse(
        "versions_activated_at_is_recorded",
        "UPDATE ON versions",
        "OLD.activated_at IS NOT NEW.activated_at AND (OLD.status IS NEW.status OR NEW.status <> 'active')",
        "activated_at changes only on activation",
    ),
    _refuse("versions_stay", "DELETE ON versions", "", "a version is never deleted, retire it"),
    _refuse(
        "transitions_start_at_status",
        "INSERT ON transitions",
        "NEW.before IS NOT (SELECT status FROM versions WHERE ref = NEW.ref)",
        "the version is not in that status",
    ),
    _refuse("transitions_are_legal", "INSERT ON transitions", f"NOT ({_LEGAL})", "illegal transition"),
    _refuse(
        "transitions_append",
        "INSERT ON transitions",
        "EXISTS (SELECT 1 FROM transitions WHERE id = NEW.id)",
        "transitions are append only",
    ),
    _refuse("transitions_never_change", "UPDATE ON transitions", "", "transitions are append only"),
    _refuse("transitions_stay", "DELETE ON transitions", "", "transitions are append only"),
    _refuse(
        "aliases_shadow_no_model",
        "INSERT ON aliases",
        "EXISTS (SELECT 1 FROM versions WHERE name = NEW.alias)",
        "a model has this name",
    ),
)
