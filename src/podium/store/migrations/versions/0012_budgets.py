"""Budgets, what was used of them, and reservations that outlive a crash."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

STATEMENTS = (
    """CREATE TABLE budgets (
        name TEXT NOT NULL,
        scope TEXT NOT NULL,
        subject TEXT NOT NULL,
        unit TEXT NOT NULL,
        amount BIGINT NOT NULL,
        period TEXT NOT NULL,
        timezone TEXT NOT NULL,
        set_by TEXT NOT NULL,
        at FLOAT NOT NULL,
        PRIMARY KEY (name)
)""",
    """CREATE TABLE budget_accounts (
        budget TEXT NOT NULL,
        subject TEXT NOT NULL,
        kind TEXT NOT NULL,
        window_start FLOAT NOT NULL,
        used BIGINT NOT NULL,
        told INTEGER NOT NULL,
        unmeasured BIGINT NOT NULL,
        earlier TEXT NOT NULL,
        PRIMARY KEY (budget, subject)
)""",
    """CREATE TABLE budget_reservations (
        id TEXT NOT NULL,
        budget TEXT NOT NULL,
        subject TEXT NOT NULL,
        amount BIGINT NOT NULL,
        operation_id TEXT NOT NULL,
        at FLOAT NOT NULL,
        PRIMARY KEY (id)
)""",
)


def upgrade() -> None:
    """Add the tables."""
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Migrations go forward only."""
    raise NotImplementedError("migrations go forward only; restore a backup instead")
