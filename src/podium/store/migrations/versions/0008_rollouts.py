"""Rollouts with their steps and evidence, barred versions, schedules, and webhook deliveries."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

STATEMENTS = (
    """CREATE TABLE rollouts (
        seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL,
        task TEXT NOT NULL,
        baseline TEXT NOT NULL,
        candidate TEXT NOT NULL,
        mode TEXT NOT NULL,
        state TEXT NOT NULL,
        requested_at FLOAT NOT NULL,
        finished_at FLOAT,
        content TEXT NOT NULL,
        arms BLOB,
        owner TEXT,
        owned_until FLOAT,
        UNIQUE (id)
)""",
    "CREATE UNIQUE INDEX ix_rollouts_open ON rollouts (task) WHERE finished_at IS NULL",
    "CREATE INDEX ix_rollouts_task ON rollouts (task)",
    """CREATE TABLE rollout_steps (
        seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        rollout TEXT NOT NULL,
        at FLOAT NOT NULL,
        "before" TEXT NOT NULL,
        "after" TEXT NOT NULL,
        share FLOAT NOT NULL,
        reason TEXT NOT NULL
)""",
    "CREATE INDEX ix_rollout_steps_rollout ON rollout_steps (rollout)",
    """CREATE TABLE bars (
        task TEXT NOT NULL,
        ref TEXT NOT NULL,
        at FLOAT NOT NULL,
        reason TEXT NOT NULL,
        samples INTEGER NOT NULL,
        PRIMARY KEY (task, ref)
)""",
    """CREATE TABLE schedules (
        seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL,
        state TEXT NOT NULL,
        due_at FLOAT,
        content TEXT NOT NULL,
        created_at FLOAT NOT NULL,
        finished_at FLOAT,
        UNIQUE (id)
)""",
    """CREATE TABLE deliveries (
        seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        webhook TEXT NOT NULL,
        subject TEXT NOT NULL,
        kind TEXT NOT NULL,
        content TEXT NOT NULL,
        created_at FLOAT NOT NULL,
        attempts INTEGER NOT NULL,
        next_at FLOAT NOT NULL,
        error TEXT
)""",
    "CREATE INDEX ix_deliveries_webhook ON deliveries (webhook, subject, seq)",
)


def upgrade() -> None:
    """Add the tables."""
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Migrations go forward only."""
    raise NotImplementedError("migrations go forward only; restore a backup instead")
