"""Sealed secrets."""

from alembic import op

revision = "0018"
down_revision = "0015"
branch_labels = None
depends_on = None

STATEMENTS = (
    """CREATE TABLE secrets (
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        key_id TEXT NOT NULL,
        nonce BLOB NOT NULL,
        content BLOB NOT NULL,
        set_at FLOAT NOT NULL,
        set_by TEXT NOT NULL,
        PRIMARY KEY (name)
)""",
)


def upgrade() -> None:
    """Add the table."""
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Migrations go forward only."""
    raise NotImplementedError("migrations go forward only; restore a backup instead")
