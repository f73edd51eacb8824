"""Triggers: what must hold whoever writes.

Versions never change but for their status, a status changes only together with a recorded, legal transition, the
record of transitions is append only, and a version is deleted only when it never got past its registration. Migrations hold their own frozen text; a test compares both.
"""

from __future__ import annotations

from podium.store.schema.registry import versions

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
    _refuse(
        "versions_stay",
        "DELETE ON versions",
        "OLD.status <> 'registered' OR EXISTS (SELECT 1 FROM transitions WHERE ref = OLD.ref)"
        " OR EXISTS (SELECT 1 FROM profiles WHERE ref = OLD.ref)",
        "a version that worked is never deleted, retire it",
    ),
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
    _refuse("provenance_never_changes", "UPDATE ON provenance", "", "what is known of a version never changes"),
    _refuse(
        "provenance_stays",
        "DELETE ON provenance",
        "EXISTS (SELECT 1 FROM versions WHERE ref = OLD.ref)",
        "what is known of a version is never deleted",
    ),
    _refuse(
        "audit_appends",
        "INSERT ON audit",
        "NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM audit) OR (NEW.seq > 1"
        " AND NEW.previous IS NOT (SELECT hash FROM audit WHERE seq = NEW.seq - 1))",
        "the audit log is append only",
    ),
    _refuse("audit_never_changes", "UPDATE ON audit", "", "the audit log is append only"),
    _refuse("audit_stays", "DELETE ON audit", "", "the audit log is append only"),
    _refuse("config_history_never_changes", "UPDATE ON config_history", "", "what was in force never changes"),
)
