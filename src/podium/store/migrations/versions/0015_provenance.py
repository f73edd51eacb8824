"""What is known of versions beyond their row: declared provenance, and how facts are known."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

STATEMENTS = (
    """CREATE TABLE provenance (
        ref TEXT NOT NULL,
        licence TEXT,
        training_data TEXT,
        hardware TEXT NOT NULL,
        evidence TEXT NOT NULL,
        PRIMARY KEY (ref)
)""",
    "CREATE TRIGGER provenance_never_changes BEFORE UPDATE ON provenance BEGIN"
    " SELECT RAISE(ABORT, 'what is known of a version never changes'); END",
    "CREATE TRIGGER provenance_stays BEFORE DELETE ON provenance BEGIN"
    " SELECT RAISE(ABORT, 'what is known of a version is never deleted'); END",
)


def upgrade() -> None:
    """Add the table; of versions on record nothing more is known."""
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Migrations go forward only."""
    raise NotImplementedError("migrations go forward only; restore a backup instead")
