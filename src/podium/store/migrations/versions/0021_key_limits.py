"""Limits that a key has of its own."""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; keys on record have the limits of their role."""
    op.get_bind().exec_driver_sql("ALTER TABLE api_keys ADD COLUMN limits TEXT")


def downgrade() -> None:
    """Migrations go forward only."""
    raise NotImplementedError("migrations go forward only; restore a backup instead")
