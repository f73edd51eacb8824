"""A version that was never made ready may be taken away again; every other one stays."""

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

STATEMENTS = (
    "DROP TRIGGER versions_stay",
    "CREATE TRIGGER versions_stay BEFORE DELETE ON versions WHEN OLD.status <> 'registered'"
    " OR EXISTS (SELECT 1 FROM transitions WHERE ref = OLD.ref)"
    " OR EXISTS (SELECT 1 FROM profiles WHERE ref = OLD.ref)"
    " BEGIN SELECT RAISE(ABORT, 'a version that worked is never deleted, retire it'); END",
    "DROP TRIGGER provenance_stays",
    "CREATE TRIGGER provenance_stays BEFORE DELETE ON provenance"
    " WHEN EXISTS (SELECT 1 FROM versions WHERE ref = OLD.ref)"
    " BEGIN SELECT RAISE(ABORT, 'what is known of a version is never deleted'); END",
)


def upgrade() -> None:
    """Loosen the two triggers by that much."""
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    """Migrations go forward only."""
    raise NotImplementedError("migrations go forward only; restore a backup instead")
