"""Who did what, and which configurations were in force."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

STATEMENTS = (
    """CREATE TABLE audit (
        seq INTEGER NOT NULL,
        at FLOAT NOT NULL,
        phase TEXT NOT NULL,
        action TEXT NOT NULL,
        who TEXT NOT NULL,
        name TEXT NOT NULL,
        role TEXT,
        via TEXT,
        origin TEXT NOT NULL,
        what TEXT NOT NULL,
        subject TEXT NOT NULL,
        task TEXT,
        asked TEXT,
        "before" TEXT,
        "after" TEXT,
        status INTEGER,
        outcome TEXT,
        request_id TEXT,
        missed INTEGER NOT NULL,
        previous TEXT NOT NULL,
        hash TEXT NOT NULL,
        PRIMARY KEY (seq)
)""",
    "CREATE INDEX ix_audit_action ON audit (action)",
    """CREATE TABLE config_history (
        number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        at FLOAT NOT NULL,
        "by" TEXT NOT NULL,
        how TEXT NOT NULL,
        file TEXT,
        digest TEXT NOT NULL,
        content TEXT NOT NULL,
        redacted INTEGER NOT NULL,
        environment TEXT NOT NULL,
        changes TEXT NOT NULL,
        problems INTEGER NOT NULL
)""",
    "CREATE TRIGGER audit_appends BEFORE INSERT ON audit WHEN NEW.seq IS NOT"
    " (SELECT coalesce(max(seq), 0) + 1 FROM audit) OR (NEW.seq > 1"
    " AND NEW.previous IS NOT (SELECT hash FROM audit WHERE seq = NEW.seq - 1))"
    " BEGIN SELECT RAISE(ABORT, 'the audit log is append only'); END",
    "CREATE TRIGGER audit_never_changes BEFORE UPDATE ON audit BEGIN"
    " SELECT RAISE(ABORT, 'the audit log is append only'); END",
    "CREATE TRIGGER audit_stays BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append only'); END",
    "CREATE TRIGGER config_history_never_changes BEFORE UPDATE ON config_history BEGIN"
    " SELECT RAISE(ABORT, 'what was in force never changes'); END",
)


def upgrade() -> None:
    """Add the tables; what was done before is not known."""
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Migrations go forward only."""
    raise NotImplementedError("migrations go forward only; restore a backup instead")
